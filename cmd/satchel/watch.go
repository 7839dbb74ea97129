package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/satchel-mail/satchel/internal/config"
	"github.com/satchel-mail/satchel/internal/control"
	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/newmail"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/watch"
)

func newWatch(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "watch [ACCOUNT | ACCOUNT/FOLDER]...",
		Short: "Stay, and synchronise whatever changes",
		Long: `Stays running, and brings over what changes on the server or in the Maildir,
within a second where the server tells of changes by itself (NOTIFY, or IDLE on
as many folders as watch_connections says), else every poll. Without arguments
every account is watched.

While it runs, "satchel sync" on such an account asks it to do the work, and
"satchel status" says how it is. SIGHUP has it read the configuration again, and
try again to sign in where the password was refused. A watch on a terminal ends
with it.` +
			exitHelp("never; a watch ends when it is interrupted", "something failed that keeps every account from being watched",
				exitUsage, exitLocked, exitInterrupted),
		Example: `  satchel watch
  systemctl --user enable --now satchel-watch   (see contrib/systemd)`,
		ValidArgsFunction: a.completeAccounts,
		RunE:              a.runs(a.watch),
	}
}

// watch is the command's work: one round with the configuration as it is, and another one each time that it is to be read again.
func (a *app) watch(ctx context.Context, args []string) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	kept, forget := a.newLastings(ctx)
	defer forget()
	r, err := a.newRound(args, kept)
	if err != nil {
		return err
	}
	var sd supervisor
	for {
		roundCtx, end := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- r.run(roundCtx, sd) }()
		next := r
		for next == r && ctx.Err() == nil {
			select {
			case err := <-done:
				end()
				return err
			case <-hangups:
				if a.ui.hungUp() {
					end()
					return errors.Join(<-done, errInterrupted)
				}
				sd.reloading()
				if n, err := a.newRound(args, kept); err != nil {
					a.ui.fail("the configuration was not read again, and the watch goes on as before: %v", err)
					sd.ready()
				} else {
					next = n
				}
			case <-ctx.Done():
			}
		}
		end()
		if err := <-done; ctx.Err() != nil || err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		r = next
		r.again = true
		a.ui.say("the configuration was read again")
	}
}

// lasting is what goes on of an account though a watch reads its configuration again.
type lasting struct {
	removals watch.Removals
	hook     *newmail.Hook
}

// lastings are those of the accounts with these state databases.
type lastings struct {
	of    map[string]*lasting
	serve func(*newmail.Hook) // until the watch ends
}

// newLastings returns also what ends them, and waits until every hook was told what there was to tell, for as long as that may take.
func (a *app) newLastings(ctx context.Context) (lastings, func()) {
	serving, end := context.WithCancelCause(context.WithoutCancel(ctx)) // what the last round still delivers is told
	var all sync.WaitGroup
	serve := func(h *newmail.Hook) {
		all.Go(func() { h.Serve(serving, func(account string, err error) { a.ui.fail("%s: %v", account, err) }) })
	}
	return lastings{map[string]*lasting{}, serve}, func() {
		end(context.Cause(ctx))
		all.Wait()
	}
}

func (l lastings) take(j job) *lasting {
	kept := l.of[j.StatePath]
	if kept == nil {
		kept = &lasting{hook: newmail.New(j.Name, j.Maildir, j.OnNewMail)}
		l.of[j.StatePath] = kept
		l.serve(kept.hook)
	}
	kept.hook.Change(j.Name, j.Maildir, j.OnNewMail)
	return kept
}

// round is a watch with one reading of the configuration.
type round struct {
	a        *app
	cfg      *config.Config
	accounts []*watching
	display  *display
	// freeEvery is how often it is looked whether nobody else watches an account any more.
	freeEvery time.Duration
	again     bool // it is not the first: nothing that is wrong with the configuration ends the watch
}

// watching is one account of a round.
type watching struct {
	job
	*lasting
	first sync.Once
	began chan struct{} // closed when the first run has ended, or somebody else watches the account
	mute  bool          // it was said that there can be no socket

	mu      sync.Mutex
	watcher *watch.Watcher // nil: somebody else watches it
	said    string         // what was last said to be wrong
}

// status is how the account is, false if somebody else watches it.
func (w *watching) status() (watch.Status, bool) {
	if by := w.current(); by != nil {
		return by.Status(), true
	}
	return watch.Status{}, false
}

func (w *watching) current() *watch.Watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.watcher
}

func (w *watching) set(by *watch.Watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watcher = by
}

func (a *app) newRound(args []string, kept lastings) (*round, error) {
	cfg, err := a.loadConfig()
	if err != nil {
		return nil, err
	}
	jobs, err := pick(cfg.Accounts, args, true)
	if err != nil {
		return nil, err
	}
	r := &round{a: a, cfg: cfg, freeEvery: 10 * time.Second}
	for _, j := range jobs {
		r.accounts = append(r.accounts, &watching{job: j, lasting: kept.take(j), began: make(chan struct{})})
	}
	return r, nil
}

// run watches until ctx ends. Accounts that somebody else watches already are left to them for as long as they do; if that are all, the
// first round fails.
func (r *round) run(ctx context.Context, sd supervisor) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	r.display = r.a.progress()
	defer r.display.stop()
	sockets := make([]net.Listener, len(r.accounts))
	defer func() {
		for _, l := range sockets {
			closeSocket(l)
		}
	}()
	free := 0
	for i, w := range r.accounts {
		l, err := r.listen(w)
		if errors.Is(err, control.ErrWatched) {
			r.cede(w, control.ErrWatched)
			continue
		}
		sockets[i] = l
		r.prepare(w)
		free++
	}
	if free == 0 && !r.again {
		return &reported{exitLocked}
	}
	service, err := r.serveMetrics(ctx)
	if err != nil && r.again {
		r.a.ui.fail("%v; until the configuration is read again there are no figures", err)
		service, err = func() {}, nil
	}
	if err != nil {
		return err
	}
	defer service()
	r.display.rest(r.resting)
	var all sync.WaitGroup
	for i, w := range r.accounts {
		l := sockets[i]
		sockets[i] = nil // whoever serves closes it
		all.Go(func() { r.keep(ctx, w, l) })
	}
	all.Go(func() {
		watch.Awakenings(ctx, func() {
			for _, w := range r.accounts {
				if by := w.current(); by != nil {
					by.Wake()
				}
			}
		})
	})
	all.Go(func() { sd.attend(ctx, r.accounts) })
	all.Wait()
	return nil
}

// keep watches an account until ctx ends, and waits for as long as somebody else does.
func (r *round) keep(ctx context.Context, w *watching, l net.Listener) {
	for {
		if by := w.current(); by != nil {
			err := r.watchOver(ctx, w, by, l)
			if ctx.Err() != nil {
				return
			}
			r.cede(w, err)
			if defect.Of(err) != nil {
				return
			}
		}
		for {
			select {
			case <-time.After(r.freeEvery):
			case <-ctx.Done():
				return
			}
			var err error
			if l, err = r.listen(w); !errors.Is(err, control.ErrWatched) {
				break
			}
		}
		r.a.ui.say("%s: the other watch has ended, and this one takes its place", w.Name)
		r.prepare(w)
	}
}

// watchOver watches an account, until ctx ends, or somebody else turns out to do so, or the program makes a mistake that concerns
// more than one run.
func (r *round) watchOver(ctx context.Context, w *watching, by *watch.Watcher, l net.Listener) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	why := error(control.ErrWatched)
	var all sync.WaitGroup
	all.Go(func() {
		defer end()
		if err := defect.Contain(func() error { by.Run(ctx); return nil }); err != nil {
			why = fmt.Errorf("it is not watched any more until satchel is started again: %w", err)
		}
	})
	all.Go(func() {
		defer end()
		r.serve(ctx, w, by, l)
	})
	all.Wait()
	return why
}

// cede leaves an account to somebody else, or to itself.
func (r *round) cede(w *watching, why error) {
	r.a.ui.fail("%s: %v", w.Name, why)
	w.set(nil)
	w.first.Do(func() { close(w.began) })
}

// listen makes the account's socket. It is nil where that can't be done for now: there is no directory for it yet, or the disk is full.
func (r *round) listen(w *watching) (net.Listener, error) {
	l, err := control.Listen(control.Path(w.StatePath))
	if err != nil && !errors.Is(err, control.ErrWatched) {
		if !errors.Is(err, fs.ErrNotExist) && !w.mute {
			w.mute = true
			r.a.ui.fail("%s: %v; until that is mended `satchel sync` can't ask this watch to do the work", w.Name, err)
		}
		return nil, nil
	}
	return l, err
}

// closeSocket closes one, if it could be made.
func closeSocket(l net.Listener) {
	if l != nil {
		_ = l.Close()
	}
}

// socketEvery is how often it is looked whether the directory of the socket is there.
const socketEvery = time.Second

// serve answers those who ask about the account, until ctx ends or somebody else turns out to watch it. A socket that is lost with the Maildir
// that it lay in is made anew.
func (r *round) serve(ctx context.Context, w *watching, by *watch.Watcher, l net.Listener) {
	for ctx.Err() == nil {
		if l == nil {
			var err error
			if l, err = r.listen(w); err != nil {
				return
			}
		}
		if l != nil {
			control.Serve(ctx, l, func(ctx context.Context, req control.Request, reply func(control.Reply)) int {
				return r.answer(ctx, w, by, req, reply)
			})
			l = nil
		}
		select {
		case <-time.After(socketEvery):
		case <-ctx.Done():
		}
	}
	closeSocket(l)
}

// prepare makes the account's watcher.
func (r *round) prepare(w *watching) {
	w.set(watch.New(watch.Account{
		Settings: settings(w.Account),
		World:    r.a.world(w.Account, r.display.update),
		Targets:  w.targets,
		Poll:     w.Poll,
		Idle:     w.WatchConnections,
		Removals: &w.removals,
		Ran:      func(res *mailsync.Result) { r.ran(w, res) },
	}))
}

// ran tells what a run did, if it did anything, and what went wrong, once.
func (r *round) ran(w *watching, res *mailsync.Result) {
	r.display.done(w.Name)
	w.hook.Tell(res.ToMaildir.New)
	if exitOf(res.Fatal) == exitInterrupted { // the round ends
		if didSomething(res) {
			r.a.showSync(res, false)
		}
		return
	}
	w.first.Do(func() { close(w.began) })
	trouble := trouble(res)
	w.mu.Lock()
	again := trouble == w.said
	w.said = trouble
	w.mu.Unlock()
	if again && !didSomething(res) {
		return
	}
	shown := *res
	if again {
		shown.Errors, shown.HeldBack = nil, 0 // they were said
	}
	r.a.showSync(&shown, false)
}

// trouble is all that is wrong after a run, to compare it with the time before.
func trouble(res *mailsync.Result) string {
	var b strings.Builder
	if res.Fatal != nil && !errors.Is(res.Fatal, mailsync.ErrLocked) {
		fmt.Fprintln(&b, res.Fatal)
	}
	for _, e := range res.Errors {
		fmt.Fprintln(&b, e)
	}
	fmt.Fprintln(&b, res.Warnings, res.HeldBack, res.HeldWhy)
	return b.String()
}

func didSomething(res *mailsync.Result) bool {
	return res.ToMaildir != mailsync.Count{} || res.ToServer != mailsync.Count{} ||
		res.MaildirFolders != mailsync.FolderCount{} || res.ServerFolders != mailsync.FolderCount{}
}

// answer does what another Satchel asks for.
func (r *round) answer(ctx context.Context, w *watching, by *watch.Watcher, req control.Request, reply func(control.Reply)) int {
	res := &mailsync.Result{Account: req.Account}
	switch {
	case req.Account != w.Name:
		res.Fatal = fmt.Errorf("the watch knows this Maildir's account as %q, not as %q; restart it", w.Name, req.Account)
	case req.Do == control.Status:
		reply(control.Reply{Status: marshal(watchLine(by.Status()))})
		return exitOK
	case req.Do == control.Sync:
		res = syncFor(ctx, by, req)
	default:
		res.Fatal = errors.New("the running watch is of another version; restart it")
	}
	asker := r.a.on(writer(func(s string) { reply(control.Reply{Out: s}) }), writer(func(s string) { reply(control.Reply{Err: s}) }))
	asker.ui.json, asker.ui.quiet, asker.configPath = req.JSON, req.Quiet, req.Config
	asker.showSync(res, req.DryRun)
	return exitOfResult(res)
}

// syncFor has a watcher synchronise what somebody asked for.
func syncFor(ctx context.Context, by *watch.Watcher, req control.Request) *mailsync.Result {
	var targets []mail.FolderName
	for _, f := range req.Targets {
		targets = append(targets, mail.FolderName(f))
	}
	res, err := by.Sync(ctx, mailsync.Options{Targets: targets, DryRun: req.DryRun, AllowDeletes: req.AllowDeletes, RestoreHeld: req.RestoreHeld, Rebind: req.Rebind})
	switch {
	case err != nil: // whoever asked is gone, or the watch ends
		return &mailsync.Result{Account: req.Account, Fatal: watch.ErrEnded}
	case exitOfResult(res) == exitInterrupted: // it was not the asker who was
		cut := *res
		cut.Fatal = watch.ErrEnded
		cut.Errors = slices.DeleteFunc(slices.Clone(res.Errors), func(e mailsync.FolderError) bool { return exitOf(e) == exitInterrupted })
		return &cut
	}
	return res
}

// writer hands on what is written.
type writer func(string)

// Write implements io.Writer.
func (w writer) Write(p []byte) (int, error) {
	w(string(p))
	return len(p), nil
}

// askWatch has the watch on an account, if there is one, do what `sync` was asked for. false: there is none.
func (a *app) askWatch(ctx context.Context, j job, opt mailsync.Options) (answered, bool) {
	req := control.Request{
		Do: control.Sync, Account: j.Name, DryRun: opt.DryRun, AllowDeletes: opt.AllowDeletes, RestoreHeld: opt.RestoreHeld, Rebind: opt.Rebind,
		JSON: a.ui.json, Quiet: a.ui.quiet, Config: a.configPath,
	}
	for _, f := range j.targets {
		req.Targets = append(req.Targets, string(f))
	}
	var replies []control.Reply
	exit, err := control.Ask(ctx, control.Path(j.StatePath), req, func(r control.Reply) { replies = append(replies, r) })
	switch {
	case errors.Is(err, control.ErrNobody):
		return answered{}, false
	case err != nil:
		return answered{result: &mailsync.Result{Account: j.Name, Fatal: err}, exit: exitOf(err)}, true
	}
	return answered{replies: replies, exit: exit}, true
}

// answered is what came of a sync: its result, or what the watch replied that was asked for it.
type answered struct {
	result  *mailsync.Result // nil: a watch replied
	replies []control.Reply
	exit    int
}

// showReplies prints what a watch replied.
func (a *app) showReplies(replies []control.Reply) {
	for _, r := range replies {
		if r.Out != "" {
			a.ui.raw(r.Out)
		}
		if r.Err != "" {
			a.ui.note("%s", strings.TrimSuffix(r.Err, "\n"))
		}
	}
}
