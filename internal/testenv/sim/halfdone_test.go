package sim_test

import (
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/disk"
	"github.com/satchel-mail/satchel/internal/testenv/sim"
)

// TestHalfDoneThenThePowerFails: what a failed attempt left on the disk, not durable, is built upon by the next run, and then the power
// fails. A folder that was completed must not be missing, which would look like a deletion, and letters must keep what they mean.
func TestHalfDoneThenThePowerFails(t *testing.T) {
	if raced {
		t.Skip("many runs")
	}
	for _, tt := range []struct{ scenario, step, but string }{
		{"first sync of a server", "A/Below", "satchel."},
		{"a little of everything", "keywords.lock ->", "none"},
	} {
		t.Run(tt.scenario, func(t *testing.T) {
			t.Parallel()
			for _, s := range sim.Rich() {
				if s.Name != tt.scenario {
					continue
				}
				sw, err := sim.NewSweep(s, held(t))
				if err != nil {
					t.Fatal(err)
				}
				played := 0
				for at, step := range sw.Steps {
					if !strings.Contains(step.String(), tt.step) || strings.Contains(step.String(), tt.but) {
						continue
					}
					for n, first := range sw.Faults(at + 1) {
						if first.Kind != sim.IOError && first.Kind != sim.Full && first.Kind != sim.DiesAfter {
							continue
						}
						for second := 1 + n%5*4; second < 240; second += 20 {
							played++
							if wrong := sw.Play(first, sim.Fault{Kind: sim.PowerFailsAfter, At: second, Odds: disk.Nothing}); wrong != "" {
								t.Fatal(wrong)
							}
						}
					}
				}
				if played < 20 {
					t.Errorf("only %d runs", played)
				}
			}
		})
	}
}
