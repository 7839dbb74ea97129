package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// gather reads what changed in the folders whose marks differ. When something disappeared, or is new, and only some folders were asked for, the others
// are read too: it may have moved.
func (r *run) gather(ctx context.Context) error {
	if r.isMaildrop() {
		return r.gatherMaildrop(ctx)
	}
	var targets, others []*folder
	for _, f := range r.folders {
		if f.target {
			targets = append(targets, f)
		} else {
			others = append(others, f)
		}
	}
	if err := r.gatherAll(ctx, targets); err != nil {
		return err
	}
	apart, err := r.halvesApart(ctx, targets)
	if err != nil {
		return err
	}
	// What is new in the Maildir, or can be read at last, may have been moved there. So may what is new on the server, but then the folder that it came from shows it.
	came := slices.ContainsFunc(targets, func(f *folder) bool {
		return slices.ContainsFunc(f.localNew, func(m plan.LocalMessage) bool {
			p := f.pairs[m.Row]
			return m.Row == 0 || p != nil && (p.Why == plan.Unreadable || p.Why == plan.Refused)
		})
	})
	switch {
	case came || apart || slices.ContainsFunc(targets, (*folder).lacksSome):
		err = r.gatherAll(ctx, others)
	case slices.ContainsFunc(targets, (*folder).brings):
		err = r.gatherChanged(ctx, others)
	}
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(r.folders, (*folder).waits) {
		return nil
	}
	return r.workers(ctx, r.folders, r.gatherHalves)
}

// lacksSome reports whether something is missing in a folder.
func (f *folder) lacksSome() bool {
	for _, p := range f.pairs {
		if p.MissingSomewhere() {
			return true
		}
	}
	return false
}

// gatherMaildrop is gather for a maildrop, where messages may be in any folder.
func (r *run) gatherMaildrop(ctx context.Context) error {
	if err := r.probeMaildrop(ctx); err != nil {
		return fmt.Errorf("reading the mailbox: %w", err)
	}
	if err := r.gatherAll(ctx, r.folders); err != nil {
		return err
	}
	if err := r.finishMaildrop(ctx); err != nil {
		return fmt.Errorf("reading the mailbox: %w", err)
	}
	return nil
}

func (r *run) gatherAll(ctx context.Context, folders []*folder) error {
	return r.workers(ctx, folders, func(ctx context.Context, f *folder) error {
		defer r.tell(func(p *Progress) { p.FoldersDone++ })
		if f.listed == nil && f.local != nil && (f.lostLocal || !r.sameLocal(f.base, f.local)) {
			f.listed = r.beginListing(ctx, f.base.ID, f.local.Name)
		}
		if err := r.gatherWithheld(ctx, f); err != nil {
			return err
		}
		if err := r.gatherRemote(ctx, f); err != nil { // which a maildrop's probe has done
			return fmt.Errorf("reading the folder on the server: %w", err)
		}
		if err := r.gatherLocal(ctx, f); err != nil {
			return fmt.Errorf("reading the folder in the Maildir: %w", err)
		}
		return r.gatherRows(ctx, f)
	})
}

// fingerprint is that of the settings under which marks are taken: with others, what was left out may be in.
func (r *run) fingerprint() string {
	s := r.set
	var since int64
	if s.Since != nil {
		// A window that moves forward takes nothing in that was out before.
		if t := s.Since(time.Unix(1<<33, 0)); !t.IsZero() {
			since = t.Unix()
		}
	}
	keep := ""
	if s.Policy.Maildrop {
		keep = fmt.Sprintf(" %v %v", s.Policy.UntilDeleted, s.LeaveFor)
	}
	return fmt.Sprintf("%s %s %v %d %d %v %q %q %q", s.Policy.Mode, s.Policy.Create, s.Policy.Expunge, s.MaxMessageSize, since,
		s.Subscribed, s.Include, s.Exclude, s.Map) + keep
}

// park says why a message that is new may not be transferred, empty if it may.
func (r *run) park(size int64, date time.Time) plan.Why {
	if r.set.MaxMessageSize > 0 && size > r.set.MaxMessageSize {
		return plan.TooLarge
	}
	if r.set.Since != nil && !date.IsZero() {
		if cut := r.set.Since(r.now()); !cut.IsZero() && date.Before(cut) {
			return plan.TooOld
		}
	}
	return plan.Agreed
}

func (r *run) gatherRemote(ctx context.Context, f *folder) error {
	switch {
	case r.isMaildrop() || f.remote == nil && f.base.Mailbox == "":
		return nil
	case f.remote == nil:
		return r.eachRow(ctx, f, func(m state.Message) {
			switch {
			case m.UID != 0 || m.RemoteHeld:
				f.pair(m).Remote = r.missingRemote()
			case r.set.Policy.Mode != plan.Archive || m.Why == "":
				f.pair(m) // only the Maildir has it, and the folder stays for it; or its UID means nothing any more
			}
		})
	case f.remote.Status == nil && f.remote.StatusErr != nil:
		return f.remote.StatusErr
	}
	if (r.sameRemote(f) || f.unmoved && !r.merge && !f.lostRemote) && !f.withholds {
		return nil
	}
	var knownErr error
	since := remote.Since{ModSeq: f.base.HighestModSeq, UIDNext: f.base.UIDNext}
	box := remote.Box{Name: f.mailbox, UIDValidity: f.base.UIDValidity}
	if f.lostRemote || r.merge || f.base.UIDNext == 0 {
		since = remote.Since{}
		st, err := r.statusOf(ctx, f)
		if err != nil {
			return err
		}
		box.UIDValidity = st.UIDValidity
	} else {
		all, err := r.wantsAllFlags(ctx, f)
		if err != nil {
			return err
		}
		if all {
			since.ModSeq = 0
		}
		// What the answer is compared with is loaded while the server thinks. What fails here fails again when it is needed.
		r.early.Go(func() {
			_ = defect.Contain(func() error { return r.view(ctx, func(tx *state.Tx) error { return tx.Prepare(f.base.ID) }) })
		})
		ask := func(what func(*state.Tx) error) {
			if err := r.view(ctx, what); err != nil && knownErr == nil {
				knownErr = err
			}
		}
		since.KnownCount = func() (n uint32) {
			ask(func(tx *state.Tx) (err error) { n, err = tx.UIDCount(f.base.ID, since.UIDNext); return err })
			return n
		}
		since.Known = func() (known mail.UIDSet) {
			ask(func(tx *state.Tx) (err error) { known, err = tx.UIDs(f.base.ID); return err })
			return known
		}
	}
	ch, err := r.readAhead(ctx, f, box)
	if ch == nil && err == nil {
		ch, err = r.readMailbox(ctx, f, box, since)
	}
	if errors.Is(err, remote.ErrNoMailbox) {
		return fmt.Errorf("it disappeared just now, the next run looks at it: %w", err)
	}
	if err = cmp.Or(err, knownErr); err != nil {
		return err
	}
	selected := ch.Selected // alone, so that it does not keep the messages
	f.selected, f.readRemote = &selected, true
	if f.base.UIDNext != 0 && !f.lostRemote && ch.Selected.UIDValidity != f.base.UIDValidity {
		return remote.ErrUIDValidity
	}
	return r.takeChanges(ctx, f, *ch, since.UIDNext)
}

// readMailbox asks the server what changed in a mailbox.
func (r *run) readMailbox(ctx context.Context, f *folder, box remote.Box, since remote.Since) (*remote.Changes, error) {
	var ch remote.Changes
	err := r.pool.reading(ctx, func(s remote.Session) (err error) {
		ch, err = s.Changes(ctx, box, since)
		if !errors.Is(err, remote.ErrUIDValidity) || since.UIDNext != 0 || f.base.UIDNext != 0 {
			return err
		}
		// Courier tells another UIDVALIDITY whenever it is asked about a mailbox that nobody has opened yet. By now it
		// was opened, and nothing is known that could be taken for something else.
		st, err := s.Status(ctx, f.mailbox)
		if err != nil {
			return err
		}
		f.remote.Status, box.UIDValidity = &st, st.UIDValidity
		ch, err = s.Changes(ctx, box, since)
		return err
	})
	return &ch, err
}

// statusOf is the mailbox's status as probed, or asked for if the probe did not bring it.
func (r *run) statusOf(ctx context.Context, f *folder) (remote.Status, error) {
	if f.remote.Status != nil {
		return *f.remote.Status, nil
	}
	var st remote.Status
	err := r.pool.reading(ctx, func(s remote.Session) (err error) {
		st, err = s.Status(ctx, f.mailbox)
		return err
	})
	if err == nil {
		f.remote.Status = &st
	}
	return st, err
}

// sameRemote reports whether the server's marks say that nothing happened since the last reading.
func (r *run) sameRemote(f *folder) bool {
	return !r.merge && !f.lostRemote && f.base.UIDNext != 0 && f.base.Filter == r.filter() && f.sameStatus() && f.base.HighestModSeq != 0
}

// sameStatus reports whether the mailbox has what it had when it was last read, as far as the server tells.
func (f *folder) sameStatus() bool {
	if f.remote == nil || f.remote.Status == nil {
		return false
	}
	st, b := f.remote.Status, f.base
	return st.Messages == b.Exists && st.UIDNext == b.UIDNext && st.UIDValidity == b.UIDValidity && st.HighestModSeq == b.HighestModSeq
}

func (r *run) missingRemote() plan.Presence {
	if r.merge {
		return plan.Lost
	}
	return plan.Gone
}

func (f *folder) missingLocal() plan.Presence {
	if f.lostLocal {
		return plan.Lost
	}
	return plan.Gone
}

var errPartial = errors.New("what the server says of its messages contradicts itself, or leaves some out: none counts as deleted in this run, and the next one asks again; `satchel verify` shows what differs")

// partialKey is where the state keeps since when a mailbox that is to be compared by content is shown in part only.
func partialKey(folder int64) string { return fmt.Sprintf("partial:%d", folder) }

// waitsForRest notes whether the Maildir's half of what the server may have left out waits: where there is no base that tells what that is, it would be
// stored once more. A server that leaves out the same ones each time is not waited for longer than a day.
func (r *run) waitsForRest(ctx context.Context, f *folder, partial bool) error {
	if !f.lostRemote && !r.merge && f.base.UIDNext != 0 {
		return nil
	}
	since, err := r.timeOf(ctx, partialKey(f.base.ID))
	if err != nil {
		return err
	}
	first, text := since.IsZero(), ""
	if partial {
		if first {
			since = r.now()
		}
		text = strconv.FormatInt(since.Unix(), 10)
		f.partial = r.now().Sub(since) < ghostTime
	}
	if first != partial || r.opt.DryRun {
		return nil
	}
	return r.update(ctx, func(tx *state.Tx) error { return tx.Set(partialKey(f.base.ID), text) })
}

// takeChanges compares one reading of the server with the state. since is the first UID that the reading
// gave completely, 0 for all of them.
func (r *run) takeChanges(ctx context.Context, f *folder, ch remote.Changes, since mail.UID) error {
	if ch.Partial {
		r.soil(f)
		r.fail(f.name, errPartial)
	}
	if err := r.waitsForRest(ctx, f, ch.Partial); err != nil {
		return err
	}
	return r.view(ctx, func(tx *state.Tx) error {
		if f.lostRemote {
			for _, m := range ch.New {
				f.newRemote(r, m, 0)
			}
			return eachIn(tx, f, func(m state.Message) {
				if p := f.pair(m); p.Remote != plan.Absent {
					p.Remote = plan.Lost
				}
			})
		}
		seen := sightings{inOrder(ch.Flags), inOrder(ch.New)}
		var known mail.UIDSet
		var m *remote.Message // the one that the row is about
		next := seen.inTurn()
		err := tx.Sift(f.base.ID, seen.uids(), func(row state.Front) bool {
			known.Add(row.UID)
			m = next(row.UID)
			return row.Why == string(plan.Pending) || row.RemoteHeld || !m.Flags.Equal(row.RemoteFlags)
		}, func(row *state.Message) {
			p := f.pair(*row)
			p.Remote, p.RemoteNow, p.RemoteHeld, p.Back = plan.Present, m.Flags, false, p.Back || p.RemoteHeld
		})
		if err != nil {
			return err
		}
		f.remoteNew = slices.Grow(f.remoteNew, max(0, len(ch.New)-int(known.Len())))
		for _, m := range ch.New {
			switch {
			case known.Contains(m.UID):
			case f.mayBeGhost(m):
				f.suspects = true
				r.soil(f)
				r.lookAgain()
			default:
				f.newRemote(r, m, 0)
			}
		}
		gone := ch.Vanished
		if since == 0 {
			all, err := tx.UIDs(f.base.ID)
			if err != nil {
				return err
			}
			if !ch.Partial {
				gone = all.Minus(seen.uids())
			}
			// Rows whose UID was taken away, because it meant nothing any more, before they were found again.
			err = eachIn(tx, f, func(m state.Message) {
				if m.UID == 0 && (m.Why == "" || m.Name == "") {
					f.pair(m)
				}
			})
			if err != nil {
				return err
			}
		} else if !ch.Partial {
			// What this program stored itself after the last reading lies beyond its mark.
			var beyond mail.UIDSet
			beyond.AddRange(since, ^mail.UID(0))
			own, err := tx.ByUIDs(f.base.ID, beyond)
			if err != nil {
				return err
			}
			for _, row := range own {
				if seen.of(row.UID) == nil && !row.RemoteHeld {
					gone.Add(row.UID)
				}
			}
		}
		rows, err := tx.ByUIDs(f.base.ID, gone)
		for _, row := range rows {
			p := f.pair(row)
			if p.Remote == plan.Present {
				p.Remote = r.missingRemote()
			}
		}
		return err
	})
}

// sightings are the messages that one reading named, each list in ascending order of UID.
type sightings struct{ old, fresh []remote.Message }

// inOrder returns messages in ascending order of UID, which is nearly always the order they came in.
func inOrder(ms []remote.Message) []remote.Message {
	if slices.IsSortedFunc(ms, compareUIDs) {
		return ms
	}
	ms = slices.Clone(ms)
	slices.SortStableFunc(ms, compareUIDs)
	return ms
}

func compareUIDs(a, b remote.Message) int { return cmp.Compare(a.UID, b.UID) }

// of returns a message, nil if it was not named.
func (s sightings) of(uid mail.UID) *remote.Message {
	for _, list := range [...][]remote.Message{s.fresh, s.old} {
		i, ok := slices.BinarySearchFunc(list, uid, func(m remote.Message, uid mail.UID) int { return cmp.Compare(m.UID, uid) })
		if ok {
			return &list[i]
		}
	}
	return nil
}

func (s sightings) uids() mail.UIDSet {
	var set mail.UIDSet
	for _, list := range [...][]remote.Message{s.old, s.fresh} {
		for i := range list {
			set.Add(list[i].UID)
		}
	}
	return set
}

// inTurn returns a function that gives the message with a UID that was named. It is called with ascending UIDs.
func (s sightings) inTurn() func(mail.UID) *remote.Message {
	return func(uid mail.UID) *remote.Message {
		for _, list := range [...]*[]remote.Message{&s.fresh, &s.old} {
			for len(*list) > 0 && (*list)[0].UID < uid {
				*list = (*list)[1:]
			}
			if len(*list) > 0 && (*list)[0].UID == uid {
				return &(*list)[0]
			}
		}
		return nil
	}
}

// newRemote notes a message on the server that the state does not know, or knows as parked.
func (f *folder) newRemote(r *run, m remote.Message, row int64) {
	f.remoteNew = append(f.remoteNew, plan.RemoteMessage{
		Row: row, Folder: f.name, UID: m.UID, Flags: m.Flags, Size: m.Size, Date: m.Date, EmailID: m.EmailID,
		Park: r.park(m.Size, m.Date),
	})
}

// gatherRows adds the rows that take part in every run, whether or not the folder changed: deletions that are
// held, and messages whose transfer is tried again.
func (r *run) gatherRows(ctx context.Context, f *folder) error {
	if f.base.ID == 0 {
		return nil
	}
	again := []string{string(plan.Refused), string(plan.Unreadable), string(plan.NoFolder), string(plan.ReadOnly)}
	filtered := f.base.Filter != r.filter()
	if filtered {
		again = append(again, string(plan.TooLarge), string(plan.TooOld), string(plan.OneWay))
	}
	for _, why := range []plan.Why{plan.OverDownload, plan.OverUpload} {
		if filtered || r.opens(f, why) {
			again = append(again, string(why))
		}
	}
	if f.withholds && !f.readOnly() { // it takes changes again
		err := r.eachRow(ctx, f, func(m state.Message) {
			if !f.agreedFlags(&m).Equal(m.LocalFlags) {
				f.pair(m)
			}
		})
		if err != nil {
			return err
		}
	}
	var parked []state.Message
	err := r.view(ctx, func(tx *state.Tx) error {
		held, err := tx.Held()
		if err != nil {
			return err
		}
		for _, m := range held {
			if m.Folder != f.base.ID {
				continue
			}
			p := f.pair(m)
			if p.RemoteHeld {
				p.Remote = r.missingRemote()
			}
			if p.LocalHeld {
				p.Local = f.missingLocal()
			}
		}
		if f.readRemote {
			pending, err := tx.Parked(f.base.ID, string(plan.Pending))
			if err != nil {
				return err
			}
			for _, m := range pending {
				f.pair(m)
			}
		}
		if r.set.Policy.Expunge { // what the guard held back is counted again in each run
			marked, err := tx.WithDeleted(f.base.ID)
			if err != nil {
				return err
			}
			for _, m := range marked {
				f.pair(m)
			}
		}
		parked, err = tx.Parked(f.base.ID, again...)
		if err != nil || filtered || !r.oneWay() || len(f.remoteNew)+len(f.localNew) == 0 {
			return err
		}
		own, err := tx.Parked(f.base.ID, string(plan.OneWay), string(plan.TooLarge), string(plan.TooOld))
		parked = append(parked, f.mayHaveCome(own)...)
		return err
	})
	if err != nil {
		return err
	}
	return r.gatherAgain(ctx, f, parked)
}

// gatherAgain has rows that are on one side only take part as what that side has and the other one lacks.
func (r *run) gatherAgain(ctx context.Context, f *folder, parked []state.Message) error {
	for _, m := range parked {
		if m.Name == "" && m.Why == string(plan.ReadOnly) {
			p := f.pair(m)
			p.Why, p.Local, p.Waits = plan.Agreed, f.missingLocal(), true
			continue
		}
		if p := f.pairs[m.ID]; p != nil {
			if p.MissingSomewhere() {
				continue // it is on neither side now
			}
			if m.UID != 0 || !m.LocalFlags.Equal(p.LocalNow) {
				delete(f.pairs, m.ID) // so that what changed is noted
			}
			m.RemoteFlags, m.LocalFlags = p.RemoteNow, p.LocalNow
		} else if m.UID == 0 {
			f.pair(m)
		}
		if m.UID != 0 {
			f.newRemote(r, remote.Message{UID: m.UID, Flags: m.RemoteFlags, Size: m.RemoteSize, Date: m.Date, EmailID: m.EmailID}, m.ID)
			f.remoteNew[len(f.remoteNew)-1].Unread = m.Why == string(plan.Unreadable)
		} else if err := r.newLocal(ctx, f, maildir.Entry{Base: m.Name, Flags: m.LocalFlags}, m.ID); err != nil {
			return err
		}
	}
	return nil
}

// pair returns the planner's view of a row, both sides as the base has them unless something was noted: a half whose removal is held
// is gone until it was seen.
func (f *folder) pair(m state.Message) *plan.Pair {
	if p := f.pairs[m.ID]; p != nil {
		return p
	}
	if len(f.room) == 0 {
		f.room = make([]plan.Pair, min(max(len(f.pairs), 1), 256))
	}
	p := &f.room[0]
	f.room = f.room[1:]
	*p = plan.Pair{Base: f.basis(m), RemoteNow: m.RemoteFlags, LocalNow: m.LocalFlags, Guarded: m.Guarded}
	p.Withheld, p.Noted = !p.LocalFlags.Equal(m.LocalFlags), m.LocalFlags
	// A row without a name on one side that it should be on is one whose rebinding was cut off.
	if m.UID == 0 {
		p.Remote = plan.Absent
		if m.Why == "" || m.Name == "" {
			p.Remote = plan.Lost
		}
	}
	if m.Name == "" {
		p.Local = plan.Absent
		if m.Why == "" {
			p.Local = plan.Lost
		}
	}
	if p.RemoteHeld, p.LocalHeld = m.RemoteHeld, m.LocalHeld; p.RemoteHeld {
		p.Remote = plan.Gone
	}
	if p.LocalHeld {
		p.Local = plan.Gone
	}
	f.pairs[m.ID] = p
	f.paired = append(f.paired, p)
	return p
}

func (f *folder) basis(m state.Message) plan.Base {
	header := m.Header
	return plan.Base{
		ID: m.ID, Folder: f.name, UID: m.UID, Name: m.Name, Why: plan.Why(m.Why),
		RemoteFlags: m.RemoteFlags, LocalFlags: f.agreedFlags(&m),
		Digest: m.Digest, Header: header, HasMessageID: m.HasMessageID, RemoteDigest: m.RemoteDigest,
		RemoteSize: m.RemoteSize, FileSize: m.FileSize, Inode: m.Inode, EmailID: m.EmailID, Date: m.Date,
	}
}

func (r *run) eachRow(ctx context.Context, f *folder, do func(state.Message)) error {
	return r.view(ctx, func(tx *state.Tx) error { return eachIn(tx, f, do) })
}

func eachIn(tx *state.Tx, f *folder, do func(state.Message)) error {
	if f.base.ID == 0 {
		return nil
	}
	rows, err := tx.InFolder(f.base.ID)
	for _, m := range rows {
		do(m)
	}
	return err
}
