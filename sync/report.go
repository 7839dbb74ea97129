package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// failFolder takes a folder out of this pass, and reports why. After a mistake of the program's own it is out of the whole run: what is
// in memory of it may be half of something, so the next run looks at it from the beginning, as after a death.
func (r *run) failFolder(f *folder, err error) {
	r.leaveOut(f, err)
	r.fail(f.name, err)
}

// failMessage reports what failed for some messages of a folder, and concerns the folder only if the program made a mistake.
func (r *run) failMessage(f *folder, err error) {
	if defect.Of(err) != nil {
		r.leaveOut(f, err)
	}
	r.fail(f.name, err)
}

// isBroken reports whether the program made a mistake in a folder in this run.
func (r *run) isBroken(name mail.FolderName) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.broken[name] != nil
}

// leaveBroken takes the folders in which the program made a mistake in an earlier pass out of this one.
func (r *run) leaveBroken() {
	for name, err := range r.broken {
		if f := r.byName[name]; f != nil {
			r.leaveOut(f, err)
		}
	}
}

// ofAccount words what stopped an account.
func (r *run) ofAccount(err error) error {
	if d := defect.Of(err); d != nil {
		r.logDefect(d)
		return fmt.Errorf("account %s: %w", r.set.Account, err)
	}
	return err
}

func (r *run) logDefect(d *defect.Error) {
	r.log.Debug("the program made a mistake", "what", d.What, "stack", string(d.Stack))
}

func (r *run) leaveOut(f *folder, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.failed, f.dirty = err, true
	if defect.Of(err) == nil {
		return
	}
	if r.broken == nil {
		r.broken = map[mail.FolderName]error{}
	}
	r.broken[f.name] = err
}

// overtaken reports whether an operation failed because somebody else removed a message in the middle of it (RFC 5530, EXPUNGEISSUED),
// and has the run look again: what the folder holds is then known anew. In the last pass it is an error like any other.
func (r *run) overtaken(f *folder, err error) bool {
	e, ok := errors.AsType[*remote.Error](err)
	if !ok || e.Code != "EXPUNGEISSUED" || r.passes == maxPasses {
		return false
	}
	r.log.Debug("somebody else removed messages meanwhile", "folder", f.name, "error", err)
	r.soil(f)
	r.lookAgain()
	return true
}

// fail reports an error that does not stop the rest.
func (r *run) fail(f mail.FolderName, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := FolderError{f, err}
	text := e.Error()
	if r.said[text] {
		return // a later pass met it again
	}
	if r.said == nil {
		r.said = map[string]bool{}
	}
	r.said[text] = true
	r.log.Warn("failed", "folder", f, "error", err)
	if d := defect.Of(err); d != nil {
		r.logDefect(d)
	}
	r.res.Errors = append(r.res.Errors, e)
}

func (r *run) soil(f *folder) {
	r.mu.Lock()
	f.dirty = true
	r.mu.Unlock()
}

// listAgain has the next run list the Maildir's folder.
func (r *run) listAgain(f *folder) {
	r.mu.Lock()
	f.unlisted = true
	r.mu.Unlock()
}

// surprise notes that a file which was worked on has flags that nobody planned with. Its row does not say so, and the
// next run shall see it.
func (r *run) surprise(f *folder) {
	r.mu.Lock()
	f.surprised = true
	r.mu.Unlock()
}

// doubt is soil for a folder of which the state turned out to be wrong: that its marks are unchanged means nothing.
func (r *run) doubt(f *folder) {
	r.mu.Lock()
	f.dirty, f.doubted = true, true
	r.mu.Unlock()
}

// link notes which folders hang together by the plan: if what is planned in one fails, the others' marks
// can't be committed either.
func (r *run) link(ops []plan.Op) {
	folderOf := sync.OnceValue(func() map[int64]*folder { // of each row
		at := map[int64]*folder{}
		for _, f := range r.folders {
			for id := range f.pairs {
				at[id] = f
			}
		}
		return at
	})
	join := func(a, b *folder) {
		if a != nil && b != nil && a != b {
			a.linked, b.linked = append(a.linked, b), append(b.linked, a)
		}
	}
	for i := range ops {
		op := &ops[i]
		f, from := r.byName[op.Folder], r.byName[op.From]
		join(f, from)
		f = cmp.Or(f, from) // the destination may have to be made
		if op.Row != 0 && f != nil && f.pairs[op.Row] == nil {
			join(f, folderOf()[op.Row])
		}
	}
}

// spread makes every folder dirty that hangs together with a dirty one.
func (r *run) spread() {
	var todo []*folder
	for _, f := range r.folders {
		if f.dirty {
			todo = append(todo, f)
		}
	}
	for len(todo) > 0 {
		f := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, o := range f.linked {
			if !o.dirty {
				o.dirty = true
				todo = append(todo, o)
			}
		}
	}
}

func (r *run) lookAgain() {
	r.mu.Lock()
	r.again = true
	r.mu.Unlock()
}

func (r *run) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	if !slices.Contains(r.res.Notes, n) {
		r.res.Notes = append(r.res.Notes, n)
	}
}

// warn is note for what the person must hear of.
func (r *run) warn(format string, args ...any) {
	r.res.Warnings = append(r.res.Warnings, fmt.Sprintf(format, args...))
}

// follow adds what the run before did, which came no further for the state's damage.
func (r *Result) follow(before *Result) {
	r.Warnings = append(before.Warnings, r.Warnings...)
	r.ToMaildir.Add(before.ToMaildir)
	r.ToServer.Add(before.ToServer)
	for _, side := range []struct{ to, from *FolderCount }{{&r.MaildirFolders, &before.MaildirFolders}, {&r.ServerFolders, &before.ServerFolders}} {
		side.to.Created += side.from.Created
		side.to.Renamed += side.from.Renamed
		side.to.Deleted += side.from.Deleted
	}
	r.Traffic = r.Traffic.Plus(before.Traffic)
	r.Duration += before.Duration
}

func (r *run) phase(name string) { r.tell(func(p *Progress) { p.Phase = name }) }

func (r *run) tell(change func(*Progress)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.progress)
	if r.w.Progress != nil {
		r.w.Progress(r.progress)
	}
}

// count changes the figures of the result.
func (r *run) count(change func(*Result)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r.res)
}

// removed notes messages of a folder that were removed on a side, which the guard goes on counting.
func (r *run) removed(side plan.Side, f mail.FolderName, n int) {
	if n > 0 {
		r.count(func(res *Result) { res.Removed = append(res.Removed, plan.Removed{Side: side, Folder: f, Messages: n}) })
	}
}

// record keeps for `status` how the run went.
func (r *run) record(ctx context.Context) {
	if r.opt.DryRun {
		return
	}
	run := state.Run{Start: r.started, End: r.now()}
	if r.res.Fatal != nil {
		run.Error = r.res.Fatal.Error()
	} else if len(r.res.Errors) > 0 {
		run.Error = r.res.Errors[0].Error()
	}
	err := r.update(ctx, func(tx *state.Tx) error {
		if r.marks != nil {
			if err := r.marks(tx); err != nil {
				return err
			}
		}
		byFolder := map[mail.FolderName]string{}
		for _, e := range slices.Backward(r.res.Errors) {
			byFolder[e.Folder] = e.Err.Error()
		}
		for _, f := range r.folders {
			if f.base.ID == 0 || (f.base.LastError == byFolder[f.name]) {
				continue
			}
			base, err := tx.Folder(f.base.ID)
			if errors.Is(err, state.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			base.LastError = byFolder[f.name]
			if err := tx.PutFolder(&base); err != nil {
				return err
			}
		}
		return tx.PutRun(run)
	})
	if err != nil && r.res.Fatal == nil {
		r.res.Fatal = err
	}
	r.res.Marks = map[string]Mark{}
	for _, f := range r.folders {
		if b := f.base; b.Mailbox != "" {
			r.res.Marks[b.Mailbox] = Mark{
				remote.Status{UIDValidity: b.UIDValidity, UIDNext: b.UIDNext, Messages: b.Exists, HighestModSeq: b.HighestModSeq}, f.name,
			}
		}
	}
}
