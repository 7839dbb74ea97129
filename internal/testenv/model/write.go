package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

func (c *session) Append(ctx context.Context, box remote.Box, from mail.UID, uploads []remote.Upload, sent func(int), done func(int, remote.Appended)) ([]remote.Message, error) {
	if err := c.append(ctx, box.Name, uploads, sent, done); err != nil {
		return nil, err
	}
	if from == 0 || len(uploads) == 0 || !c.s.o.UIDPlus || c.s.o.Window == 1 {
		return nil, nil
	}
	var set mail.UIDSet
	set.AddRange(from, ^mail.UID(0))
	seen, err := c.Fetch(ctx, box, set, remote.FetchItems{Size: true, Date: true, EmailID: true})
	if remote.Dead(err) {
		return nil, err
	}
	return seen, nil // a look that is refused is none
}

func (c *session) append(ctx context.Context, mailbox string, uploads []remote.Upload, sent func(int), done func(int, remote.Appended)) error {
	for start := 0; start < len(uploads); start += c.s.o.Window {
		end := min(start+c.s.o.Window, len(uploads))
		texts, unreadable, broken := c.send(ctx, mailbox, uploads, start, end, sent)
		for i, text := range texts {
			if unreadable[i] != nil {
				done(start+i, remote.Appended{Err: unreadable[i]})
				continue
			}
			up := uploads[start+i]
			r, err := c.take(ctx, mailbox, start+i, stored{raw: text, flags: up.Flags, date: up.Date})
			if err != nil {
				c.leaveGhosts(mailbox, uploads[start+i+1:end], texts[i+1:], unreadable[i+1:], err)
				return err
			}
			done(start+i, r)
		}
		if broken != nil {
			return c.die(broken)
		}
	}
	return nil
}

// send reads the uploads of one window, as what goes onto the wire. A file that can't be opened is not sent;
// one of another length than announced ends the session, after the answers to those before it.
func (c *session) send(ctx context.Context, mailbox string, uploads []remote.Upload, start, end int, sent func(int)) (texts []string, unreadable []error, broken *remote.Error) {
	for i := start; i < end; i++ {
		doing := fmt.Sprintf("storing message %d of %d in %s", i+1, len(uploads), mailbox)
		if c.dead != nil || ctx.Err() != nil {
			return texts, unreadable, &remote.Error{Class: remote.Lost, Op: doing, Err: cmp.Or(c.dead, ctx.Err())}
		}
		r, err := uploads[i].Open()
		if err != nil {
			texts, unreadable = append(texts, ""), append(unreadable, err)
			continue
		}
		sent(i)
		text, err := io.ReadAll(io.LimitReader(r, uploads[i].Size+1))
		_ = r.Close() // only read from
		if err == nil && int64(len(text)) != uploads[i].Size {
			err = fmt.Errorf("the file has not the %d bytes that were announced", uploads[i].Size)
		}
		if err != nil {
			return texts, unreadable, &remote.Error{Class: remote.Lost, Op: doing, Err: err}
		}
		c.traffic.BytesOut += int64(len(text))
		texts, unreadable = append(texts, string(text)), append(unreadable, nil)
	}
	return texts, unreadable, nil
}

// take lets the server store one message that was sent whole.
func (c *session) take(ctx context.Context, mailbox string, i int, up stored) (r remote.Appended, err error) {
	doing := "storing a message in " + mailbox
	if err := c.alive(ctx, doing); err != nil {
		return r, err
	}
	step := Step{Op: "append", Mailbox: mailbox, Index: i, Raw: up.raw, Session: c.id}
	c.traffic.RoundTrips++
	c.s.noteSent(mailbox, up.raw)
	switch a := c.s.ask(step); a.Kind {
	case Pass:
	case Refuse:
		return remote.Appended{Err: refused(doing, a)}, nil
	case Ghost:
		c.s.mu.Lock()
		c.s.ghosts = append(c.s.ghosts, up.ghost(mailbox))
		c.s.mu.Unlock()
		return r, c.die(&remote.Error{Class: remote.Lost, Op: doing, Err: errGhost})
	case Part:
		up.raw = up.raw[:len(up.raw)/2]
		c.s.mu.Lock()
		if c.store(doing, mailbox, up).Err == nil {
			c.s.halves = append(c.s.halves, up.raw)
		}
		c.s.mu.Unlock()
		return r, c.die(lost(doing, a.Kind))
	default:
		return r, c.die(lost(doing, a.Kind))
	}
	if err := c.s.refusal(step, doing); err != nil {
		return remote.Appended{Err: err}, nil
	}
	c.s.mu.Lock()
	r = c.store(doing, mailbox, up)
	c.s.mu.Unlock()
	step.After = true
	if a := c.s.ask(step); a.Kind != Pass && a.Kind != Refuse {
		return remote.Appended{}, c.die(lost(doing, a.Kind))
	}
	return r, nil
}

func (s *Server) noteSent(mailbox, raw string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[canonical(mailbox)]
	if b == nil {
		return
	}
	if b.sent == nil {
		b.sent = map[string]bool{}
	}
	b.sent[raw] = true
}

// WasSent reports whether a message was ever sent to the mailbox, or a copy of it there was cut off, whatever became of it.
func (s *Server) WasSent(mailbox, raw string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[canonical(mailbox)]
	return b != nil && b.sent[raw]
}

// errGhost marks the death of a connection whose messages may still arrive.
var errGhost = fmt.Errorf("%w, with messages under way", errDropped)

// leaveGhosts keeps what was sent behind the message at which a connection died as a ghost.
func (c *session) leaveGhosts(mailbox string, uploads []remote.Upload, texts []string, unreadable []error, err error) {
	if !errors.Is(err, errGhost) {
		return
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for i, text := range texts {
		if unreadable[i] == nil {
			c.s.ghosts = append(c.s.ghosts, stored{raw: text, flags: uploads[i].Flags, date: uploads[i].Date}.ghost(mailbox))
		}
	}
}

// store is the server's side of APPEND; the lock is held.
func (c *session) store(doing, mailbox string, up stored) remote.Appended {
	no := func(code, text string) remote.Appended {
		return remote.Appended{Err: &remote.Error{Class: remote.Refused, Op: doing, Code: code, Text: text}}
	}
	s, b := c.s, c.s.boxes[canonical(mailbox)]
	size := int64(len(up.raw))
	switch {
	case b == nil:
		return no("TRYCREATE", "no such mailbox")
	case b.readOnly:
		return no("NOPERM", "the mailbox is read-only")
	case s.o.AppendLimit > 0 && size > s.o.AppendLimit:
		return no("TOOBIG", "the message is too large")
	case s.o.Quota > 0 && s.used()+size > s.o.Quota:
		return no("OVERQUOTA", "quota exceeded")
	case strings.ContainsRune(up.raw, 0):
		return no("", "NUL in a message")
	}
	flags := up.flags
	if s.tooManyKeywords(b, b.keeps(flags)) {
		flags = mail.SystemFlags(flags.System()) // Dovecot takes the message and drops the keywords
	}
	m := s.insert(b, up.raw, flags, up.date, "")
	if !s.o.UIDPlus {
		return remote.Appended{}
	}
	return remote.Appended{UID: m.uid, UIDValidity: b.uidValidity}
}

func (c *session) Store(ctx context.Context, box remote.Box, uids mail.UIDSet, add bool, flags mail.Flags) (seen []remote.Message, no map[mail.UID]error, err error) {
	doing := "changing flags in " + box.Name
	no = map[mail.UID]error{}
	step := Step{Op: "store", Mailbox: box.Name, UIDs: uids, Session: c.id}
	step.UIDs = c.without(step, uids, doing, no)
	err = c.change(ctx, step, doing, func(c *session, uids mail.UIDSet) error {
		b, err := c.same(doing, box)
		if err != nil {
			return err
		}
		switch {
		case b.readOnly:
			no[0] = &remote.Error{Class: remote.Refused, Op: doing, Code: "NOPERM", Text: "the mailbox is read-only", Err: remote.ErrReadOnly}
		case add && c.s.tooManyKeywords(b, b.keeps(flags)):
			no[0] = &remote.Error{Class: remote.Refused, Op: doing, Code: "LIMIT", Text: "too many keywords"}
		default:
			b.change(uids, add, flags)
			seen = c.changed(b, uids, add, flags)
		}
		return nil
	})
	if err != nil {
		seen = nil
	}
	if remote.ClassOf(err) == remote.Refused && !errors.Is(err, remote.ErrNoMailbox) {
		no[0], err = err, nil // about the command, not the mailbox
	}
	return seen, no, err
}

// changed is what a server with mod-sequences tells after a change that it made.
func (c *session) changed(b *box, uids mail.UIDSet, add bool, flags mail.Flags) (seen []remote.Message) {
	if !c.s.o.CondStore || b.noModSeq {
		return nil
	}
	for _, m := range b.among(uids) {
		if add && flags.Minus(m.flags).IsZero() || !add && flags.And(m.flags).IsZero() {
			seen = append(seen, c.describe(b, m))
		}
	}
	return seen
}

// without asks the Refuse hook for each message and returns those that it lets pass.
func (c *session) without(step Step, uids mail.UIDSet, doing string, no map[mail.UID]error) mail.UIDSet {
	c.s.mu.Lock()
	hook := c.s.o.Refuse
	c.s.mu.Unlock()
	if hook == nil {
		return uids
	}
	var rest mail.UIDSet
	for uid := range uids.All() {
		step.UIDs = mail.NewUIDSet(uid)
		if err := c.s.refusal(step, doing); err != nil {
			no[uid] = err
		} else {
			rest.Add(uid)
		}
	}
	return rest
}

// change adds or removes flags as far as the mailbox keeps them.
func (b *box) change(uids mail.UIDSet, add bool, flags mail.Flags) {
	flags = b.keeps(flags)
	next, changed := b.modSeq+1, false
	for _, m := range b.among(uids) {
		to := m.flags.Minus(flags)
		if add {
			to = m.flags.Plus(flags)
		}
		changed = m.setFlags(to, next) || changed
	}
	if changed {
		b.modSeq = next
	}
}

func (c *session) Move(ctx context.Context, box remote.Box, uids mail.UIDSet, to string) (r remote.Moved, err error) {
	op := "copy"
	if c.s.o.Move {
		op = "move"
	}
	doing := fmt.Sprintf("moving messages from %s to %s", box.Name, to)
	step := Step{Op: op, Mailbox: box.Name, UIDs: uids, Session: c.id}
	no := map[mail.UID]error{}
	c.without(step, uids, doing, no)
	for uid := range uids.All() {
		if no[uid] != nil { // MOVE and COPY are all or nothing
			return r, no[uid]
		}
	}
	err = c.change(ctx, step, doing, func(c *session, uids mail.UIDSet) error {
		from, err := c.same(doing, box)
		if err != nil {
			return err
		}
		dest := c.s.boxes[canonical(to)]
		gone := from.among(uids)
		var size int64
		for _, m := range gone {
			size += int64(len(m.raw))
		}
		switch {
		case dest == nil:
			return &remote.Error{Class: remote.Refused, Op: doing, Code: "TRYCREATE", Text: "no such mailbox"}
		case dest.readOnly || (c.s.o.Move && from.readOnly):
			return &remote.Error{Class: remote.Refused, Op: doing, Code: "NOPERM", Text: "the mailbox is read-only", Err: remote.ErrReadOnly}
		case !c.s.o.Move && c.s.o.Quota > 0 && c.s.used()+size > c.s.o.Quota:
			return &remote.Error{Class: remote.Refused, Op: doing, Code: "OVERQUOTA", Text: "quota exceeded"}
		}
		r = c.transfer(dest, gone, uids)
		if c.partly && len(gone) > 0 {
			gone = gone[:len(gone)-1]
		}
		if c.s.o.Move {
			from.remove(gone)
		}
		return nil
	})
	if err != nil && !c.s.o.Move && remote.ClassOf(err) != remote.Refused {
		for _, raw := range c.s.raws(box.Name, uids) {
			c.s.noteSent(to, raw) // it may have been copied
		}
	}
	return r, err
}

func (s *Server) raws(mailbox string, uids mail.UIDSet) (raws []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.boxes[canonical(mailbox)]; b != nil {
		for _, m := range b.among(uids) {
			raws = append(raws, m.raw)
		}
	}
	return raws
}

// transfer copies messages and says what the server tells of it.
func (c *session) transfer(dest *box, from []*message, asked mail.UIDSet) remote.Moved {
	r := remote.Moved{UIDs: map[mail.UID]mail.UID{}}
	for uid := range asked.All() {
		r.UIDs[uid] = 0
	}
	for _, m := range from {
		copied := c.s.insert(dest, m.raw, m.flags, m.date, m.emailID)
		if c.s.o.UIDPlus {
			r.UIDs[m.uid], r.UIDValidity = copied.uid, dest.uidValidity
		}
	}
	return r
}

func (c *session) Expunge(ctx context.Context, box remote.Box, uids mail.UIDSet) (pending mail.UIDSet, err error) {
	doing := "removing messages from " + box.Name
	err = c.change(ctx, Step{Op: "mark", Mailbox: box.Name, UIDs: uids}, doing, func(c *session, uids mail.UIDSet) error {
		b, err := c.same(doing, box)
		if err != nil {
			return err
		}
		if b.readOnly {
			return &remote.Error{Class: remote.Refused, Op: doing, Code: "NOPERM", Text: "the mailbox is read-only", Err: remote.ErrReadOnly}
		}
		b.change(uids, true, mail.SystemFlags(mail.Deleted))
		return nil
	})
	if err != nil {
		return pending, err
	}
	err = c.change(ctx, Step{Op: "expunge", Mailbox: box.Name, UIDs: uids}, doing, func(c *session, uids mail.UIDSet) error {
		b, err := c.same(doing, box)
		if err != nil {
			return err
		}
		var ours []*message
		others := false
		for _, m := range b.messages {
			if !m.flags.Has(mail.Deleted) {
				continue
			}
			if uids.Contains(m.uid) {
				ours = append(ours, m)
			} else {
				others = true
			}
		}
		if others && !c.s.o.UIDPlus && !c.partly { // EXPUNGE would take them along
			for _, m := range ours {
				pending.Add(m.uid)
			}
			return nil
		}
		b.remove(ours)
		return nil
	})
	return pending, err
}

func (c *session) Create(ctx context.Context, mailbox string) error {
	doing := "creating " + mailbox
	return c.change(ctx, Step{Op: "create", Mailbox: mailbox}, doing, func(c *session, _ mail.UIDSet) error {
		return c.s.create(doing, mailbox)
	})
}

func (c *session) Delete(ctx context.Context, mailbox string) error {
	doing := "deleting " + mailbox
	return c.change(ctx, Step{Op: "delete", Mailbox: mailbox}, doing, func(c *session, _ mail.UIDSet) error {
		return c.s.remove(doing, mailbox)
	})
}

func (c *session) Rename(ctx context.Context, from, to string) error {
	doing := fmt.Sprintf("renaming %s to %s", from, to)
	return c.change(ctx, Step{Op: "rename", Mailbox: from}, doing, func(c *session, _ mail.UIDSet) error {
		return c.s.rename(doing, from, to)
	})
}
