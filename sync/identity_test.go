package sync_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
)

// noID is a message without a Message-ID, whose content alone tells which it is.
func noID(subject string) string {
	return fmt.Sprintf("From: a@example.org\nSubject: %s\nDate: Mon, 02 Jun 2025 10:00:00 +0000\n\nThis is %s.\n", subject, subject)
}

// TestSizesCountedOtherwiseWithoutID: a server counts the bytes of its messages otherwise than it did; they are known by their content, and the right one is deleted.
func TestSizesCountedOtherwiseWithoutID(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"alarm", "renumbered"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t, nameless())
			var more int64
			readings := 0
			w.dialer = between{w.server, func(s remote.Session) remote.Session { return resized{s, &more, &readings} }}
			w.server.CreateMailbox("A")
			a := noID("a")
			w.arrive("A", a)
			w.arrive("A", noID("b"))
			w.arrive("A", noID("c"))
			w.sync()
			more = 7
			if how == "renumbered" {
				w.server.Renumber("A")
			}
			w.must(os.Remove(w.file("A", a)))
			w.sync()
			w.sync()
			w.want(map[string][]string{"A": {"b", "c"}, "INBOX": {}})
		})
	}
}

// TestStateLostAndSizesCountedWrongly: messages are paired by content where their sizes say nothing.
func TestStateLostAndSizesCountedWrongly(t *testing.T) {
	t.Parallel()
	for _, id := range []bool{true, false} {
		w := newWorld(t, nameless())
		more := int64(7)
		w.dialer = between{w.server, func(s remote.Session) remote.Session { return resized{s, &more, new(int)} }}
		text := noID("a")
		if id {
			text = w.message("a")
		}
		w.server.CreateMailbox("A")
		w.arrive("A", text)
		w.sync()
		w.must(os.Remove(filepath.Join(w.root, ".satchel.db")))
		w.sync()
		if n := len(w.serverTree()["A"]); n != 1 {
			t.Errorf("Message-ID %v: %d messages\n%s", id, n, w)
		}
	}
}

// rewriting has the server keep other bytes than it is sent.
func (w *world) rewriting(mailbox string) {
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "append" && s.After {
			box, _ := w.server.Snapshot().Mailbox(mailbox)
			m := &box.Messages[len(box.Messages)-1]
			m.Raw += "added by the server\r\n"
			w.server.Restore(box)
		}
		return model.Action{}
	})
}

// TestRewrittenAndRenumbered: a message that the server did not keep as it was sent is known again in a mailbox with new UIDs.
func TestRewrittenAndRenumbered(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string]string{"with an id": "S", "a draft": "DS", "without an id": "S"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nameless())
			text := w.message("m")
			if name == "without an id" {
				text = noID("m")
			}
			w.put("INBOX", text, flags)
			w.rewriting("INBOX")
			w.sync()
			w.server.SetFault(nil)
			w.sync()
			w.server.Renumber("INBOX")
			w.sync()
			if n := len(w.serverTree()["INBOX"]); n != 1 {
				t.Errorf("%d messages\n%s", n, w)
			}
		})
	}
}

// TestMoveOfARewritten: so it is where it is moved to, on servers without MOVE which tell no UIDs, or whose answer was lost.
func TestMoveOfARewritten(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]model.Options{"no uidplus": {CondStore: true}, "uidplus, cut off": {CondStore: true, UIDPlus: true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			w.server.CreateMailbox("Lists")
			w.sync()
			text := w.message("m")
			w.put("INBOX", text, "S")
			w.rewriting("INBOX")
			w.sync()
			w.server.SetFault(nil)
			w.sync()
			w.move(w.file("INBOX", text), "Lists")
			if o.UIDPlus {
				w.server.SetFault(once(func(s model.Step) bool { return s.Op == "copy" && s.After }, func() model.Action { return model.Action{Kind: model.Drop} }))
			}
			for range 3 {
				w.try()
			}
			if n := len(w.serverTree()["Lists"]); n != 1 {
				t.Errorf("%d in Lists\n%s", n, w)
			}
		})
	}
}

// TestTargetWhoseMessagesMovedElsewhere: only one folder is synchronised, what the state says of it means nothing any more, and a message of it is in another folder: it is not transferred again.
func TestTargetWhoseMessagesMovedElsewhere(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"renumbered", "directory replaced", "restored from a backup"} {
		for _, target := range []bool{false, true} {
			t.Run(how+map[bool]string{true: ", one folder", false: ", all"}[target], func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, model.Full())
				w.server.CreateMailbox("A")
				w.server.CreateMailbox("B")
				text := w.message("m")
				uid := w.arrive("A", text)
				w.arrive("A", w.message("other"))
				w.sync()
				w.sync()
				switch how {
				case "renumbered":
					w.server.Move("A", "B", uid)
					w.server.Renumber("A")
				case "directory replaced":
					w.move(w.file("A", text), "B")
					old := w.dir("A") + ".old"
					w.must(os.Rename(w.dir("A"), old))
					w.must(os.CopyFS(w.dir("A"), os.DirFS(old)))
					w.must(os.RemoveAll(old))
				default:
					w.server.Move("A", "B", uid)
					old := w.root + ".old"
					w.must(os.Rename(w.root, old))
					w.must(os.CopyFS(w.root, os.DirFS(old)))
				}
				if target {
					w.opt.Targets = []mail.FolderName{"A"}
				}
				w.sync()
				w.opt.Targets = nil
				w.sync()
				w.want(map[string][]string{"INBOX": {}, "A": {"other"}, "B": {"m"}})
			})
		}
	}
}
