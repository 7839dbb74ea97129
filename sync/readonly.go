package sync

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// What has to wait because a mailbox is read-only. Nothing tells that it takes changes again but to open it.

// openMailboxes opens mailboxes that are to be changed, each once, and reports whether one is read-only, or takes changes, and the planner did not
// know that. It does now.
func (r *run) openMailboxes(ctx context.Context, names iter.Seq[mail.FolderName], folders []plan.Folder) (changed bool, err error) {
	for name := range names {
		f := r.byName[name]
		if f == nil || f.remote == nil || f.selected != nil || f.failed != nil {
			continue
		}
		if _, err := r.selectedOf(ctx, f); err != nil {
			if !r.ofFolder(ctx, err) {
				return changed, err
			}
			r.failFolder(f, fmt.Errorf("opening the mailbox: %w", err))
			continue
		}
		for i := range folders {
			if folders[i].Name == name && folders[i].RemoteReadOnly != f.selected.ReadOnly {
				folders[i].RemoteReadOnly, changed = f.selected.ReadOnly, true
			}
		}
	}
	return changed, nil
}

// noteReadOnly has the state know which mailboxes turned out to be read-only before it learns flags that wait for them.
func (r *run) noteReadOnly(ctx context.Context) error {
	for _, f := range r.folders {
		if f.base.ID == 0 || f.base.ReadOnly || !f.readOnly() {
			continue
		}
		f.base.ReadOnly = true
		err := r.update(ctx, func(tx *state.Tx) error {
			base, err := tx.Folder(f.base.ID)
			if err != nil {
				return err
			}
			base.ReadOnly = true
			return tx.PutFolder(&base)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// gatherWithheld finds out whether flags wait for the mailbox to be no longer read-only, of which its marks say nothing.
func (r *run) gatherWithheld(ctx context.Context, f *folder) error {
	if !f.base.ReadOnly {
		return nil
	}
	return r.view(ctx, func(tx *state.Tx) error {
		c, err := tx.Counts(f.base.ID)
		if f.withholds = c.KeptBack > 0; err != nil || f.withholds || c.OnlyLocal == 0 {
			return err
		}
		// Nor is one counted as kept back that has no UID at present.
		return eachIn(tx, f, func(m state.Message) {
			f.withholds = f.withholds || m.UID == 0 && m.Name != "" && m.Why == "" && !m.RemoteFlags.Equal(m.LocalFlags)
		})
	})
}

// agreedFlags are the flags of a row in the Maildir when both sides agreed on them last. While the mailbox is read-only what changes there is
// noted, and is still to be carried over. But a keyword that only the server has is one that the Maildir has no letter for, see
// plan.Op.
func (f *folder) agreedFlags(m *state.Message) mail.Flags {
	if !f.withholds || m.Why != "" || m.Name == "" {
		return m.LocalFlags
	}
	system := mail.SystemFlags(m.RemoteFlags.System())
	return m.LocalFlags.And(m.RemoteFlags).Plus(system)
}

// halvesApart reports whether what waits in one of the folders may be what is missing in another one, because a mailbox takes no changes.
func (r *run) halvesApart(ctx context.Context, folders []*folder) (apart bool, err error) {
	if !slices.ContainsFunc(folders, func(f *folder) bool {
		return slices.ContainsFunc(f.localNew, func(m plan.LocalMessage) bool { return m.Row != 0 })
	}) {
		return false, nil
	}
	err = r.view(ctx, func(tx *state.Tx) error {
		for _, f := range r.folders {
			c, err := tx.Counts(f.base.ID)
			if err != nil {
				return err
			}
			apart = apart || c.Why[string(plan.ReadOnly)] > 0
		}
		return nil
	})
	return apart, err
}

// waits reports whether something that was deleted or moved in the Maildir waits for a mailbox to take changes.
func (f *folder) waits() bool {
	for _, p := range f.pairs {
		if p.Waits {
			return true
		}
	}
	return false
}

// gatherHalves adds what is parked in the Maildir for another reason: it may be what was moved there.
func (r *run) gatherHalves(ctx context.Context, f *folder) error {
	if f.base.ID == 0 {
		return nil
	}
	var parked []state.Message
	err := r.view(ctx, func(tx *state.Tx) (err error) {
		parked, err = tx.Parked(f.base.ID, string(plan.TooLarge), string(plan.TooOld), string(plan.OverUpload))
		return err
	})
	if err != nil {
		return err
	}
	carried := map[int64]bool{}
	for i := range f.localNew {
		carried[f.localNew[i].Row] = true
	}
	return r.gatherAgain(ctx, f, slices.DeleteFunc(parked, func(m state.Message) bool { return m.UID != 0 || carried[m.ID] }))
}
