package watch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// rig is a watcher whose engine, server and file system are the test's.
type rig struct {
	*Watcher
	t      *testing.T
	events chan maildir.Notice
	server *fakeServer
	end    func()

	mu     sync.Mutex
	runs   []time.Duration // when they began, since the start
	asked  []mailsync.Options
	quiet  bool
	result *mailsync.Result
	takes  time.Duration
	remove func(may func(int) bool) // in every run that may be told to wait
}

// C and Close make the rig the Maildir's events.
func (r *rig) C() <-chan maildir.Notice { return r.events }
func (r *rig) Close() error             { return nil }

// newRig starts a watcher within a synctest bubble.
func newRig(t *testing.T, server *fakeServer, change func(*Account)) *rig {
	r := &rig{t: t, events: make(chan maildir.Notice), server: server, result: &mailsync.Result{}}
	acc := Account{Settings: mailsync.Settings{Account: "a"}, World: mailsync.World{Dialer: server}, Poll: 5 * time.Minute, Idle: 2}
	if change != nil {
		change(&acc)
	}
	r.Watcher = New(acc)
	r.pace.jitter = func(d time.Duration) time.Duration { return d }
	began := time.Now()
	r.doors = doors{
		sync: func(_ context.Context, _ mailsync.Settings, _ mailsync.World, opt mailsync.Options) *mailsync.Result {
			r.mu.Lock()
			r.runs, r.asked = append(r.runs, time.Since(began)), append(r.asked, opt)
			if r.remove != nil && opt.MayRemove != nil {
				r.remove(opt.MayRemove)
			}
			res, takes := *r.result, r.takes
			r.mu.Unlock()
			time.Sleep(takes)
			return &res
		},
		localQuiet: func(context.Context, mailsync.Settings, mailsync.World) (bool, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.quiet, nil
		},
		events: func(string, maildir.Layout) (localEvents, error) { return r, nil },
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	r.end = func() { cancel(); <-done }
	synctest.Wait()
	return r
}

// answers has later runs end so.
func (r *rig) answers(res *mailsync.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result = res
}

// removes has later runs remove messages.
func (r *rig) removes(f func(may func(int) bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove = f
}

func (r *rig) isQuiet(quiet bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quiet = quiet
}

// ran returns how many runs began since it was last called.
func (r *rig) ran() int {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.runs)
	r.runs, r.asked = nil, nil
	return n
}

// want fails the test unless so many runs began within that time.
func (r *rig) want(n int, within time.Duration, why string) {
	r.t.Helper()
	time.Sleep(within)
	if got := r.ran(); got != n {
		r.t.Errorf("%s: %d runs within %v, want %d", why, got, within, n)
	}
}

func (r *rig) touch() { r.events <- maildir.Notice{Folders: map[mail.FolderName]bool{"INBOX": true}} }

func TestWatchPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeServer{}, nil)
		defer r.end()
		r.want(1, 0, "at the start")
		r.want(0, 5*time.Minute-time.Second, "before it is time to poll")
		r.want(1, time.Second, "then")
		r.want(12, time.Hour, "in an hour")
	})
}

func TestWatchMaildir(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeServer{}, nil)
		defer r.end()
		r.want(1, 0, "at the start")
		r.touch()
		r.want(1, settleLocal, "a change")
		r.isQuiet(true)
		for range 10 {
			r.touch()
		}
		r.want(0, time.Minute, "what the run did itself")
		r.isQuiet(false)
		r.touch()
		r.want(1, settleLocal, "a change after that")
	})
}

func TestWatchGathersABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeServer{}, nil)
		defer r.end()
		r.want(1, 0, "at the start")
		for range 5000 { // a mail client marks 5,000 messages in 2 s
			r.touch()
			time.Sleep(400 * time.Microsecond)
		}
		r.want(1, time.Second, "a burst")
	})
}

// TestWatchWaitsForAllRemovals: what empties a folder in slices is seen by the guard as one, whatever the server tells meanwhile.
func TestWatchWaitsForAllRemovals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeServer{caps: remote.Capabilities{Notify: true}}
		r := newRig(t, s, nil)
		defer r.end()
		time.Sleep(time.Second)
		r.ran()
		began := time.Now()
		var gone int
		var removed []string
		remove := func(n int) {
			r.mu.Lock()
			gone += n
			r.mu.Unlock()
			r.touch()
		}
		r.removes(func(may func(int) bool) {
			if gone > 0 && may(gone) {
				removed = append(removed, fmt.Sprintf("%d after %v", gone, time.Since(began).Round(time.Second)))
				gone = 0
			}
		})
		removals := func(want ...string) {
			t.Helper()
			time.Sleep(time.Second)
			r.mu.Lock()
			defer r.mu.Unlock()
			if !slices.Equal(removed, want) {
				t.Errorf("removed were %q, want %q", removed, want)
			}
			removed, began = nil, time.Now()
		}
		remove(plan.SmallDeletion)
		removals("10 after 0s")
		for range 50 {
			remove(100)
			s.tell(remote.Notice{Folders: true})
			time.Sleep(120 * time.Millisecond)
		}
		removals()
		time.Sleep(2 * time.Second)
		removals("5000 after 1s")
		for range 40 { // it takes too long
			remove(20)
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Second)
		removals("620 after 30s", "180 after 41s")
		r.ran()
		r.want(0, time.Minute, "when nothing waits")
	})
}

// TestWatchWaitsThoughAFolderIsAskedFor: who asks for one folder again and again does not have removals wait for ever.
func TestWatchWaitsThoughAFolderIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeServer{}, nil)
		defer r.end()
		time.Sleep(time.Second)
		r.ran()
		removed := 0
		r.removes(func(may func(int) bool) {
			if removed == 0 && may(20) {
				removed++
			}
		})
		r.touch()
		for range 20 {
			time.Sleep(700 * time.Millisecond)
			if _, err := r.Sync(t.Context(), mailsync.Options{Targets: []mail.FolderName{"A"}}); err != nil {
				t.Fatal(err)
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if removed != 1 {
			t.Error("nothing is removed")
		}
	})
}

// TestWatchWaitsThoughRunsFail: a server that lets nobody in again so soon does not have removals wait for ever.
func TestWatchWaitsThoughRunsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeServer{}, nil)
		defer r.end()
		time.Sleep(time.Second)
		r.ran()
		removed := time.Time{}
		var let time.Time // nobody in before then
		began := time.Now()
		r.removes(func(may func(int) bool) {
			r.result = &mailsync.Result{}
			if time.Now().Before(let) {
				r.result = &mailsync.Result{Fatal: &remote.Error{Class: remote.Unavailable, RetryAfter: time.Until(let)}}
				return
			}
			if let = time.Now().Add(time.Minute); removed.IsZero() && may(20) {
				removed = time.Now()
			}
		})
		r.touch()
		time.Sleep(10 * time.Minute)
		r.mu.Lock()
		defer r.mu.Unlock()
		if removed.IsZero() || removed.Sub(began) > 2*time.Minute {
			t.Errorf("removed at %v, it began at %v", removed, began)
		}
	})
}

func TestWatchServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeServer{caps: remote.Capabilities{Notify: true}}
		mark := remote.Status{UIDValidity: 1, UIDNext: 10, Messages: 9, HighestModSeq: 70}
		r := newRig(t, s, nil)
		defer r.end()
		r.answers(&mailsync.Result{Marks: map[string]mailsync.Mark{"INBOX": {Status: mark}, "Other": {}}})
		time.Sleep(time.Second)
		r.ran() // the first, and perhaps one since the server began to tell
		s.tell(remote.Notice{Mailbox: "INBOX", Known: true, Status: remote.Status{UIDNext: 11, Messages: 10, HighestModSeq: 71}})
		r.want(1, settleServer, "a new message")
		s.tell(remote.Notice{Mailbox: "INBOX", Known: true, Status: mark})
		s.tell(remote.Notice{Mailbox: "INBOX", Known: true, Status: remote.Status{UIDValidity: 1, HighestModSeq: 70}})
		s.tell(remote.Notice{Mailbox: "Excluded", Known: true, Status: remote.Status{UIDNext: 2, Messages: 1}})
		r.want(0, time.Minute, "what the last run saw, and what is left out")
		s.tell(remote.Notice{Mailbox: "INBOX", Known: true, Status: remote.Status{UIDNext: 10, Messages: 0, HighestModSeq: 70}})
		r.want(1, settleServer, "all messages expunged")
		s.tell(remote.Notice{Mailbox: "INBOX"})
		r.want(1, settleServer, "something that only a look tells")
		s.tell(remote.Notice{Folders: true})
		r.want(1, settleServer, "folders")
		if got := r.Status().Listening; len(got) != 1 || got[0] != "" {
			t.Errorf("the status says that the server tells of %q", got)
		}
	})
}

// marksOf are marks with such UIDNEXTs, of folders that are called as their mailboxes are, in lower case.
func marksOf(next map[string]mail.UID) map[string]mailsync.Mark {
	out := map[string]mailsync.Mark{}
	for name, uid := range next {
		out[name] = mailsync.Mark{Status: remote.Status{UIDNext: uid}, Folder: mail.FolderName(strings.ToLower(name))}
	}
	return out
}

func TestWatchHearsOfManyMailboxes(t *testing.T) {
	for name, c := range map[string]struct {
		targets       []mail.FolderName
		before, later []string
	}{
		"all":  {nil, []string{"INBOX", "A", "B"}, []string{"INBOX", "A", "D"}},
		"some": {[]mail.FolderName{"b", "e", "d"}, []string{"B", "D"}, []string{"B", "D"}},
		"one":  {[]mail.FolderName{"c"}, []string{"C"}, []string{"C"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &fakeServer{caps: remote.Capabilities{Idle: true}}
				r := newRig(t, s, func(a *Account) { a.Idle, a.Targets = 3, c.targets })
				defer r.end()
				r.answers(&mailsync.Result{Marks: marksOf(map[string]mail.UID{"INBOX": 1, "A": 1, "B": 1, "C": 1, "D": 1})})
				time.Sleep(6 * time.Minute)
				s.waitsFor(t, c.before...)
				r.answers(&mailsync.Result{Marks: marksOf(map[string]mail.UID{"INBOX": 1, "A": 1, "B": 1, "C": 1, "D": 2})})
				time.Sleep(5 * time.Minute)
				s.waitsFor(t, c.later...)
				if got := r.Status().Listening; len(got) != len(c.later) {
					t.Errorf("the status says that the server tells of %q", got)
				}
			})
		})
	}
}

// TestWatchLosesTheServer: what listens is opened again, at growing intervals, and what happened meanwhile is looked at.
func TestWatchLosesTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeServer{caps: remote.Capabilities{Notify: true}}
		r := newRig(t, s, nil)
		defer r.end()
		time.Sleep(2 * time.Minute)
		r.ran()
		s.down(&remote.Error{Class: remote.Unreachable})
		r.answers(&mailsync.Result{Fatal: &remote.Error{Class: remote.Unreachable}})
		time.Sleep(14 * time.Minute)
		if n := s.dialled(); n < 8 || n > 12 {
			t.Errorf("within 14 minutes %d connections were tried", n)
		}
		if n := r.ran(); n < 6 || n > 12 {
			t.Errorf("and %d runs", n)
		}
		if st := r.Status(); st.State != Retrying || st.NextTry.Before(time.Now()) || st.Error == nil {
			t.Errorf("the status is %+v", st)
		}
		s.up()
		r.answers(&mailsync.Result{})
		r.Wake()
		r.want(2, time.Second, "once it is back") // the second since the server tells
		if got := r.Status(); got.State != Waiting || len(got.Listening) != 1 {
			t.Errorf("the status is %+v", got)
		}
	})
}

func TestWatchIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeServer{}
		s.down(&remote.Error{Class: remote.Auth, Code: "AUTHENTICATIONFAILED"})
		r := newRig(t, s, nil)
		defer r.end()
		r.answers(&mailsync.Result{Fatal: &remote.Error{Class: remote.Auth, Code: "AUTHENTICATIONFAILED"}})
		time.Sleep(10 * time.Minute)
		r.ran()
		dialled := s.dialled()
		r.touch()
		r.Wake()
		r.want(0, 24*time.Hour, "after a wrong password")
		if n := s.dialled() - dialled; n > 1 {
			t.Errorf("a server that refuses the password is asked %d more times in a day", n)
		}
		if got := r.Status().State; got != Refused {
			t.Errorf("the state is %q", got)
		}
		s.up()
		r.answers(&mailsync.Result{})
		if res, err := r.Sync(t.Context(), mailsync.Options{}); err != nil || res.Fatal != nil {
			t.Errorf("asked for, it ran with %v, %v", res, err)
		}
		r.want(2, 6*time.Minute, "asked for, and a poll")
	})
}

// TestWatchListenersAreRefused: a run on a connection that is still open does not show that no other is let in any more.
func TestWatchListenersAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeServer{caps: remote.Capabilities{Notify: true}}
		r := newRig(t, s, nil)
		defer r.end()
		time.Sleep(time.Minute)
		r.keeper.keep(&fakeSession{server: s})
		r.ran()
		s.down(&remote.Error{Class: remote.Auth, Code: "AUTHENTICATIONFAILED"})
		r.want(1, time.Second, "a connection that was not let in")
		if r.keeper.kept != nil {
			t.Error("the next run uses an old connection")
		}
		dialled := s.dialled()
		s.up()
		time.Sleep(10 * time.Minute)
		if n := s.dialled() - dialled; n != 0 {
			t.Errorf("%d connections were tried soon after that", n)
		}
		time.Sleep(20 * time.Minute)
		s.waitsFor(t, "")
	})
}

// TestWatchStaysRefused: a dry run, which is not recorded, does not change what is said of the account.
func TestWatchStaysRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeServer{}, nil)
		defer r.end()
		r.answers(&mailsync.Result{Fatal: &remote.Error{Class: remote.Auth, Code: "AUTHENTICATIONFAILED"}})
		time.Sleep(10 * time.Minute)
		if _, err := r.Sync(t.Context(), mailsync.Options{DryRun: true}); err != nil {
			t.Fatal(err)
		}
		if got := r.Status().State; got != Refused {
			t.Errorf("the state is %q", got)
		}
	})
}

// TestWatchFindsTheMaildirAgain: the disk is mounted again; what failed for want of it is tried at once.
func TestWatchFindsTheMaildirAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeServer{}, nil)
		defer r.end()
		for _, err := range []error{&mailsync.SetupError{Err: errTest}, &mailsync.LocalError{Err: errTest}} {
			r.answers(&mailsync.Result{Fatal: err})
			time.Sleep(2*time.Hour + time.Second)
			r.ran()
			r.touch()
			r.want(0, time.Second, "a change in the Maildir")
			r.events <- maildir.Notice{All: true}
			r.want(1, settleLocal, "the Maildir is there again")
		}
		r.answers(&mailsync.Result{Fatal: &remote.Error{Class: remote.Unreachable}})
		time.Sleep(2*time.Hour + time.Second)
		r.ran()
		r.events <- maildir.Notice{All: true}
		r.want(0, time.Second, "with the server away")
	})
}

// TestWatchMaildrop: nobody signs in to a maildrop for each message that is read.
func TestWatchMaildrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeServer{}, func(a *Account) { a.Settings.Policy.Maildrop = true })
		defer r.end()
		r.want(1, 0, "at the start")
		for range 10 {
			r.touch()
			time.Sleep(time.Second)
		}
		r.want(0, time.Minute, "changes in the Maildir")
		r.events <- maildir.Notice{All: true}
		r.want(1, settleLocal, "another Maildir")
		r.touch()
		r.want(1, 5*time.Minute, "a poll")
	})
}

func TestWatchDoesWhatIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeServer{}, nil)
		time.Sleep(time.Second)
		r.ran()
		r.answers(&mailsync.Result{HeldBack: 3})
		res, err := r.Sync(t.Context(), mailsync.Options{AllowDeletes: true, Targets: []mail.FolderName{"A"}})
		if err != nil || res.HeldBack != 3 {
			t.Errorf("the outcome is %v, %v", res, err)
		}
		r.mu.Lock()
		if got := r.asked[0]; !got.AllowDeletes || len(got.Targets) != 1 || !got.Patient {
			t.Errorf("the engine was asked for %+v", got)
		}
		r.mu.Unlock()
		r.end()
		if _, err := r.Sync(t.Context(), mailsync.Options{}); err == nil {
			t.Error("a watch that has ended does what it is asked")
		}
	})
}

// TestWatchDryRun: who only wants to know what would be done has nothing done for it, and what was told is not forgotten.
func TestWatchDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeServer{}, nil)
		defer r.end()
		ask := func() {
			if _, err := r.Sync(t.Context(), mailsync.Options{DryRun: true}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		r.ran()
		ask()
		r.want(1, time.Minute, "a dry run")
		r.touch()
		ask()
		r.want(2, settleLocal, "a change, and a dry run before it is looked at")
	})
}

// TestWatchIsAskedForAFolder: who asks for one folder again and again keeps the others from nothing.
func TestWatchIsAskedForAFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeServer{}, nil)
		defer r.end()
		one := mailsync.Options{Targets: []mail.FolderName{"A"}}
		ask := func() {
			if _, err := r.Sync(t.Context(), one); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		r.ran()
		r.touch()
		ask()
		r.want(2, settleLocal, "a folder, and what changed before")
		for range 50 {
			time.Sleep(10 * time.Second)
			ask()
		}
		r.want(51, 0, "a folder every 10 seconds, and a poll")
	})
}

// TestWatchIsAskedForAFolderWhileOthersFail: a folder that failed is tried again when it would have been, though another one was asked for.
func TestWatchIsAskedForAFolderWhileOthersFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeServer{}, nil)
		defer r.end()
		r.want(1, time.Second, "at the start")
		r.answers(&mailsync.Result{Errors: []mailsync.FolderError{{Folder: "B", Err: errTest}}})
		r.touch()
		r.want(1, settleLocal, "a change")
		r.answers(&mailsync.Result{})
		if _, err := r.Sync(t.Context(), mailsync.Options{Targets: []mail.FolderName{"A"}}); err != nil {
			t.Fatal(err)
		}
		r.want(2, firstRetry, "another folder, and what failed")
		r.want(0, time.Minute, "all is well")
	})
}

// TestWatchTellsOfRuns: whoever is to hear of runs hears of one that was cut off, which may have delivered something, and of no dry run.
func TestWatchTellsOfRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		r := newRig(t, &fakeServer{}, func(a *Account) { a.Ran = func(res *mailsync.Result) { told += res.ToMaildir.New } })
		time.Sleep(time.Second)
		r.answers(&mailsync.Result{ToMaildir: mailsync.Count{New: 1}})
		for _, dry := range []bool{false, true} {
			if _, err := r.Sync(t.Context(), mailsync.Options{DryRun: dry}); err != nil {
				t.Fatal(err)
			}
		}
		r.takes = time.Minute
		r.answers(&mailsync.Result{ToMaildir: mailsync.Count{New: 10}, Fatal: context.Canceled})
		r.touch()
		time.Sleep(time.Second)
		r.end()
		if told != 11 {
			t.Errorf("told of %d messages", told)
		}
	})
}

func TestOrder(t *testing.T) {
	all := func(mail.FolderName) bool { return true }
	before := marksOf(map[string]mail.UID{"A": 1, "B": 1, "INBOX": 1, "C": 1})
	first := order(nil, nil, before, all)
	second := order(first, before, marksOf(map[string]mail.UID{"A": 1, "B": 2, "INBOX": 1, "C": 1}), all)
	some := order(second, before, before, func(f mail.FolderName) bool { return f == "c" || f == "b" })
	for _, c := range []struct {
		got  []string
		want string
	}{{first, "INBOX A B C"}, {second, "INBOX B A C"}, {some, "B C"}} {
		if got := strings.Join(c.got, " "); got != c.want {
			t.Errorf("the order is %s, want %s", got, c.want)
		}
	}
}
