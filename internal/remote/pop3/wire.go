package pop3

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
)

const (
	// readBuffer is how much is taken from the network at once.
	readBuffer = 64 << 10

	// maxLine is how long a line of an answer may be, without the lines of a message. RFC 2449, section 4, allows 512 bytes.
	maxLine = 8 << 10

	// A server must send slowBytes within slowFactor times the patience while we wait for it, so that one byte now and
	// then does not hold us for ever.
	slowFactor = 10
	slowBytes  = 1 << 10

	// closeTime is how long a farewell may take.
	closeTime = time.Second
)

// wire is the connection under a session. To the library, which reads what it can get and keeps it, it is a net.Conn that gives
// one line at a time: so what follows a line is still here, to be read by ourselves.
//
// Every read and write has a deadline. The first failure closes the socket and is what every later call returns.
type wire struct {
	nc       net.Conn
	patience time.Duration
	r        *bufio.Reader // over network{w}

	in, out, trips atomic.Int64
	asked          bool // something was sent since the last answer
	windowStart    time.Time
	windowBytes    int64

	greeting []byte // to be read before all else: what the upgrade read already
	line     []byte // what of the present line was given out so far
	last     []byte // the last whole line, without its end
	bare     bool   // the server ends its lines with LF alone

	mu  sync.Mutex
	err error
}

func newWire(nc net.Conn, patience time.Duration) *wire {
	w := &wire{nc: nc, patience: patience, windowStart: time.Now()}
	w.r = bufio.NewReaderSize(network{w}, readBuffer)
	return w
}

func (w *wire) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// fail ends the connection. The first reason wins and is returned.
func (w *wire) fail(err error) error {
	w.mu.Lock()
	first := w.err == nil
	if first {
		w.err = err
	}
	err = w.err
	w.mu.Unlock()
	if first {
		_ = w.nc.Close() // the reason for closing is the error that matters
	}
	return err
}

// watch closes the connection when ctx ends. Call stop when the exchange is over.
func (w *wire) watch(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { w.fail(lost(context.Cause(ctx))) })
}

// network reads from the socket, with deadlines.
type network struct{ w *wire }

func (n network) Read(p []byte) (int, error) {
	w := n.w
	if err := w.failure(); err != nil {
		return 0, err
	}
	_ = w.nc.SetReadDeadline(time.Now().Add(w.patience)) // a closed socket says so in Read
	got, err := w.nc.Read(p)
	if got > 0 {
		w.in.Add(int64(got))
		if w.asked {
			w.asked = false
			w.trips.Add(1)
		}
		if err := w.slow(); err != nil {
			return 0, w.fail(err)
		}
		return got, nil
	}
	if err == nil {
		return 0, nil
	}
	return 0, w.fail(w.explain(err))
}

// begin starts the clock for a new exchange.
func (w *wire) begin() { w.windowStart, w.windowBytes = time.Now(), w.in.Load() }

func (w *wire) slow() error {
	if time.Since(w.windowStart) < slowFactor*w.patience {
		return nil
	}
	if w.in.Load()-w.windowBytes < slowBytes {
		return lost(fmt.Errorf("the server sent less than %d bytes in %v", slowBytes, slowFactor*w.patience))
	}
	w.begin()
	return nil
}

// explain puts what the network says into words.
func (w *wire) explain(err error) error {
	if e, ok := errors.AsType[*remote.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return lost(fmt.Errorf("the server fell silent for %v", w.patience))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return lost(fmt.Errorf("the server closed the connection: %w", io.ErrUnexpectedEOF))
	}
	return lost(err)
}

// lost is the failure of a connection that worked so far.
func lost(err error) *remote.Error {
	return &remote.Error{Class: remote.Lost, Op: "talking to the server", Err: err}
}

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
			return 0, w.fail(w.explain(err))
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
		return 0, w.fail(protocolError("a line of more than %d bytes", maxLine))
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
	if err := w.failure(); err != nil {
		return 0, err
	}
	w.asked = true
	_ = w.nc.SetWriteDeadline(time.Now().Add(w.patience)) // a closed socket says so in Write
	n, err := w.nc.Write(p)
	w.out.Add(int64(n))
	if err != nil {
		return n, w.fail(w.explain(err))
	}
	return n, nil
}

// farewell sends p, or what of it goes out at once, and closes the connection.
func (w *wire) farewell(p string) {
	if w.failure() == nil {
		_ = w.nc.SetWriteDeadline(time.Now().Add(closeTime)) // whatever comes of it is good enough
		n, _ := io.WriteString(w.nc, p)
		w.out.Add(int64(n))
	}
	w.fail(lost(net.ErrClosed))
}

// readLine reads a line of a multi-line answer, without its end. The slice is valid until the next call.
func (w *wire) readLine() ([]byte, error) {
	line, err := w.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull), err == nil && len(line) > maxLine:
		return nil, w.fail(protocolError("a line of more than %d bytes", maxLine))
	case err != nil:
		return nil, w.fail(w.explain(err))
	}
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte{'\n'}), []byte{'\r'}), nil
}

func (w *wire) Close() error {
	w.fail(lost(net.ErrClosed))
	return nil
}

func (w *wire) LocalAddr() net.Addr                { return w.nc.LocalAddr() }
func (w *wire) RemoteAddr() net.Addr               { return w.nc.RemoteAddr() }
func (w *wire) SetDeadline(t time.Time) error      { return w.nc.SetDeadline(t) }
func (w *wire) SetReadDeadline(t time.Time) error  { return w.nc.SetReadDeadline(t) }
func (w *wire) SetWriteDeadline(t time.Time) error { return w.nc.SetWriteDeadline(t) }

func (w *wire) traffic() remote.Traffic {
	return remote.Traffic{BytesIn: w.in.Load(), BytesOut: w.out.Load(), RoundTrips: w.trips.Load()}
}
