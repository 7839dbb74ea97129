package watch

import (
	"testing"
	"time"
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
