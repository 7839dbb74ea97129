package watch

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
	mailsync "github.com/satchel-mail/satchel/sync"
)

var start = time.Date(2025, 6, 2, 10, 0, 0, 0, time.UTC)

// steady is a pace without chance.
func steady() *pace {
	p := newPace(5 * time.Minute)
	p.jitter = func(d time.Duration) time.Duration { return d }
	return p
}

// wait is how long after now the next run begins, -1 if none does.
func (p *pace) wait(now time.Time) time.Duration {
	at, ok := p.next()
	if !ok {
		return -1
	}
	return at.Sub(now)
}

func TestPaceGathers(t *testing.T) {
	p := steady()
	p.ended(start, &mailsync.Result{})
	if got := p.wait(start); got != 5*time.Minute {
		t.Errorf("with nothing told, the next run begins after %v", got)
	}
	p.changed(start, settleLocal)
	if got := p.wait(start); got != settleLocal {
		t.Errorf("after one change, after %v", got)
	}
	now := start
	for range 1000 {
		now = now.Add(10 * time.Millisecond)
		p.changed(now, settleLocal)
	}
	if at, _ := p.next(); !at.Equal(start.Add(settleMost)) {
		t.Errorf("changes without end are looked at after %v, want %v", at.Sub(start), settleMost)
	}
	p.began()
	p.ended(now, &mailsync.Result{})
	if got := p.wait(now); got != 5*time.Minute {
		t.Errorf("after the run, after %v", got)
	}
}

func TestPaceRetries(t *testing.T) {
	lost := &mailsync.Result{Fatal: fmt.Errorf("account a: %w", &remote.Error{Class: remote.Lost})}
	p := steady()
	now := start
	for i, want := range []time.Duration{2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900} {
		p.began()
		p.ended(now, lost)
		if got := p.wait(now); got != want*time.Second {
			t.Errorf("failure %d: the next run begins after %v, want %v", i+1, got, want*time.Second)
		}
		p.changed(now, 0)
		if got := p.wait(now); got != want*time.Second {
			t.Errorf("failure %d: a change has the run begin after %v", i+1, got)
		}
		now = now.Add(want * time.Second)
	}
	p.wake(now)
	if got := p.wait(now); got > 0 {
		t.Errorf("after waking up, after %v", got)
	}
	p.began()
	p.ended(now, &mailsync.Result{})
	p.began()
	p.ended(now, lost)
	if got := p.wait(now); got != firstRetry {
		t.Errorf("after one that went well, a failure is tried again after %v", got)
	}
}

func TestPaceObeys(t *testing.T) {
	p := steady()
	p.began()
	p.ended(start, &mailsync.Result{Fatal: &remote.Error{Class: remote.Unavailable, RetryAfter: 5 * time.Minute}})
	p.wake(start)
	p.changed(start, 0)
	if got := p.wait(start); got != 5*time.Minute {
		t.Errorf("a server that wants to be left alone for five minutes is asked after %v", got)
	}

	p = steady()
	p.began()
	p.ended(start, &mailsync.Result{Fatal: &remote.Error{Class: remote.Auth, Code: "AUTHENTICATIONFAILED"}})
	p.wake(start)
	p.changed(start, 0)
	if got := p.wait(start); got != -1 {
		t.Errorf("after a wrong password, a run begins after %v", got)
	}
	p.began() // somebody asked for it
	p.ended(start, &mailsync.Result{})
	if got := p.wait(start); got != 5*time.Minute {
		t.Errorf("once it is right, after %v", got)
	}
}

// TestPaceWithoutSecret: a keyring may be unlocked later, and whoever is asked for it must not be asked every few seconds.
func TestPaceWithoutSecret(t *testing.T) {
	p := steady()
	now := start
	for _, want := range []time.Duration{60, 60, 60, 60, 60, 64, 128, 256, 512, 900} {
		p.began()
		p.ended(now, &mailsync.Result{Fatal: &remote.Error{Class: remote.Auth, Err: errTest}})
		if got := p.wait(now); got != want*time.Second {
			t.Errorf("it is tried again after %v, want %v", got, want*time.Second)
		}
		now = now.Add(want * time.Second)
	}
}

func TestPaceLocked(t *testing.T) {
	p := steady()
	for range 20 {
		p.began()
		p.ended(start, &mailsync.Result{Fatal: fmt.Errorf("x: %w", mailsync.ErrLocked)})
		if got := p.wait(start); got != lockedRetry {
			t.Fatalf("while another Satchel is at work, the next run begins after %v", got)
		}
	}
}

func TestSpread(t *testing.T) {
	for range 1000 {
		if d := spread(10 * time.Second); d < 8*time.Second || d > 12*time.Second {
			t.Fatal(d)
		}
	}
}

func TestSlept(t *testing.T) {
	now := time.Now()
	if slept(now, now.Add(lookEvery)) {
		t.Error("the time between two looks is no sleep")
	}
	// The wall clock is an hour on, the monotonic one is not known to be: without it both are the same.
	if wall := now.Round(0); slept(wall, wall.Add(time.Hour)) {
		t.Error("two readings of the wall clock tell of no sleep")
	}
}

// TestPaceRetriesFolders: what failed in some folders only is tried again without a word, less and less often, and keeps nothing else waiting.
func TestPaceRetriesFolders(t *testing.T) {
	p := steady()
	now := start
	troubled := &mailsync.Result{Errors: []mailsync.FolderError{{Folder: "A", Err: errTest}}}
	for _, want := range []time.Duration{2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		p.began()
		p.ended(now, troubled)
		if got := p.wait(now); got != want*time.Second {
			t.Errorf("it is tried again after %v, want %v", got, want*time.Second)
		}
		now = now.Add(want * time.Second)
	}
	p.ended(now, troubled)
	p.changed(now, settleLocal)
	if got := p.wait(now); got != settleLocal {
		t.Errorf("a change meanwhile is looked at after %v", got)
	}
	p.began()
	p.ended(now, &mailsync.Result{})
	if got := p.wait(now); got != 5*time.Minute {
		t.Errorf("after a run without trouble the next begins after %v", got)
	}
	p.ended(now, troubled)
	if got := p.wait(now); got != firstRetry {
		t.Errorf("after another one with trouble, after %v", got)
	}
}

var errTest = errors.New("test")
