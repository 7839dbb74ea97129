package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/testenv/disk"
)

// Sweep plays one scenario again and again, each time with another fault.
type Sweep struct {
	scenario Scenario
	ready    saved // both sides agree, and people have acted
	// Steps are those of a run that nothing interrupts, from ready on.
	Steps []step
	want  [2]Tree // what both sides hold in the end
	turns map[Kind]int
}

// NewSweep prepares a scenario. What m holds is forgotten.
func NewSweep(s Scenario, m *Memory) (sw *Sweep, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("preparing: %v", p)
		}
	}()
	options, ok := Servers[s.Server]
	if !ok {
		options = Servers["full"]
	}
	w := New(m, options)
	if s.Set != nil {
		s.Set(&w.Set)
	}
	s.Before(w)
	w.Disk.Settle()
	if err := w.Settle(); err != nil {
		return nil, fmt.Errorf("before anybody acts: %w", err)
	}
	s.Acts(w)
	w.Disk.Settle()
	sw = &Sweep{scenario: s, ready: w.save(), turns: map[Kind]int{}}
	w.Sync(nil)
	sw.Steps = slices.Clone(w.gate.steps)
	if err := w.Settle(); err != nil {
		return nil, fmt.Errorf("without any fault: %w", err)
	}
	sw.want = [2]Tree{w.ServerTree(), w.LocalTree()}
	return sw, nil
}

// Faults are all that can happen at a step, counted from 1.
func (sw *Sweep) Faults(at int) []Fault { return faultsAt(sw.Steps, at) }

func faultsAt(steps []step, at int) (all []Fault) {
	s := steps[at-1]
	for k := range Meddles {
		if !k.fits(s.source, s.op, s.changes) {
			continue
		}
		f := Fault{Kind: k, At: at, Seed: uint64(at), Late: at%2 == 0}
		if k != PowerFails && k != PowerFailsAfter {
			all = append(all, f)
			continue
		}
		for _, odds := range []disk.Odds{disk.Nothing, disk.Names, disk.Everything, disk.Some, disk.Some} {
			f.Odds, f.Seed = odds, f.Seed+1000
			all = append(all, f)
		}
	}
	return all
}

// Seconds chooses n of all that can happen in the run after one that was interrupted by f. Their kinds take turns, so that every
// kind comes after every other; which step it is follows from f.
func (sw *Sweep) Seconds(f Fault, n int) (some []Fault) {
	w := sw.ready.restore()
	w.Sync(&f)
	if !f.Late {
		w.Server.ReleaseGhosts()
	}
	w.Sync(nil)
	byKind := map[Kind][]Fault{}
	for at := range w.gate.steps {
		for _, g := range faultsAt(w.gate.steps, at+1) {
			byKind[g.Kind] = append(byKind[g.Kind], g)
		}
	}
	r := rand.New(rand.NewPCG(uint64(f.At), uint64(f.Kind)<<32|f.Seed))
	for range n {
		for range Meddles {
			k := Kind(sw.turns[f.Kind] % int(Meddles))
			sw.turns[f.Kind]++
			if of := byKind[k]; len(of) > 0 {
				some = append(some, of[r.IntN(len(of))])
				break
			}
		}
	}
	return some
}

// Play interrupts a run, and the next one if there is a second fault, and says what was wrong afterwards: empty if both
// sides came to hold what they hold without any fault.
func (sw *Sweep) Play(faults ...Fault) (wrong string) {
	w := sw.ready.restore()
	var hits []string
	defer func() {
		if p := recover(); p != nil {
			wrong = fmt.Sprintf("panic: %v", p)
		}
		if wrong != "" {
			wrong = fmt.Sprintf("%s, %s: %s\nserver holds\n%sMaildir holds\n%swithout a fault the server holds\n%sand the Maildir\n%s", sw.scenario.Name,
				strings.Join(hits, ", "), wrong, w.ServerTree(), w.LocalTree(), sw.want[0], sw.want[1])
		}
	}()
	late, unreadable := false, false
	for i := range faults {
		res := w.Sync(&faults[i])
		unreadable = unreadable || w.gate.unreadable
		hits = append(hits, fmt.Sprintf("%s (fatal: %v, errors: %v)", w.gate.hit, res.Fatal, res.Errors))
		if late = faults[i].Late; !late {
			w.Server.ReleaseGhosts()
		}
	}
	if err := w.Settle(); err != nil {
		return err.Error()
	}
	if w.Server.Ghosts() > 0 {
		w.Server.ReleaseGhosts()
		if err := w.Settle(); err != nil {
			return err.Error()
		}
	}
	for i, t := range [2]Tree{w.ServerTree(), w.LocalTree()} {
		switch {
		case t.equal(sw.want[i]):
		case !unreadable: // what could not be read once is seen later, and two people's conflicting acts may then lead elsewhere
			return "another outcome than without a fault"
		case !maps.Equal(t.texts(), sw.want[i].texts()):
			return "lost or doubled"
		}
	}
	return ""
}

// texts counts the messages of a side, whatever their folders and flags.
func (t Tree) texts() map[string]int {
	n := map[string]int{}
	for _, messages := range t {
		for _, m := range messages {
			n[textOf(m)]++
		}
	}
	return n
}
