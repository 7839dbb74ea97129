package sync

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/satchel-mail/satchel/state"
)

// allFlagsEvery is how long a server is believed that what it tells since a mark are all flags that changed. Some forget to count a change.
const allFlagsEvery = 7 * 24 * time.Hour

// allFlagsKey is where the state keeps when all flags of a folder's mailbox were read last.
func allFlagsKey(folder int64) string { return "all-flags:" + strconv.FormatInt(folder, 10) }

// wantsAllFlags reports whether a mailbox that is about to be read because something happened in it is to tell all its flags. That is so for one
// mailbox in a run at most, and never for one that is not read anyway: a sync that finds nothing costs what it did.
func (r *run) wantsAllFlags(ctx context.Context, f *folder) (bool, error) {
	if f.base.HighestModSeq == 0 || r.opt.DryRun {
		return false, nil
	}
	var was string
	if err := r.view(ctx, func(tx *state.Tx) (err error) { was, _, err = tx.Get(allFlagsKey(f.base.ID)); return err }); err != nil {
		return false, err
	}
	at, err := strconv.ParseInt(was, 10, 64)
	if err != nil {
		f.allFlags = true // they were read when it was new; the time is counted from now on
		return false, nil
	}
	if age := r.now().Sub(time.Unix(at, 0)); age >= 0 && age < allFlagsEvery {
		return false, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hadAllFlags {
		return false, nil
	}
	r.hadAllFlags, f.allFlags = true, true
	return true, nil
}

// noteAllFlags records when all flags were read, also if not all that was found could be dealt with: a folder in which something always fails
// would read them in each run, and no other could.
func (r *run) noteAllFlags(tx *state.Tx, f *folder) error {
	if !f.allFlags || !f.readRemote {
		return nil
	}
	return tx.Set(allFlagsKey(f.base.ID), strconv.FormatInt(r.now().Unix(), 10))
}

// forgetFolder takes a folder out of the state, and when its flags were read: another one may get its number.
func forgetFolder(tx *state.Tx, id int64) error {
	return errors.Join(tx.DeleteFolder(id), tx.Set(allFlagsKey(id), ""))
}
