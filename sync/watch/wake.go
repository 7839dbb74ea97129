package watch

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"
)

// lookEvery is how often it is looked whether the machine slept or the network changed.
const lookEvery = 15 * time.Second

// sleptFor is how much more time must have passed on the clock than the machine was awake for.
const sleptFor = 3 * time.Second

// Awakenings calls woke after the machine slept, and when it has other network addresses than before, until ctx ends.
func Awakenings(ctx context.Context, woke func()) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last, here := time.Now(), addresses()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, there := time.Now(), addresses()
		if slept(last, now) || there != here {
			woke()
		}
		last, here = now, there
	}
}

// slept reports whether the wall clock went on while the monotonic one, which stands still while the machine sleeps, did not.
func slept(last, now time.Time) bool {
	awake := now.Sub(last)
	return now.Round(0).Sub(last.Round(0))-awake > sleptFor
}

// addresses are the machine's own that lead anywhere, in one text.
func addresses() string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	var out []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			out = append(out, n.String())
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}
