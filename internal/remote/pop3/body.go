package pop3

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// body reads the lines of a message up to the one that is a lone dot, and takes the dot away that was put before lines beginning
// with one (RFC 1939, section 3). Nothing else is changed: what it gives are the message's bytes, each line with its CRLF.
//
// A line ends, and another one begins, with CRLF only. A lone LF is a byte like any other, and a dot after it is the message's:
// else such a message would lose its dot, or all that follows a line of one. With a server whose own words end in LF alone a
// line is what ends so.
type body struct {
	w     *wire
	start bool   // the next byte begins a line
	cr    bool   // the byte before was a CR, of a line that was cut up
	rest  []byte // of a line, not given out yet; a part of the buffer
	done  bool
	err   error
	n     int64 // bytes given out
}

func newBody(w *wire) *body { return &body{w: w, start: true} }

// Read gives the message's next bytes, io.EOF after its last dot, or io.ErrUnexpectedEOF in the error if it breaks off before.
func (b *body) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(b.rest) == 0 {
			if b.done || b.err != nil {
				break
			}
			// What was read is given out before more is waited for.
			if n > 0 && b.w.r.Buffered() == 0 {
				break
			}
			b.fill()
			continue
		}
		m := copy(p[n:], b.rest)
		b.rest = b.rest[m:]
		n += m
	}
	b.n += int64(n)
	switch {
	case n > 0 || len(p) == 0:
		return n, nil
	case b.err != nil:
		return 0, b.err
	}
	return 0, io.EOF
}

// fill reads the next line, or a piece of it.
func (b *body) fill() {
	line, err := b.w.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		b.err = b.w.Broke(err)
		return
	}
	if len(line) == 0 {
		return
	}
	starts := b.start
	b.start = bytes.HasSuffix(line, []byte("\r\n")) || len(line) == 1 && line[0] == '\n' && b.cr || b.w.bare && line[len(line)-1] == '\n'
	b.cr = line[len(line)-1] == '\r'
	if !starts || line[0] != '.' {
		b.rest = line
		return
	}
	if string(line) == ".\r\n" || b.w.bare && string(line) == ".\n" {
		b.done = true
		return
	}
	b.rest = line[1:]
}

// drain reads what is left, at most so many bytes, and reports whether the end was reached.
func (b *body) drain(most int64) bool {
	_, err := io.CopyN(io.Discard, b, most)
	return b.done && len(b.rest) == 0 && (err == nil || errors.Is(err, io.EOF))
}
