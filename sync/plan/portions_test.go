package plan

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/satchel-mail/satchel/internal/mail"
)

// manyNew is an input with n new messages on the server in each folder, and nothing else.
func manyNew(n int, folders ...mail.FolderName) Input {
	in := Input{Policy: Policy{Mode: TwoWay, Create: CreateBoth}}
	for _, f := range folders {
		in.Folders = append(in.Folders, Folder{Name: f, OnServer: true, CanCreate: true, Target: true})
		for u := range n {
			in.Remote = append(in.Remote, RemoteMessage{Folder: f, UID: mail.UID(u + 1), Size: int64(u % 100)})
		}
	}
	return in
}

func TestPortionsAreThePlanInPieces(t *testing.T) {
	in := manyNew(portionOfFolder+700, "Archive", "INBOX", "Lists", "Sent", "Old")
	var pieces []Op
	last := map[mail.FolderName]mail.UID{}
	n := 0
	for p := range Portions(in) {
		n++
		if len(p.Ops) > portionMessages {
			t.Errorf("portion %d has %d operations", n, len(p.Ops))
		}
		lowest := map[mail.FolderName]mail.UID{}
		for _, op := range p.Ops {
			if before, ok := last[op.Folder]; ok && op.UID >= before {
				t.Fatalf("%s: UID %d comes after %d", op.Folder, op.UID, before)
			}
			if low, ok := lowest[op.Folder]; !ok || op.UID < low {
				lowest[op.Folder] = op.UID
			}
		}
		for f, uid := range lowest {
			last[f] = uid
		}
		if n == 1 && p.Ops[0].Folder != mail.Inbox {
			t.Errorf("the first portion begins with %s", p.Ops[0].Folder)
		}
		pieces = append(pieces, p.Ops...)
	}
	if n < 2 {
		t.Fatalf("%d portions", n)
	}
	slices.SortStableFunc(pieces, compareOps)
	if diff := cmp.Diff(Make(in).Ops, pieces, cmp.AllowUnexported(mail.Flags{})); diff != "" {
		t.Errorf("the portions are not the plan (-Make +Portions):\n%s", diff[:min(len(diff), 2000)])
	}
}

// bothHave is a message that both sides have, as change says.
func bothHave(id int, change func(*Pair)) *Pair {
	p := &Pair{Base: Base{ID: int64(id), Folder: "INBOX", UID: mail.UID(9_000_000 + id), Name: fmt.Sprintf("n%d", id)}}
	change(p)
	return p
}

// TestPortionsOfFlags: so do the flags of many messages, after what is new.
func TestPortionsOfFlags(t *testing.T) {
	for _, mode := range []Mode{TwoWay, Pull, Push, Archive} {
		in := manyNew(portionOfFolder+3, "INBOX", "Archive")
		in.Policy.Mode = mode
		for i := range in.Folders {
			in.Folders[i].InMaildir, in.Folders[i].WasInMaildir, in.Folders[i].WasOnServer = true, true, true
		}
		seen, flagged := mail.SystemFlags(mail.Seen), mail.SystemFlags(mail.Flagged)
		for i := range 2*portionMessages + 10 {
			in.Pairs = append(in.Pairs, bothHave(1+i*7919%(4*portionMessages), func(p *Pair) {
				p.Folder = []mail.FolderName{"INBOX", "Archive"}[i%2]
				switch i % 3 {
				case 0:
					p.LocalNow = seen
				case 1:
					p.RemoteNow = flagged
				default:
					p.LocalNow, p.RemoteNow = flagged, seen
				}
			}))
		}
		var pieces []Op
		n := 0
		for p := range Portions(in) {
			if n++; len(p.Ops) > 2*portionMessages {
				t.Errorf("%s: portion %d has %d operations", mode, n, len(p.Ops))
			}
			pieces = append(pieces, p.Ops...)
		}
		if n < 4 {
			t.Errorf("%s: %d portions", mode, n)
		}
		slices.SortStableFunc(pieces, compareOps)
		if diff := cmp.Diff(Make(in).Ops, pieces, cmp.AllowUnexported(mail.Flags{})); diff != "" {
			t.Errorf("%s: the portions are not the plan (-Make +Portions):\n%s", mode, diff[:min(len(diff), 2000)])
		}
	}
}

// Where one message can have to do with another, there is one portion.
func TestPortionsKeepTogetherWhatHangsTogether(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Input)
	}{
		{"few messages", func(in *Input) { in.Remote = in.Remote[:portionMessages] }},
		{"a row whose message is gone", func(in *Input) { in.Pairs = []*Pair{bothHave(1, func(p *Pair) { p.Remote = Gone })} }},
		{"a row whose file is gone", func(in *Input) { in.Pairs = []*Pair{bothHave(1, func(p *Pair) { p.Local = Gone })} }},
		{"a row that means nothing", func(in *Input) { in.Pairs = []*Pair{bothHave(1, func(p *Pair) { p.Remote = Lost })} }},
		{"a row with one half", func(in *Input) { in.Pairs = []*Pair{bothHave(1, func(p *Pair) { p.Why, p.Local = TooLarge, Absent })} }},
		{"a row that was held", func(in *Input) { in.Pairs = []*Pair{bothHave(1, func(p *Pair) { p.RemoteHeld = true })} }},
		{"a message to expunge", func(in *Input) {
			in.Policy.Expunge = true
			in.Pairs = []*Pair{bothHave(1, func(p *Pair) { p.LocalNow = mail.SystemFlags(mail.Deleted) })}
		}},
		{"a file", func(in *Input) { in.Local = []LocalMessage{{Folder: "INBOX", Name: "b", Unknowable: true}} }},
		{"a folder that was deleted", func(in *Input) {
			in.Folders = append(in.Folders, Folder{Name: "Gone", WasOnServer: true, WasInMaildir: true, OnServer: true, Target: true})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := manyNew(portionMessages+1, "INBOX")
			c.change(&in)
			n := 0
			for range Portions(in) {
				n++
			}
			if n != 1 {
				t.Errorf("%d portions", n)
			}
		})
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		in := manyNew(n, "INBOX")
		b.Run(fmt.Sprintf("new%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for range Portions(in) {
				}
			}
		})
	}
}
