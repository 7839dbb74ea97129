package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
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
	kinds
)

var kindNames = [kinds]string{"the process dies before it", "the process dies after it", "the power fails before it", "the power fails after it",
	"an I/O error", "the disk is full", "the connection breaks before it", "the connection breaks after it", "the server falls silent",
	"the server refuses", "the connection breaks, and what was sent arrives later", "the message breaks off", "somebody interferes"}

func (k Kind) String() string { return kindNames[k] }

// Fault is what happens at one step of a run.
type Fault struct {
	Kind Kind
	At   int // the step, counted from 1
	// Odds says what survives a power failure, and Seed which part of it.
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

// fits reports whether a kind of fault can happen at a step of that source, doing op.
func (k Kind) fits(s source, op string, changes bool) bool {
	switch k {
	case Dies:
		return true
	case DiesAfter, PowerFailsAfter:
		return changes || s != onDisk
	case PowerFails:
		return changes
	case IOError:
		return s != atServer && op != "lock" && op != "touch"
	case Full:
		return s == inState || s == onDisk && (op == "create" || op == "write" || op == "mkdir" || op == "rename")
	case Drops, DropsAfter, Silent:
		return s == atServer
	case Refuses:
		return s == atServer && op != "dial" && op != "list"
	case Ghosts:
		return s == atServer && op == "append"
	case Cuts:
		return s == atServer && op == "body"
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
	steps      []step
}

// step is one step that a run took.
type step struct {
	source  source
	op      string
	what    string // a file or mailbox
	uids    string
	changes bool
}

func (s step) String() string { return strings.TrimSpace(s.op + " " + s.what + " " + s.uids) }

var errDead = errors.New("the process is dead (test)")

func begin(w *World, fault *Fault) *gate {
	g := &gate{w: w, fault: fault}
	w.Disk.SetHook(g.disk)
	w.Server.SetFault(g.server)
	return g
}

// end lets what the fault led to come over the world, once the process is gone.
func (g *gate) end(w *World) {
	w.Disk.SetHook(nil)
	w.Server.SetFault(nil)
	if f := g.fault; f != nil && g.dead && (f.Kind == PowerFails || f.Kind == PowerFailsAfter) {
		w.Disk.PowerFailure(f.Odds, rand.New(rand.NewPCG(f.Seed, 3)))
	} else {
		w.Disk.Die()
	}
}

// pass counts a step and returns the kind of what happens at it, -1 for nothing.
func (g *gate) pass(s step) Kind {
	g.n++
	g.steps = append(g.steps, s)
	f := g.fault
	if f == nil || g.n < f.At || g.hit != "" || !f.Kind.fits(s.source, s.op, s.changes) {
		return -1
	}
	g.hit = fmt.Sprintf("step %d, %s: %s", g.n, s.String(), f.Kind)
	g.unreadable = f.Kind == IOError && !s.changes
	switch f.Kind {
	case Dies, PowerFails:
		g.dead = true
	case DiesAfter, PowerFailsAfter:
		g.after = true
	case Meddles:
		g.hit += ": " + f.Act.do(g.w)
	}
	return f.Kind
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
	switch g.pass(step{onDisk, s.Op, s.Name, "", s.Changes()}) {
	case Dies, PowerFails:
		return errDead
	case IOError:
		if s.Op == "sync" || s.Op == "syncall" || s.Op == "syncdir" {
			return disk.ErrSync
		}
		return syscall.EIO
	case Full:
		return syscall.ENOSPC
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
	switch g.pass(step{atServer, s.Op, s.Mailbox, s.UIDs.String(), true}) {
	case Dies, PowerFails, Drops:
		return drop
	case DropsAfter:
		g.cut = true
	case Silent:
		return model.Action{Kind: model.Silence}
	case Refuses:
		return model.Action{Kind: model.Refuse}
	case Ghosts:
		return model.Action{Kind: model.Ghost}
	case Cuts:
		return model.Action{Kind: model.Cut}
	}
	return model.Action{}
}

func (g *gate) commit(commit func() error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return errDead
	}
	switch g.pass(step{inState, "commit", "", "", true}) {
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
