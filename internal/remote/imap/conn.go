package imap

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

// writeChunk is how much is written under one deadline.
const writeChunk = 16 << 10

// conn is the connection under a session. Reading and writing may go on at the same time. Once it is compressed write
// compresses, and Read gives what is to be decompressed: what it counts, and waits for, are the bytes on the wire.
//
// Its deadline is one of progress: it fails when neither direction moved for the patience. The
// first error closes the socket and is what every later call returns.
type conn struct {
	transport.Fuse

	in, out, trips atomic.Int64
	moved          atomic.Int64 // when a byte last went either way, in nanoseconds since start
	asked          atomic.Bool  // something was sent since the last answer
	quiet          atomic.Bool  // the writer has nothing more to send before it hears something
	start          time.Time

	pace    sync.Mutex // guards resting, and the measure of slowness while both sides use the connection
	resting bool       // the server need not say anything
	rested  bool       // or need not have during the Read that is under way

	gauge   gauge     // the reader's
	deflate *deflater // the writer's, nil in plain text
}

func newConn(nc net.Conn, patience time.Duration, to *link) *conn {
	c := &conn{Fuse: transport.Fuse{Conn: nc, Patience: patience}, start: time.Now(), gauge: gauge{link: to}}
	c.quiet.Store(true)
	return c
}

// touch notes progress.
func (c *conn) touch() { c.moved.Store(int64(time.Since(c.start))) }

func (c *conn) sinceMoved() time.Duration {
	return time.Since(c.start) - time.Duration(c.moved.Load())
}

// begin starts the clock for a new exchange: the time before it does not count as silence.
func (c *conn) begin() {
	c.touch()
	c.Begin(c.in.Load() + c.out.Load())
	c.gauge.begin()
}

// rest says whether the server may be silent from now on, also for the Read that is under way.
func (c *conn) rest(on bool) {
	c.pace.Lock()
	defer c.pace.Unlock()
	c.resting, c.rested = on, true
	if !on {
		c.touch()
		c.Begin(c.in.Load() + c.out.Load())
	}
	c.arm()
}

// arm sets the deadline of a Read. The caller holds pace.
func (c *conn) arm() {
	until := time.Time{}
	if !c.resting {
		until = time.Now().Add(c.Patience)
	}
	_ = c.Conn.SetReadDeadline(until) // a closed socket says so in Read
}

// paced tells the gauge about a Read, and fails the connection if it is too slow; neither if the server might be silent.
func (c *conn) paced(n int, took time.Duration) error {
	c.pace.Lock()
	defer c.pace.Unlock()
	if c.rested {
		c.gauge.pause()
		c.rested = c.resting
	}
	c.gauge.read(n, took)
	c.in.Add(int64(n))
	if c.resting {
		return nil
	}
	return c.TooSlow(c.in.Load() + c.out.Load())
}

func (c *conn) compressed() bool { return c.deflate != nil }

// Read waits for bytes until there is no progress in either direction.
func (c *conn) Read(p []byte) (int, error) {
	for {
		if err := c.Failure(); err != nil {
			return 0, err
		}
		from := time.Now()
		c.pace.Lock()
		c.arm()
		c.pace.Unlock()
		n, err := c.Conn.Read(p)
		if n > 0 {
			c.touch()
			err := c.paced(n, time.Since(from))
			// A turn: something was asked, all of it was out, and this is the answer.
			if c.quiet.Load() && c.asked.Swap(false) {
				c.trips.Add(1)
			}
			if err != nil {
				return 0, err
			}
			return n, nil
		}
		if err == nil {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && c.sinceMoved() < c.Patience {
			continue // our own bytes were moving meanwhile
		}
		return 0, c.Broke(err)
	}
}

// write sends all of p. last says that nothing follows until the server was heard.
func (c *conn) write(p []byte, last bool) error {
	for c.compressed() {
		piece := p[:min(len(p), writeChunk)]
		p = p[len(piece):]
		packed, err := c.deflate.pack(piece, len(p) == 0)
		if err != nil {
			return c.Fail(transport.Lost(err))
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
		if err := c.Failure(); err != nil {
			return err
		}
		chunk := p[:min(len(p), writeChunk)]
		c.quiet.Store(last && len(chunk) == len(p))
		c.asked.Store(true)
		_ = c.Conn.SetWriteDeadline(time.Now().Add(c.Patience)) // a closed socket says so in Write
		n, err := c.Conn.Write(chunk)
		if n > 0 {
			c.touch()
			c.out.Add(int64(n))
		}
		p = p[n:]
		if err == nil || (errors.Is(err, os.ErrDeadlineExceeded) && c.sinceMoved() < c.Patience) {
			continue
		}
		return c.Broke(err)
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
	_ = c.Conn.SetWriteDeadline(time.Now().Add(closeTime)) // whatever comes of it is good enough
	n, _ := c.Conn.Write(p)
	c.out.Add(int64(n))
}

// protocolError is the failure of a server that can't be understood.
func protocolError(format string, args ...any) *remote.Error {
	return &remote.Error{Class: remote.Protocol, Op: "reading the server's answer", Err: fmt.Errorf(format, args...)}
}

func (c *conn) traffic() remote.Traffic {
	return remote.Traffic{BytesIn: c.in.Load(), BytesOut: c.out.Load(), RoundTrips: c.trips.Load()}
}
