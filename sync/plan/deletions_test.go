package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

// The section "Deletions", rule by rule.

func TestTrash(t *testing.T) {
	t.Run("a message deleted in the Maildir is moved to the trash on the server, and so appears in it locally", func(t *testing.T) {
		for _, mode := range []Mode{TwoWay, Push} {
			s := newScene(t, mode)
			s.w.policy.Trash = "Trash" // created if missing
			s.agreed("a", "INBOX")
			s.agreed("b", "INBOX")
			s.delete(Maildir, "a")
			s.sync().want(Server, "INBOX: b; Trash: a")
			if mode == TwoWay {
				s.want(Maildir, "INBOX: b; Trash: a")
			}
		}
	})
	t.Run("deleting inside it is final", func(t *testing.T) {
		s := newScene(t, TwoWay, "Trash", "Trash/old")
		s.w.policy.Trash = "Trash"
		s.agreed("a", "Trash")
		s.agreed("b", "Trash/old")
		s.delete(Maildir, "a")
		s.delete(Maildir, "b")
		s.sync().wantBoth("")
	})
	t.Run("moving a message to the trash is a move", func(t *testing.T) {
		s := newScene(t, TwoWay, "Trash")
		s.w.policy.Trash = "Trash"
		s.agreed("a", "INBOX")
		s.move(Maildir, "a", "Trash")
		if p := s.plan(); kinds(p) != "move server 1" || p.Ops[0].Trash {
			t.Errorf("planned %s", showOps(p.Ops))
		}
	})
	t.Run("messages deleted on the server are simply deleted", func(t *testing.T) {
		s := newScene(t, TwoWay, "Trash")
		s.w.policy.Trash = "Trash"
		s.agreed("a", "INBOX")
		s.delete(Server, "a")
		s.sync().wantBoth("")
	})
	t.Run("the messages of a folder deleted in the Maildir go to the trash", func(t *testing.T) {
		s := newScene(t, TwoWay, "A")
		s.w.policy.Trash = "Trash"
		s.agreed("a", "A")
		s.deleteFolder(Maildir, "A")
		s.sync().wantBoth("Trash: a")
		s.wantFolder(Server, "A", false)
	})
	t.Run("a trash folder that the server can't have holds the deletion", func(t *testing.T) {
		s := newScene(t, TwoWay)
		s.w.policy.Trash = "Trash"
		s.agreed("a", "INBOX")
		s.delete(Maildir, "a")
		in := s.w.input()
		in.Folders = append(in.Folders, Folder{Name: "Trash"})
		if p := Make(in); kinds(p) != "hold server 1" || len(p.Held) != 0 {
			t.Errorf("planned %s", showOps(p.Ops))
		}
	})
}

func TestExpunge(t *testing.T) {
	for _, c := range []struct {
		mode    Mode
		on      bool
		removed bool
	}{{TwoWay, false, false}, {TwoWay, true, true}, {Pull, true, false}, {Push, true, false}, {Archive, true, false}} {
		t.Run(fmt.Sprintf("%s, expunge %v: removed on both sides %v", c.mode, c.on, c.removed), func(t *testing.T) {
			bothSides(t, func(t *testing.T, one, _ Side) {
				s := newScene(t, c.mode)
				s.w.policy.Expunge = c.on
				s.agreed("a", "INBOX")
				s.agreed("b", "INBOX")
				s.flag(one, "a", `\Deleted`)
				s.sync()
				if got := !strings.Contains(s.show(Server), "a") && !strings.Contains(s.show(Maildir), "a"); got != c.removed {
					t.Errorf("server %q, Maildir %q", s.show(Server), s.show(Maildir))
				}
			})
		})
	}
	t.Run("a mark that one side takes off is no reason", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, _ Side) {
			s := newScene(t, TwoWay)
			s.w.policy.Expunge = true
			s.agreed("a", "INBOX", `\Deleted`)
			s.flag(one, "a", `\Seen`)
			s.sync().wantBoth(`INBOX: a[\Seen]`)
		})
	})
	t.Run("the server's half goes first", func(t *testing.T) {
		s := newScene(t, TwoWay)
		s.w.policy.Expunge = true
		s.agreed("a", "INBOX")
		s.flag(Server, "a", `\Deleted`)
		if p := s.plan(); kinds(p) != "delete server 1, delete maildir 1" {
			t.Errorf("planned %s", showOps(p.Ops))
		}
		if _, err := s.w.run(runOptions{stop: 1}); err != nil {
			t.Fatal(err)
		}
		s.want(Maildir, "INBOX: a")
		s.sync().wantBoth("")
	})
	t.Run("a mark can be taken back where it was", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, _ Side) {
			s := newScene(t, TwoWay)
			s.w.policy.Expunge = true
			s.agreed("a", "INBOX")
			s.flag(one, "a", `\Deleted`)
			for _, op := range s.plan().Ops {
				if op.MarkTakenBack(mail.NewFlags(`\Seen`)) != (op.Side == one) || op.MarkTakenBack(mail.NewFlags(`\Deleted`)) {
					t.Errorf("%s", showOps([]Op{op}))
				}
			}
		})
	})
	t.Run("it is guarded", func(t *testing.T) {
		s := newScene(t, TwoWay)
		s.w.policy.Expunge = true
		s.w.policy.Guard = Guard{ByCount: true, Count: 1}
		s.agreed("a", "INBOX", `\Deleted`)
		s.agreed("b", "INBOX", `\Deleted`)
		for _, op := range s.plan().Ops {
			if op.Kind != Hold {
				t.Errorf("planned %s", showOps([]Op{op}))
			}
		}
		s.sync()
		s.w.policy.Guard.Count = 9 // what was held stays so
		if p := s.plan(); len(p.Ops) != 0 || p.Held["INBOX"] != 2 || p.HeldWhy == "" {
			t.Errorf("planned %s, held %v %q", showOps(p.Ops), p.Held, p.HeldWhy)
		}
		s.w.policy.RestoreHeld = true
		s.sync().wantBoth("INBOX: a b")
	})
}

func TestGuard(t *testing.T) {
	share := Guard{ByShare: true, Share: 0.5}
	for _, c := range []struct {
		rule          string
		guard         Guard
		total, delete int
		held          int
	}{
		{"off", Guard{}, 20, 20, 0},
		{"a share: up to 10 messages always go", share, 10, 10, 0},
		{"a share: more than 10 and more than the share", share, 20, 11, 11},
		{"a share: more than 10, but not more than the share", share, 22, 11, 0},
		{"a share: more than 10 and one more than the share", share, 22, 12, 12},
		{"a count: not more than it", Guard{ByCount: true, Count: 5}, 20, 5, 0},
		{"a count: more than it", Guard{ByCount: true, Count: 5}, 20, 6, 6},
		{"a count of none", Guard{ByCount: true}, 20, 1, 1},
	} {
		t.Run(c.rule, func(t *testing.T) {
			bothSides(t, func(t *testing.T, one, other Side) {
				s := newScene(t, TwoWay, "A")
				s.w.policy.Guard = c.guard
				s.many(c.total, "A")
				for i := range c.delete {
					s.delete(one, fmt.Sprintf("A%d", i))
				}
				p := s.plan()
				if p.Held["A"] != c.held || (p.HeldWhy != "") != (c.held > 0) {
					t.Errorf("held %v (%s), want %d", p.Held, p.HeldWhy, c.held)
				}
				want := fmt.Sprintf("delete %s %d", other, c.delete)
				if c.held > 0 {
					want = fmt.Sprintf("hold %s %d", other, c.held)
				}
				if kinds(p) != want {
					t.Errorf("planned %s, want %s", kinds(p), want)
				}
			})
		})
	}

	t.Run("what was removed before counts, on its side", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, other Side) {
			for before, wantHeld := range map[int]int{5: 0, 10: 1} {
				s := newScene(t, TwoWay, "A")
				s.w.policy.Guard = share
				s.many(8, "A") // of 8 and those before, one more goes
				s.delete(one, "A0")
				in, err := s.w.answer(s.w.input())
				if err != nil {
					t.Fatal(err)
				}
				in.Removed = []Removed{{Side: other, Folder: "A", Messages: before}, {Side: one, Folder: "A", Messages: 100}}
				if p := Make(in); p.Held["A"] != wantHeld {
					t.Errorf("after %d removals: held %v (%s), want %d", before, p.Held, p.HeldWhy, wantHeld)
				}
			}
		})
	})
	t.Run("each reason is told", func(t *testing.T) {
		s := newScene(t, TwoWay, "A", "B", "C")
		s.w.policy.Guard = share
		s.many(12, "A")
		s.many(40, "B")
		s.many(12, "C")
		for i := range 12 {
			s.delete(Maildir, fmt.Sprintf("A%d", i))
			s.delete(Server, fmt.Sprintf("C%d", i))
		}
		want := "12 of the 12 messages in A would be deleted on the server; the limit is 50%; also 12 of the 12 messages in C would be deleted in the Maildir; the limit is 50%"
		if p := s.plan(); p.HeldWhy != want {
			t.Errorf("%s", p.HeldWhy)
		}
	})
	t.Run("over the account", func(t *testing.T) {
		s := newScene(t, TwoWay, "A", "B", "C")
		s.w.policy.Guard = Guard{ByShare: true, Share: 0.3}
		s.many(10, "A")
		s.many(10, "B")
		s.many(10, "C")
		for _, f := range []string{"A", "B"} { // 5 of 10 is let pass in each folder
			for i := range 5 {
				s.delete(Server, fmt.Sprintf("%s%d", f, i))
			}
		}
		if p := s.plan(); kinds(p) != "delete maildir 10" {
			t.Errorf("planned %s", kinds(p))
		}
		s.delete(Server, "C0")
		if p := s.plan(); kinds(p) != "hold maildir 11" || p.Held["A"] != 5 || p.Held["B"] != 5 || p.Held["C"] != 1 {
			t.Errorf("planned %s, held %v", kinds(p), p.Held)
		}
	})
	t.Run("per folder: another folder's deletions are carried out", func(t *testing.T) {
		s := newScene(t, TwoWay, "A", "B")
		s.w.policy.Guard = Guard{ByShare: true, Share: 0.5}
		s.many(12, "A")
		s.many(30, "B")
		for i := range 12 {
			s.delete(Maildir, fmt.Sprintf("A%d", i))
		}
		s.delete(Maildir, "B0")
		if p := s.plan(); kinds(p) != "delete server 1, hold server 12" {
			t.Errorf("planned %s", kinds(p))
		}
	})
	t.Run("each side is counted on its own", func(t *testing.T) {
		s := newScene(t, TwoWay)
		s.w.policy.Guard = Guard{ByCount: true, Count: 2}
		s.many(10, "INBOX")
		for i := range 2 {
			s.delete(Server, fmt.Sprintf("INBOX%d", i))
		}
		for i := range 2 {
			s.delete(Maildir, fmt.Sprintf("INBOX%d", 5+i))
		}
		if p := s.plan(); len(p.Held) != 0 {
			t.Errorf("held %v", p.Held)
		}
	})
	t.Run("recognised moves and renames are no deletions", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, _ Side) {
			s := newScene(t, TwoWay, "A", "B")
			s.w.policy.Guard = Guard{ByCount: true}
			s.many(15, "A")
			s.many(15, "B")
			for i := range 15 {
				s.move(one, fmt.Sprintf("A%d", i), "B")
			}
			s.renameFolder(one, "B", "C")
			if p := s.sync().plan(); len(p.Held) != 0 {
				t.Errorf("held %v", p.Held)
			}
			if a, b := s.show(Server), s.show(Maildir); a != b || strings.Contains(a, "A:") || strings.Contains(a, "B:") {
				t.Errorf("server %q, Maildir %q", a, b)
			}
		})
	})
	t.Run("a vanished folder is the deletion of its messages", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, other Side) {
			s := newScene(t, TwoWay, "A")
			s.w.policy.Guard = Guard{ByShare: true, Share: 0.5}
			s.many(12, "A")
			s.deleteFolder(one, "A")
			s.sync().wantFolder(other, "A", true)
			if p := s.plan(); p.Held["A"] != 12 {
				t.Errorf("held %v", p.Held)
			}
			s.w.policy.AllowDeletes = true
			s.sync().wantBoth("")
			s.wantFolder(other, "A", false)
		})
	})
	t.Run("trash moves count", func(t *testing.T) {
		s := newScene(t, TwoWay)
		s.w.policy.Guard, s.w.policy.Trash = Guard{ByCount: true}, "Trash"
		s.agreed("a", "INBOX")
		s.delete(Maildir, "a")
		if p := s.plan(); kinds(p) != "hold server 1" {
			t.Errorf("planned %s", kinds(p))
		}
	})
}

func TestHeldDeletions(t *testing.T) {
	build := func(t *testing.T, mode Mode, one Side) *scene {
		s := newScene(t, mode)
		s.w.policy.Guard = Guard{ByCount: true, Count: 1}
		for _, m := range []string{"a", "b", "c"} {
			s.agreed(m, "INBOX", `\Seen`)
		}
		s.delete(one, "a")
		s.delete(one, "b")
		s.sync()
		return s
	}
	t.Run("held deletions are neither carried out nor taken back; each run says so", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, other Side) {
			s := build(t, TwoWay, one)
			for range 3 {
				s.sync().want(one, `INBOX: c[\Seen]`)
				s.want(other, `INBOX: a[\Seen] b[\Seen] c[\Seen]`)
				if p := s.plan(); p.Held["INBOX"] != 2 || p.HeldWhy == "" {
					t.Errorf("held %v %q", p.Held, p.HeldWhy)
				}
				s.w.policy.Guard.Count += 5 // as if others had come, or been brought back, or were not looked at
			}
			s.w.policy.AllowDeletes = true
			s.sync().wantBoth(`INBOX: c[\Seen]`)
		})
	})
	t.Run("what came back after it was held, and goes again, counts anew", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, other Side) {
			s := build(t, TwoWay, one)
			s.w.policy.RestoreHeld = true
			s.sync().wantBoth(`INBOX: a[\Seen] b[\Seen] c[\Seen]`)
			s.w.policy.RestoreHeld = false
			s.delete(one, "a")
			s.sync().wantBoth(`INBOX: b[\Seen] c[\Seen]`)
		})
	})
	t.Run("those of earlier runs count again", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, _ Side) {
			s := build(t, TwoWay, one)
			s.delete(one, "c")
			if p := s.plan(); p.Held["INBOX"] != 3 {
				t.Errorf("held %v", p.Held)
			}
		})
	})
	t.Run("--allow-deletes carries them out", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, _ Side) {
			s := build(t, TwoWay, one)
			s.w.policy.AllowDeletes = true
			s.sync().wantBoth(`INBOX: c[\Seen]`)
			if len(s.plan().Held) != 0 {
				t.Error("still held")
			}
		})
	})
	t.Run("--restore-held brings them back, and new ones that would be held", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, _ Side) {
			s := build(t, TwoWay, one)
			s.delete(one, "c")
			s.w.policy.RestoreHeld = true
			s.sync().wantBoth(`INBOX: a[\Seen] b[\Seen] c[\Seen]`)
			s.w.policy.RestoreHeld = false
			if p := s.plan(); len(p.Held) != 0 || len(p.Ops) != 0 {
				t.Errorf("planned %s", showOps(p.Ops))
			}
		})
	})
	t.Run("--restore-held, with expunge, brings them back without their marks, or they would go again at once", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, other Side) {
			s := build(t, TwoWay, one)
			s.w.policy.Expunge = true
			s.flag(other, "a", `\Seen`, `\Deleted`)
			s.w.policy.RestoreHeld = true
			s.sync().wantBoth(`INBOX: a[\Seen] b[\Seen] c[\Seen]`)
			s.w.policy.RestoreHeld = false
			if p := s.plan(); len(p.Held) != 0 || len(p.Ops) != 0 {
				t.Errorf("planned %s", showOps(p.Ops))
			}
		})
	})
	t.Run("--restore-held counts what comes back with its folder", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, other Side) {
			s := newScene(t, TwoWay, "A")
			s.w.policy.Guard, s.w.policy.Expunge = Guard{ByCount: true, Count: 1}, true
			s.agreed("a", "A")
			s.agreed("b", "A")
			s.agreed("c", "INBOX")
			s.delete(one, "a")
			s.delete(one, "b")
			s.sync()
			s.flag(one, "c", `\Deleted`)
			s.sync()
			s.w.policy.RestoreHeld = true
			in := s.w.input()
			for _, p := range in.Pairs { // the folder is another one
				switch {
				case p.LocalHeld:
					p.Local = Lost
				case p.RemoteHeld:
					p.Remote = Lost
				}
			}
			for _, op := range Make(in).Ops {
				if op.Kind == Delete {
					t.Errorf("planned %s", showOps([]Op{op}))
				}
			}
		})
	})
	t.Run("--restore-held lets pass what the guard lets pass", func(t *testing.T) {
		s := newScene(t, TwoWay)
		s.w.policy.Guard, s.w.policy.RestoreHeld = Guard{ByCount: true, Count: 1}, true
		s.agreed("a", "INBOX")
		s.delete(Server, "a")
		s.sync().wantBoth("")
	})
	t.Run("gone on the other side too: nothing to hold", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, other Side) {
			s := build(t, TwoWay, one)
			s.delete(other, "a")
			s.delete(other, "b")
			s.sync().wantBoth(`INBOX: c[\Seen]`)
			if len(s.w.rows) != 1 {
				t.Errorf("rows: %v", s.w.rows)
			}
		})
	})
	t.Run("moved meanwhile: the UID that is gone does not follow into the new folder", func(t *testing.T) {
		s := newScene(t, Pull, "A")
		s.w.policy.Guard = Guard{ByCount: true}
		s.agreed("a", "INBOX")
		s.agreed("b", "A") // both have UID 1
		s.delete(Server, "a")
		s.move(Maildir, "a", "A")
		if p := s.plan(); kinds(p) != "rebind 1, hold maildir 1" || p.Ops[0].Folder != "A" || p.Ops[0].UID != 0 {
			t.Errorf("planned %s", showOps(p.Ops))
		}
		s.sync().want(Maildir, "A: a b")
		if p := s.plan(); p.Held["A"] != 1 {
			t.Errorf("held %v", p.Held)
		}
	})
	t.Run("back again: found again", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, _ Side) {
			s := build(t, TwoWay, one)
			s.add(one, "a", "INBOX", `\Seen`)
			s.add(one, "b", "INBOX", `\Seen`, "New")
			s.wantNoTransfer(s.plan())
			s.sync().wantBoth(`INBOX: a[\Seen] b[\Seen New] c[\Seen]`)
		})
	})
	t.Run("pull: --restore-held never stores on the server; the Maildir keeps them", func(t *testing.T) {
		s := build(t, Pull, Server)
		s.w.policy.RestoreHeld = true
		s.sync().want(Server, `INBOX: c[\Seen]`)
		s.want(Maildir, `INBOX: a[\Seen] b[\Seen] c[\Seen]`)
		s.wantParked("a", Maildir, OneWay)
	})
	t.Run("push: --restore-held brings files back", func(t *testing.T) {
		s := build(t, Push, Maildir)
		s.w.policy.RestoreHeld = true
		s.sync().wantBoth(`INBOX: a[\Seen] b[\Seen] c[\Seen]`)
	})
}

// TestNewUIDBeforeDeletion: a run that stops before the deletion must not leave a UID in the state that is another
// message's under the new UIDVALIDITY.
func TestNewUIDBeforeDeletion(t *testing.T) {
	s := newScene(t, TwoWay)
	s.agreed("a", "INBOX")
	s.agreed("b", "INBOX")
	s.delete(Maildir, "a")
	f := s.w.mailbox("INBOX")
	f.validity = s.w.number()
	f.messages[0].uid, f.messages[1].uid = 2, 1
	p := s.plan()
	if kinds(p) != "rebind 2, delete server 1" {
		t.Fatalf("planned %s", showOps(p.Ops))
	}
	for _, op := range p.Ops[:2] {
		if err := s.w.apply(op); err != nil {
			t.Fatal(err)
		}
	}
	s.w.commitFolders()
	s.sync().wantBoth("INBOX: b")
}

func TestPending(t *testing.T) {
	pair := func(flags mail.Flags) Input {
		return Input{
			Policy:  Policy{Mode: TwoWay, Guard: Guard{ByCount: true}},
			Folders: []Folder{{Name: "A", Target: true, OnServer: true, InMaildir: true, WasOnServer: true, WasInMaildir: true}},
			Pairs: []*Pair{{Base: Base{ID: 1, Folder: "A", UID: 7, Why: Pending, RemoteFlags: mail.SystemFlags(mail.Deleted)},
				Remote: Present, Local: Absent, RemoteNow: flags}},
		}
	}
	t.Run("still marked: removed again, and not counted by the guard", func(t *testing.T) {
		if p := Make(pair(mail.SystemFlags(mail.Deleted))); kinds(p) != "delete server 1" {
			t.Errorf("planned %s", showOps(p.Ops))
		}
	})
	t.Run("the mark is taken back meanwhile: counts, but where only the Maildir does", func(t *testing.T) {
		in := pair(mail.SystemFlags(mail.Deleted))
		for mode, counts := range map[Mode]bool{TwoWay: true, Push: false} {
			in.Policy.Mode = mode
			if p := Make(in); kinds(p) != "delete server 1" || p.Ops[0].MarkTakenBack(mail.Flags{}) != counts {
				t.Errorf("%s: planned %s", mode, showOps(p.Ops))
			}
		}
	})
	t.Run("the mark was taken back: delivered again", func(t *testing.T) {
		if p := Make(pair(mail.Flags{})); kinds(p) != "download maildir 1" || p.Ops[0].Row != 1 {
			t.Errorf("planned %s", showOps(p.Ops))
		}
	})
	t.Run("gone: forgotten", func(t *testing.T) {
		in := pair(mail.Flags{})
		in.Pairs[0].Remote = Gone
		if p := Make(in); kinds(p) != "forget 1" {
			t.Errorf("planned %s", showOps(p.Ops))
		}
	})
	t.Run("never touched where the server must not be changed", func(t *testing.T) {
		in := pair(mail.SystemFlags(mail.Deleted))
		in.Policy.Mode = Archive
		if p := Make(in); len(p.Ops) != 0 {
			t.Errorf("planned %s", showOps(p.Ops))
		}
		in.Policy.Mode, in.Folders[0].RemoteReadOnly = TwoWay, true
		if p := Make(in); len(p.Ops) != 0 {
			t.Errorf("planned %s", showOps(p.Ops))
		}
	})
}

func TestDeletedFolders(t *testing.T) {
	t.Run("deleted on one side: deleted on the other, children first", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, other Side) {
			s := newScene(t, TwoWay, "A", "A/x", "B")
			s.agreed("a", "A")
			s.agreed("x", "A/x")
			s.deleteFolder(one, "A")
			s.deleteFolder(one, "A/x")
			p := s.plan()
			n := len(p.Ops)
			if kinds(p) != fmt.Sprintf("delete %[1]s 2, delete-folder %[1]s 2", other) || p.Ops[n-2].Folder != "A/x" || p.Ops[n-1].Folder != "A" {
				t.Errorf("planned %s", showOps(p.Ops))
			}
			s.sync().wantFolder(other, "A", false)
			s.wantFolder(other, "A/x", false)
			s.wantFolder(other, "B", true)
		})
	})
	t.Run("a parked message keeps it", func(t *testing.T) {
		s := newScene(t, TwoWay, "A")
		s.agreed("a", "A")
		s.add(Server, "big", "A")
		s.w.rows = append(s.w.rows, stateRow{Base: Base{ID: 77, Folder: "A", UID: 2, Why: TooLarge, RemoteSize: 101}})
		s.deleteFolder(Maildir, "A")
		s.sync().want(Server, "A: big")
	})
	t.Run("a message that only the Maildir has keeps it", func(t *testing.T) {
		s := newScene(t, Pull, "A")
		s.add(Maildir, "mine", "A")
		s.deleteFolder(Server, "A")
		if p := s.plan(); kinds(p) != "park maildir 1" {
			t.Errorf("planned %s", showOps(p.Ops))
		}
	})
	t.Run("INBOX is never deleted", func(t *testing.T) {
		s := newScene(t, TwoWay)
		s.agreed("a", "INBOX")
		s.deleteFolder(Maildir, "INBOX")
		s.sync().want(Server, "")
		s.wantFolder(Server, "INBOX", true)
	})
	t.Run("rows that are not in the input keep it", func(t *testing.T) {
		in := Input{Policy: Policy{Mode: TwoWay}, Folders: []Folder{{Name: "A", Target: true, InMaildir: true, WasOnServer: true,
			WasInMaildir: true, Agreed: 3}}}
		if p := Make(in); len(p.Ops) != 0 {
			t.Errorf("planned %s", showOps(p.Ops))
		}
	})
	t.Run("archive never deletes one", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, other Side) {
			s := newScene(t, Archive, "A")
			s.deleteFolder(one, "A")
			s.sync().wantFolder(other, "A", true)
		})
	})
}
