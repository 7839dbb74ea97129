package sync_test

import (
	"maps"
	"runtime"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/model"
)

// checkMessages is check, but for folders without messages: one that is deleted while it is made may stay.
func (h *history) checkMessages() {
	h.t.Helper()
	full := func(t tree) string {
		maps.DeleteFunc(t, func(_ string, m []string) bool { return len(m) == 0 })
		return t.String()
	}
	if full(h.serverTree()) != full(h.localTree()) {
		h.fatalf("the sides differ")
	}
	h.checkCounts()
}

// TestMeanwhile lets both sides change between any two steps of a run, then lets runs go through undisturbed, and
// holds the promise.
func TestMeanwhile(t *testing.T) {
	was := runtime.GOMAXPROCS(1) // one worker: the Maildir rests while the hook runs
	t.Cleanup(func() { runtime.GOMAXPROCS(was) })
	servers := map[string]model.Options{
		"full": model.Full(), "no-move": {CondStore: true, UIDPlus: true}, "no-condstore": {UIDPlus: true, Move: true},
	}
	playing{seeds: 10, first: 5000, rounds: 3}.play(t, servers, func(h *history) {
		h.set.Connections = 1
		h.acts(2 + h.rng.IntN(8))
		left, inside := 1+h.rng.IntN(5), false
		h.server.SetFault(func(s model.Step) model.Action {
			// A flag that goes away right after it was set is taken for one that the server does not keep.
			if !inside && left > 0 && !(s.Op == "store" && s.After) && h.rng.IntN(6) == 0 {
				inside = true
				h.note("at %s", s)
				h.act()
				left--
				inside = false
			}
			return model.Action{}
		})
		h.faulty()
		h.server.SetFault(nil)
		h.settle()
		h.settle()
		h.checkMessages()
	})
}
