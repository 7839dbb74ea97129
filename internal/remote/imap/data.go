package imap

import (
	"bytes"
	"strings"
	"unicode"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// listed is one LIST or LSUB response.
type listed struct {
	name  string // the server's bytes
	delim byte   // 0: NIL
	attrs []string
	lsub  bool
}

// listData reads "(attributes) delimiter name …" (RFC 3501, section 7.2.2).
func (s *Session) listData(p *response) error {
	l := listed{lsub: p.pos >= 6 && equalFold(p.text[2:6], "LSUB")}
	if !p.take('(') {
		return bad("LIST without attributes")
	}
	for !p.take(')') {
		attr := p.word()
		if len(attr) == 0 {
			return bad("LIST attributes without an end")
		}
		l.attrs = append(l.attrs, string(attr))
	}
	delim, isNil, err := p.str()
	if err != nil {
		return err
	}
	switch {
	case isNil, len(delim) == 0:
	case len(delim) == 1:
		l.delim = delim[0]
	default:
		return bad("a hierarchy delimiter of %d bytes", len(delim))
	}
	name, _, err := p.str()
	if err != nil {
		return err
	}
	l.name = string(name)
	if s.waiting != nil {
		s.waiting.listed()
	}
	for c := range s.flight.each() {
		if c.root != nil {
			c.root(l.delim)
			if l.name == "" {
				break
			}
			continue // said for a command after it
		}
		if c.list != nil {
			c.list(l)
			break
		}
	}
	return nil
}

// statusData reads "name (item value …)" (RFC 3501, section 7.2.4).
func (s *Session) statusData(p *response) error {
	raw, _, err := p.str()
	if err != nil {
		return err
	}
	name := string(raw)
	if !p.take('(') {
		return bad("STATUS without items")
	}
	var st remote.Status
	counted := false
	for !p.take(')') {
		item := strings.ToUpper(string(p.word()))
		switch item {
		case "":
			return bad("STATUS items without an end")
		case "MESSAGES", "UIDNEXT", "UIDVALIDITY", "HIGHESTMODSEQ":
			n, err := p.number()
			if err != nil {
				return err
			}
			setNumber(&st, item, n)
			counted = counted || item == "MESSAGES"
		case "MAILBOXID", "X-GUID":
			if st.MailboxID, err = p.objectID(); err != nil {
				return err
			}
		default:
			if err := p.value(); err != nil {
				return err
			}
		}
	}
	if s.waiting != nil {
		s.waiting.status(name, st, counted && st.Messages == 0)
	}
	for c := range s.flight.each() {
		if c.status != nil {
			c.status(name, st, counted)
			break
		}
	}
	return nil
}

// maxObjectID is what RFC 8474, section 7, allows.
const maxObjectID = 255

// objectID reads an identifier, in parentheses or not.
func (p *response) objectID() (string, error) {
	paren := p.take('(')
	id, isNil, err := p.str()
	if err != nil {
		return "", err
	}
	out := ""
	if !isNil && len(id) <= maxObjectID && !bytes.ContainsFunc(id, unicode.IsControl) {
		out = string(id)
	}
	if paren && !p.take(')') {
		return "", bad("an identifier without an end")
	}
	return out, nil
}

// searchData reads the UIDs of UID SEARCH.
func (s *Session) searchData(p *response) error {
	var found uidRanges
	for w := p.word(); len(w) > 0; w = p.word() {
		n, ok := parseNumber(w)
		if !ok || n == 0 || n > uint64(^mail.UID(0)) {
			return bad("SEARCH found %.20q", w)
		}
		found.add(mail.UIDRange{First: mail.UID(n), Last: mail.UID(n)})
	}
	set := found.set()
	for c := range s.flight.each() {
		if c.search != nil {
			c.search(set)
			break
		}
	}
	return nil
}

// esearchData reads "(TAG "x") UID ALL set …" (RFC 4731, section 3.1).
func (s *Session) esearchData(p *response) error {
	var tag string
	if p.take('(') {
		name := p.word()
		value, _, err := p.str()
		if err != nil {
			return err
		}
		if equalFold(name, "TAG") {
			tag = string(value)
		}
		if !p.take(')') {
			return bad("a search correlator without an end")
		}
	}
	var set mail.UIDSet
	for w := p.word(); len(w) > 0; w = p.word() {
		switch {
		case equalFold(w, "UID"):
		case equalFold(w, "ALL"):
			var err error
			if set, err = parseSet(string(p.word())); err != nil {
				return bad("ESEARCH: %v", err)
			}
		default:
			if err := p.value(); err != nil {
				return err
			}
		}
	}
	for c := range s.flight.each() {
		if c.search != nil && (tag == "" || tag == c.tag) {
			c.search(set)
			break
		}
	}
	return nil
}

// vanishedData reads "(EARLIER) set" or "set" (RFC 7162, section 3.2.10).
func (s *Session) vanishedData(p *response) error {
	earlier := p.take('(')
	if earlier {
		p.word()
		p.take(')')
	}
	set, err := parseSet(string(p.word()))
	if err != nil {
		return bad("VANISHED: %v", err)
	}
	if box := s.mailbox(); box != nil && !earlier {
		box.lose(set.Len())
	}
	if s.waiting != nil && !earlier {
		s.waiting.changed()
	}
	for c := range s.flight.each() {
		if c.vanished != nil {
			c.vanished(set, earlier)
		}
		if c.vanished != nil || c.switches() {
			break
		}
	}
	return nil
}

// idData reads the server's name for itself (RFC 2971).
func (s *Session) idData(p *response) error {
	if !p.take('(') {
		return nil
	}
	for !p.take(')') {
		key, _, err := p.str()
		if err != nil {
			return err
		}
		isName := equalFold(key, "name")
		value, isNil, err := p.str()
		if err != nil {
			return err
		}
		if isName && !isNil {
			s.serverName = remote.CleanText(string(value))
		}
	}
	return nil
}

// namespaceData reads the personal, others' and shared namespaces (RFC 2342), until it has been told.
func (s *Session) namespaceData(p *response) error {
	if s.settled {
		return nil
	}
	for kind := range 3 {
		if !p.take('(') {
			if _, isNil, err := p.str(); err != nil || !isNil {
				return bad("NAMESPACE is neither a list nor NIL")
			}
			continue
		}
		for first := true; !p.take(')'); first = false {
			prefix, delim, err := p.namespace()
			if err != nil {
				return err
			}
			switch {
			case kind == 0 && first:
				s.prefix, s.delim, s.delimKnown = prefix, delim, true
			case kind > 0 && prefix != "" && len(s.foreign) < maxNamespaces:
				s.foreign = append(s.foreign, prefix)
			}
		}
	}
	return nil
}

// maxNamespaces bounds how many namespaces of others are told apart.
const maxNamespaces = 1000

// namespace reads one ("prefix" "delimiter" extensions…).
func (p *response) namespace() (prefix string, delim byte, err error) {
	if !p.take('(') {
		return "", 0, bad("a namespace that is no list")
	}
	b, _, err := p.str()
	if err != nil {
		return "", 0, err
	}
	prefix = string(b)
	d, isNil, err := p.str()
	if err != nil {
		return "", 0, err
	}
	if !isNil && len(d) == 1 {
		delim = d[0]
	}
	for !p.take(')') {
		if err := p.value(); err != nil {
			return "", 0, err
		}
	}
	return prefix, delim, nil
}

// flagNames splits a list of flags, as leniently as servers need it: "(a b)", NIL, quoted names, names with
// "]" in them, spaces anywhere.
func flagNames(list string) ([]string, error) {
	list = strings.TrimSpace(list)
	if strings.EqualFold(list, "NIL") {
		return nil, nil
	}
	if len(list) < 2 || list[0] != '(' || list[len(list)-1] != ')' {
		return nil, bad("%.40q is no list of flags", list)
	}
	names := strings.Fields(list[1 : len(list)-1])
	for i, n := range names {
		if len(n) >= 2 && n[0] == '"' && n[len(n)-1] == '"' {
			names[i] = strings.ReplaceAll(n[1:len(n)-1], `\\`, `\`)
		}
	}
	return names, nil
}

func trimParens(s string) string {
	return remote.CleanText(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(s), "("), ")"))
}

// equalFold compares what the server said with one of our words.
func equalFold(b []byte, word string) bool {
	switch {
	case len(b) != len(word):
		return false
	case string(b) == word:
		return true
	}
	for i := range b {
		c := b[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if d := word[i]; c != d && (d < 'a' || d > 'z' || c != d-('a'-'A')) {
			return false
		}
	}
	return true
}

// printable replaces what a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '·'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
