package hostile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// words reads a command's arguments.
type words struct {
	text     string
	literals []string
}

func (w *words) skip() { w.text = strings.TrimLeft(w.text, " ") }

// next returns the next string, atom, or list with its parentheses.
func (w *words) next() string {
	w.skip()
	switch {
	case w.text == "":
		return ""
	case w.text[0] == '\x00':
		i := 1
		for i < len(w.text) && w.text[i] >= '0' && w.text[i] <= '9' {
			i++
		}
		n, _ := strconv.Atoi(w.text[1:i])
		w.text = w.text[i:]
		return w.literals[n]
	case w.text[0] == '"':
		var b strings.Builder
		for i := 1; i < len(w.text); i++ {
			switch w.text[i] {
			case '\\':
				i++
				b.WriteByte(w.text[i])
			case '"':
				w.text = w.text[i+1:]
				return b.String()
			default:
				b.WriteByte(w.text[i])
			}
		}
		return ""
	case w.text[0] == '(':
		depth := 0
		for i := range len(w.text) {
			switch w.text[i] {
			case '(':
				depth++
			case ')':
				depth--
			}
			if depth == 0 {
				list := w.text[:i+1]
				w.text = w.text[i+1:]
				return list
			}
		}
	}
	word, rest, _ := strings.Cut(w.text, " ")
	w.text = rest
	return word
}

func (w *words) rest() string {
	w.skip()
	return w.text
}

func inner(list string) string { return strings.TrimSuffix(strings.TrimPrefix(list, "("), ")") }

// quote spells a name as servers do.
func quote(name string) string {
	if strings.ContainsAny(name, "\r\n\x00") {
		return fmt.Sprintf("{%d}\r\n%s", len(name), name)
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}

// set is what a client means by "1:5,7,9:*".
type set [][2]uint32

func parseSet(text string, last uint32) set {
	var out set
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, ":")
		number := func(s string) uint32 {
			if s == "*" {
				return last
			}
			n, _ := strconv.ParseUint(s, 10, 32)
			return uint32(n)
		}
		a := number(from)
		b := a
		if isRange {
			b = number(to)
		}
		out = append(out, [2]uint32{min(a, b), max(a, b)})
	}
	return out
}

func (s set) has(uid uint32) bool {
	return slices.ContainsFunc(s, func(r [2]uint32) bool { return r[0] <= uid && uid <= r[1] })
}

// do carries out a command and returns its outcome. The caller holds the server's lock.
func (c *conn) do(verb string, w *words) string {
	s := c.s
	switch verb {
	case "CAPABILITY":
		c.say("CAPABILITY %s", s.caps)
	case "LOGIN", "SUBSCRIBE", "UNSUBSCRIBE", "NOOP":
	case "ID":
		c.say(`ID ("name" "hostile")`)
	case "NAMESPACE":
		c.say(`NAMESPACE (("" "/")) NIL NIL`)
	case "ENABLE":
		c.condOn = true
		c.qresync = strings.Contains(w.rest(), "QRESYNC")
		c.say("ENABLED %s", w.rest())
	case "LOGOUT":
		c.say("BYE bye")
	case "LIST":
		return c.list(w)
	case "STATUS":
		b := s.boxes[w.next()]
		if b == nil {
			return "NO [NONEXISTENT] no such mailbox"
		}
		c.say("%s", s.status(b))
	case "SELECT", "EXAMINE":
		return c.open(w)
	case "UNSELECT":
		c.box, c.seen = nil, nil
	case "CREATE":
		name := w.next()
		if s.boxes[name] != nil {
			return "NO [ALREADYEXISTS] there is one"
		}
		s.create(name)
	case "DELETE":
		name := w.next()
		if s.boxes[name] == nil {
			return "NO [NONEXISTENT] no such mailbox"
		}
		delete(s.boxes, name)
	case "RENAME":
		from, to := w.next(), w.next()
		if s.boxes[from] == nil || s.boxes[to] != nil {
			return "NO can't"
		}
		b := s.boxes[from]
		delete(s.boxes, from)
		b.Name, s.boxes[to] = to, b
	case "APPEND":
		return c.append(w)
	case "UID FETCH", "UID SEARCH", "UID STORE", "UID EXPUNGE", "UID MOVE", "UID COPY", "EXPUNGE":
		if c.box == nil {
			return "BAD nothing is selected"
		}
		return c.inBox(verb, w)
	default:
		return "BAD unknown"
	}
	return "OK done"
}

func (s *Server) status(b *Mailbox) string {
	out := fmt.Sprintf("STATUS %s (MESSAGES %d UIDNEXT %d UIDVALIDITY %d", quote(b.Name), len(b.Messages), b.UIDNext, b.UIDValidity)
	if s.has("CONDSTORE") {
		out += fmt.Sprintf(" HIGHESTMODSEQ %d", b.ModSeq)
	}
	return out + ")"
}

func (c *conn) list(w *words) string {
	_, pattern, options := w.next(), w.next(), w.rest()
	if pattern == "" {
		c.say(`LIST (\Noselect) "/" ""`)
		return "OK done"
	}
	for _, name := range slices.Sorted(maps.Keys(c.s.boxes)) {
		if pattern != "*" && pattern != name {
			continue
		}
		c.say(`LIST () "/" %s`, quote(name))
		if strings.Contains(options, "STATUS") {
			c.say("%s", c.s.status(c.s.boxes[name]))
		}
	}
	return "OK done"
}

func (c *conn) open(w *words) string {
	name, param := w.next(), w.rest()
	c.box, c.seen = nil, nil
	b := c.s.boxes[name]
	if b == nil {
		return "NO [NONEXISTENT] no such mailbox"
	}
	c.box, c.seen = b, b.uids()
	c.say(`FLAGS (\Answered \Flagged \Deleted \Seen \Draft)`)
	c.say(`OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] yes`)
	c.say("%d EXISTS", len(b.Messages))
	c.say("0 RECENT")
	c.say("OK [UIDVALIDITY %d] yes", b.UIDValidity)
	c.say("OK [UIDNEXT %d] yes", b.UIDNext)
	if c.s.has("CONDSTORE") {
		c.say("OK [HIGHESTMODSEQ %d] yes", b.ModSeq)
	}
	if _, after, ok := strings.Cut(param, "QRESYNC ("); ok {
		var validity, since uint64
		if _, err := fmt.Sscanf(after, "%d %d", &validity, &since); err == nil && validity == b.UIDValidity {
			for _, g := range b.gone {
				if g.modSeq > since {
					c.say("VANISHED (EARLIER) %d", g.uid)
				}
			}
			for i, m := range b.Messages {
				if m.ModSeq > since {
					c.say("%d FETCH (UID %d FLAGS (%s) MODSEQ (%d))", i+1, m.UID, strings.Join(m.Flags, " "), m.ModSeq)
				}
			}
		}
	}
	return "OK [READ-WRITE] open"
}

func (c *conn) append(w *words) string {
	b := c.s.boxes[w.next()]
	if b == nil {
		return "NO [TRYCREATE] no such mailbox"
	}
	var flags []string
	date := "01-Jan-2025 00:00:00 +0000"
	for {
		w.skip()
		switch {
		case strings.HasPrefix(w.text, "("):
			flags = strings.Fields(inner(w.next()))
			continue
		case strings.HasPrefix(w.text, `"`):
			date = w.next()
			continue
		}
		break
	}
	uid := b.add(w.next(), date, flags)
	return fmt.Sprintf("OK [APPENDUID %d %d] stored", b.UIDValidity, uid)
}

func (c *conn) inBox(verb string, w *words) string {
	b := c.box
	last := uint32(0)
	if n := len(b.Messages); n > 0 {
		last = b.Messages[n-1].UID
	}
	switch verb {
	case "EXPUNGE":
		b.remove(func(m *Message) bool { return slices.Contains(m.Flags, `\Deleted`) })
		return "OK done"
	case "UID SEARCH":
		return c.search(w, last)
	}
	uids := parseSet(w.next(), last)
	switch verb {
	case "UID FETCH":
		items, modifier := w.next(), w.rest()
		var since uint64
		if _, err := fmt.Sscanf(modifier, "(CHANGEDSINCE %d", &since); err != nil {
			since = 0
		}
		for i, m := range b.Messages {
			if uids.has(m.UID) && m.ModSeq > since {
				c.say("%d FETCH (%s)", i+1, m.items(items, c.condOn || since > 0))
			}
		}
	case "UID STORE":
		return c.store(w, uids)
	case "UID EXPUNGE":
		b.remove(func(m *Message) bool { return uids.has(m.UID) && slices.Contains(m.Flags, `\Deleted`) })
	case "UID COPY", "UID MOVE":
		to := c.s.boxes[w.next()]
		if to == nil {
			return "NO [TRYCREATE] no such mailbox"
		}
		var from, made []string
		for _, m := range slices.Clone(b.Messages) {
			if uids.has(m.UID) {
				from, made = append(from, fmt.Sprint(m.UID)), append(made, fmt.Sprint(to.add(m.Raw, m.Date, slices.Clone(m.Flags))))
			}
		}
		if len(from) == 0 {
			return "OK nothing to do"
		}
		code := fmt.Sprintf("OK [COPYUID %d %s %s] done", to.UIDValidity, strings.Join(from, ","), strings.Join(made, ","))
		if verb == "UID COPY" {
			return code
		}
		c.say("%s", code)
		b.remove(func(m *Message) bool { return uids.has(m.UID) })
	}
	return "OK done"
}

// items spells what was asked about a message.
func (m *Message) items(asked string, modSeq bool) string {
	out := fmt.Sprintf("UID %d", m.UID)
	has := func(item string) bool { return strings.Contains(asked, item) }
	if has("FLAGS") {
		out += " FLAGS (" + strings.Join(m.Flags, " ") + ")"
	}
	if has("INTERNALDATE") {
		out += ` INTERNALDATE "` + m.Date + `"`
	}
	if has("RFC822.SIZE") {
		out += fmt.Sprintf(" RFC822.SIZE %d", len(m.Raw))
	}
	if modSeq {
		out += fmt.Sprintf(" MODSEQ (%d)", m.ModSeq)
	}
	if has("BODY.PEEK[HEADER]") {
		header, _, _ := strings.Cut(m.Raw, "\r\n\r\n")
		header += "\r\n\r\n"
		out += fmt.Sprintf(" BODY[HEADER] {%d}\r\n%s", len(header), header)
	}
	if has("BODY.PEEK[]") {
		out += fmt.Sprintf(" BODY[] {%d}\r\n%s", len(m.Raw), m.Raw)
	}
	return out
}

func (c *conn) search(w *words, last uint32) string {
	query := w.rest()
	extended := strings.Contains(query, "RETURN")
	_, spelled, only := strings.Cut(query, "UID ")
	all := set{{1, ^uint32(0)}}
	if only {
		spelled, _, _ = strings.Cut(spelled, " ")
		all = parseSet(spelled, last)
	}
	var found []string
	for _, m := range c.box.Messages {
		if all.has(m.UID) && (!strings.Contains(query, "DELETED") || slices.Contains(m.Flags, `\Deleted`)) {
			found = append(found, fmt.Sprint(m.UID))
		}
	}
	switch {
	case !extended:
		c.say("%s", strings.TrimRight("SEARCH "+strings.Join(found, " "), " "))
	case len(found) == 0:
		c.say("ESEARCH UID")
	default:
		c.say("ESEARCH UID ALL %s", strings.Join(found, ","))
	}
	return "OK done"
}

func (c *conn) store(w *words, uids set) string {
	op, flags := w.next(), strings.Fields(inner(w.next()))
	for i, m := range c.box.Messages {
		if !uids.has(m.UID) {
			continue
		}
		for _, f := range flags {
			m.Flags = slices.DeleteFunc(slices.Clone(m.Flags), func(have string) bool { return strings.EqualFold(have, f) })
			if op[0] == '+' {
				m.Flags = append(m.Flags, f)
			}
		}
		slices.SortFunc(m.Flags, cmp.Compare[string])
		c.box.ModSeq++
		m.ModSeq = c.box.ModSeq
		if !strings.Contains(op, "SILENT") || c.condOn {
			c.say("%d FETCH (UID %d FLAGS (%s) MODSEQ (%d))", i+1, m.UID, strings.Join(m.Flags, " "), m.ModSeq)
		}
	}
	return "OK done"
}
