package sim

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/testenv/disk"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// Sweep plays one scenario again and again, each time with another fault.
type Sweep struct {
	scenario Scenario
	ready    saved // both sides agree, and people have acted
	before   past  // what happened since
	// Steps are those of a run that nothing interrupts, from ready on.
	Steps []step
	want  [2]Tree // what both sides hold in the end
	// turns count the kinds that were chosen to follow another.
	turns map[[2]Kind]int
}

// past is what happened to a scenario before a run.
type past struct {
	hits       []string
	late       bool // ghosts arrive only after a whole run
	unreadable bool // something could not be read once
	lateCopy   bool // a copy that was sent arrived after a run
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
	if s.Serve != nil {
		s.Serve(&options)
	}
	if s.OwnFile {
		m = InFile(m.path + ".own")
	}
	w := New(m, options)
	if s.Set != nil {
		s.Set(&w.Set)
	}
	if w.Set.Layout == maildir.PlusPlus {
		w.usePlusPlus()
	}
	w.Uneasy = s.Uneasy
	s.Before(w)
	w.Disk.Settle()
	if err := w.Settle(); err != nil {
		return nil, fmt.Errorf("before anybody acts: %w", err)
	}
	s.Acts(w)
	w.Disk.Settle()
	sw = &Sweep{scenario: s, ready: w.save(), turns: map[[2]Kind]int{}}
	sw.Steps = sw.record()
	w = sw.ready.restore()
	s.run(w, nil)
	if err := s.rest(w); err != nil {
		return nil, fmt.Errorf("without any fault: %w\nserver holds\n%sMaildir holds\n%s", err, w.ServerTree(), w.LocalTree())
	}
	sw.want = [2]Tree{w.ServerTree(), w.LocalTree()}
	return sw, nil
}

// record plays the run that is to be cut off, and returns its steps.
func (sw *Sweep) record() []step {
	w := sw.ready.restore()
	w.counts = true
	sw.scenario.run(w, nil)
	return w.gate.steps
}

// run is what is cut off.
func (s Scenario) run(w *World, fault *Fault) (failed []mailsync.FolderError, fatal error) {
	if s.Undo {
		res := w.Undo(fault)
		if failed = res.Errors; res.Sync != nil {
			return append(failed, res.Sync.Errors...), errors.Join(res.Fatal, res.Sync.Fatal)
		}
		return failed, res.Fatal
	}
	w.Ask = s.Ask
	defer func() { w.Ask = mailsync.Options{} }()
	res := w.Sync(fault)
	return res.Errors, res.Fatal
}

// rest brings a world to rest after that. What was asked for is asked for again, as a person does.
func (s Scenario) rest(w *World) error {
	if s.Undo || s.asks() {
		if _, fatal := s.run(w, nil); fatal != nil {
			return fmt.Errorf("asked for again: %w", fatal)
		}
	}
	return w.Settle()
}

func (s Scenario) asks() bool { return s.Ask.AllowDeletes || s.Ask.RestoreHeld || s.Ask.Rebind }

// Kinds are those of the faults that can happen at a step, counted from 1.
func (sw *Sweep) Kinds(at int) (all []Kind) {
	for k := range allKinds {
		if k != Meddles && k.fits(sw.Steps[at-1]) {
			all = append(all, k)
		}
	}
	return all
}

// Faults are all that can happen at a step.
func (sw *Sweep) Faults(at int) (all []Fault) {
	for _, k := range sw.Kinds(at) {
		all = append(all, sw.faults(at, k)...)
	}
	return all
}

// few is how much may not be durable when the power fails for every part of it to survive in one run. Of more, some are drawn.
const few = 5

// faults are those of one kind: of power failures one for each that may be left of what was not durable.
func (sw *Sweep) faults(at int, k Kind) []Fault {
	f := Fault{Kind: k, At: at, Seed: uint64(at), Late: at%2 == 0}
	odds := func(all ...disk.Odds) (faults []Fault) {
		for _, o := range all {
			f.Odds, f.Seed = o, f.Seed+1000
			faults = append(faults, f)
		}
		return faults
	}
	switch unsynced := sw.Steps[at-1].unsynced; {
	case k == PowerFails && at > 1 && sw.Steps[at-2].unsynced == 0, k == PowerFailsAfter && unsynced == 0:
		return odds(disk.Nothing)
	case k == PowerFails: // what it leaves is what a failure after the step before leaves, most of the time
		return odds(disk.Nothing, disk.Everything, disk.Some)
	case k == PowerFailsAfter && unsynced <= few:
		all := odds(disk.Some) // which tears files, too
		f.Odds = disk.Chosen
		for f.Seed = range uint64(1) << unsynced {
			all = append(all, f)
		}
		return all
	case k == PowerFailsAfter:
		return odds(append(slices.Repeat([]disk.Odds{disk.Some}, 13), disk.Nothing, disk.Names, disk.Everything)...)
	}
	if k != Ghosts && k != Echoes {
		return []Fault{f}
	}
	late := f
	late.Late = !f.Late
	return []Fault{f, late}
}

// One chooses one of them. The kinds take turns, as turn goes on, and what is left after a power failure does.
func (sw *Sweep) One(at, turn int) Fault {
	fit := sw.Kinds(at)
	all := sw.faults(at, fit[turn%len(fit)])
	return all[turn/len(fit)%len(all)]
}

// Next chooses one of the kind that came least often so far after a fault of kind after, which may be -1 for none.
func (sw *Sweep) Next(after Kind, at int) Fault {
	least := slices.MinFunc(sw.Kinds(at), func(a, b Kind) int { return sw.turns[[2]Kind{after, a}] - sw.turns[[2]Kind{after, b}] })
	pair := [2]Kind{after, least}
	all := sw.faults(at, least)
	sw.turns[pair]++
	return all[sw.turns[pair]%len(all)]
}

// Then is the sweep of the run after one that was interrupted. It must not be used once that one's memory is in use elsewhere.
func (sw *Sweep) Then(f Fault) *Sweep {
	w := sw.ready.restore()
	next := *sw
	next.before = sw.before.cut(sw.scenario, w, &f)
	next.ready = w.save()
	next.Steps = next.record()
	return &next
}

// cut interrupts a run, and returns what is past then.
func (p past) cut(s Scenario, w *World, f *Fault) past {
	failed, fatal := s.run(w, f)
	p.unreadable, p.lateCopy = p.unreadable || w.gate.unreadable, p.lateCopy || w.gate.lateCopy
	p.hits = append(slices.Clone(p.hits), fmt.Sprintf("%s (fatal: %v, errors: %v)", w.gate.hit, fatal, failed))
	if p.late = f.Late; !p.late {
		w.Server.ReleaseGhosts()
	}
	return p
}

// Play interrupts a run, and the next one if there is a second fault, and says what was wrong afterwards: empty if both
// sides came to hold what they hold without any fault.
func (sw *Sweep) Play(faults ...Fault) (wrong string) {
	w := sw.ready.restore()
	p := sw.before
	defer func() {
		if r := recover(); r != nil {
			wrong = fmt.Sprintf("panic: %v", r)
		}
		if wrong != "" {
			wrong = fmt.Sprintf("%s, %s: %s\nserver holds\n%sMaildir holds\n%swithout a fault the server holds\n%sand the Maildir\n%s", sw.scenario.Name,
				strings.Join(p.hits, ", "), wrong, w.ServerTree(), w.LocalTree(), sw.want[0], sw.want[1])
		}
	}()
	for i := range faults {
		var kept map[string]int
		if sw.scenario.Undo {
			kept = w.withAside()
		}
		p = p.cut(sw.scenario, w, &faults[i])
		if sw.scenario.Undo {
			now := w.withAside()
			for text, n := range kept {
				if now[text] != n {
					return fmt.Sprintf("%s is back and aside %d times, and was %d times", subjectOf(text), now[text], n)
				}
			}
		}
	}
	if err := sw.scenario.rest(w); err != nil {
		return err.Error()
	}
	if w.Server.Ghosts() > 0 {
		w.Server.ReleaseGhosts()
		if err := w.Settle(); err != nil {
			return err.Error()
		}
	}
	return sw.judge(w, p)
}

// judge says what is wrong with a world at rest.
func (sw *Sweep) judge(w *World, p past) string {
	for i, t := range [2]Tree{w.ServerTree(), w.LocalTree()} {
		for _, half := range w.Server.Halves() { // a message that nobody could know for none
			t.forget(unix(half))
		}
		switch {
		case t.equal(sw.want[i]):
		case p.lateCopy && !t.lacks(sw.want[i]): // docs/safety.md, Known limits: a half-done move
		case !p.unreadable: // what could not be read once is seen later, and two people's conflicting acts may then lead elsewhere
			return "another outcome than without a fault"
		case sw.scenario.Undo && !t.lacks(sw.want[i]): // it brings back what could not be compared with what is there
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

// lacks reports whether a message of another tree is there less often.
func (t Tree) lacks(o Tree) bool {
	there := t.texts()
	for text, n := range o.texts() {
		if there[text] < n {
			return true
		}
	}
	return false
}

// forget leaves out one message of that text, if there is one.
func (t Tree) forget(text string) {
	for _, folder := range t.folders() {
		if i := slices.IndexFunc(t[folder], func(m string) bool { return textOf(m) == text }); i >= 0 {
			t[folder] = slices.Delete(t[folder], i, i+1)
			return
		}
	}
}

// withAside counts the messages of the Maildir and those that are kept for undo.
func (w *World) withAside() map[string]int {
	n := w.LocalTree().texts()
	var walk func(dir string)
	walk = func(dir string) {
		_ = w.Disk.Person().List(dir, func(name string, mode fs.FileMode) bool { // there is none before anything was removed
			switch {
			case mode.IsDir():
				walk(path.Join(dir, name))
			case name[0] != '.':
				n[unix(w.read(path.Join(dir, name)))]++
			}
			return true
		})
	}
	walk(".satchel/undo")
	return n
}
