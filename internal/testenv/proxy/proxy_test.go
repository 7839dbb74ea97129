package proxy

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// echo answers each line with "re: " and the line, after a greeting.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.WriteString(c, "hello\r\n")
				in := bufio.NewScanner(c)
				for in.Scan() {
					_, _ = io.WriteString(c, "re: "+in.Text()+"\r\n")
				}
			}()
		}
	}()
	return l.Addr().String()
}

// talk sends the text in one piece and returns all that comes until the connection ends, or until as many
// lines came as wanted. A connection that is cut before it is used gives nothing.
func talk(t *testing.T, p *Proxy, text string, want int) string {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.WriteString(c, text)
	var got strings.Builder
	in := bufio.NewReader(c)
	for range want {
		line, err := in.ReadString('\n')
		got.WriteString(line)
		if err != nil {
			break
		}
	}
	return got.String()
}

func TestScripts(t *testing.T) {
	for _, c := range []struct {
		name   string
		script Script
		want   string
	}{
		{"relay", Script{}, "hello\r\nre: a\r\nre: b\r\n"},
		{"delay", Script{Delay: time.Millisecond}, "hello\r\nre: a\r\nre: b\r\n"},
		{"cut down", Script{CutAfterDown: 9}, "hello\r\nre"},
		{"cut up", Script{CutAfterUp: 1}, "hello\r\n"},
		{"cut at the first line", Script{CutAtLine: 1}, ""},
		{"cut at the third line", Script{CutAtLine: 3}, "hello\r\nre: a\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := New(t, echo(t), func(int) Script { return c.script })
			if got := talk(t, p, "a\r\nb\r\n", 3); !strings.HasPrefix(c.want, got) || c.name == "relay" && got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestSwallow(t *testing.T) {
	seen := make(chan string, 10)
	p := New(t, echo(t), func(int) Script {
		return Script{SwallowFrom: 2, Line: func(_ int, line string) { seen <- line }}
	})
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	if line, err := in.ReadString('\n'); err != nil || line != "hello\r\n" {
		t.Fatalf("greeting is %q, %v", line, err)
	}
	_, _ = io.WriteString(c, "a\r\n")
	<-seen
	if line := <-seen; line != "re: a\r\n" {
		t.Fatalf("the server's second line is %q", line)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if b, err := in.ReadByte(); err == nil {
		t.Errorf("%q was not swallowed", b)
	} else if e, ok := err.(net.Error); !ok || !e.Timeout() {
		t.Errorf("the connection was not left open: %v", err)
	}
}

// listener takes one connection and gives out all that came on it when it has ended.
func listener(t *testing.T) (addr string, heard <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	out := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "hello\r\n")
		b, _ := io.ReadAll(c)
		_, _ = io.WriteString(c, "bye\r\n")
		out <- string(b)
	}()
	return l.Addr().String(), out
}

// TestLinger: the server hears all that the client had said before it was cut off, and no error.
func TestLinger(t *testing.T) {
	const two = "a APPEND x {3+}\r\none (y) {5+}\r\n{9}\r\n\r\nb NOOP\r\n"
	for _, c := range []struct {
		name   string
		script Script
		want   string
	}{
		{"after the first literal", Script{CutAfterLiteral: 1}, two},
		{"after the second literal", Script{CutAfterLiteral: 2}, two},
		{"up", Script{CutAfterUp: 5}, two[:5]},
		{"down", Script{CutAfterDown: 3}, ""},
		{"line", Script{CutAtLine: 1}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, heard := listener(t)
			c.script.Linger = true
			p := New(t, addr, func(int) Script { return c.script })
			if got := talk(t, p, two, 2); !strings.HasPrefix("hello\r\n", got) {
				t.Errorf("the client heard %q", got)
			}
			if got := <-heard; !strings.HasPrefix(got, c.want) || !strings.HasPrefix(two, got) {
				t.Errorf("the server heard %q, want %q", got, c.want)
			}
			p.Idle()
		})
	}
}

// TestLate: the server hears it when the client is long gone.
func TestLate(t *testing.T) {
	for _, tt := range []struct {
		script     Script
		text, from string
	}{
		{Script{CutAfterLiteral: 1}, "a APPEND x {3}\r\none\r\n", "one"},
		{Script{CutAfterCommand: "UID COPY"}, "a UID FETCH 1\r\nb UID COPY 1 x\r\nc NOOP\r\n", "b UID COPY"},
	} {
		addr, heard := listener(t)
		late := make(chan struct{})
		tt.script.Late, tt.script.Linger = late, true
		p := New(t, addr, func(int) Script { return tt.script })
		talk(t, p, tt.text, 2)
		if got := p.Count().Up; got != int64(strings.Index(tt.text, tt.from)) {
			t.Errorf("%d bytes went on at once", got)
		}
		close(late)
		if got := <-heard; got != tt.text {
			t.Errorf("the server heard %q", got)
		}
		p.Idle()
	}
}

func TestCount(t *testing.T) {
	p := New(t, echo(t), nil)
	for range 2 {
		talk(t, p, "a\r\nb\r\n", 3)
	}
	got := p.Count()
	if got.Connections != 2 || got.Up != 12 || got.Down != 42 || got.Lines != 6 || got.Turns < 1 {
		t.Errorf("counted %+v", got)
	}
}
