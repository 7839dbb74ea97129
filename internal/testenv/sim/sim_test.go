package sim_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/sim"
)

// TestEveryStep cuts a run off at each of its steps, in every scenario. At each step it is one of the things that can happen there,
// another one in each scenario; `make soak` has all of them happen.
func TestEveryStep(t *testing.T) {
	var played atomic.Int64
	t.Cleanup(func() { t.Logf("%d interrupted runs", played.Load()) })
	for n, s := range sim.Scenarios() {
		if raced && n%12 > 0 {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			sw, err := sim.NewSweep(s, held(t))
			if err != nil {
				t.Fatal(err)
			}
			failed := 0
			for at := 1; at <= len(sw.Steps); at++ {
				played.Add(1)
				if wrong := sw.Play(sw.One(at, n+at)); wrong != "" {
					t.Error(wrong)
					if failed++; failed > 3 {
						t.FailNow()
					}
				}
			}
		})
	}
}

// TestPairs cuts ten scenarios off twice, at some of their steps and then at some of the recovery's; `soak -pairs` does at all.
func TestPairs(t *testing.T) {
	if raced {
		t.Skip("many runs")
	}
	for n, s := range sim.Core() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			sw, err := sim.NewSweep(s, held(t))
			if err != nil {
				t.Fatal(err)
			}
			for at := 1 + n; at <= len(sw.Steps); at += len(sw.Steps)/5 + 1 {
				first := sw.Next(-1, at)
				then := sw.Then(first)
				for at := 1 + n; at <= len(then.Steps); at += len(then.Steps)/5 + 1 {
					if wrong := then.Play(then.Next(first.Kind, at)); wrong != "" {
						t.Error(wrong)
					}
				}
			}
		})
	}
}

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // a history leaves little behind
	os.Exit(m.Run())
}

func held(t *testing.T) *sim.Memory {
	m, err := sim.Held(filepath.Join(t.TempDir(), "held"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// found are histories that broke the promise once.
var found = []uint64{261, 292, 1113, 2501, 2732, 3277, 4222, 4927, 4931, 5078, 6375, 398, 20201,
	900098, 902727, 903126, 904793, 904929, 907435, 907588, 909595, 913215, 921464, 930551, 958088, 958209, 960244, 962670, 1000246, 2004336, 3001248, 3001386, 3006351, 3033431, 3050441,
	3624793, 3652874, 3666872, 3827198, 3887790, 4028338, 5512217, 7504456}

// TestHistories plays random histories, some of them twice, the second time with the state in a file.
func TestHistories(t *testing.T) {
	seeds := slices.Clone(found)
	for n := range 1500 {
		if !raced || n < 40 {
			seeds = append(seeds, uint64(n))
		}
	}
	const groups = 8
	for g := range groups {
		t.Run(fmt.Sprint(g), func(t *testing.T) {
			t.Parallel()
			memory, file := held(t), sim.InFile(filepath.Join(t.TempDir(), "state.db"))
			play := func(h sim.History) sim.Outcome { return h.Play(memory) }
			for i := g; i < len(seeds); i += groups {
				h := sim.Random(seeds[i])
				out := play(h)
				if out.Broken != "" {
					_, out = sim.Shrink(h, play)
					t.Error(out)
				}
				if i%10 == 0 && !slices.Equal(out.Trace, h.Play(file).Trace) {
					t.Errorf("seed %d takes other steps when it is played again", seeds[i])
				}
			}
		})
	}
}
