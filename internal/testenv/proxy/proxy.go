// Package proxy stands between a client and a server on loopback and misbehaves as a test asks: it
// delays, cuts the connection at a byte or at a line, swallows answers, and counts.
package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	// CutAfterLiteral closes the connection to the client once its nth literal has come whole: the server has a message, and
	// the client never hears. From that literal's first byte on nothing that the server says is passed on. 0 never.
	CutAfterLiteral int
	// CutAfterCommand does so once the client has sent a line that holds this text. Empty never.
	CutAfterCommand string
	// Late, with one of these two, keeps what the client sends from that literal or line on until Late is closed: the server gets it
	// when the client has long lost the connection.
	Late <-chan struct{}
	// Linger leaves the server alone when the client's side ends or is cut: the server gets all that the client had sent, then the
	// end of input, and works it off in its own time. What it says goes nowhere.
	Linger bool
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
	// ended tells that a connection was taken out of conns.
	ended *sync.Cond

	done    chan struct{}  // closed by close
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
	p := &Proxy{t: t, listener: l, target: target, script: script, conns: map[net.Conn]struct{}{}, done: make(chan struct{})}
	p.ended = sync.NewCond(&p.mu)
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

// Idle waits until there is no connection any more, not to the server either.
func (p *Proxy) Idle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.conns) > 0 {
		p.ended.Wait()
	}
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
	close(p.done)
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
	// mute: nothing is passed on to the client any more.
	mute atomic.Bool
}

// hangUp ends the client's side; what was passed on before still arrives there.
func (r *relay) hangUp() {
	r.mute.Store(true)
	_ = r.client.Close()
}

// upEnds is the end of what the client says.
func (r *relay) upEnds() {
	if tcp, ok := r.server.(*net.TCPConn); ok && r.script.Linger {
		_ = tcp.CloseWrite()
		return // down ends when the server has nothing more to say
	}
	r.end()
}

func (r *relay) end() {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	for _, c := range []net.Conn{r.client, r.server} {
		delete(r.p.conns, c)
		_ = c.Close()
	}
	r.p.ended.Broadcast()
}

// up passes on to the server.
func (r *relay) up() {
	defer r.upEnds()
	out := r.delayed(r.server)
	defer out.Close()
	left := r.script.CutAfterUp
	said := literals{until: r.script.CutAfterLiteral, command: r.script.CutAfterCommand}
	var late []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := r.client.Read(buf)
		b, last := upTo(buf[:n], &left)
		begun, ended := said.see(b)
		if begun >= 0 {
			r.mute.Store(true)
		}
		if r.script.Late != nil && said.isBegun {
			late = append(late, b[max(begun, 0):]...)
			b = b[:max(begun, 0)]
		}
		r.p.mu.Lock()
		r.p.count.Up += int64(len(b))
		r.p.upLast = r.p.upLast || n > 0
		r.p.mu.Unlock()
		_, werr := out.Write(b)
		if last || ended {
			r.hangUp()
		}
		if werr != nil || err != nil || last || ended {
			break
		}
	}
	if len(late) == 0 {
		return
	}
	select {
	case <-r.script.Late:
		_, _ = out.Write(late) // the server may have lost patience
	case <-r.p.done:
	}
}

// literals finds the literals and the lines in what a client says.
type literals struct {
	until   int    // the one that matters, 0 none
	command string // the line that holds this text is what matters, empty for none
	n       int    // were announced
	left    int    // bytes of the last one that are to come
	fresh   bool   // none of it came
	isBegun bool   // the one that matters has
	line    []byte
}

// see looks at more of what is said: where in it the literal that matters begins, -1 if it does not, and whether it ends.
func (l *literals) see(b []byte) (begins int, ends bool) {
	begins = -1
	if l.until == 0 && l.command == "" {
		return begins, false
	}
	start := 0 // of the line
	for at := 0; at < len(b); {
		if l.left > 0 {
			if l.fresh && l.n == l.until {
				begins = at // not sooner: the server may have to be asked first
				l.isBegun = true
			}
			l.fresh = false
			step := min(l.left, len(b)-at)
			at += step
			if l.left -= step; l.left == 0 && l.n == l.until {
				ends = true
			}
			continue
		}
		c := b[at]
		at++
		if c != '\n' {
			l.line = append(l.line, c)
			continue
		}
		if l.left = announced(l.line); l.left > 0 {
			l.n++
			l.fresh = true
		}
		if l.command != "" && bytes.Contains(l.line, []byte(l.command)) {
			l.isBegun = true
			return start, true
		}
		l.line, start = l.line[:0], at
	}
	return begins, ends
}

// announced is the size of the literal that a line ends with ("{12}", "{12+}"), 0 for none.
func announced(line []byte) int {
	text, ok := strings.CutSuffix(strings.TrimSuffix(string(line), "\r"), "}")
	open := strings.LastIndexByte(text, '{')
	if !ok || open < 0 {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSuffix(text[open+1:], "+"))
	if err != nil || n < 0 {
		return 0
	}
	return n
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

// down passes on to the client, line by line where the script is about lines. Else it holds nothing back: what is compressed need not end with a line.
func (r *relay) down() {
	defer r.end()
	out := r.delayed(r.client)
	defer out.Close()
	left := r.script.CutAfterDown
	in := bufio.NewReaderSize(r.server, 64<<10)
	read := func() ([]byte, error) { return in.ReadSlice('\n') }
	if r.script.Line == nil && r.script.CutAtLine == 0 && r.script.SwallowFrom == 0 {
		buf := make([]byte, 64<<10)
		read = func() ([]byte, error) { n, err := in.Read(buf); return buf[:n], err }
	}
	for n := 1; ; {
		line, err := read()
		whole := !errors.Is(err, bufio.ErrBufferFull) // else more of a long line follows
		if !whole {
			err = nil
		}
		if len(line) > 0 && r.script.Line != nil {
			r.script.Line(n, string(line))
		}
		b, last := upTo(line, &left)
		if err == nil && n == r.script.CutAtLine {
			cut(r.client)
			b, last = nil, true
		}
		if r.script.SwallowFrom > 0 && n >= r.script.SwallowFrom || r.mute.Load() {
			b = nil
		}
		r.counted(len(b), bytes.Count(line, []byte("\n")))
		_, werr := out.Write(b)
		if last {
			r.hangUp()
			left = 0
		}
		if err != nil || (werr != nil || last) && !r.script.Linger {
			return
		}
		if werr != nil {
			r.mute.Store(true)
		}
		if whole {
			n++
		}
	}
}

func (r *relay) counted(passed, lines int) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	r.p.count.Down += int64(passed)
	if lines == 0 {
		return
	}
	r.p.count.Lines += lines
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
