package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// claimed reports whether another row that is on both sides has the UID or the name.
func claimed(tx *state.Tx, f *folder, uid mail.UID, name string, but int64) (bool, error) {
	var rows []state.Message
	if uid != 0 {
		var err error
		if rows, err = tx.ByUIDs(f.base.ID, mail.NewUIDSet(uid)); err != nil {
			return false, err
		}
	}
	m, ok, err := tx.ByName(f.base.ID, name)
	if ok {
		rows = append(rows, m)
	}
	return slices.ContainsFunc(rows, func(m state.Message) bool { return m.ID != but && m.Why == "" }), err
}

func (r *run) intents(ctx context.Context, kinds ...state.IntentKind) ([]state.Intent, error) {
	var out []state.Intent
	err := r.view(ctx, func(tx *state.Tx) error {
		broken := map[int64]bool{} // what was begun there is the next run's
		for name := range r.broken {
			f, ok, err := tx.FolderByName(name)
			if err != nil {
				return err
			}
			broken[f.ID] = ok
		}
		all, err := tx.Intents()
		for _, in := range all {
			if slices.Contains(kinds, in.Kind) && !broken[in.Message.Folder] && !broken[in.To] {
				out = append(out, in)
			}
		}
		return err
	})
	return out, err
}

// settleRemote looks on the server for uploads and moves whose answer never came, and removes the ghosts of
// uploads that were sent more than once.
func (r *run) settleRemote(ctx context.Context) error {
	intents, err := r.intents(ctx, state.Upload, state.MoveRemote)
	if err != nil {
		return err
	}
	open := slices.ContainsFunc(intents, func(in state.Intent) bool { return !in.Settled })
	if open {
		// Settling makes rows that the directories were not compared with.
		for _, f := range r.folders {
			f.listed = nil
		}
	}
	byFolder := map[int64][]*state.Intent{}
	for i := range intents {
		in := &intents[i]
		byFolder[destination(in)] = append(byFolder[destination(in)], in)
	}
	for _, f := range r.folders {
		list := byFolder[f.base.ID]
		delete(byFolder, f.base.ID)
		if err := r.settleIn(ctx, f, list); err != nil {
			return err
		}
	}
	r.underway = underway{}
	if err := r.settleElsewhere(ctx, byFolder); err != nil || !open && len(r.broken) == 0 {
		return err
	}
	return r.noteUnderway(ctx)
}

// underway are the messages that nobody knows where they are: a move on the server has no answer, and its destination could not be looked into.
type underway struct {
	rows    map[int64]bool
	sources map[place]bool // where they were moved from
}

func (r *run) noteUnderway(ctx context.Context) error {
	u := underway{map[int64]bool{}, map[place]bool{}}
	r.underway = u
	return r.view(ctx, func(tx *state.Tx) error {
		all, err := tx.Intents()
		for _, in := range all {
			if in.Kind == state.MoveRemote && !in.Settled {
				u.rows[in.Message.ID] = true
				u.sources[place{in.Message.Folder, in.Message.UID}] = true
			}
		}
		return err
	})
}

// dropUnderway leaves those messages out of a plan: moved from where they were, for what they are or for an equal one, they would be there twice when
// the answer to the first move is known.
func (r *run) dropUnderway(p *plan.Plan) {
	u := r.underway
	if len(u.rows) == 0 {
		return
	}
	r.putOff(p, func(op plan.Op) bool {
		where := op.Folder
		if op.Kind == plan.Move && op.Side == plan.Server {
			where = op.From
		}
		f := r.byName[where]
		return u.rows[op.Row] || f != nil && u.sources[place{f.base.ID, op.UID}]
	})
}

// settleElsewhere settles what was begun in mailboxes that the configuration leaves out, as it may the trash.
func (r *run) settleElsewhere(ctx context.Context, byFolder map[int64][]*state.Intent) error {
	for _, id := range slices.Sorted(maps.Keys(byFolder)) {
		var base state.Folder
		err := r.view(ctx, func(tx *state.Tx) (err error) { base, err = tx.Folder(id); return err })
		if errors.Is(err, state.ErrNotFound) {
			if err := r.forgetIntents(ctx, byFolder[id]); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		f, err := r.outside(base)
		if err != nil || f.remote == nil {
			continue // nobody was asked whether it is gone
		}
		r.judge(f)
		if err := r.settleIn(ctx, f, byFolder[id]); err != nil {
			return err
		}
		if f.failed != nil && !slices.ContainsFunc(byFolder[id], r.isOver) {
			r.hidden = f.name // deletions wait for it
		}
	}
	return nil
}

// settleIn settles what was begun in one folder's mailbox.
func (r *run) settleIn(ctx context.Context, f *folder, list []*state.Intent) error {
	if len(list) == 0 || f.failed != nil {
		return nil
	}
	var err error
	switch {
	case f.remote == nil:
		err = r.forgetIntents(ctx, list) // the mailbox is gone, and with it whatever had been stored there
	case f.remote.Status == nil:
		err = f.remote.StatusErr // it may be another mailbox by now, or the same
	default:
		err = defect.Contain(func() error { return r.settleFolder(ctx, f, list) })
	}
	if err != nil && r.ofFolder(ctx, err) {
		r.failFolder(f, fmt.Errorf("finishing what a stopped run had begun: %w", err))
		err = nil
	}
	return err
}

func (r *run) forgetIntents(ctx context.Context, list []*state.Intent) error {
	return r.update(ctx, func(tx *state.Tx) error {
		for _, in := range list {
			if err := tx.DeleteIntent(in.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// isOver reports whether nothing of what a dead connection had sent arrives any more.
func (r *run) isOver(in *state.Intent) bool { return r.now().Sub(in.Started) > ghostTime }

// destination is the folder whose mailbox an upload or a move puts the message into.
func destination(in *state.Intent) int64 {
	if in.Kind == state.MoveRemote {
		return in.To
	}
	return in.Message.Folder
}

func (r *run) settleFolder(ctx context.Context, f *folder, list []*state.Intent) error {
	// A settled intent needs looking at only while something new is there; it is cheap enough to always look.
	from := ^mail.UID(0)
	var open []*state.Intent
	for _, in := range list {
		if in.Settled && r.isOver(in) {
			if err := r.update(ctx, func(tx *state.Tx) error { return tx.DeleteIntent(in.ID) }); err != nil {
				return err
			}
			continue
		}
		mayBe, err := r.copiedToNew(ctx, f, in)
		if err != nil {
			return err
		}
		if mayBe {
			in.UIDValidity, in.UIDNext = f.validity(), 1
		}
		if in.UIDValidity != f.validity() {
			// Another mailbox by now: what the comparison finds in it is paired by content.
			if err := r.update(ctx, func(tx *state.Tx) error { return tx.DeleteIntent(in.ID) }); err != nil {
				return err
			}
			continue
		}
		from = min(from, max(in.UIDNext, 1))
		open = append(open, in)
	}
	if len(open) == 0 {
		return nil
	}
	return r.pool.with(ctx, func(s remote.Session) error {
		box := remote.Box{Name: f.mailbox, UIDValidity: f.validity()}
		cand, err := r.candidates(ctx, s, f, box, from)
		if err == nil && len(cand.free) > 0 {
			cand.twins, err = r.twinsOf(ctx, open)
		}
		if err != nil {
			return err
		}
		// First every open intent takes its message, before all those of which the server has said that it is there, because only the others are
		// sent again. Then what is left can be a ghost.
		slices.SortStableFunc(open, func(a, b *state.Intent) int { return cmp.Compare(b.Sends/takenMark, a.Sends/takenMark) })
		for _, in := range open {
			if in.Settled {
				continue
			}
			if err := r.settleOne(ctx, s, f, cand, in); err != nil {
				return err
			}
		}
		if err := r.settlePassedOn(ctx, f, cand, open); err != nil {
			return err
		}
		if open, err = r.joinAttempts(ctx, open); err != nil {
			return err
		}
		// While it is lost where the state has each message, what looks like a ghost may be the one that there is: see dropSuspects.
		if !f.lostRemote {
			for _, in := range open {
				if err := r.removeGhosts(ctx, s, f, box, cand, in); err != nil {
					return err
				}
			}
			for uid := range cand.free {
				if !cand.unread[uid] {
					f.innocent.Add(uid)
				}
			}
		}
		f.sends = slices.DeleteFunc(open, func(in *state.Intent) bool { return !in.Settled || in.Sends <= 1 })
		return nil
	})
}

// joinAttempts makes one intent of all the attempts to copy a message that may still arrive: on a bad line there is one more in each run.
func (r *run) joinAttempts(ctx context.Context, open []*state.Intent) ([]*state.Intent, error) {
	type attempt struct{ row, to int64 }
	first := map[attempt]*state.Intent{}
	var joined, spare []*state.Intent
	kept := slices.DeleteFunc(slices.Clone(open), func(in *state.Intent) bool {
		if in.Kind != state.MoveRemote || !in.Settled {
			return false
		}
		a := attempt{in.Message.ID, in.To}
		one := first[a]
		if one == nil {
			first[a] = in
			return false
		}
		one.Sends += in.Sends - 1
		one.UIDNext = min(one.UIDNext, in.UIDNext)
		if in.Started.After(one.Started) {
			one.Started = in.Started
		}
		joined, spare = append(joined, one), append(spare, in)
		return true
	})
	if len(spare) == 0 {
		return open, nil
	}
	return kept, r.update(ctx, func(tx *state.Tx) error {
		for _, in := range spare {
			if err := tx.DeleteIntent(in.ID); err != nil {
				return err
			}
		}
		return tx.PutIntents(joined)
	})
}

// copiedToNew reports whether a mailbox that was replaced may have the copy of a move without MOVE: what of that content is in it can be
// nothing else, because the old one had nothing like it, as far as is known.
func (r *run) copiedToNew(ctx context.Context, f *folder, in *state.Intent) (bool, error) {
	if in.Kind != state.MoveRemote || r.caps.Move || in.Settled || in.UIDValidity == f.validity() {
		return false, nil
	}
	twin := false
	err := r.eachRow(ctx, f, func(m state.Message) {
		unread := m.Digest == mail.Digest{} && m.UID != 0 && (m.RemoteSize < 0 || m.RemoteSize == in.Message.RemoteSize)
		twin = twin || m.ID != in.Message.ID && (unread || m.Digest == in.Message.Digest)
	})
	return !twin, err
}

// errNotGiven stops what would store a message once more that may be there.
var errNotGiven = errors.New("the server does not give a message that may be the one which a stopped sync sent")

// settleOne looks for the message of one unanswered intent.
func (r *run) settleOne(ctx context.Context, s remote.Session, f *folder, cand *candidates, in *state.Intent) error {
	if in.Kind == state.Upload {
		if settled, err := r.pairedMeanwhile(ctx, in); settled || err != nil {
			return err
		}
	}
	m, found := cand.named(in)
	var err error
	if !found {
		m, found, err = cand.takeOurs(ctx, in)
	}
	if err == nil && !found {
		m, found = cand.changed(in)
	}
	if err != nil {
		return err
	}
	if !found && !r.isOver(in) && cand.mayBeUnread(in) {
		return fmt.Errorf("%w: nothing more is stored in the folder until it does, or until tomorrow", errNotGiven)
	}
	if in.Kind == state.MoveRemote {
		if !found && in.UIDNext == 1 && len(cand.unread) == 0 {
			in.UIDNext = cand.next() // what is there by now it can't be: see copiedToNew
		}
		return r.settleMove(ctx, s, f, in, m, found)
	}
	if !found {
		// Not there (yet). The file counts as new, and is sent again under the same intent; what the dead
		// connection had sent may still arrive.
		if !r.isOver(in) {
			return nil
		}
		return r.update(ctx, func(tx *state.Tx) error {
			if taken(*in) {
				op := plan.Op{Side: plan.Maildir, Folder: f.name, Name: in.Message.Name, Why: plan.OneWay,
					Reason: "it was uploaded, and the server has nothing that can be recognised as it"}
				if err := r.learnParked(tx, f, op); err != nil {
					return err
				}
			}
			return tx.DeleteIntent(in.ID)
		})
	}
	return r.adoptFound(ctx, f, in, m)
}

// settlePassedOn settles uploads that the server took and that somebody has moved or deleted since: once the others have what is their own, a gap among
// the UIDs tells of such a one, right after it was stored. Later it may be anybody's.
func (r *run) settlePassedOn(ctx context.Context, f *folder, cand *candidates, open []*state.Intent) error {
	for _, in := range open {
		if in.Settled || in.Kind != state.Upload || in.Sends != takenMark+1 || in.Started.Before(r.started.Truncate(time.Second)) {
			continue
		}
		m, found, err := cand.passedOn(ctx, in)
		if err == nil && found {
			err = r.adoptFound(ctx, f, in, m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// adoptFound records an upload whose message was found.
func (r *run) adoptFound(ctx context.Context, f *folder, in *state.Intent, m remote.Message) error {
	in.Sends %= takenMark
	r.log.Info("an upload without an answer had arrived", "folder", f.name, "uid", m.UID)
	arrived(in, m)
	r.count(func(res *Result) { res.ToServer.New++ })
	return r.update(ctx, func(tx *state.Tx) error {
		if err := r.relist(tx, f.base.ID); err != nil { // its file may be gone since, or have other flags
			return err
		}
		return r.adopt(tx, f, in)
	})
}

// relist has a folder's directory compared with what the state knows, in this pass or, if that does not come to it, in the next run.
func (r *run) relist(tx *state.Tx, folder int64) error {
	for _, f := range r.folders {
		if f.base.ID == folder {
			f.base.LocalMark = nil
		}
	}
	base, err := tx.Folder(folder)
	if err != nil {
		return err
	}
	base.LocalMark = nil
	return tx.PutFolder(&base)
}

// pairedMeanwhile settles an upload whose message was found on the server by comparing new messages, there or, if it was known before,
// in another mailbox: then only ghosts of it can still come.
func (r *run) pairedMeanwhile(ctx context.Context, in *state.Intent) (bool, error) {
	var row state.Message
	err := r.view(ctx, func(tx *state.Tx) (err error) {
		if row, _, err = tx.ByName(in.Message.Folder, in.Message.Name); err != nil || row.UID != 0 || in.Message.ID == 0 {
			return err
		}
		m, err := tx.Message(in.Message.ID)
		if errors.Is(err, state.ErrNotFound) {
			return nil
		}
		if m.Name != "" && m.Folder != in.To && m.Folder != in.Message.Folder {
			row = m
		}
		return err
	})
	// The row that is uploaded once more still has the UID that it had before.
	again := row.ID == in.Message.ID && row.Folder == in.Message.Folder && row.UID < in.UIDNext
	if err != nil || row.UID == 0 || again {
		return false, err
	}
	in.Settled, in.Message.ID, in.Message.UID, in.Sends = true, row.ID, row.UID, in.Sends%takenMark
	if row.UID < in.UIDNext || row.Folder != in.Message.Folder {
		in.Sends++ // it is none of them: all may still come
	}
	return true, r.update(ctx, func(tx *state.Tx) error {
		if in.Sends <= 1 {
			return tx.DeleteIntent(in.ID)
		}
		return tx.PutIntent(in)
	})
}

// errOriginal stops what would leave the original of a move where it is, known to nobody.
var errOriginal = errors.New("the original of a message that a stopped sync has copied here can't be told from another one: the folder waits until it can, or until tomorrow")

// settleMove finishes a server move: the copy is known now, or there is none.
func (r *run) settleMove(ctx context.Context, s remote.Session, f *folder, in *state.Intent, m remote.Message, found bool) error {
	var from state.Folder
	err := r.view(ctx, func(tx *state.Tx) (err error) { from, err = tx.Folder(in.Message.Folder); return err })
	if err == nil && !found && !r.caps.Move {
		// Not copied (yet). The comparison that follows sees what is where, and copies it again; what the dead connection had sent may
		// still arrive, as long as the original is there.
		in.Settled, in.Sends = true, 2
		return r.update(ctx, func(tx *state.Tx) error { return tx.PutIntent(in) })
	}
	if errors.Is(err, state.ErrNotFound) || !found {
		// Never moved, or there is nothing to compare with: the comparison that follows sees what is where.
		return r.update(ctx, func(tx *state.Tx) error { return tx.DeleteIntent(in.ID) })
	}
	if err != nil {
		return err
	}
	box := remote.Box{Name: from.Mailbox, UIDValidity: from.UIDValidity}
	original := in.Message
	original.RemoteSize = m.Size // the copy's
	left, err := r.stillThere(ctx, s, from.Name, box, map[mail.UID]*state.Message{original.UID: &original})
	if err != nil && !errors.Is(err, remote.ErrUIDValidity) && !errors.Is(err, remote.ErrNoMailbox) {
		return err
	}
	if !left.doubtful.IsEmpty() && !r.isOver(in) {
		return errOriginal
	}
	var pending mail.UIDSet
	if !left.present.IsEmpty() {
		// Copied but not removed: the second half of the move.
		if pending, err = s.Expunge(ctx, box, left.present); err != nil {
			return err
		}
	}
	r.log.Info("a move without an answer had happened", "folder", f.name, "uid", m.UID)
	uid := m.UID
	if f.lostRemote {
		uid = 0 // a row of the mailbox that was replaced may have that number: the comparison finds it by content
	}
	return r.update(ctx, func(tx *state.Tx) error {
		if err := r.relist(tx, from.ID); err != nil { // a file there may have been taken for the message meanwhile
			return err
		}
		if err := finishMove(tx, in, uid); err != nil {
			return err
		}
		if err := parkPending(tx, from.ID, pending, in.Message); err != nil { // once the row has left the folder: the original gets one of its own
			return err
		}
		return tx.DeleteIntent(in.ID)
	})
}
