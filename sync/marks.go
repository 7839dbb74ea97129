package sync

import (
	"context"
	"errors"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// manyChanges of one folder take longer to watch than reading its names in the next run does.
const manyChanges = 2000

// witness has the Maildir watch the folders that operations are about to change.
func (r *run) witness(ops []plan.Op) {
	changes := map[mail.FolderName]int{}
	for i := range ops {
		if ops[i].Side == plan.Maildir {
			changes[ops[i].Folder]++
			changes[ops[i].From]++
		}
	}
	for _, f := range r.folders {
		if f.local == nil || f.changing || changes[f.name] == 0 {
			continue
		}
		f.changing = true
		if changes[f.name] > manyChanges {
			continue
		}
		mark := f.local.Mark
		if f.scanned != nil {
			mark = maildir.Mark{}
			if f.scanned.Quiet {
				mark = f.scanned.Mark
			}
		}
		f.witnessed = r.md.Witness(f.name, mark)
	}
}

// manyRows: it takes longer to read the names of a folder with more than so many messages in the next run than to wait, in this
// one, until its times are telling.
const manyRows = 5000

// vouched returns the marks of folders that nobody but this run changed, as they are now.
func (r *run) vouched(ctx context.Context) (map[*folder]maildir.Mark, error) {
	marks := map[*folder]maildir.Mark{}
	for _, f := range r.folders {
		if !f.witnessed || f.failed != nil || f.dirty || f.surprised || f.unlisted {
			continue
		}
		var c state.Counts
		err := r.view(ctx, func(tx *state.Tx) (err error) { c, err = tx.Counts(f.base.ID); return err })
		if err != nil {
			return nil, err
		}
		if m, ok := r.md.Vouch(ctx, f.name, r.opt.Patient || c.Agreed > manyRows); ok {
			marks[f] = m
		}
	}
	return marks, nil
}

// markFolders prepares the record of up to where each folder was read, if all that was read has been dealt with. That of the last pass
// is committed together with how the run went.
func (r *run) markFolders(ctx context.Context) error {
	filter := r.filter()
	vouched, err := r.vouched(ctx)
	if err != nil {
		return err
	}
	r.offered()
	r.marks = func(tx *state.Tx) error {
		for _, f := range r.folders {
			if f.failed != nil || f.base.ID == 0 {
				continue
			}
			base, err := tx.Folder(f.base.ID)
			if errors.Is(err, state.ErrNotFound) {
				continue // it was deleted in this run
			}
			if err != nil {
				return err
			}
			if f.local == nil && f.remote == nil && !f.dirty && f.target {
				rows, err := tx.InFolder(base.ID)
				if err == nil && len(rows) == 0 {
					err = forgetFolder(tx, base.ID) // gone on both sides
				}
				if err != nil {
					return err
				}
				continue
			}
			if err := r.noteAllFlags(tx, f); err != nil {
				return err
			}
			was := base
			if f.local != nil {
				base.OnDisk = true
				// A directory that was replaced is known as the folder's only once it was compared, if there is something to compare.
				if base.Inode == 0 || f.target && f.readLocal && !f.dirty || r.merge && !f.target {
					base.Inode = f.local.Inode
				}
			}
			if f.unlisted {
				base.LocalMark = nil
			}
			if f.doubted {
				base.HighestModSeq, base.LocalMark, base.Filter = 0, nil, ""
			}
			// A folder that was only looked into for the sake of others keeps its marks: nothing was done about
			// what was found in it.
			if !f.dirty && f.target {
				if f.readRemote {
					s := f.selected
					base.UIDValidity, base.UIDNext, base.HighestModSeq, base.Exists = s.UIDValidity, s.UIDNext, s.HighestModSeq, s.Messages
				}
				if s := f.selected; s != nil {
					base.ReadOnly, base.Permanent, base.AnyKeyword, base.PermanentKnown = s.ReadOnly, s.Permanent, s.AnyKeyword, s.PermanentKnown
				}
				if base.LocalMark, err = f.localMark(base.LocalMark, vouched); err != nil {
					return err
				}
				base.Filter = filter
			}
			base.LastSync = r.now()
			if equalFolders(was, base) {
				continue
			}
			if err := tx.PutFolder(&base); err != nil {
				return err
			}
			f.base = base
		}
		return nil
	}
	return nil
}

// commitMarks commits what markFolders has prepared.
func (r *run) commitMarks(ctx context.Context) error {
	marks := r.marks
	r.marks = nil
	return r.update(ctx, marks)
}

// localMark is what the folder's mark becomes: with no reading it stays as it was, and with one it is of the time before that, unless
// somebody vouches for a later one.
func (f *folder) localMark(was []byte, vouched map[*folder]maildir.Mark) ([]byte, error) {
	if f.unlisted {
		return nil, nil
	}
	if m, ok := vouched[f]; ok {
		return m.MarshalBinary()
	}
	if !f.readLocal {
		return was, nil
	}
	if f.scanned.Mark.Racy {
		return nil, nil
	}
	return f.scanned.Mark.MarshalBinary()
}

// equalFolders compares all but the time, so that an idle run writes nothing.
func equalFolders(a, b state.Folder) bool {
	return a.Name == b.Name && a.Mailbox == b.Mailbox && a.OnDisk == b.OnDisk && a.UIDValidity == b.UIDValidity &&
		a.MailboxID == b.MailboxID && a.Inode == b.Inode && a.UIDNext == b.UIDNext && a.HighestModSeq == b.HighestModSeq &&
		a.Exists == b.Exists && slices.Equal(a.LocalMark, b.LocalMark) && a.Filter == b.Filter && a.ReadOnly == b.ReadOnly &&
		a.Permanent.Equal(b.Permanent) && a.AnyKeyword == b.AnyKeyword && a.PermanentKnown == b.PermanentKnown
}
