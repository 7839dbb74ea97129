package imap

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"sync"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

// flight is a group of commands that are written without waiting for each other's answers. The
// writer is a goroutine of its own, so that a server that must get rid of answers before it reads
// on never blocks both sides; the caller's goroutine reads, and runs until every command that was sent
// has its tagged answer.
type flight struct {
	s     *Session
	cmds  []*command
	queue []*command // all that is sent: cmds, in the session's first flight behind lead
	base  int        // number in the tag of queue[0]

	// most and mostWeight limit what is under way at a time, 0: no limit. One command always may be.
	most       int
	mostWeight int64

	mu      sync.Mutex
	change  sync.Cond
	first   int // no command before queue[first] is unanswered; the reader's
	sent    int // commands whose sending began
	open    int // of them, those without an answer
	weight  int64
	waiting *command // of which the writer holds something back until the server asks for it
	halted  bool     // no further command is sent
	cut     bool     // no further command is sent before the connection is compressed
	dead    bool
	written bool // the writer is through
}

// run sends commands and waits for their answers. The error is nil whatever the server answered; it is
// the session's end, or a command that can't be spelled, of which nothing was sent.
func (s *Session) run(ctx context.Context, op string, cmds ...*command) error {
	return s.fly(ctx, op, &flight{cmds: cmds})
}

func (s *Session) fly(ctx context.Context, op string, f *flight) error {
	if err := s.conn.Failure(); err != nil {
		return s.during(op, err)
	}
	for _, c := range f.cmds {
		if c.err != nil {
			return unspeakable(c.op, c.err)
		}
	}
	if ctx.Err() != nil {
		// As if it had ended a moment later; watch alone may be too late to keep anything from being sent.
		return s.during(op, s.conn.Fail(transport.Lost(context.Cause(ctx))))
	}
	if f.isLarge() {
		if err := s.mayCompress(ctx); err != nil {
			return err
		}
	}
	lead := s.lead()
	f.queue = append(lead, f.cmds...)
	if f.most > 0 {
		f.most += len(lead)
	}
	f.s, f.change.L = s, &f.mu
	for { // once, unless the connection is to be compressed in between
		if err := f.leg(ctx); err != nil || !f.cut || f.halted {
			return s.during(op, err)
		}
		if err := s.mayCompress(ctx); err != nil {
			return err
		}
		f.queue, f.first, f.sent, f.cut, f.written = f.queue[f.sent:], 0, 0, false, false
	}
}

// isLarge reports whether a flight brings messages, or takes them.
func (f *flight) isLarge() bool {
	return slices.ContainsFunc(f.cmds, (*command).isLarge)
}

// leg sends what is queued, or the first part of it if the flight is cut, and waits for the answers.
func (f *flight) leg(ctx context.Context) error {
	s := f.s
	f.base = s.lastTag + 1
	for i, c := range f.queue {
		c.tag = tagOf(f.base + i)
	}
	s.lastTag += len(f.queue)
	s.flight = f
	defer func() { s.flight = nil }()

	defer s.conn.Watch(ctx)()
	s.conn.begin()
	var writer sync.WaitGroup
	writer.Go(f.write)
	err := f.read()
	if err != nil {
		err = s.conn.Fail(err)
	}
	f.mu.Lock()
	f.dead = err != nil
	f.change.Broadcast()
	f.mu.Unlock()
	writer.Wait()
	if err == nil {
		err = s.conn.Failure()
	}
	return err
}

// read handles responses until nothing is under way and nothing will be.
func (f *flight) read() (err error) {
	defer mistaken(&err)
	defer defect.Catch(&err)
	for f.more() {
		if err := f.s.receive(); err != nil {
			return err
		}
		if f.s.waiting != nil {
			f.s.waiting.gather()
		}
	}
	return f.s.conn.Failure()
}

// mistaken makes a panic the end of the session: what else the server says would be read out of step.
func mistaken(err *error) {
	if d := defect.Of(*err); d != nil {
		*err = &remote.Error{Class: remote.Protocol, Err: d}
	}
}

// more waits until there is an answer to wait for. While there is none the writer is busy, or done.
func (f *flight) more() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.open == 0 && !f.written {
		f.change.Wait()
	}
	return f.open > 0
}

// write sends the commands in order.
func (f *flight) write() {
	err := defect.Contain(func() error { f.writeAll(); return nil })
	if mistaken(&err); err != nil {
		f.s.conn.Fail(err)
	}
	f.mu.Lock()
	f.written = true
	f.change.Broadcast()
	f.mu.Unlock()
}

func (f *flight) writeAll() {
	w := flightWriter{f: f}
	for _, c := range f.queue {
		if !w.admitted(c) {
			break
		}
		if !w.send(c) {
			break
		}
	}
	_ = w.flush(true) // a failure is the connection's
}

// halt keeps commands that are not under way from being sent.
func (f *flight) halt() {
	f.mu.Lock()
	f.halted = true
	f.change.Broadcast()
	f.mu.Unlock()
}

// unanswered returns the first command under way that has no answer yet, nil if there is none.
func (f *flight) unanswered() *command {
	f.mu.Lock()
	sent := f.sent
	f.mu.Unlock()
	for f.first < sent && f.queue[f.first].done {
		f.first++
	}
	if f.first == sent {
		return nil
	}
	return f.queue[f.first]
}

// each yields the commands under way in the order they were sent. f may be nil: then none is.
func (f *flight) each() iter.Seq[*command] {
	return func(yield func(*command) bool) {
		if f == nil || f.unanswered() == nil {
			return
		}
		f.mu.Lock()
		sent := f.sent
		f.mu.Unlock()
		for _, c := range f.queue[f.first:sent] {
			if !c.done && !yield(c) {
				return
			}
		}
	}
}

// byTag finds a command under way.
func (f *flight) byTag(tag []byte) *command {
	n, ok := tagNumber(tag)
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := n - f.base; ok && i >= 0 && i < f.sent && !f.queue[i].done {
		return f.queue[i]
	}
	return nil
}

// answer settles a command.
func (f *flight) answer(c *command, result status) {
	f.mu.Lock()
	c.result, c.done = result, true
	f.open--
	f.weight -= c.weight
	f.change.Broadcast()
	f.mu.Unlock()
	if c.finish != nil {
		c.finish()
	}
}

// grant lets the writer go on with a command that waits, and returns it, nil if none does.
func (f *flight) grant() *command {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting == nil || f.waiting.granted {
		return nil
	}
	f.waiting.granted = true
	f.change.Broadcast()
	return f.waiting
}

// flightWriter is the writing half of a flight. Its errors are sticky in the connection; it only
// needs to stop.
type flightWriter struct {
	f   *flight
	buf bytes.Buffer
}

// Write is for streams of literals. What is small is gathered.
func (w *flightWriter) Write(p []byte) (int, error) {
	if w.buf.Len()+len(p) >= writeChunk {
		if err := w.flush(false); err != nil {
			return 0, err
		}
	}
	if len(p) >= writeChunk {
		return len(p), w.f.s.conn.write(p, false)
	}
	return w.buf.Write(p)
}

// flush sends what is gathered. last says that the writer then waits for the server.
func (w *flightWriter) flush(last bool) error {
	conn := w.f.s.conn
	if w.buf.Len() == 0 {
		if last {
			conn.quiet.Store(true)
		}
		return conn.Failure()
	}
	err := conn.write(w.buf.Bytes(), last)
	w.buf.Reset()
	return err
}

// admitted waits until one more command may be under way.
func (w *flightWriter) admitted(c *command) bool {
	f := w.f
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.halted && !f.dead {
		if f.sent > 0 && c.isLarge() && f.s.wouldCompress() {
			f.cut = true
			return false
		}
		full := (f.most > 0 && f.open >= f.most) || (f.mostWeight > 0 && f.weight+c.weight > f.mostWeight)
		if f.open == 0 || !full {
			return true
		}
		if w.buf.Len() > 0 {
			f.mu.Unlock()
			err := w.flush(true)
			f.mu.Lock()
			if err != nil {
				return false
			}
			continue
		}
		f.s.conn.quiet.Store(true)
		f.change.Wait()
	}
	return false
}

// send writes one command, as far as the server lets it. It reports false when the connection is lost.
func (w *flightWriter) send(c *command) bool {
	f := w.f
	if c.prepare != nil {
		if err := c.prepare(); err != nil {
			w.skip(c, err)
			return true
		}
	}
	f.mu.Lock()
	f.sent++
	f.open++
	f.weight += c.weight
	f.change.Broadcast()
	f.mu.Unlock()
	f.s.traceOut(c)

	w.buf.WriteString(c.tag + " ")
	for i := range c.parts {
		p := &c.parts[i]
		if p.wait {
			granted, alive := w.await(c)
			if !alive {
				return false
			}
			if !granted {
				return true // refused before the literal: the command has its answer
			}
		}
		if p.until != nil {
			if !w.linger(c, p.until) {
				return true // it has its answer, or the connection is lost
			}
			if f.s.cfg.Trace != nil {
				f.s.trace('>', p.text)
			}
		}
		if p.stream != nil {
			if err := p.stream(w); err != nil {
				f.s.conn.Fail(err)
				return false
			}
		}
		w.buf.WriteString(p.text)
	}
	w.buf.WriteString("\r\n")
	if w.buf.Len() >= writeChunk {
		return w.flush(false) == nil
	}
	return true
}

// skip settles a command that is not sent.
func (w *flightWriter) skip(c *command, err error) {
	w.f.mu.Lock()
	w.f.sent++
	c.unsent, c.done = err, true
	c.result.kind = goimap.StatusResponseTypeNo
	w.f.mu.Unlock()
	if c.finish != nil {
		c.finish()
	}
}

// await holds a literal back until the server asks for it, or refuses the command.
func (w *flightWriter) await(c *command) (granted, alive bool) {
	f := w.f
	f.mu.Lock()
	f.waiting = c
	f.mu.Unlock()
	err := w.flush(true)
	f.mu.Lock()
	defer f.mu.Unlock()
	for err == nil && !c.granted && !c.done && !f.dead {
		f.change.Wait()
	}
	f.waiting = nil
	granted = c.granted && !c.done
	c.granted = false // there may be another literal
	return granted, err == nil && !f.dead
}

// linger holds a command back. It reports false if that is over because the command has its answer.
func (w *flightWriter) linger(c *command, until context.Context) bool {
	f := w.f
	defer context.AfterFunc(until, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.change.Broadcast()
	})()
	f.s.conn.rest(true)
	defer f.s.conn.rest(false)
	f.mu.Lock()
	defer f.mu.Unlock()
	for !c.done && !f.dead && until.Err() == nil {
		f.change.Wait()
	}
	return !c.done && !f.dead
}

const tagLetter = 'S'

func tagOf(n int) string { return string(tagLetter) + itoa(n) }

func tagNumber(tag []byte) (int, bool) {
	if len(tag) < 2 || len(tag) > 10 || tag[0] != tagLetter {
		return 0, false
	}
	n, ok := parseNumber(tag[1:])
	return int(n), ok
}
