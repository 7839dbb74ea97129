package pop3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
	"github.com/satchel-mail/satchel/internal/testenv/popserver"
)

func TestSignInRefusals(t *testing.T) {
	for _, tt := range []struct {
		answer string
		class  remote.Class
		words  string
		after  time.Duration
	}{
		{"-ERR [IN-USE] do you have another POP session running?", remote.Unavailable, "another program", 0},
		{"-ERR [LOGIN-DELAY] minimum time between mail checks violation", remote.Unavailable, "so soon", 900 * time.Second},
		{"-ERR [SYS/TEMP] no backend", remote.Unavailable, "try again later", 0},
		{"-ERR [SYS/PERM] the mailbox is corrupt", remote.Protocol, "administrator", 0},
		{"-ERR [AUTH] bad password", remote.Auth, "check user and password", 0},
		{"-ERR invalid login", remote.Auth, "check user and password", 0},
		{"-ERR unable to lock maildrop", remote.Unavailable, "try again later", 0},
		{"-ERR", remote.Auth, "gave no reason", 0},
		{"", remote.Protocol, "neither +OK nor -ERR", 0},
		{"* BYE", remote.Protocol, "neither +OK nor -ERR", 0},
	} {
		server := popserver.New(t)
		q := popserver.Quirks{SignIn: tt.answer, Capabilities: []string{"LOGIN-DELAY 900"}}
		if tt.answer == "" {
			q.SignIn = "\r" // an empty line
		}
		server.Set(q)
		_, err := dialer(server).Dial(t.Context())
		e, ok := errors.AsType[*remote.Error](err)
		if !ok || e.Class != tt.class || !strings.Contains(e.Error(), tt.words) || e.RetryAfter != tt.after {
			t.Errorf("%q: %v (%v)", tt.answer, err, remote.ClassOf(err))
		}
	}
}

// TestGreetings: what does not speak POP3, or does not want to.
func TestGreetings(t *testing.T) {
	for _, tt := range []struct {
		line  string
		class remote.Class
	}{
		{"* OK IMAP4rev1 ready", remote.Protocol}, {"220 smtp", remote.Protocol}, {"", remote.Protocol}, {"+OKAY", remote.Protocol},
		{"-ERR [SYS/TEMP] too busy", remote.Unavailable}, {"-ERR [SYS/PERM] gone", remote.Protocol}, {strings.Repeat("x", 20_000), remote.Protocol},
	} {
		ours, theirs := net.Pipe()
		go func() {
			fmt.Fprintf(theirs, "%s\r\n", tt.line)
			_ = theirs.Close()
		}()
		_, err := NewDialer(Config{Patience: time.Minute}).open(t.Context(), transport.Conn{Conn: ours, Secure: true})
		if remote.ClassOf(err) != tt.class {
			t.Errorf("%.40q: %v", tt.line, err)
		}
	}
}

// TestAPOP: the password does not go over a connection that others can read if the server knows a better way, and nothing weaker
// is tried if that fails.
func TestAPOP(t *testing.T) {
	server := popserver.New(t)
	server.Set(popserver.Quirks{Stamp: "<1.2@example.org>"})
	d := dialer(server)
	d.cfg.Transport.Host = "127.0.0.1"
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", server.Port()))
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.open(t.Context(), transport.Conn{Conn: nc}) // not secure
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if c := server.Commands(); !slices.Contains(c, "CAPA") || !strings.HasPrefix(c[1], "APOP u ") || strings.Contains(strings.Join(c, " "), "secret") {
		t.Errorf("%q", c)
	}
	server.Set(popserver.Quirks{Stamp: "<1.2@example.org>", SignIn: "-ERR no"})
	if nc, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", server.Port())); err != nil {
		t.Fatal(err)
	}
	_, err = d.open(t.Context(), transport.Conn{Conn: nc})
	if remote.ClassOf(err) != remote.Auth || strings.Contains(strings.Join(server.Commands(), " "), "PASS") {
		t.Errorf("%v, %q", err, server.Commands())
	}
}

// saslServer answers AUTH as a script says.
func saslServer(t *testing.T, mechs string, script func(say func(string), hear func() string)) (*Session, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer theirs.Close()
		buf := make([]byte, 64<<10)
		say := func(s string) { fmt.Fprintf(theirs, "%s\r\n", s) }
		hear := func() string {
			n, err := theirs.Read(buf)
			if err != nil {
				return ""
			}
			return strings.TrimRight(string(buf[:n]), "\r\n")
		}
		say("+OK ready")
		if hear() != "CAPA" {
			return
		}
		say("+OK\r\nSASL " + mechs + "\r\n.")
		script(say, hear)
	}()
	var trace bytes.Buffer
	d := NewDialer(Config{User: "me", Secret: auth.Literal("token-that-is-secret"), Method: auth.Auto, Patience: time.Minute,
		Transport: transport.Config{Host: "h", Port: 995}, Trace: func(_ byte, line string) { trace.WriteString(line + "\n") }})
	if strings.HasPrefix(mechs, "X") {
		d.cfg.Secret = auth.Literal(strings.Repeat("long", 100))
	}
	s, err := d.open(t.Context(), transport.Conn{Conn: ours, Secure: true})
	t.Cleanup(func() { _ = ours.Close(); <-over })
	if strings.Contains(trace.String(), "secret") || strings.Contains(trace.String(), "bG9u") {
		t.Errorf("the trace shows a secret: %s", trace.String())
	}
	return s, err
}

func TestSASL(t *testing.T) {
	t.Run("PLAIN", func(t *testing.T) {
		_, err := saslServer(t, "PLAIN", func(say func(string), hear func() string) {
			if got := hear(); got != "AUTH PLAIN AG1lAHRva2VuLXRoYXQtaXMtc2VjcmV0" {
				t.Error(got)
			}
			say("+OK")
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("a long initial response comes by itself", func(t *testing.T) {
		_, err := saslServer(t, "XOAUTH2", func(say func(string), hear func() string) {
			if got := hear(); got != "AUTH XOAUTH2" {
				t.Error(got)
			}
			say("+ ")
			if got := hear(); len(got) < 400 {
				t.Error(got)
			}
			say("+OK")
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("an explanation is answered before the refusal", func(t *testing.T) {
		_, err := saslServer(t, "XOAUTH2", func(say func(string), hear func() string) {
			hear()
			say("+ ")
			hear()
			say("+ eyJzdGF0dXMiOiI0MDEifQ==")
			if got := hear(); got != "" {
				t.Errorf("%q", got)
			}
			say("-ERR [AUTH] expired")
		})
		if remote.ClassOf(err) != remote.Auth || !strings.Contains(err.Error(), "expired") {
			t.Error(err)
		}
	})
	t.Run("OAUTHBEARER", func(t *testing.T) {
		_, err := saslServer(t, "OAUTHBEARER", func(say func(string), hear func() string) {
			if got := hear(); !strings.HasPrefix(got, "AUTH OAUTHBEARER bixhPW1l") {
				t.Error(got)
			}
			say("+OK")
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("nothing that we know", func(t *testing.T) {
		_, err := saslServer(t, "GSSAPI", func(func(string), func() string) {})
		if remote.ClassOf(err) != remote.Auth || !strings.Contains(err.Error(), "gssapi") {
			t.Error(err)
		}
	})
	t.Run("it asks without end", func(t *testing.T) {
		_, err := saslServer(t, "PLAIN", func(say func(string), hear func() string) {
			for hear() != "" {
				say("+ ")
			}
		})
		if err == nil {
			t.Error("it signed in")
		}
	})
}

// rotating gives another secret each time it is asked anew.
type rotating struct{ n int }

func (r *rotating) Secret(context.Context) (auth.Secret, error) {
	r.n++
	if r.n == 1 {
		return auth.NewSecret("secret")
	}
	return auth.NewSecret("newer")
}

// TestSecretRunsOut: what was taken before and is not any more is asked for anew, once.
func TestSecretRunsOut(t *testing.T) {
	server := popserver.New(t)
	d := dialer(server)
	source := &rotating{}
	d.cfg.Secret = auth.Once(source)
	_ = open(t, d).Close()
	server.Set(popserver.Quirks{SignIn: "-ERR [AUTH] expired"})
	if _, err := d.Dial(t.Context()); remote.ClassOf(err) != remote.Auth || source.n != 2 {
		t.Errorf("asked %d times, %v", source.n, err)
	}
	if c := server.Commands(); !slices.Contains(c, "PASS newer") {
		t.Errorf("%q", c)
	}
}

// TestUnsendable: no user name or password makes a command of its own.
func TestUnsendable(t *testing.T) {
	for _, user := range []string{"u\r\nDELE 1", "u v", "u\x00"} {
		server := popserver.New(t, popserver.Message{ID: "a", Body: letter(1)})
		d := dialer(server)
		d.cfg.User, d.cfg.Method = user, auth.Login
		if _, err := d.Dial(t.Context()); remote.ClassOf(err) != remote.Auth || len(server.Commands()) != 1 {
			t.Errorf("%q: %v, %q", user, err, server.Commands())
		}
	}
}

// TestSTLS: nothing that was said in plain text is believed, and no password goes out without TLS.
func TestSTLS(t *testing.T) {
	for _, tt := range []struct {
		name   string
		says   []string
		class  remote.Class
		listen int // commands that arrive
	}{
		{"refused", []string{"+OK ready", "-ERR no TLS here"}, remote.Protocol, 1},
		{"no POP3", []string{"* OK"}, remote.Protocol, 0},
		{"busy", []string{"-ERR [SYS/TEMP] later"}, remote.Unavailable, 0},
		{"words are slipped in", []string{"+OK ready", "+OK begin\r\n+OK injected"}, remote.Protocol, 1},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan string, 10)
		go func() {
			defer close(heard)
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			buf := make([]byte, 4096)
			for i, line := range tt.says {
				fmt.Fprintf(c, "%s\r\n", line)
				if i == len(tt.says)-1 && i > 0 {
					break
				}
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				heard <- string(buf[:n])
			}
			_, _ = io.Copy(io.Discard, c)
		}()
		d := NewDialer(Config{Transport: transport.Config{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, TLS: transport.StartTLS}, User: "u", Secret: auth.Literal("secret")})
		_, err = d.Dial(t.Context())
		_ = l.Close()
		var got []string
		for h := range heard {
			got = append(got, h)
		}
		if remote.ClassOf(err) != tt.class || len(got) != tt.listen || len(got) > 0 && got[0] != "STLS\r\n" {
			t.Errorf("%s: %v, heard %q", tt.name, err, got)
		}
	}
}
