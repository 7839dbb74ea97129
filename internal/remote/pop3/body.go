package pop3

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/satchel-mail/satchel/internal/remote"
)

// body reads a message up to the line that is a lone dot, and takes the dot away that was put before lines beginning
// with one (RFC 1939, section 3). Nothing else is changed: what it gives are the message's bytes, each line with its CRLF.
//
// A line ends, and another one begins, with CRLF only. A lone LF is a byte like any other, and a dot after it is the message's:
// else such a message would lose its dot, or all that follows a line of one. With a server whose own words end in LF alone a
// line is what ends so. One that puts no CRLF behind a message whose last line ends in a lone LF is understood if all that was
// announced is there.
type body struct {
	w     *wire
	size  int64 // as the server told it, -1 if not known
	bound int64 // how many bytes may come, 0: any

	start bool // the next byte begins a line
	alone bool // the byte before was a lone LF
	cr    bool // the byte before was a CR
	run   int  // of what is buffered, so much can be given out as it is
	done  bool
	err   error
	n     int64 // bytes given out
}

func newBody(w *wire) *body { return &body{w: w, size: -1, start: true} }

// Read gives the message's next bytes, io.EOF after its last dot, or io.ErrUnexpectedEOF in the error if it breaks off before.
func (b *body) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && b.ready(n == 0) { // what was read is given out before more is waited for
		have, _ := b.w.r.Peek(b.run) // which is there
		m := copy(p[n:], have)
		b.pass(have[:m])
		n += m
	}
	switch {
	case n > 0 || len(p) == 0:
		return n, nil
	case b.err != nil:
		return 0, b.err
	}
	return 0, io.EOF
}

// pass notes what is given out.
func (b *body) pass(p []byte) {
	last := p[len(p)-1]
	before := b.cr
	if len(p) > 1 {
		before = p[len(p)-2] == '\r'
	}
	b.start = last == '\n' && (before || b.w.bare)
	b.alone = last == '\n' && !b.start
	b.cr = last == '\r'
	_, _ = b.w.r.Discard(len(p)) // which is there
	b.run -= len(p)
	if b.n += int64(len(p)); b.bound > 0 && b.n > b.bound {
		b.err = &remote.Error{Class: remote.Refused, Op: "fetching messages",
			Err: fmt.Errorf("more than %d bytes came of a message that the server says has %d: %w", b.bound, b.size, remote.ErrTooLarge)}
	}
}

// ready finds out how much can be given out. It reports false at the message's end, after an error or, unless it may wait, if that has
// to be waited for.
func (b *body) ready(wait bool) bool {
	for b.run == 0 {
		if b.done || b.err != nil || !b.has(1, wait) {
			return false
		}
		if first, _ := b.w.r.Peek(1); first[0] == '.' && (b.start || b.alone) {
			if !b.dot(wait) {
				return false
			}
			continue
		}
		have, _ := b.w.r.Peek(b.w.r.Buffered()) // which is there
		if b.run = bytes.Index(have, []byte("\n.")) + 1; b.run == 0 {
			b.run = len(have)
		}
	}
	return true
}

// has reports whether n bytes are buffered, after waiting for them if it may.
func (b *body) has(n int, wait bool) bool {
	if b.w.r.Buffered() >= n {
		return true
	}
	if !wait {
		return false
	}
	if _, err := b.w.r.Peek(n); err != nil {
		b.err = b.w.Broke(err)
		return false
	}
	return true
}

// dot deals with a dot at the beginning of a line. It reports false if that must be waited for, and that the message has ended.
func (b *body) dot(wait bool) bool {
	if !b.has(2, wait) {
		return false
	}
	line, _ := b.w.r.Peek(2)
	length := 2
	if line[1] == '\r' {
		if !b.has(3, wait) {
			return false
		}
		line, _ = b.w.r.Peek(3)
		length = 3
	}
	switch ends := line[length-1] == '\n' && (length == 3 || b.w.bare); {
	case b.start && ends, b.alone && ends && b.isWhole(length):
		_, _ = b.w.r.Discard(length)
		b.done = true
		return false
	case b.start:
		_, _ = b.w.r.Discard(1)
		b.start = false
	default:
		b.run = 1
	}
	return true
}

// isWhole reports whether what came is all that was announced, and what follows the next so many bytes is, if anything, an answer.
func (b *body) isWhole(skip int) bool {
	if b.size < 0 || b.n < b.size {
		return false
	}
	have, _ := b.w.r.Peek(b.w.r.Buffered()) // which is there
	return len(have) == skip || have[skip] == '+' || have[skip] == '-'
}

// isEmpty reports whether the message is over before it begins.
func (b *body) isEmpty() bool {
	b.ready(true)
	return b.done && b.n == 0
}

// drain reads what is left, at most so many bytes, and reports whether the end was reached.
func (b *body) drain(most int64) bool {
	if b.bound = 0; errors.Is(b.err, remote.ErrTooLarge) {
		b.err = nil
	}
	_, err := io.CopyN(io.Discard, b, most)
	return b.done && (err == nil || errors.Is(err, io.EOF))
}
