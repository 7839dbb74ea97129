package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/proxy"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// newRelay puts a proxy in front of a server, also of one that is reached by a tunnel only. through is what the configuration says of it.
func newRelay(t testing.TB, s *servers.Server, script func(int) proxy.Script) (relay *proxy.Proxy, through map[string]string) {
	t.Helper()
	if s.Port != 0 {
		relay = proxy.New(t, s.Addr(), script)
		return relay, map[string]string{"host": `"localhost"`, "port": strconv.Itoa(relay.Port()), "tls": `"off"`,
			"user": quote(s.User), "password": quote(s.Password)}
	}
	relay = proxy.New(t, s.Listen(t), script)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tunnel := fmt.Sprintf("%s=%s exec '%s'", dialVariable, relay.Addr(), self)
	return relay, map[string]string{"host": `"localhost"`, "user": quote(s.User), "tunnel": quote(tunnel)}
}

// lingering relays everything and leaves the server to end by itself, so that Proxy.Idle tells when it has.
func lingering(int) proxy.Script { return proxy.Script{Linger: true} }

// dialVariable has this program be a tunnel to the address that it holds, in place of the tests.
const dialVariable = "SATCHEL_E2E_DIAL"

// tunnelTo joins the standard streams with a connection, until the other side has said all that it has to say.
func tunnelTo(addr string) int {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() { // ends with the process
		_, _ = io.Copy(c, os.Stdin)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(os.Stdout, c)
	return 0
}
