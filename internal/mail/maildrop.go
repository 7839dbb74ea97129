package mail

import (
	"bytes"
	"io"
	"strings"
)

// NewMaildropSurveyor is NewSurveyor for messages of a maildrop (POP3). Its digests leave out the header fields Status, X-Status and
// X-UIDL: servers that keep mail in mbox files write into them whether a message was read, and so send another one after that.
func NewMaildropSurveyor() *Surveyor {
	s := NewSurveyor()
	s.notes = &noteFilter{}
	return s
}

// SurveyMaildrop is Survey for messages of a maildrop.
func SurveyMaildrop(r io.Reader) (Content, error) { return NewMaildropSurveyor().survey(r) }

// notes are the fields that are left out.
var notes = [...]string{"status:", "x-status:", "x-uidl:"}

// noteFilter takes the notes out of a header in LF form.
type noteFilter struct {
	done  bool   // the header is over
	begun bool   // the present line has begun, and is known to be kept or not
	skip  bool   // the present field is left out
	start []byte // of a line of which that is not known yet
	out   []byte // what was kept last
}

func (f *noteFilter) reset() { *f = noteFilter{start: f.start[:0], out: f.out[:0]} }

// keep returns p without what is left out of it. What may yet be left out is held back. The result is valid until the next call.
func (f *noteFilter) keep(p []byte) []byte {
	if f.done {
		return p
	}
	f.out = f.out[:0]
	from := 0 // of what is kept and not in out yet
	for i := 0; i < len(p) && !f.done; {
		if !f.begun {
			was := len(f.start)
			skip, known := f.judge(p[i:])
			if !known {
				f.out = append(f.out, p[from:i]...)
				f.start = append(f.start, p[i:]...)
				return f.out
			}
			if was > 0 && !skip { // it is at the beginning of p
				f.out = append(f.out, f.start...)
			}
			f.begun, f.skip, f.start = true, skip, f.start[:0]
		}
		end := len(p)
		if n := bytes.IndexByte(p[i:], '\n'); n >= 0 {
			f.begun, end = false, i+n+1
		}
		if f.skip {
			f.out = append(f.out, p[from:i]...)
			from = end
		}
		i = end
	}
	if from == 0 && len(f.out) == 0 {
		return p
	}
	f.out = append(f.out, p[from:]...)
	return f.out
}

// judge says whether the line that begins with start and p is left out. It is not known if it may be, and too little of it is here.
func (f *noteFilter) judge(p []byte) (skip, known bool) {
	first := p[0]
	if len(f.start) > 0 {
		first = f.start[0]
	}
	switch first {
	case '\n':
		f.done = true
		return false, true
	case ' ', '\t': // the field goes on
		return f.skip, true
	case 's', 'S', 'x', 'X':
	default:
		return false, true
	}
	var line [len("x-status:")]byte
	n := copy(line[:], f.start)
	n += copy(line[n:], p)
	begin := string(bytes.ToLower(line[:n]))
	for _, note := range notes {
		switch {
		case strings.HasPrefix(begin, note):
			return true, true
		case strings.HasPrefix(note, begin):
			return false, false
		}
	}
	return false, true
}

// rest is what was held back at the end of a message.
func (f *noteFilter) rest() []byte { return f.start }
