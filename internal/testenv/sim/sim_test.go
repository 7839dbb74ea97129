package sim_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/sim"
)

// TestEveryStep cuts a run off at each of its steps, in every scenario.
func TestEveryStep(t *testing.T) {
	all := os.Getenv("SATCHEL_ALL_FAULTS") != ""
	played := 0
	for n, s := range sim.Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			sw, err := sim.NewSweep(s, filepath.Join(t.TempDir(), "state.db"))
			if err != nil {
				t.Fatal(err)
			}
			if testing.Verbose() {
				sw.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
			}
			failed := 0
			for at := 1; at <= len(sw.Steps); at++ {
				if only := os.Getenv("SATCHEL_STEP"); only != "" && only != strconv.Itoa(at) {
					continue
				}
				faults := sw.Faults(at)
				if !all { // each step one of what can happen at it, another one in each scenario
					faults = faults[(n+at)%len(faults):][:1]
				}
				for _, f := range faults {
					played++
					if wrong := sw.Play(f); wrong != "" {
						t.Errorf("%s", wrong)
						if failed++; failed > 3 {
							t.FailNow()
						}
					}
				}
			}
		})
	}
	t.Logf("%d interrupted runs", played)
}

// TestHistories plays random histories.
func TestHistories(t *testing.T) {
	n, first := 300, 0
	if s := os.Getenv("SATCHEL_SEEDS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	if s := os.Getenv("SATCHEL_SEED"); s != "" {
		first, _ = strconv.Atoi(s)
		n = 1
	}
	dir := t.TempDir()
	plays := 0
	play := func(h sim.History) sim.Outcome {
		plays++
		db := filepath.Join(dir, fmt.Sprint(plays))
		defer os.Remove(db)
		return h.Play(db)
	}
	for seed := first; seed < first+n; seed++ {
		h := sim.Random(uint64(seed))
		out := play(h)
		if out.Broken != "" {
			_, out = sim.Shrink(h, play)
			t.Errorf("%s", out)
		}
		if seed%10 == 0 && !slices.Equal(out.Trace, play(h).Trace) {
			t.Errorf("seed %d takes other steps when it is played again", seed)
		}
	}
}
