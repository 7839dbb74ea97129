package imap

import (
	"bytes"
	"io"
)

const (
	readBuffer = 64 << 10
	// directRead is what of a literal is read past the buffer at a time, as large as io.Copy's own buffer: it would only
	// be copied once more.
	directRead = 32 << 10
	// maxLine bounds one line; the lists of numbers that some servers put on one line may be longer: seven
	// digits for each of two million messages.
	maxLine       = 1 << 20
	maxNumberLine = 16 << 20
)

// numberLines are the beginnings of lines that only list numbers.
var numberLines = [...]string{"* SEARCH", "* ESEARCH", "* VANISHED"}

// lineReader splits what the server sends into lines and the bytes of literals between them.
type lineReader struct {
	src  io.Reader
	buf  []byte
	r, w int
	long []byte // a line that did not fit into buf
}

func newLineReader(src io.Reader) *lineReader {
	return &lineReader{src: src, buf: make([]byte, readBuffer)}
}

// fill reads more into a buffer that has room.
func (l *lineReader) fill() error {
	n, err := l.src.Read(l.buf[l.w:])
	l.w += n
	if n > 0 {
		return nil
	}
	return err
}

// line returns the next line without its end, valid until the next call of any method. A bare LF
// ends a line too.
func (l *lineReader) line() ([]byte, error) {
	l.long = l.long[:0]
	scanned := 0 // bytes after r that hold no LF
	for {
		if i := bytes.IndexByte(l.buf[l.r+scanned:l.w], '\n'); i >= 0 {
			line := l.buf[l.r : l.r+scanned+i]
			l.r += scanned + i + 1
			if len(l.long) > 0 {
				l.long = append(l.long, line...)
				line = l.long
			}
			line = bytes.TrimSuffix(line, []byte{'\r'})
			if tooLong(line) {
				return nil, protocolError("a line of %d bytes", len(line))
			}
			return line, nil
		}
		scanned = l.w - l.r
		if l.w == len(l.buf) {
			if l.r > 0 {
				l.w = copy(l.buf, l.buf[l.r:l.w])
			} else {
				l.long = append(l.long, l.buf...)
				if tooLong(l.long) {
					return nil, protocolError("a line of more than %d bytes", len(l.long))
				}
				l.w, scanned = 0, 0
			}
			l.r = 0
		}
		if err := l.fill(); err != nil {
			return nil, err
		}
	}
}

func tooLong(line []byte) bool {
	if len(line) <= maxLine {
		return false
	}
	for _, p := range numberLines {
		if len(p) < len(line) && bytes.EqualFold(line[:len(p)], []byte(p)) {
			return len(line) > maxNumberLine
		}
	}
	return true
}

// Read gives the bytes of a literal; the caller knows how many there are.
func (l *lineReader) Read(p []byte) (int, error) {
	if l.r == l.w {
		if len(p) >= directRead {
			return l.src.Read(p)
		}
		l.r, l.w = 0, 0
		if err := l.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, l.buf[l.r:l.w])
	l.r += n
	return n, nil
}

// full reads exactly len(p) bytes.
func (l *lineReader) full(p []byte) error {
	_, err := io.ReadFull(l, p)
	return err
}

// discard skips n bytes.
func (l *lineReader) discard(n int64) error {
	for n > 0 {
		if l.r == l.w {
			l.r, l.w = 0, 0
			if err := l.fill(); err != nil {
				return err
			}
		}
		k := min(n, int64(l.w-l.r))
		l.r += int(k)
		n -= k
	}
	return nil
}
