package imap

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/remote"
)

// maxMailboxes and maxNames, in bytes, bound what is kept of a LIST.
const (
	maxMailboxes = 100_000
	maxNames     = 16 << 20
)

const opList = "listing the mailboxes"

// Mailboxes lists the account's mailboxes below the personal namespace, sorted by name.
func (s *Session) Mailboxes(ctx context.Context) ([]remote.Mailbox, error) {
	list, _, err := s.mailboxes(ctx, "")
	return list, err
}

// MailboxesAnd is Mailboxes with a reading of one mailbox, see remote.Session.
func (s *Session) MailboxesAnd(ctx context.Context, mailbox string) ([]remote.Mailbox, *remote.Changes, error) {
	return s.mailboxes(ctx, canonical(mailbox))
}

func (s *Session) mailboxes(ctx context.Context, also string) ([]remote.Mailbox, *remote.Changes, error) {
	l := lister{s: s, found: map[string]*remote.Mailbox{}, subscribed: map[string]bool{}, also: also}
	if err := l.list(ctx); err != nil {
		return nil, nil, err
	}
	if len(l.found) >= maxMailboxes || l.overflow {
		return nil, nil, &remote.Error{Class: remote.Protocol, Op: opList, Err: fmt.Errorf("the server has more than %d mailboxes, or names of more than %d MB", maxMailboxes, maxNames>>20)}
	}
	if err := l.askStatus(ctx); err != nil {
		return nil, nil, err
	}
	s.remember()
	out := make([]remote.Mailbox, 0, len(l.found))
	for _, name := range slices.Sorted(maps.Keys(l.found)) {
		m := l.found[name]
		m.Subscribed = m.Subscribed || l.subscribed[name]
		if !m.Selectable {
			m.Status = nil
		}
		out = append(out, *m)
	}
	return out, l.read, nil
}

// lister gathers the answers to LIST, LSUB and STATUS.
type lister struct {
	s          *Session
	found      map[string]*remote.Mailbox
	subscribed map[string]bool

	// What came before it was known which mailboxes are ours.
	held     []func()
	names    int // bytes
	overflow bool

	also string          // a mailbox that is to be read along, empty once it was tried
	read *remote.Changes // what came of it
}

// once does what an answer calls for as soon as it is known which mailboxes are ours.
func (l *lister) once(settled func()) {
	switch {
	case l.s.settled:
		l.release()
		settled()
	case len(l.held) < 2*maxMailboxes:
		l.held = append(l.held, settled)
	default:
		l.overflow = true
	}
}

// foundBelow reports whether there is any mailbox but the INBOX.
func (l *lister) foundBelow() bool {
	for name := range l.found {
		if name != inbox {
			return true
		}
	}
	return false
}

func (l *lister) release() {
	for _, f := range l.held {
		f()
	}
	l.held = nil
}

// list sends LIST, with the mailboxes' status if the server can do that, else LIST and LSUB.
func (l *lister) list(ctx context.Context) error {
	s := l.s
	for {
		withStatus := s.caps.has(goimap.CapListStatus) && s.caps.has(goimap.CapListExtended)
		clear(l.found)
		clear(l.subscribed)
		l.names = 0
		guid, prefix := s.xguid, s.prefix
		cmds := l.commands(withStatus)
		along := l.along(withStatus)
		if err := s.run(ctx, opList, append(slices.Clip(cmds), along.commands()...)...); err != nil {
			return err
		}
		l.release()
		if err := l.take(ctx, along); err != nil {
			return err
		}
		refused := firstRefused(cmds)
		switch {
		case refused == nil && withStatus && s.xguid && !guid: // only its ID told what it can do
		case refused == nil && s.prefix != prefix && !l.foundBelow(): // perhaps "*" leaves them out
		case refused == nil:
			return nil
		case withStatus && guid:
			s.xguid = false // it was never promised
		case s.caps.has(goimap.CapListExtended):
			s.warn("%v", refused)
			s.caps.known[goimap.CapListExtended] = false // promised and not kept
		default:
			return refused
		}
	}
}

// along returns the reading that goes with the list, nil if there is none. Without LIST-STATUS there is none: the mailboxes are
// asked about one by one then, and about one that is open servers tell old news. Neither if it would go
// uncompressed and need not.
func (l *lister) along(withStatus bool) *reading {
	if l.also == "" || !withStatus || l.s.wouldCompress() {
		return nil
	}
	r := l.s.newReading(remote.Box{Name: l.also}, remote.Since{})
	l.also = ""
	return r
}

// take takes what was read along with the list. A reading that failed is none, only the session's end matters here.
func (l *lister) take(ctx context.Context, r *reading) error {
	if r == nil || !r.opening.result.ok() {
		return nil
	}
	ch, err := r.finish(ctx, r.judge(ctx))
	if err == nil {
		l.read = &ch
	}
	return l.s.conn.Failure()
}

// firstRefused returns the first refusal that matters.
func firstRefused(cmds []*command) error {
	for _, c := range cmds {
		if err := c.refused(); err != nil && !c.closing {
			return err
		}
	}
	return nil
}

func (l *lister) commands(withStatus bool) []*command {
	s := l.s
	var cmds []*command
	if withStatus {
		cmds = s.leave()
	}
	patterns := []string{"*"}
	if s.prefix != "" {
		patterns = []string{inbox, s.prefix + "*"}
	}
	options := ""
	extended := s.caps.has(goimap.CapListExtended)
	if extended {
		var opts []string
		if s.cfg.Subscribed {
			opts = append(opts, "SUBSCRIBED")
		}
		if s.caps.has(goimap.CapSpecialUse) {
			opts = append(opts, "SPECIAL-USE")
		}
		if withStatus {
			opts = append(opts, "STATUS "+s.statusItems())
		}
		if len(opts) > 0 {
			options = " RETURN (" + strings.Join(opts, " ") + ")"
		}
	}
	add := func(verb, pattern, options string) {
		c := newCommand(opList, verb+` ""`).str(pattern, s.caps).raw(options)
		c.list, c.status = l.add, l.setStatus
		cmds = append(cmds, c)
	}
	for _, pattern := range patterns {
		add("LIST", pattern, options)
		if s.cfg.Subscribed && !extended {
			add("LSUB", pattern, "")
		}
	}
	return cmds
}

// add takes one LIST or LSUB response.
func (l *lister) add(d listed) {
	if l.names += len(d.name); l.names > maxNames {
		l.overflow = true
		return
	}
	l.once(func() { l.place(d) })
}

func (l *lister) place(d listed) {
	s := l.s
	if !s.delimKnown { // the server has no NAMESPACE for us
		s.delim, s.delimKnown = d.delim, true
	}
	d.name = canonical(d.name)
	if d.lsub {
		if !isSet(d.attrs, `\Noselect`) && len(l.subscribed) < maxMailboxes { // \Noselect: only a child is
			l.subscribed[d.name] = true
		}
		return
	}
	path := s.pathOf(d.name, d.delim)
	switch {
	case len(path) == 0: // the namespace itself
		return
	case strings.ContainsAny(d.name, "\r\n\x00"):
		s.warn("the mailbox %q can't be named in a command and is left out", d.name)
		return
	case len(l.found) >= maxMailboxes:
		return
	case !s.isOurs(d.name):
		return
	case d.delim != s.delim && !slices.Equal(path, s.pathOf(d.name, s.delim)):
		// Which of the two is so would decide what folder it is.
		s.warn("the mailbox %q is listed with another hierarchy delimiter than the namespace has, and is left out", d.name)
		return
	}
	m := l.found[d.name]
	if m == nil {
		m = &remote.Mailbox{Name: d.name, Path: path, Display: readName(d.name), Selectable: true}
		l.found[d.name] = m
	}
	for _, attr := range d.attrs {
		switch a := goimap.MailboxAttr(attr); {
		case strings.EqualFold(attr, string(goimap.MailboxAttrNoSelect)), strings.EqualFold(attr, string(goimap.MailboxAttrNonExistent)):
			m.Selectable = false
		case strings.EqualFold(attr, string(goimap.MailboxAttrSubscribed)):
			m.Subscribed = true
		default:
			if use, ok := specialUse(a); ok && !slices.Contains(m.SpecialUse, use) {
				m.SpecialUse = append(m.SpecialUse, use)
			}
		}
	}
}

// isOurs reports whether a mailbox is in the personal namespace. The server may have been asked for all there are,
// when it was not known yet which that is.
func (s *Session) isOurs(name string) bool {
	if name == inbox {
		return true
	}
	below := len(name) >= len(s.prefix) && strings.EqualFold(name[:len(s.prefix)], s.prefix)
	return below && !slices.ContainsFunc(s.foreign, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// specialUse returns an attribute in RFC 6154's spelling if it says what a mailbox is for.
func specialUse(attr goimap.MailboxAttr) (string, bool) {
	for _, use := range [...]goimap.MailboxAttr{
		goimap.MailboxAttrAll, goimap.MailboxAttrArchive, goimap.MailboxAttrDrafts, goimap.MailboxAttrFlagged,
		goimap.MailboxAttrJunk, goimap.MailboxAttrSent, goimap.MailboxAttrTrash, goimap.MailboxAttrImportant,
	} {
		if strings.EqualFold(string(attr), string(use)) {
			return string(use), true
		}
	}
	return "", false
}

func (l *lister) setStatus(name string, st remote.Status, counted bool) {
	l.once(func() {
		if m := l.found[canonical(name)]; m != nil && (counted || m.Status == nil) {
			l.s.correct(&st)
			m.Status = &st
		}
	})
}

// askStatus asks for the status of the mailboxes that have none yet.
func (l *lister) askStatus(ctx context.Context) error {
	var boxes []*remote.Mailbox
	var cmds []*command
	for _, name := range slices.Sorted(maps.Keys(l.found)) {
		m := l.found[name]
		if !m.Selectable || m.Status != nil {
			continue
		}
		c := l.s.statusCommand(m.Name)
		c.status = l.setStatus
		cmds, boxes = append(cmds, c), append(boxes, m)
	}
	if len(cmds) == 0 {
		return nil
	}
	if err := l.s.run(ctx, opList, append(l.s.leave(), cmds...)...); err != nil {
		return err
	}
	for i, m := range boxes {
		switch err := cmds[i].refused(); {
		case m.Status != nil:
		case err != nil && cmds[i].result.saysNone() && l.hasBelow(m.Name):
			m.Selectable = false
		case err != nil:
			m.StatusErr = err
		default:
			m.StatusErr = refusal(cmds[i].op, status{kind: goimap.StatusResponseTypeNo, text: "nothing"})
		}
	}
	return nil
}

// hasBelow reports whether a mailbox is listed that lies below this one.
func (l *lister) hasBelow(name string) bool {
	for other := range l.found {
		if l.s.delim != 0 && strings.HasPrefix(other, name+string(rune(l.s.delim))) {
			return true
		}
	}
	return false
}

// statusItems are the numbers worth asking for.
func (s *Session) statusItems() string {
	items := "(MESSAGES UIDNEXT UIDVALIDITY"
	if s.caps.has(goimap.CapCondStore) {
		items += " HIGHESTMODSEQ"
	}
	switch {
	case s.caps.has(goimap.CapObjectID) && !s.garblesMailboxID():
		items += " MAILBOXID"
	case s.xguid:
		items += " X-GUID"
	}
	return items + ")"
}

// garblesMailboxID: Cyrus IMAP 3.6 gives another MAILBOXID in STATUS than in SELECT.
func (s *Session) garblesMailboxID() bool { return s.isMade("cyrus") }

// correct takes out of a mailbox's status what was asked for before it was known who answers.
func (s *Session) correct(st *remote.Status) {
	if s.garblesMailboxID() {
		st.MailboxID = ""
	}
}

func (s *Session) statusCommand(name string) *command {
	return newCommand("asking about mailbox "+readName(name), "STATUS").str(name, s.caps).raw(" ", s.statusItems())
}

// Status asks for one mailbox.
func (s *Session) Status(ctx context.Context, mailbox string) (remote.Status, error) {
	mailbox = canonical(mailbox)
	for {
		var st *remote.Status
		c := s.statusCommand(mailbox)
		c.status = func(name string, got remote.Status, counted bool) {
			if counted && canonical(name) == mailbox { // an untold number is not 0, on which a mailbox is deleted
				st = &got
			}
		}
		cmds := append(s.leaveIf(func(open string) bool { return open == mailbox }), c)
		guid := s.xguid
		if err := s.run(ctx, c.op, cmds...); err != nil {
			return remote.Status{}, err
		}
		switch {
		case c.result.ok() && s.xguid && !guid: // only its ID told what it can do
		case c.result.ok() && st != nil:
			s.correct(st)
			return *st, nil
		case c.result.ok():
			return remote.Status{}, refusal(c.op, status{kind: goimap.StatusResponseTypeNo, text: "nothing"})
		case c.result.kind == goimap.StatusResponseTypeBad && guid:
			s.xguid = false
		default:
			return remote.Status{}, s.whyRefused(ctx, mailbox, c)
		}
	}
}

// whyRefused is the error for a refused STATUS or SELECT. Servers without RFC 5530 don't say that
// there is no such mailbox: LIST does, or has no more than its name, for those below it (\Noselect, RFC 3501, section 6.3.4).
func (s *Session) whyRefused(ctx context.Context, mailbox string, c *command) error {
	refused := refusal(c.op, c.result)
	if c.result.code != "" {
		return refused
	}
	exists := false // a name that is also a pattern matches itself, among others
	list := newCommand(c.op, `LIST ""`).str(mailbox, s.caps)
	list.list = func(l listed) {
		nameOnly := isSet(l.attrs, string(goimap.MailboxAttrNonExistent)) ||
			isSet(l.attrs, string(goimap.MailboxAttrNoSelect)) && !isSet(l.attrs, string(goimap.MailboxAttrHasNoChildren)) || // else it can't be opened now
			c.result.saysNone() && isSet(l.attrs, string(goimap.MailboxAttrHasChildren))
		exists = exists || canonical(l.name) == mailbox && !nameOnly
	}
	before := s.leftOut
	if err := s.run(ctx, c.op, list); err != nil {
		return err
	}
	if list.result.ok() && !exists && s.leftOut == before {
		refused.Code = string(goimap.ResponseCodeNonExistent)
		refused.Hint = adviceFor(refused.Code).hint
	}
	return refused
}

// Create makes a mailbox and subscribes to it, so that other programs show it.
func (s *Session) Create(ctx context.Context, mailbox string) error {
	c := newCommand("creating mailbox "+readName(mailbox), "CREATE").str(mailbox, s.caps)
	if err := s.run(ctx, c.op, c); err != nil {
		return err
	}
	if err := c.refused(); err != nil {
		return err
	}
	return s.subscribe(ctx, newCommand("subscribing to "+readName(mailbox), "SUBSCRIBE").str(mailbox, s.caps))
}

// subscribe runs commands whose refusal does not matter.
func (s *Session) subscribe(ctx context.Context, cmds ...*command) error {
	if err := s.run(ctx, cmds[0].op, cmds...); err != nil {
		return err
	}
	if err := firstRefused(cmds); err != nil {
		s.warn("%v", err)
	}
	return nil
}

// Delete removes a mailbox with all that is in it.
func (s *Session) Delete(ctx context.Context, mailbox string) error {
	return s.change(ctx, mailbox, newCommand("deleting mailbox "+readName(mailbox), "DELETE").str(mailbox, s.caps))
}

// Rename renames a mailbox, and on most servers those below it.
func (s *Session) Rename(ctx context.Context, from, to string) error {
	c := newCommand(fmt.Sprintf("renaming mailbox %s to %s", readName(from), readName(to)), "RENAME").str(from, s.caps).str(to, s.caps)
	if err := s.change(ctx, from, c); err != nil || !s.cfg.Subscribed {
		return err
	}
	return s.subscribe(ctx,
		newCommand("subscribing to "+readName(to), "SUBSCRIBE").str(to, s.caps),
		newCommand("unsubscribing from "+readName(from), "UNSUBSCRIBE").str(from, s.caps))
}

// change runs a command that takes the mailbox away from under its name; it is not left open.
func (s *Session) change(ctx context.Context, mailbox string, c *command) error {
	cmds := append(s.leaveIf(func(open string) bool {
		return open == canonical(mailbox) || strings.HasPrefix(open, mailbox) // those below go with it
	}), c)
	if err := s.run(ctx, c.op, cmds...); err != nil {
		return err
	}
	if err := c.refused(); err != nil {
		if c.result.code == "" && c.result.kind == goimap.StatusResponseTypeNo {
			return s.whyRefused(ctx, canonical(mailbox), c)
		}
		return err
	}
	return nil
}
