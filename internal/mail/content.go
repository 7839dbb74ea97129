package mail

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	netmail "net/mail"
	"slices"
	"strings"
	"time"
)

// Digest identifies message bytes: SHA-256 of them with every CRLF turned into LF, so that
// a message has one digest on the wire and on disk. The zero value is none.
type Digest [sha256.Size]byte

// IsZero reports whether the digest is none.
func (d Digest) IsZero() bool { return d == Digest{} }

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Content is what the bytes of one message, or of its header alone, say about it. Contents
// can be compared with ==.
type Content struct {
	// Size is the number of bytes as they were given.
	Size int64
	// Digest covers everything, Header all up to the first empty line, without the
	// line ends that follow the last header line. An empty header has a zero digest.
	Digest, Header Digest
	// HasMessageID reports a non-empty Message-ID field. Without one, two
	// messages with equal headers need not be the same.
	HasMessageID bool
	// Date is the first Date field in UTC, zero if there is none that can be read.
	Date time.Time
	// CRLF, BareLF and CRCRLF count line ends: CRLF pairs, LFs without a CR before them, and
	// CRLF pairs with one more CR before them.
	CRLF, BareLF, CRCRLF int64
	// NUL reports a zero byte, which IMAP literals can't hold (RFC 9051, section 4.3).
	NUL bool
	// RawHeader reports a header with bytes above 0x7F, which servers without RFC 6855 may rewrite.
	RawHeader bool
}

// WireSize is the size that a file with this content has as an IMAP literal: a file that holds
// any CRLF goes out as it is, one without goes out with every LF turned into CRLF.
func (c Content) WireSize() int64 {
	if c.CRLF > 0 {
		return c.Size
	}
	return c.Size + c.BareLF
}

// StoredAsLF reports whether wire bytes with this content lie on disk with LF line ends:
// turning every LF into CRLF gives the same bytes back and the LF form holds no CRLF.
func (c Content) StoredAsLF() bool { return c.BareLF == 0 && c.CRCRLF == 0 }

// NeedsRawMark reports whether wire bytes with this content, kept as they are, could not be told
// from a file whose LFs stand for CRLFs.
func (c Content) NeedsRawMark() bool { return c.BareLF > 0 && c.CRLF == 0 }

// A Surveyor reads a message once and says what is in it. Write it all, then call Content.
// Its memory does not depend on the message's size, nor its answer on how the message is cut up.
type Surveyor struct {
	content Content
	all     hash.Hash
	header  headerReader
	held    bool // a CR was read and not passed on yet: an LF may follow
	doubled bool // the byte before the CR that is held was a CR too
	buf     []byte
}

// surveyBlock is how much is turned to LF form at once: little enough to stay in the cache
// until it is hashed.
const surveyBlock = 16 << 10

// NewSurveyor returns a Surveyor for one message.
func NewSurveyor() *Surveyor {
	return &Surveyor{all: sha256.New(), header: headerReader{hash: sha256.New()}}
}

// Write never fails.
func (s *Surveyor) Write(p []byte) (int, error) {
	s.content.Size += int64(len(p))
	s.content.NUL = s.content.NUL || bytes.IndexByte(p, 0) >= 0
	for rest := p; len(rest) > 0; {
		block := rest[:min(len(rest), surveyBlock)]
		rest = rest[len(block):]
		s.pass(s.lfForm(block))
	}
	return len(p), nil
}

// pass hands on bytes in LF form.
func (s *Surveyor) pass(p []byte) {
	s.all.Write(p)
	s.header.write(p)
}

// lfForm counts the line ends of the next bytes, at most surveyBlock of them, and returns them with
// every CRLF turned into LF. A CR at the end is held back.
func (s *Surveyor) lfForm(p []byte) []byte {
	if !s.held && bytes.IndexByte(p, '\r') < 0 {
		s.content.BareLF += int64(bytes.Count(p, []byte{'\n'}))
		return p
	}
	out := slices.Grow(s.buf[:0], len(p)+1) // and the CR held before
	s.buf = out
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return s.text(out, p)
		}
		out = s.text(out, p[:i])
		switch {
		case s.held && s.doubled:
			s.content.CRCRLF++
			fallthrough
		case s.held:
			s.content.CRLF++
		default:
			s.content.BareLF++
		}
		s.held = false
		out = append(out, '\n')
		p = p[i+1:]
	}
}

// text appends bytes without LFs to out, but for a CR at their end.
func (s *Surveyor) text(out, p []byte) []byte {
	if len(p) == 0 {
		return out
	}
	before := s.held
	if s.held {
		out = append(out, '\r')
	}
	last := len(p) - 1
	if s.held = p[last] == '\r'; !s.held {
		return append(out, p...)
	}
	s.doubled = before
	if last > 0 {
		s.doubled = p[last-1] == '\r'
	}
	return append(out, p[:last]...)
}

// Content returns what was found. Nothing may be written after it.
func (s *Surveyor) Content() Content {
	if s.held {
		s.held = false
		s.pass([]byte{'\r'})
	}
	s.all.Sum(s.content.Digest[:0])
	s.header.finish(&s.content)
	return s.content
}

// Survey reads r to its end.
func Survey(r io.Reader) (Content, error) {
	s := NewSurveyor()
	_, err := io.Copy(s, r)
	return s.Content(), err
}

// headerReader digests LF-ended header lines and keeps the two fields that matter.
type headerReader struct {
	hash     hash.Hash
	any      bool   // there was a header line
	ended    bool   // its last line has ended, which is not hashed yet: it may be the last one
	inLine   bool   // the current line has begun
	done     bool   // the empty line was seen
	field    []byte // the beginning of the current field, unfolded
	date     string
	hasMsgID bool
	raw      bool
}

// maxField bounds how much of one header field is kept for parsing, in bytes: RFC 5322, 2.1.1 allows
// a line 998.
const maxField = 1000

func (h *headerReader) write(p []byte) {
	for len(p) > 0 && !h.done {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			h.text(p)
			return
		}
		h.text(p[:i])
		if !h.inLine {
			h.done = true
			return
		}
		h.inLine, h.ended = false, true
		p = p[i+1:]
	}
}

// text takes a part of one line.
func (h *headerReader) text(p []byte) {
	if len(p) == 0 {
		return
	}
	if h.ended {
		h.hash.Write([]byte{'\n'})
		h.ended = false
	}
	h.hash.Write(p)
	h.raw = h.raw || slices.ContainsFunc(p, func(c byte) bool { return c > 0x7f })
	if !h.inLine && p[0] != ' ' && p[0] != '\t' {
		h.endField()
	}
	h.any, h.inLine = true, true
	if room := maxField - len(h.field); room > 0 {
		h.field = append(h.field, p[:min(room, len(p))]...)
	}
}

func (h *headerReader) endField() {
	name, value, _ := bytes.Cut(h.field, []byte{':'})
	name, value = bytes.TrimRight(name, " \t"), bytes.TrimSpace(value)
	switch {
	case len(value) == 0:
	case compareFold(name, "message-id") == 0:
		h.hasMsgID = true
	case compareFold(name, "date") == 0 && h.date == "":
		h.date = string(value)
	}
	h.field = h.field[:0]
}

func (h *headerReader) finish(c *Content) {
	h.endField()
	if h.any {
		h.hash.Sum(c.Header[:0])
	}
	c.HasMessageID, c.RawHeader = h.hasMsgID, h.raw
	date := plainDate(h.date)
	t, err := time.Parse("Mon, 2 Jan 2006 15:04:05 -0700", date) // as nearly all are; ParseDate comes to it late
	if err != nil {
		t, err = netmail.ParseDate(date)
	}
	if err == nil {
		c.Date = t.UTC()
	}
}

// plainDate rewrites what netmail.ParseDate doesn't read or reads otherwise elsewhere: tabs become
// spaces, a comment at the end is left out, and a zone that is a word is spelled in digits (RFC 5322,
// 4.3), because it would mean what it means where this program runs.
func plainDate(date string) string {
	date, _, _ = strings.Cut(date, "(")
	date = strings.Join(strings.Fields(date), " ")
	i := strings.LastIndexByte(date, ' ') + 1
	zone := strings.ToUpper(date[i:])
	if strings.ContainsFunc(zone, func(c rune) bool { return c < 'A' || c > 'Z' }) {
		return date
	}
	offset := "-0000" // all others: nobody knows
	switch zone {
	case "", "AM", "PM":
		return date
	case "EDT":
		offset = "-0400"
	case "EST", "CDT":
		offset = "-0500"
	case "CST", "MDT":
		offset = "-0600"
	case "MST", "PDT":
		offset = "-0700"
	case "PST":
		offset = "-0800"
	}
	return date[:i] + offset
}

// WireReader turns a file's bytes into what goes over the wire: every LF into CRLF. It is for
// files without any CRLF; others go out as they are.
func WireReader(r io.Reader) io.Reader { return &wireReader{r: r} }

type wireReader struct {
	r    io.Reader
	buf  []byte
	rest []byte // read and not given yet
	cr   bool   // rest begins with an LF whose CR was given
	err  error  // what comes after rest
}

const (
	wireBuffer    = 16 << 10
	maxEmptyReads = 100 // as bufio's
)

func (w *wireReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(w.rest) == 0 {
		w.fill()
		if len(w.rest) == 0 {
			return 0, w.err
		}
	}
	n := 0
	for n < len(p) && len(w.rest) > 0 {
		if w.rest[0] == '\n' {
			if w.cr = !w.cr; w.cr {
				p[n] = '\r'
			} else {
				p[n] = '\n'
				w.rest = w.rest[1:]
			}
			n++
			continue
		}
		line := w.rest[:min(len(w.rest), len(p)-n)]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i]
		}
		n += copy(p[n:], line)
		w.rest = w.rest[len(line):]
	}
	return n, nil
}

// fill reads until there is something to give, or an error.
func (w *wireReader) fill() {
	if w.buf == nil {
		w.buf = make([]byte, wireBuffer)
	}
	for range maxEmptyReads {
		if w.err != nil {
			return
		}
		var n int
		n, w.err = w.r.Read(w.buf)
		if n > 0 {
			w.rest = w.buf[:n]
			return
		}
	}
	w.err = cmp.Or(w.err, io.ErrNoProgress)
}
