package watch

import (
	"testing"
	"testing/synctest"
	"time"

	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

func TestWaiting(t *testing.T) {
	const s = time.Second
	type look struct {
		at       time.Duration
		messages int
		may      bool
	}
	for name, looks := range map[string][]look{
		"few":                              {{0, 10, true}, {s, 3, true}},
		"all at once":                      {{0, 50, false}, {s, 50, false}, {2 * s, 50, true}, {3 * s, 50, false}},
		"in slices":                        {{0, 20, false}, {2 * s, 40, false}, {4 * s, 55, false}, {6 * s, 55, true}},
		"for ever":                         {{0, 11, false}, {15 * s, 22, false}, {29 * s, 33, false}, {30 * s, 44, true}, {31 * s, 11, false}},
		"nobody looked for long":           {{0, 12, false}, {62 * s, 300, false}, {64 * s, 400, false}, {91 * s, 500, false}, {92 * s, 600, true}},
		"some came back":                   {{0, 50, false}, {2 * s, 30, false}, {4 * s, 30, true}},
		"the same, though long not looked": {{0, 12, false}, {62 * s, 12, true}},
	} {
		var w waiting
		began := time.Now()
		for _, l := range looks {
			var may bool
			if w, may = w.next(l.messages, began.Add(l.at)); may != l.may {
				t.Errorf("%s: after %v, %d messages may be removed: %v", name, l.at, l.messages, may)
			}
		}
	}
}

// TestWatchRemembersDeletions: those of the last ten minutes count for the guard, unless they were allowed.
func TestWatchRemembersDeletions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeServer{}, nil)
		defer r.end()
		time.Sleep(time.Second)
		removed := []plan.Removed{{Side: plan.Server, Folder: "INBOX", Messages: 9}}
		r.answers(&mailsync.Result{Removed: removed})
		_, _ = r.Sync(t.Context(), mailsync.Options{})
		_, _ = r.Sync(t.Context(), mailsync.Options{AllowDeletes: true})
		r.answers(&mailsync.Result{})
		r.ran()
		counted := func(want int) {
			t.Helper()
			_, _ = r.Sync(t.Context(), mailsync.Options{})
			r.mu.Lock()
			got := r.asked[len(r.asked)-1].Removed
			r.mu.Unlock()
			if len(got) != want || want > 0 && got[0] != removed[0] {
				t.Errorf("the engine is told of %v", got)
			}
		}
		counted(1)
		time.Sleep(guardFor - time.Second)
		counted(1)
		time.Sleep(time.Second)
		counted(0)
	})
}

// TestWatchRemembersDeletionsOfTheOneBefore: what another watcher of the account removed counts too, in a run that was cut off as well.
func TestWatchRemembersDeletionsOfTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all Removals
		one := newRig(t, &fakeServer{}, func(a *Account) { a.Removals = &all })
		time.Sleep(time.Second)
		one.takes = time.Minute
		one.answers(&mailsync.Result{Fatal: errTest, Removed: []plan.Removed{{Side: plan.Server, Folder: "INBOX", Messages: 9}}})
		one.touch()
		time.Sleep(time.Second)
		one.end()
		next := newRig(t, &fakeServer{}, func(a *Account) { a.Removals = &all })
		defer next.end()
		next.mu.Lock()
		defer next.mu.Unlock()
		if got := next.asked[0].Removed; len(got) != 1 {
			t.Errorf("the engine is told of %v", got)
		}
	})
}
