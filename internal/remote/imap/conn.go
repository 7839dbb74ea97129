package imap

import (
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
	// writeChunk is how much is written under one deadline.
	writeChunk = 16 << 10

	// A server must move slowBytes within slowFactor times the patience while we wait for it, so
	// that one byte now and then does not hold us for ever.
	slowFactor = 10
	slowBytes  = 1 << 10
)

// conn is the connection under a session. Reading and writing may go on at the same time. Once it is compressed write
// compresses, and Read gives what is to be decompressed: what it counts, and waits for, are the bytes on the wire.
//
// Its deadline is one of progress: it fails when neither direction moved for the patience. The
// first error closes the socket and is what every later call returns.
type conn struct {
	nc       net.Conn
	patience time.Duration

	in, out, trips atomic.Int64
	moved          atomic.Int64 // when a byte last went either way, in nanoseconds since start
	asked          atomic.Bool  // something was sent since the last answer
	quiet          atomic.Bool  // the writer has nothing more to send before it hears something
	start          time.Time

	windowStart time.Time // the reader's: since when slowness is measured
	windowBytes int64

	gauge   gauge     // the reader's
	deflate *deflater // the writer's, nil in plain text

	mu  sync.Mutex
	err error
}

func newConn(nc net.Conn, patience time.Duration, to *link) *conn {
	c := &conn{nc: nc, patience: patience, start: time.Now(), gauge: gauge{link: to}}
	c.quiet.Store(true)
	return c
}

// failure returns the error that ended the connection, nil while it lives.
func (c *conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// fail ends the connection. The first reason wins and is returned.
func (c *conn) fail(err error) error {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err
	}
	err = c.err
	c.mu.Unlock()
	if first {
		_ = c.nc.Close() // the reason for closing is the error that matters
	}
	return err
}

// touch notes progress.
func (c *conn) touch() { c.moved.Store(int64(time.Since(c.start))) }

func (c *conn) sinceMoved() time.Duration {
	return time.Since(c.start) - time.Duration(c.moved.Load())
}

// begin starts the clock for a new exchange: the time before it does not count as silence.
func (c *conn) begin() {
	c.touch()
	c.windowStart, c.windowBytes = time.Now(), c.in.Load()+c.out.Load()
	c.gauge.begin()
}

func (c *conn) compressed() bool { return c.deflate != nil }

// Read waits for bytes until there is no progress in either direction.
func (c *conn) Read(p []byte) (int, error) {
	for {
		if err := c.failure(); err != nil {
			return 0, err
		}
		from := time.Now()
		_ = c.nc.SetReadDeadline(from.Add(c.patience)) // a closed socket says so in Read
		n, err := c.nc.Read(p)
		if n > 0 {
			c.touch()
			c.gauge.read(n, time.Since(from))
			c.in.Add(int64(n))
			// A turn: something was asked, all of it was out, and this is the answer.
			if c.quiet.Load() && c.asked.Swap(false) {
				c.trips.Add(1)
			}
			if err := c.slow(); err != nil {
				return 0, c.fail(err)
			}
			return n, nil
		}
		if err == nil {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && c.sinceMoved() < c.patience {
			continue // our own bytes were moving meanwhile
		}
		return 0, c.fail(c.lost(err))
	}
}

func (c *conn) slow() error {
	if time.Since(c.windowStart) < slowFactor*c.patience {
		return nil
	}
	total := c.in.Load() + c.out.Load()
	if total-c.windowBytes < slowBytes {
		return lost(fmt.Errorf("the server sent less than %d bytes in %v", slowBytes, slowFactor*c.patience))
	}
	c.windowStart, c.windowBytes = time.Now(), total
	return nil
}

// write sends all of p. last says that nothing follows until the server was heard.
func (c *conn) write(p []byte, last bool) error {
	for c.compressed() {
		piece := p[:min(len(p), writeChunk)]
		p = p[len(piece):]
		packed, err := c.deflate.pack(piece, len(p) == 0)
		if err != nil {
			return c.fail(lost(err))
		}
		if err := c.send(packed, last && len(p) == 0); err != nil || len(p) == 0 {
			return err
		}
	}
	return c.send(p, last)
}

// send is write of bytes as they go over the wire.
func (c *conn) send(p []byte, last bool) error {
	for len(p) > 0 {
		if err := c.failure(); err != nil {
			return err
		}
		chunk := p[:min(len(p), writeChunk)]
		c.quiet.Store(last && len(chunk) == len(p))
		c.asked.Store(true)
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.patience)) // a closed socket says so in Write
		n, err := c.nc.Write(chunk)
		if n > 0 {
			c.touch()
			c.out.Add(int64(n))
		}
		p = p[n:]
		if err == nil || (errors.Is(err, os.ErrDeadlineExceeded) && c.sinceMoved() < c.patience) {
			continue
		}
		return c.fail(c.lost(err))
	}
	if last {
		c.quiet.Store(true)
	}
	return nil
}

// farewell sends p, or what of it goes out at once, before the connection is closed.
func (c *conn) farewell(p []byte) {
	if c.compressed() {
		p, _ = c.deflate.pack(p, true) // writes to memory
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(closeTime)) // whatever comes of it is good enough
	n, _ := c.nc.Write(p)
	c.out.Add(int64(n))
}

// lost puts what the network says into words.
func (c *conn) lost(err error) error {
	if e, ok := errors.AsType[*remote.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return lost(fmt.Errorf("the server fell silent for %v", c.patience))
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

// watch closes the connection when ctx ends. Call stop when the exchange is over.
func (c *conn) watch(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.fail(ended(ctx)) })
}

// ended is the failure of a connection whose context has ended.
func ended(ctx context.Context) *remote.Error { return lost(context.Cause(ctx)) }

func (c *conn) traffic() remote.Traffic {
	return remote.Traffic{BytesIn: c.in.Load(), BytesOut: c.out.Load(), RoundTrips: c.trips.Load()}
}
