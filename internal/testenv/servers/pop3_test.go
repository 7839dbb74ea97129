package servers

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// TestPOP3: a message that was stored by IMAP is there.
func TestPOP3(t *testing.T) {
	t.Run("dovecot", func(t *testing.T) {
		s := Dovecot(t, Options{POP3: true})
		s.Client(t).Append("INBOX", letter, mail.SystemFlags(mail.Seen), time.Now())
		conn, err := net.Dial("tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.POP3Port)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "USER %s\r\nPASS %s\r\nSTAT\r\nQUIT\r\n", s.User, s.Password)
		defer func() {
			if t.Failed() {
				out, _ := exec.Command("cat", s.Log).Output()
				t.Logf("%s", out)
			}
		}()
		ask(t, bufio.NewReader(conn))
	})
	t.Run("courier", func(t *testing.T) {
		s := Courier(t, Options{POP3: true})
		s.Client(t).Append("INBOX", letter, mail.SystemFlags(mail.Seen), time.Now())
		cmd := exec.CommandContext(context.Background(), "/bin/sh", "-c", s.POP3Tunnel)
		cmd.Stdin = strings.NewReader(fmt.Sprintf("USER %s\r\nPASS %s\r\nSTAT\r\nQUIT\r\n", s.User, s.Password))
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		ask(t, bufio.NewReader(strings.NewReader(string(out))))
	})
}

func ask(t *testing.T, r *bufio.Reader) {
	t.Helper()
	for i, want := range []string{"+OK", "+OK", "+OK", "+OK 1 ", "+OK"} {
		line, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, want) {
			t.Fatalf("line %d: %q, %v; want %q", i, line, err, want)
		}
	}
}
