package plan

import (
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

// The section "Modes", rule by rule.

func TestModes(t *testing.T) {
	t.Run("two-way: the server's changes go to the Maildir and the Maildir's to the server", func(t *testing.T) {
		s := newScene(t, TwoWay, "A")
		for _, m := range []string{"flagR", "flagL", "moveR", "moveL", "goneR", "goneL"} {
			s.agreed(m, "INBOX")
		}
		s.flag(Server, "flagR", `\Seen`)
		s.flag(Maildir, "flagL", `\Seen`)
		s.move(Server, "moveR", "A")
		s.move(Maildir, "moveL", "A")
		s.delete(Server, "goneR")
		s.delete(Maildir, "goneL")
		s.add(Server, "newR", "INBOX", `\Answered`)
		s.add(Maildir, "newL", "INBOX", `\Draft`)
		s.sync().wantBoth(`A: moveL moveR; INBOX: flagL[\Seen] flagR[\Seen] newL[\Draft] newR[\Answered]`)
	})

	oneWay := []struct {
		mode          Mode
		master, slave Side
	}{{Pull, Server, Maildir}, {Push, Maildir, Server}}
	for _, c := range oneWay {
		name := string(c.mode) + ": "
		t.Run(name+"changes of the side that counts are carried over", func(t *testing.T) {
			s := newScene(t, c.mode, "A")
			for _, m := range []string{"flag", "move", "gone", "same"} {
				s.agreed(m, "INBOX", "Old")
			}
			s.flag(c.master, "flag", `\Seen`)
			s.move(c.master, "move", "A")
			s.delete(c.master, "gone")
			s.add(c.master, "new", "INBOX", "Work")
			s.sync().wantBoth(`A: move[Old]; INBOX: flag[\Seen] new[Work] same[Old]`)
		})
		t.Run(name+"flags are reset", func(t *testing.T) {
			s := newScene(t, c.mode)
			s.agreed("a", "INBOX", `\Seen`)
			s.flag(c.slave, "a", `\Flagged`)
			s.sync().wantBoth(`INBOX: a[\Seen]`)
			s.flag(c.slave, "a", `\Flagged`)
			s.flag(c.master, "a", "Work")
			s.sync().wantBoth(`INBOX: a[Work]`)
		})
		t.Run(name+"deleted ones are delivered again", func(t *testing.T) {
			s := newScene(t, c.mode, "A")
			s.agreed("a", "INBOX", `\Seen`)
			s.agreed("b", "INBOX")
			s.delete(c.slave, "a")
			s.delete(c.slave, "b")
			s.move(c.master, "b", "A")
			s.sync().wantBoth(`A: b; INBOX: a[\Seen]`)
		})
		t.Run(name+"moves are undone", func(t *testing.T) {
			s := newScene(t, c.mode, "A", "B")
			s.agreed("a", "INBOX")
			s.agreed("b", "INBOX")
			s.agreed("c", "INBOX")
			s.move(c.slave, "a", "A")
			s.move(c.slave, "b", "A")
			s.move(c.master, "b", "B")
			s.move(c.slave, "c", "A")
			s.delete(c.master, "c")
			s.wantTransfers(s.plan(), 0)
			s.sync().wantBoth(`B: b; INBOX: a`)
		})
		t.Run(name+"messages only the other side has stay, untransferred", func(t *testing.T) {
			s := newScene(t, c.mode)
			s.add(c.slave, "mine", "INBOX", `\Seen`)
			s.add(c.master, "theirs", "INBOX")
			s.sync().want(c.master, "INBOX: theirs")
			s.want(c.slave, `INBOX: mine[\Seen] theirs`)
			s.wantParked("mine", c.slave, OneWay)
			s.flag(c.slave, "mine", "Work")
			s.sync().want(c.slave, `INBOX: mine[Work] theirs`)
			s.delete(c.slave, "mine")
			s.sync().wantBoth("INBOX: theirs")
		})
		t.Run(name+"the same message new on both sides gets the flags of the side that counts", func(t *testing.T) {
			s := newScene(t, c.mode)
			s.add(c.master, "a", "INBOX", `\Seen`)
			s.add(c.slave, "a", "INBOX", "Work")
			s.sync().wantBoth(`INBOX: a[\Seen]`)
		})
		t.Run(name+"a folder deleted on the other side comes back, on this side it goes", func(t *testing.T) {
			s := newScene(t, c.mode, "A", "B", "E")
			s.agreed("a", "A")
			s.agreed("b", "B")
			s.deleteFolder(c.slave, "A")
			s.deleteFolder(c.slave, "E")
			s.deleteFolder(c.master, "B")
			s.sync().wantBoth("A: a")
			s.wantFolder(c.slave, "E", true)
			s.wantFolder(c.slave, "B", false)
		})
		t.Run(name+"a folder renamed on the other side is renamed back", func(t *testing.T) {
			s := newScene(t, c.mode, "A", "A/x")
			s.agreed("a", "A")
			s.agreed("x", "A/x")
			s.renameFolder(c.slave, "A", "Z")
			s.wantTransfers(s.plan(), 0) // even if it were not seen to be a rename
			s.sync().wantBoth("A: a; A/x: x")
			s.renameFolder(c.master, "A", "M")
			s.sync().wantBoth("M: a; M/x: x")
		})
		t.Run(name+"nothing changes when nothing changed", func(t *testing.T) {
			s := newScene(t, c.mode)
			s.agreed("a", "INBOX", `\Seen`)
			if p := s.plan(); len(p.Ops) != 0 {
				t.Errorf("planned %s", kinds(p))
			}
		})
		t.Run(name+"a message that was not deleted, only lost, is not removed", func(t *testing.T) {
			s := newScene(t, c.mode)
			s.agreed("a", "INBOX")
			s.delete(Server, "a")
			s.w.mailbox("INBOX").validity = s.w.number()
			s.sync().want(Maildir, "INBOX: a")
			if c.mode == Pull {
				s.want(Server, "")
				s.wantParked("a", Maildir, OneWay)
			} else {
				s.want(Server, "INBOX: a")
			}
		})
	}

	t.Run("pull: what the Maildir could not keep is not put there again, and not lost on the server", func(t *testing.T) {
		s := newScene(t, Pull)
		s.w.maildirDrops = mail.NewFlags("k27")
		s.add(Server, "a", "INBOX", "k27", `\Seen`)
		s.sync().want(Maildir, `INBOX: a[\Seen]`)
		s.flag(Maildir, "a", `\Flagged`)
		s.sync().want(Server, `INBOX: a[\Seen k27]`)
		s.want(Maildir, `INBOX: a[\Seen]`)
	})

	t.Run("archive: new messages, flags and moves", func(t *testing.T) {
		s := newScene(t, Archive, "A")
		s.agreed("flag", "INBOX", "Old")
		s.agreed("move", "INBOX")
		s.flag(Server, "flag", `\Seen`)
		s.move(Server, "move", "A")
		s.add(Server, "new", "INBOX")
		s.sync().wantBoth(`A: move; INBOX: flag[\Seen] new`)
	})
	t.Run("archive: never deletes locally", func(t *testing.T) {
		s := newScene(t, Archive, "A", "B")
		s.agreed("a", "INBOX")
		s.agreed("b", "B")
		s.agreed("c", "INBOX")
		s.delete(Server, "a")
		s.deleteFolder(Server, "B")
		s.delete(Server, "c")
		s.move(Maildir, "c", "A")
		s.sync().want(Maildir, "A: c; B: b; INBOX: a")
		s.wantParked("a", Maildir, OneWay)
		s.want(Server, "")
	})
	t.Run("archive: what the person deletes locally is not delivered again", func(t *testing.T) {
		s := newScene(t, Archive, "A", "B")
		s.agreed("a", "INBOX")
		s.delete(Maildir, "a")
		s.sync().want(Server, "INBOX: a")
		s.want(Maildir, "")
		s.wantParked("a", Server, Dismissed)
		s.move(Server, "a", "A")
		s.sync().want(Maildir, "")
		s.wantParked("a", Server, Dismissed)
		s.w.mailbox("A").validity = s.w.number()
		s.sync().want(Maildir, "")
		s.delete(Server, "a")
		s.sync()
		if len(s.w.rows) != 0 {
			t.Errorf("rows are left: %v", s.w.rows)
		}
	})
	t.Run("archive: never changes the server", func(t *testing.T) {
		s := newScene(t, Archive, "A")
		s.agreed("flag", "INBOX")
		s.agreed("move", "INBOX")
		s.flag(Maildir, "flag", `\Seen`)
		s.move(Maildir, "move", "A")
		s.add(Maildir, "new", "INBOX")
		s.w.createDir("N")
		s.sync().want(Server, "INBOX: flag move")
		s.want(Maildir, `A: move; INBOX: flag[\Seen] new`)
		s.wantParked("move", Server, Dismissed)
		s.wantParked("new", Maildir, OneWay)
		s.wantFolder(Server, "N", false)
		s.flag(Server, "flag", `\Answered`) // the person's own flag stays
		s.sync().want(Maildir, `A: move; INBOX: flag[\Answered \Seen] new`)
	})
}

func TestParkedMessages(t *testing.T) {
	park := func(s *scene, why Why) Input {
		in, err := s.w.answer(s.w.input())
		if err != nil {
			s.t.Fatal(err)
		}
		for i := range in.Remote {
			in.Remote[i].Park = why
		}
		for i := range in.Local {
			in.Local[i].Park = why
		}
		return in
	}
	t.Run("being outside since or max_message_size is never a deletion", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, _ Side) {
			s := newScene(t, TwoWay)
			s.agreed("old", "INBOX")
			s.add(one, "new", "INBOX")
			p := Make(park(s, TooOld))
			if len(p.Ops) != 1 || p.Ops[0].Kind != Park || p.Ops[0].Side != one || p.Ops[0].Why != TooOld {
				t.Errorf("planned %s", showOps(p.Ops))
			}
		})
	})
	t.Run("messages that are too large are paired all the same", func(t *testing.T) {
		s := newScene(t, TwoWay)
		s.add(Server, "big", "INBOX")
		s.add(Maildir, "big", "INBOX")
		if p := Make(park(s, TooLarge)); kinds(p) != "pair 1" {
			t.Errorf("planned %s", showOps(p.Ops))
		}
	})
	t.Run("a retried message keeps its row", func(t *testing.T) {
		s := newScene(t, TwoWay)
		s.add(Server, "a", "INBOX")
		s.w.rows = append(s.w.rows, stateRow{Base: Base{ID: 77, Folder: "INBOX", UID: 1, Why: Refused, RemoteSize: 100}})
		if p := s.plan(); len(p.Ops) != 1 || p.Ops[0].Kind != Download || p.Ops[0].Row != 77 {
			t.Errorf("planned %s", showOps(p.Ops))
		}
	})
	t.Run("gone from the only side that had it: forgotten", func(t *testing.T) {
		s := newScene(t, TwoWay)
		s.w.rows = append(s.w.rows,
			stateRow{Base: Base{ID: 77, Folder: "INBOX", UID: 1, Why: TooLarge, RemoteSize: 100}},
			stateRow{Base: Base{ID: 78, Folder: "INBOX", Name: "x", Why: OneWay, FileSize: 100}})
		if p := s.plan(); kinds(p) != "forget 2" {
			t.Errorf("planned %s", showOps(p.Ops))
		}
	})
	t.Run("a read-only folder is remembered as such, never read back as a removal", func(t *testing.T) {
		s := newScene(t, TwoWay, "RO", "A")
		for _, m := range []string{"flag", "gone", "out", "both"} {
			s.agreed(m, "RO", "Old")
		}
		s.agreed("in", "A")
		s.w.readOnly = "RO"
		s.flag(Maildir, "flag", `\Seen`)
		s.flag(Server, "both", "Old", "New")
		s.flag(Maildir, "both")
		s.delete(Maildir, "gone")
		s.move(Maildir, "out", "A")
		s.move(Maildir, "in", "RO")
		s.add(Maildir, "new", "RO")
		s.sync().want(Server, "A: in out[Old]; RO: both[New Old] flag[Old] gone[Old] out[Old]")
		s.want(Maildir, `A: out[Old]; RO: both[New] flag[\Seen] in new`)
		s.wantParked("gone", Server, ReadOnly)
		s.wantParked("out", Server, ReadOnly)
		s.wantParked("new", Maildir, ReadOnly)
		s.wantParked("in", Maildir, ReadOnly)
		s.wantParked("in", Server, ReadOnly)
	})
}

// wantTransfers checks how many messages a plan brings over.
func (s *scene) wantTransfers(p Plan, want int) {
	s.t.Helper()
	n := 0
	for _, op := range p.Ops {
		if op.Kind == Download || op.Kind == Upload {
			n++
		}
	}
	if n != want {
		s.t.Errorf("%d transfers, want %d:\n%s", n, want, showOps(p.Ops))
	}
}
