package plan

import (
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Every line of the table "When both sides changed", by its words: one side | other side | result on both.

func TestWhenBothSidesChanged(t *testing.T) {
	table := []struct {
		line string
		test func(t *testing.T, one, other Side)
	}{
		{"flag or keyword changed | other flags changed | every single flag is merged on its own: " +
			"a flag that one side added or removed is added or removed on the other", flagsMerged},
		{"deleted | flags changed | deleted", deletedAndFlagged},
		{"deleted | moved | moved: the message lives on in its new folder", deletedAndMoved},
		{"moved to A | moved to B | in A, the server's choice", movedApart},
		{"moved | flags changed | moved, with the flags merged", movedAndFlagged},
		{"same message new | same message new | one message, not two; flags united", sameNew},
		{"folder deleted | new message in it | folder and the new message stay; the old messages are deleted", folderDeletedNewMessage},
		{"folder renamed | anything | renamed, its children too; both renamed: the server's name", folderRenamed},
		{"UIDVALIDITY changed | anything | messages are paired again by content; nothing is downloaded twice, " +
			"nothing deleted because of it", validityChanged},
	}
	for _, c := range table {
		t.Run(c.line, func(t *testing.T) { bothSides(t, c.test) })
	}
}

func flagsMerged(t *testing.T, one, other Side) {
	s := newScene(t, TwoWay)
	s.agreed("a", "INBOX", `\Seen`, "Old", "Both")
	s.flag(one, "a", "Old", `\Flagged`, "New")      // \Seen and Both removed, \Flagged and New added
	s.flag(other, "a", `\Seen`, `\Answered`, "New") // Old and Both removed, \Answered and New added
	s.sync().wantBoth(`INBOX: a[\Flagged \Answered New]`)
}

func deletedAndFlagged(t *testing.T, one, other Side) {
	s := newScene(t, TwoWay)
	s.agreed("a", "INBOX")
	s.delete(one, "a")
	s.flag(other, "a", `\Flagged`, "Keep")
	s.sync().wantBoth("")
}

func deletedAndMoved(t *testing.T, one, other Side) {
	s := newScene(t, TwoWay, "A")
	s.agreed("a", "INBOX", `\Seen`)
	s.delete(one, "a")
	s.move(other, "a", "A")
	s.flag(other, "a", `\Seen`, "Work")
	s.sync().wantBoth(`A: a[\Seen Work]`)
}

// TestDeletedAndThereAgain: a message that is new and equal to one which both sides have lost is not that one: it may be its twin.
func TestDeletedAndThereAgain(t *testing.T) {
	t.Run("moved to the folder of a twin that was deleted on both sides", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, other Side) {
			s := newScene(t, TwoWay, "A")
			s.agreed("a", "INBOX", `\Seen`)
			s.delete(one, "a")
			s.delete(other, "a")
			s.agreed("a", "A", `\Flagged`)
			s.move(one, "a", "INBOX")
			s.sync().wantBoth(`INBOX: a[\Flagged]`)
		})
	})
	t.Run("copied, and the original deleted on both sides", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, other Side) {
			s := newScene(t, TwoWay)
			s.agreed("a", "INBOX", `\Seen`)
			s.delete(one, "a")
			s.delete(other, "a")
			s.add(one, "a", "INBOX", `\Flagged`)
			s.sync().wantBoth(`INBOX: a[\Flagged]`)
		})
	})
	t.Run("a file that got another name is the same one", func(t *testing.T) {
		s := newScene(t, TwoWay)
		s.agreed("a", "INBOX")
		s.delete(Server, "a")
		s.w.dir("INBOX").files[0].name = "renamed"
		s.sync().wantBoth("")
	})
}

func movedApart(t *testing.T, one, other Side) {
	s := newScene(t, TwoWay, "A", "B", "C")
	s.agreed("a", "INBOX")
	s.agreed("b", "INBOX")
	s.move(Server, "a", "A")
	s.move(Maildir, "a", "B")
	s.move(one, "b", "C")
	s.move(other, "b", "C")
	s.wantNoTransfer(s.plan())
	s.sync().wantBoth("A: a; C: b")
}

func movedAndFlagged(t *testing.T, one, other Side) {
	s := newScene(t, TwoWay, "A")
	s.agreed("a", "INBOX", `\Seen`, "Old")
	s.move(one, "a", "A")
	s.flag(one, "a", `\Seen`, `\Flagged`)
	s.flag(other, "a", "Old", "New")
	s.wantNoTransfer(s.plan())
	s.sync().wantBoth(`A: a[\Flagged New]`)
}

func sameNew(t *testing.T, one, other Side) {
	s := newScene(t, TwoWay)
	s.add(one, "a", "INBOX", `\Seen`)
	s.add(other, "a", "INBOX", "Work")
	s.wantNoTransfer(s.plan())
	s.sync().wantBoth(`INBOX: a[\Seen Work]`)
}

func folderDeletedNewMessage(t *testing.T, one, other Side) {
	s := newScene(t, TwoWay, "A")
	s.agreed("old", "A")
	s.agreed("older", "A")
	s.deleteFolder(one, "A")
	s.add(other, "new", "A")
	s.sync().wantBoth("A: new")
	s.wantFolder(Server, "A", true)
	s.wantFolder(Maildir, "A", true)
}

func folderRenamed(t *testing.T, one, other Side) {
	t.Run("renamed, its children too", func(t *testing.T) {
		s := newScene(t, TwoWay, "A", "A/x", "A/x/y")
		s.agreed("a", "A")
		s.agreed("x", "A/x")
		s.agreed("y", "A/x/y")
		s.renameFolder(one, "A", "Z")
		s.flag(other, "a", `\Seen`)
		s.add(other, "new", "A/x")
		s.delete(other, "y")
		if ops := Folders(s.w.answerFolders(s.w.folderInput())); len(ops) != 1 || ops[0].Kind != RenameFolder || ops[0].Side != other {
			t.Errorf("want one rename, got %+v", ops)
		}
		s.sync().wantBoth(`Z: a[\Seen]; Z/x: new x`)
		s.wantFolder(Server, "A", false)
		s.wantFolder(Maildir, "A", false)
		s.wantFolder(Server, "Z/x/y", true)
		s.wantFolder(Maildir, "Z/x/y", true)
	})
	t.Run("both renamed: the server's name", func(t *testing.T) {
		s := newScene(t, TwoWay, "A")
		s.agreed("a", "A")
		s.renameFolder(Server, "A", "S")
		s.renameFolder(Maildir, "A", "M")
		s.sync().wantBoth("S: a")
		s.wantFolder(Maildir, "M", false)
	})
	t.Run("both renamed to the same", func(t *testing.T) {
		s := newScene(t, TwoWay, "A", "A/x")
		s.agreed("a", "A")
		s.agreed("x", "A/x")
		s.renameFolder(Server, "A", "S")
		s.renameFolder(Maildir, "A", "S")
		s.sync().wantBoth("S: a; S/x: x")
	})
	t.Run("renamed and deleted: it lives on under its new name", func(t *testing.T) {
		s := newScene(t, TwoWay, "A")
		s.agreed("a", "A")
		s.renameFolder(one, "A", "Z")
		s.deleteFolder(other, "A")
		s.sync().wantBoth("Z: a")
	})
}

func validityChanged(t *testing.T, one, _ Side) {
	build := func() *scene {
		s := newScene(t, TwoWay, "A")
		for _, letter := range []string{"a", "b", "c", "d"} {
			s.agreed(letter, "INBOX", `\Seen`)
		}
		return s
	}
	renumber := func(s *scene) {
		f := s.w.mailbox("INBOX")
		f.validity = s.w.number()
		for i := range f.messages {
			f.messages[i].uid = mail.UID(len(f.messages) - i) // the same numbers, for other messages
		}
		f.next = mail.UID(len(f.messages) + 1)
	}
	t.Run("paired again by content", func(t *testing.T) {
		s := build()
		renumber(s)
		p := s.plan()
		s.wantNoTransfer(p)
		if kinds(p) != "rebind 4" {
			t.Errorf("planned %s", kinds(p))
		}
		s.sync().wantBoth(`INBOX: a[\Seen] b[\Seen] c[\Seen] d[\Seen]`)
	})
	t.Run("the flags' base is kept", func(t *testing.T) {
		s := build()
		renumber(s)
		s.flag(one, "a")
		s.flag(otherSide(one), "a", `\Seen`, "Work")
		s.sync().wantBoth(`INBOX: a[Work] b[\Seen] c[\Seen] d[\Seen]`)
	})
	t.Run("gone on the server meanwhile: stored again", func(t *testing.T) {
		s := build()
		s.delete(Server, "b")
		renumber(s)
		s.sync().wantBoth(`INBOX: a[\Seen] b[\Seen] c[\Seen] d[\Seen]`)
	})
	t.Run("the new mailbox is empty: nothing is deleted", func(t *testing.T) {
		s := build()
		for _, letter := range []string{"a", "b", "c", "d"} {
			s.delete(Server, letter)
		}
		renumber(s)
		s.sync().wantBoth(`INBOX: a[\Seen] b[\Seen] c[\Seen] d[\Seen]`)
	})
	t.Run("moved meanwhile", func(t *testing.T) {
		s := build()
		s.move(one, "c", "A")
		renumber(s)
		s.wantNoTransfer(s.plan())
		s.sync().wantBoth(`A: c[\Seen]; INBOX: a[\Seen] b[\Seen] d[\Seen]`)
	})
	t.Run("deleted in the Maildir meanwhile", func(t *testing.T) {
		s := build()
		s.delete(Maildir, "a")
		renumber(s)
		s.sync().wantBoth(`INBOX: b[\Seen] c[\Seen] d[\Seen]`)
	})
	t.Run("the server counts sizes differently now", func(t *testing.T) {
		s := build()
		renumber(s)
		for i := range s.w.rows {
			s.w.rows[i].RemoteSize += 7
		}
		s.wantNoTransfer(s.plan())
		s.sync().wantBoth(`INBOX: a[\Seen] b[\Seen] c[\Seen] d[\Seen]`)
	})
}

func TestTwoAlikeAreTwo(t *testing.T) {
	bothSides(t, func(t *testing.T, one, other Side) {
		s := newScene(t, TwoWay, "A")
		s.add(one, "a", "INBOX")
		s.add(one, "a", "INBOX")
		s.add(one, "a", "INBOX")
		s.add(other, "a", "INBOX")
		s.sync().wantBoth("INBOX: a a a")
		s.delete(other, "a")
		s.sync().wantBoth("INBOX: a a")
		s.move(one, "a", "A")
		s.wantNoTransfer(s.plan())
		s.sync().wantBoth("A: a; INBOX: a")
	})
}
