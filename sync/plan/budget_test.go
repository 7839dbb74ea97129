package plan

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/satchel-mail/satchel/internal/mail"
)

func TestBudget(t *testing.T) {
	message := func(folder mail.FolderName, uid, day, size int) cost {
		return cost{folder: folder, uid: mail.UID(uid), date: time.Unix(int64(day)*86400, 0), size: int64(size)}
	}
	for _, c := range []struct {
		name   string
		budget Budget
		all    []cost
		want   string // the folders and UIDs of what goes
	}{
		{"everything fits", Budget{Limit: 100}, []cost{message("A", 1, 1, 50), message("A", 2, 2, 50)}, "A1 A2"},
		{"INBOX comes first", Budget{Limit: 100}, []cost{message("A", 1, 9, 60), message("INBOX", 1, 1, 60)}, "INBOX1"},
		{"the newest come first", Budget{Limit: 100}, []cost{message("INBOX", 1, 1, 60), message("INBOX", 2, 3, 60), message("INBOX", 3, 2, 60)}, "INBOX2"},
		{"in whatever folder", Budget{Limit: 100}, []cost{message("A", 1, 1, 60), message("B", 1, 3, 60), message("C", 1, 2, 60)}, "B1"},
		{"where no dates are told, the last ones", Budget{Limit: 100}, []cost{{folder: "INBOX", uid: 1, size: 60}, {folder: "INBOX", uid: 2, size: 60}}, "INBOX2"},
		{"what does not fit keeps nothing smaller from going", Budget{Limit: 100, Spent: 30},
			[]cost{message("INBOX", 3, 3, 80), message("INBOX", 2, 2, 40), message("INBOX", 1, 1, 30)}, "INBOX1 INBOX2"},
		{"all is spent", Budget{Limit: 100, Spent: 100}, []cost{message("INBOX", 1, 1, 1)}, ""},
		{"more than all is spent", Budget{Limit: 100, Spent: 150}, []cost{message("INBOX", 1, 1, 0)}, ""},
		{"one larger than the budget goes beside it", Budget{Limit: 100},
			[]cost{message("INBOX", 3, 3, 101), message("INBOX", 2, 2, 500), message("INBOX", 1, 1, 100)}, "INBOX1 INBOX3"},
		{"but not when anything was transferred", Budget{Limit: 100, Spent: 1}, []cost{message("INBOX", 1, 1, 101)}, ""},
		{"one that would fit another day is none", Budget{Limit: 100}, []cost{message("INBOX", 2, 2, 60), message("INBOX", 1, 1, 60)}, "INBOX2"},
		{"sizes that are not told", Budget{Limit: 2*sizeUntold + 1}, []cost{message("INBOX", 1, 1, -1), message("INBOX", 2, 2, -1), message("INBOX", 3, 3, -1)}, "INBOX2 INBOX3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 {
				var goes []string
				for i, waits := range c.budget.waiting(c.all) {
					if !waits {
						goes = append(goes, fmt.Sprint(c.all[i].folder, c.all[i].uid))
					}
				}
				slices.Sort(goes)
				if got := strings.Join(goes, " "); got != c.want {
					t.Errorf("%q go, want %q", got, c.want)
				}
				slices.Reverse(c.all) // which changes nothing
			}
		})
	}
}

func TestLedger(t *testing.T) {
	for _, c := range []struct {
		name string
		days string // the last digit of each day's date
		want string // the days that bring a new budget
	}{
		{"every day", "12356", "12356"},
		{"the same day again", "1112", "12"},
		{"back a day and forth", "2121213", "23"},
		{"forth a day and back", "1212123", "123"},
		{"from far ahead", "912349", "9234"},
		{"far ahead and back", "19239", "193"},
		{"all ways", "532415678", "54678"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l Ledger
			got := ""
			for _, d := range c.days {
				l = l.On(Day("2026-05-0" + string(d)))
				if l.Downloaded == 0 {
					got += string(d)
				}
				l.Downloaded++
			}
			if got != c.want {
				t.Errorf("days %s brought a new budget, want %s", got, c.want)
			}
		})
	}
	l := Ledger{Days: []Day{"2026-05-01"}, Downloaded: 7, Uploaded: 8, Offered: Limits{10, 20}}
	down, up := l.Budgets(Limits{10, 20})
	if down != (Budget{10, 7}) || up != (Budget{20, 8}) {
		t.Errorf("%v, %v", down, up)
	}
	for _, c := range []struct {
		limits   Limits
		down, up bool
	}{{Limits{10, 20}, false, false}, {Limits{11, 20}, true, false}, {Limits{10, 0}, false, true}, {Limits{0, 20}, true, false}} {
		if l.Opens(OverDownload, c.limits) != c.down || l.Opens(OverUpload, c.limits) != c.up {
			t.Errorf("%v: opens %v, %v", c.limits, !c.down, !c.up)
		}
	}
	if l = l.On("2026-05-02"); !l.Opens(OverDownload, Limits{10, 20}) {
		t.Error("the next day does not open what waits")
	}
}

// TestLedgerAnyDays: however the clock jumps, no day brings a budget twice, and two days' progress from anywhere brings one.
func TestLedgerAnyDays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Ledger
		brought := map[Day]int{}
		for _, n := range rapid.SliceOfN(rapid.IntRange(10, 10+maxDays-1), 1, 60).Draw(t, "days") {
			day := Day(fmt.Sprintf("2026-05-%d", n))
			l = l.On(day)
			if l.Downloaded == 0 {
				brought[day]++
			}
			if l.Downloaded++; brought[day] > 1 {
				t.Fatalf("%s brought %d budgets", day, brought[day])
			}
		}
		for n := range maxDays + 1 { // one after the other, until all that were seen are over
			l = l.On(Day(fmt.Sprintf("2026-05-%d", 10+n)))
		}
		if l.Downloaded != 0 {
			t.Fatal("the first new day brought no budget")
		}
	})
}

// TestOverBudget: whatever would be transferred waits on the side that has it, and goes another day.
func TestOverBudget(t *testing.T) {
	spent := Budget{Limit: 1000, Spent: 1000}
	for _, c := range []struct {
		name string
		mode Mode
		do   func(s *scene)
		side Side // which has the message m
		why  Why
		end  string // where m is in the end, on both sides
	}{
		{"new on the server", TwoWay, func(s *scene) { s.add(Server, "m", "A") }, Server, OverDownload, "A: m"},
		{"new in the Maildir", TwoWay, func(s *scene) { s.add(Maildir, "m", "A") }, Maildir, OverUpload, "A: m"},
		{"deleted in the Maildir, moved on the server", TwoWay, func(s *scene) {
			s.agreed("m", "A")
			s.delete(Maildir, "m")
			s.move(Server, "m", "B")
		}, Server, OverDownload, "B: m"},
		{"deleted on the server, moved in the Maildir", TwoWay, func(s *scene) {
			s.agreed("m", "A")
			s.delete(Server, "m")
			s.move(Maildir, "m", "B")
		}, Maildir, OverUpload, "B: m"},
		{"deleted in the Maildir with pull", Pull, func(s *scene) { s.agreed("m", "A"); s.delete(Maildir, "m") }, Server, OverDownload, "A: m"},
		{"deleted on the server with push", Push, func(s *scene) { s.agreed("m", "A"); s.delete(Server, "m") }, Maildir, OverUpload, "A: m"},
		{"held by the guard and restored", TwoWay, func(s *scene) {
			s.agreed("m", "A")
			s.delete(Maildir, "m")
			s.w.policy.Guard, s.w.policy.RestoreHeld = Guard{ByCount: true}, true
		}, Server, OverDownload, "A: m"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, c.mode, "A", "B")
			c.do(s)
			s.w.download, s.w.upload = spent, spent
			s.sync().wantParked("m", c.side, c.why)
			if len(s.w.down)+len(s.w.up) > 0 {
				t.Errorf("transferred %v, %v", s.w.down, s.w.up)
			}
			s.w.closed = true
			s.sync()
			s.w.download.Spent, s.w.upload.Spent, s.w.closed = 0, 0, false
			s.sync().wantBoth(c.end)
		})
	}
	t.Run("what is on both sides and what moves needs no budget", func(t *testing.T) {
		s := newScene(t, TwoWay, "A", "B")
		s.agreed("m", "A")
		s.move(Server, "m", "B")
		s.add(Server, "n", "A")
		s.add(Maildir, "n", "A")
		s.w.download, s.w.upload = spent, spent
		s.sync().wantBoth("A: n; B: m")
	})
	t.Run("what waits and is the same on both sides by now is one message", func(t *testing.T) {
		bothSides(t, func(t *testing.T, one, other Side) {
			s := newScene(t, TwoWay, "A")
			s.add(one, "m", "A")
			s.w.download, s.w.upload = spent, spent
			s.sync()
			s.add(other, "m", "A")
			s.sync().wantBoth("A: m")
		})
	})
	t.Run("what waits and moves on waits there", func(t *testing.T) {
		s := newScene(t, TwoWay, "A", "B")
		s.add(Server, "m", "A")
		s.w.download, s.w.closed = spent, true
		s.sync()
		s.move(Server, "m", "B")
		s.flag(Server, "m", `\Seen`)
		s.sync().wantParked("m", Server, OverDownload)
		s.w.download = Budget{}
		s.w.closed = false
		s.sync().wantBoth(`B: m[\Seen]`)
	})
	t.Run("a maildrop's message that waits does not leave it", func(t *testing.T) {
		in := Input{Policy: Policy{Mode: Archive, Maildrop: true, Create: CreateBoth}, Download: spent,
			Folders: []Folder{{Name: "INBOX", OnServer: true, InMaildir: true, Target: true}},
			Remote:  []RemoteMessage{{Folder: "INBOX", UID: 1, Size: 1, Due: true}}}
		if p := Make(in); kinds(p) != "park server 1" {
			t.Errorf("planned %s", showOps(p.Ops))
		}
		in.Download.Spent = 0
		if p := Make(in); kinds(p) != "download maildir 1, delete server 1" {
			t.Errorf("planned %s", showOps(p.Ops))
		}
	})
}

// TestPortionsOfBudget: it is one budget, however many portions there are.
func TestPortionsOfBudget(t *testing.T) {
	for _, budget := range []Budget{{Limit: 300_000}, {Limit: 300_000, Spent: 200_000}} {
		in := manyNew(portionOfFolder, "Archive", "INBOX", "Lists", "Sent", "Old")
		in.Download = budget
		var pieces []Op
		left := budget.Limit - budget.Spent
		for p := range Portions(in) {
			pieces = append(pieces, p.Ops...)
		}
		for _, op := range pieces {
			if op.Kind == Download {
				left -= int64((op.UID - 1) % 100)
			}
		}
		if left < 0 || left > 99 {
			t.Errorf("%+v: %d bytes are left", budget, left)
		}
		slices.SortStableFunc(pieces, compareOps)
		if !reflect.DeepEqual(Make(in).Ops, pieces) {
			t.Errorf("%+v: the portions are not the plan", budget)
		}
	}
}

// TestDaysOfBudget: no day takes more than its budget, but for one message that is larger than that; everything comes in the end, once.
func TestDaysOfBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{unreadable: map[int]bool{}, policy: Policy{Mode: TwoWay, Create: CreateBoth}}
		limit := rapid.Int64Range(1, 100)
		w.download.Limit, w.upload.Limit = limit.Draw(t, "download"), limit.Draw(t, "upload")
		folders := []mail.FolderName{"INBOX", "A", "B"}
		for _, f := range folders {
			w.createMailbox(f)
			w.createDir(f)
		}
		w.commitFolders()
		arrive := func(n int) {
			for range n {
				c := w.newContent(true)
				w.contents[c].size = rapid.Int64Range(0, 120).Draw(t, "size")
				f := rapid.SampledFrom(folders).Draw(t, "folder")
				if side := rapid.IntRange(0, 2).Draw(t, "side"); side > 0 {
					w.mailbox(f).store(c, c, mail.Flags{})
				} else {
					w.deliver(w.dir(f), c, c, mail.Flags{})
				}
			}
		}
		run := func() {
			w.download.Spent, w.upload.Spent = sum(w.down), sum(w.up)
			if _, err := w.run(runOptions{stop: rapid.SampledFrom([]int{-1, -1, -1, 0, 2, 5}).Draw(t, "stop")}); err != nil && !strings.HasPrefix(err.Error(), "the state does not know") {
				t.Fatalf("%v\n%s", err, strings.Join(w.trail, "\n"))
			}
		}
		arrive(rapid.IntRange(0, 12).Draw(t, "messages"))
		const days = 40
		for day := range days {
			if day > 5 && w.equalSides() == nil {
				break
			}
			w.down, w.up, w.closed = nil, nil, false
			for range rapid.IntRange(1, 3).Draw(t, "runs") {
				run()
				if day < 5 {
					arrive(rapid.IntRange(0, 2).Draw(t, "more"))
				}
				w.closed = rapid.Bool().Draw(t, "closed")
			}
			checkDay(t, "down", w.down, w.download.Limit)
			checkDay(t, "up", w.up, w.upload.Limit)
		}
		if err := w.equalSides(); err != nil {
			t.Fatalf("after %d days: %v\n%s", days, err, strings.Join(w.trail, "\n"))
		}
		for _, f := range w.server {
			seen := map[int]bool{}
			for _, m := range f.messages {
				if seen[m.content] {
					t.Fatalf("message %d is there twice", m.content)
				}
				seen[m.content] = true
			}
		}
	})
}

func checkDay(t *rapid.T, way string, sizes []int64, limit int64) {
	sizes = slices.SortedFunc(slices.Values(sizes), func(a, b int64) int { return cmp.Compare(b, a) })
	beside := len(sizes) > 0 && sizes[0] > limit
	if beside {
		sizes = sizes[1:]
	}
	if n := sum(sizes); n > limit {
		t.Fatalf("%s: %d bytes in a day, beside one large message: %v; the budget is %d", way, n, beside, limit)
	}
}

func sum(sizes []int64) (n int64) {
	for _, s := range sizes {
		n += s
	}
	return n
}
