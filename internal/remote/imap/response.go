package imap

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	// maxLiteral bounds a literal that is held in memory.
	maxLiteral = 1 << 20
	// maxKept bounds all such literals of one response together.
	maxKept    = 4 << 20
	maxNesting = 32

	// A server may say so many lines, of so many bytes together with literals that nobody asked for, before it gives one of the
	// answers that are waited for, and more in a mailbox that holds much; see Session.tolerated. What it sends of messages that
	// were asked for does not count.
	maxLines = 1_000_000
	maxTalk  = 64 << 20
)

// badLine is a response that can't be understood. The lines after it can.
type badLine struct{ what string }

func (e *badLine) Error() string { return e.what }

func bad(format string, args ...any) error { return &badLine{fmt.Sprintf(format, args...)} }

func isBadLine(err error) bool {
	if err == nil {
		return false
	}
	_, ok := errors.AsType[*badLine](err)
	return ok
}

// response is one response while it is read: the current line's text, and the literal that the line
// ends in, if any, after which the response goes on. Methods that return []byte return it valid until the next
// call of any method. Errors are *badLine, or end the session.
type response struct {
	in    *lineReader
	trace func(line string)
	text  []byte // without the literal's announcement
	pos   int
	lit   int64 // bytes in the literal behind text, -1: there is none
	kept  int64 // bytes of literals held so far

	lines, talk int64                 // said since the last answer that was waited for, see maxLines
	tolerated   func() (int64, int64) // how many may be, where it is more than maxLines and maxTalk; nil: it is not
}

// hear counts what the server says. An error ends the session.
func (p *response) hear(lines, bytes int64) error {
	p.lines, p.talk = p.lines+lines, p.talk+min(bytes, math.MaxInt64-p.talk)
	if p.lines <= maxLines && p.talk <= maxTalk {
		return nil
	}
	most, mostBytes := int64(maxLines), int64(maxTalk)
	if p.tolerated != nil {
		most, mostBytes = p.tolerated()
	}
	if p.lines > most || p.talk > mostBytes {
		return protocolError("%d lines and %d bytes, and none of them the answer", p.lines, p.talk)
	}
	return nil
}

// answered begins to count anew.
func (p *response) answered() { p.lines, p.talk = 0, 0 }

// toss skips the literal that comes next.
func (p *response) toss() error {
	if err := p.hear(0, p.lit); err != nil {
		return err
	}
	return p.in.discard(p.lit)
}

// begin reads the first line of the next response.
func (p *response) begin() error {
	line, err := p.in.line()
	if err != nil {
		return err
	}
	p.kept = 0
	return p.load(line, isStatus(line))
}

// resume reads the line that goes on after a literal.
func (p *response) resume() error {
	line, err := p.in.line()
	if err != nil {
		return err
	}
	return p.load(line, false)
}

func (p *response) load(line []byte, status bool) error {
	p.text, p.pos, p.lit = line, 0, -1
	err := p.hear(1, int64(len(line)))
	if err != nil {
		return err
	}
	if !status {
		p.text, p.lit, err = cutLiteral(line)
	}
	if p.trace != nil {
		p.traceLine(line)
	}
	return err
}

func (p *response) traceLine(line []byte) {
	if p.lit < 0 {
		p.trace(clip(line))
		return
	}
	p.trace(clip(p.text) + "{" + strconv.FormatInt(p.lit, 10) + " bytes}")
}

// clip shortens a line for people.
func clip(line []byte) string {
	const most = 2000
	if len(line) > most {
		return fmt.Sprintf("%s… (%d bytes)", line[:most], len(line))
	}
	return string(line)
}

// isStatus reports whether a response is a status response, a continuation or tagged: their text is for people and
// may end in anything, also in what looks like a literal.
func isStatus(line []byte) bool {
	switch {
	case len(line) < 2 || line[0] != '*' || line[1] != ' ':
		return true
	case len(line) > 2 && '0' <= line[2] && line[2] <= '9': // as nearly all do
		return false
	}
	word, _, _ := bytes.Cut(line[2:], []byte{' '})
	for _, kind := range statusKinds {
		if equalFold(word, kind) {
			return true
		}
	}
	return false
}

// statusKinds are what untagged status responses begin with (RFC 3501, section 7.1).
var statusKinds = [...]string{"OK", "NO", "BAD", "BYE", "PREAUTH"}

// cutLiteral takes the announcement of a literal off the end of a line: {n}, {n+}, or ~{n} for one
// that may hold NUL (RFC 3516). A size beyond 63 bits ends the session.
func cutLiteral(line []byte) (text []byte, size int64, err error) {
	n := len(line)
	if n < 3 || line[n-1] != '}' {
		return line, -1, nil
	}
	end := n - 1
	if line[end-1] == '+' {
		end--
	}
	i := end
	for i > 0 && line[i-1] >= '0' && line[i-1] <= '9' {
		i--
	}
	if i == end || i == 0 || line[i-1] != '{' {
		return line, -1, nil
	}
	size, err = strconv.ParseInt(string(line[i:end]), 10, 64)
	if err != nil || size == math.MaxInt64 {
		return nil, -1, protocolError("a literal of %.30s bytes", line[i:end])
	}
	i--
	if i > 0 && line[i-1] == '~' && (i == 1 || line[i-2] == ' ' || line[i-2] == '(') {
		i--
	}
	return line[:i], size, nil
}

// skip reads on to the end of the response.
func (p *response) skip() error {
	for p.lit >= 0 {
		if err := p.toss(); err != nil {
			return err
		}
		if err := p.resume(); err != nil {
			return err
		}
	}
	return nil
}

// atLiteral reports whether a literal comes next.
func (p *response) atLiteral() bool { return p.pos == len(p.text) && p.lit >= 0 }

// peek returns the next byte of the line, 0 at its end.
func (p *response) peek() byte {
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

// spaces skips any number of spaces.
func (p *response) spaces() {
	for p.pos < len(p.text) && p.text[p.pos] == ' ' {
		p.pos++
	}
}

// take skips c if it comes next, after spaces.
func (p *response) take(c byte) bool {
	if p.pos < len(p.text) && p.text[p.pos] == c {
		p.pos++
		return true
	}
	p.spaces()
	if p.pos < len(p.text) && p.text[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

// word returns what comes up to the next space, parenthesis or literal; empty if there is nothing. Brackets
// hold it together, as in BODY[HEADER.FIELDS (DATE)].
func (p *response) word() []byte {
	p.spaces()
	start, i := p.pos, p.pos
	for ; i < len(p.text); i++ {
		c := p.text[i]
		if c > ')' && c != '[' { // nearly always
			continue
		}
		if c == ' ' || c == '(' || c == ')' {
			break
		}
		if c == '[' {
			end := bytes.IndexByte(p.text[i:], ']')
			if end < 0 {
				i = len(p.text)
				break
			}
			i += end
		}
	}
	p.pos = i
	return p.text[start:i]
}

// rest returns all that is left of the line.
func (p *response) rest() []byte {
	r := p.text[p.pos:]
	p.pos = len(p.text)
	return r
}

// number reads an unsigned number of up to 64 bits.
func (p *response) number() (uint64, error) {
	if n, ok := p.smallNumber(); ok {
		return n, nil
	}
	w := p.word()
	n, ok := parseNumber(w)
	if !ok {
		return 0, bad("%.40q is not a number", w)
	}
	return n, nil
}

// smallNumber reads a number of up to 18 digits that ends where words end; if none comes next it reads nothing.
func (p *response) smallNumber() (n uint64, ok bool) {
	p.spaces()
	i := p.pos
	for ; i < len(p.text) && '0' <= p.text[i] && p.text[i] <= '9'; i++ {
		n = n*10 + uint64(p.text[i]-'0')
	}
	if i == p.pos || i > p.pos+18 || i < len(p.text) && p.text[i] != ' ' && p.text[i] != ')' && p.text[i] != '(' {
		return 0, false
	}
	p.pos = i
	return n, true
}

func parseNumber(w []byte) (uint64, bool) {
	if len(w) == 0 || len(w) > 20 {
		return 0, false
	}
	var n uint64
	for _, c := range w {
		if c < '0' || c > '9' {
			return 0, false
		}
		d := uint64(c - '0')
		if n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// str reads a string: quoted, literal, or a bare word. isNil reports NIL.
func (p *response) str() (s []byte, isNil bool, err error) {
	p.spaces()
	switch {
	case p.atLiteral():
		s, err = p.literal()
		return s, false, err
	case p.peek() == '"':
		s, err = p.quoted()
		return s, false, err
	}
	start := p.pos
	for p.pos < len(p.text) && strings.IndexByte(" ()\"", p.text[p.pos]) < 0 {
		p.pos++
	}
	if start == p.pos {
		return nil, false, bad("a string is missing at %.40q", p.text[start:])
	}
	s = p.text[start:p.pos]
	return s, len(s) == 3 && strings.EqualFold(string(s), "NIL"), nil
}

func (p *response) quoted() ([]byte, error) {
	start := p.pos + 1
	n := bytes.IndexByte(p.text[start:], '"')
	if n < 0 {
		return nil, bad("a quoted string without an end")
	}
	s := p.text[start : start+n]
	if bytes.IndexByte(s, '\\') >= 0 {
		return p.escaped(start)
	}
	p.pos = start + n + 1
	return s, nil
}

// escaped reads a quoted string with backslashes in it.
func (p *response) escaped(start int) ([]byte, error) {
	var out []byte
	for i := start; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '"':
			p.pos = i + 1
			return out, nil
		case c == '\\' && i+1 < len(p.text):
			i++
			out = append(out, p.text[i])
		default:
			out = append(out, c)
		}
	}
	return nil, bad("a quoted string without an end")
}

// literal holds a literal in memory.
func (p *response) literal() ([]byte, error) {
	if p.lit > maxLiteral || p.kept+p.lit > maxKept {
		return nil, protocolError("a literal of %d bytes where none so large can be", p.lit)
	}
	if err := p.hear(0, p.lit); err != nil {
		return nil, err
	}
	p.kept += p.lit
	out := make([]byte, p.lit)
	if err := p.in.full(out); err != nil {
		return nil, err
	}
	return out, p.resume()
}

// value skips one value of any shape.
func (p *response) value() error { return p.nested(0) }

func (p *response) nested(depth int) error {
	p.spaces()
	switch next := p.peek(); {
	case p.atLiteral():
		if err := p.toss(); err != nil {
			return err
		}
		return p.resume()
	case next == 0:
		return bad("a value is missing")
	case next == ')':
		return bad("a parenthesis too many")
	case next == '"':
		_, err := p.quoted()
		return err
	case next == '(':
		if depth == maxNesting {
			return bad("lists nested deeper than %d", maxNesting)
		}
		p.pos++
		for !p.take(')') {
			if err := p.nested(depth + 1); err != nil {
				return err
			}
		}
	default:
		if len(p.word()) == 0 {
			return bad("a value is missing")
		}
	}
	return nil
}
