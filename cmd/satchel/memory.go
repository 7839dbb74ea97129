package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// A small heap may double before it is collected, so that a sync that finds nothing hardly collects at all. One with the lists
	// of a large mailbox in it may not: what is added to it is mostly garbage soon.
	smallHeap   = 12 << 20 // bytes
	smallGrowth = 100      // percent
	largeGrowth = 30
)

// frugal keeps the program's memory close to what it needs, from one collection of garbage to the next.
func frugal(growth int) {
	runtime.AddCleanup(new([64]byte), func(before int) {
		growth := smallGrowth
		if liveHeap() > smallHeap {
			growth = largeGrowth
		}
		if growth != before {
			debug.SetGCPercent(growth)
		}
		frugal(growth)
	}, growth)
}

// liveHeap is what the last collection left, in bytes.
func liveHeap() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
