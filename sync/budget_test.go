package sync_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/internal/testenv/popserver"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

const aDay = 24 * time.Hour

// budgetWorld is a world at noon.
func budgetWorld(t *testing.T) *world {
	w := newWorld(t, model.Full())
	y, m, d := time.Now().Date()
	w.now = time.Date(y, m, d, 12, 0, 0, 0, time.Local)
	w.server.CreateMailbox("A")
	return w
}

// sized makes a message of n bytes on the wire; its file is some smaller.
func (w *world) sized(subject string, n int) string {
	w.t.Helper()
	text := w.message(subject)
	rest := n - len(wire(text))
	if rest < 2 {
		w.t.Fatalf("%d bytes are too few", n)
	}
	return text + strings.Repeat("x", rest-2) + "\n"
}

// arriveSized stores a message of n bytes on the server, on the dayth of May.
func (w *world) arriveSized(mailbox, subject string, n, day int) mail.UID {
	w.t.Helper()
	return w.server.Append(mailbox, wire(w.sized(subject, n)), mail.NewFlags(), time.Date(2025, 5, day, 10, 0, 0, 0, time.UTC))
}

// day runs one sync that must bring so many messages, and leave so many for another day.
func (w *world) day(down, up, waiting int) *mailsync.Result {
	w.t.Helper()
	res := w.sync()
	if res.ToMaildir.New != down || res.ToServer.New != up || res.Deferred != waiting || res.OverBudget != waiting {
		w.t.Fatalf("%d came, %d went, %d (%d) wait; want %d, %d, %d\nserver:\n%s\nMaildir:\n%s", res.ToMaildir.New, res.ToServer.New,
			res.OverBudget, res.Deferred, down, up, waiting, w.serverTree().subjects(), w.localTree().subjects())
	}
	return res
}

func (w *world) localHas(want string) {
	w.t.Helper()
	if got := w.localTree().subjects(); got != want+"\n" {
		w.t.Fatalf("the Maildir holds\n%s\nwant\n%s", got, want)
	}
}

func TestDailyDownload(t *testing.T) {
	t.Parallel()
	w := budgetWorld(t)
	w.set.DailyDownload = 1000
	for i := range 4 {
		w.arriveSized("INBOX", fmt.Sprintf("i%d", i), 300, i+1)
		w.arriveSized("A", fmt.Sprintf("a%d", i), 300, i+10)
	}
	w.day(3, 0, 5)
	w.localHas("A: \nINBOX: i1, i2, i3")
	w.quiet()
	w.arriveSized("INBOX", "late", 300, 1)
	w.day(0, 0, 6)
	w.now = w.now.Add(aDay)
	w.day(3, 0, 3) // what is left of INBOX, and what arrived last in A
	w.localHas("A: a3\nINBOX: i0, i1, i2, i3, late")
}

// TestDailyDownloadNext: what waits comes the next day without anything being read anew, and until then it is not looked at.
func TestDailyDownloadNext(t *testing.T) {
	t.Parallel()
	w := budgetWorld(t)
	w.set.DailyDownload = 650
	for i := range 5 {
		w.arriveSized("A", fmt.Sprintf("a%d", i), 300, i+1)
	}
	w.day(2, 0, 3)
	w.localHas("A: a3, a4\nINBOX: ")
	idle := w.day(0, 0, 3).Traffic.RoundTrips
	steps := map[string]int{}
	w.server.SetFault(func(s model.Step) model.Action {
		if !s.After {
			steps[s.Op]++
		}
		return model.Action{}
	})
	if n := w.day(0, 0, 3).Traffic.RoundTrips; n != idle || steps["changes"] != 0 {
		t.Errorf("%d round trips, then %d; %v", idle, n, steps)
	}
	w.now = w.now.Add(aDay)
	w.day(2, 0, 1)
	if steps["changes"] != 0 || steps["fetch"] != 0 || steps["body"] != 2 {
		t.Errorf("the next day asked for %v", steps)
	}
	w.set.DailyDownload = 1000 // the same day: 400 are left
	w.day(1, 0, 0)
	w.same()
	w.quiet()
}

func TestDailyUpload(t *testing.T) {
	t.Parallel()
	w := budgetWorld(t)
	w.set.DailyUpload = 1000
	for i := range 4 {
		path := w.put("INBOX", w.sized(fmt.Sprintf("i%d", i), 300), "S")
		at := time.Date(2025, 5, i+1, 10, 0, 0, 0, time.UTC)
		w.must(os.Chtimes(path, at, at))
		w.put("A", w.sized(fmt.Sprintf("a%d", i), 300), "")
	}
	w.arriveSized("INBOX", "down", 5000, 1) // is not held to it
	w.day(1, 3, 5)
	if got := w.serverTree().subjects(); got != "A: \nINBOX: down, i1 \\Seen, i2 \\Seen, i3 \\Seen\n" {
		t.Fatalf("the server holds %s", got)
	}
	w.day(0, 0, 5)
	w.reflag(w.fileOf("INBOX", "i0"), "FS") // what waits has its flags when it goes
	w.day(0, 0, 5)
	w.now = w.now.Add(aDay)
	w.day(0, 3, 2)
	w.set.DailyUpload = 0
	w.day(0, 2, 0)
	w.want(map[string][]string{"A": {"a0", "a1", "a2", "a3"}, "INBOX": {"down", `i0 \Flagged \Seen`, `i1 \Seen`, `i2 \Seen`, `i3 \Seen`}})
	w.quiet()
}

func TestOversized(t *testing.T) {
	t.Parallel()
	w := budgetWorld(t)
	w.set.DailyDownload = 1000
	w.arriveSized("INBOX", "huge", 5000, 3)
	w.arriveSized("INBOX", "vast", 3000, 2)
	w.arriveSized("INBOX", "small", 300, 1)
	w.day(2, 0, 1) // beside the budget, and it keeps the small one from nothing
	w.localHas("A: \nINBOX: huge, small")
	w.arriveSized("INBOX", "tiny", 200, 1)
	w.day(0, 0, 2)
	w.now = w.now.Add(aDay)
	w.day(2, 0, 0)
	w.same()
}

// TestBudgetOfAllPortions: a first pull of more messages than one portion has spends one budget.
func TestBudgetOfAllPortions(t *testing.T) {
	t.Parallel()
	if raced {
		t.Skip("so many messages take the race detector too long")
	}
	w := budgetWorld(t)
	w.set.DailyDownload = 50_000
	w.server.CreateMailbox("B")
	w.server.CreateMailbox("C")
	const n = 10_050
	for i := range n {
		w.arriveSized([]string{"INBOX", "A", "B", "C"}[i%4], fmt.Sprint(i), 250, 1+i%20)
	}
	w.day(200, 0, n-200)
	if inbox := len(w.files("INBOX")); inbox != 200 {
		t.Errorf("%d of INBOX came", inbox)
	}
	w.day(0, 0, n-200)
}

// TestClockJumps: no day brings its budget twice, and a clock that was wrong holds nothing up for ever.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	w := budgetWorld(t)
	w.set.DailyDownload = 300
	for i := range 9 {
		w.arriveSized("INBOX", fmt.Sprint("m", i), 300, i+1)
	}
	real := w.now
	at := func(days int, comes int) {
		t.Helper()
		w.now = real.Add(time.Duration(days) * aDay)
		if got := w.sync().ToMaildir.New; got != comes {
			t.Errorf("day %d: %d came, want %d", days, got, comes)
		}
	}
	at(0, 1)
	at(4000, 1) // the battery was empty
	at(0, 0)
	at(0, 0)
	at(4000, 0)
	at(0, 0)
	at(1, 1)
	at(0, 0)
	at(1, 0)
	at(2, 1)
	at(2, 0)
	at(1, 0)
	at(3, 1)
}

// TestBudgetCountsBrokenTransfers: what came of a message before the line broke is spent, and so is what was sent without an answer.
func TestBudgetCountsBrokenTransfers(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"body", "append"} {
		t.Run(op, func(t *testing.T) {
			w := budgetWorld(t)
			w.set.DailyDownload, w.set.DailyUpload = 1000, 1000
			w.sync()
			if op == "body" {
				w.arriveSized("INBOX", "m", 800, 1)
			} else {
				w.put("INBOX", w.sized("m", 800), "")
			}
			w.server.SetFault(func(s model.Step) model.Action {
				if s.Op == op && !s.After {
					return model.Action{Kind: model.Cut}
				}
				return model.Action{}
			})
			w.try()
			w.server.SetFault(nil)
			w.day(0, 0, 1)
			w.day(0, 0, 1)
			w.now = w.now.Add(aDay)
			w.sync()
			w.want(map[string][]string{"INBOX": {"m"}, "A": {}})
			w.quiet()
		})
	}
}

// TestBudgetAndCrash: what was spent is in the state with the messages, in the same commits.
func TestBudgetAndCrash(t *testing.T) {
	t.Parallel()
	commits := func(budget int64, stopAt int) (n int, w *world) {
		w = budgetWorld(t)
		w.set.DailyDownload = budget
		for i := range 3 {
			w.arriveSized("INBOX", fmt.Sprint("m", i), 300, i+1)
		}
		world := mailsync.World{Dialer: w.server, Now: func() time.Time { return w.now }, Commit: func(commit func() error) error {
			if n++; stopAt > 0 && n >= stopAt {
				return errors.New("the power is gone")
			}
			return commit()
		}}
		mailsync.Sync(context.Background(), w.set, world, w.opt)
		return n, w
	}
	without, _ := commits(0, 0)
	with, _ := commits(10_000, 0)
	if with != without {
		t.Errorf("%d commits with a budget, %d without", with, without)
	}
	for stopAt := range with {
		_, w := commits(900, stopAt+1)
		came := len(w.files("INBOX"))
		w.arriveSized("INBOX", "more", 300, 9)
		res := w.sync()
		if total := len(w.files("INBOX")); came == 3 && total != 3 || total > 4 {
			t.Errorf("stopped at commit %d: %d had come, then %d more; there are %d files", stopAt+1, came, res.ToMaildir.New, total)
		}
		w.now = w.now.Add(aDay)
		w.sync()
		w.want(map[string][]string{"INBOX": {"m0", "m1", "m2", "more"}, "A": {}})
	}
}

// TestWaitingMessageComesAnotherWay: a copy of what waits, put on the other side meanwhile, is the same message.
func TestWaitingMessageComesAnotherWay(t *testing.T) {
	t.Parallel()
	w := budgetWorld(t)
	w.set.DailyDownload, w.set.DailyUpload = 300, 300
	down, up := w.sized("down", 300), w.sized("up", 300)
	w.arriveSized("INBOX", "spends", 300, 30)
	w.put("INBOX", w.sized("spends too", 300), "")
	w.server.Append("A", wire(down), mail.NewFlags(), time.Date(2025, 5, 1, 10, 0, 0, 0, time.UTC))
	w.put("A", up, "")
	w.day(1, 1, 2)
	w.put("A", down, "S")
	w.server.Append("A", wire(up), mail.NewFlags(`\Flagged`), time.Date(2025, 5, 1, 10, 0, 0, 0, time.UTC))
	w.day(0, 0, 0)
	w.want(map[string][]string{"INBOX": {"spends", "spends too"}, "A": {`down \Seen`, `up \Flagged`}})
}

// TestWaitingMessagesLive: what waits is moved, flagged and deleted by people like any other message.
func TestWaitingMessagesLive(t *testing.T) {
	t.Parallel()
	w := budgetWorld(t)
	w.set.DailyDownload = 300
	w.arriveSized("INBOX", "first", 300, 30)
	moved, flagged, gone := w.arriveSized("INBOX", "moved", 250, 1), w.arriveSized("INBOX", "flagged", 250, 2), w.arriveSized("INBOX", "gone", 250, 3)
	w.day(1, 0, 3)
	w.server.Move("INBOX", "A", moved)
	w.server.Store("INBOX", true, mail.NewFlags(`\Seen`), flagged)
	w.server.Expunge("INBOX", gone)
	w.day(0, 0, 2)
	w.set.DailyDownload = 0
	w.day(2, 0, 0)
	w.want(map[string][]string{"INBOX": {"first", `flagged \Seen`}, "A": {"moved"}})
	w.quiet()
}

// TestWhatNeedsBudget: moves don't; what is brought back does.
func TestWhatNeedsBudget(t *testing.T) {
	t.Parallel()
	w := budgetWorld(t)
	uid := w.arriveSized("INBOX", "m", 300, 1)
	w.sync()
	w.set.DailyDownload, w.set.DailyUpload = 400, 400
	w.arriveSized("INBOX", "spends", 300, 1)
	w.put("INBOX", w.sized("spends too", 300), "")
	w.day(1, 1, 0)
	moved := w.server.Move("INBOX", "A", uid)
	if res := w.day(0, 0, 0); res.ToMaildir.Moved != 1 {
		t.Errorf("%+v", res.ToMaildir)
	}
	w.expunge("A", moved...)
	u := w.undone(1, mailsync.UndoOptions{})
	if u.Sync == nil || u.Sync.ToServer.New != 0 || u.Sync.OverBudget != 1 {
		t.Errorf("undo: %+v", u.Sync)
	}
	w.now = w.now.Add(aDay)
	w.day(0, 1, 0)
	w.set.Policy.Mode = plan.Pull
	w.must(os.Remove(w.fileOf("A", "m")))
	w.day(1, 0, 0)
	w.must(os.Remove(w.fileOf("A", "m")))
	w.day(0, 0, 1)
	w.now = w.now.Add(aDay)
	w.day(1, 0, 0)
}

// TestBudgetOfTargets: a run on one folder does not keep the others waiting.
func TestBudgetOfTargets(t *testing.T) {
	t.Parallel()
	w := budgetWorld(t)
	w.set.DailyDownload = 300
	w.arriveSized("INBOX", "i", 300, 1)
	w.arriveSized("A", "a", 300, 1)
	w.day(1, 0, 1)
	w.now = w.now.Add(aDay)
	w.opt.Targets = []mail.FolderName{"INBOX"}
	w.day(0, 0, 1)
	w.opt.Targets = nil
	w.day(1, 0, 0)
}

func TestMaildropBudget(t *testing.T) {
	mail := pops(6)
	size := len(mail[0].Body)
	w := newPopWorld(t, 0, mail...) // "never": deleted once it is here
	w.set.DailyDownload, w.set.DailyUpload = int64(2*size+size/2), 1
	w.brought(2, 2)
	w.has(mail[4], mail[5])
	for range 2 {
		w.brought(0, 0)
	}
	if n := len(w.server.Mail()); n != 4 {
		t.Fatalf("%d are left", n)
	}
	w.server.Put(append(w.server.Mail(), pop("late", 70))...)
	w.brought(0, 0)
	w.now = w.now.Add(aDay)
	w.brought(2, 0)
	w.set.DailyDownload = 0
	w.brought(3, 2)
	w.brought(0, 3)
	w.has(append(mail, pop("late", 70))...)
	// A server that tells wrong sizes.
	w = newPopWorld(t, forever, pops(3)...)
	w.server.Set(popserver.Quirks{Size: func(popserver.Message) int { return 1 }})
	w.set.DailyDownload = int64(size)
	w.brought(3, 0)
	w.server.Put(append(w.server.Mail(), pop("late", 70))...)
	w.brought(0, 0) // what came is what is counted
}

// TestBudgetHistories: people go on changing things while messages wait, the line breaks, days pass, and nothing is lost or doubled.
func TestBudgetHistories(t *testing.T) {
	t.Parallel()
	playing{seeds: 5, first: 70_000, rounds: 2}.play(t, interruptible(), func(h *history) {
		for range 2 + h.rng.IntN(3) {
			h.acts(1 + h.rng.IntN(8))
			h.set.DailyDownload, h.set.DailyUpload = int64(h.rng.IntN(4)*200), int64(h.rng.IntN(4)*200)
			h.note("budgets %d, %d", h.set.DailyDownload, h.set.DailyUpload)
			if h.rng.IntN(3) == 0 {
				h.struck()
				h.server.ReleaseGhosts()
			}
			h.faulty()
			if h.rng.IntN(3) == 0 {
				h.note("the next day")
				h.now = h.now.Add(aDay)
			}
		}
		h.set.DailyDownload, h.set.DailyUpload = 0, 0
		h.settle()
		h.check()
	})
}
