package sim

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/disk"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// History is what happens, in rounds: people act, then a run may be interrupted, then runs bring everything to rest.
type History struct {
	Seed    uint64
	Server  string // a key of Servers
	Account Account
	// Wide: people do all that they can, see wide.go.
	Wide bool
	// ByLink: the Maildir's file system renames by link. SharedUIDs: mailboxes share their UIDVALIDITY, and have no identity.
	ByLink, SharedUIDs bool
	Rounds             []Round
	Log                *slog.Logger // of the engine, nil for none
	// FS and Dialer, if set, come between the engine and the two sides: a fault that is planted there must show.
	FS     func(maildir.FS) maildir.FS
	Dialer func(remote.Dialer) remote.Dialer
}

// Round is one of them.
type Round struct {
	Acts  []Act
	Fault *Fault
	// Again is a second fault, during the first run after the interrupted one.
	Again *Fault
	// Waits is what has to wait meanwhile, nil for nothing.
	Waits *Waits
	// Only is a sync of one folder that comes first, nil for none.
	Only *Only
}

// Servers are the kinds of server that histories are played on.
var Servers = map[string]model.Options{
	"full":         model.Full(),
	"equal-ids":    equalIDs(),
	"no-uidplus":   {CondStore: true, Move: true, Window: 2},
	"no-move":      {CondStore: true, UIDPlus: true, Window: 2},
	"no-condstore": {UIDPlus: true, Move: true},
	"bare":         {},
}

func equalIDs() model.Options {
	o := model.Full()
	o.EqualEmailIDs = true
	return o
}

// newerSeeds have servers that older ones have not, and wideSeeds whole lives, see wide.go: the older ones shall stay what they are.
const (
	newerSeeds    = 2_000_000
	wideSeeds     = 10_000_000
	stubbornSeeds = 30_000_000 // servers that go on refusing or withholding, or give mailboxes one UIDVALIDITY; file systems that rename by link
	waitingSeeds  = 40_000_000 // what has to wait, see waits.go
	onlySeeds     = 50_000_000 // syncs of one folder
)

var serverNames = []string{"full", "no-uidplus", "no-move", "no-condstore", "bare"}

// Random makes up a history.
func Random(seed uint64) History {
	r := rand.New(rand.NewPCG(seed, 1))
	h := History{Seed: seed, Server: serverNames[r.IntN(len(serverNames))], Account: Account{Mode: plan.TwoWay}}
	often := weights
	if seed >= wideSeeds && (seed < waitingSeeds || seed%2 == 1) {
		h.Wide, h.Account, often = true, someAccount(seed), wideWeights
	}
	if seed >= newerSeeds && h.Server == "full" && seed%2 == 0 {
		h.Server = "equal-ids"
	}
	stubborn := seed >= stubbornSeeds && seed < waitingSeeds
	if stubborn {
		h.ByLink, h.SharedUIDs = seed%4 == 1, seed%4 == 2
	}
	for range 2 + r.IntN(3) {
		var round Round
		for range 1 + r.IntN(9) {
			round.Acts = append(round.Acts, someAct(r, often))
		}
		if r.IntN(5) > 0 {
			round.Fault = someFault(r, often)
			if r.IntN(4) == 0 {
				round.Again = someFault(r, often)
			}
		}
		h.Rounds = append(h.Rounds, round)
	}
	if stubborn {
		h.makeStubborn(r)
	}
	switch {
	case seed >= onlySeeds:
		h.askForOne(r, often)
	case seed >= waitingSeeds:
		h.makeWait(r, often)
	}
	return h
}

// makeStubborn has every other fault go on as long as the run does. Where a name is made durable as soon as it is made, the power does not fail.
func (h *History) makeStubborn(r *rand.Rand) {
	for _, round := range h.Rounds {
		for _, f := range []*Fault{round.Fault, round.Again} {
			switch {
			case f == nil:
				continue
			case r.IntN(2) == 0:
				f.Kind = []Kind{KeepsRefusing, Withholds}[r.IntN(2)]
			case h.ByLink && f.Kind == PowerFails:
				f.Kind = Dies
			case h.ByLink && f.Kind == PowerFailsAfter:
				f.Kind = DiesAfter
			}
		}
	}
}

func someFault(r *rand.Rand, often [verbs]int) *Fault {
	return &Fault{Kind: Kind(r.IntN(int(kinds))), At: 1 + r.IntN(90), Odds: disk.Odds(r.IntN(4)), Seed: r.Uint64(), Act: someAct(r, often), Late: r.IntN(2) == 0}
}

// Outcome is what became of a history.
type Outcome struct {
	Story []string // what happened, in words
	Trace []step   // each step of each run
	// Server and Maildir are what both sides hold at the end.
	Server, Maildir Tree
	// Broken says what of the promise did not hold, empty if all did.
	Broken string
}

// Play plays a history. What m holds is forgotten.
func (h History) Play(m *Memory) (out Outcome) {
	options := Servers[h.Server]
	if h.SharedUIDs {
		options.SharedUIDValidity, options.MailboxIDs = true, false
	}
	w := New(m, options)
	if h.ByLink {
		w.Disk.RenameByLink()
	}
	h.Account.apply(w)
	w.Log, w.wide, w.fs, w.dialer = h.Log, h.Wide, h.FS, h.Dialer
	w.promise = newPromise(h.Wide, h.Account)
	say := func(format string, args ...any) { out.Story = append(out.Story, fmt.Sprintf(format, args...)) }
	say("seed %d, server %s, %+v", h.Seed, h.Server, h.Account)
	if h.ByLink {
		say("files are renamed by link")
	}
	if h.SharedUIDs {
		say("mailboxes share their UIDVALIDITY")
	}
	for _, name := range []string{"Work", "Work/Old", "Lists"} {
		w.Server.CreateMailbox(name)
	}
	defer func() {
		if p := recover(); p != nil {
			out.Broken = fmt.Sprintf("panic: %v", p)
		}
	}()
	rest := func() bool {
		held, err := w.settle()
		if err == nil && w.promise.lost && h.Account.Expunge {
			held, err = w.settle() // a run that finds its messages again deletes nothing; the next one removes what is marked
		}
		if err == nil && held > 0 && h.Account.Waits {
			said, wrong := w.goesOn(rand.New(rand.NewPCG(h.Seed, uint64(w.texts))))
			out.Story = append(out.Story, said...)
			if out.Broken = wrong; wrong != "" {
				return false
			}
		}
		if err == nil && held > 0 {
			say("  the guard holds back %d, and that is %s", held, map[bool]string{true: "allowed", false: "taken back"}[decide(h.Seed)])
			out.Broken = w.promise.held(w.ServerTree(), w.LocalTree(), decide(h.Seed))
			held, err = w.decide(decide(h.Seed))
			if err == nil && held > 0 {
				err = fmt.Errorf("the guard still holds back %d", held)
			}
		}
		if err != nil {
			out.Broken = err.Error()
		}
		out.Trace = append(out.Trace, w.gate.steps...)
		server, local := w.ServerTree(), w.LocalTree()
		pending := map[string]int{}
		if mode := h.Account.Mode; h.Wide && !options.UIDPlus && (mode == plan.TwoWay || mode == plan.Push) { // the others remove nothing there
			server, pending = server.withoutPending(local, h.Account)
		}
		if h.ByLink {
			for text, n := range w.furtherNames() {
				w.promise.mayStay(text, n)
			}
		}
		if out.Broken == "" {
			out.Broken = w.promise.broken(server, local, pending)
		}
		if w.changed != "" {
			out.Broken = w.changed
		}
		if out.Broken == "" {
			out.Broken = w.altered()
		}
		if out.Broken != "" {
			say("server holds\n%sMaildir holds\n%s%s", w.ServerTree(), local, w.Disk)
		}
		w.promise.rest(server, local, pending)
		if h.Wide && out.Broken == "" {
			out.Broken = w.stir()
			out.Trace = append(out.Trace, w.gate.steps...)
		}
		return out.Broken == ""
	}
	if !rest() {
		return out
	}
	for n, round := range h.Rounds {
		say("round %d", n+1)
		for _, a := range round.Acts {
			if what := a.do(w); what != "" {
				say("  %s", what)
			}
		}
		w.Disk.Settle()
		if round.Waits != nil {
			say("  read-only: %s", strings.Join(w.shut(round.Waits.Shut), ", "))
		}
		if round.Only != nil {
			out.Story = append(out.Story, w.syncOne(round.Only)...)
			out.Trace = append(out.Trace, w.gate.steps...)
		}
		late := false
		for _, f := range []*Fault{round.Fault, round.Again} {
			if f == nil {
				continue
			}
			res := w.Sync(f)
			out.Trace = append(out.Trace, w.gate.steps...)
			if f.Kind == Meddles {
				w.Disk.Settle() // what somebody did meanwhile is that one's to make durable
			}
			if w.gate.hit != "" {
				say("  sync, %s (fatal: %v; %d errors)", w.gate.hit, res.Fatal, len(res.Errors))
			}
			w.promise.cutOff = w.promise.cutOff || w.gate.hit != ""
			w.promise.withheld = w.promise.withheld || w.gate.unreadable && (f.Kind == Withholds || f.Kind == KeepsRefusing)
			late = f.Late
			if !late {
				w.release()
			}
		}
		w.Ask = mailsync.Options{}
		if round.Waits != nil {
			said, err := w.open(round.Waits)
			if out.Story = append(out.Story, said...); err != nil {
				out.Broken = err.Error()
				return out
			}
		}
		if late && w.Server.Ghosts() > 0 {
			if err := w.Settle(); err != nil {
				out.Broken = err.Error()
				return out
			}
			say("  ghosts arrive late: %d", w.Server.Ghosts())
			w.release()
		}
		if !rest() {
			return out
		}
	}
	if out.Broken = w.stir(); out.Broken != "" {
		say("%s", w.Disk)
	}
	out.Trace = append(out.Trace, w.gate.steps...)
	out.Server, out.Maildir = w.ServerTree(), w.LocalTree()
	return out
}

// Same reports whether two outcomes came about by the same steps and are the same.
func (o Outcome) Same(other Outcome) bool {
	return o.Broken == other.Broken && slices.Equal(o.Trace, other.Trace) && o.Server.equal(other.Server) && o.Maildir.equal(other.Maildir)
}

// decide says what the person wants of what the guard holds back in a history: to allow it, or to have it back.
func decide(seed uint64) (allow bool) { return seed%2 == 0 }

// decide carries out what the person wants.
func (w *World) decide(allow bool) (held int, err error) {
	w.Ask = mailsync.Options{AllowDeletes: allow, RestoreHeld: !allow}
	_, err = w.settle()
	w.Ask = mailsync.Options{}
	if err != nil {
		return 0, err
	}
	return w.settle()
}

func (o Outcome) String() string { return o.Broken + "\n" + strings.Join(o.Story, "\n") }
