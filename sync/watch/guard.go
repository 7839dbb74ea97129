package watch

import (
	"time"

	"github.com/satchel-mail/satchel/sync/plan"
)

// guardFor is how long a removal counts for the guard: what somebody deletes by mistake arrives in slices, and each of them may be small.
const guardFor = 10 * time.Minute

// Removals remember what was removed from an account in the time that the guard looks at. Its watchers use them one after the other; the
// zero value remembers nothing yet.
type Removals struct{ removed []removed }

// removed is what a run removed, and when.
type removed struct {
	at time.Time
	plan.Removed
}

func (r *Removals) add(now time.Time, what []plan.Removed) {
	for _, one := range what {
		r.removed = append(r.removed, removed{now, one})
	}
}

// lately returns what was removed in the time that the guard looks at.
func (r *Removals) lately(now time.Time) []plan.Removed {
	var out []plan.Removed
	kept := r.removed[:0]
	for _, one := range r.removed {
		if now.Sub(one.at) < guardFor {
			kept = append(kept, one)
			out = append(out, one.Removed)
		}
	}
	r.removed = kept
	return out
}

const (
	// settleRemoved is how long no more messages than before must be missing until more than plan.SmallDeletion of them are removed from the
	// server. Whoever empties a folder by mistake does so in slices: the guard is to see them together, before the first is carried over.
	settleRemoved = 2 * time.Second
	// waitRemoved bounds how long they wait for that.
	waitRemoved = 30 * time.Second
)

// waiting is a number of messages that is to be removed from the server once it grows no more; its zero value is none.
type waiting struct {
	messages  int
	since, at time.Time // since when there are any, and when there were that many
}

// next says whether that many may be removed now, and what waits if they may not.
func (w waiting) next(messages int, now time.Time) (still waiting, may bool) {
	switch {
	case messages <= plan.SmallDeletion,
		messages == w.messages && now.Sub(w.at) >= settleRemoved,
		w.messages > 0 && now.Sub(w.since) >= waitRemoved && now.Sub(w.at) < waitRemoved:
		return waiting{}, true
	case w.messages == 0, now.Sub(w.at) >= waitRemoved: // nobody looked for long, and what came since may be the beginning of more
		w.since = now
	}
	if messages != w.messages {
		w.messages, w.at = messages, now
	}
	return w, false
}
