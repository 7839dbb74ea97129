package pop3

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	gopop3 "github.com/knadh/go-pop3"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

// DefaultPatience is how long a server may be silent before it counts as lost. RFC 1939 lets it wait ten minutes for us.
const DefaultPatience = 60 * time.Second

// Config says how to reach an account.
type Config struct {
	Transport transport.Config
	User      string
	Method    auth.Method // empty: auth.Auto
	// Secret gives the password or token; nil if there is none, as with a client certificate.
	Secret auth.Source
	// Patience is how long the server may be silent while we wait, 0: DefaultPatience.
	Patience time.Duration
	// MaxMessage is how large messages are that are asked for, by what the server says, in bytes; 0: there is no limit. Of one that turns
	// out to be much larger no more is read.
	MaxMessage int64
	// Disable hides capabilities, as if the server had not offered them.
	Disable []string
	// Trace, if set, is given each line of the protocol, dir being '>' for what we send and '<' for what the server says. No
	// credentials are in it, and of longer answers only how long they are. It is never called twice at a time.
	Trace func(dir byte, line string)
}

// Dialer opens sessions. It implements remote.Dialer and may be used concurrently.
type Dialer struct {
	cfg      Config
	book     book
	accepted auth.Accepted
}

var _ remote.Dialer = (*Dialer)(nil)

// book remembers from session to session which UIDs messages were given.
type book struct {
	mu      sync.Mutex
	listing listing          // of the session in which they were
	numbers map[mail.UID]int // only read, once it is here
}

// NewDialer returns a Dialer for one account.
func NewDialer(cfg Config) *Dialer {
	if cfg.Patience <= 0 {
		cfg.Patience = DefaultPatience
	}
	if cfg.Method == "" {
		cfg.Method = auth.Auto
	}
	return &Dialer{cfg: cfg}
}

const opSignIn = "signing in"

// Dial connects and signs in. The session is a remote.Maildrop. When the server does not take any more what it took before it asks for
// a new secret, and tries once more if there is one.
func (d *Dialer) Dial(ctx context.Context) (remote.Session, error) {
	var s *Session
	err := d.accepted.SignIn(ctx, d.cfg.Secret, func(err error) bool { return remote.ClassOf(err) == remote.Auth }, func() (used *auth.Secret, err error) {
		if s, err = d.dial(ctx); err == nil {
			used = s.secret
		}
		return used, err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (d *Dialer) dial(ctx context.Context) (*Session, error) {
	if ctx.Err() != nil {
		return nil, transport.NotLost(transport.Lost(context.Cause(ctx)))
	}
	nc, err := transport.Dial(ctx, d.cfg.Transport, stls)
	if err != nil {
		return nil, err
	}
	return d.open(ctx, nc)
}

// open makes a session of a connection.
func (d *Dialer) open(ctx context.Context, nc transport.Conn) (*Session, error) {
	w := newWire(nc.Conn, d.cfg.Patience)
	s := &Session{cfg: d.cfg, wire: w, secure: nc.Secure, book: &d.book}
	defer w.Watch(ctx)()
	if nc.Greeted {
		w.greeting = []byte("+OK\r\n") // the real one was said in plain text, by anybody
	}
	err := s.greet()
	if err == nil {
		err = s.signIn(ctx)
	}
	if err != nil {
		w.Fail(err)
		return nil, transport.NotLost(err)
	}
	return s, nil
}

// greet has the library make its connection, which reads the greeting.
func (s *Session) greet() error {
	const op = "waiting for the server's greeting"
	t := s.cfg.Transport
	pop, err := gopop3.New(gopop3.Opt{Host: t.Host, Port: t.Port, Dialer: given{s.wire}}).NewConn()
	if broken := s.wire.Failure(); broken != nil {
		return during(op, broken)
	}
	st, ok := parseStatus(s.wire.last)
	s.traceIn(string(s.wire.last))
	switch {
	case !ok:
		return protocolAt(op, errors.New("what answers there does not speak POP3"), "check host, port and tls")
	case !st.ok:
		return refusalForNow(op, st)
	case err != nil:
		return protocolAt(op, err, "check host, port and tls")
	}
	s.pop, s.stamp = pop, timestamp(st.text)
	return nil
}

// given is the library's way to a connection that is there already.
type given struct{ w *wire }

// Dial implements the library's Dialer.
func (g given) Dial(string, string) (net.Conn, error) { return g.w, nil }

// during words a failure of the connection as one of what was being done.
func during(op string, err error) error {
	e, ok := errors.AsType[*remote.Error](err)
	if !ok {
		return &remote.Error{Class: remote.Lost, Op: op, Err: err}
	}
	out := *e
	out.Op = op
	return &out
}

func protocolAt(op string, err error, hint string) error {
	return &remote.Error{Class: remote.Protocol, Op: op, Err: err, Hint: hint}
}

// stls is the transport.Upgrade of POP3 (RFC 2595, section 4). Nothing of what it reads is remembered: anybody may have said it.
func stls(_ context.Context, c net.Conn) error {
	const op = "starting TLS"
	// The connection gives a byte at a time: what this reader buffers is never more than was asked for.
	r := bufio.NewReaderSize(c, maxLine)
	st, err := upgradeStatus(r)
	switch {
	case err != nil:
		return upgradeFailed(op, err)
	case !st.ok:
		return refusalForNow(op, st)
	}
	if _, err := io.WriteString(c, "STLS\r\n"); err != nil {
		return upgradeFailed(op, err)
	}
	if st, err = upgradeStatus(r); err != nil {
		return upgradeFailed(op, err)
	}
	if !st.ok {
		e := refusal(op, st)
		e.Class, e.Hint = remote.Protocol, `the server won't encrypt, so no password was sent; use tls = "implicit" if it offers that`
		return e
	}
	return nil
}

func upgradeStatus(r *bufio.Reader) (status, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return status{}, protocolAt("starting TLS", fmt.Errorf("a line of more than %d bytes", maxLine), "check host, port and tls")
	}
	if err != nil {
		return status{}, err
	}
	st, ok := parseStatus([]byte(strings.TrimRight(string(line), "\r\n")))
	if !ok {
		return status{}, protocolAt("starting TLS", errors.New("what answers there does not speak POP3"), "check host, port and tls")
	}
	return st, nil
}

// upgradeFailed leaves errors with a class as they are; the transport explains the network's.
func upgradeFailed(op string, err error) error {
	if remote.ClassOf(err) != 0 {
		return err
	}
	return fmt.Errorf("%s: %w", op, err)
}
