// Package proxy stands between a client and a server on loopback and misbehaves as a test asks: it
// delays, cuts the connection at a byte or at a line, swallows answers, and counts.
package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Script is what happens to one connection. The zero value relays everything. Counts begin with 1 and are
// of that connection alone.
type Script struct {
	// Delay is added to everything in each direction: half of a round trip's latency. Bytes are held back,
	// not slowed down: any number of them may be under way.
	Delay time.Duration
	// CutAfterUp and CutAfterDown close the connection once so many bytes went to the server, or to the
	// client; 0 never. The bytes up to there are passed on.
	CutAfterUp, CutAfterDown int64
	// CutAtLine closes the connection in place of the server's nth line: the server acted, the client
	// never hears. Lines inside literals count too. 0 never.
	CutAtLine int
	// SwallowFrom passes nothing on to the client from the server's nth line, but leaves the
	// connection open: the client hears nothing more. 0 never.
	SwallowFrom int
	// Line, if set, sees each of the server's lines, line end included, before anything is done with it. Lines
	// beyond 64 kB come in pieces of the same number.
	Line func(n int, line string)
}

// Count is the traffic of all connections so far.
type Count struct {
	Connections int
	// Up and Down are the bytes that were passed on to the server and to the client.
	Up, Down int64
	// Turns counts how often the server spoke after the client had: round trips that the client waited
	// for, pipelined commands counting once.
	Turns int
	// Lines are the server's lines.
	Lines int
}

// Proxy listens on a loopback port.
type Proxy struct {
	t        testing.TB
	listener net.Listener
	target   string

	mu     sync.Mutex // guards all below
	script func(connection int) Script
	count  Count
	// upLast: the last bytes seen went to the server.
	upLast bool
	conns  map[net.Conn]struct{}
	closed bool

	running sync.WaitGroup // the accepting goroutine and two for each connection
}

// New relays to target ("127.0.0.1:143") until the test ends. script is asked for each connection, from 1 on; nil
// relays everything.
func New(t testing.TB, target string, script func(connection int) Script) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("starting the proxy: %v", err)
	}
	p := &Proxy{t: t, listener: l, target: target, script: script, conns: map[net.Conn]struct{}{}}
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Host and Port are where it listens.
func (p *Proxy) Host() string { return "127.0.0.1" }

// Port is the port that it listens on.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Addr is Host and Port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Count returns the traffic so far.
func (p *Proxy) Count() Count {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// SetScript replaces the script for connections from now on.
func (p *Proxy) SetScript(script func(connection int) Script) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.script = script
}

// CutAll closes all connections now. New ones are still accepted.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		cut(c)
	}
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.CutAll()
	p.running.Wait()
}

// cut closes a connection at once, with what is still under way lost.
func cut(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			cut(client)
			continue
		}
		script, ok := p.begin(client, server)
		if !ok {
			return
		}
		r := &relay{p: p, script: script, client: client, server: server}
		p.running.Go(r.up)
		p.running.Go(r.down)
	}
}

func (p *Proxy) begin(client, server net.Conn) (Script, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		cut(client)
		cut(server)
		return Script{}, false
	}
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	p.count.Connections++
	if p.script == nil {
		return Script{}, true
	}
	return p.script(p.count.Connections), true
}

// relay is one connection.
type relay struct {
	p              *Proxy
	script         Script
	client, server net.Conn
}

func (r *relay) end() {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	for _, c := range []net.Conn{r.client, r.server} {
		delete(r.p.conns, c)
		_ = c.Close()
	}
}

// up passes on to the server.
func (r *relay) up() {
	defer r.end()
	out := r.delayed(r.server)
	defer out.Close()
	left := r.script.CutAfterUp
	buf := make([]byte, 64<<10)
	for {
		n, err := r.client.Read(buf)
		b, last := upTo(buf[:n], &left)
		r.p.mu.Lock()
		r.p.count.Up += int64(len(b))
		r.p.upLast = r.p.upLast || n > 0
		r.p.mu.Unlock()
		if _, werr := out.Write(b); werr != nil || err != nil || last {
			return
		}
	}
}

// upTo cuts b off at what is left of a limit, and says whether the limit is reached. A limit of 0 is none; a
// reached one becomes negative.
func upTo(b []byte, left *int64) ([]byte, bool) {
	if *left == 0 {
		return b, false
	}
	if int64(len(b)) >= *left {
		return b[:*left], true
	}
	*left -= int64(len(b))
	return b, false
}

// down passes on to the client, line by line.
func (r *relay) down() {
	defer r.end()
	out := r.delayed(r.client)
	defer out.Close()
	left := r.script.CutAfterDown
	in := bufio.NewReaderSize(r.server, 64<<10)
	for n := 1; ; {
		line, err := in.ReadSlice('\n')
		whole := !errors.Is(err, bufio.ErrBufferFull) // else more of a long line follows
		if !whole {
			err = nil
		}
		if len(line) > 0 && r.script.Line != nil {
			r.script.Line(n, string(line))
		}
		if err == nil && n == r.script.CutAtLine {
			cut(r.client)
			return
		}
		b, last := upTo(line, &left)
		if r.script.SwallowFrom > 0 && n >= r.script.SwallowFrom {
			b = nil
		}
		r.counted(len(b), whole && len(line) > 0)
		if _, werr := out.Write(b); werr != nil || err != nil || last {
			return
		}
		if whole {
			n++
		}
	}
}

func (r *relay) counted(passed int, line bool) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	r.p.count.Down += int64(passed)
	if !line {
		return
	}
	r.p.count.Lines++
	if r.p.upLast {
		r.p.count.Turns++
		r.p.upLast = false
	}
}

// delayed returns a writer to conn that holds everything back for the script's delay.
func (r *relay) delayed(conn net.Conn) io.WriteCloser {
	if r.script.Delay == 0 {
		return now{conn}
	}
	d := &later{conn: conn, delay: r.script.Delay, queue: make(chan packet, 1024), done: make(chan struct{})}
	go d.run() // ends with Close, which waits for it
	return d
}

type now struct{ io.Writer }

func (now) Close() error { return nil }

type packet struct {
	due  time.Time
	data []byte
}

// later writes each packet when it is due.
type later struct {
	conn  net.Conn
	delay time.Duration
	queue chan packet // closed by Close
	done  chan struct{}
}

func (l *later) run() {
	defer close(l.done)
	var broken bool
	for p := range l.queue {
		time.Sleep(time.Until(p.due)) // latency is what this is for
		if broken {
			continue
		}
		if _, err := l.conn.Write(p.data); err != nil {
			broken = true
		}
	}
}

func (l *later) Write(b []byte) (int, error) {
	select {
	case l.queue <- packet{time.Now().Add(l.delay), append([]byte(nil), b...)}:
		return len(b), nil
	case <-l.done:
		return 0, fmt.Errorf("proxy: %w", net.ErrClosed)
	}
}

// Close lets what is under way arrive.
func (l *later) Close() error {
	close(l.queue)
	<-l.done
	return nil
}
