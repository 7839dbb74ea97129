package watch

import (
	"time"

	"github.com/satchel-mail/satchel/sync/plan"
)

// guardFor is how long a removal counts for the guard: what somebody deletes by mistake arrives in slices, and each of them may be small.
const guardFor = 10 * time.Minute

// removed is what a run removed, and when.
type removed struct {
	at time.Time
	plan.Removed
}

// lately returns what was removed in the time that the guard looks at.
func (w *Watcher) lately(now time.Time) []plan.Removed {
	var out []plan.Removed
	kept := w.removed[:0]
	for _, r := range w.removed {
		if now.Sub(r.at) < guardFor {
			kept = append(kept, r)
			out = append(out, r.Removed)
		}
	}
	w.removed = kept
	return out
}
