package sync_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// A history is a seeded sequence of acts on both sides with syncs in between. Its promise is checked from
// outside: what nobody deleted exists on both sides, once for each time that it should.
type history struct {
	*world
	rng     *rand.Rand
	folders []string
	deleted map[string]bool // texts that somebody deleted
	alive   map[string]bool
	log     []string
}

func newHistory(t testing.TB, seed uint64, o model.Options) *history {
	h := &history{world: newWorld(t, o), rng: rand.New(rand.NewPCG(seed, 1)), deleted: map[string]bool{}, alive: map[string]bool{}}
	h.set.Policy.Guard.ByShare = false // histories delete freely; the guard has tests of its own
	h.folders = []string{"INBOX", "Work", "Work/Old", "Lists"}
	for _, f := range h.folders[1:] {
		h.server.CreateMailbox(f)
	}
	return h
}

func (h *history) note(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

var letters = []string{"", "S", "F", "FS", "R", "RS", "P", "DS"}
var flagNames = []string{`\Seen`, `\Flagged`, `\Answered`, "$Forwarded", "Todo", "Later"}

// remoteAct is what another client does on the server.
func (h *history) remoteAct() {
	snap := h.server.Snapshot()
	box := snap.Mailboxes[h.rng.IntN(len(snap.Mailboxes))]
	pick := func() (model.Message, bool) {
		if len(box.Messages) == 0 {
			return model.Message{}, false
		}
		return box.Messages[h.rng.IntN(len(box.Messages))], true
	}
	switch h.rng.IntN(8) {
	case 0, 1, 2:
		text := h.message(fmt.Sprintf("r%d", h.made))
		var flags []string
		if h.rng.IntN(2) == 0 {
			flags = append(flags, flagNames[h.rng.IntN(len(flagNames))])
		}
		h.arrive(box.Name, text, flags...)
		h.alive[text] = true
		h.note("server: new %s in %s", subjectOf(text), box.Name)
	case 3, 4:
		if m, ok := pick(); ok {
			f := mail.NewFlags(flagNames[h.rng.IntN(len(flagNames))])
			add := h.rng.IntN(2) == 0
			h.server.Store(box.Name, add, f, m.UID)
			h.note("server: flag %v %s on %s in %s", add, f, subjectOf(m.Raw), box.Name)
		}
	case 5:
		if m, ok := pick(); ok {
			text := strings.ReplaceAll(m.Raw, "\r\n", "\n")
			h.deleted[text] = true
			h.server.Expunge(box.Name, m.UID)
			h.note("server: delete %s in %s", subjectOf(text), box.Name)
		}
	default:
		if m, ok := pick(); ok {
			to := snap.Mailboxes[h.rng.IntN(len(snap.Mailboxes))].Name
			if to != box.Name {
				h.server.Move(box.Name, to, m.UID)
				h.note("server: move %s from %s to %s", subjectOf(m.Raw), box.Name, to)
			}
		}
	}
}

// localAct is what a mail client does in the Maildir.
func (h *history) localAct() {
	folder := h.folders[h.rng.IntN(len(h.folders))]
	files := h.files(folder)
	switch h.rng.IntN(8) {
	case 0, 1, 2:
		text := h.message(fmt.Sprintf("l%d", h.made))
		h.put(folder, text, letters[h.rng.IntN(len(letters))])
		h.alive[text] = true
		h.note("maildir: new %s in %s", subjectOf(text), folder)
	case 3, 4:
		if len(files) > 0 {
			f := files[h.rng.IntN(len(files))]
			l := letters[h.rng.IntN(len(letters))]
			h.note("maildir: flags %q on %s in %s", l, subjectOf(h.read(f)), folder)
			h.reflag(f, l)
		}
	case 5:
		if len(files) > 0 {
			f := files[h.rng.IntN(len(files))]
			h.deleted[h.read(f)] = true
			h.note("maildir: delete %s in %s", subjectOf(h.read(f)), folder)
			h.must(os.Remove(f))
		}
	default:
		if len(files) > 0 {
			f := files[h.rng.IntN(len(files))]
			to := h.folders[h.rng.IntN(len(h.folders))]
			if to != folder {
				h.note("maildir: move %s from %s to %s", subjectOf(h.read(f)), folder, to)
				h.move(f, to)
			}
		}
	}
}

func (h *history) read(path string) string {
	b, err := os.ReadFile(path)
	h.must(err)
	return string(b)
}

func subjectOf(text string) string {
	for line := range strings.Lines(text) {
		if s, ok := strings.CutPrefix(line, "Subject: "); ok {
			return strings.TrimSpace(s)
		}
	}
	return "?"
}

// settle syncs until nothing more changes.
func (h *history) settle() {
	h.t.Helper()
	for range 6 {
		res := h.sync()
		if res.ToMaildir == (mailsync.Count{}) && res.ToServer == (mailsync.Count{}) {
			return
		}
	}
	h.fatalf("it does not come to rest")
}

func (h *history) fatalf(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("%s\n%s\n%s", fmt.Sprintf(format, args...), strings.Join(h.log, "\n"), h.world)
}

// check holds the promise against both sides.
func (h *history) check() {
	h.t.Helper()
	if a, b := h.serverTree().String(), h.localTree().String(); a != b {
		h.fatalf("the sides differ")
	}
	count := map[string]int{}
	for _, messages := range h.serverTree() {
		for _, m := range messages {
			_, text, _ := strings.Cut(m, "] ")
			count[text]++
		}
	}
	for text := range h.alive {
		switch n := count[text]; {
		case n > 1:
			h.fatalf("%s exists %d times", subjectOf(text), n)
		case n == 0 && !h.deleted[text]:
			h.fatalf("%s is lost", subjectOf(text))
		}
	}
	if len(count) > len(h.alive) {
		h.fatalf("there are messages that nobody made")
	}
}

// TestHistories runs random changes on both sides against every kind of server.
func TestHistories(t *testing.T) {
	servers := map[string]model.Options{
		"full":         model.Full(),
		"no-uidplus":   {CondStore: true, Move: true, Window: 2},
		"no-move":      {CondStore: true, UIDPlus: true, Window: 2},
		"no-condstore": {UIDPlus: true, Move: true},
		"bare":         {},
	}
	for name, o := range servers {
		t.Run(name, func(t *testing.T) {
			for seed := range seeds(t, 25) {
				h := newHistory(t, seed, o)
				h.note("seed %d", seed)
				for round := range 4 {
					h.note("round %d", round)
					for range 1 + h.rng.IntN(8) {
						if h.rng.IntN(2) == 0 {
							h.remoteAct()
						} else {
							h.localAct()
						}
					}
					h.settle()
					h.check()
				}
			}
		})
	}
}

// seeds yields as many seeds as wanted; SATCHEL_SEEDS multiplies them, SATCHEL_SEED names a single one.
func seeds(t testing.TB, n int) func(func(uint64) bool) {
	if s := os.Getenv("SATCHEL_SEED"); s != "" {
		one, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return func(yield func(uint64) bool) { yield(one) }
	}
	if s := os.Getenv("SATCHEL_SEEDS"); s != "" {
		k, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		n *= k
	}
	return func(yield func(uint64) bool) {
		for i := range n {
			if !yield(uint64(i)) {
				return
			}
		}
	}
}

// TestInterrupted cuts the connection or the process' luck at random steps of the exchange, then lets runs
// go through, and holds the promise again.
func TestInterrupted(t *testing.T) {
	kinds := []model.Kind{model.Drop, model.Silence, model.Refuse, model.Ghost, model.Cut}
	for name, o := range map[string]model.Options{"full": model.Full(), "no-uidplus": {CondStore: true, Move: true, Window: 2}, "no-move": {CondStore: true, UIDPlus: true}, "bare": {}} {
		t.Run(name, func(t *testing.T) {
			for seed := range seeds(t, 40) {
				h := newHistory(t, seed+1000, o)
				h.note("seed %d", seed)
				for round := range 3 {
					h.note("round %d", round)
					for range 2 + h.rng.IntN(10) {
						if h.rng.IntN(2) == 0 {
							h.remoteAct()
						} else {
							h.localAct()
						}
					}
					at := h.server.Steps() + 1 + h.rng.IntN(40)
					kind := kinds[h.rng.IntN(len(kinds))]
					after := h.rng.IntN(2) == 0
					h.server.SetFault(func(s model.Step) model.Action {
						if s.N >= at && s.After == after || s.N >= at+10 {
							at = 1 << 60
							h.note("fault %d at %s", kind, s)
							return model.Action{Kind: kind}
						}
						return model.Action{}
					})
					h.faulty()
					h.server.SetFault(nil)
					if h.rng.IntN(2) == 0 {
						h.note("ghosts arrive at once: %d", h.server.Ghosts())
						h.server.ReleaseGhosts()
					}
					h.settle()
					if h.server.Ghosts() > 0 {
						h.note("ghosts arrive late: %d", h.server.Ghosts())
						h.server.ReleaseGhosts()
						h.settle()
					}
					h.check()
				}
			}
		})
	}
}

// faulty runs a sync that may fail in any way but must not panic.
func (h *history) faulty() {
	h.t.Helper()
	res := h.try()
	if res.Fatal != nil {
		h.note("the run failed: %v", res.Fatal)
		if errors.Is(res.Fatal, mailsync.ErrLocked) || remote.ClassOf(res.Fatal) == 0 {
			h.fatalf("unexpected: %v", res.Fatal)
		}
	}
	for _, e := range res.Errors {
		h.note("error: %v", e)
	}
}
