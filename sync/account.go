package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// maxPasses bounds how often one run looks again: after moves to the trash, whose messages then
// arrive in the trash folder, and when something changed between looking and removing.
const maxPasses = 4

// Sync makes one account's two sides the same. The Result is never nil; what stopped the account
// is in Result.Fatal, what failed by itself in Result.Errors.
func Sync(ctx context.Context, set Settings, w World, opt Options) *Result {
	r := newRun(set, w, opt)
	start := r.now()
	defer func() { r.res.Duration = r.now().Sub(start) }()
	if err := r.open(ctx); err != nil {
		r.res.Fatal = err
		return r.res
	}
	defer r.close()
	if err := r.all(ctx); err != nil {
		r.res.Fatal = err
	}
	r.res.Traffic = r.pool.close()
	r.record(ctx, start)
	return r.res
}

// run is one run on one account.
type run struct {
	set Settings
	opt Options
	w   World
	log *slog.Logger
	now func() time.Time
	res *Result
	md  *maildir.Store
	// scratch is a temporary directory of a dry run.
	scratch string
	db      *state.DB
	pool    *sessions

	// merge: the state was restored, copied or rebound; whatever is missing on one side is brought
	// back from the other, nothing is removed.
	merge bool

	names   *names
	caps    remote.Capabilities
	folders []*folder // sorted by name
	byName  map[mail.FolderName]*folder
	hidden  mail.FolderName // a folder of the state that the Maildir can't look into, empty if there is none
	again   bool            // this pass made something that the next one must look at

	passes int // the number of this pass, from 1
	// dryRemote and dryLocal are the names that mailboxes and local folders would have after the folder
	// operations of a dry run; nil otherwise.
	dryRemote map[string]mail.FolderName
	dryLocal  map[mail.FolderName]mail.FolderName

	boxes []remote.Mailbox // all that the server listed

	lostUploads int // connections that broke while uploading

	mu       sync.Mutex // guards res, again, progress, lostUploads and folder.dirty
	progress Progress
}

// folder is one folder as this pass sees it.
type folder struct {
	name   mail.FolderName
	base   state.Folder    // ID 0: the state does not know it yet
	remote *remote.Mailbox // nil: not on the server
	local  *maildir.Folder // nil: not in the Maildir
	target bool
	// mailboxProblem says why the server can't have a folder of this name, empty if it can.
	mailboxProblem string
	mailbox        string // the server's name for it

	// lostRemote: the base's UIDs mean nothing any more; lostLocal: that the Maildir lacks a message
	// is no evidence of a deletion.
	lostRemote, lostLocal bool
	selected              *remote.Selected
	scanned               *maildir.Scan
	readRemote, readLocal bool // that side was gathered in this pass

	pairs     map[int64]*plan.Pair
	remoteNew []plan.RemoteMessage
	localNew  []plan.LocalMessage
	remoteAt  map[mail.UID]int
	localAt   map[string]int

	// sends are uploads that may have arrived more than once; innocent are the UIDs that settling found
	// to be none of them.
	sends    []*state.Intent
	innocent mail.UIDSet

	failed error // reading it failed: it takes no part in this run
	dirty  bool  // something in it did not go as planned: its marks are not committed
	// doubted: the state says what is not so; the next run reads the folder whole.
	doubted bool
	// linked are folders whose messages are the subject of operations in this one.
	linked []*folder
}

func newRun(set Settings, w World, opt Options) *run {
	r := &run{set: set, opt: opt, w: w, log: w.Log, now: w.Now, res: &Result{Account: set.Account}}
	if r.now == nil {
		r.now = time.Now
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.log = r.log.With("account", set.Account)
	r.set.Policy.AllowDeletes, r.set.Policy.RestoreHeld = opt.AllowDeletes, opt.RestoreHeld
	r.pool = newSessions(w.Dialer, set.Connections)
	r.progress.Account = set.Account
	return r
}

// StatePathOrDefault is where the account's state database lies.
func (s Settings) StatePathOrDefault() string {
	if s.StatePath != "" {
		return s.StatePath
	}
	return filepath.Join(s.Root, ".satchel.db")
}

// open locks the account and opens the local side. A dry run opens it for looking only.
func (r *run) open(ctx context.Context) error {
	if r.opt.DryRun {
		if err := r.openReading(ctx); err != nil {
			return err
		}
		r.mergeIf(r.opt.Rebind)
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
	db, err := state.Open(ctx, r.set.StatePathOrDefault(), state.Options{
		Owner: r.set.Owner, Rebind: r.opt.Rebind, LocalFS: md.Local(), Now: r.now,
	})
	if err != nil {
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
	switch {
	case !copied:
		return
	case r.opt.Rebind:
		r.note("the Maildir is bound to %s at %s now: everything is compared, and nothing is deleted on either side in this run", r.set.Owner.User, r.set.Owner.Host)
	default:
		r.note("the Maildir or its state database was copied or restored from a backup: everything is compared, and nothing is deleted on either side in this run")
	}
	r.merge = true
}

// openReading opens the local side for looking only; what is not there yet is empty.
func (r *run) openReading(ctx context.Context) error {
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
	db, err := state.OpenReader(ctx, r.set.StatePathOrDefault())
	if errors.Is(err, state.ErrNoState) {
		db, err = r.emptyState(ctx)
	}
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
	return &SetupError{fmt.Errorf("account %s: %w", r.set.Account, err)}
}

func (r *run) close() {
	r.pool.close()
	if err := r.db.Close(); err != nil {
		r.fail("", fmt.Errorf("closing the state database: %w", err))
	}
	if err := r.md.Close(); err != nil {
		r.log.Debug("closing the Maildir", "error", err)
	}
	if r.scratch != "" {
		_ = os.RemoveAll(r.scratch)
	}
}

// all is the run itself: passes until nothing is left to look at.
func (r *run) all(ctx context.Context) error {
	if !r.opt.DryRun {
		if err := r.md.Clean(); err != nil {
			r.log.Warn("removing left-over temporary files", "error", err)
		}
	}
	for pass := 1; ; pass++ {
		r.again, r.passes = false, pass
		if err := r.pass(ctx); err != nil {
			return err
		}
		if !r.again || r.opt.DryRun || pass == maxPasses || ctx.Err() != nil {
			break
		}
		r.log.Debug("looking again", "pass", pass+1)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if r.opt.DryRun {
		return nil
	}
	if err := r.countDeferred(ctx); err != nil {
		return err
	}
	if err := r.adoptPlace(ctx); err != nil {
		return err
	}
	if r.set.Undo > 0 {
		if err := r.md.PurgeUndo(r.now().Add(-r.set.Undo)); err != nil {
			r.log.Warn("purging old removed messages", "error", err)
		}
	}
	return nil
}

// adoptPlace records where Maildir and state lie, once what the state says has been compared with them.
func (r *run) adoptPlace(ctx context.Context) error {
	if r.merge && !r.compared() {
		return nil
	}
	if r.merge {
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

// compared reports whether this run has looked at everything and dealt with what it found. Messages that one side
// refuses are dealt with: the state knows them.
func (r *run) compared() bool {
	return len(r.opt.Targets) == 0 && !slices.ContainsFunc(r.folders, func(f *folder) bool { return f.failed != nil || f.dirty })
}

// countDeferred counts the messages that wait for a larger limit.
func (r *run) countDeferred(ctx context.Context) error {
	return r.view(ctx, func(tx *state.Tx) error {
		r.res.Deferred = 0
		for _, f := range r.folders {
			if f.base.ID == 0 {
				continue
			}
			c, err := tx.Counts(f.base.ID)
			if err != nil {
				return err
			}
			r.res.Deferred += c.Why[string(plan.TooLarge)]
		}
		return nil
	})
}

// pass looks at both sides once and carries out what follows from it.
func (r *run) pass(ctx context.Context) error {
	r.phase("looking")
	if !r.opt.DryRun {
		if err := r.settleLocal(ctx); err != nil {
			return err
		}
	}
	if err := r.probe(ctx); err != nil {
		return err
	}
	if !r.opt.DryRun {
		if err := r.settleRemote(ctx); err != nil {
			return err
		}
	}
	r.phase("comparing")
	if err := r.gather(ctx); err != nil {
		return err
	}
	in, err := r.input(ctx)
	if err != nil {
		return err
	}
	p, err := r.make(ctx, in)
	if err != nil {
		return err
	}
	r.account(p)
	for _, op := range p.Ops {
		r.log.Debug("planned", "op", op.Kind, "side", op.Side, "folder", op.Folder, "from", op.From, "row", op.Row,
			"uid", op.UID, "name", op.Name, "add", op.Add, "remove", op.Remove, "reason", op.Reason)
	}
	if r.opt.DryRun {
		r.res.Plan = p.Ops
		return nil
	}
	if err := r.dropUnsureUploads(ctx, &p); err != nil {
		return err
	}
	if r.presumes(p) {
		unread := r.unread()
		stable := false
		if unread == "" {
			if stable, err = r.stable(ctx); err != nil {
				return err
			}
			r.again = r.again || !stable
		} else {
			r.note("folder %s could not be read, and what is missing elsewhere may be there: deletions wait until it can", unread)
		}
		if !stable {
			r.log.Debug("something changed while looking, or could not be looked at: what follows from something missing waits")
			r.dropPresumed(&p)
			for _, f := range r.folders {
				f.dirty = true
			}
		}
	}
	r.link(p.Ops)
	if err := r.apply(ctx, p); err != nil {
		return err
	}
	r.spread()
	return r.commitMarks(ctx)
}

// make plans, and plans again if a mailbox that was to be changed turns out to be read-only.
func (r *run) make(ctx context.Context, in plan.Input) (plan.Plan, error) {
	p := plan.Make(in)
	changed := false
	for _, op := range p.Ops {
		for _, name := range []mail.FolderName{op.Folder, op.From} {
			f := r.byName[name]
			if op.Side != plan.Server || op.Kind == plan.Park || f == nil || f.remote == nil || f.selected != nil || f.failed != nil {
				continue
			}
			if _, err := r.selectedOf(ctx, f); err != nil {
				if !r.ofFolder(ctx, err) {
					return p, err
				}
				r.failFolder(f, fmt.Errorf("opening the mailbox: %w", err))
				continue
			}
			if !f.selected.ReadOnly {
				continue
			}
			for i := range in.Folders {
				if in.Folders[i].Name == name && !in.Folders[i].RemoteReadOnly {
					in.Folders[i].RemoteReadOnly, changed = true, true
				}
			}
		}
	}
	if changed {
		p = plan.Make(in)
	}
	return p, nil
}

// account takes the plan's figures into the result.
func (r *run) account(p plan.Plan) {
	held := 0
	for _, n := range p.Held {
		held += n
	}
	r.res.HeldBack, r.res.HeldWhy = held, p.HeldWhy
}

// workers runs f for each folder, several at a time, and gathers what failed: an error that concerns the whole
// account (a dead context, a failing state database, no server) is returned, one that concerns a folder is
// reported and takes the folder out of the run.
func (r *run) workers(ctx context.Context, folders []*folder, f func(context.Context, *folder) error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(r.set.Connections, runtime.GOMAXPROCS(0)))
	for _, fo := range folders {
		if fo.failed != nil {
			continue
		}
		g.Go(func() error {
			err := f(gctx, fo)
			if err == nil || !r.ofFolder(gctx, err) {
				return err
			}
			r.failFolder(fo, err)
			return nil
		})
	}
	return g.Wait()
}

// ofFolder reports whether an error concerns one folder only.
func (r *run) ofFolder(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	var st *stateError
	if errors.As(err, &st) {
		return false
	}
	switch remote.ClassOf(err) {
	case remote.Unreachable, remote.Unavailable, remote.Auth:
		return false
	}
	return true
}

// stateError marks a failure of the state database, after which nothing may go on.
type stateError struct{ err error }

func (e *stateError) Error() string { return "state database: " + e.err.Error() }
func (e *stateError) Unwrap() error { return e.err }

// update is one durable commit to the state.
func (r *run) update(ctx context.Context, f func(*state.Tx) error) error {
	// What was done must be recorded even when the run is being stopped.
	if err := r.db.Update(context.WithoutCancel(ctx), f); err != nil {
		return &stateError{err}
	}
	return nil
}

func (r *run) view(ctx context.Context, f func(*state.Tx) error) error {
	if err := r.db.View(ctx, f); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &stateError{err}
	}
	return nil
}

func (r *run) failFolder(f *folder, err error) {
	r.mu.Lock()
	f.failed, f.dirty = err, true
	r.mu.Unlock()
	r.fail(f.name, err)
}

// fail reports an error that does not stop the rest.
func (r *run) fail(f mail.FolderName, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := FolderError{f, err}
	if slices.ContainsFunc(r.res.Errors, func(o FolderError) bool { return o.Error() == e.Error() }) {
		return // a later pass met it again
	}
	r.log.Warn("failed", "folder", f, "error", err)
	r.res.Errors = append(r.res.Errors, e)
}

func (r *run) soil(f *folder) {
	r.mu.Lock()
	f.dirty = true
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
	at := map[int64]*folder{}
	for _, f := range r.folders {
		for id := range f.pairs {
			at[id] = f
		}
	}
	join := func(a, b *folder) {
		if a != nil && b != nil && a != b {
			a.linked, b.linked = append(a.linked, b), append(b.linked, a)
		}
	}
	for _, op := range ops {
		f := r.byName[op.Folder]
		join(f, r.byName[op.From])
		if op.Row != 0 {
			join(f, at[op.Row])
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

// record keeps for `status` how the run went.
func (r *run) record(ctx context.Context, start time.Time) {
	if r.opt.DryRun {
		return
	}
	run := state.Run{Start: start, End: r.now()}
	if r.res.Fatal != nil {
		run.Error = r.res.Fatal.Error()
	} else if len(r.res.Errors) > 0 {
		run.Error = r.res.Errors[0].Error()
	}
	err := r.update(ctx, func(tx *state.Tx) error {
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
}

func sortFolders(fs []*folder) {
	slices.SortFunc(fs, func(a, b *folder) int {
		// The folder that people wait for comes first.
		if (a.name == mail.Inbox) != (b.name == mail.Inbox) {
			if a.name == mail.Inbox {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.name, b.name)
	})
}
