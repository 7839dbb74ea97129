package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// frugal keeps the program's memory close to what it needs, from one collection of garbage to the next.
func frugal(growth int) {
	runtime.AddCleanup(new([64]byte), func(before int) {
		growth := growthOf(liveHeap())
		if growth != before {
			debug.SetGCPercent(growth)
		}
		frugal(growth)
	}, growth)
}

// usualGrowth is Go's own.
const usualGrowth = 100

// growthOf says by how many percent a heap with so many bytes in it may grow before it is collected. A small one may
// double, so that a sync that finds nothing hardly collects at all. One with the lists of a large mailbox in it may not: what is
// added to it is mostly garbage soon. If very much is to be done in one go, collecting would cost more than it saves.
func growthOf(live uint64) int {
	const large, huge = 20 << 20, 48 << 20
	if live > large && live < huge {
		return 22
	}
	return usualGrowth
}

// liveHeap is what the last collection left, in bytes.
func liveHeap() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
