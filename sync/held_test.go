package sync_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/internal/testenv/popserver"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// What the guard held back stays so until a person decides, whatever else comes; and no longer than there is something to hold.

// newHeldWorld has 12 messages in A, of which the guard holds the deletion of so many; then so much mail comes that they are few.
func newHeldWorld(t *testing.T, held, more int) *world {
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("A")
	w.server.CreateMailbox("B")
	for range 12 {
		w.arrive("A", w.message("m"))
	}
	w.sync()
	for _, f := range w.files("A")[:held] {
		w.must(os.Remove(f))
	}
	w.holds(held)
	w.comes(more)
	w.holds(held)
	return w
}

// newMarkedWorld is newHeldWorld with messages that are marked as deleted on both sides, and expunge.
func newMarkedWorld(t *testing.T, held, more int) *world {
	w := newHeldWorld(t, 0, 0)
	w.set.Policy.Expunge = true
	for _, f := range w.files("A")[:held] {
		w.reflag(f, "T")
	}
	w.holds(held)
	w.comes(more)
	w.holds(held)
	return w
}

func (w *world) comes(n int) {
	for range n {
		w.arrive("A", w.message("new"))
	}
}

// holds syncs, and fails unless so many deletions are held back then, and status says so.
func (w *world) holds(n int) {
	w.t.Helper()
	if res := w.try(); res.HeldBack != n || res.ToServer.Deleted+res.ToMaildir.Deleted > 0 {
		w.t.Errorf("%d held back, wanted %d; deleted: %+v %+v", res.HeldBack, n, res.ToServer, res.ToMaildir)
	}
	st, err := mailsync.Status(w.t.(*testing.T).Context(), w.set, mailsync.World{})
	w.must(err)
	counted := 0
	for _, f := range st.Folders {
		counted += f.Held
	}
	if counted != n {
		w.t.Errorf("status counts %d that are held back, wanted %d", counted, n)
	}
}

// has fails unless both sides, or the server alone, have so many messages in A.
func (w *world) has(server, local int) {
	w.t.Helper()
	if s, l := len(w.serverTree()["A"]), len(w.files("A")); s != server || l != local {
		w.t.Errorf("the server has %d and the Maildir %d, wanted %d and %d", s, l, server, local)
	}
}

func (w *world) ask(opt mailsync.Options) *mailsync.Result {
	w.opt = opt
	res := w.try()
	w.opt = mailsync.Options{}
	return res
}

// refusing is a fault of one command in one mailbox, of any if that is empty.
func refusing(op, mailbox string, kind model.Kind) func(model.Step) model.Action {
	return func(s model.Step) model.Action {
		if s.Op == op && !s.After && (mailbox == "" || s.Mailbox == mailbox) {
			return model.Action{Kind: kind, Text: "no"}
		}
		return model.Action{}
	}
}

// TestHeldWhileTheMarkIsTakenBack: the person wants the marked messages back, and the server refuses to take the mark off, or does it for some.
func TestHeldWhileTheMarkIsTakenBack(t *testing.T) {
	t.Parallel()
	for _, kind := range []model.Kind{model.Refuse, model.Drop, model.Part} {
		w := newMarkedWorld(t, 12, 40)
		w.server.SetFault(refusing("store", "", kind))
		w.ask(mailsync.Options{RestoreHeld: true})
		w.server.SetFault(nil)
		for range 2 {
			w.try()
			w.has(52, 52)
		}
		w.ask(mailsync.Options{RestoreHeld: true})
		w.holds(0)
		w.has(52, 52)
	}
}

// TestHeldWhileReadOnly: the mailbox takes no changes for one sync.
func TestHeldWhileReadOnly(t *testing.T) {
	t.Parallel()
	for _, w := range []*world{newHeldWorld(t, 11, 40), newMarkedWorld(t, 11, 40)} {
		w.server.SetReadOnly("A", true)
		w.holds(11)
		w.server.SetReadOnly("A", false)
		w.comes(1)
		w.holds(11)
		w.ask(mailsync.Options{AllowDeletes: true})
		w.has(42, 42)
	}
}

// newOpenedWorld has 11 of 12 messages that were deleted while A was read-only, by and by, so that the guard let them wait. Now it takes changes.
func newOpenedWorld(t *testing.T) *world {
	w := newHeldWorld(t, 0, 0)
	w.server.SetReadOnly("A", true)
	files := w.files("A")[:11]
	for _, some := range [][]string{files[:6], files[6:]} {
		for _, f := range some {
			w.must(os.Remove(f))
		}
		w.holds(0)
	}
	w.server.SetReadOnly("A", false)
	return w
}

// TestHeldAfterReadOnly: what waited is counted again when it can be deleted, and held; the person's word counts then.
func TestHeldAfterReadOnly(t *testing.T) {
	t.Parallel()
	for _, allow := range []bool{true, false} {
		w := newOpenedWorld(t)
		for range 3 {
			w.holds(11)
		}
		w.ask(mailsync.Options{AllowDeletes: allow, RestoreHeld: !allow})
		w.holds(0)
		want := map[bool]int{true: 1, false: 12}[allow]
		w.has(want, want)
	}
}

// TestHeldAndSaidSo: another folder can't be read, so that nothing which follows from something missing is done. What was said of the deletions holds.
func TestHeldAndSaidSo(t *testing.T) {
	t.Parallel()
	w := newHeldWorld(t, 0, 0)
	w.arrive("B", w.message("b"))
	w.server.SetFault(refusing("changes", "B", model.Refuse))
	for _, f := range w.files("A")[:11] {
		w.must(os.Remove(f))
	}
	w.holds(11)
	w.comes(40)
	w.holds(11)
	w.server.SetFault(nil)
	w.holds(11)
	w.has(52, 41)
}

// TestHeldThroughALostMove: a marked message that is held is moved, and the answer of the server is lost.
func TestHeldThroughALostMove(t *testing.T) {
	t.Parallel()
	for _, there := range []bool{false, true} {
		for _, lost := range []bool{false, true} {
			w := newMarkedWorld(t, 11, 40)
			if there {
				box, _ := w.server.Snapshot().Mailbox("A")
				w.server.Move("A", "B", box.Messages[0].UID)
			} else {
				w.move(w.files("A")[slices.IndexFunc(w.files("A"), func(f string) bool { return strings.HasSuffix(f, ":2,T") })], "B")
			}
			if lost {
				w.server.SetFault(once(func(s model.Step) bool { return s.Op == "move" && s.After }, func() model.Action { return model.Action{Kind: model.Drop} }))
			}
			for range 3 {
				w.holds(11)
			}
			w.has(51, 51)
		}
	}
}

// TestHeldPutBack: the files come back under their names, after a hold that is the guard's or is not. A deletion of one of them is one of one.
func TestHeldPutBack(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"deleted", "deleted and marked", "moved to a folder that the server may not have"} {
		w := newHeldWorld(t, 0, 0)
		if how == "deleted and marked" {
			for _, f := range w.files("A") {
				w.reflag(f, "T")
			}
			w.sync()
			w.set.Policy.Expunge = true
		}
		was := map[string][]byte{}
		for _, f := range w.files("A") {
			b, err := os.ReadFile(f)
			w.must(err)
			was[f] = b
			if strings.HasPrefix(how, "moved") {
				w.set.Policy.Create = plan.CreateMaildir
				was[f] = []byte(w.move(f, "Local"))
			} else {
				w.must(os.Remove(f))
			}
		}
		w.try()
		for f, b := range was {
			if strings.HasPrefix(how, "moved") {
				w.must(os.Rename(string(b), f))
			} else {
				w.must(os.WriteFile(f, b, 0o600))
			}
		}
		if how == "deleted and marked" { // they go for their mark then, once that is allowed
			w.holds(12)
			w.ask(mailsync.Options{AllowDeletes: true})
			w.holds(0)
			w.has(0, 0)
			continue
		}
		w.holds(0)
		w.ask(mailsync.Options{RestoreHeld: true})
		w.holds(0)
		w.has(12, 12)
		w.must(os.Remove(w.files("A")[0]))
		w.sync()
		w.holds(0)
		w.has(11, 11)
	}
}

// TestHeldAndPutElsewhere: the files come back in a folder that the server may not have. There they are mail like any other.
func TestHeldAndPutElsewhere(t *testing.T) {
	t.Parallel()
	w := newHeldWorld(t, 0, 0)
	w.set.Policy.Create = plan.CreateMaildir
	was := map[string][]byte{}
	for _, f := range w.files("A")[:11] {
		b, err := os.ReadFile(f)
		w.must(err)
		was[f] = b
		w.must(os.Remove(f))
	}
	w.holds(11)
	w.mkfolder("Local")
	for f, b := range was {
		w.must(os.WriteFile(filepath.Join(w.dir("Local"), "cur", filepath.Base(f)+":2,S"), b, 0o600))
	}
	w.sync()
	w.must(os.Remove(w.files("Local")[0]))
	if res := w.sync(); res.HeldBack != 0 || res.ToServer.Deleted != 1 {
		t.Errorf("%d held back; %+v", res.HeldBack, res.ToServer)
	}
}

// TestHeldInAnotherFolder: a sync of one folder removes none on the server while deletions are held in another one.
func TestHeldInAnotherFolder(t *testing.T) {
	t.Parallel()
	w := newHeldWorld(t, 0, 0)
	for _, f := range w.files("A") {
		w.must(os.Remove(f))
	}
	w.must(os.RemoveAll(w.dir("B")))
	w.holds(12)
	w.ask(mailsync.Options{Targets: []mail.FolderName{"B"}})
	if _, there := w.server.Snapshot().Mailbox("B"); !there {
		t.Error("the folder was removed")
	}
	w.ask(mailsync.Options{AllowDeletes: true})
	if _, there := w.server.Snapshot().Mailbox("B"); there {
		t.Error("the folder is there still")
	}
}

// TestHeldInAMaildrop: a message is not listed for one sync, or not to be deleted any more.
func TestHeldInAMaildrop(t *testing.T) {
	t.Parallel()
	counted := func(w *popWorld) (n int) {
		st, err := mailsync.Status(t.Context(), w.set, mailsync.World{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range st.Folders {
			n += f.Held
		}
		return n
	}
	for _, noUIDL := range []bool{false, true} {
		all, more := pops(12), pops(60)[20:]
		rest := all[11]
		if !noUIDL {
			rest = pop("renamed", 11) // so that all names are others
		}
		w := newPopWorld(t, forever, all...)
		w.set.Policy.UntilDeleted = true
		w.server.Set(popserver.Quirks{NoUIDL: noUIDL})
		w.brought(12, 0)
		for _, m := range all[:11] {
			w.remove(m)
		}
		w.sync()
		w.server.Put(append([]popserver.Message{rest}, more...)...)
		w.sync()
		w.server.Put(append(slices.Clone(all), more...)...)
		for range 2 {
			if r := w.sync(); r.HeldBack != 11 || len(w.server.Mail()) != 52 {
				t.Errorf("without UIDL %v: %d held back, %d on the server", noUIDL, r.HeldBack, len(w.server.Mail()))
			}
		}
	}
	all := pops(12)
	w := newPopWorld(t, 24*time.Hour, all...)
	w.brought(12, 0)
	for _, m := range all[:11] {
		w.remove(m)
	}
	w.brought(0, 0)
	w.now = w.now.Add(48 * time.Hour)
	if r := w.sync(); r.HeldBack != 11 || counted(w) != 11 {
		t.Errorf("%d held back, %d in status", r.HeldBack, counted(w))
	}
	w.set.LeaveFor = forever
	if r := w.sync(); r.HeldBack != 0 || counted(w) != 0 {
		t.Errorf("nothing is due: %d held back, %d in status", r.HeldBack, counted(w))
	}
}

// TestHeldAfterReadOnlyAndNotLooked: it opens while another folder can't be read, or the mailbox is renumbered then. A deletion that waits is not
// undone because its row is written down without being carried out.
func TestHeldAfterReadOnlyAndNotLooked(t *testing.T) {
	t.Parallel()
	for _, renumbered := range []bool{false, true} {
		w := newOpenedWorld(t)
		if renumbered {
			w.holds(11)
			w.server.Renumber("A")
		}
		w.arrive("B", w.message("b"))
		w.server.SetFault(refusing("changes", "B", model.Refuse))
		w.holds(11)
		w.has(12, 1)
		w.server.SetFault(nil)
		w.holds(11)
		w.has(12, 1)
	}
}

// TestHeldMoreThanTheMailboxAllows: a person's word does not have a read-only mailbox changed, and what is held there is told.
func TestHeldMoreThanTheMailboxAllows(t *testing.T) {
	t.Parallel()
	w := newHeldWorld(t, 11, 40)
	w.server.SetReadOnly("A", true)
	w.comes(1)
	w.holds(11)
	w.set.Policy.Guard = plan.Guard{}
	w.sync()
	w.server.SetReadOnly("A", false)
	w.sync()
	w.has(42, 42)

	w = newMarkedWorld(t, 11, 40)
	w.server.SetReadOnly("A", true)
	for range 2 {
		w.comes(1)
		w.holds(11)
	}
	for range 2 {
		if res := w.ask(mailsync.Options{RestoreHeld: true}); res.Fatal != nil || len(res.Errors) > 0 {
			t.Error(res.Fatal, res.Errors)
		}
	}
	w.holds(0)
	w.server.SetReadOnly("A", false)
	w.sync()
	w.has(54, 54)
	if got := w.serverTree().String(); strings.Contains(got, `\Deleted`) {
		t.Errorf("a mark is there still\n%s", got)
	}
}

// TestHeldAndPutInAnotherFolder: the files come back in another folder, where the messages are moved to. There they are mail like any other.
func TestHeldAndPutInAnotherFolder(t *testing.T) {
	t.Parallel()
	w := newHeldWorld(t, 0, 0)
	var was []string
	for _, f := range w.files("A")[:11] {
		b, err := os.ReadFile(f)
		w.must(err)
		was = append(was, string(b))
		w.must(os.Remove(f))
	}
	w.holds(11)
	for _, text := range was {
		w.put("B", text, "S")
	}
	w.sync()
	w.must(os.Remove(w.files("B")[0]))
	if res := w.sync(); res.HeldBack != 0 || res.ToServer.Deleted != 1 {
		t.Errorf("%d held back; %+v", res.HeldBack, res.ToServer)
	}
}

// TestHeldInDoubt: the mailbox in which deletions are held was renumbered, and nobody can tell for now which messages they are. They are held on.
func TestHeldInDoubt(t *testing.T) {
	t.Parallel()
	w := newOpenedWorld(t)
	w.holds(11)
	w.arrive("B", w.message("b"))
	w.renumberInDoubt()
	w.holds(11)
	w.has(12, 1)
}
