package sync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/state"
)

// settleLocal finishes or forgets what a stopped run had begun in the Maildir. A message is recognised by its
// base name, wherever the person may have moved it meanwhile.
func (r *run) settleLocal(ctx context.Context) error {
	r.unsettled = nil
	intents, err := r.intents(ctx, state.Deliver, state.MoveLocal)
	if err != nil || len(intents) == 0 {
		return err
	}
	r.log.Info("finishing what a stopped run had begun", "intents", len(intents))
	names := make([]string, len(intents))
	for i := range intents {
		names[i] = intents[i].Message.Name
	}
	found, unread := r.md.FindAll(ctx, names)
	if missing := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return len(found[n]) > 0 }); len(missing) > 0 && unread == nil {
		// Somebody may have moved it meanwhile, to a folder that was read already.
		var again map[string][]mail.FolderName
		again, unread = r.md.FindAll(ctx, missing)
		maps.Copy(found, again)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	folders, err := r.folderNames(ctx)
	if err != nil {
		return err
	}
	files := make([]fileOfIntent, 0, len(intents))
	durable := map[mail.FolderName]error{}
	for i := range intents {
		file, err := fileOfIntent{in: &intents[i]}, unread
		if at := found[names[i]]; len(at) > 0 {
			if file.at, err = r.placeOf(ctx, file.in, at, folders); err == nil {
				err = r.makeDurable(file.at, durable)
			}
			if err == nil && file.in.Kind == state.MoveLocal {
				var lost mail.Flags
				lost, err = r.md.Letterless(file.at, file.in.Message.LocalFlags)
				file.in.Message.LocalFlags = file.in.Message.LocalFlags.Minus(lost)
			}
		}
		if err != nil {
			r.leaveUnsettled(file.in, err)
			continue
		}
		files = append(files, file)
	}
	if err := r.md.Flush(); err != nil {
		return fmt.Errorf("making moves durable that a stopped run had begun: %w", err)
	}
	const batch = 1000
	for chunk := range slices.Chunk(files, batch) {
		err := r.update(ctx, func(tx *state.Tx) error {
			for _, file := range chunk {
				if file.at != "" {
					if err := settleFile(tx, *file.in, file.at); err != nil {
						return err
					}
				}
				if err := tx.DeleteIntent(file.in.ID); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fileOfIntent is the folder that the file of an intent is in, empty if it is in none.
type fileOfIntent struct {
	in *state.Intent
	at mail.FolderName
}

// folderNames are the names of the folders that the state has, by ID.
func (r *run) folderNames(ctx context.Context) (map[int64]mail.FolderName, error) {
	names := map[int64]mail.FolderName{}
	err := r.view(ctx, func(tx *state.Tx) error {
		folders, err := tx.Folders()
		for _, f := range folders {
			names[f.ID] = f.Name
		}
		return err
	})
	return names, err
}

// placeOf is the folder that the file of an intent is in, of those that have one of its name. A move puts the file into its new folder
// before it takes it out of the old one.
func (r *run) placeOf(ctx context.Context, in *state.Intent, at []mail.FolderName, folders map[int64]mail.FolderName) (mail.FolderName, error) {
	from, to := folders[in.Message.Folder], folders[in.To]
	if in.Kind != state.MoveLocal || from == to || !slices.Contains(at, to) {
		return at[0], nil
	}
	if !slices.Contains(at, from) {
		return to, nil
	}
	finished, err := r.md.FinishMove(ctx, from, in.Message.Name, to)
	if err == nil && finished {
		return to, nil
	}
	return from, err // the other one is somebody's own
}

// makeDurable makes the names in a folder durable, once: the stopped run may have named a file, and not come to it.
func (r *run) makeDurable(name mail.FolderName, done map[mail.FolderName]error) error {
	err, ok := done[name]
	if !ok {
		err = r.md.SyncFolder(name)
		done[name] = err
	}
	return err
}

// leaveUnsettled leaves an intent to the next run, and its folders with it: what became of its message is not known.
func (r *run) leaveUnsettled(in *state.Intent, err error) {
	if r.unsettled == nil {
		r.unsettled = map[int64]error{}
	}
	err = fmt.Errorf("finding out what became of the message file %s, which a stopped run left on its way: %w", in.Message.Name, err)
	for _, id := range []int64{in.Message.Folder, in.To} {
		if r.unsettled[id] == nil {
			r.unsettled[id] = err
		}
	}
}

// leaveUnsettledFolders takes them out of this pass.
func (r *run) leaveUnsettledFolders() {
	for _, f := range r.folders {
		if err := r.unsettled[f.base.ID]; err != nil && f.base.ID != 0 {
			r.failFolder(f, err)
		}
	}
}

func settleFile(tx *state.Tx, in state.Intent, name mail.FolderName) error {
	if in.Kind == state.MoveLocal {
		m, err := tx.Message(in.Message.ID)
		if errors.Is(err, state.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		f, ok, err := tx.FolderByName(name)
		if err != nil || !ok || f.ID != in.To || m.Folder == in.To {
			return err
		}
		to := &folder{base: f}
		m.Name = in.Message.Name // which the row has not if its halves were apart
		if other, err := claimed(tx, to, in.Message.UID, m.Name, m.ID); other || err != nil {
			return err // the file that bears the name there is another message's: the comparison finds out
		}
		if err := clearParked(tx, to.base.ID, in.Message.UID, m.Name, m.ID); err != nil {
			return err
		}
		if err := clearParked(tx, in.Message.Folder, 0, m.Name, m.ID); err != nil {
			return err
		}
		m.Folder, m.UID, m.RemoteFlags, m.RemoteSize, m.EmailID = in.To, in.Message.UID, in.Message.RemoteFlags, in.Message.RemoteSize, in.Message.EmailID
		m.Date = in.Message.Date
		m.LocalFlags = in.Message.LocalFlags // what both sides agreed on, without those that waited for a read-only mailbox
		m.RemoteHeld, m.LocalHeld, m.Why, m.Text, m.Guarded = false, false, "", "", in.Message.Guarded
		return tx.PutMessage(&m)
	}
	// A delivery. The row is made with the folder that it was delivered to: if the file lies elsewhere by now,
	// the comparison that follows sees a move.
	row := in.Message
	if row.ID != 0 {
		if _, err := tx.Message(row.ID); errors.Is(err, state.ErrNotFound) {
			row.ID = 0
		} else if err != nil {
			return err
		}
	}
	f, err := tx.Folder(row.Folder)
	if errors.Is(err, state.ErrNotFound) || (err == nil && f.UIDValidity != 0 && in.UIDValidity != 0 && f.UIDValidity != in.UIDValidity) {
		return nil // the file is a message like any other now, and paired by content
	}
	if err != nil {
		return err
	}
	to := &folder{base: f}
	if other, err := claimed(tx, to, row.UID, row.Name, row.ID); other || err != nil {
		return err // already recorded, or paired with another message since
	}
	if err := clearParked(tx, to.base.ID, row.UID, row.Name, row.ID); err != nil {
		return err
	}
	return tx.PutMessage(&row)
}
