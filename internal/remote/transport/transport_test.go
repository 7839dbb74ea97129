package transport

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/certs"
)

// serve runs handle for every connection to a loopback port, and returns the port.
func serve(t *testing.T, handle func(c net.Conn)) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return l.Addr().(*net.TCPAddr).Port
}

// serveTLS greets every connection after a handshake, and reads until it is closed.
func serveTLS(t *testing.T, cfg *tls.Config) int {
	return serve(t, func(c net.Conn) { greetTLS(c, cfg) })
}

func greetTLS(c net.Conn, cfg *tls.Config) {
	s := tls.Server(c, cfg)
	if s.Handshake() != nil {
		_, _ = io.Copy(io.Discard, c) // lets the alert arrive before the reset that closing would send
		return
	}
	fmt.Fprint(s, "hello\r\n")
	_, _ = io.Copy(io.Discard, s)
}

func dial(t *testing.T, cfg Config, up Upgrade) (Conn, error) {
	t.Helper()
	if cfg.Host == "" {
		cfg.Host = "127.0.0.1"
	}
	c, err := Dial(context.Background(), cfg, up)
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func wantLine(t *testing.T, c net.Conn, want string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, len(want))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != want {
		t.Fatalf("read %q, %v; want %q", buf, err, want)
	}
}

func wantError(t *testing.T, err error, class remote.Class, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if remote.ClassOf(err) != class {
		t.Errorf("class %d, want %d: %v", remote.ClassOf(err), class, err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q\nlacks %q", err, text)
		}
	}
}

// ca makes an authority and a certificate for loopback by it.
func ca(t *testing.T, r certs.Request) (*certs.Authority, *certs.Leaf) {
	t.Helper()
	a, err := certs.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.Issue("server", r)
	if err != nil {
		t.Fatal(err)
	}
	return a, leaf
}

// selfSigned makes a certificate for loopback that is its own authority, and its PEM file.
func selfSigned(t *testing.T, change func(*x509.Certificate)) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "self"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "self.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, file
}

// signedBy makes a certificate for loopback that an authority has signed in that way, and the authority's PEM file.
func signedBy(t *testing.T, how x509.SignatureAlgorithm) (string, tls.Certificate) {
	t.Helper()
	authority, file := selfSigned(t, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "weak"}, SignatureAlgorithm: how,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, authority.Leaf, &key.PublicKey, authority.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return file, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func serverConfig(c tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c}}
}

func pinOf(c tls.Certificate) string { return fingerprint(c.Leaf) }

func TestCertificates(t *testing.T) {
	good, leaf := ca(t, certs.Request{})
	other, _ := ca(t, certs.Request{})
	expiredCA, expired := ca(t, certs.Request{NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)})
	earlyCA, early := ca(t, certs.Request{NotBefore: time.Now().Add(12 * time.Hour)})
	namedCA, named := ca(t, certs.Request{Hosts: []string{"imap.example.org", "10.0.0.1"}})
	self, selfFile := selfSigned(t, nil)
	forClients, forClientsFile := selfSigned(t, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	selfExpired, selfExpiredFile := selfSigned(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	nameless, _ := selfSigned(t, func(c *x509.Certificate) { c.IPAddresses = nil })
	sha1CA, sha1 := signedBy(t, x509.ECDSAWithSHA1)
	sha256CA, sha256 := signedBy(t, x509.ECDSAWithSHA256)
	colons := strings.ToUpper(pinOf(self))
	for i := len(colons) - 2; i > 0; i -= 2 {
		colons = colons[:i] + ":" + colons[i:]
	}

	for _, tt := range []struct {
		name string
		cert tls.Certificate
		cfg  Config
		want []string // nil: the connection comes about
	}{
		{"right authority", leaf.TLS, Config{CAFile: good.File}, nil},
		{"self-signed", self, Config{}, []string{": the server's certificate is signed by no authority that this machine knows; if you run the server", "(x509: certificate signed by unknown authority)", "ca_file", `cert_sha256 = "` + pinOf(self) + `"`}},
		{"unknown authority", leaf.TLS, Config{CAFile: other.File}, []string{"signed by no authority in ca_file", "unknown authority", "ca_file", pinOf(leaf.TLS)}},
		{"authority that the system does not know", leaf.TLS, Config{}, []string{"unknown authority"}},
		{"expired", expired.TLS, Config{CAFile: expiredCA.File}, []string{"valid from ", "clock", time.Now().Add(-24 * time.Hour).UTC().Format(time.DateOnly)}},
		{"not yet valid", early.TLS, Config{CAFile: earlyCA.File}, []string{"valid from ", "clock"}},
		{"wrong name", named.TLS, Config{CAFile: namedCA.File}, []string{"the server's certificate is for another name", "the certificate is for imap.example.org, 10.0.0.1"}},
		{"no name", nameless, Config{}, []string{"no host name at all"}},
		{"wrong use", forClients, Config{CAFile: forClientsFile}, []string{"not meant for servers"}},
		{"signed with SHA-1", sha1, Config{CAFile: sha1CA}, []string{"signed by no authority in ca_file"}},
		{"the same with SHA-256", sha256, Config{CAFile: sha256CA}, nil},
		{"self-signed as its own authority", self, Config{CAFile: selfFile}, nil},
		{"pinned", self, Config{CertSHA256: pinOf(self)}, nil},
		{"pinned with colons", self, Config{CertSHA256: colons}, nil},
		{"pinned without a name", nameless, Config{CertSHA256: pinOf(nameless)}, nil},
		{"pinned under a private authority", leaf.TLS, Config{CertSHA256: pinOf(leaf.TLS)}, nil},
		{"pinned another", self, Config{CertSHA256: pinOf(leaf.TLS)}, []string{"not the pinned one", pinOf(self), "cert_sha256"}},
		{"pinned another of the right authority", leaf.TLS, Config{CAFile: good.File, CertSHA256: pinOf(self)}, []string{"not the pinned one"}},
		{"pinned and expired", selfExpired, Config{CertSHA256: pinOf(selfExpired)}, []string{"valid from ", "clock"}},
		{"pinned but of another authority", leaf.TLS, Config{CAFile: other.File, CertSHA256: pinOf(leaf.TLS)}, []string{"unknown authority"}},
		{"expired as its own authority", selfExpired, Config{CAFile: selfExpiredFile}, []string{"valid from "}},
		{"pin that is none", self, Config{CertSHA256: "abc"}, []string{"cert_sha256 can't be used", "64 hexadecimal digits"}},
		{"ca_file missing", self, Config{CAFile: filepath.Join(t.TempDir(), "x.pem")}, []string{"ca_file can't be used", "no such file"}},
		{"ca_file empty", self, Config{CAFile: os.DevNull}, []string{"ca_file can't be used", "no certificate"}},
	} {
		for _, mode := range []Mode{Implicit, StartTLS} {
			t.Run(tt.name+" "+mode.String(), func(t *testing.T) {
				cfg := tt.cfg
				cfg.TLS = mode
				if mode == Implicit {
					cfg.Port = serveTLS(t, serverConfig(tt.cert))
				} else {
					cfg.Port = serve(t, func(c net.Conn) { offerStartTLS(c, serverConfig(tt.cert), "OK go ahead\r\n") })
				}
				c, err := dial(t, cfg, upgrade)
				if tt.want != nil {
					wantError(t, err, remote.Protocol, append(tt.want, "connecting to 127.0.0.1:")...)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if !c.Secure || !c.TLS || c.Tunnel || c.Greeted != (mode == StartTLS) {
					t.Errorf("%+v", c)
				}
				wantLine(t, c, "hello\r\n")
			})
		}
	}
}

// offerStartTLS is a server's side of the dance that upgrade does.
func offerStartTLS(c net.Conn, cfg *tls.Config, answer string) {
	fmt.Fprint(c, "* greeting\r\n")
	if line, err := readLine(c); err != nil || line != "STARTTLS\r\n" {
		return
	}
	fmt.Fprint(c, answer)
	greetTLS(c, cfg)
}

func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(r, b); err != nil {
			return "", err
		}
		if line = append(line, b...); b[0] == '\n' {
			return string(line), nil
		}
	}
}

// upgrade reads through a buffer on purpose: it must not swallow what follows.
func upgrade(_ context.Context, c net.Conn) error {
	r := bufio.NewReader(c)
	if _, err := r.ReadString('\n'); err != nil {
		return err
	}
	fmt.Fprint(c, "STARTTLS\r\n")
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "OK") {
		return &remote.Error{Class: remote.Protocol, Op: "starting TLS", Text: strings.TrimSpace(line)}
	}
	return nil
}

func TestStartTLS(t *testing.T) {
	_, leaf := ca(t, certs.Request{})
	pin := pinOf(leaf.TLS)
	for _, tt := range []struct {
		name   string
		answer string
		class  remote.Class
		want   string
	}{
		{"refused", "NO not now\r\n", remote.Protocol, "the server says: NO not now"},
		{"injected in the same packet", "OK go ahead\r\n* PREAUTH you are signed in\r\n", remote.Protocol, "injecting"},
		{"injected less than a record", "OK go ahead\r\n*", remote.Protocol, "injecting"},
		{"without end", "O" + strings.Repeat("K", upgradeBytes+10), remote.Protocol, "more than 65536 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			port := serve(t, func(c net.Conn) { offerStartTLS(c, serverConfig(leaf.TLS), tt.answer) })
			_, err := dial(t, Config{Port: port, TLS: StartTLS, CertSHA256: pin}, upgrade)
			wantError(t, err, tt.class, tt.want)
		})
	}

	t.Run("hangs up", func(t *testing.T) {
		port := serve(t, func(c net.Conn) {})
		_, err := dial(t, Config{Port: port, TLS: StartTLS, CertSHA256: pin}, upgrade)
		wantError(t, err, remote.Unavailable, "hung up")
	})
	t.Run("nothing is said after a refusal", func(t *testing.T) {
		rest := make(chan string, 1)
		port := serve(t, func(c net.Conn) {
			fmt.Fprint(c, "* greeting\r\n")
			_, _ = readLine(c)
			fmt.Fprint(c, "BAD unknown command\r\n")
			b, _ := io.ReadAll(c)
			rest <- string(b)
		})
		_, err := dial(t, Config{Port: port, TLS: StartTLS, CertSHA256: pin}, upgrade)
		wantError(t, err, remote.Protocol)
		if b := <-rest; b != "" {
			t.Errorf("sent %q after the refusal", b)
		}
	})
	t.Run("protocol without", func(t *testing.T) {
		port := serve(t, func(c net.Conn) {})
		_, err := dial(t, Config{Port: port, TLS: StartTLS}, nil)
		wantError(t, err, remote.Protocol, "no STARTTLS")
	})
}

func TestNotTLS(t *testing.T) {
	say := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			fmt.Fprint(c, text)
			_, _ = io.Copy(io.Discard, c)
		}
	}
	for _, tt := range []struct {
		name, text string
		class      remote.Class
		want       []string
	}{
		{"captive portal", "HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n", remote.Unreachable, []string{"a web server answered", "captive portal"}},
		{"web page", "<html>sign in</html>\r\n", remote.Unreachable, []string{"a web server answered"}},
		{"IMAP in plain text", "* OK [CAPABILITY IMAP4rev1] ready\r\n", remote.Protocol, []string{"speaks plain text on port", `tls = "starttls"`}},
		{"POP3 in plain text", "+OK ready\r\n", remote.Protocol, []string{"speaks plain text on port"}},
		{"something else", "SSH-2.0-OpenSSH_9.2\r\n", remote.Protocol, []string{"does not speak TLS", "check port and tls"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := dial(t, Config{Port: serve(t, say(tt.text))}, nil)
			wantError(t, err, tt.class, tt.want...)
		})
	}
}

func TestOldTLSRefused(t *testing.T) {
	_, leaf := ca(t, certs.Request{})
	cfg := serverConfig(leaf.TLS)
	cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	_, err := dial(t, Config{Port: serveTLS(t, cfg), CertSHA256: pinOf(leaf.TLS)}, nil)
	wantError(t, err, remote.Protocol, "TLS 1.2 or newer")
}

func TestClientCertificate(t *testing.T) {
	authority, leaf := ca(t, certs.Request{})
	mine, err := authority.Issue("client", certs.Request{CommonName: "me", Client: true})
	if err != nil {
		t.Fatal(err)
	}
	strangers, _ := ca(t, certs.Request{})
	strange, err := strangers.Issue("client", certs.Request{CommonName: "me", Client: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server := serverConfig(leaf.TLS)
		server.ClientAuth, server.ClientCAs, server.MaxVersion = tls.RequireAndVerifyClientCert, authority.Pool, version
		for _, tt := range []struct {
			name      string
			cert, key string
			want      string
		}{
			{"the right one", mine.CertFile, mine.KeyFile, ""},
			{"none", "", "", "set client_cert and client_key"},
			{"a stranger's", strange.CertFile, strange.KeyFile, "does not accept client_cert"},
			{"with another's key", mine.CertFile, strange.KeyFile, "client_cert and client_key can't be used"},
			{"a missing file", mine.CertFile + "x", mine.KeyFile, "no such file"},
		} {
			t.Run(tls.VersionName(version)+" "+tt.name, func(t *testing.T) {
				c, err := dial(t, Config{Port: serveTLS(t, server), CAFile: authority.File, ClientCert: tt.cert, ClientKey: tt.key}, nil)
				if tt.want == "" {
					if err != nil {
						t.Fatal(err)
					}
					wantLine(t, c, "hello\r\n")
					return
				}
				if err == nil { // TLS 1.3 says so with the first bytes only
					_ = c.SetReadDeadline(time.Now().Add(time.Minute))
					_, err = c.Read(make([]byte, 1))
				}
				wantError(t, err, remote.Auth, tt.want)
			})
		}
	}
}

func TestPlaintext(t *testing.T) {
	port := serve(t, func(c net.Conn) {
		fmt.Fprint(c, "hello\r\n")
		_, _ = io.Copy(io.Discard, c)
	})
	for _, host := range []string{"127.0.0.1", "localhost"} {
		c, err := dial(t, Config{Host: host, Port: port, TLS: Off}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !c.Secure || c.TLS || c.Tunnel || c.Greeted {
			t.Errorf("%+v", c)
		}
		wantLine(t, c, "hello\r\n")
	}
	// These are never connected to.
	for _, host := range []string{"192.0.2.1", "imap.example.org", "localhost.example.org", "::2", "0.0.0.0"} {
		_, err := dial(t, Config{Host: host, Port: port, TLS: Off}, nil)
		wantError(t, err, remote.Protocol, "plain text", "allow_plaintext")
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.255.0.9": true, "::1": true, "localhost": true, "LocalHost": true, "localhost.": true, "::ffff:127.0.0.1": true,
		"": false, "128.0.0.1": false, "::2": false, "localhost.org": false, "0.0.0.0": false, "127.0.0.1.example": false, "127.1": false,
	} {
		if got := IsLoopback(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

func TestNoConnection(t *testing.T) {
	port := serve(t, func(c net.Conn) {})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().(*net.TCPAddr).Port
	l.Close()

	_, err = dial(t, Config{Port: closed}, nil)
	wantError(t, err, remote.Unreachable, "nobody listens there")
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v does not wrap its cause", err)
	}
	_, err = dial(t, Config{Port: port}, nil)
	wantError(t, err, remote.Unavailable, "hung up")

	d := dialer{op: "connecting", limit: dialTimeout}
	wantError(t, d.connectError(t.Context(), &net.OpError{Op: "dial", Err: &net.DNSError{Name: "x", IsNotFound: true}}), remote.Unreachable, "no such host")
	wantError(t, d.connectError(t.Context(), &net.OpError{Op: "dial", Err: &net.DNSError{Name: "x", IsTemporary: true}}), remote.Unreachable, "could not be looked up")
	wantError(t, d.connectError(t.Context(), &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}), remote.Unreachable, "no answer within 30s", "firewall")
}

// TestSilentServer: neither a server that says nothing nor the caller's impatience leaves Dial hanging.
func TestSilentServer(t *testing.T) {
	port := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	for _, mode := range []Mode{Implicit, StartTLS} {
		t.Run("own limit "+mode.String(), func(t *testing.T) {
			d := dialer{cfg: Config{Host: "127.0.0.1", Port: port, TLS: mode}, op: "connecting", limit: 50 * time.Millisecond}
			_, err := d.dial(t.Context(), upgrade)
			wantError(t, err, remote.Unreachable, "fell silent", fmt.Sprintf("tls = %q", mode))
		})
		t.Run("cancelled "+mode.String(), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			up := func(ctx context.Context, c net.Conn) error { cancel(); return upgrade(ctx, c) }
			if mode == Implicit {
				go cancel()
			}
			_, err := Dial(ctx, Config{Host: "127.0.0.1", Port: port, TLS: mode}, up)
			wantError(t, err, remote.Unreachable)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v does not say that it was cancelled", err)
			}
		})
	}
}

// TestNoDeadlineIsLeft: what Dial used to bound itself must not bite later.
func TestNoDeadlineIsLeft(t *testing.T) {
	_, leaf := ca(t, certs.Request{})
	port := serveTLS(t, serverConfig(leaf.TLS))
	ctx, cancel := context.WithCancel(t.Context())
	c, err := Dial(ctx, Config{Host: "127.0.0.1", Port: port, CertSHA256: pinOf(leaf.TLS)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	wantLine(t, c, "hello\r\n")
}

func TestParseFingerprint(t *testing.T) {
	full := strings.Repeat("0a", 32)
	for pin, ok := range map[string]bool{
		full: true, strings.ToUpper(full): true, strings.TrimSuffix(strings.Repeat("0A:", 32), ":"): true, strings.Repeat("0a ", 32): true,
		"": false, full[:62]: false, full + "0a": false, strings.Repeat("0g", 32): false,
	} {
		sum, err := ParseFingerprint(pin)
		if (err == nil) != ok || ok && !bytes.Equal(sum[:], bytes.Repeat([]byte{10}, 32)) {
			t.Errorf("%q: %x, %v", pin, sum, err)
		}
	}
}
