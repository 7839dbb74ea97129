// Package servers starts real mail servers for tests: Dovecot, Cyrus and Courier, privately, as an
// ordinary user, on loopback, from folders that fetch.sh unpacked ("make servers"). Nothing of the
// machine's own mail system is used or touched.
//
// A server is started when a test first asks for one with given options, shared by the tests of the
// process that ask for the same, and stopped when the process ends, however it ends. Each
// call gets a user of its own with an empty mailbox, so that tests do not see each other.
//
// What a test learns about the server's side, or does there, goes through Client: go-imap's own
// client, which shares no code with internal/remote/imap and so is an independent witness.
package servers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/ci"
	"github.com/satchel-mail/satchel/internal/testenv/daemon"
)

// Options are the ways in which a test wants its server to be. All but the zero value may
// start another server.
type Options struct {
	// Without names capabilities that the server shall not announce ("UIDPLUS"). "*" leaves only
	// IMAP4rev1. Of Dovecot and Courier only, and not on TLS ports of the latter.
	Without []string
	// Format is Dovecot's mailbox format: "sdbox" (default), "mdbox" or "maildir".
	Format string
	// Separator and Prefix shape Dovecot's personal namespace: "/" and "" by default, "." and "INBOX."
	// as many have it.
	Separator, Prefix string
	// Quota is Dovecot's quota rule ("*:storage=20k", "*:messages=5"), empty for none.
	Quota string
	// ACL turns on Dovecot's access control lists.
	ACL bool
	// Mechanisms are Dovecot's SASL mechanisms, "plain login scram-sha-256" by default.
	Mechanisms string
	// POP3 has Dovecot and Courier speak POP3 as well.
	POP3 bool
	// Alone, of Dovecot, is a name for a server that is not shared with tests that give another, and may be restarted.
	Alone string
	// Config is added at the end of Dovecot's configuration.
	Config string
}

// Server is one user's account on a running server.
type Server struct {
	// Name is "dovecot", "cyrus" or "courier".
	Name string
	// Host is the loopback address; Port speaks plain text and STARTTLS, TLSPort implicit TLS. They are
	// 0 where there is only a tunnel (Courier).
	Host          string
	Port, TLSPort int
	// POP3Port and POP3TLSPort are their like for POP3, POP3Tunnel speaks it and wants to be signed in to, as User with Password.
	POP3Port, POP3TLSPort int
	POP3Tunnel            string
	User                  string
	Password              string
	// CAFile is the authority that signed the server's certificate. ClientCert and ClientKey are a
	// certificate of the same authority whose common name is User.
	CAFile                string
	ClientCert, ClientKey string
	// Tunnel is a shell command that speaks IMAP on its standard input and output, signed in already
	// as User (PREAUTH). Empty where a server has no such thing (Cyrus).
	Tunnel string
	// Root is the folder on disk that holds the user's mail, in the server's format.
	Root string
	// Log is the server's log file.
	Log string
	// Prefix and Separator are those of the personal namespace.
	Prefix, Separator string
	// Restart ends the server, with all that is connected to it, and starts it again after a time. nil unless it is Alone.
	Restart func(away time.Duration) error
}

// Addr is Host and Port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// TLSAddr is Host and TLSPort.
func (s *Server) TLSAddr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.TLSPort)) }

// pool holds the process's running servers. It is the one variable of this package: servers outlive the
// test that started them, and nothing but the process has the life span that they shall have.
var pool struct {
	sync.Mutex
	running map[string]any
}

// shared returns what runs under key, starting it if nothing does. A failed start is tried anew.
func shared[T any](key string, start func() (T, error)) (T, error) {
	pool.Lock()
	defer pool.Unlock()
	if s, ok := pool.running[key].(T); ok {
		return s, nil
	}
	s, err := start()
	if err != nil {
		return s, err
	}
	if pool.running == nil {
		pool.running = map[string]any{}
	}
	pool.running[key] = s
	return s, nil
}

// unpacked returns the folder that holds the named server. If it is not there the test is skipped,
// or fails where CI=true, because there all servers must be.
func unpacked(t testing.TB, name string) string {
	t.Helper()
	root, ok := daemon.Unpacked(name)
	if ok {
		return root
	}
	ci.Skip(t, "%s is not unpacked at %s: run \"make servers\", which fetches it there and installs nothing", name, root)
	return ""
}

// pipe starts the tunnel and returns its two ends.
func (s *Server) pipe(ctx context.Context) (*tunnel, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", s.Tunnel)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &tunnel{ReadCloser: out, in: in, cmd: cmd}, nil
}

// Listen has the tunnel's command serve a loopback port, so that a proxy can stand in front of it; each connection is a process. It
// returns the address, and ends with the test.
func (s *Server) Listen(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listening for %s: %v", s.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			serving.Go(func() { s.serve(ctx, c) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// serve is one connection. The server hears all that came before its end, and says all that it has to say.
func (s *Server) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	p, err := s.pipe(ctx)
	if err != nil {
		return // the client sees that nobody is there
	}
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(p.in, c)
		_ = p.in.Close()
	})
	_, _ = io.Copy(c, p) // to the end of the process, or of a client that hears no more
	_ = c.Close()
	up.Wait()
	_ = p.Close()
}

// TLSConfig trusts the server's authority, for the name of its certificate.
func (s *Server) TLSConfig() (*tls.Config, error) {
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the test authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", s.CAFile)
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}, nil
}
