package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// session is one connection to the server.
type session struct {
	s  *Server
	id int
	// dead is why the session is of no use any more, nil while it lives.
	dead    error
	traffic remote.Traffic
	partly  bool // see Part
}

var _ remote.Session = (*session)(nil)

var errClosed = errors.New("the session was closed")

// Dial opens a session.
func (s *Server) Dial(ctx context.Context) (remote.Session, error) {
	s.mu.Lock()
	s.sessions++
	c := &session{s: s, id: s.sessions}
	s.mu.Unlock()
	const doing = "connecting"
	if err := ctx.Err(); err != nil {
		return nil, &remote.Error{Class: remote.Unreachable, Op: doing, Err: err}
	}
	for _, after := range []bool{false, true} {
		switch a := s.ask(Step{Session: c.id, Op: "dial", After: after}); a.Kind {
		case Pass:
		case Refuse:
			err := refused("signing in", a)
			err.Class = remote.Unavailable
			if a.Code == "AUTHENTICATIONFAILED" {
				err.Class = remote.Auth
			}
			return nil, err
		default:
			return nil, &remote.Error{Class: remote.Unreachable, Op: doing, Err: errDropped}
		}
	}
	return c, nil
}

// do runs one exchange: the fault hook before, act under the lock, the hook after. act's error is the server's
// answer; act is not run if the hook prevents it.
func (c *session) do(ctx context.Context, step Step, doing string, act func() error) error {
	return c.exchange(ctx, step, doing, act, func(Kind) {})
}

// exchange is do that tells perish of what the connection dies before act.
func (c *session) exchange(ctx context.Context, step Step, doing string, act func() error, perish func(Kind)) error {
	if err := c.alive(ctx, doing); err != nil {
		return err
	}
	step.Session = c.id
	c.traffic.RoundTrips++
	c.traffic.BytesOut += int64(len(step.Op) + len(step.Mailbox) + 10)
	switch a := c.s.ask(step); a.Kind {
	case Pass:
	case Refuse:
		return refused(doing, a)
	default:
		perish(a.Kind)
		return c.die(lost(doing, a.Kind))
	}
	c.s.mu.Lock()
	answer := act()
	c.s.mu.Unlock()
	step.After = true
	if a := c.s.ask(step); a.Kind != Pass && a.Kind != Refuse {
		return c.die(lost(doing, a.Kind))
	}
	c.traffic.BytesIn += 20
	return answer
}

// alive fails if the session is dead or ctx has ended, of which the session dies.
func (c *session) alive(ctx context.Context, doing string) error {
	if c.dead != nil {
		return &remote.Error{Class: remote.Lost, Op: doing, Err: c.dead}
	}
	if err := ctx.Err(); err != nil {
		return c.die(&remote.Error{Class: remote.Lost, Op: doing, Err: err})
	}
	return nil
}

func (c *session) die(err *remote.Error) error {
	c.dead = err.Err
	return err
}

// Close never fails.
func (c *session) Close() error {
	if c.dead == nil {
		c.dead = errClosed
	}
	return nil
}

func (c *session) Traffic() remote.Traffic { return c.traffic }

func (c *session) Capabilities() remote.Capabilities {
	o := c.s.o
	caps := remote.Capabilities{CondStore: o.CondStore, Move: o.Move, UIDPlus: o.UIDPlus, Idle: o.Idle, Notify: o.Notify, EqualEmailIDs: o.EqualEmailIDs, Delimiter: o.Delimiter}
	if !o.HideAppendLimit {
		caps.AppendLimit = o.AppendLimit
	}
	caps.Names = []string{"IMAP4rev1"}
	for _, has := range []struct {
		name string
		on   bool
	}{{"APPENDLIMIT", caps.AppendLimit > 0}, {"CONDSTORE", o.CondStore}, {"IDLE", o.Idle}, {"MOVE", o.Move}, {"NOTIFY", o.Notify},
		{"OBJECTID", o.MailboxIDs || o.EmailIDs}, {"QRESYNC", o.QResync}, {"UIDPLUS", o.UIDPlus}} {
		if has.on {
			caps.Names = append(caps.Names, has.name)
		}
	}
	slices.Sort(caps.Names)
	caps.Used = slices.Clone(caps.Names)
	return caps
}

func (c *session) MailboxName(path []string) (string, error) {
	d := c.s.o.Delimiter
	if len(path) == 0 {
		return "", errors.New("a mailbox name needs at least one component")
	}
	if d == "" && len(path) > 1 {
		return "", fmt.Errorf("%q: the server has no folders inside folders", strings.Join(path, "/"))
	}
	for _, p := range path {
		switch {
		case p == "":
			return "", fmt.Errorf("%q has an empty component", strings.Join(path, "/"))
		case d != "" && strings.Contains(p, d):
			return "", fmt.Errorf("%q: the server separates folders by %q, so no name can contain it", p, d)
		case !utf8.ValidString(p):
			return "", fmt.Errorf("%q is not UTF-8", p)
		case strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }):
			return "", fmt.Errorf("%q contains control characters", p)
		}
	}
	if len(path) == 1 && strings.EqualFold(path[0], "INBOX") {
		return "INBOX", nil
	}
	return c.s.o.Prefix + strings.Join(path, d), nil
}

func (c *session) Mailboxes(ctx context.Context) ([]remote.Mailbox, error) {
	var out []remote.Mailbox
	err := c.do(ctx, Step{Op: "list"}, "listing the folders", func() error {
		out = c.s.list()
		return nil
	})
	c.traffic.BytesIn += int64(50 * len(out))
	return out, err
}

// MailboxesAnd does one after the other: a server works off what comes together in its order, and others come in between.
func (c *session) MailboxesAnd(ctx context.Context, mailbox string) ([]remote.Mailbox, *remote.Changes, error) {
	list, err := c.Mailboxes(ctx)
	if err != nil {
		return nil, nil, err
	}
	i := slices.IndexFunc(list, func(m remote.Mailbox) bool { return m.Name == mailbox && m.Status != nil })
	if i < 0 {
		return list, nil, nil
	}
	ch, err := c.Changes(ctx, remote.Box{Name: mailbox, UIDValidity: list[i].Status.UIDValidity}, remote.Since{})
	switch {
	case remote.Dead(err):
		return nil, nil, err
	case err != nil:
		return list, nil, nil
	}
	return list, &ch, nil
}

// list returns the mailboxes and the containers, sorted by name.
func (s *Server) list() []remote.Mailbox {
	all := s.names()
	for _, name := range s.names() {
		all = append(all, s.parents(name)...)
	}
	slices.Sort(all)
	var out []remote.Mailbox
	for _, name := range slices.Compact(all) {
		path, ok := s.path(name)
		if !ok {
			continue
		}
		m := remote.Mailbox{Name: name, Path: path, Display: name, Subscribed: s.subscribed[name]}
		if b := s.boxes[name]; b != nil {
			st := b.status(s.o)
			m.Selectable, m.Status, m.SpecialUse = true, &st, slices.Clone(b.specialUse)
		}
		out = append(out, m)
	}
	return out
}

// path takes the namespace's prefix off; false if the name is outside of it, or is the prefix itself.
func (s *Server) path(name string) ([]string, bool) {
	if name == "INBOX" {
		return []string{"INBOX"}, true
	}
	rest, ok := strings.CutPrefix(name, s.o.Prefix)
	if !ok || rest == "" {
		return nil, false
	}
	if s.o.Delimiter == "" {
		return []string{rest}, true
	}
	return strings.Split(rest, s.o.Delimiter), true
}

// box finds a mailbox for an answer.
func (c *session) box(doing, name string) (*box, error) {
	if b := c.s.boxes[canonical(name)]; b != nil {
		return b, nil
	}
	return nil, &remote.Error{Class: remote.Refused, Op: doing, Code: "NONEXISTENT", Text: "no such mailbox"}
}

// same finds the mailbox and insists on its UIDVALIDITY.
func (c *session) same(doing string, want remote.Box) (*box, error) {
	b, err := c.box(doing, want.Name)
	if err == nil && b.uidValidity != want.UIDValidity {
		err = fmt.Errorf("%s: %w", doing, remote.ErrUIDValidity)
	}
	return b, err
}

func (c *session) Status(ctx context.Context, mailbox string) (st remote.Status, err error) {
	doing := "asking for the state of " + mailbox
	err = c.do(ctx, Step{Op: "status", Mailbox: mailbox}, doing, func() error {
		b, err := c.box(doing, mailbox)
		if err == nil {
			st = b.status(c.s.o)
		}
		return err
	})
	return st, err
}

func (c *session) Select(ctx context.Context, mailbox string) (sel remote.Selected, err error) {
	doing := "opening " + mailbox
	err = c.do(ctx, Step{Op: "select", Mailbox: mailbox}, doing, func() error {
		b, err := c.box(doing, mailbox)
		if err == nil {
			sel = b.selected(c.s.o)
		}
		return err
	})
	return sel, err
}

func (c *session) Changes(ctx context.Context, box remote.Box, since remote.Since) (ch remote.Changes, err error) {
	doing := "reading what changed in " + box.Name
	err = c.do(ctx, Step{Op: "changes", Mailbox: box.Name}, doing, func() error {
		b, err := c.same(doing, box)
		if err != nil {
			return err
		}
		ch.Selected = b.selected(c.s.o)
		modSeq := since.ModSeq
		if high := ch.Selected.HighestModSeq; high == 0 || modSeq > high {
			modSeq = 0 // no mark to go by, or one that this mailbox never had
		}
		below := 0
		for _, m := range b.messages {
			switch {
			case m.uid >= since.UIDNext:
				ch.New = append(ch.New, c.introduce(b, m))
			case m.modSeq > modSeq:
				below++
				ch.Flags = append(ch.Flags, c.describe(b, m))
			default:
				below++
			}
		}
		ch.Vanished = vanished(b, since, below, c.s.o.QResync && modSeq > 0)
		if old := strangers(b, since, below+int(ch.Vanished.Len()), modSeq == 0 && b.uidNext >= since.UIDNext); !old.IsEmpty() {
			ch.Flags = slices.DeleteFunc(ch.Flags, func(m remote.Message) bool { return old.Contains(m.UID) })
			fresh := ch.New
			ch.New = nil
			for _, m := range b.among(old) {
				ch.New = append(ch.New, c.introduce(b, m))
			}
			ch.New = append(ch.New, fresh...)
		}
		return nil
	})
	c.traffic.BytesIn += int64(40 * (len(ch.New) + len(ch.Flags)))
	return ch, err
}

// vanished works out which known messages are gone; told says that the server itself lists them. Where the
// numbers add up nobody needs to look.
func vanished(b *box, since remote.Since, below int, told bool) mail.UIDSet {
	if since.Known == nil || (!told && uint32(below) == since.KnownCount()) {
		return mail.UIDSet{}
	}
	var present mail.UIDSet
	for _, m := range b.messages {
		present.Add(m.uid)
	}
	known := since.Known()
	if since.UIDNext == 0 {
		return mail.UIDSet{}
	}
	return known.Clamp(1, since.UIDNext-1).Minus(present)
}

// strangers works out which messages below the mark are there and not known. Nobody looks for them either where the numbers add up, unless all were told.
func strangers(b *box, since remote.Since, below int, all bool) (old mail.UIDSet) {
	if since.Known == nil || since.UIDNext == 0 || !all && uint32(below) == since.KnownCount() {
		return old
	}
	for _, m := range b.messages {
		if m.uid < since.UIDNext {
			old.Add(m.uid)
		}
	}
	return old.Minus(since.Known())
}

// introduce tells of a message that was never seen.
func (c *session) introduce(b *box, m *message) remote.Message {
	out := c.describe(b, m)
	out.Size, out.Date, out.EmailID = int64(len(m.raw)), m.date, c.emailID(m)
	return out
}

// describe is what every FETCH tells.
func (c *session) describe(b *box, m *message) remote.Message {
	out := remote.Message{UID: m.uid, Flags: m.flags}
	if c.s.o.CondStore && !b.noModSeq {
		out.ModSeq = m.modSeq
	}
	return out
}

func (c *session) emailID(m *message) string {
	if !c.s.o.EmailIDs {
		return ""
	}
	return m.emailID
}

func (c *session) Fetch(ctx context.Context, box remote.Box, uids mail.UIDSet, want remote.FetchItems) (out []remote.Message, err error) {
	doing := "reading messages of " + box.Name
	err = c.do(ctx, Step{Op: "fetch", Mailbox: box.Name, UIDs: uids}, doing, func() error {
		b, err := c.same(doing, box)
		if err != nil {
			return err
		}
		for _, m := range b.among(uids) {
			r := c.describe(b, m)
			if want.Size {
				r.Size = int64(len(m.raw))
			}
			if want.Date {
				r.Date = m.date
			}
			if want.EmailID {
				r.EmailID = c.emailID(m)
			}
			if want.Header {
				h, err := mail.Survey(strings.NewReader(headerOf(m.raw)))
				if err != nil {
					return err
				}
				r.Header = &h
			}
			out = append(out, r)
		}
		return nil
	})
	c.traffic.BytesIn += int64(60 * len(out))
	return out, err
}

// headerOf is what BODY[HEADER] gives: all up to and with the empty line.
func headerOf(raw string) string {
	if strings.HasPrefix(raw, "\r\n") {
		return raw[:2]
	}
	if i := strings.Index(raw, "\r\n\r\n"); i >= 0 {
		return raw[:i+4]
	}
	return raw
}

func (c *session) Bodies(ctx context.Context, box remote.Box, uids mail.UIDSet, deliver func(remote.Message, io.Reader) error) (map[mail.UID]error, error) {
	doing := "fetching messages of " + box.Name
	missing := map[mail.UID]error{}
	for uid := range uids.All() {
		one := mail.NewUIDSet(uid)
		step := Step{Op: "body", Mailbox: box.Name, UIDs: one, Session: c.id}
		if err := c.body(ctx, step, box, uid, missing, deliver); err != nil {
			return missing, err
		}
	}
	if err := c.alive(ctx, doing); err != nil {
		return missing, err
	}
	return missing, nil
}

// body is the exchange for one message. It fails if the whole call must end.
func (c *session) body(ctx context.Context, step Step, box remote.Box, uid mail.UID, missing map[mail.UID]error, deliver func(remote.Message, io.Reader) error) error {
	doing := fmt.Sprintf("fetching message %d of %s", uid, box.Name)
	if err := c.alive(ctx, doing); err != nil {
		return err
	}
	c.traffic.RoundTrips++
	before := c.s.ask(step)
	switch before.Kind {
	case Pass, Cut:
	case Refuse:
		missing[uid] = refused(doing, before)
		return nil
	default:
		return c.die(lost(doing, before.Kind))
	}
	c.s.mu.Lock()
	b, err := c.same(doing, box)
	var m *message
	var desc remote.Message
	if err == nil {
		if m = b.find(uid); m != nil {
			desc = c.describe(b, m)
			desc.Size, desc.Date, desc.EmailID = int64(len(m.raw)), m.date, c.emailID(m)
		}
	}
	c.s.mu.Unlock()
	if err != nil {
		return err
	}
	if m == nil {
		missing[uid] = remote.ErrGone
		return nil
	}
	if err := c.s.refusal(step, doing); err != nil {
		missing[uid] = err
		return nil
	}
	if before.Kind == Cut {
		return c.cut(doing, desc, m.raw, deliver)
	}
	text := strings.NewReader(m.raw)
	if err := deliver(desc, text); err != nil {
		return err
	}
	if text.Len() > 0 {
		return fmt.Errorf("%s: deliver returned without reading %d of %d bytes", doing, text.Len(), len(m.raw))
	}
	c.traffic.BytesIn += int64(len(m.raw))
	step.After = true
	if a := c.s.ask(step); a.Kind != Pass && a.Kind != Refuse {
		return c.die(lost(doing, a.Kind))
	}
	return nil
}

// cut delivers half a message.
func (c *session) cut(doing string, desc remote.Message, raw string, deliver func(remote.Message, io.Reader) error) error {
	half := io.MultiReader(strings.NewReader(raw[:len(raw)/2]), broken{})
	_ = deliver(desc, half) // what it makes of the error does not matter: the connection is lost
	return c.die(lost(doing, Cut))
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
