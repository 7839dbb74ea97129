package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/satchel-mail/satchel/internal/mail"
)

func TestMatchListing(t *testing.T) {
	k := func(id string, size int64) Numbered { return Numbered{ID: id, Size: size} }
	for _, tt := range []struct {
		name           string
		listed         []Listed
		known          []Numbered
		named, partial bool
		want           ListingMatch
	}{
		{"known, new and gone", []Listed{{"b", 2}, {"c", 3}}, []Numbered{k("a", 1), k("b", 2)}, true, false,
			ListingMatch{Known: []int{1, -1}, Untold: []bool{false, false}, Doubtful: []bool{false, false}, Remote: []Presence{Gone, Present}}},
		{"what a part leaves out is not gone", []Listed{{"b", 2}, {"", 3}}, []Numbered{k("a", 1), k("b", 2)}, true, true,
			ListingMatch{Known: []int{1, -1}, Untold: []bool{false, true}, Doubtful: []bool{false, false}, Remote: []Presence{Present, Present}}},
		{"another size under a known name", []Listed{{"a", 7}}, []Numbered{k("a", 1)}, true, false,
			ListingMatch{Known: []int{-1}, Untold: []bool{false}, Doubtful: []bool{true}, Remote: []Presence{Lost}}},
		{"no size", []Listed{{"a", -1}}, []Numbered{k("a", 1)}, true, false,
			ListingMatch{Known: []int{0}, Untold: []bool{false}, Doubtful: []bool{false}, Remote: []Presence{Present}}},
		{"one name for two", []Listed{{"a", 1}, {"a", 1}}, []Numbered{k("a", 1)}, true, false,
			ListingMatch{Known: []int{-1, -1}, Untold: []bool{false, false}, Doubtful: []bool{true, true}, Remote: []Presence{Lost}}},
		{"one name for two that are known", []Listed{{"a", 1}}, []Numbered{k("a", 1), k("a", 1)}, true, false,
			ListingMatch{Known: []int{-1}, Untold: []bool{false}, Doubtful: []bool{true}, Remote: []Presence{Lost, Lost}}},
		{"no names", []Listed{{"", 1}}, []Numbered{k("", 1)}, false, false,
			ListingMatch{Known: []int{-1}, Untold: []bool{false}, Doubtful: []bool{true}, Remote: []Presence{Lost}}},
		{"no names, and a message that only STAT knows", []Listed{{"", 1}, {"", -1}}, []Numbered{k("", 1)}, false, true,
			ListingMatch{Known: []int{-1, -1}, Untold: []bool{false, true}, Doubtful: []bool{true, false}, Remote: []Presence{Lost}}},
		{"other names, in a part", []Listed{{"x", 1}}, []Numbered{k("a", 1)}, true, true,
			ListingMatch{Known: []int{-1}, Untold: []bool{false}, Doubtful: []bool{false}, Remote: []Presence{Lost}, Renamed: true}},
	} {
		if got := MatchListing(tt.listed, tt.known, tt.named, tt.partial); fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", tt.name, got, tt.want)
		}
	}
}

// TestMatchListingIsSafe: whatever is listed, a known message is found at most once and by its own name and size only, and is gone only
// if the listing is whole and nothing in it could be it.
func TestMatchListingIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id, size := rapid.SampledFrom([]string{"", "a", "b", "c", "d"}), rapid.Int64Range(-1, 2)
		var listed []Listed
		for range rapid.IntRange(0, 6).Draw(t, "listed") {
			listed = append(listed, Listed{id.Draw(t, "id"), size.Draw(t, "size")})
		}
		var known []Numbered
		for range rapid.IntRange(0, 6).Draw(t, "known") {
			known = append(known, Numbered{ID: id.Draw(t, "id"), Size: size.Draw(t, "size")})
		}
		named, partial := rapid.Bool().Draw(t, "named"), rapid.Bool().Draw(t, "partial")
		m := MatchListing(listed, known, named, partial)
		found := map[int]bool{}
		for i, k := range m.Known {
			if k < 0 {
				continue
			}
			if found[k] || listed[i].ID != known[k].ID || listed[i].ID == "" || !sameSize(listed[i].Size, known[k].Size) || m.Remote[k] != Present || m.Untold[i] || m.Doubtful[i] {
				t.Fatalf("%+v is taken for %+v: %+v", listed[i], known[k], m)
			}
			found[k] = true
		}
		for k, p := range m.Remote {
			couldBe := slices.ContainsFunc(listed, func(l Listed) bool { return l.ID == known[k].ID })
			if p == Gone && (partial || known[k].ID == "" || couldBe) || p == Present && !found[k] && !partial {
				t.Fatalf("%+v is %v: %+v", known[k], p, m)
			}
		}
	})
}

// maildropCase is one message of a maildrop, and what is to be done about it.
type maildropCase struct {
	name          string
	remote, local Presence
	why           Why
	due, until    bool
	want          string
}

func TestMaildropTable(t *testing.T) {
	for _, tt := range []maildropCase{
		{"on both sides", Present, Present, Agreed, false, false, ""},
		{"on both sides, its time is over", Present, Present, Agreed, true, false, "delete server kept"},
		{"gone from the server", Gone, Present, Agreed, false, false, "park maildir one-way"},
		{"gone from the server, which is to follow the Maildir", Gone, Present, Agreed, true, true, "park maildir one-way"},
		{"lost on the server, which says nothing", Lost, Present, Agreed, true, false, ""},
		{"lost on both sides", Lost, Lost, Agreed, true, true, "forget"},
		{"lost on the server, deleted in the Maildir", Lost, Gone, Agreed, true, false, "park server dismissed"},
		{"lost on the server, deleted in the Maildir, until-deleted", Lost, Gone, Agreed, true, true, "park server pending"},
		{"deleted in the Maildir", Present, Gone, Agreed, false, false, "park server dismissed"},
		{"deleted in the Maildir, until-deleted", Present, Gone, Agreed, false, true, "delete server"},
		{"deleted in the Maildir, its time is over", Present, Gone, Agreed, true, false, "delete server"},
		{"missing in the Maildir, nobody deleted it", Present, Lost, Agreed, true, true, "download maildir"},
		{"gone on both sides", Gone, Gone, Agreed, true, true, "forget"},
		{"deleted before", Present, Absent, Dismissed, false, true, ""},
		{"deleted before, its time is over", Present, Absent, Dismissed, true, false, "delete server"},
		{"deleted before, gone", Gone, Absent, Dismissed, true, false, "forget"},
		{"deleted before, lost on the server", Lost, Absent, Dismissed, true, true, ""},
		{"deleted before, and to go", Present, Absent, Pending, false, true, "delete server"},
		{"deleted before, and was to go", Present, Absent, Pending, false, false, ""},
		{"deleted before, was to go, its time is over", Present, Absent, Pending, true, false, "delete server"},
		{"deleted before, and to go, gone", Gone, Absent, Pending, true, true, "forget"},
		{"deleted before, and to go, lost on the server", Lost, Absent, Pending, true, true, ""},
		{"too large", Present, Absent, TooLarge, true, true, ""},
	} {
		p := &Pair{Base: Base{ID: 1, Folder: "INBOX", UID: 7, Name: "name", Why: tt.why, Digest: mail.Digest{1}, Header: mail.Digest{2}}, Remote: tt.remote, Local: tt.local, Due: tt.due}
		if tt.why != Agreed {
			p.Name = ""
		}
		got := Make(maildropInput(tt.until, p))
		var ops string
		for _, op := range got.Ops {
			ops += string(op.Kind)
			if op.Kind != Forget {
				ops += " " + string(op.Side)
			}
			if op.Why != "" {
				ops += " " + string(op.Why)
			}
			if op.Kept {
				ops += " kept"
			}
		}
		if ops != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, ops, tt.want)
		}
	}
}

func maildropInput(until bool, pairs ...*Pair) Input {
	return Input{
		Policy: Policy{Mode: Archive, Maildrop: true, UntilDeleted: until, Create: CreateBoth, Guard: Guard{ByShare: true, Share: 0.5}},
		Folders: []Folder{
			{Name: "INBOX", OnServer: true, InMaildir: true, WasOnServer: true, WasInMaildir: true, CanCreate: true, Agreed: len(pairs), Target: true},
			{Name: "Work", InMaildir: true, WasInMaildir: true, CanCreate: true, Target: true},
		},
		Pairs: pairs,
	}
}

// TestMaildropGuard: what stays in the Maildir is no deletion, what nobody would have then is.
func TestMaildropGuard(t *testing.T) {
	var kept, last []*Pair
	for i := range 30 {
		p := &Pair{Base: Base{ID: int64(i + 1), Folder: "INBOX", UID: mail.UID(i + 1), Name: fmt.Sprint("n", i)}, Due: true}
		gone := *p
		gone.Local = Gone
		kept, last = append(kept, p), append(last, &gone)
	}
	if p := Make(maildropInput(false, kept...)); len(p.Held) != 0 || len(p.Ops) != 30 {
		t.Errorf("%+v", p)
	}
	if p := Make(maildropInput(false, last...)); p.Held["INBOX"] != 30 || slices.ContainsFunc(p.Ops, func(op Op) bool { return op.Kind == Delete }) {
		t.Errorf("%+v", p)
	}
}

// TestMaildropMoved: a file that was moved takes its row along, and is no deletion.
func TestMaildropMoved(t *testing.T) {
	p := &Pair{Base: Base{ID: 1, Folder: "INBOX", UID: 7, Name: "name", Digest: mail.Digest{1}, FileSize: 10}, Local: Gone}
	in := maildropInput(true, p)
	in.Local = []LocalMessage{{Folder: "Work", Name: "other", FileSize: 10, Content: &mail.Content{Digest: mail.Digest{1}}}}
	got := Make(in)
	if len(got.Ops) != 1 || got.Ops[0].Kind != Rebind || got.Ops[0].Folder != "Work" || got.Ops[0].UID != 7 || got.Ops[0].Name != "other" {
		t.Errorf("%+v", got.Ops)
	}
}

// TestMaildropMovedWhileUnknown: of a moved file nobody knows whether the server still has its message. It stays known.
func TestMaildropMovedWhileUnknown(t *testing.T) {
	p := &Pair{Base: Base{ID: 1, Folder: "INBOX", UID: 7, Name: "name", Digest: mail.Digest{1}, FileSize: 10}, Remote: Lost, Local: Gone}
	in := maildropInput(true, p)
	in.Local = []LocalMessage{{Folder: "Work", Name: "other", FileSize: 10, Content: &mail.Content{Digest: mail.Digest{1}}}}
	got := Make(in)
	if len(got.Ops) != 1 || got.Ops[0].Kind != Rebind || got.Ops[0].Folder != "Work" || got.Ops[0].UID != 7 || got.Ops[0].Name != "other" {
		t.Errorf("%+v", got.Ops)
	}
}

// TestMaildropHistories: random listings, deletions and moves, planned and carried out in turn: nothing is delivered twice, nothing is
// deleted locally, nothing leaves the server that the Maildir has not had, and a second plan is empty.
func TestMaildropHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := maildropInput(rapid.Bool().Draw(t, "until"))
		in.Policy.Guard = Guard{}
		days := rapid.Bool().Draw(t, "days")
		delivered := map[mail.UID]int{}
		next := mail.UID(1)
		for range rapid.IntRange(1, 8).Draw(t, "rounds") {
			in.Remote = nil
			for range rapid.IntRange(0, 3).Draw(t, "new") {
				in.Remote = append(in.Remote, RemoteMessage{Folder: "INBOX", UID: next, Size: int64(next), Date: time.Unix(int64(next), 0)})
				next++
			}
			for i := range in.Pairs {
				p := in.Pairs[i]
				p.Due = days && rapid.Bool().Draw(t, "due")
				if p.Remote == Present && p.UID != 0 && rapid.IntRange(0, 5).Draw(t, "leaves") == 0 {
					p.Remote = Gone
				}
				if p.Why == Agreed && rapid.IntRange(0, 5).Draw(t, "deleted") == 0 {
					p.Local = Gone
				}
			}
			carryOutMaildrop(t, &in, Make(in), delivered)
			in.Remote = nil
			for i := range in.Pairs {
				in.Pairs[i].Due = false
			}
			if again := Make(in); len(again.Ops) != 0 {
				t.Fatalf("a second plan: %+v", again.Ops)
			}
		}
		for uid, n := range delivered {
			if n > 1 {
				t.Fatalf("message %d was delivered %d times", uid, n)
			}
		}
	})
}

// carryOutMaildrop does to the pairs what a plan says, as the engine records it.
func carryOutMaildrop(t *rapid.T, in *Input, p Plan, delivered map[mail.UID]int) {
	at := func(id int64) int { return slices.IndexFunc(in.Pairs, func(p *Pair) bool { return p.ID == id }) }
	for _, op := range p.Ops {
		switch {
		case op.Kind == Download:
			delivered[op.UID]++
			in.Pairs = append(in.Pairs, &Pair{Base: Base{ID: int64(op.UID), Folder: op.Folder, UID: op.UID, Name: fmt.Sprint("file", op.UID),
				Digest: mail.Digest{byte(op.UID)}, Header: mail.Digest{byte(op.UID)}, RemoteSize: int64(op.UID), FileSize: int64(op.UID)}})
		case op.Kind == Forget:
			in.Pairs = slices.Delete(in.Pairs, at(op.Row), at(op.Row)+1)
		case op.Kind == Park && op.Side == Server:
			x := in.Pairs[at(op.Row)]
			x.Why, x.Name, x.Local = op.Why, "", Absent
		case op.Kind == Park:
			x := in.Pairs[at(op.Row)]
			x.Why, x.UID, x.Remote = op.Why, 0, Absent
		case op.Kind == Delete && op.Side == Server && delivered[op.UID] > 0 && op.Kept:
			x := in.Pairs[at(op.Row)]
			if x.Local != Present {
				t.Fatalf("%+v is deleted on the server as if the Maildir had it", x)
			}
			x.Why, x.UID, x.Remote = OneWay, 0, Absent
		case op.Kind == Delete && op.Side == Server && delivered[op.UID] > 0:
			in.Pairs = slices.Delete(in.Pairs, at(op.Row), at(op.Row)+1)
		default:
			t.Fatalf("unexpected: %+v", op)
		}
	}
}
