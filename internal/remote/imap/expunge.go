package imap

import (
	"context"
	"fmt"
	"maps"
	"slices"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

const (
	markDeleted = ` +FLAGS.SILENT (\Deleted)`
	// expungeRounds is how often it is tried to remove what is still there afterwards.
	expungeRounds = 2
)

// Expunge removes messages for good and makes sure that they are gone. pending are also those that the server
// has marked and, with UIDPLUS and asked twice, keeps. If it neither marks nor removes a message the error is a
// *remote.Error of class Refused; the others are removed nevertheless.
func (s *Session) Expunge(ctx context.Context, box remote.Box, uids mail.UIDSet) (pending mail.UIDSet, err error) {
	if uids.IsEmpty() {
		return mail.UIDSet{}, nil
	}
	if err := s.enterToWrite(ctx, box, uids); err != nil {
		return mail.UIDSet{}, err
	}
	e := &expunging{s: s, op: "removing messages from " + readName(box.Name), box: box, left: uids, byUID: s.caps.has(goimap.CapUIDPlus)}
	for range expungeRounds {
		if err := e.round(ctx); err != nil {
			return e.pending.Union(e.left), err
		}
		if e.left.IsEmpty() {
			return e.pending, e.refused
		}
	}
	marked, _, err := s.present(ctx, e.op, box, e.left, " DELETED")
	if err != nil {
		return e.pending.Union(e.left), err
	}
	if kept := e.left.Minus(marked); !kept.IsEmpty() && e.refused == nil {
		e.refused = &remote.Error{Class: remote.Refused, Op: e.op,
			Err: fmt.Errorf("the server agrees and keeps them all the same: %.100s", kept.String())}
	}
	return e.pending.Union(marked), e.refused
}

// expunging is one call of Expunge.
type expunging struct {
	s     *Session
	op    string
	box   remote.Box
	byUID bool // UID EXPUNGE is there

	left    mail.UIDSet // neither known to be gone nor given up
	pending mail.UIDSet // marked, and left so because of others'
	refused error       // why messages were given up
	gone    uidRanges   // named by VANISHED
}

// hear notes what the server says is gone (RFC 7162, section 3.2.10). EXPUNGE names no UID.
func (e *expunging) hear(c *command) {
	c.vanished = func(set mail.UIDSet, earlier bool) {
		if !earlier {
			e.gone.add(intersect(set, e.left).Ranges()...)
		}
	}
}

// round marks, removes, and looks at what is still there. Each step waits for the one before: Dovecot does not
// see what others changed between commands that arrive together, and then removes nothing.
func (e *expunging) round(ctx context.Context) error {
	refused, err := e.s.store(ctx, e.op, e.box, e.left, markDeleted, e.hear)
	if err != nil {
		return err
	}
	if err := refused[0]; err != nil {
		e.left, e.refused = mail.UIDSet{}, err
		return nil
	}
	e.left = e.left.Minus(mail.NewUIDSet(slices.Collect(maps.Keys(refused))...))
	for _, err := range refused {
		e.refused = err
	}
	if err := e.s.check(e.box); err != nil { // the server may have said meanwhile that the mailbox is another one
		return err
	}
	if e.byUID {
		err = e.removeByUID(ctx)
	}
	if !e.byUID && err == nil {
		err = e.removeAllMarked(ctx)
	}
	if err != nil {
		return err
	}
	return e.look(ctx)
}

// removeByUID is UID EXPUNGE (RFC 4315, section 2.1).
func (e *expunging) removeByUID(ctx context.Context) error {
	var cmds []*command
	for _, set := range e.left.Chunks(maxCommand, 0) {
		c := newCommand(e.op, "UID EXPUNGE "+set.String())
		e.hear(c)
		cmds = append(cmds, c)
	}
	if len(cmds) == 0 {
		return nil
	}
	if err := e.s.run(ctx, e.op, cmds...); err != nil {
		return err
	}
	if err := firstRefused(cmds); err != nil {
		e.s.warn("%v", err)
		e.byUID = false // advertised and not there: go on as if it were not
	}
	return nil
}

// removeAllMarked is EXPUNGE, if it takes nobody else's messages. Else ours are pending.
func (e *expunging) removeAllMarked(ctx context.Context) error {
	if e.left.IsEmpty() {
		return nil
	}
	if err := e.s.refresh(ctx, e.op, e.hear); err != nil {
		return err
	}
	search := newCommand(e.op, "UID SEARCH DELETED")
	var listed uidRanges
	answers := 0
	search.search = func(set mail.UIDSet) {
		listed.add(set.Ranges()...)
		answers++
	}
	before := e.s.leftOut
	if err := e.s.run(ctx, e.op, search); err != nil {
		return err
	}
	if err := search.refused(); err != nil || answers != 1 || e.s.leftOut != before {
		e.pending, e.left = e.pending.Union(e.left), mail.UIDSet{} // marked, for all we know
		e.refused = err
		return nil
	}
	marked := listed.set()
	ours := intersect(e.left, marked)
	switch {
	case ours.IsEmpty():
		return nil
	case !marked.Minus(ours).IsEmpty(): // somebody else's would go with them
		e.pending, e.left = e.pending.Union(ours), e.left.Minus(ours)
		return nil
	}
	if err := e.s.check(e.box); err != nil {
		return err
	}
	c := newCommand(e.op, "EXPUNGE")
	e.hear(c)
	if err := e.s.run(ctx, e.op, c); err != nil {
		return err
	}
	if err := c.refused(); err != nil {
		e.pending, e.left, e.refused = e.pending.Union(ours), e.left.Minus(ours), err
	}
	return nil
}

// look finds out what is still there.
func (e *expunging) look(ctx context.Context) error {
	e.left = e.left.Minus(e.gone.set())
	if e.left.IsEmpty() {
		return nil
	}
	there, sure, err := e.s.presentNow(ctx, e.op, e.box, e.left)
	if err != nil {
		return err
	}
	if sure {
		e.left = there
	}
	return nil
}
