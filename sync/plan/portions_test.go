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

// Where one message can have to do with another, there is one portion.
func TestPortionsKeepTogetherWhatHangsTogether(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Input)
	}{
		{"few messages", func(in *Input) { in.Remote = in.Remote[:portionMessages] }},
		{"a row", func(in *Input) { in.Pairs = []Pair{{Base: Base{ID: 1, Folder: "INBOX", UID: 9_999_999, Name: "a"}}} }},
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
