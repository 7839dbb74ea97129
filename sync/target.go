package sync

import (
	"context"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// What a sync of some folders only must know of the others, so that it tears nothing apart that was moved: see Options.Targets.

// gatherChanged reads those of some folders that are not what they were when they were last read, by what is known without reading them, or in which something waits
// that may be what came elsewhere; of those that were never synchronised as a whole only the files, if one is looked for and no message went that is known there.
func (r *run) gatherChanged(ctx context.Context, folders []*folder) error {
	var changed, unknown, part []*folder
	err := r.view(ctx, func(tx *state.Tx) error {
		held, err := tx.Held()
		if err != nil {
			return err
		}
		holds := map[int64]bool{}
		for i := range held {
			holds[held[i].Folder] = true
		}
		for _, f := range folders {
			c, err := tx.Counts(f.base.ID)
			if err != nil {
				return err
			}
			same := f.local == nil && !f.base.OnDisk || f.local != nil && r.sameLocal(f.base, f.local)
			waits := c.Why[string(plan.Unreadable)]+c.Why[string(plan.ReadOnly)] > 0 || holds[f.base.ID]
			f.unmoved = f.sameStatus()
			switch known := f.base.UIDNext != 0 || c.OnlyRemote+c.OnlyLocal > 0; {
			case known && !(same && f.unmoved && !waits):
				changed = append(changed, f)
			case !known && c.Agreed > 0:
				part = append(part, f)
			case !known && !same && f.local != nil:
				unknown = append(unknown, f)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	lost := make([]bool, len(part))
	err = r.workers(ctx, part, func(ctx context.Context, f *folder) (err error) {
		lost[slices.Index(part, f)], err = r.lostKnown(ctx, f)
		return err
	})
	for i, f := range part {
		switch {
		case lost[i]:
			changed = append(changed, f)
		case f.local != nil && !r.sameLocal(f.base, f.local):
			unknown = append(unknown, f)
		}
	}
	if err == nil {
		err = r.gatherAll(ctx, changed)
	}
	if err != nil || !slices.ContainsFunc(r.folders, (*folder).lacksFiles) {
		return err
	}
	return r.workers(ctx, unknown, func(ctx context.Context, f *folder) error {
		if f.listed == nil {
			f.listed = r.beginListing(ctx, f.base.ID, f.local.Name)
		}
		return r.gatherLocal(ctx, f)
	})
}

// lostKnown reports whether a mailbox that was never read as a whole lacks a message that came to it from another one, or one whose UID is not known at present.
func (r *run) lostKnown(ctx context.Context, f *folder) (lost bool, err error) {
	var uids mail.UIDSet
	err = r.eachRow(ctx, f, func(m state.Message) {
		if lost = lost || m.UID == 0; m.UID != 0 {
			uids.Add(m.UID)
		}
	})
	if err != nil || lost || f.remote == nil || f.lostRemote || r.merge {
		return true, err
	}
	st, err := r.statusOf(ctx, f)
	if err != nil {
		return true, err
	}
	err = r.pool.reading(ctx, func(s remote.Session) error {
		gone, err := goneFrom(ctx, s, remote.Box{Name: f.mailbox, UIDValidity: st.UIDValidity}, uids)
		lost = !gone.IsEmpty()
		return err
	})
	return lost, err
}

// brings reports whether something is new in a folder, or is tried again.
func (f *folder) brings() bool { return len(f.remoteNew)+len(f.localNew) > 0 }

// lacksFiles reports whether a file is missing in a folder.
func (f *folder) lacksFiles() bool {
	for _, p := range f.pairs {
		if p.Local == plan.Gone || p.Local == plan.Lost {
			return true
		}
	}
	return false
}

// dropLateComers leaves new messages out of a plan for some folders only if they came after the mailboxes were listed: of the other folders it is not
// known then which ones they may have come from. So it is if something changed in one of those, and what the server listed is not so any more: it may have
// answered for one before a message was moved, and for the other after that. If it never rests, it is done all the same.
func (r *run) dropLateComers(ctx context.Context, p *plan.Plan) error {
	isNew := func(op plan.Op) bool {
		return op.Row == 0 && (op.Kind == plan.Download || op.Kind == plan.Pairing || op.Kind == plan.Park)
	}
	if len(r.opt.Targets) == 0 || r.passes == maxPasses || !slices.ContainsFunc(p.Ops, isNew) {
		return nil
	}
	late := slices.ContainsFunc(r.folders, func(f *folder) bool {
		return f.target && f.readRemote && f.remote != nil && f.remote.Status != nil && f.remote.Status.UIDNext != 0 && f.remote.Status.UIDNext != f.selected.UIDNext
	})
	if !late && slices.ContainsFunc(r.folders, func(f *folder) bool { return !f.target && len(f.pairs) > 0 }) {
		stable, err := r.stable(ctx)
		if err != nil {
			return err
		}
		late = !stable
	}
	if !late {
		return nil
	}
	r.log.Debug("a message came while it was read: new messages wait for another look")
	r.again = true
	r.postpone(p, isNew)
	return nil
}
