package sync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/sync/plan"
)

// What is here decides which part of a plan must wait: because something could not be read, changed while it was read, or can't be
// relied on after a power failure.

// presumes reports whether a plan does anything because a message is missing somewhere: takes it away on the other
// side, transfers it again, leaves it on that side alone, or forgets it, though it may have moved.
func (r *run) presumes(p plan.Plan) bool {
	// What a folder had that could not be read is not even known by name: what is new elsewhere may have been in it.
	r.adrift = r.adrift || slices.ContainsFunc(r.folders, func(f *folder) bool {
		was := f.base.UIDNext != 0 || len(f.base.LocalMark) > 0 // else it never was read, and may never be
		return f.failed != nil && was && (r.merge || f.lostRemote || f.lostLocal)
	})
	return slices.ContainsFunc(p.Ops, r.presumed)
}

// dropPresumed leaves out of a plan what presumes that a missing message is nowhere. Rows are not forgotten either: those
// that would have to make room do so when they are in the way. Nor is a new message left where it is: it may be the missing one, moved to
// where it can't be stored, and would not be new any more when that one is looked for again.
func (r *run) dropPresumed(p *plan.Plan) {
	for i := range p.Ops {
		if op := &p.Ops[i]; op.Kind == plan.Hold && op.Why == "" {
			op.Expunge = true // that the guard holds it was told, and stays so wherever the message is
		}
	}
	r.postpone(p, func(op plan.Op) bool {
		return (r.presumed(op) || settlesPlaces(op)) && !(op.Kind == plan.Hold && op.Expunge)
	})
}

// settlesPlaces reports whether an operation has the state take a message for one that has nothing to do with those that are missing.
func settlesPlaces(op plan.Op) bool {
	return op.Kind == plan.Forget || op.Kind == plan.Park && op.Row == 0
}

// postpone leaves operations out of a plan. Which folders they hang together with is not known: none of them counts as read.
func (r *run) postpone(p *plan.Plan, which func(plan.Op) bool) {
	p.Ops = slices.DeleteFunc(p.Ops, which)
	for _, f := range r.folders {
		f.dirty = true
	}
}

// putOff is postpone for what hangs together with a folder that can't be read: what it follows from must be found again once that can be.
func (r *run) putOff(p *plan.Plan, which func(plan.Op) bool) {
	p.Ops = slices.DeleteFunc(p.Ops, func(op plan.Op) bool {
		drop := which(op)
		if drop {
			r.log.Debug("it hangs together with what can't be read, and waits", "op", op.Kind, "folder", op.Folder, "row", op.Row, "uid", op.UID, "name", op.Name)
			where := []mail.FolderName{op.Folder, op.From}
			if known := r.pairOf(op.Row); known != nil {
				where = append(where, known.Folder) // it must be found missing there again
			}
			for _, name := range where {
				if f := r.byName[name]; f != nil {
					r.soil(f)
				}
			}
		}
		return drop
	})
}

func (r *run) presumed(op plan.Op) bool {
	missing := op.Kind == plan.Upload || op.Kind == plan.Download || op.Kind == plan.Park
	if isRemoval(op) || op.Row == 0 || !missing {
		return isRemoval(op) || missing && op.Kind != plan.Park && r.adrift
	}
	gone := func(p plan.Presence) bool { return p == plan.Gone || p == plan.Lost }
	p := r.pairOf(op.Row)
	return p != nil && p.Why == plan.Agreed && (op.Kind != plan.Download && gone(p.Remote) || op.Kind != plan.Upload && gone(p.Local))
}

// pairOf returns what was gathered of a row, nil if it is as it was.
func (r *run) pairOf(row int64) *plan.Pair {
	for _, f := range r.folders {
		if p := f.pairs[row]; p != nil {
			return p
		}
	}
	return nil
}

func isRemoval(op plan.Op) bool {
	forgotten := op.Kind == plan.Forget && op.Folder != "" // else its message is known under another row
	return forgotten || op.Kind == plan.Delete && !op.Kept || op.Kind == plan.DeleteFolder || op.Kind == plan.Hold || op.Trash ||
		(op.Kind == plan.Park && (op.Why == plan.Dismissed || op.Why == plan.Pending))
}

// mayRemove asks whether the plan's removals from the server may be carried out in this run.
func (r *run) mayRemove(p plan.Plan) bool {
	if r.opt.MayRemove == nil {
		return true
	}
	n := 0
	for i := range p.Ops {
		op := &p.Ops[i]
		if op.Side != plan.Server || !(op.Kind == plan.Delete && !op.Kept || op.Trash) {
			continue
		}
		if pair := r.pairOf(op.Row); pair != nil && pair.Why == plan.Pending {
			continue // an earlier run removed it as far as the server let it
		}
		n++
	}
	return n == 0 || r.opt.MayRemove(n)
}

// stable looks at both sides once more and reports whether the places of messages are still those that the
// plan was made on: a message that is missing here and did not turn up there is then really gone.
func (r *run) stable(ctx context.Context) (bool, error) {
	t, err := r.readTrees(ctx, false)
	if err != nil {
		return false, err
	}
	if same, err := r.sameLocals(ctx, t.local); !same || err != nil {
		return false, err
	}
	known := map[string]bool{}
	for _, b := range r.boxes {
		known[b.Name] = b.Selectable
	}
	for _, f := range r.folders {
		known[f.mailbox] = true
	}
	byName := map[string]*remote.Mailbox{}
	for i := range t.boxes {
		b := &t.boxes[i]
		if byName[b.Name] = b; b.Selectable && !known[b.Name] {
			return false, nil // what is missing may be in it
		}
	}
	for _, f := range r.folders {
		if f.failed != nil {
			continue
		}
		now := byName[f.mailbox]
		if now != nil && !now.Selectable {
			now = nil
		}
		if (now == nil) != (f.remote == nil) {
			return false, nil
		}
		if now == nil || now.Status == nil || f.remote.Status == nil {
			continue
		}
		if a, b := now.Status, f.remote.Status; a.UIDNext != b.UIDNext || a.Messages != b.Messages || a.UIDValidity != b.UIDValidity {
			return false, nil
		}
	}
	return true, nil
}

// sameLocals reports whether the Maildir's directories are still as they were read.
func (r *run) sameLocals(ctx context.Context, local []maildir.Folder) (bool, error) {
	locals := make(map[mail.FolderName]*maildir.Folder, len(local))
	for i := range local {
		if locals[local[i].Name] = &local[i]; !r.listed[local[i].Name] && r.byName[local[i].Name] == nil {
			return false, nil // what is missing may be in it
		}
	}
	for _, f := range r.folders {
		if f.failed != nil {
			continue
		}
		now := locals[f.name]
		if (now == nil) != (f.local == nil) || (now != nil && !now.Mark.Equal(f.local.Mark)) {
			return false, nil
		}
		if now != nil && f.scanned != nil && f.scanned.Mark.Racy {
			// Its times are too young to show a change: compare the names.
			scan, err := r.md.Scan(ctx, f.name, nil)
			if err != nil {
				r.log.Debug("a folder can't be read again", "folder", f.name, "error", err)
				return false, context.Cause(ctx)
			}
			if scan.Names != f.scanned.Names {
				return false, nil
			}
		}
	}
	return true, nil
}

// dropUnsureFiles leaves new files out of a plan if the Maildir changed while it was read: a file that is new in one
// folder may have come from another that was read before it went. Nor is it taken for the server's new message that is the same, for
// that reason, or if the server changed, because that may have come from another mailbox; nor is it left on the one side that has it by a mode
// that takes moves back. If it never rests, it is done all the same.
func (r *run) dropUnsureFiles(ctx context.Context, p *plan.Plan) error {
	isPairing := func(op plan.Op) bool {
		return op.Row == 0 && (op.Kind == plan.Pairing || op.Kind == plan.Park && op.Why == plan.OneWay)
	}
	isNew := func(op plan.Op) bool { return op.Kind == plan.Upload && op.Row == 0 || isPairing(op) }
	if r.passes == maxPasses || !slices.ContainsFunc(p.Ops, isNew) {
		return nil
	}
	if r.anyAgreed() && slices.ContainsFunc(p.Ops, isPairing) {
		stable, err := r.stable(ctx)
		if err != nil {
			return err
		}
		if !stable {
			r.log.Debug("something changed while it was read: new messages that both sides have wait for another look")
			r.again = true
			r.postpone(p, isPairing)
		}
	}
	local, _, err := r.md.Folders()
	if err != nil {
		return fmt.Errorf("reading the Maildir: %w", err)
	}
	if same, err := r.sameLocals(ctx, local); same || err != nil {
		return err
	}
	r.log.Debug("the Maildir changed while it was read: new files wait for another look")
	r.again = true
	r.postpone(p, isNew)
	return nil
}

// anyAgreed reports whether there were messages on both sides before this run.
func (r *run) anyAgreed() bool {
	return slices.ContainsFunc(r.folders, func(f *folder) bool { return f.base.UIDNext != 0 })
}

// dropUnsure leaves new messages out of a plan when a folder or a message can't be read: it may be what one of the new ones was
// before, which would then be there twice. So it may be one whose place was lost with its folder. What can't be read is not set apart
// yet either, because that forgets what both sides had agreed on. Often it can be read a moment later; what can't be then either is
// waited for no more.
func (r *run) dropUnsure(ctx context.Context, p *plan.Plan) {
	isUnreadable := func(op plan.Op) bool {
		return op.Kind == plan.Park && op.Why.Retried() && (op.Row == 0 || r.isAgreed(op.Row))
	}
	isNew := func(op plan.Op) bool {
		switch op.Kind {
		case plan.Upload, plan.Download, plan.Pairing:
			return op.Row == 0 || r.isLost(op)
		case plan.Park:
			return op.Row == 0 && !op.Why.Retried()
		}
		return false
	}
	waits := func(op plan.Op) bool { return isNew(op) || isUnreadable(op) }
	if r.waited || r.passes == maxPasses || !slices.ContainsFunc(p.Ops, waits) {
		return
	}
	if !r.unanswered && !slices.ContainsFunc(p.Ops, isUnreadable) && r.unread(ctx) == "" {
		return
	}
	r.log.Debug("something can't be read: it waits for another look, and so do new messages")
	r.again, r.waited = true, true
	r.postpone(p, waits)
}

// isLost reports whether an operation transfers a message again that nobody deleted, because what the state calls it means nothing any more.
func (r *run) isLost(op plan.Op) bool {
	p := r.pairOf(op.Row)
	return p != nil && (op.Kind == plan.Upload && p.Remote == plan.Lost || op.Kind == plan.Download && p.Local == plan.Lost)
}

// isAgreed reports whether a row's message was on both sides.
func (r *run) isAgreed(row int64) bool {
	for _, f := range r.folders {
		if p := f.pairs[row]; p != nil {
			return p.Why == plan.Agreed
		}
	}
	return false
}

// endLateMoves finds messages that left a mailbox after that was read, and came to another one before that was: they were delivered as
// new, and are missing where they were. If the file was moved meanwhile it is not stored once more, but goes: the server's folder counts.
// A file that stayed in its folder is stored again for another reason, and is kept.
func (r *run) endLateMoves(p *plan.Plan) {
	if r.set.Policy.Mode != plan.TwoWay {
		return
	}
	for i := range p.Ops {
		op := &p.Ops[i]
		if op.Kind != plan.Upload || !r.presumed(*op) {
			continue
		}
		for _, f := range r.folders {
			if row := f.pairs[op.Row]; row != nil && row.Remote == plan.Gone && f.name != op.Folder && r.came[row.Digest] > 0 {
				r.came[row.Digest]--
				*op = plan.Op{Kind: plan.Delete, Side: plan.Maildir, Folder: op.Folder, Row: op.Row, Name: op.Name, Reason: "moved on both sides: it came from the server's folder"}
			}
		}
	}
}

// unread returns a folder that could not be read, or not wholly, in this pass and may have messages, empty if there is none. What is missing
// elsewhere may have moved there.
func (r *run) unread(ctx context.Context) mail.FolderName {
	for _, f := range r.folders {
		if f.suspects {
			return f.name
		}
		if f.failed == nil {
			continue
		}
		if f.base.UIDNext != 0 || len(f.base.LocalMark) > 0 || r.holdsMail(f) || f.local != nil && r.holdsFiles(ctx, f) {
			return f.name
		}
	}
	return r.hidden
}

// holdsMail reports whether there is any message in a mailbox. One of which the server says nothing may have some at the first look;
// if it stays silent, as it does about mailboxes that the person has no right to read, it does not hold up everything for good.
func (r *run) holdsMail(f *folder) bool {
	if f.remote != nil && f.remote.Status != nil {
		return f.remote.Status.Messages > 0
	}
	return f.remote != nil && r.passes == 1
}

// holdsFiles reports whether there is any message in a folder of the Maildir, as far as anybody can tell.
func (r *run) holdsFiles(ctx context.Context, f *folder) bool {
	scan, err := r.md.Scan(ctx, f.local.Name, nil)
	return err != nil || scan.Count > 0
}

// dropUndurable makes durable what was found in the Maildir and is about to be taken for agreed, whoever did it, a run that was killed for
// one: the files that both sides turn out to have, for the reason that syncSources has, that others are gone, or are elsewhere, or have other
// flags. What a power failure takes back later would look like somebody's act: a file that is there again, once its row is forgotten, like a new
// message. It leaves out of a plan the folders in which that fails. Rows are not forgotten then: those that would have to make
// room may be those folders'. Nor is a new message left where it is.
func (r *run) dropUndurable(p *plan.Plan) {
	names := map[mail.FolderName][]string{} // of those that are there; none where only some are gone
	var gone []mail.FolderName              // whole folders
	sync := func(folder mail.FolderName, base ...string) {
		switch f := r.byName[folder]; {
		case f != nil && f.local != nil:
			names[folder] = append(names[folder], base...)
		case f != nil && f.base.OnDisk && !slices.Contains(gone, folder):
			gone = append(gone, folder)
		}
	}
	for i := range p.Ops {
		op := &p.Ops[i]
		switch {
		case op.Name != "" && (op.Kind == plan.Pairing || op.Kind == plan.Rebind):
			sync(op.Folder, op.Name)
		case op.Trash:
			sync(op.From)
		case op.Kind == plan.Move && op.Side == plan.Server,
			op.Kind == plan.SetFlags && (op.Side == plan.Server || op.Add.IsZero() && op.Remove.IsZero()):
			sync(op.Folder)
		case op.Kind == plan.Forget, op.Kind == plan.Delete && op.Side == plan.Server && !op.Kept && !op.Expunge:
			sync(op.Folder)
		}
	}
	failed := map[mail.FolderName]bool{}
	for _, folder := range slices.Sorted(maps.Keys(names)) {
		switch err := r.md.SyncMessages(folder, names[folder]); {
		case err == nil:
			continue
		case errors.Is(err, maildir.ErrNoFolder) && r.passes < maxPasses:
			r.soil(r.byName[folder]) // it went away just now
			r.lookAgain()
		default:
			r.failFolder(r.byName[folder], err)
		}
		failed[folder] = true
	}
	if err := r.md.SyncFolders(gone); err != nil {
		for _, folder := range gone {
			r.failFolder(r.byName[folder], err)
			failed[folder] = true
		}
	}
	if len(failed) > 0 {
		p.Ops = slices.DeleteFunc(p.Ops, func(op plan.Op) bool {
			drop := settlesPlaces(op) || failed[op.Folder] || failed[op.From]
			if f := r.byName[op.Folder]; drop && f != nil {
				r.soil(f)
			}
			return drop
		})
	}
}
