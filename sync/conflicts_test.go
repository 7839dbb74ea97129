package sync_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// pairWorld is a world in which message m lies in folder A on both sides, with B and C beside it.
type pairWorld struct {
	*world
	text string
	uid  mail.UID
}

func newPairWorld(t *testing.T, flags ...string) *pairWorld {
	w := &pairWorld{world: newWorld(t, model.Full())}
	for _, f := range []string{"A", "B", "C"} {
		w.server.CreateMailbox(f)
	}
	w.text = w.message("m")
	w.uid = w.arrive("A", w.text, flags...)
	w.sync()
	return w
}

func (w *pairWorld) file() string { return w.world.file("A", w.text) }

// boxes is what both sides must hold: the folders that are always there and one more entry each.
func boxes(more map[string][]string) map[string][]string {
	all := map[string][]string{"INBOX": {}, "A": {}, "B": {}, "C": {}}
	for f, m := range more {
		all[f] = m
	}
	return all
}

// TestWhenBothSidesChanged is the table of that name, line by line.
func TestWhenBothSidesChanged(t *testing.T) {
	type side struct {
		name          string
		remote, local func(w *pairWorld)
	}
	// Each line is played with the sides as in the table and the other way round.
	tests := []struct {
		line  string
		flags []string
		sides []side
		want  map[string][]string
	}{
		{
			"flag or keyword changed | other flags changed | every single flag is merged on its own",
			[]string{`\Seen`, "Todo"},
			[]side{{
				"", func(w *pairWorld) {
					w.server.Store("A", true, mail.NewFlags(`\Answered`, "Done"), w.uid)
					w.server.Store("A", false, mail.NewFlags("Todo"), w.uid)
				}, func(w *pairWorld) { w.reflag(w.file(), "Fa") },
			}},
			boxes(map[string][]string{"A": {`m \Flagged \Answered Done`}}),
		},
		{
			"deleted | flags changed | deleted", nil,
			[]side{
				{"server deletes", func(w *pairWorld) { w.server.Expunge("A", w.uid) }, func(w *pairWorld) { w.reflag(w.file(), "F") }},
				{"Maildir deletes", func(w *pairWorld) { w.server.Store("A", true, mail.NewFlags(`\Flagged`), w.uid) }, func(w *pairWorld) { w.must(os.Remove(w.file())) }},
			},
			boxes(nil),
		},
		{
			"deleted | moved | moved: the message lives on in its new folder", nil,
			[]side{
				{"server deletes", func(w *pairWorld) { w.server.Expunge("A", w.uid) }, func(w *pairWorld) { w.move(w.file(), "B") }},
				{"Maildir deletes", func(w *pairWorld) { w.server.Move("A", "B", w.uid) }, func(w *pairWorld) { w.must(os.Remove(w.file())) }},
			},
			boxes(map[string][]string{"B": {"m"}}),
		},
		{
			"moved to A | moved to B | in A, the server's choice", nil,
			[]side{{"", func(w *pairWorld) { w.server.Move("A", "B", w.uid) }, func(w *pairWorld) { w.move(w.file(), "C") }}},
			boxes(map[string][]string{"B": {"m"}}),
		},
		{
			"moved | flags changed | moved, with the flags merged", []string{`\Seen`},
			[]side{
				{"server moves", func(w *pairWorld) { w.server.Move("A", "B", w.uid) }, func(w *pairWorld) { w.reflag(w.file(), "FS") }},
				{"Maildir moves", func(w *pairWorld) { w.server.Store("A", true, mail.NewFlags(`\Flagged`), w.uid) }, func(w *pairWorld) { w.move(w.file(), "B") }},
			},
			boxes(map[string][]string{"B": {`m \Flagged \Seen`}}),
		},
		{
			"moved | flags changed | moved, with the flags merged (both did both)", []string{`\Seen`},
			[]side{{
				"", func(w *pairWorld) {
					to := w.server.Move("A", "B", w.uid)
					w.server.Store("B", true, mail.NewFlags(`\Answered`), to[0])
				}, func(w *pairWorld) { w.move(w.reflag(w.file(), "FS"), "B") },
			}},
			boxes(map[string][]string{"B": {`m \Flagged \Answered \Seen`}}),
		},
		{
			"same message new | same message new | one message, not two; flags united", nil,
			[]side{{
				"", func(w *pairWorld) { w.arrive("C", "Message-ID: <x@y>\nSubject: n\n\nbody\n", `\Seen`) },
				func(w *pairWorld) { w.put("C", "Message-ID: <x@y>\nSubject: n\n\nbody\n", "F") },
			}},
			boxes(map[string][]string{"A": {"m"}, "C": {`n \Flagged \Seen`}}),
		},
		{
			"folder deleted | new message in it | folder and the new message stay; the old messages are deleted", nil,
			[]side{
				{"server deletes", func(w *pairWorld) { w.server.DeleteMailbox("A") }, func(w *pairWorld) { w.put("A", w.message("n"), "S") }},
				{"Maildir deletes", func(w *pairWorld) { w.arrive("A", w.message("n"), `\Seen`) }, func(w *pairWorld) { w.must(os.RemoveAll(w.dir("A"))) }},
			},
			boxes(map[string][]string{"A": {`n \Seen`}}),
		},
		{
			"folder renamed | anything | renamed", nil,
			[]side{
				{"server renames", func(w *pairWorld) { w.server.RenameMailbox("A", "Z") }, func(w *pairWorld) { w.reflag(w.file(), "F") }},
				{"Maildir renames", func(w *pairWorld) { w.server.Store("A", true, mail.NewFlags(`\Flagged`), w.uid) }, func(w *pairWorld) { w.must(os.Rename(w.dir("A"), w.dir("Z"))) }},
			},
			map[string][]string{"INBOX": {}, "B": {}, "C": {}, "Z": {`m \Flagged`}},
		},
		{
			"folder renamed | anything | both renamed: the server's name", nil,
			[]side{{"", func(w *pairWorld) { w.server.RenameMailbox("A", "Z") }, func(w *pairWorld) { w.must(os.Rename(w.dir("A"), w.dir("Y"))) }}},
			map[string][]string{"INBOX": {}, "B": {}, "C": {}, "Z": {"m"}},
		},
		{
			"UIDVALIDITY changed | anything | messages are paired again by content", nil,
			[]side{
				{"with flags", func(w *pairWorld) { w.server.Renumber("A") }, func(w *pairWorld) { w.reflag(w.file(), "F") }},
				{"with other numbers", func(w *pairWorld) {
					w.server.Store("A", true, mail.NewFlags(`\Flagged`), w.uid)
					w.server.SetUIDNext("A", 70)
					w.server.Renumber("A")
				}, func(w *pairWorld) {}},
			},
			boxes(map[string][]string{"A": {`m \Flagged`}}),
		},
	}
	for _, tt := range tests {
		for _, s := range tt.sides {
			name := tt.line
			if s.name != "" {
				name += " (" + s.name + ")"
			}
			t.Run(name, func(t *testing.T) {
				w := newPairWorld(t, tt.flags...)
				s.remote(w)
				s.local(w)
				res := w.sync()
				w.want(tt.want)
				if res.HeldBack != 0 {
					t.Errorf("held back: %d", res.HeldBack)
				}
				w.quiet()
			})
		}
	}
}

// TestUIDValidityChange: nothing is downloaded twice, nothing is deleted because of it.
func TestUIDValidityChange(t *testing.T) {
	w := newWorld(t, model.Full())
	var want []string
	for _, s := range []string{"a", "b", "c", "d"} {
		w.arrive("INBOX", w.message(s))
		want = append(want, s)
	}
	twin := "Subject: twin\n\nwithout an id\n"
	w.arrive("INBOX", twin)
	w.arrive("INBOX", twin, `\Seen`)
	want = append(want, "twin", `twin \Seen`)
	w.sync()
	w.server.SetUIDNext("INBOX", 100)
	w.server.Renumber("INBOX")
	res := w.sync()
	if res.ToMaildir != (mailsync.Count{}) || res.ToServer != (mailsync.Count{}) {
		t.Errorf("something was transferred: %+v %+v", res.ToMaildir, res.ToServer)
	}
	w.want(map[string][]string{"INBOX": want})
	w.quiet()

	// A new, empty incarnation is no evidence of a deletion.
	w.server.Recreate("INBOX", false)
	w.sync()
	w.want(map[string][]string{"INBOX": want})
	w.quiet()
}

// TestModes is the section of that name, rule by rule.
func TestModes(t *testing.T) {
	setup := func(t *testing.T, mode plan.Mode) *pairWorld {
		w := newPairWorld(t, `\Seen`)
		w.set.Policy.Mode = mode
		w.sync()
		return w
	}
	server := func(w *pairWorld) string { return w.serverTree().subjects() }
	local := func(w *pairWorld) string { return w.localTree().subjects() }
	expect := func(t *testing.T, w *pairWorld, where string, got string, want map[string][]string) {
		t.Helper()
		if got != expectedString(want) {
			t.Fatalf("%s:\n%s\nwanted\n%s\n%s", where, got, expectedString(want), w.world)
		}
	}

	t.Run("pull: changes made locally to synchronised messages are taken back (flags reset)", func(t *testing.T) {
		w := setup(t, plan.Pull)
		w.reflag(w.file(), "F")
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
	})
	t.Run("pull: deleted ones delivered again", func(t *testing.T) {
		w := setup(t, plan.Pull)
		w.must(os.Remove(w.file()))
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
	})
	t.Run("pull: moves undone", func(t *testing.T) {
		w := setup(t, plan.Pull)
		w.move(w.file(), "B")
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
	})
	t.Run("pull: messages only the Maildir has stay, untransferred, and status counts them", func(t *testing.T) {
		w := setup(t, plan.Pull)
		w.put("A", w.message("own"), "S")
		w.sync()
		expect(t, w, "server", server(w), boxes(map[string][]string{"A": {`m \Seen`}}))
		expect(t, w, "Maildir", local(w), boxes(map[string][]string{"A": {`m \Seen`, `own \Seen`}}))
		st, err := mailsync.Status(t.Context(), w.set, mailsync.World{})
		w.must(err)
		n := 0
		for _, f := range st.Folders {
			n += f.ByWhy[plan.OneWay]
		}
		if n != 1 {
			t.Errorf("status counts %d messages that only the Maildir has", n)
		}
	})
	t.Run("pull: the server's changes come", func(t *testing.T) {
		w := setup(t, plan.Pull)
		w.arrive("A", w.message("n"))
		to := w.server.Move("A", "B", w.uid)
		w.server.Store("B", true, mail.NewFlags(`\Flagged`), to[0])
		w.sync()
		w.want(boxes(map[string][]string{"A": {"n"}, "B": {`m \Flagged \Seen`}}))
		w.server.Expunge("B", to[0])
		w.sync()
		w.want(boxes(map[string][]string{"A": {"n"}}))
	})
	t.Run("push: the same the other way round", func(t *testing.T) {
		w := setup(t, plan.Push)
		w.server.Store("A", false, mail.NewFlags(`\Seen`), w.uid)
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
		w.server.Expunge("A", w.uid)
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
		m, _ := w.server.Snapshot().Mailbox("A")
		w.server.Move("A", "B", m.Messages[0].UID)
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
		w.arrive("C", w.message("theirs"))
		w.sync()
		expect(t, w, "Maildir", local(w), boxes(map[string][]string{"A": {`m \Seen`}}))
		expect(t, w, "server", server(w), boxes(map[string][]string{"A": {`m \Seen`}, "C": {"theirs"}}))
		w.must(os.Remove(w.file()))
		w.sync()
		expect(t, w, "server", server(w), boxes(map[string][]string{"C": {"theirs"}}))
	})
	t.Run("archive: new messages, flags and moves", func(t *testing.T) {
		w := setup(t, plan.Archive)
		w.arrive("A", w.message("n"))
		to := w.server.Move("A", "B", w.uid)
		w.server.Store("B", true, mail.NewFlags(`\Flagged`), to[0])
		w.sync()
		w.want(boxes(map[string][]string{"A": {"n"}, "B": {`m \Flagged \Seen`}}))
	})
	t.Run("archive: never deletes locally", func(t *testing.T) {
		w := setup(t, plan.Archive)
		w.server.Expunge("A", w.uid)
		w.sync()
		w.server.DeleteMailbox("A")
		w.sync()
		expect(t, w, "Maildir", local(w), boxes(map[string][]string{"A": {`m \Seen`}}))
	})
	t.Run("archive: what the person deletes locally is not delivered again", func(t *testing.T) {
		w := setup(t, plan.Archive)
		w.must(os.Remove(w.file()))
		w.sync()
		w.server.Move("A", "B", w.uid)
		w.sync()
		w.sync()
		expect(t, w, "Maildir", local(w), boxes(nil))
		expect(t, w, "server", server(w), boxes(map[string][]string{"B": {`m \Seen`}}))
	})
	t.Run("archive: the Maildir's changes never go to the server", func(t *testing.T) {
		w := setup(t, plan.Archive)
		w.put("C", w.message("own"), "")
		w.reflag(w.file(), "F")
		w.sync()
		expect(t, w, "server", server(w), boxes(map[string][]string{"A": {`m \Seen`}}))
	})
	t.Run("since and max_message_size decide only whether a message that was never synchronised is transferred", func(t *testing.T) {
		w := newPairWorld(t)
		w.set.MaxMessageSize = 50
		big := w.arrive("A", w.message("big"))
		res := w.sync()
		expect(t, w, "Maildir", local(w), boxes(map[string][]string{"A": {"m"}}))
		expect(t, w, "server", server(w), boxes(map[string][]string{"A": {"m", "big"}}))
		if res.Deferred != 1 {
			t.Errorf("deferred = %d", res.Deferred)
		}
		w.server.Store("A", true, mail.NewFlags(`\Seen`), w.uid)
		w.sync()
		expect(t, w, "Maildir", local(w), boxes(map[string][]string{"A": {`m \Seen`}}))
		w.set.MaxMessageSize = 0
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`, "big"}}))
		w.server.Expunge("A", big)
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
	})
}

// TestDeletions is the section of that name, rule by rule.
func TestDeletions(t *testing.T) {
	fill := func(t *testing.T, n int) *world {
		w := newWorld(t, model.Full())
		w.server.CreateMailbox("A")
		for range n {
			w.arrive("A", w.message("x"))
		}
		w.sync()
		return w
	}
	t.Run("trash: a message deleted in the Maildir is moved to that folder on the server (and so appears in it locally), created if missing", func(t *testing.T) {
		w := newPairWorld(t)
		w.set.Policy.Trash = "Trash"
		w.must(os.Remove(w.file()))
		w.sync()
		w.want(boxes(map[string][]string{"Trash": {"m"}}))
		w.quiet()
		t.Run("deleting inside it is final", func(t *testing.T) {
			w.must(os.Remove(w.world.file("Trash", w.text)))
			w.sync()
			w.want(boxes(map[string][]string{"Trash": {}}))
		})
	})
	t.Run("with a share it holds them back when more than 10 messages and more than that share of the folder would go", func(t *testing.T) {
		w := fill(t, 12)
		files := w.files("A")
		for _, f := range files[:11] {
			w.must(os.Remove(f))
		}
		res := w.sync()
		if res.HeldBack != 11 || len(w.serverTree()["A"]) != 12 {
			t.Fatalf("held back %d, server has %d", res.HeldBack, len(w.serverTree()["A"]))
		}
		t.Run("each run says so", func(t *testing.T) {
			if res := w.sync(); res.HeldBack != 11 || res.HeldWhy == "" {
				t.Errorf("held back %d, why %q", res.HeldBack, res.HeldWhy)
			}
		})
		t.Run("neither carried out nor taken back", func(t *testing.T) {
			if len(w.serverTree()["A"]) != 12 || len(w.localTree()["A"]) != 1 {
				t.Errorf("%s", w)
			}
		})
		t.Run("until --restore-held", func(t *testing.T) {
			w.opt.RestoreHeld = true
			w.sync()
			w.opt.RestoreHeld = false
			if len(w.localTree()["A"]) != 12 {
				t.Errorf("%s", w)
			}
			w.same()
			w.quiet()
		})
		t.Run("until --allow-deletes", func(t *testing.T) {
			for _, f := range w.files("A")[:11] {
				w.must(os.Remove(f))
			}
			if res := w.sync(); res.HeldBack != 11 {
				t.Fatalf("held back %d", res.HeldBack)
			}
			w.opt.AllowDeletes = true
			w.sync()
			w.opt.AllowDeletes = false
			if len(w.serverTree()["A"]) != 1 {
				t.Errorf("%s", w)
			}
			w.same()
			w.quiet()
		})
	})
	t.Run("ten messages or fewer go with a share", func(t *testing.T) {
		w := fill(t, 10)
		for _, f := range w.files("A") {
			w.must(os.Remove(f))
		}
		if res := w.sync(); res.HeldBack != 0 {
			t.Errorf("held back %d", res.HeldBack)
		}
		w.same()
	})
	t.Run("with a count, when more than that", func(t *testing.T) {
		w := fill(t, 5)
		w.set.Policy.Guard = plan.Guard{ByCount: true, Count: 2}
		files := w.files("A")
		for _, f := range files[:3] {
			w.must(os.Remove(f))
		}
		if res := w.sync(); res.HeldBack != 3 {
			t.Errorf("held back %d", res.HeldBack)
		}
	})
	t.Run("the server's deletions are guarded too", func(t *testing.T) {
		w := fill(t, 12)
		box, _ := w.server.Snapshot().Mailbox("A")
		for _, m := range box.Messages[:11] {
			w.server.Expunge("A", m.UID)
		}
		if res := w.sync(); res.HeldBack != 11 || len(w.localTree()["A"]) != 12 {
			t.Fatalf("held back %d", res.HeldBack)
		}
		w.opt.RestoreHeld = true
		w.sync()
		w.opt.RestoreHeld = false
		w.same()
		if len(w.serverTree()["A"]) != 12 {
			t.Errorf("%s", w)
		}
		w.quiet()
	})
	t.Run("recognised moves and renames are no deletions", func(t *testing.T) {
		w := fill(t, 20)
		for _, f := range w.files("A") {
			w.move(f, "B")
		}
		if res := w.sync(); res.HeldBack != 0 || res.ToServer.Moved != 20 {
			t.Errorf("%+v", res)
		}
		w.same()
		w.must(os.Rename(w.dir("B"), w.dir("C")))
		if res := w.sync(); res.HeldBack != 0 {
			t.Errorf("%+v", res)
		}
		w.same()
		w.quiet()
	})
	t.Run("a vanished folder is the deletion of its messages", func(t *testing.T) {
		w := fill(t, 20)
		w.must(os.RemoveAll(w.dir("A")))
		if res := w.sync(); res.HeldBack != 20 {
			t.Fatalf("held back %d", res.HeldBack)
		}
		w.opt.AllowDeletes = true
		w.sync()
		w.opt.AllowDeletes = false
		w.want(map[string][]string{"INBOX": {}})
		w.quiet()
	})
	t.Run("a Maildir root that is missing while the parent is missing too (not mounted) is exit 2, not a new download", func(t *testing.T) {
		w := fill(t, 3)
		away, here := filepath.Join(t.TempDir(), "away"), filepath.Dir(w.root)
		w.must(os.Rename(here, away))
		res := w.try()
		var setup *mailsync.SetupError
		if !asSetup(res.Fatal, &setup) {
			t.Errorf("fatal = %v", res.Fatal)
		}
		if _, err := os.Stat(here); err == nil {
			t.Error("it was made anew")
		}
		w.must(os.Rename(away, here))
	})
	t.Run("without UIDPLUS, where a removal could take messages that others marked, the message is marked and pending; it counts as gone", func(t *testing.T) {
		w := newWorld(t, model.Options{CondStore: true, Move: true})
		mine, theirs := w.message("mine"), w.message("theirs")
		w.arrive("INBOX", mine)
		uid := w.arrive("INBOX", theirs)
		w.sync()
		w.server.Store("INBOX", true, mail.NewFlags(`\Deleted`), uid)
		w.sync()
		w.must(os.Remove(w.file("INBOX", mine)))
		w.sync()
		if got := w.serverTree().subjects(); got != "INBOX: mine \\Deleted, theirs \\Deleted\n" {
			t.Errorf("server: %s", got)
		}
		if got := w.localTree().subjects(); got != "INBOX: theirs \\Deleted\n" {
			t.Errorf("Maildir: %s", got)
		}
		st, err := mailsync.Status(t.Context(), w.set, mailsync.World{})
		w.must(err)
		if n := st.Folders[0].ByWhy[plan.Pending]; n != 1 {
			t.Errorf("status lists %d as pending", n)
		}
		w.server.Store("INBOX", false, mail.NewFlags(`\Deleted`), uid)
		w.sync()
		w.want(map[string][]string{"INBOX": {"theirs"}})
	})
	t.Run("expunge: messages marked \\Deleted are removed on both sides", func(t *testing.T) {
		w := newPairWorld(t)
		w.arrive("A", w.message("n"))
		w.sync()
		w.reflag(w.file(), "T")
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Deleted`, "n"}}))
		w.set.Policy.Expunge = true
		w.sync()
		w.want(boxes(map[string][]string{"A": {"n"}}))
		w.quiet()
	})
	t.Run("what a sync removes from the Maildir is moved aside", func(t *testing.T) {
		w := newPairWorld(t)
		w.server.Expunge("A", w.uid)
		w.sync()
		found := 0
		w.must(filepath.Walk(filepath.Join(w.root, ".satchel", "undo"), func(path string, info os.FileInfo, err error) error {
			if err == nil && !info.IsDir() {
				if b, _ := os.ReadFile(path); string(b) == w.text {
					found++
				}
			}
			return err
		}))
		if found != 1 {
			t.Errorf("found %d copies aside", found)
		}
	})
}

func asSetup(err error, target **mailsync.SetupError) bool {
	e, ok := err.(*mailsync.SetupError)
	if ok {
		*target = e
	}
	return ok
}

// TestStateLostOrRestored: no base, no delete.
func TestStateLostOrRestored(t *testing.T) {
	start := func(t *testing.T) *world {
		w := newWorld(t, model.Full())
		for _, s := range []string{"a", "b", "c"} {
			w.arrive("INBOX", w.message(s))
		}
		w.arrive("INBOX", "Subject: twin\n\nx\n")
		w.arrive("INBOX", "Subject: twin\n\nx\n")
		w.sync()
		return w
	}
	all := map[string][]string{"INBOX": {"a", "b", "c", "twin", "twin"}}
	t.Run("without the database a sync merges both sides, pairs what is the same, and deletes nothing", func(t *testing.T) {
		w := start(t)
		w.must(os.Remove(filepath.Join(w.root, ".satchel.db")))
		res := w.sync()
		if res.ToMaildir.New+res.ToServer.New != 0 {
			t.Errorf("transferred: %+v %+v", res.ToMaildir, res.ToServer)
		}
		w.want(all)
		w.must(os.Remove(filepath.Join(w.root, ".satchel.db")))
		box, _ := w.server.Snapshot().Mailbox("INBOX")
		w.server.Expunge("INBOX", box.Messages[0].UID)
		w.sync()
		w.want(all)
		w.quiet()
	})
	t.Run("after both were copied from a backup, everything is compared and nothing deleted on either side, and it says so", func(t *testing.T) {
		w := start(t)
		backup := filepath.Join(t.TempDir(), "copy")
		w.must(os.CopyFS(backup, os.DirFS(w.root)))
		box, _ := w.server.Snapshot().Mailbox("INBOX")
		w.server.Expunge("INBOX", box.Messages[0].UID)
		w.must(os.Remove(w.file("INBOX", strings.ReplaceAll(box.Messages[1].Raw, "\r\n", "\n"))))
		w.sync()
		w.must(os.RemoveAll(w.root))
		w.must(os.Rename(backup, w.root))
		res := w.sync()
		if len(res.Notes) == 0 {
			t.Error("it does not say so")
		}
		w.want(all)
		w.quiet()
		if res := w.sync(); len(res.Notes) != 0 {
			t.Errorf("it says so again: %v", res.Notes)
		}
	})
	t.Run("a Maildir whose database belongs to another host or user is refused", func(t *testing.T) {
		w := start(t)
		w.set.Owner.Host = "elsewhere"
		res := w.try()
		var setup *mailsync.SetupError
		if !asSetup(res.Fatal, &setup) || !strings.Contains(res.Fatal.Error(), "--rebind") {
			t.Errorf("fatal = %v", res.Fatal)
		}
		t.Run("unless --rebind: pairs are kept, nothing is deleted", func(t *testing.T) {
			w.must(os.Remove(w.files("INBOX")[0]))
			w.opt.Rebind = true
			w.sync()
			w.opt.Rebind = false
			w.want(all)
			w.quiet()
		})
	})
}

// TestFlagsThatOneSideCantKeep: remembered as such, never read back as a removal.
func TestFlagsThatOneSideCantKeep(t *testing.T) {
	t.Run("PERMANENTFLAGS lacks it", func(t *testing.T) {
		w := newPairWorld(t)
		w.server.SetPermanent("A", mail.NewFlags(`\Seen`), false)
		w.reflag(w.file(), "FS")
		w.sync()
		for range 3 {
			w.sync()
		}
		if got := w.localTree().subjects(); !strings.Contains(got, `A: m \Flagged \Seen`) {
			t.Errorf("Maildir: %s", got)
		}
		if got := w.serverTree().subjects(); !strings.Contains(got, `A: m \Seen`) {
			t.Errorf("server: %s", got)
		}
	})
	t.Run("the 27th keyword stays on the server and is never read back as a removal", func(t *testing.T) {
		w := newPairWorld(t)
		for i := range 27 {
			w.server.Store("A", true, mail.NewFlags("kw"+string(rune('a'+i%26))+string(rune('a'+i/26))), w.uid)
		}
		w.sync()
		for range 3 {
			w.sync()
		}
		box, _ := w.server.Snapshot().Mailbox("A")
		if n := len(box.Messages[0].Flags.Keywords()); n != 27 {
			t.Errorf("the server has %d keywords", n)
		}
		base := filepath.Base(w.file())
		_, letters, _ := strings.Cut(base, ":2,")
		if len(letters) != 26 {
			t.Errorf("the file has %q", letters)
		}
	})
	t.Run("a message with a keyword is moved by a program that leaves the letter list behind", func(t *testing.T) {
		w := newPairWorld(t, "Todo")
		w.move(w.file(), "B")
		w.sync()
		if got := w.serverTree().subjects(); !strings.Contains(got, "B: m Todo\n") {
			t.Errorf("server: %s", got)
		}
		w.quiet()
	})
	t.Run("dovecot-keywords is lost", func(t *testing.T) {
		w := newPairWorld(t, "Todo", `\Seen`)
		w.must(os.Remove(filepath.Join(w.dir("A"), "dovecot-keywords")))
		w.reflag(w.file(), "Fa")
		w.sync()
		if got := w.serverTree().subjects(); !strings.Contains(got, `A: m \Flagged Todo`) {
			t.Errorf("server: %s", got)
		}
	})
	t.Run("a read-only folder", func(t *testing.T) {
		w := newPairWorld(t)
		w.server.SetReadOnly("A", true)
		w.reflag(w.file(), "F")
		w.put("A", w.message("own"), "")
		w.sync()
		for range 2 {
			w.sync()
		}
		if got := w.localTree().subjects(); !strings.Contains(got, `A: m \Flagged, own`) {
			t.Errorf("Maildir: %s", got)
		}
		if got := w.serverTree().subjects(); !strings.Contains(got, "A: m\n") {
			t.Errorf("server: %s", got)
		}
	})
}
