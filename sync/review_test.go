package sync_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// once makes a fault that happens the first time a step is the one that is meant.
func once(meant func(model.Step) bool, do func() model.Action) func(model.Step) model.Action {
	done := false
	return func(s model.Step) model.Action {
		if done || !meant(s) {
			return model.Action{}
		}
		done = true
		return do()
	}
}

func targets(names ...mail.FolderName) mailsync.Options { return mailsync.Options{Targets: names} }

// TestUnreadableFolderIsNotGone: a folder that the Maildir can't look into is not deleted, nor is any below it.
func TestUnreadableFolderIsNotGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("Work")
	w.server.CreateMailbox("Work/Old")
	w.arrive("Work", w.message("a"))
	w.arrive("Work/Old", w.message("b"))
	w.sync()
	away := filepath.Join(t.TempDir(), "elsewhere")
	w.must(os.Rename(w.dir("Work"), away))
	w.must(os.Symlink(away, w.dir("Work")))
	for range 2 {
		if res := w.try(); len(res.Errors) == 0 {
			t.Error("nothing was reported")
		}
	}
	if got, want := w.serverTree().subjects(), expectedString(map[string][]string{"INBOX": {}, "Work": {"a"}, "Work/Old": {"b"}}); got != want {
		t.Fatalf("the server holds\n%s\nwanted\n%s", got, want)
	}
	w.must(os.Remove(w.dir("Work")))
	w.must(os.Rename(away, w.dir("Work")))
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "Work": {"a"}, "Work/Old": {"b"}})
}

// TestTargetLeavesOtherFoldersMarks: where a run looks into folders that it was not asked for, what it finds there
// is still new to the next one.
func TestTargetLeavesOtherFoldersMarks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("B")
	gone := w.arrive("INBOX", w.message("gone"))
	flagged := w.arrive("B", w.message("flagged"))
	deleted := w.message("deleted")
	w.arrive("B", deleted)
	w.sync()
	w.sync()
	w.server.Expunge("INBOX", gone)
	w.arrive("B", w.message("new"))
	w.server.Store("B", true, mail.NewFlags(`\Flagged`), flagged)
	w.must(os.Remove(w.file("B", deleted)))
	w.put("B", w.message("mine"), "S")
	w.opt = targets("INBOX")
	w.sync()
	w.opt = targets()
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "B": {`flagged \Flagged`, "new", `mine \Seen`}})
}

// TestTargetAndNewUIDValidityElsewhere: the run looks into a folder of a new UIDVALIDITY that it was not asked for.
func TestTargetAndNewUIDValidityElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("B")
	gone := w.arrive("INBOX", w.message("gone"))
	w.arrive("B", w.message("other"))
	text := w.message("b")
	w.arrive("B", text)
	w.sync()
	w.server.Expunge("INBOX", gone)
	w.server.Expunge("B", 1)
	w.server.Renumber("B")
	w.opt = targets("INBOX")
	w.sync()
	w.opt = targets()
	w.sync()
	w.must(os.Remove(w.file("B", text)))
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "B": {"other"}})
}

// TestTargetLeavesOtherFoldersDirectories: a directory that was replaced is compared when its folder's turn comes.
func TestTargetLeavesOtherFoldersDirectories(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("B")
	w.arrive("INBOX", w.message("a"))
	text := w.message("b")
	w.arrive("B", text)
	w.sync()
	w.must(os.Rename(w.dir("B"), w.dir("B")+".old"))
	w.mkfolder("B")
	w.must(os.RemoveAll(w.dir("B") + ".old"))
	w.arrive("INBOX", w.message("c"))
	w.opt = targets("INBOX")
	w.sync()
	w.opt = targets()
	w.sync()
	w.want(map[string][]string{"INBOX": {"a", "c"}, "B": {"b"}})
}

// TestReplacedDirectoryAndACutOffRun: the run that should have compared a replaced directory could not finish.
func TestReplacedDirectoryAndACutOffRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("B")
	w.arrive("B", w.message("b"))
	w.sync()
	w.must(os.Rename(w.dir("B"), w.dir("B")+".old"))
	w.mkfolder("B")
	w.must(os.RemoveAll(w.dir("B") + ".old"))
	w.put("B", w.message("mine"), "S")
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "body" || s.Op == "append" {
			return model.Action{Kind: model.Drop}
		}
		return model.Action{}
	})
	w.try()
	w.server.SetFault(nil)
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "B": {"b", `mine \Seen`}})
}

// TestFlagsOfParkedMessages: flags that change while a message is not transferred are not forgotten.
func TestFlagsOfParkedMessages(t *testing.T) {
	t.Parallel()
	t.Run("on the server, too large", func(t *testing.T) {
		w := newWorld(t, model.Full())
		w.set.MaxMessageSize = 10
		uid := w.arrive("INBOX", w.message("big"))
		w.sync()
		w.server.Store("INBOX", true, mail.NewFlags(`\Seen`), uid)
		w.sync()
		w.set.MaxMessageSize = 0
		w.sync()
		w.want(map[string][]string{"INBOX": {`big \Seen`}})
	})
	t.Run("on the server, refused", func(t *testing.T) {
		w := newWorld(t, model.Full())
		uid := w.arrive("INBOX", w.message("bad"))
		w.server.SetRefuse(func(s model.Step) model.Action {
			if s.Op == "body" {
				return model.Action{Kind: model.Refuse}
			}
			return model.Action{}
		})
		w.try()
		w.server.Store("INBOX", true, mail.NewFlags(`\Seen`), uid)
		w.server.SetRefuse(nil)
		w.sync()
		w.want(map[string][]string{"INBOX": {`bad \Seen`}})
	})
	t.Run("in the Maildir, refused", func(t *testing.T) {
		w := newWorld(t, model.Full())
		text := w.message("bad")
		w.put("INBOX", text, "")
		w.server.SetRefuse(func(s model.Step) model.Action {
			if s.Op == "append" {
				return model.Action{Kind: model.Refuse}
			}
			return model.Action{}
		})
		w.try()
		w.reflag(w.file("INBOX", text), "F")
		w.server.SetRefuse(nil)
		w.sync()
		w.want(map[string][]string{"INBOX": {`bad \Flagged`}})
	})
}

// TestFolderThatCannotBeReadMayHoldWhatIsMissing: while a folder can't be read, what disappeared elsewhere may
// have moved there.
func TestFolderThatCannotBeReadMayHoldWhatIsMissing(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"server", "Maildir"} {
		t.Run("moved on the "+side, func(t *testing.T) {
			w := newWorld(t, model.Full())
			w.set.Policy.Trash = "Trash"
			w.server.CreateMailbox("B")
			text := w.message("a")
			uid := w.arrive("INBOX", text, `\Seen`)
			w.arrive("B", w.message("b"), `\Seen`)
			w.sync()
			if side == "server" {
				w.server.Move("INBOX", "B", uid)
			} else {
				w.move(w.file("INBOX", text), "B")
				w.arrive("B", w.message("c"), `\Seen`)
			}
			w.server.SetFault(func(s model.Step) model.Action {
				if s.Op == "changes" && s.Mailbox == "B" {
					return model.Action{Kind: model.Refuse}
				}
				return model.Action{}
			})
			w.try()
			w.server.SetFault(nil)
			res := w.sync()
			want := map[string][]string{"INBOX": {}, "B": {`a \Seen`, `b \Seen`}}
			if side != "server" {
				want["B"] = append(want["B"], `c \Seen`)
			}
			w.want(want)
			if res.ToMaildir.Moved+res.ToServer.Moved != 1 {
				t.Errorf("not carried out as a move: %+v %+v", res.ToMaildir, res.ToServer)
			}
		})
	}
}

// TestOneWayDeletedAndMoved: the message to remove is the one in its new folder.
func TestOneWayDeletedAndMoved(t *testing.T) {
	t.Parallel()
	t.Run("push", func(t *testing.T) {
		w := newWorld(t, model.Full())
		w.set.Policy.Mode = plan.Push
		w.server.CreateMailbox("B")
		a, b := w.message("a"), w.message("b")
		w.put("INBOX", a, "S")
		w.put("B", b, "S")
		w.sync()
		w.want(map[string][]string{"INBOX": {`a \Seen`}, "B": {`b \Seen`}})
		w.server.Move("INBOX", "B", 1)
		w.must(os.Remove(w.file("INBOX", a)))
		w.sync()
		w.want(map[string][]string{"INBOX": {}, "B": {`b \Seen`}})
		w.quiet()
	})
	t.Run("pull", func(t *testing.T) {
		w := newWorld(t, model.Full())
		w.set.Policy.Mode = plan.Pull
		w.server.CreateMailbox("B")
		a, b := w.message("a"), w.message("b")
		uid := w.arrive("INBOX", a, `\Seen`)
		w.arrive("B", b, `\Seen`)
		w.sync()
		w.move(w.file("INBOX", a), "B")
		w.server.Expunge("INBOX", uid)
		w.sync()
		w.want(map[string][]string{"INBOX": {}, "B": {`b \Seen`}})
		w.quiet()
	})
}

// TestGhostBesideMarkedMessages: without UIDPLUS a ghost can only be marked while others have marked messages. It is
// not delivered as a new message then.
func TestGhostBesideMarkedMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Options{CondStore: true, Move: true})
	w.arrive("INBOX", w.message("marked"), `\Deleted`)
	w.sync()
	w.put("INBOX", w.message("mine"), "S")
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == "append" && !s.After },
		func() model.Action { return model.Action{Kind: model.Ghost} }))
	w.try()
	w.server.SetFault(nil)
	w.sync()
	w.server.ReleaseGhosts()
	w.sync()
	w.sync()
	if got, want := w.localTree().subjects(), expectedString(map[string][]string{"INBOX": {`marked \Deleted`, `mine \Seen`}}); got != want {
		t.Fatalf("the Maildir holds\n%s\nwanted\n%s\n%s", got, want, w)
	}
	w.quiet()
}

// TestNewUIDValidityAfterACutOffFirstSync: what the first run delivered keeps its meaning though that run committed
// no mark.
func TestNewUIDValidityAfterACutOffFirstSync(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	x := w.message("x")
	w.arrive("INBOX", x)
	w.put("INBOX", w.message("l"), "S")
	// The upload is never answered, so that the folder stays unfinished.
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "append" {
			return model.Action{Kind: model.Drop}
		}
		return model.Action{}
	})
	w.try()
	w.server.SetFault(nil)
	w.server.Recreate("INBOX", false)
	w.arrive("INBOX", w.message("y"))
	w.sync()
	w.want(map[string][]string{"INBOX": {"x", "y", `l \Seen`}})
	w.quiet()
}

// TestLateUploadOfADeletedFile: an upload arrives after its file was deleted and the folder was read.
func TestLateUploadOfADeletedFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.sync()
	text := w.message("mine")
	w.put("INBOX", text, "S")
	w.server.SetFault(func(s model.Step) model.Action {
		switch {
		case s.Op == "append" && !s.After:
			return model.Action{Kind: model.Ghost}
		case s.Op == "list" && s.N > 10 && w.server.Ghosts() > 0:
			return model.Action{Kind: model.Drop}
		}
		return model.Action{}
	})
	w.try()
	w.server.SetFault(nil)
	w.must(os.Remove(w.file("INBOX", text)))
	past := time.Now().Add(-time.Hour)
	for _, d := range []string{"cur", "new"} {
		w.must(os.Chtimes(filepath.Join(w.dir("INBOX"), d), past, past))
	}
	w.sync()
	w.sync()
	w.server.ReleaseGhosts()
	w.sync()
	w.same()
	w.want(map[string][]string{"INBOX": {}})
}

// TestAsideNameTaken: somebody made the mailbox again that a stopped run had taken aside.
func TestAsideNameTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("Old")
	w.arrive("INBOX", w.message("a"))
	w.sync()
	w.must(os.RemoveAll(w.dir("Old")))
	cut := false
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "rename" && s.After {
			cut = true
		}
		if cut {
			return model.Action{Kind: model.Drop}
		}
		return model.Action{}
	})
	w.try()
	if !cut {
		t.Fatal("nothing was taken aside")
	}
	w.server.SetFault(nil)
	w.server.CreateMailbox("Old")
	w.arrive("Old", w.message("b"))
	w.arrive("INBOX", w.message("c"))
	if res := w.try(); res.Fatal != nil {
		t.Fatalf("the account is stuck: %v", res.Fatal)
	}
	w.try()
	if names := w.server.Snapshot().Names(); !slices.Contains(names, "Old") {
		t.Error(names)
	}
	if tree := w.localTree(); len(tree["INBOX"]) != 2 || len(tree["Old"]) != 1 {
		t.Fatalf("%s", w)
	}
}

// TestRestoredStateAndTarget: a run on one folder does not end what a restored state asks for in the others.
func TestRestoredStateAndTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("B")
	w.arrive("INBOX", w.message("a"))
	text := w.message("b")
	w.arrive("B", text)
	w.sync()
	// Maildir and state come back from a backup in which one file is missing.
	backup := w.root + ".backup"
	w.must(os.CopyFS(backup, os.DirFS(w.root)))
	w.must(os.RemoveAll(w.root))
	w.must(os.Rename(backup, w.root))
	w.must(os.Remove(w.file("B", text)))
	w.opt = targets("INBOX")
	if res := w.sync(); !strings.Contains(strings.Join(res.Notes, "\n"), "restored") {
		t.Fatalf("not noticed: %q", res.Notes)
	}
	w.opt = targets()
	w.sync()
	w.want(map[string][]string{"INBOX": {"a"}, "B": {"b"}})
}

// TestRestoredStateAndARefusedMessage: a message that the server never takes does not keep the account in
// the state of having been restored, in which deletions are undone.
func TestRestoredStateAndARefusedMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	text := w.message("a")
	w.arrive("INBOX", text)
	w.put("INBOX", w.message("bad"), "S")
	w.server.SetRefuse(func(s model.Step) model.Action {
		if s.Op == "append" {
			return model.Action{Kind: model.Refuse}
		}
		return model.Action{}
	})
	w.try()
	backup := w.root + ".backup"
	w.must(os.CopyFS(backup, os.DirFS(w.root)))
	w.must(os.RemoveAll(w.root))
	w.must(os.Rename(backup, w.root))
	w.try()
	w.must(os.Remove(w.file("INBOX", text)))
	w.try()
	if n := len(w.serverTree()["INBOX"]); n != 0 {
		t.Fatalf("the deletion was taken back\n%s", w)
	}
}

// TestFolderDeletedAndRecreatedByAnUpload: the server's deletion of the folder is still known after a new local
// message has brought it back, though its removals had to wait.
func TestFolderDeletedAndRecreatedByAnUpload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("A")
	w.arrive("A", w.message("old"))
	w.sync()
	w.server.DeleteMailbox("A")
	w.put("A", w.message("new"), "S")
	lists := 0
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "list" && !s.After {
			if lists++; lists == 2 { // the look right before removals
				w.arrive("INBOX", w.message("meanwhile"))
			}
		}
		return model.Action{}
	})
	w.sync()
	w.server.SetFault(nil)
	w.sync()
	w.want(map[string][]string{"INBOX": {"meanwhile"}, "A": {`new \Seen`}})
	w.quiet()
}

// TestMapSwap: the configuration exchanges the local names of two mailboxes.
func TestMapSwap(t *testing.T) {
	t.Parallel()
	for _, ids := range []bool{true, false} {
		o := model.Full()
		o.MailboxIDs = ids
		w := newWorld(t, o)
		w.server.CreateMailbox("X")
		w.server.CreateMailbox("Y")
		w.server.SetUIDValidity("X", 7)
		w.server.SetUIDValidity("Y", 7)
		w.arrive("X", w.message("x"))
		w.arrive("Y", w.message("y"))
		w.set.Map = map[string]string{"X": "A", "Y": "B"}
		w.sync()
		w.set.Map = map[string]string{"X": "B", "Y": "A"}
		for range 3 {
			w.try()
		}
		if got, want := w.localTree().subjects(), expectedString(map[string][]string{"INBOX": {}, "A": {"y"}, "B": {"x"}}); got != want {
			t.Errorf("ids %v: the Maildir holds\n%s\nwanted\n%s\n%s", ids, got, want, w)
		}
		if got, want := w.serverTree().subjects(), expectedString(map[string][]string{"INBOX": {}, "X": {"x"}, "Y": {"y"}}); got != want {
			t.Errorf("ids %v: the server holds\n%s\nwanted\n%s\n%s", ids, got, want, w)
		}
	}
}

// TestMapReplaced: another mailbox takes a local name, and the one that had it is excluded. Both have the same
// UIDVALIDITY and the same UIDs.
func TestMapReplaced(t *testing.T) {
	t.Parallel()
	for _, ids := range []bool{true, false} {
		o := model.Full()
		o.MailboxIDs = ids
		w := newWorld(t, o)
		w.server.CreateMailbox("X")
		w.server.CreateMailbox("Y")
		w.server.SetUIDValidity("X", 7)
		w.server.SetUIDValidity("Y", 7)
		w.arrive("X", w.message("x"))
		w.arrive("X", w.message("x2"))
		w.arrive("Y", w.message("y"))
		w.set.Map = map[string]string{"X": "A"}
		w.set.Exclude = []string{"Y"}
		w.sync()
		w.set.Map = map[string]string{"Y": "A"}
		w.set.Exclude = []string{"X"}
		for range 3 {
			w.try()
		}
		tree := w.serverTree()
		if len(tree["X"]) != 2 || !strings.Contains(strings.Join(tree["Y"], ""), "Subject: y") {
			t.Errorf("ids %v: lost on the server\n%s", ids, w)
		}
		if !strings.Contains(strings.Join(w.localTree()["A"], ""), "Subject: y") {
			t.Errorf("ids %v: y was not delivered\n%s", ids, w)
		}
	}
}

// TestPortionsOfAReplacedMailbox: more new messages than are planned at once, in a mailbox that was replaced. What one portion
// made known the next one must not make unknown.
func TestPortionsOfAReplacedMailbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.sync()
	w.server.Recreate("INBOX", false)
	const n = 10_100
	for i := range n {
		w.arrive("INBOX", fmt.Sprintf("Message-ID: <%d@example.org>\nSubject: s%d\n\nx\n", i, i))
	}
	if res := w.sync(); res.ToMaildir.New != n {
		t.Fatalf("%d messages came", res.ToMaildir.New)
	}
	for _, f := range w.files("INBOX")[:20] {
		w.reflag(f, "F")
	}
	if res := w.sync(); res.ToServer != (mailsync.Count{Flags: 20}) || res.ToMaildir != (mailsync.Count{}) {
		t.Errorf("flagging 20 messages: %+v to the server, %+v to the Maildir", res.ToServer, res.ToMaildir)
	}
	if got := len(w.serverTree()["INBOX"]); got != n {
		t.Errorf("there are %d messages on the server now", got)
	}
	w.quiet()
}

// onceBlindFS can't look into one directory, once.
type onceBlindFS struct {
	maildir.FS
	dir   string
	blind sync.Once
}

// Stat implements maildir.FS.
func (f *onceBlindFS) Stat(name string) (info maildir.FileInfo, err error) {
	if name == f.dir {
		f.blind.Do(func() { err = errDisk })
	}
	if err != nil {
		return info, err
	}
	return f.FS.Stat(name)
}

// TestMovedFromAFolderThatWasReplaced: a message that was moved before its folder was deleted and made again is not delivered there once more
// while the folder that it is in can't be read.
func TestMovedFromAFolderThatWasReplaced(t *testing.T) {
	t.Parallel()
	w := newPairWorld(t)
	w.arrive("B", w.message("b"))
	w.sync()
	w.move(w.file(), "B")
	w.must(os.RemoveAll(w.dir("A")))
	w.mkfolder("A")
	real, err := maildir.OSFS(w.root)
	w.must(err)
	w.fs = &onceBlindFS{FS: real, dir: "B"}
	w.try()
	w.fs = nil
	w.sync()
	w.want(boxes(map[string][]string{"B": {"b", "m"}}))
}
