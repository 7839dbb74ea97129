package imap

import (
	"context"
	"fmt"
	"slices"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

const (
	lastUID = ^mail.UID(0)
	// maxSearch is the most messages whose UIDs are asked for on one line, see maxNumberLine.
	maxSearch = 1_000_000
)

// Changes reads what changed in a mailbox since a mark. One flight does it nearly always: SELECT, the
// flags that changed, the messages from the mark on. Another one follows if the number of
// messages says that some are gone and the server has no QRESYNC to say which, or if the answers contradict
// each other.
func (s *Session) Changes(ctx context.Context, box remote.Box, since remote.Since) (remote.Changes, error) {
	box.Name = canonical(box.Name)
	r := s.newReading(box, since)
	if !r.knows() {
		if err := s.mayCompress(ctx); err != nil { // the whole list comes
			return remote.Changes{}, err
		}
	}
	return r.finish(ctx, r.first(ctx))
}

func (s *Session) newReading(box remote.Box, since remote.Since) *reading {
	return &reading{s: s, box: box, since: since, from: max(since.UIDNext, 1), op: "reading mailbox " + readName(box.Name)}
}

// finish is what follows the first flight, which ended with err.
func (r *reading) finish(ctx context.Context, err error) (remote.Changes, error) {
	if err != nil {
		return remote.Changes{}, err
	}
	if err := r.repair(ctx); err != nil {
		return remote.Changes{}, err
	}
	if err := r.account(ctx); err != nil {
		return remote.Changes{}, err
	}
	r.withhold(r.undescribed())
	return r.result(), nil
}

// reading is one call of Changes.
type reading struct {
	s     *Session
	op    string
	box   remote.Box
	since remote.Since
	from  mail.UID // the first UID that is new
	start remote.Selected

	// The commands of the first flight: the SELECT, which may come with the new messages and the flags that changed, and
	// what asks for these. flags is nil if they come without.
	quick                 bool
	opening, fresh, flags *command

	obs     observations
	last    mail.UID    // the highest UID that the answer to "from:*" named
	all     bool        // all messages are going to be told
	full    bool        // the flags of all known messages were read
	refused bool        // the server would not tell the flags that changed
	earlier uidRanges   // said to be gone when the mailbox was opened
	later   uidRanges   // gone since
	gone    mail.UIDSet // the result
	back    mail.UIDSet // messages below the mark that are there and were not known
	held    mail.UID    // the first new message that the server does not describe
	partial bool        // see remote.Changes

	knownSet  mail.UIDSet
	knownRead bool
}

// knows reports whether any message was seen before.
func (r *reading) knows() bool { return r.since.UIDNext > 1 && r.since.Known != nil }

// known returns the known UIDs below the mark.
func (r *reading) known() mail.UIDSet {
	if !r.knownRead && r.knows() {
		r.knownSet = r.since.Known().Clamp(1, r.from-1)
	}
	r.knownRead = true
	return r.knownSet
}

// canQResync reports whether the server can be asked for everything with the SELECT (RFC 7162, section 3.2.5). The
// open mailbox must be closed first, so that no answer about it is taken for one about this.
func (r *reading) canQResync() bool {
	s := r.s
	on := s.qresync || s.fresh && s.enablesQResync() // in the same flight
	return on && s.caps.has(goimap.CapQResync) && !s.noChanges && r.since.ModSeq > 0 && r.knows() && r.box.UIDValidity != 0 &&
		(!s.opened || s.caps.has(goimap.CapUnselect))
}

// first is the flight that nearly always is the only one.
func (r *reading) first(ctx context.Context) error {
	if err := r.s.run(ctx, r.op, r.commands()...); err != nil {
		return err
	}
	return r.judge(ctx)
}

// commands returns those of the first flight, none for no reading.
func (r *reading) commands() []*command {
	if r == nil {
		return nil
	}
	s := r.s
	r.quick = r.canQResync()
	param := ""
	if r.quick {
		param = fmt.Sprintf(" (QRESYNC (%d %d 1:%d))", r.box.UIDValidity, r.since.ModSeq, r.from-1)
	}
	cmds := s.selecting(r.box.Name, param)
	r.opening = cmds[len(cmds)-1]
	if r.quick {
		r.listen(r.opening)
	}
	r.fresh = r.freshCommand(r.opening.opening)
	cmds = append(cmds, r.fresh)
	r.all = !r.knows()
	switch {
	case r.quick || r.all:
	case r.since.ModSeq > 0 && s.caps.has(goimap.CapCondStore):
		r.flags = r.flagsCommand(fmt.Sprintf(" (CHANGEDSINCE %d)", r.since.ModSeq))
	default:
		r.flags, r.full, r.all = r.flagsCommand(""), true, true
	}
	if r.flags != nil {
		cmds = append(cmds, r.flags)
	}
	return cmds
}

// judge looks at the outcomes of the first flight.
func (r *reading) judge(ctx context.Context) error {
	s := r.s
	switch {
	case r.opening.result.ok() && r.quick && !s.qresync:
		// It was not switched on: what such a server makes of the parameter is not relied on.
		return r.again().first(ctx)
	case r.opening.result.ok():
	case r.quick:
		s.warn("SELECT with QRESYNC: %v", r.opening.refused())
		s.noChanges = true
		return r.again().first(ctx)
	default:
		return s.whyRefused(ctx, r.box.Name, r.opening)
	}
	if err := s.check(r.box); err != nil {
		return err
	}
	r.start = r.opening.opening.info
	if r.start.Messages > maxMessages {
		return &remote.Error{Class: remote.Refused, Op: r.op, Err: fmt.Errorf("it has %d messages, more than the %d that can be kept track of", r.start.Messages, maxMessages)}
	}
	if err := r.fresh.refused(); err != nil && r.start.Messages > 0 { // some refuse any UID in an empty mailbox
		return err
	}
	if r.flags != nil && !r.flags.result.ok() {
		if r.full && r.start.Messages > 0 {
			return r.flags.refused()
		}
		r.refused = true
	}
	return nil
}

// again forgets what was read.
func (r *reading) again() *reading {
	*r = reading{s: r.s, op: r.op, box: r.box, since: r.since, from: r.from}
	return r
}

// listen makes a command's data ours.
func (r *reading) listen(c *command) *command {
	c.fetch = r.obs.add
	c.vanished = func(set mail.UIDSet, earlier bool) {
		if earlier {
			r.earlier.add(set.Ranges()...)
		} else {
			r.later.add(set.Ranges()...)
		}
	}
	return c
}

// freshCommand asks for the messages from the mark on. The last message is always part of "n:*", also
// when its UID is below n (RFC 9051, seq-range).
func (r *reading) freshCommand(box *selection) *command {
	c := r.listen(newCommand(r.op, "UID FETCH "+uid(r.from)+":* "+r.s.messageItems()))
	c.fetch = func(f *fetched) {
		if r.all {
			r.obs.reserve(int64(box.info.Messages))
		}
		if f.hasSize {
			r.last = max(r.last, f.msg.UID)
			if f.msg.UID < r.from {
				return
			}
		}
		r.obs.add(f)
	}
	return c
}

func (r *reading) flagsCommand(modifier string) *command {
	return r.listen(newCommand(r.op, "UID FETCH 1:"+uid(r.from-1)+" (UID FLAGS)"+modifier))
}

// messageItems is what is asked about a message that was never seen.
func (s *Session) messageItems() string {
	return "(UID FLAGS INTERNALDATE RFC822.SIZE" + s.emailIDItem() + ")"
}

func (s *Session) emailIDItem() string {
	switch {
	case s.caps.has(goimap.CapObjectID):
		return " EMAILID"
	case s.caps.has(capGmail):
		return " X-GM-MSGID"
	}
	return ""
}

// repair reads what the first flight could not have got right.
func (r *reading) repair(ctx context.Context) error {
	var cmds []*command
	if r.start.HighestModSeq < r.since.ModSeq {
		// Backwards, or none: what changed since can't be told by it (RFC 7162, section 3.1.2.2). Neither
		// is it a mark for the next time.
		r.start.HighestModSeq, r.refused = 0, true
	}
	if r.refused && !r.full && r.knows() {
		cmds, r.full = append(cmds, r.flagsCommand("")), true
	}
	if incomplete := r.incomplete(); !incomplete.IsEmpty() {
		cmds = append(cmds, r.itemsCommands(incomplete)...)
	}
	if r.start.UIDNext == 0 && r.last == 0 && r.start.Messages > 0 {
		c := r.listen(newCommand(r.op, "UID FETCH * (UID)"))
		c.fetch = func(f *fetched) { r.last = max(r.last, f.msg.UID) }
		cmds = append(cmds, c)
	}
	if len(cmds) == 0 {
		return nil
	}
	if err := r.s.run(ctx, r.op, cmds...); err != nil {
		return err
	}
	if err := firstRefused(cmds); err != nil && r.start.Messages > 0 {
		return err
	}
	return nil
}

// incomplete returns new messages of which only something was said by the way, not what was asked. Those from the
// next UID on came while we were reading: they are new the next time.
func (r *reading) incomplete() mail.UIDSet {
	return r.obs.uids(func(m *observation) bool {
		return m.uid >= r.from && !(m.hasSize && m.hasFlags) && (m.uid < r.start.UIDNext || r.start.UIDNext == 0)
	})
}

func (r *reading) itemsCommands(set mail.UIDSet) []*command {
	var cmds []*command
	for _, chunk := range set.Chunks(maxCommand, 0) {
		cmds = append(cmds, r.listen(newCommand(r.op, "UID FETCH "+chunk.String()+" "+r.s.messageItems())))
	}
	return cmds
}

// wasNew reports whether a message was there, as a new one, when the reading began.
func (r *reading) wasNew(u mail.UID) bool {
	return u >= r.from && (r.start.UIDNext == 0 || u < r.start.UIDNext)
}

// account compares what was read with the number of messages, and works out what is gone.
func (r *reading) account(ctx context.Context) error {
	fresh, seen := 0, 0
	for _, m := range r.obs.sorted() {
		switch {
		case r.wasNew(m.uid):
			fresh++
		case m.uid < r.from:
			seen++
		}
	}
	var goneEarlier int64
	if len(r.earlier) > 0 {
		goneEarlier = intersect(r.known(), r.earlier.set()).Len()
	}
	messages, known := int64(r.start.Messages), int64(0)
	if r.knows() {
		known = int64(r.since.KnownCount())
	}
	if messages == known-goneEarlier+int64(fresh) && !r.sawStrangers() {
		told, err := r.toldAll(ctx, messages == int64(seen+fresh))
		if err != nil {
			return err
		}
		if told {
			if len(r.earlier)+len(r.later) > 0 {
				r.gone = intersect(r.known(), r.earlier.set().Union(r.later.set()))
			}
			return nil
		}
	} else if r.full && messages == int64(seen+fresh) {
		old := r.obs.between(1, r.from-1)
		r.gone = r.known().Minus(old)
		return r.describe(ctx, old.Minus(r.known()))
	}
	return r.list(ctx)
}

// toldAll reports whether as many messages as there should be are the same ones: a new one may be withheld while a known one is gone. A full
// reading shows it, and QRESYNC tells what is gone; else the server is asked, if UIDs were given out since the mark of which it
// told no message, whether it has one.
func (r *reading) toldAll(ctx context.Context, shown bool) (bool, error) {
	switch {
	case r.full:
		return shown, nil
	case r.quick || !r.knows() || r.start.UIDNext <= r.from:
		return true, nil
	}
	var given mail.UIDSet
	given.AddRange(r.from, r.start.UIDNext-1)
	untold := given.Minus(r.obs.between(r.from, r.start.UIDNext-1))
	if untold.IsEmpty() {
		return true, nil
	}
	there, sure, err := r.s.present(ctx, r.op, r.box, untold, "")
	return sure && there.IsEmpty(), err
}

// sawStrangers reports whether a full reading showed old messages that are not known: as many as before need not be the same ones. If UIDNEXT
// went back UIDs mean nothing, which the engine must see.
func (r *reading) sawStrangers() bool {
	wentBack := r.start.UIDNext != 0 && r.start.UIDNext < r.from
	return r.full && r.knows() && !wentBack && !r.obs.between(1, r.from-1).Minus(r.known()).IsEmpty()
}

func intersect(a, b mail.UIDSet) mail.UIDSet { return a.Minus(a.Minus(b)) }

// list asks which messages there are. Only a list that has as many as the mailbox is evidence that a message is gone.
func (r *reading) list(ctx context.Context) error {
	s := r.s
	if err := s.check(r.box); err != nil {
		return err
	}
	var present mail.UIDSet
	var listed uidRanges
	if s.sel.exists <= maxSearch {
		c := r.listen(newCommand(r.op, "UID SEARCH ALL"))
		if s.caps.has(goimap.CapESearch) {
			c.parts[0].text = "UID SEARCH RETURN (ALL) ALL" // RFC 4731
		}
		c.search = func(set mail.UIDSet) { listed.add(set.Ranges()...) }
		if err := s.run(ctx, r.op, c); err != nil {
			return err
		}
		present = listed.set()
		if err := s.check(r.box); err != nil {
			return err
		}
		if c.result.ok() && present.Len() == int64(s.sel.exists) {
			return r.compare(ctx, present)
		}
	}
	var seen observations
	c := r.listen(newCommand(r.op, "UID FETCH 1:* (UID)"))
	c.fetch = func(f *fetched) {
		seen.add(f)
		if r.obs.at(f.msg.UID) != nil {
			r.obs.add(f)
		}
	}
	if err := s.run(ctx, r.op, c); err != nil {
		return err
	}
	if err := s.check(r.box); err != nil {
		return err
	}
	if present = seen.between(1, lastUID); c.result.ok() && present.Len() == int64(s.sel.exists) {
		return r.compare(ctx, present)
	}
	s.warn("mailbox %s has %d messages by its own account, but names %d; none of those that are missing counts as gone",
		readName(r.box.Name), s.sel.exists, present.Len())
	r.partial = true
	return nil
}

// compare works out from a complete list what is gone, and fetches new messages that were withheld.
func (r *reading) compare(ctx context.Context, present mail.UIDSet) error {
	r.gone = r.known().Minus(present)
	if err := r.describe(ctx, present.Clamp(1, r.from-1).Minus(r.known())); err != nil {
		return err
	}
	end := lastUID
	if r.start.UIDNext > 0 {
		end = r.start.UIDNext - 1
	}
	missing := present.Clamp(r.from, end).Minus(r.obs.between(r.from, lastUID))
	if missing.IsEmpty() {
		return nil
	}
	cmds := r.itemsCommands(missing)
	if err := r.s.run(ctx, r.op, cmds...); err != nil {
		return err
	}
	r.withhold(missing.Minus(r.obs.between(r.from, lastUID)))
	return nil
}

// undescribed returns new messages of which the server names no flags, although it was asked again.
func (r *reading) undescribed() mail.UIDSet {
	return r.obs.uids(func(m *observation) bool { return r.wasNew(m.uid) && !m.hasFlags }).Minus(r.later.set())
}

// withhold keeps messages ahead of the mark, so that they are asked for again the next time.
func (r *reading) withhold(missing mail.UIDSet) {
	if missing.IsEmpty() {
		return
	}
	r.s.warn("mailbox %s has messages that the server does not describe: %.100s", readName(r.box.Name), missing.String())
	first := missing.Ranges()[0].First
	if r.held == 0 || first < r.held {
		r.held = first
	}
	r.partial = true
}

// describe reads messages with old UIDs that are not known: they were out of view at the last reading, or a folder of other people's
// became ours to see. They are new as well.
func (r *reading) describe(ctx context.Context, uids mail.UIDSet) error {
	if uids.IsEmpty() || !r.knows() {
		return nil
	}
	r.back = uids
	return r.s.run(ctx, r.op, r.itemsCommands(uids)...) // what is not told now is asked for again the next time, since it is still unknown
}

// result puts the reading together.
func (r *reading) result() remote.Changes {
	out := remote.Changes{Selected: r.start, Vanished: r.gone, Partial: r.partial}
	next := r.start.UIDNext // also if it went backwards: the engine must see that
	if next == 0 {
		next = max(r.from, r.last+1)
	}
	gone, back := within(r.gone), within(r.back)
	out.Flags = r.obs.messages(func(m *observation) bool { return m.hasFlags && m.uid < r.from && !gone(m.uid) && !back(m.uid) })
	out.New = r.obs.messages(func(m *observation) bool {
		return m.hasFlags && (m.uid >= r.from && (m.hasSize || r.wasNew(m.uid)) || m.hasSize && back(m.uid))
	})
	r.obs = observations{}
	for _, m := range slices.Backward(out.New) {
		if m.UID < lastUID {
			next = max(next, m.UID+1)
			break
		}
	}
	if r.held > 0 {
		next = r.held
	}
	out.Selected.UIDNext = next
	return out
}
