package link

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// echo is a server that greets, answers each line with as many bytes as it asks for, and says good-bye.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() { // ends with the listener
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go answer(conn)
		}
	}()
	return listener.Addr().String()
}

func answer(conn net.Conn) {
	defer conn.Close()
	fmt.Fprint(conn, "hello\n")
	in := bufio.NewScanner(conn)
	for in.Scan() {
		var n int
		_, _ = fmt.Sscan(in.Text(), &n)
		fmt.Fprintln(conn, strings.Repeat("x", n))
	}
	fmt.Fprint(conn, "bye\n")
}

// client reads lines.
type client struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func connect(t *testing.T, l *Link) *client {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", l.Port()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) send(text string) {
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Error(err)
	}
}

func (c *client) hear(lines int) {
	for range lines {
		if _, err := c.in.ReadString('\n'); err != nil {
			c.t.Error(err)
		}
	}
}

func TestCount(t *testing.T) {
	const rtt = 20 * time.Millisecond
	for _, test := range []struct {
		name string
		talk func(l *Link)
		want Count
	}{
		{"a handshake and the greeting", func(l *Link) {
			connect(t, l).hear(1)
		}, Count{Connections: 1, Down: 6, Trips: 2}},
		{"waiting for each answer", func(l *Link) {
			c := connect(t, l)
			c.hear(1)
			for range 5 {
				c.send("1\n")
				c.hear(1)
			}
		}, Count{Connections: 1, Up: 10, Down: 16, Trips: 7}},
		{"five commands in one flight", func(l *Link) {
			c := connect(t, l)
			c.hear(1)
			c.send("1\n1\n1\n1\n1\n")
			c.hear(5)
		}, Count{Connections: 1, Up: 10, Down: 16, Trips: 3}},
		{"five commands in one flight, sent in pieces", func(l *Link) {
			c := connect(t, l)
			c.hear(1)
			for range 5 {
				c.send("1\n")
				time.Sleep(time.Millisecond)
			}
			c.hear(5)
		}, Count{Connections: 1, Up: 10, Down: 16, Trips: 3}},
		{"not waiting for the greeting", func(l *Link) {
			c := connect(t, l)
			c.send("1\n")
			c.hear(2)
		}, Count{Connections: 1, Up: 2, Down: 8, Trips: 2}},
		{"hanging up", func(l *Link) {
			c := connect(t, l)
			c.hear(1)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			time.Sleep(4 * rtt) // the server says good-bye meanwhile
		}, Count{Connections: 1, Down: 10, Trips: 2}},
		{"two connections at once", func(l *Link) {
			a, b := connect(t, l), connect(t, l)
			a.send("1\n")
			b.send("1\n")
			a.hear(2)
			b.hear(2)
		}, Count{Connections: 2, Up: 4, Down: 16, Trips: 2}},
		{"two connections, one after the other", func(l *Link) {
			for range 2 {
				c := connect(t, l)
				c.send("1\n")
				c.hear(2)
			}
		}, Count{Connections: 2, Up: 4, Down: 16, Trips: 4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := New(echo(t), rtt)
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			test.talk(l)
			took := time.Since(begin)
			if got := l.Close(); got != test.want {
				t.Errorf("counted %+v, want %+v", got, test.want)
			}
			if least := time.Duration(test.want.Trips) * rtt; took < least {
				t.Errorf("took %s, and %d round trips take %s", took, test.want.Trips, least)
			}
		})
	}
}

func TestMuchGoesThrough(t *testing.T) {
	l, err := New(echo(t), time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	const n = 20 << 20
	c := connect(t, l)
	c.hear(1)
	c.send(fmt.Sprintln(n))
	c.hear(1)
	if got := l.Close(); got.Down != n+7 {
		t.Errorf("%d bytes came down, want %d", got.Down, n+7)
	}
}
