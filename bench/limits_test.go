package main

import (
	"testing"
	"time"

	"github.com/satchel-mail/satchel/bench/link"
)

// rowOf is a row with the same figures in each of its runs.
func rowOf(name string, seconds float64, trips int) *row {
	d := time.Duration(seconds * float64(time.Second))
	return &row{name: name, samples: []sample{{wall: d, cpu: d / 2, rss: 10 << 20}}, counted: trips > 0, traffic: link.Count{Trips: trips, Up: 1000, Down: 2000}}
}

func TestLimits(t *testing.T) {
	disk := place{name: "disk"}
	large := result{scenario: scenario{name: "large"}, place: disk, rows: []*row{rowOf(subject, 0.085, 5), rowOf(bare, 0.02, 5)}}
	small := result{scenario: scenario{name: "small"}, place: disk, rows: []*row{
		rowOf(subject, 0.07, 5), rowOf(comesAs, 0.5, 10), rowOf(plain, 0.4, 0), rowOf(bare, 0.02, 5),
	}}
	all := []result{large, small}
	for _, c := range []struct {
		name         string
		in           int
		limit        limit
		judged, met  bool
		value, bound float64
		text         string
	}{
		{"a share of a peer", 1, limit{of: wall, factor: 0.12, than: []string{comesAs}}, true, false, 0.07, 0.06, "time ≤ 0.12 × mbsync"},
		{"a larger share", 1, limit{of: wall, factor: 0.2, than: []string{comesAs}}, true, true, 0.07, 0.1, "time ≤ 0.2 × mbsync"},
		{"the faster of two", 1, limit{of: wall, factor: 0.18, than: []string{comesAs, plain}}, true, true, 0.07, 0.072, "time ≤ 0.18 × the least of mbsync, mbsync-plain"},
		{"a floor and so much", 1, limit{of: wall, factor: 1, than: []string{bare}, plus: 0.04}, true, false, 0.07, 0.06, "time ≤ list-status + 0.04 s"},
		{"so much", 1, limit{of: rss, plus: 64}, true, true, 10, 64, "memory ≤ 64 MB"},
		{"as many trips", 1, limit{of: trips, factor: 1, than: []string{bare}}, true, true, 5, 5, "round trips ≤ list-status"},
		{"traffic", 1, limit{of: wire, factor: 1, than: []string{bare}, plus: 4}, true, true, 3, 7, "traffic ≤ list-status + 4 kB"},
		{"CPU", 1, limit{of: cpu, factor: 1, than: []string{comesAs}}, true, true, 0.035, 0.25, "CPU time ≤ mbsync"},
		{"a row without that figure", 1, limit{of: trips, factor: 1, than: []string{plain}}, false, false, 5, 0, "round trips ≤ mbsync-plain"},
		{"no such row", 1, limit{of: wall, factor: 1, than: []string{qresync}}, false, false, 0.07, 0, "time ≤ interimap"},
		{
			"its own share, as in another scenario", 0, limit{of: wall, factor: 1.2, than: []string{subject}, over: bare, in: "small"},
			true, false, 0.065, 0.06, "time over list-status ≤ 1.2 × satchel in small",
		},
		{"a scenario that was not run", 0, limit{of: wall, factor: 1, than: []string{subject}, in: "none"}, false, false, 0.085, 0, "time ≤ satchel in none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := all[c.in].apply(c.limit, all)
			if v.judged != c.judged || v.met() != c.met || !equal(v.value, c.value) || !equal(v.bound, c.bound) {
				t.Errorf("%s: %+v", c.limit, v)
			}
			if !v.judged && v.why == "" {
				t.Error("it does not say why it was not judged")
			}
			if got := c.limit.String(); got != c.text {
				t.Errorf("says %q, want %q", got, c.text)
			}
		})
	}
}

func TestMissedForTheFloor(t *testing.T) {
	floor := rowOf(writing, 0.3, 0)
	floor.isFloor = true
	r := result{rows: []*row{rowOf(subject, 0.4, 0), rowOf(comesAs, 0.5, 0), floor}}
	v := r.apply(limit{of: wall, factor: 0.2, than: []string{comesAs}}, nil)
	if want := "write-files alone takes 0.300 s"; v.met() || v.why != want || !equal(v.ratio, 0.8) {
		t.Errorf("%+v, want %q", v, want)
	}
	if v := r.apply(limit{of: wall, factor: 0.7, than: []string{comesAs}}, nil); v.met() || v.why != "" {
		t.Errorf("a bound above the floor: %+v", v)
	}
}

// equal is but for rounding.
func equal(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{5, 1, 3}, spread{3, 1, 5}},
		{[]float64{4, 1, 2, 9}, spread{3, 1, 9}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("the spread of %v is %+v, want %+v", c.values, got, c.want)
		}
	}
}

// TestScenarios: names are unique, every target compares with rows that are there, and rows that it names differ.
func TestScenarios(t *testing.T) {
	rows := map[string]map[string]bool{}
	for _, s := range scenarios() {
		if rows[s.name] != nil {
			t.Errorf("there are two scenarios %s", s.name)
		}
		rows[s.name] = map[string]bool{}
		for _, tool := range s.tools {
			rows[s.name][tool] = true
		}
		for _, f := range s.floors {
			rows[s.name][f.label] = true
		}
		if !rows[s.name][subject] {
			t.Errorf("%s does not judge Satchel", s.name)
		}
	}
	serves := map[string]bool{} // for a target
	for _, s := range scenarios() {
		for _, l := range s.limits {
			serves[s.name], serves[l.in] = true, true
			in := s.name
			if l.in != "" {
				in = l.in
			}
			for _, name := range l.than {
				if !rows[in][name] {
					t.Errorf("%s: %s needs %s in %s", s.name, l, name, in)
				}
			}
			if l.over != "" && !rows[in][l.over] {
				t.Errorf("%s: %s needs %s in %s", s.name, l, l.over, in)
			}
		}
	}
	for _, s := range scenarios() {
		if !serves[s.name] {
			t.Errorf("%s serves no target", s.name)
		}
	}
}

func TestDiffers(t *testing.T) {
	want := contents{"INBOX": {Messages: 2, Unseen: 1}, "Empty": {}}
	if err := (contents{"INBOX": {Messages: 2, Unseen: 1}}).differs(want); err != nil {
		t.Errorf("a missing empty folder counts: %v", err)
	}
	for _, got := range []contents{nil, {"INBOX": {Messages: 2}}, {"INBOX": {Messages: 2, Unseen: 1}, "More": {Messages: 1}}} {
		if got.differs(want) == nil {
			t.Errorf("%v passes for %v", got, want)
		}
	}
}
