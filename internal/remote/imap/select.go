package imap

import (
	"context"
	"errors"
	"fmt"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// unselect returns the command that closes the open mailbox, if there is one and the server can do so
// without expunging (RFC 3691; CLOSE would expunge). What arrives before its answer is about
// that mailbox, what comes after is not.
func (s *Session) unselect() []*command {
	if !s.opened || !s.caps.has(goimap.CapUnselect) {
		return nil
	}
	c := newCommand("closing the mailbox", "UNSELECT")
	c.closing = true
	return []*command{c}
}

// leave returns the commands by which a mailbox that may be open is open no more, before it is asked about or
// changed: servers answer STATUS about the open one with what they told last (RFC 3501, section 6.3.10, says
// not to ask), and refuse to rename it, or hang up. Without UNSELECT another one, or the same one afresh, is opened,
// only to read and only to this end. CLOSE would expunge.
func (s *Session) leave() []*command {
	if !s.opened || s.caps.has(goimap.CapUnselect) {
		return s.unselect()
	}
	c := newCommand("leaving the mailbox", "EXAMINE").str(inbox, s.caps)
	c.opening, c.closing = &selection{name: inbox}, true
	return []*command{c}
}

// leaveIf is leave if what is open may be a mailbox for which is true.
func (s *Session) leaveIf(is func(name string) bool) []*command {
	if s.open != "" && !is(s.open) {
		return nil
	}
	return s.leave()
}

// reopenToWrite returns the commands that open a mailbox afresh if it may be open only to be read, as leave may have left it: Courier
// stores nothing in such a one ("Current box is selected READ-ONLY").
func (s *Session) reopenToWrite(name string) []*command {
	if !s.opened || s.sel != nil || s.open != "" && s.open != name {
		return nil
	}
	return s.selecting(name, "")
}

// selecting returns the commands that open a mailbox afresh; the last is the SELECT.
func (s *Session) selecting(name, param string) []*command {
	if param == "" && s.caps.has(goimap.CapCondStore) {
		param = " (CONDSTORE)" // RFC 7162, section 3.1.8
	}
	c := newCommand("opening mailbox "+readName(name), "SELECT").str(name, s.caps).raw(param)
	opening := &selection{name: name}
	c.opening = opening
	if !s.noUIDNext {
		return append(s.unselect(), c)
	}
	// Before, not after: a message that comes in between must not be below the mark.
	ask := newCommand(c.op, "STATUS").str(name, s.caps).raw(" (UIDNEXT UIDVALIDITY)")
	ask.status = func(about string, st remote.Status, _ bool) {
		if canonical(about) == name {
			opening.before = st
		}
	}
	return append(s.leaveIf(func(open string) bool { return open == name }), ask, c)
}

// Select opens a mailbox afresh and returns what the server says of it.
func (s *Session) Select(ctx context.Context, mailbox string) (remote.Selected, error) {
	mailbox = canonical(mailbox)
	for {
		asked := s.noUIDNext
		cmds := s.selecting(mailbox, "")
		c := cmds[len(cmds)-1]
		if err := s.run(ctx, c.op, cmds...); err != nil {
			return remote.Selected{}, err
		}
		if !c.result.ok() {
			return remote.Selected{}, s.whyRefused(ctx, mailbox, c)
		}
		if s.noUIDNext == asked || s.sel == nil {
			return c.opening.info, nil
		}
	}
}

// isOpen reports whether a box's mailbox is the selected one.
func (s *Session) isOpen(box remote.Box) bool {
	return s.sel != nil && s.sel.name == canonical(box.Name)
}

// check makes sure that what is selected is the box, under its UIDVALIDITY.
func (s *Session) check(box remote.Box) error {
	if !s.isOpen(box) {
		return &remote.Error{Class: remote.Refused, Op: "opening mailbox " + readName(box.Name), Err: errors.New("the server closed it again")}
	}
	if box.UIDValidity != 0 && s.sel.info.UIDValidity != box.UIDValidity {
		return fmt.Errorf("mailbox %s: %w", readName(box.Name), remote.ErrUIDValidity)
	}
	return nil
}

// enter selects a box, unless it is selected already, so that the server knows the messages.
func (s *Session) enter(ctx context.Context, box remote.Box, uids mail.UIDSet) error {
	if !s.isOpen(box) {
		if _, err := s.Select(ctx, box.Name); err != nil {
			return err
		}
		return s.check(box)
	}
	if err := s.check(box); err != nil {
		return err
	}
	if err := s.catchUp(ctx, "looking at mailbox "+readName(box.Name), box, uids); err != nil {
		return err
	}
	return s.check(box)
}

// enterToWrite is enter for what changes the mailbox.
func (s *Session) enterToWrite(ctx context.Context, box remote.Box, uids mail.UIDSet) error {
	if err := s.enter(ctx, box, uids); err != nil {
		return err
	}
	if s.sel.info.ReadOnly {
		return fmt.Errorf("mailbox %s: %w", readName(box.Name), remote.ErrReadOnly)
	}
	return nil
}

// runIn runs commands in a box, selecting it in the same flight if need be. The commands must not
// change anything: whether it was the right mailbox shows only afterwards. Their sinks are not called if it
// was not open.
func (s *Session) runIn(ctx context.Context, op string, box remote.Box, f *flight) error {
	var opening *command
	if !s.isOpen(box) {
		cmds := s.selecting(canonical(box.Name), "")
		opening = cmds[len(cmds)-1]
		f.cmds = append(cmds, f.cmds...)
		if f.most > 0 {
			f.most += len(cmds)
		}
	} else if err := s.check(box); err != nil {
		return err
	}
	if err := s.fly(ctx, op, f); err != nil {
		return err
	}
	if opening != nil && !opening.result.ok() {
		return s.whyRefused(ctx, canonical(box.Name), opening)
	}
	return s.check(box)
}
