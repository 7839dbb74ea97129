package e2e

import (
	"bufio"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// dialPOP3 connects without TLS, and returns what reads a line.
func dialPOP3(t *testing.T, s *servers.Server) (net.Conn, func() string) {
	t.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.POP3Port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(conn)
	lines := func() string {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
	lines()
	return conn, lines
}
