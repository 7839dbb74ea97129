package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// supervisor tells systemd how a watch is, if systemd started it (sd_notify(3)).
type supervisor struct{}

// tell sends what it is, and nothing where nobody listens.
func (supervisor) tell(lines ...string) {
	_, _ = daemon.SdNotify(false, strings.Join(lines, "\n")) // nobody could do anything about an error
}

// ready tells that every account was looked at once.
func (s supervisor) ready() { s.tell(daemon.SdNotifyReady) }

// reloading tells that the configuration is being read again, which ready ends.
func (s supervisor) reloading() {
	s.tell(daemon.SdNotifyReloading, "MONOTONIC_USEC="+strconv.FormatInt(monotonic().Microseconds(), 10))
}

// attend tells that the watch is ready, then how it is, and that it is alive as often as systemd wants to hear that, until ctx ends.
func (s supervisor) attend(ctx context.Context, accounts []*watching) {
	every := 10 * time.Second
	if limit, err := daemon.SdWatchdogEnabled(false); err == nil && limit > 0 {
		every = min(every, limit/2)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for _, w := range accounts {
		for waiting := true; waiting; {
			select {
			case <-w.began:
				waiting = false
			case <-tick.C: // while it reads the configuration again, systemd wants to hear that it is alive too
				s.tell(daemon.SdNotifyWatchdog)
			case <-ctx.Done():
				return
			}
		}
	}
	s.ready()
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return
	}
	for said := ""; ; {
		watched, trouble := 0, 0
		for _, w := range accounts {
			st, ok := w.status() // which waits for a watcher that hangs
			if ok {
				watched++
			}
			if st.Trouble() {
				trouble++
			}
		}
		lines := []string{daemon.SdNotifyWatchdog}
		if now := fmt.Sprintf("STATUS=%s watched, %d in trouble", count(watched, "account", "accounts"), trouble); now != said {
			lines, said = append(lines, now), now
		}
		s.tell(lines...)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
