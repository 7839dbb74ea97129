package sim_test

import (
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/disk"
	"github.com/satchel-mail/satchel/internal/testenv/sim"
)

// TestHalfMadeFolder: a folder that an attempt left half made is completed later, and then the power fails. The folder must not be missing
// after that, which would look like a deletion.
func TestHalfMadeFolder(t *testing.T) {
	if raced {
		t.Skip("many runs")
	}
	for _, s := range sim.Rich() {
		if s.Name != "first sync of a server" {
			continue
		}
		sw, err := sim.NewSweep(s, held(t))
		if err != nil {
			t.Fatal(err)
		}
		played := 0
		for at := range sw.Steps {
			for n, first := range sw.Faults(at + 1) {
				if hit := sw.Steps[at].String(); !strings.Contains(hit, "A/Below") || strings.Contains(hit, "satchel.") {
					continue
				}
				if first.Kind != sim.IOError && first.Kind != sim.Full && first.Kind != sim.DiesAfter {
					continue
				}
				for second := 1 + n%5*4; second < 90; second += 20 {
					played++
					if wrong := sw.Play(first, sim.Fault{Kind: sim.PowerFailsAfter, At: second, Odds: disk.Nothing}); wrong != "" {
						t.Fatal(wrong)
					}
				}
			}
		}
		if played < 50 {
			t.Errorf("only %d runs", played)
		}
	}
}
