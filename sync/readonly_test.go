package sync_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// newWaitingWorld has mailboxes A to D of which some became read-only, and then a message was moved in the Maildir. It waits there.
func newWaitingWorld(t *testing.T, from, to string, readOnly ...string) (w *world, text string) {
	w = newWorld(t, model.Full())
	for _, name := range []string{"A", "B", "C", "D"} {
		w.server.CreateMailbox(name)
	}
	text = w.message("m")
	w.arrive(from, text)
	w.arrive("B", w.message("other"))
	w.sync()
	for _, name := range readOnly {
		w.server.SetReadOnly(name, true)
	}
	w.move(w.file(from, text), to)
	w.sync()
	w.quiet()
	return w, text
}

// oneIn says what is wrong if the message is not there once on each side, at the same place; and where must be that, if it is not empty.
func (w *world) oneIn(where string) string {
	server, local := w.serverTree().subjects(), w.localTree().subjects()
	if server != local || strings.Count(server, ": m") != 1 || !strings.Contains(server, where+": m") {
		return fmt.Sprintf("wanted in %q\nserver:\n%s\nMaildir:\n%s", where, server, local)
	}
	return ""
}

// findM finds the message on the server.
func (w *world) findM() (box string, uid mail.UID) {
	for _, b := range w.server.Snapshot().Mailboxes {
		for _, m := range b.Messages {
			if strings.Contains(m.Raw, "Subject: m\r\n") {
				return b.Name, m.UID
			}
		}
	}
	w.t.Fatal("the server has no such message")
	return "", 0
}

// TestMovedToAReadOnlyFolder: what follows from the move has to wait, because something changes while the sync looks. The message is not
// forgotten to be the one that is missing, which would be deleted then.
func TestMovedToAReadOnlyFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	for _, name := range []string{"A", "B", "C"} {
		w.server.CreateMailbox(name)
	}
	text := w.message("m")
	w.arrive("B", text)
	w.arrive("C", w.message("c"))
	w.arrive("A", w.message("a"))
	w.sync()
	w.server.SetReadOnly("A", true)
	w.move(w.file("B", text), "A")
	lists := 0
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "list" && !s.After {
			if lists++; lists == 2 {
				w.arrive("C", w.message("c2"))
			}
		}
		return model.Action{}
	})
	w.sync()
	if lists < 2 {
		t.Error("nothing came while the sync looked")
	}
	if box, _ := w.server.Snapshot().Mailbox("B"); len(box.Messages) != 1 {
		t.Error("the server has lost it")
	}
}

// TestMovesWaitForAReadOnlyFolder: what was moved there in the Maildir is moved on the server once that can be done, and is one message again.
func TestMovesWaitForAReadOnlyFolder(t *testing.T) {
	t.Parallel()
	for _, from := range []string{"A", "B"} { // out of the read-only one it is stored anew, and what was left behind goes
		for _, only := range []bool{false, true} {
			w := newWorld(t, model.Full())
			w.server.CreateMailbox("A")
			w.server.CreateMailbox("B")
			text := w.message("m")
			w.arrive(from, text)
			w.sync()
			w.server.SetReadOnly("A", true)
			to := map[string]string{"A": "B", "B": "A"}[from]
			w.move(w.file(from, text), to)
			for range 2 {
				w.sync()
			}
			w.server.SetReadOnly("A", false)
			if only {
				w.opt.Targets = []mail.FolderName{"A"}
			}
			w.sync()
			w.opt.Targets = nil
			w.sync()
			want := to + ": m"
			if got := w.serverTree().subjects(); strings.Count(got, ": m") != 1 || !strings.Contains(got, want) {
				t.Errorf("from %s, A alone %v: the server has %s", from, only, got)
			}
			if got := w.localTree().subjects(); strings.Count(got, ": m") != 1 || !strings.Contains(got, want) {
				t.Errorf("from %s, A alone %v: the Maildir has %s", from, only, got)
			}
			if box, _ := w.server.Snapshot().Mailbox(to); len(box.Messages) == 1 {
				w.server.Store(to, true, mail.NewFlags(`\Flagged`), box.Messages[0].UID)
			}
			w.sync()
			if got := w.localTree().subjects(); !strings.Contains(got, want+` \Flagged`) {
				t.Errorf("from %s, A alone %v: flagged on the server, the Maildir has %s", from, only, got)
			}
		}
	}
}

// TestMovesWaitForTheirOwnReadOnlyFolder: another mailbox takes changes again, and the one that the message was moved to does not yet.
func TestMovesWaitForTheirOwnReadOnlyFolder(t *testing.T) {
	t.Parallel()
	for _, from := range []string{"A", "B"} {
		w := newWorld(t, model.Full())
		for _, name := range []string{"A", "B", "C"} {
			w.server.CreateMailbox(name)
		}
		text := w.message("m")
		w.arrive(from, text)
		w.sync()
		w.server.SetReadOnly("A", true)
		w.server.SetReadOnly("C", true)
		w.move(w.file(from, text), "C")
		w.sync()
		w.server.SetReadOnly("A", false)
		for range 2 {
			w.sync()
		}
		if got := w.serverTree().subjects(); strings.Count(got, ": m") != 1 || !strings.Contains(got, from+": m") {
			t.Errorf("from %s: the server has %s", from, got)
		}
		w.server.SetReadOnly("C", false)
		for range 2 {
			w.sync()
		}
		if got := w.serverTree().subjects(); strings.Count(got, ": m") != 1 || !strings.Contains(got, "C: m") {
			t.Errorf("from %s, at last: the server has %s", from, got)
		}
		if got := w.localTree().subjects(); strings.Count(got, ": m") != 1 || !strings.Contains(got, "C: m") {
			t.Errorf("from %s, at last: the Maildir has %s", from, got)
		}
	}
}

// TestWaitingMoveIsCutOff: the sync that may carry a move out at last fails at any step, in any way. What was known of the file is not forgotten before
// the message is there, or the next sync would take the server's half for one that was deleted here.
func TestWaitingMoveIsCutOff(t *testing.T) {
	t.Parallel()
	for _, kind := range []model.Kind{model.Drop, model.Refuse, model.Ghost} {
		for _, after := range []bool{false, true} {
			for n, hit := 1, true; hit; n++ {
				w, _ := newWaitingWorld(t, "B", "C", "C")
				w.server.SetReadOnly("C", false)
				steps := 0
				w.server.SetFault(func(s model.Step) model.Action {
					if s.After == after {
						steps++
					}
					if s.After == after && steps == n {
						return model.Action{Kind: kind}
					}
					return model.Action{}
				})
				w.try()
				w.server.SetFault(nil)
				hit = steps >= n
				w.server.ReleaseGhosts()
				for range 3 {
					w.try()
				}
				if wrong := w.oneIn("C"); wrong != "" {
					t.Errorf("kind %v, step %d, after it %v: %s", kind, n, after, wrong)
				}
			}
		}
	}
}

// TestWaitingMessageMovesOn: it is moved on or back, or deleted, in the sync in which its mailbox or another one takes changes again, or before.
func TestWaitingMessageMovesOn(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{false, true} {
		for _, opens := range []string{"C", "A"} {
			for _, to := range []string{"A", "B", "D", ""} {
				w, text := newWaitingWorld(t, "B", "C", "C", "A")
				w.put("A", w.message("own"), "") // waits, too
				w.sync()
				if first {
					w.server.SetReadOnly(opens, false)
				}
				if f := w.file("C", text); to == "" {
					w.must(os.Remove(f))
				} else {
					w.move(f, to)
				}
				w.sync()
				for _, name := range []string{opens, "A", "C"} {
					w.server.SetReadOnly(name, false)
					w.sync()
				}
				w.quiet()
				if wrong := w.oneIn(to); to != "" && wrong != "" || to == "" && strings.Contains(w.serverTree().subjects(), ": m") {
					t.Errorf("%s opens first %v, moved to %q: %s", opens, first, to, wrong)
				}
			}
		}
	}
}

// TestWaitingMessageOnTheServer: somebody does something on the server while it waits, or in the sync in which it need not any more.
func TestWaitingMessageOnTheServer(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		do   func(*world)
		want string
	}{
		"its mailbox is renumbered":     {func(w *world) { w.server.Renumber("B") }, "C"},
		"the new mailbox is renumbered": {func(w *world) { w.server.Renumber("C") }, "C"},
		"it is moved":                   {func(w *world) { _, uid := w.findM(); w.server.Move("B", "D", uid) }, "D"},
		"it is flagged":                 {func(w *world) { _, uid := w.findM(); w.server.Store("B", true, mail.NewFlags(`\Flagged`), uid) }, "C"},
		"the new mailbox is deleted":    {func(w *world) { w.server.DeleteMailbox("C") }, "C"},
		"its mailbox is deleted":        {func(w *world) { w.server.DeleteMailbox("B") }, "C"},
	} {
		for _, during := range []bool{false, true} {
			w, _ := newWaitingWorld(t, "B", "C", "C")
			tt.do(w)
			if !during {
				w.sync()
				w.quiet()
			}
			for _, b := range w.server.Snapshot().Mailboxes {
				w.server.SetReadOnly(b.Name, false)
			}
			w.sync()
			w.quiet()
			if wrong := w.oneIn(tt.want); wrong != "" {
				t.Errorf("%s, while it opens %v: %s", name, during, wrong)
			}
		}
	}
}

// TestWaitingMessageIsTooLarge: what the Maildir has of it is kept from the server for another reason, too.
func TestWaitingMessageIsTooLarge(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"B", "C"} {
		w := newWorld(t, model.Full())
		for _, name := range []string{"A", "B", "C"} {
			w.server.CreateMailbox(name)
		}
		text := w.message("m") + strings.Repeat("x\n", 500)
		w.arrive("A", text)
		w.sync()
		w.set.MaxMessageSize = 600
		w.sync()
		w.server.SetReadOnly("A", true)
		w.server.SetReadOnly("C", to == "C")
		w.move(w.file("A", text), to)
		for _, name := range []string{"", "C", "A"} {
			if name != "" {
				w.server.SetReadOnly(name, false)
			}
			w.sync()
			w.quiet()
		}
		if wrong := w.oneIn(to); wrong != "" {
			t.Error(wrong)
		}
	}
}

// TestReadOnlyTrash: what was deleted waits for the trash to take changes, of which its marks say nothing.
func TestReadOnlyTrash(t *testing.T) {
	t.Parallel()
	w := newPairWorld(t)
	w.set.Policy.Trash = "B"
	w.sync()
	w.server.SetReadOnly("B", true)
	w.must(os.Remove(w.file()))
	w.sync()
	w.quiet()
	w.server.SetReadOnly("B", false)
	w.sync()
	if wrong := w.oneIn("B"); wrong != "" {
		t.Error(wrong)
	}
	w.quiet()
}

// TestReadOnlyFolderIsDeleted: a folder that was deleted in the Maildir goes once its mailbox takes changes again, and so do its messages.
func TestReadOnlyFolderIsDeleted(t *testing.T) {
	t.Parallel()
	w := newPairWorld(t)
	w.server.SetReadOnly("A", true)
	w.must(os.RemoveAll(w.dir("A")))
	w.sync()
	w.quiet()
	if box, there := w.server.Snapshot().Mailbox("A"); !there || len(box.Messages) != 1 {
		t.Errorf("the mailbox was changed\n%s", w)
	}
	w.server.SetReadOnly("A", false)
	w.sync()
	if _, there := w.server.Snapshot().Mailbox("A"); there {
		t.Errorf("the server has it still\n%s", w)
	}
	w.quiet()
}

// TestFlagsWaitForAReadOnlyFolder: flags and keywords that were set or removed in the Maildir come to the server once the mailbox takes changes again, or the
// message was moved on the server to one that does.
func TestFlagsWaitForAReadOnlyFolder(t *testing.T) {
	t.Parallel()
	for _, moved := range []bool{false, true} {
		for _, tt := range []struct{ letters, then, want string }{
			{"F", "", `\Flagged`}, // neither \Seen nor the keyword
			{"FSa", "", `\Flagged \Seen Todo`},
			{"S", "Sa", `\Seen Todo`}, // taken back
			{"a", "Sa", `\Seen Todo`},
			{"", "", ``},
		} {
			w := newPairWorld(t, "Todo", `\Seen`)
			w.server.SetReadOnly("A", true)
			w.reflag(w.file(), tt.letters)
			for range 2 {
				w.sync()
			}
			if tt.then != "" {
				w.reflag(w.file(), tt.then)
				w.sync()
			}
			if got := w.serverTree().subjects(); !strings.Contains(got, `A: m \Seen Todo`) {
				t.Errorf("%q: a read-only mailbox has %s", tt.letters, got)
			}
			where := "A"
			if moved {
				where = "B"
				w.server.Move("A", "B", w.uid)
			} else {
				w.server.SetReadOnly("A", false)
			}
			w.sync()
			w.quiet()
			if wrong := w.oneIn(where); wrong != "" || !strings.Contains(w.serverTree().subjects(), strings.TrimSpace(where+": m "+tt.want)+"\n") {
				t.Errorf("%q then %q, moved %v: wanted %q: %s\n%s", tt.letters, tt.then, moved, tt.want, wrong, w)
			}
		}
	}
}

// TestLocalHalfOfAMoveIsCutOff: both sides moved it while it waited, and the sync dies when it has moved the file. The next one does not store it anew.
func TestLocalHalfOfAMoveIsCutOff(t *testing.T) {
	t.Parallel()
	w, text := newWaitingWorld(t, "B", "C", "C")
	_, uid := w.findM()
	w.server.Move("B", "D", uid)
	cut := false
	mailsync.Sync(t.Context(), w.set, mailsync.World{Dialer: w.dialer, Now: func() time.Time { return w.now }, Commit: func(commit func() error) error {
		if len(w.files("D")) > 0 {
			cut = true
			return syscall.EIO
		}
		return commit()
	}}, w.opt)
	if !cut {
		t.Error("it was not cut off")
	}
	w.sync()
	w.quiet()
	if wrong := w.oneIn("D"); wrong != "" {
		t.Errorf("%s: %s", text, wrong)
	}
}

// TestWaitingDeletionIsRenumbered: it can be carried out at last, and is refused or cut off. The message does not come back.
func TestWaitingDeletionIsRenumbered(t *testing.T) {
	t.Parallel()
	for _, kind := range []model.Kind{model.Drop, model.Refuse} {
		w := newPairWorld(t)
		w.server.SetReadOnly("A", true)
		w.must(os.Remove(w.file()))
		w.sync()
		w.server.Renumber("A")
		w.server.SetReadOnly("A", false)
		w.server.SetFault(refusing("expunge", "", kind))
		w.try()
		w.server.SetFault(nil)
		w.sync()
		if n := len(w.files("A")); n != 0 {
			t.Errorf("kind %v: it came back\n%s", kind, w)
		}
		w.quiet()
	}
}

// TestReadOnlyAndRestored: the mailbox is restored from a backup and read-only, and the first sync that sees this is cut off after any commit but the first. What only
// the Maildir has waits, and mail that comes then is seen.
func TestReadOnlyAndRestored(t *testing.T) {
	t.Parallel()
	for cut := 2; ; cut++ {
		w := newPairWorld(t)
		backup, _ := w.server.Snapshot().Mailbox("A")
		for _, name := range []string{"two", "three"} {
			w.arrive("A", w.message(name))
		}
		w.sync()
		w.server.Restore(backup)
		w.server.SetReadOnly("A", true)
		commits := w.dieAfter(cut)
		for range 4 {
			w.arrive("A", w.message("new"))
		}
		w.server.SetReadOnly("A", false)
		for range 3 {
			w.try()
		}
		w.same()
		if n := len(w.files("A")); n != 7 {
			t.Errorf("cut off after %d commits: %d messages\n%s", cut, n, w)
		}
		if commits <= cut {
			break
		}
	}
}

// TestManyDeletionsInAReadOnlyFolder are held at once, not only when it takes changes again and so much mail has come that they are few.
func TestManyDeletionsInAReadOnlyFolder(t *testing.T) {
	t.Parallel()
	w := newHeldWorld(t, 0, 0)
	w.server.SetReadOnly("A", true)
	for _, f := range w.files("A")[:11] {
		w.must(os.Remove(f))
	}
	w.holds(11)
	w.comes(40)
	w.holds(11)
	w.server.SetReadOnly("A", false)
	w.holds(11)
	w.has(52, 41)
}

// TestMovedToTheOnlyFolderThatIsAskedFor: the folder that it came from was not asked for. It is a move all the same.
func TestMovedToTheOnlyFolderThatIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newPairWorld(t)
	w.set.Policy.Trash = "C"
	w.sync()
	w.move(w.file(), "B")
	w.opt.Targets = []mail.FolderName{"B"}
	w.sync()
	w.opt.Targets = nil
	w.sync()
	w.quiet()
	if wrong := w.oneIn("B"); wrong != "" {
		t.Error(wrong)
	}
}

// TestReplacedDirectoryOfAWaitingMove: that the moved half is missing where another directory was put is no deletion.
func TestReplacedDirectoryOfAWaitingMove(t *testing.T) {
	t.Parallel()
	w, _ := newWaitingWorld(t, "B", "C", "C")
	w.must(os.Rename(w.dir("C"), filepath.Join(t.TempDir(), "aside")))
	w.mkfolder("C")
	for range 2 {
		w.try()
	}
	if wrong := w.oneIn("B"); wrong != "" {
		t.Error(wrong)
	}
}

// TestRestoredBackupAndAWaitingDeletion: what was to be deleted when the backup was made, and was put back since, is not deleted.
func TestRestoredBackupAndAWaitingDeletion(t *testing.T) {
	t.Parallel()
	w := newPairWorld(t)
	w.server.SetReadOnly("A", true)
	w.must(os.Remove(w.file()))
	w.sync()
	backup := filepath.Join(t.TempDir(), "copy")
	w.must(os.CopyFS(backup, os.DirFS(w.root)))
	w.put("A", w.text, "")
	w.sync()
	w.quiet()
	w.must(os.RemoveAll(w.root))
	w.must(os.Rename(backup, w.root))
	w.server.SetReadOnly("A", false)
	w.sync()
	w.want(boxes(map[string][]string{"A": {"m"}}))
}

// TestWaitingDeletionInDoubt: the mailbox was renumbered, and the server refuses to tell which message is the deleted one while another folder can't be read
// either. It is deleted later.
func TestWaitingDeletionInDoubt(t *testing.T) {
	t.Parallel()
	w := newPairWorld(t)
	w.arrive("B", w.message("b"))
	w.server.SetReadOnly("A", true)
	w.must(os.Remove(w.file()))
	w.sync()
	w.renumberInDoubt()
	w.sync()
	if len(w.files("A")) != 0 {
		t.Error("it came back")
	}
	w.server.SetReadOnly("A", false)
	w.sync()
	w.want(boxes(map[string][]string{"B": {"b"}}))
	w.quiet()
}

// renumberInDoubt renumbers A, of which the server tells no header in a sync that can't read B.
func (w *world) renumberInDoubt() {
	w.t.Helper()
	w.server.SetUIDNext("A", 100)
	w.server.Renumber("A")
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "fetch" && s.Mailbox == "A" && !s.After || s.Op == "changes" && s.Mailbox == "B" {
			return model.Action{Kind: model.Refuse}
		}
		return model.Action{}
	})
	w.try()
	w.server.SetFault(nil)
}

// TestWaitingFlagsOfAMessageFoundAgain: flags that wait for a mailbox to take changes wait on when the message has another UID, or its file another name.
func TestWaitingFlagsOfAMessageFoundAgain(t *testing.T) {
	t.Parallel()
	renumber := func(w *pairWorld) { w.server.Renumber("A") }
	for what, act := range map[string]func(w *pairWorld){
		"renumbered":     renumber,
		"its file named": func(w *pairWorld) { w.must(os.Rename(w.file(), filepath.Join(w.dir("A"), "cur", "1.other.host:2,F"))) },
		"moved away and back": func(w *pairWorld) {
			w.server.Move("A", "B", w.uid)
			box, _ := w.server.Snapshot().Mailbox("B")
			w.server.Move("B", "A", box.Messages[0].UID)
		},
		"renumbered, and the server withholds messages": func(w *pairWorld) {
			renumber(w)
			w.server.SetFault(refusing("fetch", "A", model.Refuse))
			w.try()
			w.server.SetFault(nil)
		},
	} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprint(what, again), func(t *testing.T) {
				t.Parallel()
				w := newPairWorld(t, `\Seen`)
				w.server.SetReadOnly("A", true)
				w.reflag(w.file(), "F")
				w.sync()
				act(w)
				if again {
					w.sync()
					w.sync()
				}
				w.server.SetReadOnly("A", false)
				w.sync()
				w.sync()
				w.want(boxes(map[string][]string{"A": {`m \Flagged`}}))
				w.quiet()
			})
		}
	}
}

// TestWaitingFlagsAndACut: the sync that finds a renumbered message again ends at each of its commits.
func TestWaitingFlagsAndACut(t *testing.T) {
	t.Parallel()
	for cut := 0; ; cut++ {
		w := newPairWorld(t)
		w.server.SetReadOnly("A", true)
		w.reflag(w.file(), "F")
		w.sync()
		w.server.Renumber("A")
		commits := w.dieAfter(cut)
		w.server.SetReadOnly("A", false)
		w.sync()
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Flagged`}}))
		w.quiet()
		if commits <= cut {
			if cut < 2 {
				t.Error("it commits nothing: the test proves nothing")
			}
			return
		}
	}
}

// TestWaitingFlagsAndACutMove: flags wait for a read-only mailbox, somebody moves their message on the server to one that takes changes, and the sync
// that follows ends at each of its commits.
func TestWaitingFlagsAndACutMove(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ was, file, now string }{{"", "F", ` \Flagged`}, {`\Seen`, "", ""}} {
		for cut := 0; ; cut++ {
			w := newPairWorld(t, c.was)
			w.server.SetReadOnly("A", true)
			w.reflag(w.file(), c.file)
			w.sync()
			w.server.Move("A", "B", w.uid)
			commits := w.dieAfter(cut)
			w.sync()
			w.sync()
			w.want(boxes(map[string][]string{"B": {"m" + c.now}}))
			w.quiet()
			if commits <= cut {
				if cut < 2 {
					t.Error("it commits nothing: the test proves nothing")
				}
				break
			}
		}
	}
}

// dieAfter runs a sync that ends after so many commits, and returns how many there were to be.
func (w *world) dieAfter(cut int) (commits int) {
	mailsync.Sync(w.t.Context(), w.set, mailsync.World{Dialer: w.dialer, Now: func() time.Time { return w.now }, Commit: func(commit func() error) error {
		if commits++; commits > cut {
			return syscall.EIO
		}
		return commit()
	}}, w.opt)
	return commits
}
