package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/satchel-mail/satchel/internal/testenv/disk"
	"github.com/satchel-mail/satchel/internal/testenv/model"
)

// Kind is what happens at a step.
type Kind int

const (
	// Dies: the process ends before the step is done; DiesAfter: right after.
	Dies Kind = iota
	DiesAfter
	// PowerFails: so does the machine; PowerFailsAfter: right after the step.
	PowerFails
	PowerFailsAfter
	// IOError: the disk can't do it. A sync that fails so has lost what it was to write. A commit fails.
	IOError
	// Full: there is no room on the disk.
	Full
	// Drops: the connection breaks before the server acts; DropsAfter: before its answer comes.
	Drops
	DropsAfter
	// Silent: the server says nothing any more.
	Silent
	// Refuses: it answers NO.
	Refuses
	// Ghosts: the connection breaks, and what was sent arrives later.
	Ghosts
	// Cuts: a message breaks off in its middle.
	Cuts
	// Meddles: somebody else acts on one of the sides.
	Meddles
	kinds // those above are what histories draw from, so that a seed stays the history that it is
)

const (
	// FullAtSync: there is no room, which the disk says when data is to be made durable, and loses it.
	FullAtSync = kinds + iota
	// StaysFull: there is no room for anything from then on, as long as the run goes on.
	StaysFull
	// Shorts: a read of a file gives less than was asked for.
	Shorts
	// Parts: the connection breaks when the server has done a part of a command.
	Parts
	// Echoes are Ghosts of any other command.
	Echoes
	// KeepsRefusing: from then on the server refuses that command in that mailbox, as long as the run goes on.
	KeepsRefusing
	// Withholds: from then on it gives no header and no text of the messages in that mailbox, as long as the run goes on.
	Withholds
	allKinds
)

var kindNames = [allKinds]string{"the process dies before it", "the process dies after it", "the power fails before it", "the power fails after it",
	"an I/O error", "the disk is full", "the connection breaks before it", "the connection breaks after it", "the server falls silent",
	"the server refuses", "the connection breaks, and what was sent arrives later", "the message breaks off", "somebody interferes",
	"the disk is full when it syncs", "the disk is full and stays so", "a short read", "the connection breaks in the middle of the command",
	"the connection breaks, and the command is carried out later", "the server refuses, and goes on so", "the server withholds what messages say"}

func (k Kind) String() string { return kindNames[k] }

// Fault is what happens at one step of a run.
type Fault struct {
	Kind Kind
	At   int // the step, counted from 1
	// Odds says what survives a power failure, and Seed which part of it, see disk.PowerFailure.
	Odds disk.Odds
	Seed uint64
	// Act is what Meddles does.
	Act Act
	// Late has ghosts arrive only after a whole run.
	Late bool
}

// source is where a step happens.
type source byte

const (
	onDisk   source = 'd'
	atServer source = 's'
	inState  source = 'c' // a commit
)

// fits reports whether a kind of fault can happen at a step.
func (k Kind) fits(s step) bool {
	op, several := s.op, strings.ContainsAny(s.uids, ",:")
	switch k {
	case Dies:
		return true
	case DiesAfter, PowerFailsAfter:
		return s.changes || s.source != onDisk
	case PowerFails:
		return s.changes
	case IOError:
		return s.source != atServer && op != "lock" && op != "touch"
	case Full, StaysFull:
		return s.source == inState || s.source == onDisk && (op == "create" || op == "write" || op == "mkdir" || op == "rename" || op == "link")
	case FullAtSync:
		return s.source == onDisk && (op == "sync" || op == "syncall")
	case Shorts:
		return s.source == onDisk && op == "read"
	case Drops, DropsAfter, Silent:
		return s.source == atServer
	case Refuses, KeepsRefusing:
		return s.source == atServer && op != "dial" && op != "list"
	case Withholds:
		return s.source == atServer && (op == "fetch" || op == "body")
	case Ghosts:
		return s.source == atServer && op == "append"
	case Echoes:
		return s.source == atServer && slices.Contains([]string{"store", "move", "copy", "mark", "expunge", "create", "delete", "rename"}, op)
	case Parts:
		return op == "append" || op == "move" || several && slices.Contains([]string{"store", "copy", "mark", "expunge"}, op)
	case Cuts:
		return s.source == atServer && op == "body"
	case Meddles:
		return true
	}
	return false
}

// gate is passed by every step of a run.
type gate struct {
	mu    sync.Mutex
	w     *World
	fault *Fault
	n     int
	dead  bool
	after bool // what is done now is the process' last act
	cut   bool // what the server does now has no answer
	hit   string
	// unreadable: what could not be done was to read something.
	unreadable bool
	lateCopy   bool // a copy arrives later
	full       bool // from now on
	refuses    step // what is refused from now on, and of which mailbox
	counts     bool // what is not durable after each step
	steps      []step
}

// step is one step that a run took.
type step struct {
	source  source
	op      string
	what    string // a file or mailbox
	uids    string
	changes bool
	// unsynced is how much is not durable after it, where that is counted.
	unsynced int
}

func (s step) String() string { return strings.TrimSpace(s.op + " " + s.what + " " + s.uids) }

var errDead = errors.New("the process is dead (test)")

func begin(w *World, fault *Fault) *gate {
	g := &gate{w: w, fault: fault, counts: w.counts}
	w.Disk.SetHook(g.disk)
	w.Server.SetFault(g.server)
	return g
}

// end lets what the fault led to come over the world, once the process is gone.
func (g *gate) end(w *World) {
	w.Disk.SetHook(nil)
	w.Server.SetFault(nil)
	g.count()
	if f := g.fault; f != nil && g.dead && (f.Kind == PowerFails || f.Kind == PowerFailsAfter) {
		w.Disk.PowerFailure(f.Odds, f.Seed)
	} else {
		w.Disk.Die()
	}
}

// pass counts a step and returns the kind of what happens at it, -1 for nothing.
func (g *gate) pass(s step) Kind {
	g.count()
	g.n++
	g.steps = append(g.steps, s)
	f := g.fault
	if f == nil || g.n < f.At || g.hit != "" || !f.Kind.fits(s) {
		return -1
	}
	g.hit = fmt.Sprintf("step %d, %s: %s", g.n, s.String(), f.Kind)
	g.unreadable = f.Kind == IOError && !s.changes || (f.Kind == Refuses || f.Kind == KeepsRefusing) && s.op == "fetch" || f.Kind == Withholds
	if f.Kind == KeepsRefusing || f.Kind == Withholds {
		g.refuses = s
	}
	switch f.Kind {
	case Dies, PowerFails:
		g.dead = true
	case DiesAfter, PowerFailsAfter:
		g.after = true
	case StaysFull:
		g.full = true
	case Meddles:
		g.hit += ": " + f.Act.do(g.w)
	}
	return f.Kind
}

// deletes reports whether the server is just being told to delete a mailbox. What somebody stores in it at that instant goes with it, which no
// client can prevent.
func (g *gate) deletes(box string) bool {
	if len(g.steps) == 0 {
		return false
	}
	now := g.steps[len(g.steps)-1]
	return now.source == atServer && now.op == "delete" && now.what == box
}

// count notes what is not durable after the last step.
func (g *gate) count() {
	if g.counts && g.n > 0 {
		g.steps[g.n-1].unsynced = g.w.Disk.Unsynced()
	}
}

func (g *gate) disk(s disk.Step) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return errDead
	}
	if s.After {
		if g.after {
			g.dead = true
			return errDead
		}
		return nil
	}
	here := step{source: onDisk, op: s.Op, what: s.Name, changes: s.Changes()}
	kind := g.pass(here)
	if g.full && Full.fits(here) {
		return syscall.ENOSPC
	}
	switch kind {
	case Dies, PowerFails:
		return errDead
	case IOError:
		if s.Op == "sync" || s.Op == "syncall" || s.Op == "syncdir" {
			return disk.ErrSync
		}
		return syscall.EIO
	case Full:
		return syscall.ENOSPC
	case FullAtSync:
		return fmt.Errorf("%w: %w", disk.ErrSync, syscall.ENOSPC)
	case Shorts:
		return disk.ErrShort
	}
	return nil
}

func (g *gate) server(s model.Step) model.Action {
	g.mu.Lock()
	defer g.mu.Unlock()
	drop := model.Action{Kind: model.Drop}
	if g.dead {
		return drop
	}
	if s.After {
		if g.after {
			g.dead = true
			return drop
		}
		if g.cut {
			g.cut = false
			return drop
		}
		return model.Action{}
	}
	kind := g.pass(step{source: atServer, op: s.Op, what: s.Mailbox, uids: s.UIDs.String(), changes: true})
	if g.refused(s) {
		return model.Action{Kind: model.Refuse}
	}
	switch kind {
	case Dies, PowerFails, Drops:
		return drop
	case DropsAfter:
		g.cut = true
	case Silent:
		return model.Action{Kind: model.Silence}
	case Refuses:
		return model.Action{Kind: model.Refuse}
	case Ghosts, Echoes:
		g.lateCopy = s.Op == "copy"
		return model.Action{Kind: model.Ghost}
	case Parts:
		return model.Action{Kind: model.Part}
	case Cuts:
		return model.Action{Kind: model.Cut}
	}
	return model.Action{}
}

// refused reports whether the server goes on refusing that.
func (g *gate) refused(s model.Step) bool {
	switch r := g.refuses; {
	case r.op == "" || r.what != s.Mailbox:
		return false
	case g.fault.Kind == Withholds:
		return s.Op == "body" || s.Op == "fetch"
	default:
		return s.Op == r.op
	}
}

func (g *gate) commit(commit func() error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return errDead
	}
	kind := g.pass(step{source: inState, op: "commit", changes: true})
	if g.full {
		return syscall.ENOSPC
	}
	switch kind {
	case Dies, PowerFails:
		return errDead
	case IOError:
		return syscall.EIO
	case Full:
		return syscall.ENOSPC
	}
	err := commit()
	if g.after {
		g.dead = true
		return errDead
	}
	return err
}
