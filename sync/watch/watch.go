// Package watch keeps accounts synchronised: it waits until something happens on either side, and has the engine look.
//
// Every run is a run of the whole account, as `satchel sync` makes it, on a connection that is already open. It costs what changed, so
// there is no need for a second, smaller way of synchronising, with rules of its own.
package watch

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// Account is one account to watch.
type Account struct {
	Settings mailsync.Settings
	World    mailsync.World
	Targets  []mail.FolderName // empty for all
	// Poll is how often the account is looked at though nothing was told.
	Poll time.Duration
	// Idle is how many mailboxes are waited for at once on a server without NOTIFY.
	Idle int
	// Removals are those of the watchers before this one, nil if there were none.
	Removals *Removals
	// Ran is called after every run, also one that was cut off, but not after a dry run; it must not take long.
	Ran func(*mailsync.Result)
}

// Watcher watches one account.
type Watcher struct {
	acc    Account
	log    *slog.Logger
	doors  doors
	keeper *keeper
	ears   *ears

	requests chan request
	ended    chan struct{} // closed when Run returns
	notices  chan struct{} // there is something in told
	woke     chan struct{}

	pace    *pace
	began   time.Time // when the last run began
	marks   map[string]mailsync.Mark
	recent  []string // mailboxes, the one that changed last first
	waiting waiting  // messages that wait to be removed from the server
	// deafSince is when a connection that would have listened was not let in, zero if that was long ago or never.
	deafSince time.Time

	mu     sync.Mutex
	status Status
	told   toldOf
}

// doors are the ways to the outside, for tests.
type doors struct {
	sync       func(context.Context, mailsync.Settings, mailsync.World, mailsync.Options) *mailsync.Result
	localQuiet func(context.Context, mailsync.Settings, mailsync.World) (bool, error)
	events     func(root string, layout maildir.Layout) (localEvents, error)
}

type localEvents interface {
	C() <-chan maildir.Notice
	Close() error
}

// request is a run that somebody asked for.
type request struct {
	opt  mailsync.Options
	done chan<- *mailsync.Result
}

// toldOf is what the server told since the last look.
type toldOf struct {
	ready, unknown, barred bool
	mailboxes              map[string]remote.Status
}

// New prepares to watch an account; Run does it.
func New(acc Account) *Watcher {
	w := &Watcher{acc: acc, log: acc.World.Log, requests: make(chan request), ended: make(chan struct{}), notices: make(chan struct{}, 1), woke: make(chan struct{}, 1),
		pace: newPace(acc.Poll)}
	w.doors = doors{mailsync.Sync, mailsync.LocalQuiet,
		func(root string, layout maildir.Layout) (localEvents, error) {
			return maildir.WatchEvents(root, layout)
		}}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	w.log = w.log.With("account", acc.Settings.Account)
	if w.acc.Removals == nil {
		w.acc.Removals = &Removals{}
	}
	w.keeper = &keeper{dialer: acc.World.Dialer}
	if !acc.Settings.Policy.Maildrop { // a maildrop's session is one run, and nobody else may be there meanwhile
		w.acc.World.Dialer, w.acc.World.Keep = w.keeper, w.keeper.keep
		w.ears = newEars(acc.World.Dialer, acc.Idle, w.log)
		w.ears.told, w.ears.how, w.ears.barred = w.hear, w.hears, w.barred
	}
	return w
}

// Run watches until ctx ends, which is the only reason for it to return.
func (w *Watcher) Run(ctx context.Context) {
	defer close(w.ended)
	now := time.Now()
	w.publish(func(s *Status) {
		*s = Status{Account: w.acc.Settings.Account, Since: now, ServerQuiet: now, LocalQuiet: now, State: Starting}
	})
	defer w.publish(func(s *Status) { s.State = Ended })
	events := w.watchMaildir()
	if events != nil {
		defer events.Close()
	}
	if w.ears != nil {
		defer w.ears.stop()
		if w.watches(mail.Inbox) {
			w.ears.prefer([]string{string(mail.Inbox)})
		}
		w.ears.listen(ctx)
	}
	defer w.keeper.drop()
	w.pace.changed(now, 0)
	for ctx.Err() == nil {
		w.turn(ctx, events)
	}
}

// toldPoll is how often an account is looked at of which the server tells everything. It says anew that it does every few minutes, and
// then there is a look too.
const toldPoll = 30 * time.Minute

func (w *Watcher) watchMaildir() localEvents {
	events, err := w.doors.events(w.acc.Settings.Root, w.acc.Settings.Layout)
	if err != nil {
		w.problem(err)
		return nil
	}
	return events
}

// problem shows why changes in the Maildir may be seen late.
func (w *Watcher) problem(err error) {
	w.log.Warn("watching the Maildir", "error", err)
	w.publish(func(s *Status) { s.Problem = err })
}

// turn waits for one thing to happen, and does what it asks for.
func (w *Watcher) turn(ctx context.Context, events localEvents) {
	var local <-chan maildir.Notice
	if events != nil {
		local = events.C()
	}
	w.pace.poll = w.acc.Poll
	if w.hearsAll() {
		w.pace.poll = max(w.acc.Poll, toldPoll)
	}
	var run <-chan time.Time
	if at, ok := w.pace.next(); ok {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		run = t.C
	}
	select {
	case <-ctx.Done():
	case n := <-local:
		w.inMaildir(ctx, n)
	case <-w.notices:
		w.onServer()
	case req := <-w.requests:
		req.done <- w.run(ctx, req.opt)
	case <-w.woke:
		w.log.Debug("the machine slept, or the network came back")
		w.keeper.drop()
		if w.ears != nil {
			w.ears.listen(ctx)
		}
		w.pace.wake(time.Now())
	case <-run:
		waited := w.waiting
		w.run(ctx, mailsync.Options{Targets: w.acc.Targets, MayRemove: func(messages int) (ok bool) {
			w.waiting, ok = waited.next(messages, time.Now())
			return ok
		}})
	}
}

// inMaildir takes what the file system tells. What the last run did itself is no news.
func (w *Watcher) inMaildir(ctx context.Context, n maildir.Notice) {
	if n.Problem != nil {
		w.problem(n.Problem)
	}
	if len(n.Folders) == 0 && !n.All {
		return
	}
	now := time.Now()
	if w.pace.due.IsZero() {
		quiet, err := w.doors.localQuiet(ctx, w.acc.Settings, w.acc.World)
		if err != nil {
			w.log.Debug("looking whether the Maildir changed", "error", err) // the run says it
		}
		if quiet {
			return
		}
	}
	w.publish(func(s *Status) { s.LocalQuiet = now })
	if w.acc.Settings.Policy.Maildrop && !n.All {
		return // nothing but a deletion concerns the server, which is not signed in to for each message that is read
	}
	w.pace.changed(now, settleLocal)
	if n.All {
		w.pace.mended() // the disk may be mounted again
	}
}

// hear takes what the server tells, on whichever connection.
func (w *Watcher) hear(n remote.Notice) {
	w.mu.Lock()
	switch {
	case n.Ready:
		w.told.ready = true
	case n.Folders || !n.Known:
		w.told.unknown = true
	default:
		if w.told.mailboxes == nil {
			w.told.mailboxes = map[string]remote.Status{}
		}
		if len(w.told.mailboxes) < maxTold {
			w.told.mailboxes[n.Mailbox] = n.Status
		} else {
			w.told.unknown = true
		}
	}
	w.mu.Unlock()
	w.notice()
}

// barred: the server did not let a connection in that would have listened.
func (w *Watcher) barred() {
	w.mu.Lock()
	w.told.barred = true
	w.mu.Unlock()
	w.notice()
}

func (w *Watcher) notice() {
	select {
	case w.notices <- struct{}{}:
	default:
	}
}

// maxTold bounds how many mailboxes a server can tell of between two looks.
const maxTold = 10_000

// onServer looks at what the server told since the last look. What the last run saw is no news.
func (w *Watcher) onServer() {
	w.mu.Lock()
	told := w.told
	w.told = toldOf{}
	w.mu.Unlock()
	now := time.Now()
	if told.barred { // so that the next run finds out whether it may come in, and is said to if it may not
		w.keeper.drop()
		w.deafSince = now
		w.pace.changed(now, 0)
	}
	news := told.unknown
	for name, st := range told.mailboxes {
		mark, ours := w.marks[name]
		news = news || w.marks == nil || ours && !seen(mark.Status, st)
	}
	switch {
	case news:
		w.publish(func(s *Status) { s.ServerQuiet = now })
		w.pace.changed(now, settleServer)
	case told.ready && !w.began.IsZero():
		// What happened since the last run, and before the server began to tell, was not told.
		w.pace.changed(now, settleServer)
	}
}

// seen reports whether what the server tells of a mailbox was known to the last run. Numbers that it did not tell are 0.
func seen(mark, told remote.Status) bool {
	counted := told.Messages != 0 || told.UIDNext != 0 // an empty mailbox is told of with its UIDNEXT
	return (told.UIDValidity == 0 || told.UIDValidity == mark.UIDValidity) &&
		(told.UIDNext == 0 || told.UIDNext == mark.UIDNext) &&
		(!counted || told.Messages == mark.Messages) &&
		told.HighestModSeq <= mark.HighestModSeq
}

// run has the engine look at the account.
func (w *Watcher) run(ctx context.Context, opt mailsync.Options) *mailsync.Result {
	told := w.pace.first
	partly := len(opt.Targets) > 0 && !slices.Equal(opt.Targets, w.acc.Targets)
	pending, waited := *w.pace, w.waiting
	w.pace.began()
	w.began, w.waiting = time.Now(), waiting{}
	var before Status
	w.publish(func(s *Status) { before, s.State, s.NextTry = *s, Syncing, time.Time{} })
	opt.Patient = true
	opt.Removed = w.acc.Removals.lately(w.began)
	res := w.doors.sync(ctx, w.acc.Settings, w.acc.World, opt)
	now := time.Now()
	if !opt.AllowDeletes { // what was meant is not counted
		w.acc.Removals.add(now, res.Removed)
	}
	if w.acc.Ran != nil && !opt.DryRun {
		defer w.acc.Ran(res)
	}
	if ctx.Err() != nil && res.Fatal != nil {
		return res
	}
	if opt.DryRun { // it did nothing about what was told
		*w.pace, w.waiting = pending, waited
		w.publish(func(s *Status) { s.State, s.NextTry = before.State, before.NextTry })
		return res
	}
	failed := w.pace.failures > 0 || w.pace.refused
	w.pace.ended(now, res)
	if partly && res.Fatal == nil { // the other folders were not looked at
		w.pace.first, w.pace.due, w.pace.polled = pending.first, pending.due, pending.polled
		if !pending.again.IsZero() {
			w.pace.again, w.pace.troubled = pending.again, pending.troubled
		}
	}
	switch {
	case w.waiting.messages > 0:
		w.pace.changed(now, settleRemoved)
	case res.Fatal != nil, partly: // it did not get that far, or looked at some folders only
		w.waiting = waited
	}
	if res.Fatal == nil {
		w.follow(ctx, res, failed)
	}
	w.publish(func(s *Status) {
		s.ran(now, res, w.pace)
		if res.Fatal == nil && !told.IsZero() && res.FoldersChanged > 0 {
			s.Totals.Lag = now.Sub(told)
		}
	})
	return res
}

// follow keeps what a run that went well found, and has the server listened to where mail arrives.
func (w *Watcher) follow(ctx context.Context, res *mailsync.Result, failed bool) {
	before := w.marks
	w.marks = res.Marks
	if w.ears == nil {
		return
	}
	w.recent = order(w.recent, before, w.marks, w.watches)
	w.ears.prefer(w.recent)
	barred := !w.deafSince.IsZero() && time.Since(w.deafSince) > lastRetry
	if failed || barred { // the server is back, and need not be waited for
		w.deafSince = time.Time{}
		w.ears.listen(ctx)
	}
}

// watches reports whether a folder is one of those to watch.
func (w *Watcher) watches(f mail.FolderName) bool {
	return len(w.acc.Targets) == 0 || slices.Contains(w.acc.Targets, f)
}

// order returns the mailboxes of the folders that are watched: those that changed on the server before the others, and the INBOX before all.
func order(recent []string, before, now map[string]mailsync.Mark, watches func(mail.FolderName) bool) []string {
	var names []string
	for name, mark := range now {
		if watches(mark.Folder) {
			names = append(names, name)
		}
	}
	rank := func(name string) int {
		i := slices.Index(recent, name)
		switch {
		case name == string(mail.Inbox):
			return -2
		case before != nil && before[name] != now[name]:
			return -1
		case i < 0:
			return len(recent)
		}
		return i
	}
	slices.Sort(names)
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	return names[:min(len(names), maxRecent)]
}

// maxRecent is how many mailboxes are kept in order of their last change.
const maxRecent = 100

// Sync has the engine look at the account now, as somebody asked for it, and returns what came of it.
func (w *Watcher) Sync(ctx context.Context, opt mailsync.Options) (*mailsync.Result, error) {
	done := make(chan *mailsync.Result, 1)
	select {
	case w.requests <- request{opt, done}:
	case <-w.ended:
		return nil, ErrEnded
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case res := <-done:
		return res, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Wake tells that the machine slept or the network changed: connections may be dead, and what failed may work now.
func (w *Watcher) Wake() {
	select {
	case w.woke <- struct{}{}:
	default:
	}
}

// ErrEnded: the watch ended before it could do what it was asked for.
var ErrEnded = errors.New("the watch on this account ended meanwhile, or read its configuration again; run again")
