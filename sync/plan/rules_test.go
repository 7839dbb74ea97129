package plan

import (
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

func TestMissingFolders(t *testing.T) {
	t.Run("a side that may not get a folder", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, other Side) {
			s := newScene(t, TwoWay)
			s.w.policy.Create = CreateNone
			if one == Server {
				s.w.createMailbox("A")
			} else {
				s.w.createDir("A")
			}
			s.add(one, "a", "A")
			s.sync().want(other, "")
			s.wantParked("a", one, NoFolder)
			s.w.policy.Create = CreateBoth
			s.sync().wantBoth("A: a")
		})
	})
	t.Run("a move to where the other side can't follow is held until it can", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, other Side) {
			s := newScene(t, TwoWay)
			s.w.policy.Create = CreateNone
			s.agreed("a", "INBOX")
			s.move(one, "a", "A")
			s.sync().want(one, "A: a")
			s.want(other, "INBOX: a")
			if p := s.plan(); len(p.Held) != 0 {
				t.Errorf("the guard holds %v", p.Held)
			}
			s.w.policy.Create = CreateBoth
			s.wantTransfers(s.plan(), 0)
			s.sync().wantBoth("A: a")
		})
	})
	t.Run("both moved, and the Maildir can't have the server's folder", func(t *testing.T) {
		s := newScene(t, TwoWay, "B")
		s.w.policy.Create = CreateNone
		s.agreed("a", "INBOX")
		s.move(Server, "a", "A")
		s.move(Maildir, "a", "B")
		s.sync().want(Server, "A: a")
		s.want(Maildir, "B: a")
		s.w.policy.Create = CreateBoth
		s.sync().wantBoth("A: a")
	})
}

func TestUnreadableMessages(t *testing.T) {
	t.Run("a moved file that can't be read holds its row", func(t *testing.T) {
		s := newScene(t, TwoWay, "A")
		s.w.policy.Guard = Guard{ByCount: true, Count: 5}
		s.agreed("a", "INBOX")
		s.move(Maildir, "a", "A")
		s.w.unreadable[s.content("a")] = true
		s.sync().want(Server, "INBOX: a")
		if p := s.plan(); len(p.Held) != 0 {
			t.Errorf("the guard holds %v", p.Held)
		}
		clear(s.w.unreadable)
		s.wantTransfers(s.plan(), 0)
		s.sync().wantBoth("A: a")
	})
	t.Run("a moved message that the server does not give holds its row", func(t *testing.T) {
		s := newScene(t, TwoWay, "A")
		s.agreed("a", "INBOX")
		s.move(Server, "a", "A")
		s.w.unreadable[s.content("a")] = true
		s.sync().want(Maildir, "INBOX: a")
		clear(s.w.unreadable)
		s.wantTransfers(s.plan(), 0)
		s.sync().wantBoth("A: a")
	})
	t.Run("a new file that can't be read is parked", func(t *testing.T) {
		s := newScene(t, TwoWay)
		s.add(Server, "a", "INBOX")
		s.add(Maildir, "b", "INBOX")
		s.w.unreadable[s.content("b")] = true
		if _, err := s.w.run(runOptions{stop: -1}); err != nil {
			t.Fatal(err)
		}
		s.want(Server, "INBOX: a")
		s.wantParked("b", Maildir, Unreadable)
		clear(s.w.unreadable)
		s.sync().wantBoth("INBOX: a b")
	})
	t.Run("what was asked and not answered counts as unknowable", func(t *testing.T) {
		s := newScene(t, TwoWay, "A")
		s.agreed("a", "INBOX")
		s.move(Server, "a", "A")
		if p := Make(s.w.input()); kinds(p) != "park server 1, hold maildir 1" {
			t.Errorf("planned %s", showOps(p.Ops))
		}
	})
}

func TestTargets(t *testing.T) {
	// Only A is a target.
	input := func(s *scene) Input {
		in, err := s.w.answer(s.w.input())
		if err != nil {
			s.t.Fatal(err)
		}
		for i := range in.Folders {
			in.Folders[i].Target = in.Folders[i].Name == "A"
		}
		return in
	}
	s := newScene(t, TwoWay, "A", "B", "C")
	s.agreed("out", "A")
	s.agreed("in", "B")
	s.agreed("flagA", "A")
	s.agreed("flagB", "B")
	s.agreed("goneB", "B")
	s.agreed("elsewhere", "B")
	s.move(Server, "out", "B")
	s.move(Maildir, "in", "A")
	s.move(Server, "elsewhere", "C")
	s.flag(Server, "flagA", `\Seen`)
	s.flag(Server, "flagB", `\Seen`)
	s.delete(Maildir, "goneB")
	s.add(Server, "newA", "A")
	s.add(Server, "newB", "B")
	s.add(Maildir, "newB2", "B")
	p := Make(input(s))
	if got := kinds(p); got != "download maildir 1, move server 1, move maildir 1, flags maildir 1" {
		t.Errorf("planned %s:\n%s", got, showOps(p.Ops))
	}
	for _, op := range p.Ops {
		if op.Folder != "A" && op.From != "A" {
			t.Errorf("no end of it is a target: %s", showOps([]Op{op}))
		}
	}
}

func TestQuestionsAreFew(t *testing.T) {
	t.Run("none when nothing disappeared and only one side has something new", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, _ Side) {
			s := newScene(t, TwoWay)
			s.agreed("a", "INBOX")
			s.add(one, "b", "INBOX")
			if q := Questions(s.w.input()); len(q) != 0 {
				t.Errorf("asked %v", q)
			}
		})
	})
	t.Run("none when new messages are in different folders", func(t *testing.T) {
		s := newScene(t, TwoWay, "A")
		s.add(Server, "a", "INBOX")
		s.add(Maildir, "b", "A")
		if q := Questions(s.w.input()); len(q) != 0 {
			t.Errorf("asked %v", q)
		}
	})
	t.Run("a move needs one header or one file", func(t *testing.T) {
		s := newScene(t, TwoWay, "A")
		s.agreed("a", "INBOX")
		s.agreed("b", "INBOX")
		s.add(Server, "new", "A")
		s.move(Server, "a", "A")
		s.move(Maildir, "b", "A")
		q := Questions(s.w.input())
		if len(q) != 2 || q[0].Side != Maildir || q[1].Side != Server || q[1].Whole {
			t.Errorf("asked %v", q)
		}
	})
	t.Run("a message that is not the same size is not asked for", func(t *testing.T) {
		s := newScene(t, TwoWay, "A")
		s.agreed("a", "INBOX")
		s.delete(Server, "a")
		s.add(Server, "b", "A")
		if q := Questions(s.w.input()); len(q) != 0 {
			t.Errorf("asked %v", q)
		}
	})
	t.Run("without Message-ID the content decides", func(t *testing.T) {
		s := newScene(t, TwoWay, "A")
		s.agreed("a", "INBOX")
		s.w.contents[0].mid, s.w.rows[0].HasMessageID = false, false
		s.move(Server, "a", "A")
		in := s.w.input()
		s.w.answerOne(in, Questions(in)[0])
		if q := Questions(in); len(q) != 1 || !q[0].Whole {
			t.Errorf("asked %v", q)
		}
		s.wantNoTransfer(s.plan())
	})
	t.Run("a draft's header does not tell", func(t *testing.T) {
		s := newScene(t, TwoWay)
		s.agreed("first", "INBOX", `\Draft`)
		s.delete(Server, "first")
		s.add(Server, "second", "INBOX", `\Draft`)
		s.w.contents[1] = s.w.contents[0] // saved again with the same header and size
		s.sync().wantBoth(`INBOX: second[\Draft]`)
	})
	t.Run("where several have one header the content decides, however alike they are", func(t *testing.T) {
		s := newScene(t, TwoWay)
		s.content("a")
		s.content("b")
		s.w.contents[1] = s.w.contents[0] // Message-ID, header and size are the same
		s.add(Server, "a", "INBOX")
		s.add(Server, "b", "INBOX")
		s.add(Maildir, "b", "INBOX")
		s.add(Maildir, "a", "INBOX")
		s.wantNoTransfer(s.plan())
		s.sync().wantBoth("INBOX: a b")
	})
	t.Run("EMAILID nominates where sizes differ", func(t *testing.T) {
		s := newScene(t, TwoWay, "A")
		s.agreed("a", "INBOX")
		s.w.rows[0].EmailID, s.w.rows[0].RemoteSize = "M1", 12345
		s.move(Server, "a", "A")
		in := s.w.input()
		in.Remote[0].EmailID = "M1"
		in, err := s.w.answer(in)
		if p := Make(in); err != nil || kinds(p) != "move maildir 1" {
			t.Errorf("planned %s, %v", showOps(p.Ops), err)
		}
	})
	t.Run("a server that counts bytes differently: paired by header and content", func(t *testing.T) {
		s := newScene(t, TwoWay)
		s.add(Server, "a", "INBOX")
		s.add(Maildir, "a", "INBOX")
		in := s.w.input()
		in.Remote[0].Size += 3
		in, err := s.w.answer(in)
		if p := Make(in); err != nil || kinds(p) != "pair 1" {
			t.Errorf("planned %s, %v", showOps(p.Ops), err)
		}
	})
}

func TestTwinsAreMatchedByTheirDates(t *testing.T) {
	c := mail.Content{Size: 10, Digest: digestOf('d', 1), Header: digestOf('h', 1), HasMessageID: true}
	day := func(n int) time.Time { return time.Unix(int64(n)*86400, 0) }
	in := Input{Policy: Policy{Mode: TwoWay}, Folders: []Folder{{Name: "A", Target: true, OnServer: true, InMaildir: true}}}
	for i := range 3 {
		h := Header{Digest: c.Header, HasMessageID: true}
		in.Remote = append(in.Remote, RemoteMessage{Folder: "A", UID: mail.UID(i + 1), Size: 10, Date: day(i), Header: &h, Digest: &c.Digest})
		in.Local = append(in.Local, LocalMessage{Folder: "A", Name: string(rune('c' - i)), FileSize: 10, Date: day(i), Content: &c})
	}
	for _, op := range Make(in).Ops {
		if op.Kind != Pairing || op.Name != string(rune('c'-int(op.UID)+1)) {
			t.Errorf("planned %s", showOps([]Op{op}))
		}
	}
}

// TestFlagsThatASideCantKeep: the 27th keyword, a flag that PERMANENTFLAGS lacks.
func TestFlagsThatASideCantKeep(t *testing.T) {
	bothSides(t, func(t *testing.T, one, other Side) {
		s := newScene(t, TwoWay, "A")
		if other == Maildir {
			s.w.maildirDrops = mail.NewFlags("Odd")
		} else {
			s.w.serverDrops = mail.NewFlags("Odd")
		}
		s.add(one, "a", "INBOX", "Odd", `\Seen`)
		s.sync().want(one, `INBOX: a[\Seen Odd]`)
		s.want(other, `INBOX: a[\Seen]`)
		s.flag(other, "a", `\Flagged`)
		s.move(other, "a", "A")
		s.sync().want(one, `A: a[\Flagged Odd]`)
		s.want(other, `A: a[\Flagged]`)
		s.flag(one, "a") // taken off where it was
		s.sync().wantBoth("A: a")
	})
}
