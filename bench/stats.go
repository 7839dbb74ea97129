package main

import (
	"slices"
	"time"
)

// sample is one run.
type sample struct {
	wall, cpu time.Duration
	rss       int64 // bytes
}

// spread is the middle of some values and their ends.
type spread struct{ median, least, most float64 }

// spreadOf returns the spread of values, of which there must be one at least.
func spreadOf(values []float64) spread {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return spread{median: (v[(n-1)/2] + v[n/2]) / 2, least: v[0], most: v[n-1]}
}

// metric is what can be measured. All are better when they are less.
type metric int

const (
	wall  metric = iota // seconds
	cpu                 // seconds
	rss                 // MB (2^20 bytes)
	trips               // round trips
	wire                // kB (1000 bytes) in both directions
	up                  // kB to the server
)

func (m metric) String() string {
	return [...]string{"time", "CPU time", "memory", "round trips", "traffic", "traffic to the server"}[m]
}

// unit is what comes after a value.
func (m metric) unit() string { return [...]string{" s", " s", " MB", "", " kB", " kB"}[m] }

// spread returns a row's values of a metric; false if there are none.
func (r row) spread(m metric) (spread, bool) {
	var values []float64
	for _, s := range r.samples {
		switch m {
		case wall:
			values = append(values, s.wall.Seconds())
		case cpu:
			values = append(values, s.cpu.Seconds())
		case rss:
			values = append(values, float64(s.rss)/(1<<20))
		}
	}
	if r.counted && len(r.samples) > 0 {
		switch m {
		case trips:
			values = append(values, float64(r.traffic.Trips))
		case wire:
			values = append(values, float64(r.traffic.Up+r.traffic.Down)/1000)
		case up:
			values = append(values, float64(r.traffic.Up)/1000)
		}
	}
	if len(values) == 0 {
		return spread{}, false
	}
	return spreadOf(values), true
}
