package sync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
)

// StatePathOrDefault is where the account's state database lies.
func (s Settings) StatePathOrDefault() string {
	if s.StatePath != "" {
		return s.StatePath
	}
	return filepath.Join(s.Root, stateName)
}

// stateName is the state database's name in the Maildir's root.
const stateName = ".satchel.db"

// open locks the account and opens the local side. A dry run opens it for looking only.
func (r *run) open(ctx context.Context) error {
	if r.opt.DryRun {
		r.foresees = true
		if err := r.openReading(ctx); err != nil {
			return err
		}
		replaced, err := r.rootReplaced(ctx)
		if err != nil {
			r.close()
			return err
		}
		r.mergeIf(r.db.Copied() || r.opt.Rebind || replaced)
		return nil
	}
	if err := r.rootGone(); err != nil {
		return r.setupError(err)
	}
	md, err := maildir.Open(r.set.Root, r.set.Layout, r.w.Maildir)
	if err != nil {
		return r.setupError(err)
	}
	if err := md.Lock(); err != nil {
		_ = md.Close()
		if errors.Is(err, maildir.ErrLocked) {
			return fmt.Errorf("%w: %w", ErrLocked, err)
		}
		return r.setupError(err)
	}
	if !r.w.Serial {
		r.pool.start(ctx) // which takes longer than all that is done before a session is needed
	}
	db, err := r.openState(ctx, r.stateIsLocal(md))
	if err != nil {
		r.pool.close()
		_ = md.Close()
		return r.setupError(err)
	}
	r.md, r.db = md, db
	replaced, err := r.rootReplaced(ctx)
	if err != nil {
		r.close()
		return err
	}
	r.mergeIf(db.Copied() || r.opt.Rebind || replaced)
	return nil
}

// stateIsLocal reports whether the state database lies on a local file system.
func (r *run) stateIsLocal(md *maildir.Store) bool {
	if r.set.StatePath == "" || filepath.Dir(r.set.StatePath) == filepath.Clean(r.set.Root) {
		return md.Local()
	}
	dir, err := maildir.OSFS(filepath.Dir(r.set.StatePath))
	if err != nil {
		return false // which is safe anywhere; opening the database will say more
	}
	defer func() { _ = dir.Close() }()
	return dir.Kind().Local
}

// openState opens the state for writing. One that is damaged is set aside first.
func (r *run) openState(ctx context.Context, local bool) (*state.DB, error) {
	o := state.Options{Owner: r.set.Owner, Rebind: r.opt.Rebind, LocalFS: local, Commit: r.w.Commit, Now: r.now, Kept: r.w.State}
	db, err := state.Open(ctx, r.set.StatePathOrDefault(), o)
	if !errors.Is(err, state.ErrCorrupt) {
		return db, err
	}
	if err := r.setAside(err); err != nil {
		return nil, err
	}
	return state.Open(ctx, r.set.StatePathOrDefault(), o)
}

// setAside moves the damaged state database, which is closed, out of the way. Without one there is no base, and what has no base
// is compared and never removed.
func (r *run) setAside(damage error) error {
	if err := r.maySetAside(damage); err != nil {
		return err
	}
	aside, err := state.SetAside(r.set.StatePathOrDefault(), r.now())
	if err != nil {
		return errors.Join(damage, err)
	}
	r.log.Warn("the state database is damaged", "error", damage, "aside", aside)
	r.warn("the state database was damaged and is now %s; a new one was made by comparing both sides, and nothing was deleted on either. "+
		"Deletions that were held back or not yet carried over are forgotten: those messages are on both sides again. Look after the disk", aside)
	return nil
}

// maySetAside refuses to take another program's file for a damaged state database: what `state` names may be anything.
func (r *run) maySetAside(damage error) error {
	path := r.set.StatePathOrDefault()
	if path == filepath.Join(r.set.Root, stateName) || state.IsOurs(path) {
		return nil
	}
	return fmt.Errorf("%w; but it does not look like one of Satchel's at all, and is left where it is: check `state` in the configuration, or rename it away", damage)
}

// rootGone refuses to make a Maildir anew of which a state database that lies elsewhere knows.
func (r *run) rootGone() error {
	if r.set.StatePath == "" || r.w.Maildir.FS != nil {
		return nil
	}
	if _, err := os.Stat(r.set.StatePath); err != nil {
		return nil // there is nothing to contradict; other errors are met again when it is opened
	}
	if _, err := os.Stat(r.set.Root); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("the Maildir %s is missing, and the state database %s knows it (not mounted?); "+
		"to download everything anew, rename the state database away", r.set.Root, r.set.StatePath)
}

// rootKey is where the state keeps which directory the root was.
const rootKey = "root"

// rootReplaced reports whether the root is another directory than the one that the state knows. If none of the
// known folders is in it, it is taken for a disk that is not mounted, and refused.
func (r *run) rootReplaced(ctx context.Context) (bool, error) {
	now := strconv.FormatUint(r.md.RootInode(), 10)
	var was string
	known, messages := map[mail.FolderName]bool{}, 0
	err := r.view(ctx, func(tx *state.Tx) (err error) {
		if was, _, err = tx.Get(rootKey); err != nil || was == now {
			return err
		}
		all, err := tx.Folders()
		for _, f := range all {
			n, cerr := tx.Agreed(f.ID)
			known[f.Name], messages, err = f.OnDisk, messages+n, errors.Join(err, cerr)
		}
		return err
	})
	if err != nil || was == now || was == "" {
		return false, err
	}
	folders, _, err := r.md.Folders()
	if err != nil {
		return false, fmt.Errorf("reading the Maildir: %w", err)
	}
	if messages > 0 && !slices.ContainsFunc(folders, func(f maildir.Folder) bool { return known[f.Name] }) {
		return false, r.setupError(fmt.Errorf("the Maildir %s is another directory than at the last sync, and none of its folders with %d messages is there "+
			"(not mounted?); to download everything anew, rename the state database %s away", r.set.Root, messages, r.set.StatePathOrDefault()))
	}
	return true, nil
}

// mergeIf makes this a run that compares everything and deletes nothing.
func (r *run) mergeIf(copied bool) {
	if !copied {
		return
	}
	what := "everything is compared"
	if len(r.opt.Targets) > 0 {
		what = "all folders that were synchronised before are compared, not only those that were named"
	}
	why := "the Maildir or its state database was copied or restored from a backup"
	if r.opt.Rebind {
		why = fmt.Sprintf("the Maildir is bound to %s at %s now", r.set.Owner.User, r.set.Owner.Host)
	}
	r.note("%s: %s, and nothing is deleted on either side in this run", why, what)
	r.merge = true
}

// openReading opens the local side for looking only; what is not there yet is empty.
func (r *run) openReading(ctx context.Context) error {
	if err := r.rootGone(); err != nil {
		return r.setupError(err)
	}
	o := r.w.Maildir
	o.ReadOnly = true
	md, err := maildir.Open(r.set.Root, r.set.Layout, o)
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, maildir.ErrNotMounted) {
		// The first sync would make it.
		var dir string
		if dir, err = r.scratchDir(); err == nil {
			o.ReadOnly = false
			md, err = maildir.Open(filepath.Join(dir, "mail"), r.set.Layout, o)
		}
	}
	if err != nil {
		return r.setupError(err)
	}
	db, err := r.openStateReading(ctx)
	if err == nil && !r.opt.Rebind && !sameOwner(db.Owner(), r.set.Owner) {
		err = fmt.Errorf("the Maildir belongs to %s at %s, the configuration says %s at %s; if that is the same mailbox under a new name, run sync once with --rebind",
			db.Owner().User, db.Owner().Host, r.set.Owner.User, r.set.Owner.Host)
	}
	if err != nil {
		_ = md.Close()
		return r.setupError(err)
	}
	r.md, r.db = md, db
	return nil
}

// openStateReading opens the state for looking only. For a dry run, a damaged one is none, as it will be for the sync.
func (r *run) openStateReading(ctx context.Context) (*state.DB, error) {
	if r.blank {
		return r.emptyState(ctx)
	}
	db, err := state.OpenReader(ctx, r.set.StatePathOrDefault())
	switch {
	case errors.Is(err, state.ErrNoState):
		return r.emptyState(ctx)
	case errors.Is(err, state.ErrCorrupt) && r.foresees && r.maySetAside(err) == nil:
		r.warn("%v", err)
		return r.emptyState(ctx)
	}
	return db, err
}

// sameOwner compares as opening for writing does: hosts have no case.
func sameOwner(a, b state.Owner) bool {
	return a.Kind == b.Kind && strings.EqualFold(a.Host, b.Host) && a.User == b.User
}

// emptyState makes a state that nothing was ever recorded in, away from the Maildir.
func (r *run) emptyState(ctx context.Context) (*state.DB, error) {
	dir, err := r.scratchDir()
	if err != nil {
		return nil, err
	}
	return state.Open(ctx, filepath.Join(dir, "state.db"), state.Options{Owner: r.set.Owner, LocalFS: true, Now: r.now})
}

func (r *run) scratchDir() (string, error) {
	if r.scratch != "" {
		return r.scratch, nil
	}
	var err error
	r.scratch, err = os.MkdirTemp("", "satchel-")
	return r.scratch, err
}

func (r *run) setupError(err error) error {
	err = fmt.Errorf("account %s: %w", r.set.Account, err)
	for _, passing := range [...]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, state.ErrIO, state.ErrBusy, state.ErrCutOff} {
		if errors.Is(err, passing) {
			return &LocalError{err}
		}
	}
	return &SetupError{err}
}

func (r *run) close() {
	r.early.Wait()
	r.pool.close()
	if err := r.db.Close(); err != nil && !r.damaged {
		r.fail("", fmt.Errorf("closing the state database: %w", err))
	}
	if r.damaged {
		// While the lock is held.
		if r.opt.DryRun {
			r.warn("%v", r.res.Fatal)
		} else if err := r.setAside(r.res.Fatal); err != nil {
			r.res.Fatal, r.damaged = err, false
		}
	}
	if err := r.md.Close(); err != nil {
		r.log.Debug("closing the Maildir", "error", err)
	}
	if r.scratch != "" {
		_ = os.RemoveAll(r.scratch)
	}
}

// adoptPlace records where Maildir and state lie, once what the state says has been compared with them.
func (r *run) adoptPlace(ctx context.Context) error {
	if left := r.uncompared(); r.merge && left != "" {
		r.note("folder %s could not be compared whole, so the next sync compares everything again, and brings back what is deleted anywhere until then; "+
			"if that stays so, leave it out with `exclude`", left)
		return nil
	}
	if r.merge {
		if err := r.commitMarks(ctx); err != nil {
			return err
		}
		if err := r.db.Adopt(ctx); err != nil {
			return &stateError{err}
		}
	}
	now := strconv.FormatUint(r.md.RootInode(), 10)
	var was string
	if err := r.view(ctx, func(tx *state.Tx) (err error) { was, _, err = tx.Get(rootKey); return err }); err != nil || was == now {
		return err
	}
	return r.update(ctx, func(tx *state.Tx) error { return tx.Set(rootKey, now) })
}

// uncompared returns a folder that this run has not looked at whole, or of which it did not deal with all that it found, empty if there is none. Messages
// that one side refuses are dealt with: the state knows them.
func (r *run) uncompared() mail.FolderName {
	for _, f := range r.folders {
		if f.failed != nil || f.dirty {
			return f.name
		}
	}
	return ""
}
