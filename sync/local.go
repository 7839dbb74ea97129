package sync

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// gatherLocal notes what changed in a folder of the Maildir.
func (r *run) gatherLocal(ctx context.Context, f *folder) error {
	switch {
	case f.local == nil && !f.base.OnDisk:
		return nil
	case f.local == nil:
		return r.eachRow(ctx, f, func(m state.Message) {
			switch {
			case m.Name != "":
				f.pair(m).Local = f.missingLocal()
			case r.set.Policy.Mode != plan.Archive:
				f.pair(m) // only the server has it, and the mailbox stays for it
			}
		})
	}
	if !f.lostLocal && r.sameLocal(f.base, f.local) {
		return nil
	}
	l, err := r.listing(ctx, f)
	if err != nil {
		return err
	}
	scan := l.scan // alone, so that it does not keep the rest
	f.scanned, f.readLocal = &scan, true
	if l.scan.Aside > 0 {
		r.note("folder %s held %d messages twice, under one name but for the flags, as when a backup is put over it: one file of each stays, the other is where `satchel undo` keeps files", f.name, l.scan.Aside)
	}
	for _, p := range l.scan.Problems {
		r.fail(f.name, p)
		scan.Mark.Racy = true // reported again until somebody mends it
	}
	return r.takeListing(ctx, f, l)
}

// sameLocal reports whether a folder's mark says that nothing happened since it was last read.
func (r *run) sameLocal(base state.Folder, local *maildir.Folder) bool {
	if r.merge || len(base.LocalMark) == 0 || base.Filter != r.filter() {
		return false
	}
	var m maildir.Mark
	return m.UnmarshalBinary(base.LocalMark) == nil && m.Equal(local.Mark)
}

// listing is one reading of a directory, and what of it the state does not know as it is.
type listing struct {
	scan maildir.Scan
	// unknown are the files that have no row with their name and flags; missing the rows, by ID, that have no such file.
	unknown []maildir.Entry
	missing []int64
	files   *state.Files // what the state knew then
}

// list reads a folder's directory and compares it with the rows of the folder with that ID, 0 if the state knows none.
func (r *run) list(ctx context.Context, id int64, name mail.FolderName) (*listing, error) {
	if id == 0 {
		scan, err := r.md.Scan(ctx, name, nil)
		return &listing{scan: scan, unknown: scan.Entries, files: &state.Files{}}, err
	}
	// What the state knows is loaded while the directory is being read.
	files := newFilesToCome(func() (files *state.Files, err error) {
		err = r.view(ctx, func(tx *state.Tx) (err error) { files, err = tx.Files(id); return err })
		return files, err
	})
	l, err := r.listKnown(ctx, name, files)
	known, ferr := files.wait()
	if err = cmp.Or(ferr, err); err != nil {
		return nil, err
	}
	l.files = known
	return l, nil
}

// knownFiles are what the state knows of a folder's files, see state.Files.
type knownFiles interface {
	maildir.Known
	Missing() []int64
}

// filesToCome are known files that are being loaded. Whoever asks waits.
type filesToCome struct {
	loaded chan struct{}
	files  *state.Files
	err    error
}

func newFilesToCome(load func() (*state.Files, error)) *filesToCome {
	f := &filesToCome{loaded: make(chan struct{})}
	go func() {
		defer close(f.loaded)
		f.err = defect.Contain(func() (err error) { f.files, err = load(); return err })
		if f.err != nil {
			f.files = &state.Files{} // knows nothing
		}
	}()
	return f
}

func (f *filesToCome) wait() (*state.Files, error) {
	<-f.loaded
	return f.files, f.err
}

// Reset needs no files: nothing was taken from those that are still to come.
func (f *filesToCome) Reset() {
	select {
	case <-f.loaded:
		f.files.Reset()
	default:
	}
}

func (f *filesToCome) Take(base string, flags uint32) bool {
	<-f.loaded
	return f.files.Take(base, flags)
}

func (f *filesToCome) Taken(base string) bool {
	<-f.loaded
	return f.files.Taken(base)
}

func (f *filesToCome) Missing() []int64 {
	<-f.loaded
	return f.files.Missing()
}

// listKnown is list with what the state knows of the folder.
func (r *run) listKnown(ctx context.Context, name mail.FolderName, files knownFiles) (*listing, error) {
	scan, err := r.md.Scan(ctx, name, files)
	if err != nil {
		return nil, err
	}
	l := &listing{scan: scan, unknown: scan.Entries}
	if scan.All {
		files.Reset()
		l.unknown = slices.DeleteFunc(slices.Clone(scan.Entries), func(e maildir.Entry) bool {
			return !e.Unexplained && files.Take(e.Base, e.Flags.Hash())
		})
	}
	l.missing = files.Missing()
	return l, nil
}

// listingToCome is a directory that is being read before its turn.
type listingToCome struct {
	folder int64 // whose rows it is compared with
	done   chan struct{}
	l      *listing
	err    error
}

// beginListing begins to read a directory, while others ask the server. What can't be read is read again when its turn
// comes, and then reported. r.early waits for all.
func (r *run) beginListing(ctx context.Context, id int64, name mail.FolderName) *listingToCome {
	c := &listingToCome{folder: id, done: make(chan struct{})}
	list := func() {
		defer close(c.done)
		r.listers <- struct{}{}
		c.err = defect.Contain(func() (err error) { c.l, err = r.list(ctx, id, name); return err })
		<-r.listers
	}
	if r.w.Serial {
		list()
	} else {
		r.early.Go(list)
	}
	return c
}

// listEarly begins to read the directories that changed, of folders that were synchronised under the present settings: of
// others it is not known yet whether the account is about them.
func (r *run) listEarly(ctx context.Context, base []state.Folder, local []maildir.Folder) map[mail.FolderName]*listingToCome {
	known := make(map[mail.FolderName]state.Folder, len(base))
	for _, b := range base {
		known[b.Name] = b
	}
	out := map[mail.FolderName]*listingToCome{}
	for i := range local {
		if b, ok := known[local[i].Name]; ok && b.Filter == r.filter() && r.isTarget(b.Name) && !r.sameLocal(b, &local[i]) {
			out[b.Name] = r.beginListing(ctx, b.ID, b.Name)
		}
	}
	return out
}

// listing returns the reading of the folder's directory that was begun before, or reads it now.
func (r *run) listing(ctx context.Context, f *folder) (*listing, error) {
	if c := f.listed; c != nil && c.folder == f.base.ID {
		f.listed = nil
		select {
		case <-c.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if c.err == nil {
			return c.l, nil
		}
	}
	return r.list(ctx, f.base.ID, f.local.Name)
}

// takeListing finds out which rows the differences between a directory and the state are about.
func (r *run) takeListing(ctx context.Context, f *folder, l *listing) error {
	var fresh []maildir.Entry
	err := r.view(ctx, func(tx *state.Tx) error {
		found := make(map[int64]bool, len(l.unknown))
		for _, e := range l.unknown {
			row, ok, err := tx.ByNameIn(l.files, f.base.ID, e.Base)
			if err != nil {
				return err
			}
			if !ok {
				fresh = append(fresh, e)
				continue
			}
			found[row.ID] = true
			if e.Unexplained {
				// Its letters have lost their meaning; that takes no keyword from anybody.
				e.Flags = e.Flags.Plus(row.LocalFlags.KeywordsOnly())
			}
			if !e.Flags.Equal(row.LocalFlags) || row.LocalHeld {
				p := f.pair(row)
				p.Local, p.LocalNow, p.LocalHeld, p.Back = plan.Present, e.Flags, false, p.Back || p.LocalHeld
			}
		}
		missing := slices.DeleteFunc(slices.Clone(l.missing), func(id int64) bool { return found[id] })
		rows, err := tx.Messages(missing)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if row.Folder != f.base.ID || row.Name == "" {
				continue // it was settled since
			}
			if slices.ContainsFunc(l.scan.Problems, func(p maildir.Problem) bool { return p.Base == row.Name }) {
				r.soil(f) // something lies in its place that can't be read, which is not that it is gone
				continue
			}
			if !l.scan.Quiet {
				// Somebody renames while we read: only a look at the file itself can tell.
				switch _, err := r.md.Stat(f.local.Name, row.Name); {
				case err == nil:
					continue
				case !errors.Is(err, maildir.ErrNotFound):
					r.soil(f)
					continue
				}
			}
			f.pair(row).Local = f.missingLocal()
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, e := range fresh {
		if err := r.newLocal(ctx, f, e, 0); err != nil {
			return err
		}
	}
	return nil
}

// newLocal notes a file that the state does not know, or knows as parked.
func (r *run) newLocal(ctx context.Context, f *folder, e maildir.Entry, row int64) error {
	info, err := r.md.Stat(f.local.Name, e.Base)
	if errors.Is(err, maildir.ErrNotFound) {
		r.soil(f) // it went away while we looked; the next run sees what became of it
		return nil
	}
	if err != nil {
		return err
	}
	why := r.park(info.Size, info.ModTime)
	if why != plan.Agreed {
		exempt, err := r.isExempt(ctx, f.name, e.Base)
		if err != nil {
			return err
		}
		if exempt {
			why = plan.Agreed
		}
	}
	f.localNew = append(f.localNew, plan.LocalMessage{
		Row: row, Folder: f.name, Name: e.Base, Flags: e.Flags, Unexplained: e.Unexplained, FileSize: info.Size, Inode: info.Inode, Date: info.ModTime,
		Park: why,
	})
	return nil
}
