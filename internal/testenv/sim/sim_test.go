package sim_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/sim"
	"github.com/satchel-mail/satchel/maildir"
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
	3089975, 3624793, 3652874, 3666872, 3674244, 3744153, 3761918, 3791031, 3827198, 3887790, 4028338, 5512217, 7504456,
	10001876, 10001889, 10002083, 10002452, 10005001, 10005205, 10005793, 10007019,
	11069863, 11079923, 11108414, 11119400, 11128924, 11533586, 11586801,
	11042164, 11092438, 11103323, 11128110, 11135861, 11140012, 11146223, 11149938, 11160411, 11517445, 11548543, 11554452, 11564961, 11569205, 11579139, 11582378,
	11608614, 11631279, 11649311, 11674004, 12007137, 12016709, 12127467, 8026054, 13052382, 13510290, 13515856, 13619908,
	8714489, 8796961, 9020550, 9104934, 9163969, 9288327, 9409673, 13709273, 13741351, 13798821, 13840603, 14127286, 14701417, 14931881, 30433826, 30684145, 2379974, 31161843, 31192344, 31452076, 31654082, 31596222, 2474168,
	30335181, 30438669, 30548551, 30634662, 30748093, 30749780, 30766309, 42113070, 43011993, 43110387, 44006878, 44658188, 44824325, 54599421,
	30000206, 30000271, 30000850, 30002150, 30002340, 30002341, 30002982, 30003082, 30003280, 30003669, 30004690, 30004786, 30203947, 30213694, 31000858, 31001034,
	31003149, 31003844, 32000537, 34000568, 34000776, 35003191, 35011808, 35021066, 35025053, 35033448, 35063000, 35104640, 35117380, 35139318, 35141907,
	40001968, 40002652, 40004042, 40004456, 40010000, 40025052, 40025510, 40030616, 40630579, 40901782,
	50000003, 50000045, 50000119, 50000129, 50000555, 50000720, 50000812, 50000959, 50010522, 50307641, 54221823, 54248692, 54315033,
	50318858, 51105170, 52214997, 54022766, 54324513, 54355020, 54355972, 54360146, 54368544, 54487152, 54815665, 55057983, 55224919}

// TestHistories plays random histories, each of them twice, and some of these the second time with the state in a file. Of the newest kind
// there are as many as of all others.
func TestHistories(t *testing.T) {
	seeds := slices.Clone(found)
	for n := range 1000 {
		if !raced || n < 20 {
			seeds = append(seeds, uint64(n), uint64(10_000_000+n))
		}
		if !raced {
			seeds = append(seeds, uint64(40_000_000+n)) // of which 54 broke the engine before
		}
		if !raced && n < 400 {
			seeds = append(seeds, uint64(30_100_000+n), uint64(40_100_000+n), uint64(50_100_000+n))
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
					continue
				}
				if raced && i%10 > 0 {
					continue
				}
				again := memory
				if i%10 == 0 {
					again = file
				}
				if !out.Same(h.Play(again)) {
					t.Errorf("seed %d takes other steps when it is played again", seeds[i])
				}
			}
		})
	}
}

// TestPlantedFault: the histories show a fault of the engine's that they are made for, soon, and shrink to little more than what it takes.
func TestPlantedFault(t *testing.T) {
	if raced {
		t.Skip("many histories")
	}
	for _, tt := range []struct {
		name  string
		plant func(*sim.History)
		soon  uint64 // histories
	}{
		{"a directory is never made durable", func(h *sim.History) { h.FS = func(fs maildir.FS) maildir.FS { return forgetfulFS{fs} } }, 200},
		{"nothing is removed on the server", func(h *sim.History) { h.Dialer = func(d remote.Dialer) remote.Dialer { return deafDialer{d} } }, 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			memory := held(t)
			play := func(h sim.History) sim.Outcome { return h.Play(memory) }
			for seed := range tt.soon {
				h := sim.Random(seed)
				tt.plant(&h)
				if play(h).Broken == "" {
					continue
				}
				short, out := sim.Shrink(h, play)
				acts := 0
				for _, r := range short.Rounds {
					acts += len(r.Acts)
				}
				if out.Broken == "" || acts > 3 {
					t.Errorf("seed %d shrinks to %d acts:\n%s", seed, acts, out)
				}
				t.Logf("seed %d: %s", seed, out)
				return
			}
			t.Errorf("%d histories don't show it", tt.soon)
		})
	}
}

// forgetfulFS does not make directories durable.
type forgetfulFS struct{ maildir.FS }

// SyncDir implements maildir.FS.
func (forgetfulFS) SyncDir(string) error { return nil }

// deafDialer is to a server that does not remove what it says that it removed.
type deafDialer struct{ remote.Dialer }

// Dial implements remote.Dialer.
func (d deafDialer) Dial(ctx context.Context) (remote.Session, error) {
	s, err := d.Dialer.Dial(ctx)
	return deafSession{s}, err
}

type deafSession struct{ remote.Session }

// Expunge implements remote.Session.
func (deafSession) Expunge(context.Context, remote.Box, mail.UIDSet) (pending mail.UIDSet, err error) {
	return pending, nil
}
