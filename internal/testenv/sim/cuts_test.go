package sim_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/disk"
	"github.com/satchel-mail/satchel/internal/testenv/sim"
)

// cut is a fault at a step that is known by its first words: its number changes with the engine.
type cut struct {
	kind sim.Kind
	step string
}

// foundCuts are those that led to another outcome once.
var foundCuts = []struct {
	scenario string
	cut      cut
}{
	{"a mailbox gets another UIDVALIDITY", cut{sim.Refuses, "fetch A"}},
	{"push: the server follows", cut{sim.Refuses, "fetch B"}},
	{"a little of everything, on a server that is bare", cut{sim.Drops, "expunge B 2"}},
	{"a folder is deleted in the Maildir, with a new message on the server", cut{sim.IOError, "mkdir B/cur"}},
	{"a folder is deleted in the Maildir, with a new message on the server", cut{sim.Dies, "commit"}},
	{"a folder is deleted on the server, with a new message in the Maildir", cut{sim.Drops, "select B"}},
	{"two folders are swapped on the server", cut{sim.IOError, "list B"}},
	{"two folders are swapped on the server", cut{sim.PowerFailsAfter, "syncdir ."}},
	{"two folders are swapped on a server without identities", cut{sim.IOError, "list A"}},
	{"folders change names in a circle in the Maildir", cut{sim.IOError, "stat C"}},
	{"the account gets another host", cut{sim.IOError, "list B"}},
	{"the account gets another host", cut{sim.Refuses, "changes B"}},
	{"the Maildir is restored from a copy", cut{sim.IOError, "stat A"}},
	{"odd line ends that both sides know", cut{sim.IOError, "list A"}},
	{"a mailbox becomes read-only", cut{sim.IOError, "list A"}},
	{"a mailbox becomes read-only", cut{sim.IOError, "syncdir B"}},
}

// sweepOf is the sweep of the scenario with that name.
func sweepOf(t *testing.T, name string) *sim.Sweep {
	t.Helper()
	all := sim.Scenarios()
	i := slices.IndexFunc(all, func(s sim.Scenario) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("there is no scenario %q any more", name)
	}
	sw, err := sim.NewSweep(all[i], held(t))
	if err != nil {
		t.Fatal(err)
	}
	return sw
}

// TestFoundCuts plays what was found once.
func TestFoundCuts(t *testing.T) {
	if raced {
		t.Skip("many runs")
	}
	for _, c := range foundCuts {
		t.Run(c.scenario+": "+c.cut.step, func(t *testing.T) {
			t.Parallel()
			sw := sweepOf(t, c.scenario)
			played := 0
			for at, step := range sw.Steps {
				if !strings.HasPrefix(step.String(), c.cut.step) {
					continue
				}
				for _, f := range sw.Faults(at + 1) {
					if f.Kind != c.cut.kind {
						continue
					}
					played++
					if wrong := sw.Play(f); wrong != "" {
						t.Error(wrong)
					}
				}
			}
			if played == 0 {
				t.Error("there is no such step any more")
			}
		})
	}
}

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

// TestSwapCutTwice: a swap of folder names is done in three steps, of which each builds on the one before. One of them is cut off, and then the run that
// finishes it, which may fail to look at a folder that it has to know.
func TestSwapCutTwice(t *testing.T) {
	if raced {
		t.Skip("many runs")
	}
	sw := sweepOf(t, "two folders are swapped on the server")
	played := 0
	for at, step := range sw.Steps {
		if !strings.HasPrefix(step.String(), "rename A") && !strings.HasPrefix(step.String(), "rename B") {
			continue
		}
		next := sw.Then(sim.Fault{Kind: sim.DiesAfter, At: at + 1, Seed: 1})
		for at := range next.Steps {
			for _, f := range next.Faults(at + 1) {
				if f.Kind != sim.Dies && f.Kind != sim.IOError && f.Kind != sim.PowerFails && f.Kind != sim.Full {
					continue
				}
				played++
				if wrong := next.Play(f); wrong != "" {
					t.Fatal(wrong)
				}
			}
		}
	}
	if played == 0 {
		t.Error("there is no such step any more")
	}
}
