package imap

import (
	"errors"
	"fmt"
	"io"

	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

const uploadChunk = 32 << 10

// single is the APPEND of one message (RFC 3501, section 6.3.11), which is streamed.
func (a *appending) single(i int) *command {
	u := a.uploads[i]
	c := a.newCommand().raw(string(options(nil, u)))
	c.content(u.Size, a.s.caps, func(w io.Writer) error { return a.stream(w, u.Size) })
	c.weight = u.Size
	c.prepare = func() error {
		if err := a.tooLarge(i); err != nil {
			return err
		}
		body, err := u.Open()
		if err != nil {
			return err
		}
		a.close()
		a.open = body
		a.announce(i)
		return nil
	}
	c.finish = func() {
		switch err := c.refused(); {
		case c.unsent != nil:
			a.settle(i, remote.Appended{Err: c.unsent})
		case err != nil:
			a.settle(i, remote.Appended{Err: err})
		default:
			a.stored(c.result, i)
		}
	}
	return c
}

// close closes the file of the last message.
func (a *appending) close() {
	if a.open != nil {
		_ = a.open.Close() // it was only read
		a.open = nil
	}
}

// stream writes exactly size bytes. The last of them are held back until the file has
// shown to end there: once it has them all, the server takes the message.
func (a *appending) stream(w io.Writer, size int64) error {
	if a.chunk == nil {
		a.chunk = make([]byte, uploadChunk)
	}
	for left := size; ; {
		chunk := a.chunk[:min(left, uploadChunk)]
		if n, err := io.ReadFull(a.open, chunk); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = changedWhileSent(size, size-left+int64(n))
			}
			return transport.Lost(err)
		}
		left -= int64(len(chunk))
		if left == 0 {
			var more [1]byte
			switch n, err := io.ReadFull(a.open, more[:]); {
			case n > 0:
				return transport.Lost(changedWhileSent(size, size+1))
			case !errors.Is(err, io.EOF):
				return transport.Lost(err)
			}
		}
		if _, err := w.Write(chunk); err != nil {
			return err
		}
		if left == 0 {
			a.close()
			return nil
		}
	}
}

func changedWhileSent(announced, has int64) error {
	if has > announced {
		return fmt.Errorf("a message changed while it was sent: it has more than the %d bytes that were announced", announced)
	}
	return fmt.Errorf("a message changed while it was sent: %d bytes were announced, it has %d", announced, has)
}
