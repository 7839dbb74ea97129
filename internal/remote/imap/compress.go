package imap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/klauspost/compress/flate"

	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

// Compress says when a connection is compressed, if the server can do that (RFC 4978).
type Compress int

// When a connection is compressed.
const (
	// CompressAuto compresses once the link has shown to be slow. On a fast one the server's compressor would be
	// what everything waits for.
	CompressAuto Compress = iota
	CompressOn
	CompressOff
)

const capCompress goimap.Cap = "COMPRESS=DEFLATE"

// inflateBuffer is how much is read from the connection at once, compressed.
const inflateBuffer = 32 << 10

// mayCompress switches compression on if it would pay: the link is slow, or we were told to. It must be called between
// flights, before one that is likely to bring or take much. Flights of bodies and of uploads need not: fly calls it
// before them, and once the link turns out to be slow also within them, between two commands.
func (s *Session) mayCompress(ctx context.Context) error {
	if !s.wouldCompress() || s.fresh {
		return nil // what the first flight begins with would be under way with it; that one goes in plain text
	}
	return s.compress(ctx)
}

// wouldCompress reports whether the connection is to be compressed, and is not.
func (s *Session) wouldCompress() bool {
	return !s.conn.compressed() && s.caps.has(capCompress) &&
		(s.cfg.Compress == CompressOn || s.cfg.Compress == CompressAuto && s.link.isSlow())
}

// compress switches compression on, in both directions (RFC 4978, section 3). Nothing else is under way, and nothing is
// sent before the answer: the first byte after its line is compressed already, and so is the first that we send. A server
// that won't is not asked again; it may have its reasons, such as TLS that compresses (COMPRESSIONACTIVE).
func (s *Session) compress(ctx context.Context) error {
	c := newCommand("switching compression on", "COMPRESS DEFLATE")
	if err := s.run(ctx, c.op, c); err != nil {
		return err
	}
	if err := c.refused(); err != nil {
		s.caps.known[capCompress] = false
		s.warn("%v", err)
		return nil
	}
	out, err := newDeflater()
	if err != nil {
		return s.conn.Fail(transport.Lost(err))
	}
	s.conn.deflate = out
	l := s.in.in
	ahead := bytes.NewReader(bytes.Clone(l.buf[l.r:l.w])) // came together with the answer
	l.r, l.w = 0, 0
	l.src = newInflater(s.conn, io.MultiReader(ahead, l.src))
	return nil
}

// inflater reads what the server compressed. It keeps a window of 32 kB and as much input, whatever comes: what a
// little input swells to goes through the same bounds as what comes in plain text.
type inflater struct {
	conn *conn
	r    io.Reader
	wire *barrenReader
}

// maxBarren is how much of a compressed stream may hold nothing: blocks can be empty, and there can be any number of them.
const maxBarren = 1 << 20

// barrenReader reads the compressed stream, but not for ever while nothing comes out of it.
type barrenReader struct {
	r io.Reader
	n int // since something came
}

func (b *barrenReader) Read(p []byte) (int, error) {
	if b.n > maxBarren {
		return 0, protocolError("the compressed stream holds nothing")
	}
	n, err := b.r.Read(p)
	b.n += n
	return n, err
}

func newInflater(c *conn, wire io.Reader) *inflater {
	// Servers flush partially, too (zlib's Z_PARTIAL_FLUSH): what a block holds must be had when it ends, not when the next
	// one begins.
	b := &barrenReader{r: wire}
	return &inflater{conn: c, r: flate.NewReaderOpts(bufio.NewReaderSize(b, inflateBuffer), flate.WithPartialBlock()), wire: b}
}

func (i *inflater) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	if n > 0 {
		i.wire.n = 0
	}
	if n > 0 || err == nil {
		return n, nil // an error comes again
	}
	if e, ok := errors.AsType[*remote.Error](err); ok {
		return 0, i.conn.Fail(e) // the connection's own, or of a stream without an end
	}
	if errors.Is(err, io.EOF) {
		return 0, i.conn.Fail(transport.Lost(fmt.Errorf("the server ended the compressed stream: %w", io.ErrUnexpectedEOF)))
	}
	return 0, i.conn.Fail(protocolError("the compressed stream is damaged: %w", err))
}

// deflater compresses what we send.
type deflater struct {
	w   *flate.Writer
	out bytes.Buffer
}

func newDeflater() (*deflater, error) {
	d := &deflater{}
	var err error
	d.w, err = flate.NewWriter(&d.out, flate.DefaultCompression)
	return d, err
}

// pack compresses p and returns what of it and of what came before is ready, valid until the next call. With flush that
// is all of it.
func (d *deflater) pack(p []byte, flush bool) ([]byte, error) {
	d.out.Reset()
	if _, err := d.w.Write(p); err != nil {
		return nil, err
	}
	if flush {
		if err := d.w.Flush(); err != nil {
			return nil, err
		}
	}
	return d.out.Bytes(), nil
}
