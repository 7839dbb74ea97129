package mail

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"
	netmail "net/mail"
	"slices"
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
	notes   *noteFilter // nil: nothing is left out of the digests
}

// surveyBlock is how much is turned to LF form at once: little enough to stay in the cache
// until it is hashed.
const surveyBlock = 16 << 10

// NewSurveyor returns a Surveyor for one message.
func NewSurveyor() *Surveyor {
	return &Surveyor{all: sha256.New(), header: headerReader{hash: sha256.New()}}
}

// Reset makes the Surveyor ready for another message.
func (s *Surveyor) Reset() {
	s.all.Reset()
	s.header.reset()
	s.content, s.held, s.doubled = Content{}, false, false
	if s.notes != nil {
		s.notes.reset()
	}
}

// Write never fails.
func (s *Surveyor) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		block := rest[:min(len(rest), surveyBlock)]
		rest = rest[len(block):]
		if s.begin(block); s.isLF(block) {
			s.content.BareLF += int64(bytes.Count(block, []byte{'\n'}))
			s.pass(block)
			continue
		}
		s.buf = s.lfForm(s.buf[:0], block)
		s.pass(s.buf)
	}
	return len(p), nil
}

// Append takes bytes as Write does, and appends what it hashes of them to dst: every CRLF turned into LF, a CR at the
// end held back (see Held). It appends at most one byte more than p has. That is also what lies on disk as long as
// StoredAsLF.
func (s *Surveyor) Append(dst, p []byte) []byte {
	for len(p) > 0 {
		block := p[:min(len(p), surveyBlock)]
		p = p[len(block):]
		before := len(dst)
		if s.begin(block); s.isLF(block) {
			s.content.BareLF += int64(bytes.Count(block, []byte{'\n'}))
			dst = append(dst, block...)
		} else {
			dst = s.lfForm(dst, block)
		}
		s.pass(dst[before:])
	}
	return dst
}

// Held reports whether a CR is held back, because an LF may follow.
func (s *Surveyor) Held() bool { return s.held }

// LineEnds returns how many CRLFs were read, and whether the message is StoredAsLF so far.
func (s *Surveyor) LineEnds() (crlf int64, asLF bool) { return s.content.CRLF, s.content.StoredAsLF() }

// begin notes what does not depend on line ends.
func (s *Surveyor) begin(block []byte) {
	s.content.Size += int64(len(block))
	s.content.NUL = s.content.NUL || bytes.IndexByte(block, 0) >= 0
}

// isLF reports whether the bytes are in LF form as they are.
func (s *Surveyor) isLF(block []byte) bool { return !s.held && bytes.IndexByte(block, '\r') < 0 }

// pass hands on bytes in LF form.
func (s *Surveyor) pass(p []byte) {
	if s.notes != nil {
		p = s.notes.keep(p)
	}
	s.all.Write(p)
	s.header.write(p)
}

// lfForm counts the line ends of the next bytes and appends them to out with every CRLF turned into LF. A CR at the
// end is held back.
func (s *Surveyor) lfForm(out, p []byte) []byte {
	out = slices.Grow(out, len(p)+1) // and the CR held before
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return s.text(out, p)
		}
		if i >= 2 && p[i-1] == '\r' && p[i-2] != '\r' && !s.held {
			// A line as nearly all are.
			s.content.CRLF++
			out = append(append(out, p[:i-1]...), '\n')
			p = p[i+1:]
			continue
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
	if s.notes != nil {
		rest := s.notes.rest()
		s.all.Write(rest)
		s.header.write(rest)
	}
	s.all.Sum(s.content.Digest[:0])
	s.header.finish(&s.content)
	return s.content
}

// Survey reads r to its end.
func Survey(r io.Reader) (Content, error) { return NewSurveyor().survey(r) }

func (s *Surveyor) survey(r io.Reader) (Content, error) {
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
	kept     bool   // the current field is one that may matter
	field    []byte // its beginning, unfolded
	raw      bool
	hasMsgID bool
	date     []byte // the value of the first Date field
	newline  [1]byte
}

// maxField bounds how much of one header field is kept for parsing, in bytes: RFC 5322, 2.1.1 allows
// lines of 998.
const maxField = 1000

func (h *headerReader) reset() {
	h.hash.Reset()
	*h = headerReader{hash: h.hash, field: h.field[:0], date: h.date[:0]}
}

// write takes the next bytes: header lines up to the first empty one count.
func (h *headerReader) write(p []byte) {
	if h.done || len(p) == 0 {
		return
	}
	if !h.inLine && p[0] == '\n' {
		h.done = true
		return
	}
	if i := bytes.Index(p, []byte("\n\n")); i >= 0 {
		p, h.done = p[:i+1], true
	}
	h.any = true
	h.digest(p)
	h.raw = h.raw || !isASCII(p)
	for len(p) > 0 {
		line, rest, ended := bytes.Cut(p, []byte{'\n'})
		if len(line) > 0 {
			h.text(line)
		}
		h.inLine, p = !ended, rest
	}
}

// digest hashes all but the line end behind the last line.
func (h *headerReader) digest(p []byte) {
	if h.ended {
		h.newline[0] = '\n'
		h.hash.Write(h.newline[:])
	}
	if h.ended = p[len(p)-1] == '\n'; h.ended {
		p = p[:len(p)-1]
	}
	h.hash.Write(p)
}

// isASCII looks at eight bytes at a time.
func isASCII(p []byte) bool {
	var high uint64
	for ; len(p) >= 8; p = p[8:] {
		high |= binary.NativeEndian.Uint64(p)
	}
	for _, c := range p {
		high |= uint64(c)
	}
	return high&0x8080808080808080 == 0
}

// text takes a part of one line, which is not empty.
func (h *headerReader) text(p []byte) {
	if !h.inLine && p[0] != ' ' && p[0] != '\t' {
		h.endField()
		h.kept = p[0]|0x20 == 'm' || p[0]|0x20 == 'd' // Message-ID, Date
	}
	if h.kept {
		h.field = append(h.field, p[:min(len(p), maxField-len(h.field))]...)
	}
}

func (h *headerReader) endField() {
	if !h.kept {
		return
	}
	name, value, _ := bytes.Cut(h.field, []byte{':'})
	name, value = bytes.TrimRight(name, " \t"), bytes.TrimSpace(value)
	switch {
	case len(value) == 0:
	case compareFold(name, "message-id") == 0:
		h.hasMsgID = true
	case compareFold(name, "date") == 0 && len(h.date) == 0:
		h.date = append(h.date, value...)
	}
	h.field, h.kept = h.field[:0], false
}

func (h *headerReader) finish(c *Content) {
	h.endField()
	if h.any {
		h.hash.Sum(c.Header[:0])
	}
	c.HasMessageID, c.RawHeader = h.hasMsgID, h.raw
	if t, ok := commonDate(h.date); ok {
		c.Date = t
		return
	}
	if t, err := netmail.ParseDate(plainDate(string(h.date))); err == nil {
		c.Date = t.UTC()
	}
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
