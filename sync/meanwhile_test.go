package sync_test

import (
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/sync/plan"
)

// checkMessages is check, but for folders without messages: one that is deleted while it is made may stay.
func (h *history) checkMessages() {
	h.t.Helper()
	full := func(t tree) string {
		maps.DeleteFunc(t, func(_ string, m []string) bool { return len(m) == 0 })
		return t.String()
	}
	if full(h.serverTree()) != full(h.localTree()) {
		h.fatalf("the sides differ")
	}
	h.checkCounts()
}

// TestMeanwhile lets both sides change between any two steps of a run, then lets runs go through undisturbed, and
// holds the promise.
func TestMeanwhile(t *testing.T) {
	was := runtime.GOMAXPROCS(1) // one worker: the Maildir rests while the hook runs
	t.Cleanup(func() { runtime.GOMAXPROCS(was) })
	servers := map[string]model.Options{
		"full": model.Full(), "no-move": {CondStore: true, UIDPlus: true}, "no-condstore": {UIDPlus: true, Move: true},
	}
	playing{seeds: 10, first: 5000, rounds: 3}.play(t, servers, func(h *history) {
		h.set.Connections = 1
		h.acts(2 + h.rng.IntN(8))
		left, inside := 1+h.rng.IntN(5), false
		h.server.SetFault(func(s model.Step) model.Action {
			// A flag that goes away right after it was set is taken for one that the server does not keep.
			if !inside && left > 0 && !(s.Op == "store" && s.After) && h.rng.IntN(6) == 0 {
				inside = true
				h.note("at %s", s)
				h.act()
				left--
				inside = false
			}
			return model.Action{}
		})
		h.faulty()
		h.server.SetFault(nil)
		h.settle()
		h.settle()
		h.checkMessages()
	})
}

// TestUploadMovedAwayAtOnce: another client moves a message between its upload and the look at it.
func TestUploadMovedAwayAtOnce(t *testing.T) {
	t.Parallel()
	for _, cut := range []bool{false, true} {
		w := newWorld(t, model.Options{CondStore: true, UIDPlus: true, Move: true})
		w.server.CreateMailbox("Rules")
		w.put("INBOX", w.message("mine"), "S")
		w.put("INBOX", w.message("other"), "S")
		moved := false
		w.server.SetFault(func(s model.Step) model.Action {
			switch {
			case s.Op == "append" && s.After && s.Index == 1:
				w.server.Move("INBOX", "Rules", 1)
				moved = true
			case moved && cut:
				cut = false
				return model.Action{Kind: model.Drop}
			}
			return model.Action{}
		})
		w.try()
		w.server.SetFault(nil)
		w.sync()
		if tree := w.serverTree(); len(tree["INBOX"]) != 1 || len(tree["Rules"]) != 1 {
			t.Fatalf("lost or doubled\n%s", w)
		}
		w.same()
		w.quiet()
	}
}

// TestFlagRemovedWhileMoved: a mail reader takes a flag away between the reading of a folder and the move that follows
// the server's.
func TestFlagRemovedWhileMoved(t *testing.T) {
	t.Parallel()
	w := newPairWorld(t, `\Answered`)
	w.server.Move("A", "B", w.uid)
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == "fetch" && s.After },
		func() model.Action { w.reflag(w.file(), ""); return model.Action{} }))
	w.sync()
	w.server.SetFault(nil)
	w.sync()
	w.want(boxes(map[string][]string{"B": {"m"}}))
}

// TestOvertakenMove: while the server carries a move out somebody else deletes one of the messages, and the server moves none of them.
func TestOvertakenMove(t *testing.T) {
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("B")
	a, b := w.message("a"), w.message("b")
	ua := w.arrive("INBOX", a)
	w.arrive("INBOX", b)
	w.sync()
	w.move(w.file("INBOX", a), "B")
	w.move(w.file("INBOX", b), "B")
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == "move" },
		func() model.Action {
			w.server.Expunge("INBOX", ua)
			return model.Action{Kind: model.Refuse, Code: "EXPUNGEISSUED"}
		}))
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "B": {"a", "b"}}) // deleted here and moved there: it lives on
	w.quiet()
}

// TestRestoredBesideACopy: a message is deleted on the server while a copy of it comes down elsewhere. Its own file, which is wanted
// TestRefusedMove: the server refuses a move. It is asked once in each run, and that is all that is said.
func TestRefusedMove(t *testing.T) {
	t.Parallel()
	w := newPairWorld(t)
	w.move(w.file(), "B")
	moves := 0
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "move" && !s.After {
			moves++
			return model.Action{Kind: model.Refuse, Code: "OVERQUOTA"}
		}
		return model.Action{}
	})
	for range 2 {
		if res := w.try(); res.Fatal != nil || len(res.Errors) != 1 || !strings.Contains(res.Errors[0].Error(), "OVERQUOTA") {
			t.Errorf("fatal %v, errors %v", res.Fatal, res.Errors)
		}
	}
	if moves != 2 {
		t.Errorf("asked %d times", moves)
	}
	w.server.SetFault(nil)
	w.sync()
	w.want(boxes(map[string][]string{"B": {"m"}}))
}

// back, is not the copy's.
func TestRestoredBesideACopy(t *testing.T) {
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("B")
	a, d := w.message("a"), w.message("d")
	ua, ud := w.arrive("INBOX", a), w.arrive("INBOX", d)
	w.sync()
	w.set.Policy.Guard = plan.Guard{ByCount: true}
	w.opt.RestoreHeld = true
	w.arrive("B", a)
	w.move(w.file("INBOX", d), "C")
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == "body" && s.Mailbox == "B" && s.After },
		func() model.Action {
			w.server.Expunge("INBOX", ua)
			w.server.Expunge("INBOX", ud) // so that the run looks again
			return model.Action{}
		}))
	w.sync()
	w.want(map[string][]string{"INBOX": {"a"}, "B": {"a"}, "C": {"d"}})
	w.quiet()
}

// TestHalfMadeAgain: the Maildir's folder was deleted, a run that was to make it again for a new message was stopped on the way, and the message
// has moved on since. The folder is made whole, though nothing is to lie in it.
func TestHalfMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("Work")
	w.sync()
	aside := filepath.Join(t.TempDir(), "Work") // keeps its inode's number from being used again
	w.must(os.Rename(w.dir("Work"), aside))
	w.must(os.MkdirAll(filepath.Join(w.dir("Work"), "tmp"), 0o700))
	w.sync()
	w.want(map[string][]string{"INBOX": nil, "Work": nil})
	w.quiet()
}

// meddledFS has somebody do something right before the first rename.
type meddledFS struct {
	maildir.FS
	once   sync.Once
	meddle func()
}

// RenameNew implements maildir.FS.
func (m *meddledFS) RenameNew(from, to string) error {
	m.once.Do(m.meddle)
	return m.FS.RenameNew(from, to)
}

// TestFlagsRemovedWhileMoved: the flags that a mail reader had set are taken away again right before the file is moved to where the server has
// the message by now. They were on their way to the server, and go from there too.
func TestFlagsRemovedWhileMoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.opt.Patient = true // so that Work's times tell that only the run changed it
	w.server.CreateMailbox("Work")
	text := w.message("x")
	uid := w.arrive("INBOX", text)
	w.sync()
	w.server.Move("INBOX", "Work", uid)
	file := w.reflag(w.file("INBOX", text), "DS")
	real, err := maildir.OSFS(w.root)
	w.must(err)
	w.fs = &meddledFS{FS: real, meddle: func() { w.reflag(file, "") }}
	w.sync()
	w.fs = nil
	w.sync()
	w.want(map[string][]string{"INBOX": nil, "Work": {"x"}})
	w.quiet()
}
