package watch

import (
	"errors"
	"slices"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// State is what a watcher is doing.
type State string

// The states.
const (
	Starting State = "starting"
	Syncing  State = "syncing"
	Waiting  State = "waiting"  // for either side
	Retrying State = "retrying" // a run failed, and is tried again at NextTry
	Refused  State = "refused"  // the server does not let us in; nothing is tried until it is asked for
	Ended    State = "ended"
)

// Status is what a watcher knows of itself.
type Status struct {
	Account string
	State   State
	Since   time.Time // when watching began
	// Listening are the mailboxes that the server tells of by itself, one without a name for all; none: the account is only polled.
	Listening []string
	// ServerQuiet and LocalQuiet are when a side last told of a change.
	ServerQuiet, LocalQuiet time.Time
	// Problem is why changes in the Maildir may be seen late, nil if they are seen at once.
	Problem error
	// LastRun is when the last run ended, LastSuccess the last that went well; zero: none yet. Error is why the last run failed.
	LastRun, LastSuccess time.Time
	Error                error
	NextTry              time.Time // in Retrying
	Totals               Totals
}

// Trouble reports whether the last run failed, as a whole or in some folder.
func (s Status) Trouble() bool { return s.Error != nil }

// Totals are what all runs together did.
type Totals struct {
	Runs, Failures      int // runs, and what failed in them
	ToMaildir, ToServer mailsync.Count
	Traffic             remote.Traffic
	Lag                 time.Duration // from when the last change was told to when it had been brought over
	HeldBack, Deferred  int           // as the last run left it
}

// Status returns what the watcher knows of itself now.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

func (w *Watcher) publish(change func(*Status)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.status)
}

// hearsAll reports whether the server tells of all mailboxes.
func (w *Watcher) hearsAll() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.status.Listening, "")
}

// hears takes which mailboxes the server tells of.
func (w *Watcher) hears(mailboxes []string) {
	w.publish(func(s *Status) { s.Listening = mailboxes })
	w.notice() // how often is polled depends on it
}

// ran takes the outcome of a run.
func (s *Status) ran(now time.Time, res *mailsync.Result, p *pace) {
	s.LastRun, s.Error, s.NextTry = now, res.Fatal, time.Time{}
	s.Totals.add(res)
	switch {
	case res.Fatal == nil:
		s.State, s.LastSuccess = Waiting, now
		if len(res.Errors) > 0 {
			s.Error = res.Errors[0]
		}
	case p.refused:
		s.State = Refused
	case errors.Is(res.Fatal, mailsync.ErrLocked):
		s.State, s.Error = Waiting, nil
	default:
		s.State, s.NextTry = Retrying, p.notBefore
	}
}

func (t *Totals) add(res *mailsync.Result) {
	t.Runs++
	t.Failures += len(res.Errors)
	if res.Fatal != nil && !errors.Is(res.Fatal, mailsync.ErrLocked) {
		t.Failures++
	}
	t.ToMaildir.Add(res.ToMaildir)
	t.ToServer.Add(res.ToServer)
	t.Traffic = t.Traffic.Plus(res.Traffic)
	t.HeldBack, t.Deferred = res.HeldBack, res.Deferred
}
