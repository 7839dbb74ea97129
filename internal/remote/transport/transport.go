// Package transport opens connections to mail servers, for any protocol: TCP with TLS from the start,
// TLS after the protocol's own upgrade, plain text where that is allowed, or a command whose
// standard input and output are the connection.
//
// It keeps these promises. No byte that arrived before a TLS handshake is seen after it. A
// server's certificate is always checked, against the system's or the given authorities and the host's
// name, or against a pin. Plain text leaves this machine only if AllowPlaintext says so.
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
)

const (
	// dialTimeout bounds Dial: name look-up, connection, upgrade and handshake together.
	dialTimeout = 30 * time.Second

	// Keep-alive probes find a peer that vanished while nothing was being said, within a minute.
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 15 * time.Second
	keepAliveCount    = 3

	// upgradeBytes bounds what a server may say before it agrees to start TLS.
	upgradeBytes = 64 << 10
)

// Mode says how a connection is protected.
type Mode int

const (
	Implicit Mode = iota // TLS from the first byte (RFC 8314, section 3)
	StartTLS             // plain text up to the protocol's upgrade command, which must succeed
	Off                  // plain text, on loopback or with AllowPlaintext only
)

// String spells the mode as the configuration does.
func (m Mode) String() string {
	switch m {
	case Implicit:
		return "implicit"
	case StartTLS:
		return "starttls"
	case Off:
		return "off"
	}
	return "Mode(" + strconv.Itoa(int(m)) + ")"
}

// Config says where to connect to and whom to trust.
type Config struct {
	Host string // a name or an IP address; only a label if Tunnel is set
	Port int    // 1 to 65535
	TLS  Mode
	// AllowPlaintext permits Off for hosts that are not loopback.
	AllowPlaintext bool
	// CAFile is a PEM file with the authorities to trust in place of the system's.
	CAFile string
	// CertSHA256 pins the server's own (leaf) certificate: the hexadecimal SHA-256 of its DER form, in either
	// case, with or without colons. The certificate must be exactly that one and within its
	// validity dates. Since it is then known, neither the authority that signed it nor the names in it matter,
	// unless CAFile is given too: then both must hold.
	CertSHA256 string
	// ClientCert and ClientKey are PEM files; both or neither.
	ClientCert, ClientKey string
	// Tunnel is a shell command that carries the protocol on its standard input and output. It is
	// the connection as it is: the fields above do not apply to it.
	Tunnel string
}

// Conn is an open connection.
type Conn struct {
	net.Conn
	// Secure: nobody on the network between can read or change what is said. True for TLS, for a
	// tunnel (whose security is the command's), and for loopback.
	Secure bool
	TLS    bool
	Tunnel bool
	// Greeted: the server's greeting was already read by the Upgrade.
	Greeted bool
}

// Upgrade leads a plain connection up to the server's consent to start TLS: it reads the greeting, sends the
// protocol's command, reads the answers to it. An error means that the server would not; nothing
// more is then said on the connection. What it reads comes byte by byte, so that a buffered reader may
// be used and thrown away. Deadlines are set and the end of ctx is seen to by the caller.
type Upgrade func(ctx context.Context, c net.Conn) error

// Dial opens a connection within 30 seconds, or less if ctx ends. upgrade is used with StartTLS only.
// Errors are *remote.Error: Unreachable when there is no server to talk to, Unavailable when it
// dropped us, Auth when it wants another client certificate, Protocol when it can't be trusted or Config can't be
// used; or what upgrade returned, if that has a class.
//
// A server may refuse a client certificate only after Dial has returned (TLS 1.3 has it so): then the first Read
// gives a *remote.Error of class Auth. A tunnel that ends other than by success makes Read and Write give
// a *remote.Error that quotes what it wrote to standard error. All else that Read and Write return
// are the network's plain errors.
func Dial(ctx context.Context, cfg Config, upgrade Upgrade) (Conn, error) {
	if cfg.Tunnel != "" {
		return dialTunnel(cfg)
	}
	d := &dialer{cfg: cfg, op: "connecting to " + cfg.address(), limit: dialTimeout}
	return d.dial(ctx, upgrade)
}

func (c Config) address() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

// dialer is one attempt to connect by TCP.
type dialer struct {
	cfg   Config
	op    string
	limit time.Duration
	// asked: the server wanted a client certificate.
	asked bool
}

func (d *dialer) dial(ctx context.Context, upgrade Upgrade) (Conn, error) {
	cfg := d.cfg
	if cfg.TLS == Off && !cfg.AllowPlaintext && !IsLoopback(cfg.Host) {
		return Conn{}, d.plaintextRefused()
	}
	var tlsConfig *tls.Config
	if cfg.TLS != Off {
		var err error
		if tlsConfig, err = d.tlsConfig(); err != nil {
			return Conn{}, err
		}
	}

	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	nd := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
	}}
	raw, err := nd.DialContext(ctx, "tcp", cfg.address())
	if err != nil {
		return Conn{}, d.connectError(outer, err)
	}
	loopback := isLoopbackAddr(raw.RemoteAddr())
	if cfg.TLS == Off {
		// The name said loopback, the resolver may have said otherwise.
		if !loopback && !cfg.AllowPlaintext {
			raw.Close()
			return Conn{}, d.plaintextRefused()
		}
		return Conn{Conn: raw, Secure: loopback}, nil
	}

	// From here on the end of ctx shows as an expired deadline.
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	conn, err := d.secure(ctx, raw, tlsConfig, upgrade)
	if !stop() && err == nil {
		err = context.Cause(ctx) // it may have spoilt the deadline already
	}
	if err != nil {
		raw.Close()
		return Conn{}, d.handshakeError(outer, err)
	}
	return conn, nil
}

// secure starts TLS on a connection, after the upgrade if there must be one.
func (d *dialer) secure(ctx context.Context, raw net.Conn, tlsConfig *tls.Config, upgrade Upgrade) (Conn, error) {
	greeted := d.cfg.TLS == StartTLS
	if greeted {
		if upgrade == nil {
			return Conn{}, &remote.Error{Class: remote.Protocol, Op: d.op, Err: errors.New("this protocol has no STARTTLS")}
		}
		if err := upgrade(ctx, &byteConn{Conn: raw, left: upgradeBytes}); err != nil {
			return Conn{}, err
		}
	}
	// TLS reads the socket itself: what the server sent ahead of its handshake is still in there,
	// is no TLS record, and fails the handshake.
	c := tls.Client(raw, tlsConfig)
	if err := c.HandshakeContext(ctx); err != nil {
		return Conn{}, err
	}
	conn := &tlsConn{Conn: c, op: d.op, asked: d.asked, hasCert: d.cfg.ClientCert != ""}
	return Conn{Conn: conn, Secure: true, TLS: true, Greeted: greeted}, nil
}

func (d *dialer) plaintextRefused() error {
	return &remote.Error{
		Class: remote.Protocol, Op: d.op,
		Err:  errors.New(`tls = "off" would send the password and all mail in plain text over the network, and was refused`),
		Hint: `use tls = "implicit" or "starttls"; allow_plaintext = true insists`,
	}
}

// connectError explains why there is no connection. outer is the caller's context, without the time limit.
func (d *dialer) connectError(outer context.Context, err error) error {
	e := &remote.Error{Class: remote.Unreachable, Op: d.op, Err: err}
	if cause := context.Cause(outer); cause != nil {
		e.Err = cause
		return e
	}
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		e.Hint = "there is no such host; check host, and that this machine is online"
	case errors.As(err, &dns):
		e.Hint = "the name could not be looked up; is this machine online?"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Hint = "nobody listens there; check host, port and tls"
	case isTimeout(err):
		e.Err = fmt.Errorf("no answer within %v: %w", d.limit, err)
		e.Hint = "the server is down, or a firewall drops the connection; check host and port"
	}
	return e
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || (errors.As(err, &t) && t.Timeout())
}

// IsLoopback reports whether a host is this machine by its spelling: 127.0.0.0/8, ::1 or localhost.
func IsLoopback(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}

func isLoopbackAddr(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

// byteConn gives an Upgrade one byte with each Read, whatever is asked for, so that it can't take
// bytes that belong to what follows; and not more than left of them.
type byteConn struct {
	net.Conn
	left int
}

func (c *byteConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("the server said more than %d bytes before starting TLS", upgradeBytes)
	}
	n, err := c.Conn.Read(p[:min(1, len(p))])
	c.left -= n
	return n, err
}
