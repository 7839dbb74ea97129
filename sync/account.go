package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// maxPasses bounds how often one run looks again: after moves to the trash, whose messages then
// arrive in the trash folder, and when something changed between looking and removing.
const maxPasses = 4

// errRestless is a run's that would have to look once more than it does.
var errRestless = errors.New("something changed each time that this sync looked, or could not be told yet: what hangs on that, deletions above all, is left to the next sync")

// maxCame bounds what a run remembers of the messages that it delivered.
const maxCame = 10000

// Sync makes one account's two sides the same. The Result is never nil; what stopped the account
// is in Result.Fatal, what failed by itself in Result.Errors.
func Sync(ctx context.Context, set Settings, w World, opt Options) *Result {
	r := newRun(set, w, opt)
	r.once(ctx)
	if r.damaged {
		// The state turned out to be damaged on the way and is set aside: once more, without it.
		again := newRun(set, w, opt)
		again.blank = opt.DryRun
		again.once(ctx)
		again.res.follow(r.res)
		r = again
	}
	if w.Serial {
		r.res.show()
	}
	return r.res
}

// show makes a mistake of the program's own the panic that it was, so that a test does not take it for something that it caused.
func (r *Result) show() {
	for _, e := range append([]FolderError{{Err: r.Fatal}}, r.Errors...) {
		if d := defect.Of(e.Err); d != nil {
			panic(fmt.Sprintf("%v\n%s", d.What, d.Stack))
		}
	}
}

// once is one run with the state that there is.
func (r *run) once(ctx context.Context) {
	r.started = r.now()
	defer func() { r.res.Duration = r.now().Sub(r.started) }()
	if err := defect.Contain(func() error { return r.open(ctx) }); err != nil {
		r.res.Fatal = r.ofAccount(err)
		return
	}
	defer r.close()
	if err := defect.Contain(func() error { return r.all(ctx) }); err != nil {
		r.res.Fatal = r.ofAccount(err)
	}
	r.res.Traffic = r.pool.close()
	r.record(ctx)
	r.damaged = errors.Is(r.res.Fatal, state.ErrCorrupt) && !r.blank && ctx.Err() == nil
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
	// blank: a dry run goes by an empty state, because the one that there is is damaged. damaged: it showed in this run that
	// it is.
	blank, damaged bool
	foresees       bool // what a sync would do; not status or verify, which also only read
	db             *state.DB
	pool           *sessions

	// merge: the state was restored, copied or rebound; whatever is missing on one side is brought
	// back from the other, nothing is removed.
	merge bool

	filter  func() string // see fingerprint
	names   *names
	caps    remote.Capabilities
	folders []*folder // sorted by name
	byName  map[mail.FolderName]*folder
	listed  map[mail.FolderName]bool // what the Maildir had when it was listed, in this account's scope or not
	hidden  mail.FolderName          // a folder that nobody can look into, though there may be messages in it, empty if there is none
	stuck   []mail.FolderName        // names that are not settled, and whose folders wait
	veiled  []*folder                // those that the state knows of what is hidden in the Maildir: they take no part in this pass
	made    map[mail.FolderName]bool // folders that this run made in the Maildir
	came    map[mail.Digest]int      // how many new messages of that content this run delivered, of the first maxCame
	again   bool                     // this pass made something that the next one must look at

	broken map[mail.FolderName]error // folders in which the program made a mistake in this run, see failFolder

	unsettled map[int64]error // folders, by ID, in which this pass could not find out what a stopped run had done

	passes int                   // the number of this pass, from 1
	marks  func(*state.Tx) error // prepared by markFolders, nil if there are none

	adrift      bool // what a folder had that could not be read is not known, see presumes
	hadAllFlags bool // a mailbox was asked for all its flags in this run, see wantsAllFlags
	waited      bool // new messages waited once in this run for what can't be read, see dropUnsure
	unanswered  bool // the planner asked in this pass for a message that could not be read

	underway underway // in this pass

	traces *traces // of the folders that could not be read in this pass, nil until they are needed

	started time.Time
	// dryRemote and dryLocal are the names that mailboxes and local folders would have after the folder
	// operations of a dry run; nil otherwise.
	dryRemote map[string]mail.FolderName
	dryLocal  map[mail.FolderName]mail.FolderName

	boxes []remote.Mailbox // all that the server listed
	ahead *remote.Changes  // what was read of the INBOX along with them, see readAhead; only the INBOX's worker takes it
	drop  *drop            // nil: the account is no maildrop, or leaves it out

	early   sync.WaitGroup // directories that are being read before their turn
	listers chan struct{}  // a token for each that is being read

	lostUploads        int             // connections that broke while uploading
	hangups, lostAlone int             // connections that broke at what may be one message's fault, see piecemeal and company
	culprits           map[culprit]int // the messages at which they did, and how often

	behind behind // what is recorded while the run goes on

	purse purse // what the daily budgets have left

	undoneOnce sync.Once       // loads the next two, see isExempt
	undone     map[string]bool // what was brought back and is outside of the limits
	undoneErr  error

	mu       sync.Mutex // guards res, said, again, broken, hadAllFlags, progress, lostUploads, hangups, lostAlone, culprits, folder.dirty, folder.surprised and folder.unlisted
	progress Progress
	said     map[string]bool // texts of res.Errors
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
	listed                *listingToCome // read before its turn, nil if it was not
	readRemote, readLocal bool           // that side was gathered in this pass
	unmoved               bool           // it is read for the sake of another one, and no message came to its mailbox or went
	withholds             bool           // the mailbox was read-only, and flags in the Maildir differ
	allFlags              bool           // and with all flags there are, see wantsAllFlags
	stored                mail.UID       // the highest UID that this pass gave a message there, as far as is known
	changing, witnessed   bool           // it is being changed locally, and the Maildir sees whether by anybody else

	pairs     map[int64]*plan.Pair
	paired    []*plan.Pair         // those, in the order in which they were made, and some that are none any more
	room      []plan.Pair          // for more of them
	remoteNew []plan.RemoteMessage // in ascending order of UID once all is gathered
	localNew  []plan.LocalMessage
	localAt   map[string]int

	// sends are uploads that may have arrived more than once; innocent are the UIDs that settling found
	// to be none of them.
	sends    []*state.Intent
	innocent mail.UIDSet
	suspects bool // a message was left for settling to tell, in this pass
	withheld int  // messages of this pass that had to be compared and that the server lists, but does not give
	partial  bool // its mailbox is compared by content in this pass, and the server left some of it out, see waitsForRest

	welcomed bool // its first batch of downloads, which is smaller, has begun

	failed    error // reading it failed: it takes no part in this run
	dirty     bool  // something in it did not go as planned: its marks are not committed
	surprised bool  // see run.surprise
	unlisted  bool  // see run.listAgain
	// kept are the rows that were not removed on the server, because under their UIDs there are other messages, or may be, or because their marks
	// were taken back. What is marked as deleted goes on both sides or on none.
	kept map[int64]bool
	// doubted: the state says what is not so; the next run reads the folder whole.
	doubted bool
	// linked are folders whose messages are the subject of operations in this one.
	linked []*folder
}

func newRun(set Settings, w World, opt Options) *run {
	r := &run{set: set, opt: opt, w: w, log: w.Log, now: w.Now, res: &Result{Account: set.Account, Targets: opt.Targets}, made: map[mail.FolderName]bool{}, came: map[mail.Digest]int{}}
	if r.now == nil {
		r.now = time.Now
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.log = r.log.With("account", set.Account)
	r.w.Maildir.Maildrop = set.Policy.Maildrop
	r.set.Policy.AllowDeletes, r.set.Policy.RestoreHeld = opt.AllowDeletes, opt.RestoreHeld
	r.filter = sync.OnceValue(r.fingerprint)
	r.pool = newSessions(w.Dialer, w.Keep, set.Connections)
	r.listers = make(chan struct{}, runtime.GOMAXPROCS(0))
	r.progress.Account = set.Account
	return r
}

// all is the run itself: passes until nothing is left to look at.
func (r *run) all(ctx context.Context) error {
	for pass := 1; ; pass++ {
		r.again, r.unanswered, r.adrift, r.passes, r.traces = false, false, false, pass, nil
		if err := r.pass(ctx); err != nil {
			if pass == 1 || !r.cameTooSoon(err) {
				return err
			}
			r.note("the server does not let anybody in again so soon; the next sync does what is left")
			break
		}
		if !r.again || r.opt.DryRun || ctx.Err() != nil {
			break
		}
		if pass == maxPasses {
			r.fail("", errRestless)
			break
		}
		r.log.Debug("looking again", "pass", pass+1)
		if err := r.commitMarks(ctx); err != nil {
			return err
		}
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if !r.again { // else they may be gone by now
		r.tellWithheld()
	}
	r.md.EndWitness()
	if r.opt.DryRun {
		return nil
	}
	if err := r.countDeferred(ctx); err != nil {
		return err
	}
	if err := r.adoptPlace(ctx); err != nil {
		return err
	}
	if err := r.md.PurgeUndo(r.keptSince()); err != nil {
		r.log.Warn("purging old removed messages", "error", err)
	}
	return nil
}

// countDeferred counts the messages that wait for a larger limit or another day.
func (r *run) countDeferred(ctx context.Context) error {
	return r.view(ctx, func(tx *state.Tx) error {
		r.res.Deferred, r.res.OverBudget = 0, 0
		for _, f := range r.folders {
			if f.base.ID == 0 {
				continue
			}
			c, err := tx.Counts(f.base.ID)
			if err != nil {
				return err
			}
			over := c.Why[string(plan.OverDownload)] + c.Why[string(plan.OverUpload)]
			r.res.Deferred += c.Why[string(plan.TooLarge)] + over
			r.res.OverBudget += over
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
	if err := r.openPurse(ctx); err != nil {
		return err
	}
	if err := r.gather(ctx); err != nil {
		return err
	}
	r.translateMoved()
	in, err := r.input(ctx)
	if err != nil {
		return err
	}
	plans, err := r.plans(ctx, in)
	if err != nil {
		return err
	}
	if !r.opt.DryRun {
		if err := r.unname(ctx); err != nil {
			return err
		}
		if err := r.noteReadOnly(ctx); err != nil {
			return err
		}
	}
	for p := range plans {
		r.reportHeld(p)
		if r.opt.DryRun {
			r.res.Plan = append(r.res.Plan, p.Ops...)
		} else if err := r.carryOut(ctx, p); err != nil {
			return cmp.Or(r.catchUp(ctx), err)
		}
	}
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	if r.opt.DryRun {
		return nil
	}
	r.spread()
	if err := r.commitMaildrop(ctx); err != nil {
		return err
	}
	return r.markFolders(ctx)
}

// carryOut carries a plan out, less what must wait because one of the sides changed while it was looked at.
func (r *run) carryOut(ctx context.Context, p plan.Plan) error {
	for i := range p.Ops {
		if !r.log.Enabled(ctx, slog.LevelDebug) {
			break
		}
		op := &p.Ops[i]
		r.log.Debug("planned", "op", op.Kind, "side", op.Side, "folder", op.Folder, "from", op.From, "row", op.Row,
			"uid", op.UID, "name", op.Name, "add", op.Add, "remove", op.Remove, "reason", op.Reason)
	}
	for _, name := range p.ReadAgain {
		r.soil(r.byName[name])
	}
	for _, name := range p.ListAgain {
		r.listAgain(r.byName[name])
	}
	r.dropUnderway(&p)
	r.dropSuspects(&p)
	if err := r.dropLateComers(ctx, &p); err != nil {
		return err
	}
	if err := r.dropUnsureFiles(ctx, &p); err != nil {
		return err
	}
	r.dropUnsure(ctx, &p)
	if err := r.dropStrays(ctx, &p); err != nil {
		return err
	}
	r.endLateMoves(&p)
	if r.presumes(p) {
		unread := r.unread(ctx)
		stable := false
		if unread == "" {
			var err error
			if stable, err = r.stable(ctx); err != nil {
				return err
			}
			r.again = r.again || !stable
			stable = stable && r.mayRemove(p)
		} else {
			if r.passes == 1 {
				r.again = true // often it can be read a moment later
			} else {
				r.note("%s", r.whatWaits(unread))
			}
		}
		if !stable {
			r.log.Debug("something changed while looking, or could not be looked at: what follows from something missing waits")
			r.dropPresumed(&p)
		}
	}
	r.link(p.Ops)
	r.dropUndurable(&p)
	r.witness(p.Ops)
	return r.apply(ctx, p)
}

// whatWaits says to the person what a folder that can't be read holds up.
func (r *run) whatWaits(unread mail.FolderName) string {
	if r.adrift {
		return fmt.Sprintf("folder %s could not be read, and it or another is compared anew by content: what is new elsewhere may have been in it, so new messages "+
			"and deletions wait until it can; if it never will, leave it out with `exclude`", unread)
	}
	return fmt.Sprintf("folder %s could not be read, and what is missing elsewhere may be there: deletions wait until it can", unread)
}

// plans returns what is to be done, in the portions in which it is to be done.
func (r *run) plans(ctx context.Context, in plan.Input) (iter.Seq[plan.Plan], error) {
	if plan.Independent(in) {
		if mode := in.Policy.Mode; mode == plan.TwoWay || mode == plan.Push {
			if _, err := r.openMailboxes(ctx, flagged(in.Pairs), in.Folders); err != nil {
				return nil, err
			}
		}
		return plan.Portions(in), nil
	}
	for {
		p := plan.Make(in)
		waiting, err := r.openMailboxes(ctx, slices.Values(p.ReadOnly), in.Folders)
		if err != nil {
			return nil, err
		}
		changing, err := r.openMailboxes(ctx, changedOnServer(p.Ops), in.Folders)
		if err != nil {
			return nil, err
		}
		if !waiting && !changing {
			return func(yield func(plan.Plan) bool) { yield(p) }, nil
		}
	}
}

// flagged yields the folders of messages whose flags were changed.
func flagged(pairs []*plan.Pair) iter.Seq[mail.FolderName] {
	return func(yield func(mail.FolderName) bool) {
		for _, p := range pairs {
			if !(p.LocalNow.Equal(p.LocalFlags) && p.RemoteNow.Equal(p.RemoteFlags)) && !yield(p.Folder) {
				return
			}
		}
	}
}

// changedOnServer yields the folders whose mailboxes operations would change.
func changedOnServer(ops []plan.Op) iter.Seq[mail.FolderName] {
	return func(yield func(mail.FolderName) bool) {
		for i := range ops {
			op := &ops[i]
			if op.Side == plan.Server && op.Kind != plan.Park && !(yield(op.Folder) && yield(op.From)) {
				return
			}
		}
	}
}

// reportHeld takes into the result what the guard holds back.
func (r *run) reportHeld(p plan.Plan) {
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
	g, gctx := r.group(ctx, max(r.set.Connections, runtime.GOMAXPROCS(0)))
	for _, fo := range folders {
		if fo.failed != nil {
			continue
		}
		g.Go(func() error {
			err := defect.Contain(func() error { return f(gctx, fo) })
			switch {
			case err == nil || !r.ofFolder(gctx, err):
				return err
			case r.overtaken(fo, err):
				r.leaveOut(fo, err)
			default:
				r.failFolder(fo, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// group makes a group of functions that run side by side, so many at a time.
func (r *run) group(ctx context.Context, limit int) (group, context.Context) {
	g, ctx := errgroup.WithContext(ctx)
	if r.w.Serial {
		limit = 1 // each begins when the one before has ended
	}
	g.SetLimit(limit)
	return group{g}, ctx
}

// group is an errgroup.Group to which a panic is an error like any other.
type group struct{ *errgroup.Group }

func (g group) Go(f func() error) {
	g.Group.Go(func() error { return defect.Contain(f) })
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

func (e *stateError) Error() string { return e.err.Error() }

func (e *stateError) Unwrap() error { return e.err }

// update is one durable commit to the state.
func (r *run) update(ctx context.Context, f func(*state.Tx) error) error {
	done := false
	defer func() {
		if !done { // also by a panic
			r.keepLedger()
		}
	}()
	// What was done must be recorded even when the run is being stopped.
	err := r.db.Update(context.WithoutCancel(ctx), func(tx *state.Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		return r.saveLedger(tx)
	})
	if err != nil {
		return &stateError{err}
	}
	done = true
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
