package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

const (
	// As many messages, or bytes of them, are under way at a time: enough that a line with 200 ms of
	// delay is busy, few enough that a broken connection leaves few fates unknown.
	appendsUnderWay     = 50
	appendBytesUnderWay = 1 << 20
	uploadChunk         = 32 << 10
)

// Append stores messages in a mailbox. sent and done are called one at a time, sent(i) from another goroutine.
func (s *Session) Append(ctx context.Context, mailbox string, uploads []remote.Upload, sent func(i int), done func(i int, r remote.Appended)) error {
	op := "storing messages in " + readName(mailbox)
	a := &appending{uploads: uploads, uidPlus: s.caps.has(goimap.CapUIDPlus), fates: make([]*remote.Appended, len(uploads)), sent: sent, done: done}
	f := &flight{most: appendsUnderWay, mostWeight: appendBytesUnderWay}
	for i := range uploads {
		f.cmds = append(f.cmds, a.command(s, canonical(mailbox), i))
	}
	if len(f.cmds) == 0 {
		return nil
	}
	if err := f.cmds[0].err; err != nil {
		return unspeakable(op, err)
	}
	defer a.close()
	return s.fly(ctx, op, f)
}

// appending is one call of Append.
type appending struct {
	uploads []remote.Upload
	uidPlus bool // else APPENDUID is not listened to
	sent    func(int)
	done    func(int, remote.Appended)

	mu    sync.Mutex // held while sent and done are called
	fates []*remote.Appended
	told  int           // done was called for those before it
	open  io.ReadCloser // of the message that is being sent; the writer's
	buf   []byte
}

// command is the APPEND of one message (RFC 3501, section 6.3.11).
func (a *appending) command(s *Session, mailbox string, i int) *command {
	u := a.uploads[i]
	c := newCommand("storing a message in "+readName(mailbox), "APPEND").str(mailbox, s.caps)
	if names := u.Flags.Names(); len(names) > 0 {
		c.raw(" (", strings.Join(names, " "), ")")
	}
	if canFormat(u.Date) {
		c.raw(` "`, formatDate(u.Date), `"`)
	}
	c.content(u.Size, s.caps, func(w io.Writer) error { return a.stream(w, u.Size) })
	c.weight = u.Size
	c.prepare = func() error {
		if s.caps.maxBytes > 0 && u.Size > s.caps.maxBytes { // RFC 7889
			return refusal(c.op, status{code: string(goimap.ResponseCodeTooBig),
				text: fmt.Sprintf("it takes messages of up to %d bytes, this one has %d", s.caps.maxBytes, u.Size)})
		}
		body, err := u.Open()
		if err != nil {
			return err
		}
		a.close()
		a.open = body
		a.mu.Lock()
		defer a.mu.Unlock()
		a.sent(i)
		return nil
	}
	c.finish = func() { a.settle(i, c) }
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
	if a.buf == nil {
		a.buf = make([]byte, uploadChunk)
	}
	for left := size; ; {
		chunk := a.buf[:min(left, uploadChunk)]
		if n, err := io.ReadFull(a.open, chunk); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("a message changed while it was sent: %d bytes were announced, it has %d", size, size-left+int64(n))
			}
			return lost(err)
		}
		left -= int64(len(chunk))
		if left == 0 {
			var more [1]byte
			switch n, err := io.ReadFull(a.open, more[:]); {
			case n > 0:
				return lost(fmt.Errorf("a message changed while it was sent: it has more than the %d bytes that were announced", size))
			case !errors.Is(err, io.EOF):
				return lost(err)
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

// settle notes a fate, and tells it once those before it are told.
func (a *appending) settle(i int, c *command) {
	fate := &remote.Appended{Err: c.unsent}
	if c.unsent == nil {
		fate.Err = c.refused()
		if fate.Err == nil && a.uidPlus {
			fate.UIDValidity, fate.UID = appendUID(c.result)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fates[i] = fate
	for a.told < len(a.fates) && a.fates[a.told] != nil {
		a.done(a.told, *a.fates[a.told])
		a.told++
	}
}

// appendUID reads "APPENDUID uidvalidity uid" (RFC 4315, section 3), zeros if there is none.
func appendUID(st status) (validity uint64, u mail.UID) {
	if st.code != "APPENDUID" {
		return 0, 0
	}
	first, second, _ := strings.Cut(st.arg, " ")
	validity, ok1 := parseNumber([]byte(first))
	n, ok2 := parseNumber([]byte(strings.TrimSpace(second)))
	if !ok1 || !ok2 || n == 0 || n > uint64(lastUID) {
		return 0, 0
	}
	return validity, mail.UID(n)
}
