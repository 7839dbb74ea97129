package sync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// UndoOptions are what one `undo` was asked for.
type UndoOptions struct {
	// Targets are the folders to look at, empty for all.
	Targets []mail.FolderName
	// Since leaves aside what was removed before, zero for nothing.
	Since time.Time
	// List only tells what is kept. DryRun tells what would become of each message, and changes nothing.
	List, DryRun bool
}

// Became says what became of a message that a sync had removed.
type Became string

const (
	// BecameKept: it lies aside, nothing was tried.
	BecameKept Became = "kept"
	// BecameBack: it is back in its folder of the Maildir.
	BecameBack Became = "back"
	// BecamePresent: its folder held an equal message already, so it was left aside.
	BecamePresent Became = "present"
	// BecameFailed: it could not be brought back, and still lies aside.
	BecameFailed Became = "failed"
)

// RemovedMessage is a message that a sync removed from the Maildir.
type RemovedMessage struct {
	Folder  mail.FolderName
	Name    string // the base name of its file; once it is back, the one that it has there
	Removed time.Time
	// Arrived is the time of its file: when the message arrived.
	Arrived time.Time
	Size    int64
	Flags   mail.Flags
	mail.Envelope
	Became Became
	Err    error // why it failed
}

// Undone is the outcome of Undo.
type Undone struct {
	Account  string
	Messages []RemovedMessage // those removed last come first
	// OneWay: the mode stores nothing on the server, so what is back is back in the Maildir only.
	OneWay bool
	// Errors are failures that did not stop the rest.
	Errors []FolderError
	Fatal  error
	// Sync is the run that took what is back to the server, nil if there was nothing to take.
	Sync *Result
}

// Count returns how many messages became so.
func (u *Undone) Count(b Became) int {
	n := 0
	for i := range u.Messages {
		if u.Messages[i].Became == b {
			n++
		}
	}
	return n
}

// Undo brings back to the Maildir what syncs removed from it, as new messages, and synchronises, which takes them to
// the server. An account of which nothing is kept is not touched.
func Undo(ctx context.Context, set Settings, w World, opt UndoOptions) *Undone {
	mode := set.Policy.Mode
	out := &Undone{Account: set.Account, OneWay: mode == plan.Pull || mode == plan.Archive}
	r := newRun(set, w, Options{Targets: opt.Targets})
	u := &undoer{r: r, opt: opt, out: out}
	if some, err := u.look(ctx); err != nil || !some || opt.List || opt.DryRun {
		out.Fatal, out.Errors = err, r.res.Errors
		return out
	}
	r.started = r.now()
	if err := r.open(ctx); err != nil {
		out.Fatal, out.Errors = err, r.res.Errors
		return out
	}
	defer r.close()
	out.Fatal = r.ofAccount(defect.Contain(func() error { return u.all(ctx) }))
	out.Errors, r.res.Errors = r.res.Errors, nil
	if out.Fatal != nil || out.Count(BecameBack) == 0 {
		return out
	}
	out.Sync = r.res
	r.res.Fatal = r.ofAccount(defect.Contain(func() error { return r.all(ctx) }))
	r.res.Traffic = r.pool.close()
	r.record(ctx)
	r.res.Duration = r.now().Sub(r.started)
	return out
}

// keptSince is since when what was removed is kept. Turned off, nothing is, whenever it was removed.
func (r *run) keptSince() time.Time {
	if r.set.Undo == 0 {
		return time.Unix(1<<40, 0) // clocks may have been wrong
	}
	return r.now().Add(-r.set.Undo)
}

type undoer struct {
	r    *run
	opt  UndoOptions
	out  *Undone
	kept []maildir.Kept // of each of out.Messages
}

// look lists what is kept without locking or changing anything, and reports whether there is any.
func (u *undoer) look(ctx context.Context) (some bool, err error) {
	r := u.r
	if err := r.rootGone(); err != nil {
		return false, r.setupError(err)
	}
	o := r.w.Maildir
	o.ReadOnly = true
	r.md, err = maildir.Open(r.set.Root, r.set.Layout, o)
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, maildir.ErrNotMounted) {
		return false, nil // the first sync would make it
	}
	if err != nil {
		return false, r.setupError(err)
	}
	defer func() { err = errors.Join(err, r.md.Close()) }()
	if err := u.list(ctx); err != nil {
		return false, err
	}
	if u.opt.List {
		err = u.envelopes(ctx)
	} else if u.opt.DryRun {
		if err = u.envelopes(ctx); err == nil {
			err = u.eachGroup(ctx, u.wouldBringBack)
		}
	}
	return len(u.kept) > 0, err
}

// list finds what is kept of the folders and the time that were asked for.
func (u *undoer) list(ctx context.Context) error {
	kept, problems, err := u.r.md.Kept()
	if err != nil {
		return fmt.Errorf("account %s: %w", u.r.set.Account, err)
	}
	for _, p := range problems {
		if p.Folder == "" || u.wanted(p.Folder) {
			u.r.fail(p.Folder, p)
		}
	}
	u.kept, u.out.Messages = nil, nil
	for _, k := range kept {
		if !u.wanted(k.Folder) || k.Removed.Before(u.opt.Since) {
			continue
		}
		u.kept = append(u.kept, k)
		u.out.Messages = append(u.out.Messages, RemovedMessage{
			Folder: k.Folder, Name: k.Base, Removed: k.Removed, Arrived: k.ModTime, Size: k.Size, Flags: k.Flags, Became: BecameKept,
		})
	}
	return context.Cause(ctx)
}

func (u *undoer) wanted(f mail.FolderName) bool {
	return len(u.opt.Targets) == 0 || slices.Contains(u.opt.Targets, f)
}

// envelopes reads what people know a message by. A message that can't be read is listed all the same.
func (u *undoer) envelopes(ctx context.Context) error {
	for i := range u.kept {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		m := &u.out.Messages[i]
		e, err := u.envelope(u.kept[i])
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // else somebody brought it back meanwhile
			u.r.fail(m.Folder, err)
		}
		m.Envelope = e
	}
	return nil
}

func (u *undoer) envelope(k maildir.Kept) (mail.Envelope, error) {
	f, err := u.r.md.OpenKept(k)
	if err != nil {
		return mail.Envelope{}, err
	}
	defer f.Close()
	e, err := mail.ReadEnvelope(f)
	if err != nil {
		err = fmt.Errorf("reading %s: %w", k.Base, err)
	}
	return e, err
}

// all brings back what is kept.
func (u *undoer) all(ctx context.Context) error {
	u.r.phase("bringing back")
	// Now that nobody else can change it.
	if err := u.list(ctx); err != nil {
		return err
	}
	if err := u.eachGroup(ctx, u.bringBack); err != nil {
		return err
	}
	if err := u.r.md.TidyUndo(); err != nil {
		u.r.log.Warn("removing emptied directories for undo", "error", err)
	}
	return nil
}

// undoBatch is how many messages become durable together.
const undoBatch = 1000

// eachGroup calls do with the messages that one run removed from one folder and that it does not hold, as indexes, and with what it
// holds.
func (u *undoer) eachGroup(ctx context.Context, do func(context.Context, []int, *contents) error) error {
	present := map[mail.FolderName]*contents{}
	for i := 0; i < len(u.kept); {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		f, removed := u.kept[i].Folder, u.kept[i].Removed
		var group []int
		for ; i < len(u.kept) && u.kept[i].Folder == f && u.kept[i].Removed.Equal(removed); i++ {
			group = append(group, i)
		}
		if present[f] == nil {
			c, err := u.r.contentsOf(ctx, f)
			if err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				u.failed(group, err)
				continue
			}
			present[f] = c
		}
		group, err := u.absent(ctx, group, present[f])
		if err != nil {
			return err
		}
		for chunk := range slices.Chunk(group, undoBatch) {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			if err := do(ctx, chunk, present[f]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (u *undoer) failed(group []int, err error) {
	for _, i := range group {
		m := &u.out.Messages[i]
		m.Became, m.Err = BecameFailed, err
		u.r.fail(m.Folder, err)
	}
}

// absent leaves out the messages that the folder has already: somebody brought them back on the server, or with a mail
// client. Two that one run removed are two messages, however alike they are.
func (u *undoer) absent(ctx context.Context, group []int, c *contents) ([]int, error) {
	var out []int
	for _, i := range group {
		has, err := c.has(ctx, u.kept[i])
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			u.failed([]int{i}, err)
		case has:
			u.out.Messages[i].Became = BecamePresent
		default:
			out = append(out, i)
		}
	}
	return out, nil
}

// wouldBringBack is bringBack of a dry run.
func (u *undoer) wouldBringBack(ctx context.Context, group []int, c *contents) error {
	for _, i := range group {
		content, err := u.r.md.SurveyKept(ctx, u.kept[i])
		if err != nil {
			u.failed([]int{i}, err)
			continue
		}
		u.out.Messages[i].Became = BecameBack
		c.read[content.Digest] = true
	}
	return context.Cause(ctx)
}

// bringBack moves messages back into their folder. Stopped at any point, each is either back, and new to the next sync, or still
// kept.
func (u *undoer) bringBack(ctx context.Context, group []int, c *contents) error {
	r, f := u.r, c.folder
	kept := make([]maildir.Kept, len(group))
	for n, i := range group {
		kept[n] = u.kept[i]
	}
	if err := r.forgetRemoved(ctx, f, kept); err != nil {
		return err
	}
	var drop mail.System
	if r.set.Policy.Expunge {
		drop = mail.Deleted // or the sync that follows would remove it again
	}
	outcomes := r.md.Restore(f, kept, drop)
	if err := r.md.Flush(); err != nil {
		return fmt.Errorf("making it durable: %w", err)
	}
	var outside []string
	for n, o := range outcomes {
		m := &u.out.Messages[group[n]]
		if o.Err != nil {
			u.failed(group[n:n+1], o.Err)
			continue
		}
		m.Became, m.Name, m.Flags = BecameBack, o.Entry.Base, o.Entry.Flags
		c.sizes[m.Size] = append(c.sizes[m.Size], m.Name)
		if r.park(m.Size, m.Arrived) != plan.Agreed {
			outside = append(outside, undoneName(f, m.Name))
		}
		r.log.Info("brought back", "folder", f, "file", m.Name)
	}
	return r.exempt(ctx, outside)
}

// forgetRemoved takes rows out of the state that still tell of messages about to be brought back: a run that was stopped right after
// removing a file did not come to it. With the row the message would be one that the server deleted. The next run reads all of
// that mailbox, and so finds what the server has of it all the same.
func (r *run) forgetRemoved(ctx context.Context, f mail.FolderName, kept []maildir.Kept) error {
	var rows []state.Message
	var base state.Folder
	err := r.view(ctx, func(tx *state.Tx) (err error) {
		var ok bool
		base, ok, err = tx.FolderByName(f)
		if err != nil || !ok {
			return err
		}
		for _, k := range kept {
			m, ok, err := tx.ByName(base.ID, k.Base)
			if err != nil {
				return err
			}
			if ok {
				rows = append(rows, m)
			}
		}
		return nil
	})
	if err != nil || len(rows) == 0 {
		return err
	}
	var gone []int64
	for _, m := range rows {
		switch _, err := r.md.Stat(f, m.Name); {
		case errors.Is(err, maildir.ErrNotFound), errors.Is(err, maildir.ErrNoFolder):
			gone = append(gone, m.ID)
		case err != nil:
			return fmt.Errorf("%s: looking for message file %s: %w", f, m.Name, err)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return r.update(ctx, func(tx *state.Tx) error {
		for _, id := range gone {
			if err := tx.DeleteMessage(id); err != nil && !errors.Is(err, state.ErrNotFound) {
				return err
			}
		}
		base.UIDNext, base.HighestModSeq, base.Exists = 0, 0, 0
		return tx.PutFolder(&base)
	})
}

// undoneKey is where the state keeps which messages that were brought back are outside of `since` and `max_message_size`. Those limits
// are for messages that were never synchronised; these were.
const undoneKey = "undone"

func undoneName(f mail.FolderName, base string) string { return string(f) + "/" + base }

// exempt lifts the limits for messages that were brought back.
func (r *run) exempt(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	return r.update(ctx, func(tx *state.Tx) error {
		all, err := undoneNames(tx)
		if err != nil {
			return err
		}
		// Those that are synchronised by now need no exemption.
		all = slices.DeleteFunc(all, func(n string) bool {
			known, kerr := knowsBoth(tx, n)
			err = errors.Join(err, kerr)
			return known
		})
		if err != nil {
			return err
		}
		text, err := json.Marshal(append(all, names...))
		if err != nil {
			return err
		}
		return tx.Set(undoneKey, string(text))
	})
}

func undoneNames(tx *state.Tx) (names []string, err error) {
	text, ok, err := tx.Get(undoneKey)
	if err != nil || !ok || text == "" {
		return nil, err
	}
	err = json.Unmarshal([]byte(text), &names)
	return names, err
}

// knowsBoth reports whether the state has a message on both sides that was brought back under this name.
func knowsBoth(tx *state.Tx, name string) (bool, error) {
	i := strings.LastIndexByte(name, '/')
	base, ok, err := tx.FolderByName(mail.FolderName(name[:max(i, 0)]))
	if err != nil || !ok {
		return false, err
	}
	m, ok, err := tx.ByName(base.ID, name[i+1:])
	return ok && m.UID != 0, err
}

// isExempt reports whether the limits are lifted for a message.
func (r *run) isExempt(ctx context.Context, f mail.FolderName, base string) (bool, error) {
	r.undoneOnce.Do(func() {
		r.undoneErr = r.view(ctx, func(tx *state.Tx) error {
			names, err := undoneNames(tx)
			r.undone = make(map[string]bool, len(names))
			for _, n := range names {
				r.undone[n] = true
			}
			return err
		})
	})
	return r.undone[undoneName(f, base)], r.undoneErr
}

// contents tells whether a folder holds a message with given bytes. Only files of the same size are read.
type contents struct {
	r      *run
	folder mail.FolderName
	sizes  map[int64][]string // base names that were not read yet
	read   map[mail.Digest]bool
}

// contentsOf looks at the sizes of a folder's messages; a folder that is not there has none.
func (r *run) contentsOf(ctx context.Context, f mail.FolderName) (*contents, error) {
	c := &contents{r: r, folder: f, sizes: map[int64][]string{}, read: map[mail.Digest]bool{}}
	scan, err := r.md.Scan(ctx, f, nil)
	if errors.Is(err, maildir.ErrNoFolder) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range scan.Entries {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		info, err := r.md.Stat(f, e.Base)
		if errors.Is(err, maildir.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c.sizes[info.Size] = append(c.sizes[info.Size], e.Base)
	}
	return c, nil
}

// has reports whether a message is there. What can't be read is taken for another one: better two copies than none.
func (c *contents) has(ctx context.Context, k maildir.Kept) (bool, error) {
	names := c.sizes[k.Size]
	if len(names) == 0 && len(c.read) == 0 {
		return false, nil
	}
	own, err := c.r.md.SurveyKept(ctx, k)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		other, _, err := c.r.md.Survey(ctx, c.folder, name)
		if err == nil {
			c.read[other.Digest] = true
		}
	}
	delete(c.sizes, k.Size)
	return c.read[own.Digest], nil
}
