package mail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	netmail "net/mail"
	"strings"
	"time"
)

// Digest identifies message bytes: SHA-256 of them with every CRLF turned into LF, so that
// a message has one digest on the wire and on disk. The zero value is none.
type Digest [sha256.Size]byte

// IsZero reports whether the digest is none.
func (d Digest) IsZero() bool { return d == Digest{} }

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Content is what the bytes of one message, or of its header alone, say about it.
type Content struct {
	// Size is the number of bytes as they were given.
	Size int64
	// Digest covers everything, Header all up to the first empty line, without the
	// line ends that follow the last header line. An empty header has a zero digest.
	Digest, Header Digest
	// HasMessageID reports a non-empty Message-ID field. Without one, two
	// messages with equal headers need not be the same.
	HasMessageID bool
	// Date is the Date field, zero if there is none that can be read.
	Date time.Time
	// CRLF, BareLF and CRCRLF count line ends: CRLF pairs, LFs without a CR before them, and
	// CRLF pairs with one more CR before them.
	CRLF, BareLF, CRCRLF int64
	// NUL reports a zero byte, which IMAP literals can't hold (RFC 9051, section 4.3).
	NUL bool
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
type Surveyor struct {
	content Content
	all     hash.Hash
	header  headerReader
	pending bool // a CR was read and not hashed yet
	crs     int  // CRs directly before the next byte
	buf     []byte
}

// NewSurveyor returns a Surveyor for one message.
func NewSurveyor() *Surveyor {
	return &Surveyor{all: sha256.New(), header: headerReader{hash: sha256.New()}}
}

// Write never fails.
func (s *Surveyor) Write(p []byte) (int, error) {
	s.content.Size += int64(len(p))
	out := s.buf[:0]
	for rest := p; len(rest) > 0; {
		i := bytes.IndexAny(rest, "\r\n\x00")
		if i < 0 {
			out = s.flushCR(out)
			out = append(out, rest...)
			break
		}
		if i > 0 {
			out = s.flushCR(out)
			out = append(out, rest[:i]...)
		}
		switch rest[i] {
		case 0:
			s.content.NUL = true
			out = append(s.flushCR(out), 0)
		case '\r':
			if s.pending {
				out = append(out, '\r')
			}
			s.pending = true
			s.crs++
		case '\n':
			switch {
			case s.pending:
				s.content.CRLF++
				if s.crs > 1 {
					s.content.CRCRLF++
				}
			default:
				s.content.BareLF++
			}
			s.pending, s.crs = false, 0
			out = append(out, '\n')
		}
		rest = rest[i+1:]
	}
	s.buf = out
	s.all.Write(out)
	s.header.write(out)
	return len(p), nil
}

func (s *Surveyor) flushCR(out []byte) []byte {
	if s.pending {
		out = append(out, '\r')
	}
	s.pending, s.crs = false, 0
	return out
}

// Content returns what was found. Nothing may be written after it.
func (s *Surveyor) Content() Content {
	if s.pending {
		s.all.Write([]byte{'\r'})
		s.header.write([]byte{'\r'})
		s.pending = false
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
	blank    int  // line ends not hashed yet, because they may be the last ones
	lineLen  int  // bytes in the current line
	done     bool // the empty line was seen
	any      bool
	line     []byte // the beginning of the current field, unfolded
	date     string
	hasMsgID bool
}

// maxField bounds how much of one header field is kept for parsing.
const maxField = 1000

func (h *headerReader) write(p []byte) {
	for len(p) > 0 && !h.done {
		i := bytes.IndexByte(p, '\n')
		part := p
		if i >= 0 {
			part = p[:i]
		}
		if len(part) > 0 {
			for ; h.blank > 0; h.blank-- {
				h.hash.Write([]byte{'\n'})
			}
			h.hash.Write(part)
			h.any = true
			if h.lineLen == 0 && part[0] != ' ' && part[0] != '\t' {
				h.endField()
			}
			if room := maxField - len(h.line); room > 0 {
				h.line = append(h.line, part[:min(room, len(part))]...)
			}
			h.lineLen += len(part)
		}
		if i < 0 {
			return
		}
		if h.lineLen == 0 {
			h.done = true
			return
		}
		h.blank++
		h.lineLen = 0
		p = p[i+1:]
	}
}

func (h *headerReader) endField() {
	name, value, ok := strings.Cut(string(h.line), ":")
	value = strings.TrimSpace(value)
	if ok && value != "" {
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "message-id":
			h.hasMsgID = true
		case "date":
			if h.date == "" {
				h.date = value
			}
		}
	}
	h.line = h.line[:0]
}

func (h *headerReader) finish(c *Content) {
	h.endField()
	if h.any {
		h.hash.Sum(c.Header[:0])
	}
	c.HasMessageID = h.hasMsgID
	if t, err := netmail.ParseDate(h.date); err == nil {
		c.Date = t
	}
}

// WireReader turns a file's bytes into what goes over the wire: every LF into CRLF. It is for
// files without any CRLF; others go out as they are.
func WireReader(r io.Reader) io.Reader { return &wireReader{r: r, in: make([]byte, 16<<10)} }

type wireReader struct {
	r   io.Reader
	in  []byte
	out []byte
	off int
	err error
}

func (w *wireReader) Read(p []byte) (int, error) {
	for w.off == len(w.out) {
		if w.err != nil {
			return 0, w.err
		}
		var n int
		n, w.err = w.r.Read(w.in)
		w.out, w.off = w.out[:0], 0
		for rest := w.in[:n]; len(rest) > 0; {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				w.out = append(w.out, rest...)
				break
			}
			w.out = append(append(w.out, rest[:i]...), '\r', '\n')
			rest = rest[i+1:]
		}
	}
	n := copy(p, w.out[w.off:])
	w.off += n
	return n, nil
}
