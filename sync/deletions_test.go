package sync_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// TestDeletions is the section of that name, rule by rule.
func TestDeletions(t *testing.T) {
	t.Parallel()
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
	t.Run("flags that change while deletions are held come back with the messages", func(t *testing.T) {
		for _, deleted := range []plan.Side{plan.Server, plan.Maildir} {
			w := fill(t, 2)
			w.set.Policy.Guard = plan.Guard{ByCount: true, Count: 1}
			box, _ := w.server.Snapshot().Mailbox("A")
			files := w.files("A")
			if deleted == plan.Server {
				w.server.Expunge("A", box.Messages[0].UID, box.Messages[1].UID)
				w.reflag(files[0], "F")
				w.sync()
				w.reflag(files[1], "R")
			} else {
				w.must(os.Remove(files[0]))
				w.must(os.Remove(files[1]))
				w.server.Store("A", true, mail.NewFlags(`\Flagged`), box.Messages[0].UID)
				w.sync()
				w.server.Store("A", true, mail.NewFlags(`\Answered`), box.Messages[1].UID)
			}
			if res := w.sync(); res.HeldBack != 2 {
				t.Fatalf("held back %d", res.HeldBack)
			}
			w.sync()
			w.opt.RestoreHeld = true
			w.sync()
			w.opt.RestoreHeld = false
			w.same()
			all := w.serverTree().subjects()
			if !strings.Contains(all, `\Flagged`) || !strings.Contains(all, `\Answered`) {
				t.Errorf("deleted on the %s: a flag is lost: %s", deleted, all)
			}
			w.quiet()
		}
	})
	t.Run("with expunge, what was held comes back without its mark as deleted", func(t *testing.T) {
		for _, deleted := range []plan.Side{plan.Server, plan.Maildir} {
			w := fill(t, 2)
			w.set.Policy.Guard, w.set.Policy.Expunge = plan.Guard{ByCount: true, Count: 1}, true
			box, _ := w.server.Snapshot().Mailbox("A")
			files := w.files("A")
			if deleted == plan.Server {
				w.server.Expunge("A", box.Messages[0].UID, box.Messages[1].UID)
				w.reflag(files[0], "ST")
			} else {
				w.must(os.Remove(files[0]))
				w.must(os.Remove(files[1]))
				w.server.Store("A", true, mail.NewFlags(`\Seen`, `\Deleted`), box.Messages[0].UID)
			}
			if res := w.sync(); res.HeldBack != 2 {
				t.Fatalf("held back %d", res.HeldBack)
			}
			w.opt.RestoreHeld = true
			w.sync()
			w.opt.RestoreHeld = false
			w.sync()
			w.same()
			if all := w.serverTree(); len(all["A"]) != 2 || strings.Contains(all.subjects(), `\Deleted`) {
				t.Errorf("deleted on the %s: %s", deleted, all.subjects())
			}
			w.quiet()
		}
	})
	t.Run("nor does it go if taking the mark off fails", func(t *testing.T) {
		for _, kind := range []model.Kind{model.Refuse, model.Drop} {
			w := fill(t, 4)
			w.set.Policy.Guard, w.set.Policy.Expunge = plan.Guard{ByCount: true, Count: 1}, true
			box, _ := w.server.Snapshot().Mailbox("A")
			for _, file := range w.files("A")[:2] {
				w.must(os.Remove(file))
			}
			w.server.Store("A", true, mail.NewFlags(`\Deleted`), box.Messages[0].UID)
			if res := w.sync(); res.HeldBack != 2 {
				t.Fatalf("held back %d", res.HeldBack)
			}
			stores := 0
			w.server.SetFault(func(s model.Step) model.Action {
				if s.Op == "store" && !s.After {
					stores++
					return model.Action{Kind: kind, Text: "no"}
				}
				return model.Action{}
			})
			w.opt.RestoreHeld = true
			if w.try(); stores == 0 {
				t.Error("nothing was cut off")
			}
			w.opt.RestoreHeld = false
			w.server.SetFault(nil)
			for range 2 {
				w.sync()
				if here, there := len(w.files("A")), len(w.serverTree()["A"]); here != 4 || there != 4 {
					t.Fatalf("%d here, %d there", here, there)
				}
			}
		}
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
	t.Run("expunge: a marked message that was moved on one side is removed on both, or stays on both", func(t *testing.T) {
		w := newPairWorld(t)
		w.set.Policy.Expunge = true
		w.reflag(w.file(), "T")
		w.server.Move("A", "B", w.uid)
		w.server.SetFault(func(s model.Step) model.Action {
			if s.Op == "expunge" {
				return model.Action{Kind: model.Refuse}
			}
			return model.Action{}
		})
		w.try()
		if len(w.files("A")) != 1 {
			t.Error("it was removed from the Maildir alone")
		}
		w.server.SetFault(nil)
		w.sync()
		w.want(boxes(nil))
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

// TestMoveToTrashMarksNothing: where messages that are marked as deleted vanish at once, none is marked that can be moved.
func TestMoveToTrashMarksNothing(t *testing.T) {
	t.Parallel()
	w := newPairWorld(t)
	w.set.Policy.Trash = "Trash"
	w.must(os.Remove(w.file()))
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "mark" || s.Op == "store" || s.Op == "expunge" {
			t.Errorf("%s", s)
		}
		return model.Action{}
	})
	w.sync()
	w.want(boxes(map[string][]string{"Trash": {"m"}}))
}

// TestMarkedOriginalRenumbered: the original of a move could only be marked, because of somebody else's mark, and its mailbox is renumbered: it does not come down.
func TestMarkedOriginalRenumbered(t *testing.T) {
	t.Parallel()
	for _, deed := range []string{"moved", "cut off"} {
		t.Run(deed, func(t *testing.T) {
			w := newWorld(t, model.Options{CondStore: true})
			w.server.CreateMailbox("Lists")
			text := w.message("m")
			w.arrive("INBOX", text)
			w.arrive("INBOX", w.message("other"), `\Deleted`)
			w.sync()
			w.move(w.file("INBOX", text), "Lists")
			if deed == "cut off" {
				w.server.SetFault(once(func(s model.Step) bool { return s.Op == "copy" && s.After }, func() model.Action { return model.Action{Kind: model.Drop} }))
			}
			w.try()
			w.server.SetFault(nil)
			w.sync()
			if got := w.localTree().subjects(); got != expectedString(map[string][]string{"INBOX": {`other \Deleted`}, "Lists": {"m"}}) {
				t.Fatalf("%s", w)
			}
			w.server.Renumber("INBOX")
			w.sync()
			if got := w.localTree().subjects(); got != expectedString(map[string][]string{"INBOX": {`other \Deleted`}, "Lists": {"m"}}) {
				t.Errorf("%s", w)
			}
		})
	}
}

// TestMarkedOriginalIsAnother: then its UID means another message, which is not removed.
func TestMarkedOriginalIsAnother(t *testing.T) {
	t.Parallel()
	for _, mode := range []plan.Mode{plan.TwoWay, plan.Push} {
		for _, deed := range []string{"moved", "deleted"} {
			t.Run(string(mode)+" "+deed, func(t *testing.T) {
				w := newWorld(t, model.Options{CondStore: true})
				w.server.CreateMailbox("Lists")
				text := w.message("m")
				w.arrive("INBOX", text)
				w.arrive("INBOX", w.message("other"), `\Deleted`)
				w.sync()
				w.set.Policy.Mode = mode
				if deed == "moved" {
					w.move(w.file("INBOX", text), "Lists")
				} else {
					w.must(os.Remove(w.file("INBOX", text)))
				}
				w.sync()
				w.sync()
				// The mailbox is made anew under the same UIDVALIDITY (or it counts anew): UID 1 is another message, which its owner has marked.
				w.server.Recreate("INBOX", true)
				date := time.Date(2025, 7, 2, 10, 0, 0, 0, time.UTC)
				mark := `\Deleted`
				if mode == plan.Push {
					mark = `\Seen`
				}
				w.server.Append("INBOX", wire(w.message("precious and longer")), mail.NewFlags(mark), date)
				w.server.Append("INBOX", wire(w.message("precious and longer 2")), mail.NewFlags(), date)
				w.server.SetUIDNext("INBOX", 3)
				w.try()
				w.try()
				if !slices.ContainsFunc(w.serverTree()["INBOX"], func(s string) bool { return strings.Contains(s, "Subject: precious and longer\n") }) {
					t.Errorf("removed\n%s", w)
				}
			})
		}
	}
}

// TestMarkTakenBackMeanwhile: with `expunge`, somebody takes the mark as deleted off a message while the run transfers others. It stays on both
// sides, unmarked.
func TestMarkTakenBackMeanwhile(t *testing.T) {
	t.Parallel()
	for _, moved := range []bool{false, true} {
		for _, side := range []plan.Side{plan.Server, plan.Maildir} {
			t.Run(string(side)+map[bool]string{true: ", moved"}[moved], func(t *testing.T) {
				t.Parallel()
				w := newPairWorld(t, `\Deleted`)
				w.set.Policy.Expunge = true
				folder, uid := "A", w.uid
				if moved {
					w.server.Move("A", "B", w.uid)
					box, _ := w.server.Snapshot().Mailbox("B")
					folder, uid = "B", box.Messages[0].UID
				}
				w.put("C", w.message("new"), "S")
				w.server.SetFault(once(func(s model.Step) bool { return s.Op == "append" && s.After }, func() model.Action {
					if side == plan.Server {
						w.server.Store(folder, false, mail.NewFlags(`\Deleted`), uid)
					} else {
						w.reflag(w.file(), "")
					}
					return model.Action{}
				}))
				w.sync()
				w.want(boxes(map[string][]string{folder: {"m"}, "C": {`new \Seen`}}))
				w.quiet()
			})
		}
	}
}

// TestMarkTakenBackAtTheLastMoment: the same, right before EXPUNGE, which passes the message over. Its file is aside by then, and comes again.
func TestMarkTakenBackAtTheLastMoment(t *testing.T) {
	t.Parallel()
	condStore := model.Full()
	condStore.QResync = false
	for name, o := range map[string]model.Options{"QRESYNC": model.Full(), "CONDSTORE": condStore, "UIDPLUS": {UIDPlus: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, o)
			w.set.Policy.Expunge = true
			uid := w.arrive("INBOX", w.message("m"), `\Deleted`, `\Flagged`)
			w.server.SetFault(once(func(s model.Step) bool { return s.Op == "expunge" && !s.After }, func() model.Action {
				w.server.Store("INBOX", false, mail.NewFlags(`\Deleted`), uid)
				return model.Action{}
			}))
			for range 3 { // it comes, is marked on both sides, and comes again
				w.sync()
			}
			w.want(map[string][]string{"INBOX": {`m \Flagged`}})
			w.quiet()
		})
	}
}

// TestPendingMarkTakenBackMeanwhile: the mark is taken off a message that could only be marked, right before its removal is tried again. It comes
// back to the Maildir.
func TestPendingMarkTakenBackMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Options{CondStore: true})
	text := w.message("m")
	uid := w.arrive("INBOX", text)
	others := w.arrive("INBOX", w.message("others"), `\Deleted`)
	w.sync()
	w.must(os.Remove(w.file("INBOX", text)))
	w.sync()
	w.server.Store("INBOX", false, mail.NewFlags(`\Deleted`), others)
	w.put("INBOX", w.message("new"), "S")
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == "append" && s.After }, func() model.Action {
		w.server.Store("INBOX", false, mail.NewFlags(`\Deleted`), uid)
		return model.Action{}
	}))
	w.sync()
	w.want(map[string][]string{"INBOX": {"m", `new \Seen`, "others"}})
	w.quiet()
}

// TestDoubtfulForGood: under the UID of a message that the person deleted or moved the server tells another date, and never a header. It stays, each
// run says so, and none reads the mailbox for it.
func TestDoubtfulForGood(t *testing.T) {
	t.Parallel()
	for _, deed := range []string{"deleted", "to the trash", "moved"} {
		t.Run(deed, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nameless())
			w.server.CreateMailbox("Lists")
			text := w.message("a")
			uid := w.arrive("INBOX", text)
			w.arrive("INBOX", w.message("b"))
			w.sync()
			w.sync()
			switch deed {
			case "moved":
				w.move(w.file("INBOX", text), "Lists")
			case "to the trash":
				w.set.Policy.Trash = "Lists"
				fallthrough
			default:
				w.must(os.Remove(w.file("INBOX", text)))
			}
			silent, read := true, 0
			w.dialer = between{w.server, func(s remote.Session) remote.Session {
				return headerless{shiftedDates{s, time.Hour, new([]remote.FetchItems)}, "INBOX", &silent}
			}}
			w.server.SetFault(func(s model.Step) model.Action {
				if s.Op == "changes" && !s.After {
					read++
				}
				return model.Action{}
			})
			for range 3 {
				if res := w.try(); res.Fatal != nil || len(res.Errors) != 1 || !strings.Contains(res.Errors[0].Error(), "UID 1 ") || read > 0 {
					t.Fatalf("fatal %v, errors %v, notes %v, mailboxes read %d", res.Fatal, res.Errors, res.Notes, read)
				}
			}
			w.server.SetFault(nil)
			w.server.Expunge("INBOX", uid) // as it is told to
			if w.sync(); deed == "moved" {
				w.want(map[string][]string{"INBOX": {"b"}, "Lists": {"a"}})
			} else {
				w.want(map[string][]string{"INBOX": {"b"}, "Lists": {}})
			}
			w.quiet()
		})
	}
}

// TestDeletionInARestlessAccount: mail arrives somewhere whenever a run has looked, so that what is missing may always be what came. A deletion
// waits until a run comes through, and each that does not says so.
func TestDeletionInARestlessAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("Busy")
	text := w.message("m")
	w.arrive("INBOX", text)
	w.sync()
	w.must(os.Remove(w.file("INBOX", text)))
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "list" && s.After {
			w.arrive("Busy", w.message("busy"))
		}
		return model.Action{}
	})
	for range 2 {
		res := w.try()
		if res.Fatal != nil || len(res.Errors) != 1 || !strings.Contains(res.Errors[0].Error(), "deletions") || len(w.serverTree()["INBOX"]) != 1 {
			t.Errorf("fatal %v, errors %v\n%s", res.Fatal, res.Errors, w)
		}
	}
	w.server.SetFault(nil)
	w.sync()
	if len(w.serverTree()["INBOX"]) != 0 {
		t.Errorf("it is still there\n%s", w)
	}
	w.same()
	w.quiet()
}

// TestDeletedAboveANewMailbox: a mailbox is not taken aside to be deleted while the same run has made one below it, which would go along.
func TestDeletedAboveANewMailbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("Work")
	w.server.CreateMailbox("Work/Old")
	w.sync()
	w.server.DeleteMailbox("Work/Old")
	w.must(os.RemoveAll(w.dir("Work")))
	w.mkfolder("Work/Old")
	w.put("Work/Old", w.message("a"), "S")
	for range 3 {
		w.sync()
	}
	w.same()
	for name := range w.serverTree() {
		if strings.Contains(name, "satchel") {
			t.Errorf("the server has a mailbox %s", name)
		}
	}
	if tree := w.serverTree(); len(tree["Work/Old"]) != 1 {
		t.Errorf("%s", w)
	}
}

// TestHeldWhateverIsLookedAt: what the guard holds back stays held when a sync looks at less, or finds more, than the one that held it.
func TestHeldWhateverIsLookedAt(t *testing.T) {
	t.Parallel()
	for _, expunge := range []bool{false, true} {
		w := newWorld(t, model.Full())
		w.set.Policy.Expunge = expunge
		w.set.Policy.Guard = plan.Guard{ByShare: true, Share: 0.5}
		w.server.CreateMailbox("A")
		for range 9 {
			w.arrive("INBOX", w.message("x"))
			w.arrive("A", w.message("x"))
		}
		w.sync()
		for _, f := range slices.Concat(w.files("INBOX")[:8], w.files("A")[:8]) {
			if expunge {
				w.must(os.Rename(f, strings.Replace(f, "/new/", "/cur/", 1)+":2,T"))
			} else {
				w.must(os.Remove(f))
			}
		}
		held := func(doing string, want int) {
			t.Helper()
			if res := w.sync(); res.HeldBack != want || res.HeldWhy == "" || len(w.serverTree()["A"]) < 9 {
				t.Errorf("expunge %v, %s: %d held back because %q, the server has %d in A", expunge, doing, res.HeldBack, res.HeldWhy, len(w.serverTree()["A"]))
			}
		}
		held("all that was deleted", 16)
		w.opt.Targets = []mail.FolderName{"A"}
		held("one folder", 8)
		w.opt.Targets = nil
		for range 40 {
			w.arrive("A", w.message("x"))
		}
		held("with new mail", 16)
		held("once it is here", 16)
		w.opt.AllowDeletes = true
		if res := w.sync(); res.HeldBack != 0 || len(w.serverTree()["A"]) != 41 || len(w.serverTree()["INBOX"]) != 1 {
			t.Errorf("expunge %v, allowed: %d held back, the server has %v", expunge, res.HeldBack, w.serverTree())
		}
	}
}
