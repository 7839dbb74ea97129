package sync

import (
	"context"
	"errors"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// Several folders can change names with each other, in steps that build on one another. If one fails, or a folder can't be looked into, those that have to
// do with it keep the names that they have and are left alone, or they would be taken for new ones under each other's names.

var errStuck = errors.New("its new name, or that of a folder which it has to do with, could not be settled: left alone in this run, the next one goes on")

// stick notes names of folders that have to wait.
func (r *run) stick(names ...mail.FolderName) {
	for _, n := range names {
		if n != "" && !slices.Contains(r.stuck, n) {
			r.stuck = append(r.stuck, n)
		}
	}
}

// waitsForNames reports whether an operation has to do with a folder that has to wait.
func (r *run) waitsForNames(op plan.FolderOp) bool {
	return slices.ContainsFunc(r.stuck, func(n mail.FolderName) bool {
		return slices.ContainsFunc([]mail.FolderName{op.From, op.Folder}, func(x mail.FolderName) bool {
			return x != "" && (x == n || x.Under(n) || n.Under(x))
		})
	})
}

// stickRename has all wait that has to do with a folder that was to be renamed.
func (r *run) stickRename(ctx context.Context, op plan.FolderOp) {
	r.stick(op.From, op.Folder)
	if op.Kind == plan.CreateFolder {
		return
	}
	_ = r.view(ctx, func(tx *state.Tx) error { // without its name there, what else is to be done tells
		f, err := tx.Folder(op.Base)
		r.stick(f.Name)
		return err
	})
}

// stickHidden has those wait that the server has under other names by now, and that nobody can look into in the Maildir.
func (r *run) stickHidden(t *trees) {
	if len(t.hidden) == 0 {
		return
	}
	unknown := slices.ContainsFunc(t.hidden, func(h mail.FolderName) bool {
		return !slices.ContainsFunc(t.base, func(b state.Folder) bool { return b.Name == h })
	})
	for _, b := range t.base {
		missing := b.OnDisk && !slices.ContainsFunc(t.local, func(l maildir.Folder) bool {
			return l.Name == b.Name || l.Inode != 0 && l.Inode == b.Inode
		})
		if !t.isHidden(b.Name) && !(unknown && missing) {
			continue
		}
		for i := range t.boxes {
			box := &t.boxes[i]
			if name, err := r.names.local(*box); err == nil && name != b.Name && t.mayBe(b, box) {
				r.stick(b.Name, name)
			}
		}
	}
}

// mayBe reports whether a mailbox may be the one of a folder, under another name.
func (t *trees) mayBe(b state.Folder, box *remote.Mailbox) bool {
	switch {
	case box.Status == nil || box.Name == b.Mailbox:
		return false
	case b.MailboxID != "" && box.Status.MailboxID != "":
		return b.MailboxID == box.Status.MailboxID
	case b.UIDValidity == 0 || b.UIDValidity != box.Status.UIDValidity:
		return false
	}
	return !slices.ContainsFunc(t.base, func(o state.Folder) bool { return o.Mailbox == box.Name && o.UIDValidity == box.Status.UIDValidity })
}

// leaveStuck leaves the folders out that have to wait.
func (r *run) leaveStuck() {
	for _, f := range r.folders {
		if r.isStuck(f.name) {
			r.failFolder(f, errStuck)
		}
	}
}

func (r *run) isStuck(name mail.FolderName) bool {
	return slices.ContainsFunc(r.stuck, func(n mail.FolderName) bool { return name == n || name.Under(n) })
}
