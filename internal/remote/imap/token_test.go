package imap

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

// door is a server that lets in who has the right password.
type door struct {
	net.Listener
	mu    sync.Mutex
	right string
	tries []string
}

func openDoor(t *testing.T) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{Listener: l}
	var served sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); served.Wait() })
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() { d.serve(c) })
		}
	})
	return d
}

func (d *door) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "* OK [CAPABILITY IMAP4rev1] hello\r\n")
	for in := bufio.NewScanner(c); in.Scan(); {
		tag, text, _ := strings.Cut(in.Text(), " ")
		answer := "OK [CAPABILITY IMAP4rev1] done"
		if secret, ok := strings.CutPrefix(text, `LOGIN "me" `); ok && !d.lets(strings.Trim(secret, `"`)) {
			answer = "NO [AUTHENTICATIONFAILED] no"
		}
		_, _ = fmt.Fprintf(c, "%s %s\r\n", tag, answer)
	}
}

func (d *door) lets(secret string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tries = append(d.tries, secret)
	return secret == d.right
}

// tried returns what was tried since, and has another password be right.
func (d *door) tried(right string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	tries := strings.Join(d.tries, " ")
	d.right, d.tries = right, nil
	return tries
}

// series gives another secret each time it is asked.
type series struct{ n int }

func (s *series) Secret(context.Context) (auth.Secret, error) {
	s.n++
	return auth.NewSecret(fmt.Sprint("token", s.n))
}

// TestTokenThatRanOut: what the server took before and does not take any more is asked for anew, once. What it never took is not: that
// could lock the account.
func TestTokenThatRanOut(t *testing.T) {
	server := openDoor(t)
	addr := server.Addr().(*net.TCPAddr)
	dialer := func(source auth.Source) *Dialer {
		return NewDialer(Config{
			User: "me", Secret: source,
			Transport: transport.Config{Host: "127.0.0.1", Port: addr.Port, TLS: transport.Off},
		})
	}
	dial := func(d *Dialer) error {
		s, err := d.Dial(t.Context())
		if err == nil {
			err = s.Close()
		}
		return err
	}
	d := dialer(auth.Once(&series{}))
	for _, step := range []struct{ right, tried string }{
		{"token1", "token1"},
		{"token1", "token1"},
		{"token2", "token1 token2"},
		{"", "token2 token3"},
	} {
		server.tried(step.right)
		err := dial(d)
		if ok := err == nil; ok != (step.right != "") || !ok && remote.ClassOf(err) != remote.Auth {
			t.Errorf("%q is right: %v", step.right, err)
		}
		if tried := server.tried(""); tried != step.tried {
			t.Errorf("%q is right: tried %q, want %q", step.right, tried, step.tried)
		}
	}
	for name, source := range map[string]auth.Source{"never taken": auth.Once(&series{}), "always the same": auth.Once(auth.Literal("token1"))} {
		d, want := dialer(source), "token1"
		if name == "always the same" {
			server.tried("token1")
			if err := dial(d); err != nil {
				t.Fatal(err)
			}
		}
		server.tried("")
		if err := dial(d); remote.ClassOf(err) != remote.Auth {
			t.Errorf("%s: %v", name, err)
		}
		if tried := server.tried(""); tried != want {
			t.Errorf("%s: tried %q", name, tried)
		}
	}
}
