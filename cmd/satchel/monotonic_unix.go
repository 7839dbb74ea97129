//go:build unix

package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonic is the clock that systemd compares with (sd_notify(3), MONOTONIC_USEC).
func monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
