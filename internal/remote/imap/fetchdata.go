package imap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

// fetched is what one FETCH response says of a message.
type fetched struct {
	msg                         remote.Message
	hasFlags, hasSize, hasDate  bool
	hasBody, hasHeader, hasMail bool   // hasMail: an EmailID
	late                        []byte // a body that had to wait for the rest of the response
}

// fetchSink returns the command that FETCH data now belongs to, nil if it is nobody's: what comes while a
// mailbox is being opened is not for the commands after that.
func (s *Session) fetchSink() *command {
	if s.flight == nil {
		return nil
	}
	c := s.flight.unanswered()
	if c == nil || c.fetch != nil || c.switches() {
		return fetches(c)
	}
	for c := range s.flight.each() {
		if c.fetch != nil || c.switches() {
			return fetches(c)
		}
	}
	return nil
}

// fetches returns a command if it takes FETCH data.
func fetches(c *command) *command {
	if c == nil || c.fetch == nil {
		return nil
	}
	return c
}

// fetchData reads "(item value …)" (RFC 3501, section 7.4.2). Without a UID it says nothing to us.
func (s *Session) fetchData(p *response) error {
	if !p.take('(') {
		return bad("FETCH without items")
	}
	f := &s.fetched
	*f = fetched{}
	c := s.fetchSink()
	if err := s.fetchItems(p, f, c); err != nil {
		return err
	}
	if s.waiting != nil {
		s.waiting.fetched(f.msg.ModSeq)
	}
	if f.msg.UID == 0 {
		return nil
	}
	if s.sel != nil {
		s.sel.named = max(s.sel.named, f.msg.UID)
	}
	if c != nil {
		c.fetch(f)
	}
	return nil
}

func (s *Session) fetchItems(p *response, f *fetched, c *command) error {
	for !p.take(')') {
		done, err := s.fetchItem(p, f, c)
		if err != nil || done {
			return err
		}
	}
	return nil
}

// fetchItem reads one item. done reports that it has read all the others too.
func (s *Session) fetchItem(p *response, f *fetched, c *command) (done bool, err error) {
	switch p.item() {
	case itemNone:
		return false, bad("FETCH items without an end")
	case itemUID:
		n, err := p.number()
		if err != nil {
			return false, err
		}
		if n == 0 || n > uint64(^mail.UID(0)) {
			return false, bad("a UID of %d", n)
		}
		f.msg.UID = mail.UID(n)
	case itemFlags:
		f.msg.Flags, err = s.flagList(p)
		f.hasFlags = err == nil
	case itemModSeq:
		paren := p.take('(')
		f.msg.ModSeq, err = p.number()
		if err == nil && paren && !p.take(')') {
			err = bad("MODSEQ without an end")
		}
		if !s.caps.has(goimap.CapCondStore) {
			f.msg.ModSeq = 0 // as in SELECT and STATUS
		}
	case itemSize:
		f.hasSize = true
		n, ok := p.smallNumber()
		if !ok {
			n, ok = parseNumber(p.word())
		}
		if ok && n <= 1<<62 {
			f.msg.Size = int64(n)
		} // else it is nonsense, and was only a hint
	case itemDate:
		var text []byte
		text, _, err = p.str()
		f.msg.Date, f.hasDate = parseDate(text), err == nil
	case itemEmailID:
		f.msg.EmailID, err = p.objectID()
		f.hasMail = err == nil
	case itemBody:
		return s.bodyItem(p, f, c)
	case itemHeader:
		err = s.headerItem(p, f, c)
	default:
		err = p.value()
	}
	return false, err
}

// item is a FETCH item that we know.
type item int

const (
	itemNone item = iota
	itemUID
	itemFlags
	itemModSeq
	itemSize
	itemDate
	itemEmailID
	itemBody
	itemHeader
	itemOther
)

// item reads the name of an item. There are five of them for each message of a mailbox: those that are spelled as
// nearly all servers spell them are compared at once.
func (p *response) item() item {
	p.spaces()
	ahead := p.text[p.pos:]
	known := func(n int, it item) item {
		p.pos += n
		return it
	}
	switch {
	case len(ahead) > 3 && string(ahead[:4]) == "UID ":
		return known(3, itemUID)
	case len(ahead) > 6 && string(ahead[:7]) == "FLAGS (":
		return known(5, itemFlags)
	case len(ahead) > 7 && string(ahead[:8]) == "MODSEQ (":
		return known(6, itemModSeq)
	case len(ahead) > 11 && string(ahead[:12]) == "RFC822.SIZE ":
		return known(11, itemSize)
	case len(ahead) > 12 && string(ahead[:13]) == "INTERNALDATE ":
		return known(12, itemDate)
	}
	name := p.word()
	if len(name) == 0 {
		return itemNone
	}
	for _, known := range itemNames {
		if equalFold(name, known.name) {
			return known.item
		}
	}
	return itemOther
}

var itemNames = [...]struct {
	name string
	item item
}{
	{"UID", itemUID}, {"FLAGS", itemFlags}, {"MODSEQ", itemModSeq}, {"RFC822.SIZE", itemSize}, {"INTERNALDATE", itemDate},
	{"EMAILID", itemEmailID}, {"X-GM-MSGID", itemEmailID}, {"BODY[]", itemBody}, {"RFC822", itemBody},
	{"BODY[HEADER]", itemHeader}, {"RFC822.HEADER", itemHeader},
}

// flagList reads flags; there are far fewer different lists than messages.
func (s *Session) flagList(p *response) (mail.Flags, error) {
	p.spaces()
	raw := p.text[p.pos:]
	end := bytes.IndexByte(raw, ')')
	if len(raw) >= 3 && equalFold(raw[:3], "NIL") {
		end = 2
	}
	if end < 0 {
		return mail.Flags{}, bad("flags without an end")
	}
	raw = raw[:end+1]
	p.pos += end + 1
	if flags, ok := s.flags[string(raw)]; ok {
		return flags, nil
	}
	names, err := flagNames(string(raw))
	if err != nil {
		return mail.Flags{}, err
	}
	flags := mail.NewFlags(names...)
	if len(raw) > maxFlagList {
		return flags, nil
	}
	if s.flags == nil || len(s.flags) == flagSets {
		s.flags = map[string]mail.Flags{}
	}
	s.flags[string(raw)] = flags
	return flags, nil
}

// headerItem takes the digest of a header.
func (s *Session) headerItem(p *response, f *fetched, c *command) error {
	if c == nil || !c.header {
		return p.value()
	}
	p.spaces()
	surveyor := mail.NewSurveyor()
	if p.atLiteral() {
		if err := p.hear(0, p.lit); err != nil {
			return err
		}
		r := &bodyReader{p: p, left: p.lit}
		if _, err := io.Copy(surveyor, r); err != nil {
			return s.conn.Failure()
		}
		if err := p.resume(); err != nil {
			return err
		}
	} else {
		text, isNil, err := p.str()
		if err != nil || isNil {
			return err
		}
		_, _ = surveyor.Write(text) // never fails
	}
	content := surveyor.Content()
	f.msg.Header, f.hasHeader = &content, true
	return nil
}

// bodyItem hands a whole message on while it comes.
func (s *Session) bodyItem(p *response, f *fetched, c *command) (done bool, err error) {
	if c == nil || c.body == nil {
		return false, p.value()
	}
	p.spaces()
	if !p.atLiteral() {
		text, isNil, err := p.str()
		if err != nil || isNil {
			return false, err // BODY[] NIL: the server has no message to give
		}
		// Kept: delivering may read on.
		r := &bodyReader{text: bytes.Clone(text), size: int64(len(text))}
		return false, c.body(f, r)
	}
	if p.lit > maxBody {
		return false, protocolError("a message of %d bytes", p.lit)
	}
	r := &bodyReader{p: p, left: p.lit, size: p.lit}
	r.rest = func() error { return s.fetchItems(p, f, c) }
	if err := c.body(f, r); err != nil {
		return false, err
	}
	if r.left > 0 && !f.hasBody { // nobody wanted it, and nobody will
		if err := p.hear(0, r.left); err != nil {
			return false, err
		}
	}
	if err := r.drain(); err != nil {
		return false, err
	}
	if r.finished {
		return true, r.restErr
	}
	return false, p.resume()
}

const (
	// maxBody is more than any message has.
	maxBody = 1 << 40
	// maxDrain is how much of one message is read only to come to its end. To connect anew is quicker.
	maxDrain = 256 << 20
)

// bodyReader gives the bytes of one message, straight from the connection. An end of the connection shows as
// io.ErrUnexpectedEOF, as the contract of remote.Session has it.
type bodyReader struct {
	p    *response
	left int64
	size int64
	text []byte // instead of p: all of it

	// verify, if set, is asked before the end is declared, when the rest of the response has been read:
	// whether this was the right message.
	verify   func() error
	verified bool // verify was content
	rest     func() error
	finished bool // rest was read
	restErr  error
	lost     error
}

func (r *bodyReader) Read(b []byte) (int, error) {
	switch {
	case r.lost != nil:
		return 0, io.ErrUnexpectedEOF
	case len(b) == 0:
		return 0, nil
	case r.p == nil:
		if len(r.text) == 0 {
			return 0, r.end()
		}
		n := copy(b, r.text)
		r.text = r.text[n:]
		return n, nil
	case r.left == 0:
		return 0, r.end()
	}
	n, err := r.p.in.Read(b[:min(int64(len(b)), r.left)])
	r.left -= int64(n)
	if err != nil {
		r.lost = err
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

var errWrongMessage = errors.New("the server sent another message than it was asked for")

func (r *bodyReader) end() error {
	if r.verify == nil {
		return io.EOF
	}
	if !r.finished && r.p != nil {
		r.finished = true
		if r.lost = r.p.resume(); r.lost == nil {
			r.restErr = r.rest()
			if r.restErr != nil && !isBadLine(r.restErr) {
				r.lost = r.restErr
			}
		}
		if r.lost != nil {
			return io.ErrUnexpectedEOF
		}
	}
	if err := r.verify(); err != nil {
		return err
	}
	r.verified = true
	return io.EOF
}

// drain skips what was not read.
func (r *bodyReader) drain() error {
	if r.lost == nil && r.p != nil && r.left > maxDrain {
		r.lost = transport.Lost(fmt.Errorf("%d bytes of a message were yet to come, and nobody wants them", r.left))
	}
	if r.lost == nil && r.p != nil && r.left > 0 {
		r.lost = r.p.in.discard(r.left)
		r.left = 0
	}
	return r.lost
}

// buffer returns the whole body.
func (r *bodyReader) buffer() ([]byte, error) {
	if r.p == nil {
		return r.text, nil
	}
	out := make([]byte, r.left)
	if err := r.p.in.full(out); err != nil {
		r.lost = err
		return nil, err
	}
	r.left = 0
	return out, nil
}

func uid(u mail.UID) string { return strconv.FormatUint(uint64(u), 10) }
