package pop3

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

const (
	// readBuffer is how much is taken from the network at once.
	readBuffer = 64 << 10

	// maxLine is how long a line of an answer may be, without the lines of a message. RFC 2449, section 4, allows 512 bytes.
	maxLine = 8 << 10

	// closeTime is how long a farewell may take.
	closeTime = time.Second
)

// wire is the connection under a session. To the library, which reads what it can get and keeps it, it is a net.Conn that gives
// one line at a time: so what follows a line is still here, to be read by ourselves.
//
// Every read and write has a deadline. The first failure closes the socket and is what every later call returns.
type wire struct {
	transport.Fuse
	r *bufio.Reader // over network{w}

	in, out, trips atomic.Int64
	asked          bool // something was sent since the last answer

	greeting []byte // to be read before all else: what the upgrade read already
	line     []byte // what of the present line was given out so far
	last     []byte // the last whole line, without its end
	bare     bool   // the server ends its lines with LF alone
}

func newWire(nc net.Conn, patience time.Duration) *wire {
	w := &wire{Fuse: transport.Fuse{Conn: nc, Patience: patience}}
	w.begin()
	w.r = bufio.NewReaderSize(network{w}, readBuffer)
	return w
}

// network reads from the socket, with deadlines.
type network struct{ w *wire }

func (n network) Read(p []byte) (int, error) {
	w := n.w
	if err := w.Failure(); err != nil {
		return 0, err
	}
	_ = w.Conn.SetReadDeadline(time.Now().Add(w.Patience)) // a closed socket says so in Read
	got, err := w.Conn.Read(p)
	if got > 0 {
		w.in.Add(int64(got))
		if w.asked {
			w.asked = false
			w.trips.Add(1)
		}
		if err := w.TooSlow(w.in.Load()); err != nil {
			return 0, err
		}
		return got, nil
	}
	if err == nil {
		return 0, nil
	}
	return 0, w.Broke(err)
}

// begin starts the clock for a new exchange.
func (w *wire) begin() { w.Begin(w.in.Load()) }

// protocolError is the failure of a server that can't be understood.
func protocolError(format string, args ...any) *remote.Error {
	return &remote.Error{Class: remote.Protocol, Op: "reading the server's answer", Err: fmt.Errorf(format, args...)}
}

// Read gives the library the next line, or the next piece of it.
func (w *wire) Read(p []byte) (int, error) {
	if len(w.greeting) > 0 {
		n := copy(p, w.greeting)
		w.greeting = w.greeting[n:]
		w.given(p[:n])
		return n, nil
	}
	if w.r.Buffered() == 0 {
		if _, err := w.r.Peek(1); err != nil {
			return 0, w.Broke(err)
		}
	}
	have, _ := w.r.Peek(min(len(p), w.r.Buffered())) // which is there
	if i := bytes.IndexByte(have, '\n'); i >= 0 {
		have = have[:i+1]
	}
	n := copy(p, have)
	_, _ = w.r.Discard(n)
	w.given(p[:n])
	if len(w.line) > maxLine {
		return 0, w.Fail(protocolError("a line of more than %d bytes", maxLine))
	}
	return n, nil
}

// given notes what the library was given.
func (w *wire) given(p []byte) {
	w.line = append(w.line, p...)
	if line, ended := bytes.CutSuffix(w.line, []byte{'\n'}); ended {
		whole, crlf := bytes.CutSuffix(line, []byte{'\r'})
		w.last, w.bare = append(w.last[:0], whole...), !crlf
		w.line = w.line[:0]
	}
}

// Write sends all of p.
func (w *wire) Write(p []byte) (int, error) {
	if err := w.Failure(); err != nil {
		return 0, err
	}
	w.asked = true
	_ = w.Conn.SetWriteDeadline(time.Now().Add(w.Patience)) // a closed socket says so in Write
	n, err := w.Conn.Write(p)
	w.out.Add(int64(n))
	if err != nil {
		return n, w.Broke(err)
	}
	return n, nil
}

// farewell sends p, or what of it goes out at once, and closes the connection.
func (w *wire) farewell(p string) {
	if w.Failure() == nil {
		_ = w.Conn.SetWriteDeadline(time.Now().Add(closeTime)) // whatever comes of it is good enough
		n, _ := io.WriteString(w.Conn, p)
		w.out.Add(int64(n))
	}
	w.Fail(transport.Lost(net.ErrClosed))
}

// readLine reads a line of a multi-line answer, without its end. The slice is valid until the next call.
func (w *wire) readLine() ([]byte, error) {
	line, err := w.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull), err == nil && len(line) > maxLine:
		return nil, w.Fail(protocolError("a line of more than %d bytes", maxLine))
	case err != nil:
		return nil, w.Broke(err)
	}
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte{'\n'}), []byte{'\r'}), nil
}

func (w *wire) Close() error {
	w.Fail(transport.Lost(net.ErrClosed))
	return nil
}

func (w *wire) LocalAddr() net.Addr                { return w.Conn.LocalAddr() }
func (w *wire) RemoteAddr() net.Addr               { return w.Conn.RemoteAddr() }
func (w *wire) SetDeadline(t time.Time) error      { return w.Conn.SetDeadline(t) }
func (w *wire) SetReadDeadline(t time.Time) error  { return w.Conn.SetReadDeadline(t) }
func (w *wire) SetWriteDeadline(t time.Time) error { return w.Conn.SetWriteDeadline(t) }

func (w *wire) traffic() remote.Traffic {
	return remote.Traffic{BytesIn: w.in.Load(), BytesOut: w.out.Load(), RoundTrips: w.trips.Load()}
}
