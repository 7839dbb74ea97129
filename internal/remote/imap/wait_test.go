package imap

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/satchel-mail/satchel/internal/remote"
)

const (
	idleCaps   = allCaps + " IDLE"
	notifyCaps = idleCaps + " NOTIFY"

	notifySet   = "NOTIFY SET (personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))"
	notifyReset = "NOTIFY SET (selected-delayed (MessageNew MessageExpunge FlagChange))"
)

// waiter is a session that waits in a goroutine of its own.
type waiter struct {
	t       testing.TB
	notices chan remote.Notice
	stop    context.CancelFunc
	result  chan error
}

func startWaiting(t testing.TB, s *Session, mailbox string) *waiter {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &waiter{t: t, notices: make(chan remote.Notice, 10_000), stop: cancel, result: make(chan error, 1)}
	go func() { w.result <- s.Wait(ctx, mailbox, func(n remote.Notice) { w.notices <- n }) }()
	return w
}

// next returns the next notice.
func (w *waiter) next() remote.Notice {
	w.t.Helper()
	select {
	case n := <-w.notices:
		return n
	case err := <-w.result:
		w.t.Fatalf("the waiting ended: %v", err)
	case <-time.After(90 * time.Second):
		w.t.Fatal("nothing was told")
	}
	return remote.Notice{}
}

// none checks that nothing has been told.
func (w *waiter) none() {
	w.t.Helper()
	synctest.Wait()
	select {
	case n := <-w.notices:
		w.t.Errorf("told %+v, want nothing", n)
	default:
	}
}

// ends stops the waiting, which must leave the session in order.
func (w *waiter) ends() {
	w.t.Helper()
	w.stop()
	if err := <-w.result; err != nil {
		w.t.Errorf("the waiting ended with %v", err)
	}
}

func (w *waiter) want(want ...remote.Notice) {
	w.t.Helper()
	for _, want := range want {
		if diff := cmp.Diff(want, w.next()); diff != "" {
			w.t.Errorf("told (-want +got):\n%s", diff)
		}
	}
}

// watched plays the opening of a mailbox to be waited for.
func (p *script) watched(exists, modseq int) {
	p.expect(`EXAMINE "INBOX" (CONDSTORE)`)
	p.say(selected(exists, exists+1, modseq)...)
	p.say("$1 OK [READ-ONLY] open")
}

// idles plays the beginning of an IDLE, done its end.
func (p *script) idles() {
	p.expect("IDLE")
	p.say("+ idling")
}

func (p *script) done() {
	if line := p.line(); line != "DONE" {
		p.t.Errorf("the client sent %q, want DONE", line)
		_ = p.c.Close()
		return
	}
	p.say("$1 OK done")
}

func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan []string)
		s := preauth(t, idleCaps, Config{}, func(p *script) {
			p.watched(3, 10)
			p.raw("* 4 EXISTS\r\n") // between the two
			p.idles()
			for lines := range told {
				p.raw(strings.Join(lines, "\r\n") + "\r\n")
			}
			p.done()
			p.expect("UNSELECT", `SELECT "INBOX" (CONDSTORE)`)
			p.say("$1 OK done")
			p.say(selected(3, 8, 12)...)
			p.say("$2 OK [READ-WRITE] open")
		})
		w := startWaiting(t, s, "inbox")
		notice := func(messages uint32, modseq uint64) remote.Notice {
			return remote.Notice{Mailbox: "INBOX", Status: remote.Status{UIDValidity: 7, Messages: messages, HighestModSeq: modseq}, Known: modseq > 0}
		}
		w.want(remote.Notice{Ready: true, Mailbox: "INBOX"}, notice(4, 0))
		for _, tc := range []struct {
			said []string
			want remote.Notice
		}{
			{[]string{"* 2 FETCH (UID 2 MODSEQ (11) FLAGS (\\Seen))"}, notice(4, 11)},
			{[]string{"* 2 FETCH (MODSEQ (13) FLAGS ())", "* 1 FETCH (UID 1 MODSEQ (12) FLAGS ())"}, notice(4, 13)},
			{[]string{"* 2 FETCH (FLAGS (\\Seen))"}, notice(4, 0)},
			{[]string{"* 2 FETCH (MODSEQ (14) FLAGS ())", "* 2 FETCH (FLAGS (\\Seen))"}, notice(4, 0)},
			{[]string{"* 5 EXISTS", "* 1 RECENT", "* 2 FETCH (UID 2 MODSEQ (14) FLAGS (\\Seen))"}, notice(5, 0)},
			{[]string{"* 2 FETCH (UID 2 MODSEQ (14) FLAGS (\\Seen))", "* 1 EXPUNGE"}, notice(4, 0)},
			{[]string{"* VANISHED 1:2"}, notice(2, 0)},
			{[]string{"* 3 EXISTS", "* OK [HIGHESTMODSEQ 15] Highest"}, notice(3, 15)},
			{[]string{"* 2 EXPUNGE", "* OK [HIGHESTMODSEQ 16] Highest", "* 3 EXISTS"}, notice(3, 0)},
			{[]string{"* VANISHED 1:2000000000"}, remote.Notice{Mailbox: "INBOX"}},
			{[]string{"* 3 EXISTS"}, notice(3, 0)},
		} {
			told <- tc.said
			w.want(tc.want)
		}
		told <- []string{"* OK Still here", "* STATUS x (MESSAGES 7)", `* LIST () "/" y`, "* 3 RECENT", "+ go on", "* FLAGS (a)"}
		w.none()
		close(told)
		w.ends()
		w.none()
		// What is written next needs the mailbox to be open for that.
		if err := s.enterToWrite(t.Context(), box7(), uidSet(1)); err != nil {
			t.Error(err)
		}
	})
}

// TestIdleIsRenewed: after nine minutes, however often the server says that it is there, and what comes meanwhile is told.
func TestIdleIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := time.Now()
		s := preauth(t, idleCaps, Config{}, func(p *script) {
			p.watched(1, 10)
			p.idles()
			for range 4 {
				time.Sleep(2 * time.Minute)
				p.raw("* OK Still here\r\n")
			}
			p.line()
			if d := time.Since(from); d < 8*time.Minute || d > 9*time.Minute {
				t.Errorf("renewed after %v", d)
			}
			p.say("* 2 EXISTS", "$1 OK done", "* 3 EXISTS")
			p.idles()
			p.done()
		})
		w := startWaiting(t, s, "INBOX")
		w.want(remote.Notice{Ready: true, Mailbox: "INBOX"})
		var last remote.Notice
		time.Sleep(9*time.Minute + time.Second)
		for len(w.notices) > 0 {
			last = <-w.notices
		}
		if last.Ready || last.Status.Messages != 3 {
			t.Errorf("told %+v, want 3 messages", last)
		}
		w.ends()
	})
}

// TestARestlessServerIsNotFollowed: one that does not let anybody idle is asked less and less often, and at once again when it does.
func TestARestlessServerIsNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rounds []time.Duration
		s := preauth(t, notifyCaps, Config{}, func(p *script) {
			from := time.Now()
			round := func() {
				p.asked()
				p.say("$1 OK done")
				p.idles()
				rounds = append(rounds, time.Since(from).Round(time.Second))
			}
			for range 10 {
				round()
				p.say("$1 OK idled")
			}
			round()
			time.Sleep(2 * time.Minute)
			p.say("$1 OK idled")
			for range 2 {
				round()
				p.say("$1 OK idled")
			}
			round()
			time.Sleep(30 * time.Second)
			p.say("$1 OK idled") // it lets us idle for a while
			round()
			p.done()
			p.expect(notifyReset)
			p.say("$1 OK")
		})
		w := startWaiting(t, s, "")
		time.Sleep(10 * time.Minute)
		w.ends()
		var want []time.Duration
		for _, s := range []int{0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 423, 424, 426, 456} {
			want = append(want, time.Duration(s)*time.Second)
		}
		if diff := cmp.Diff(want, rounds); diff != "" {
			t.Errorf("it is asked at (-want +got):\n%s", diff)
		}
	})
}

// TestADeadServerIsFound: the renewal finds it, with the patience of other calls.
func TestADeadServerIsFound(t *testing.T) {
	for _, mailbox := range []string{"INBOX", ""} {
		t.Run("mailbox "+mailbox, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := preauth(t, notifyCaps, Config{Patience: 20 * time.Second}, func(p *script) {
					p.beginWaiting(mailbox)
					p.line()
				})
				from := time.Now()
				w := startWaiting(t, s, mailbox)
				w.want(remote.Notice{Ready: true, Mailbox: mailbox})
				err := <-w.result
				if d := time.Since(from); remote.ClassOf(err) != remote.Lost || d < 9*time.Minute || d > 10*time.Minute {
					t.Errorf("after %v: %v", d, err)
				}
			})
		})
	}
}

// asked plays that the client asks to be told of everything.
func (p *script) asked() {
	p.expect("NOTIFY NONE")
	p.say("$1 OK done")
	p.expect(notifySet)
}

// beginWaiting plays all up to the IDLE.
func (p *script) beginWaiting(mailbox string) {
	if mailbox != "" {
		p.watched(1, 10)
	} else {
		p.asked()
		p.say("$1 OK done")
	}
	p.idles()
}

// TestWaitingEndsInTime: also if the server does not do its part.
func TestWaitingEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := preauth(t, idleCaps, Config{}, func(p *script) {
			p.beginWaiting("INBOX")
			p.line()
		})
		w := startWaiting(t, s, "INBOX")
		w.next()
		time.Sleep(time.Minute)
		from := time.Now()
		w.stop()
		err := <-w.result
		if d := time.Since(from); remote.ClassOf(err) != remote.Lost || d > endTime {
			t.Errorf("after %v: %v", d, err)
		}
	})
}

func TestWaitingThatFails(t *testing.T) {
	for _, tc := range []struct {
		name    string
		mailbox string
		play    func(p *script)
		class   remote.Class
		is      error
		words   string
	}{
		{"no such mailbox", "INBOX", func(p *script) {
			p.expect(`EXAMINE "INBOX" (CONDSTORE)`)
			p.say("$1 NO [NONEXISTENT] none")
		}, remote.Refused, remote.ErrNoMailbox, "none"},
		{"IDLE refused", "INBOX", func(p *script) {
			p.watched(1, 1)
			p.expect("IDLE")
			p.say("$1 NO not today")
		}, remote.Refused, nil, "not today"},
		{"NOTIFY refused", "", func(p *script) {
			p.asked()
			p.say("$1 NO [BADEVENT MailboxName] no")
		}, remote.Refused, nil, "BADEVENT"},
		{"IDLE refused after NOTIFY", "", func(p *script) {
			p.asked()
			p.say("$1 OK")
			p.expect("IDLE")
			p.say("$1 BAD which mailbox")
			p.expect(notifyReset)
			p.say("$1 OK")
		}, remote.Refused, nil, "which mailbox"},
		{"BYE", "INBOX", func(p *script) {
			p.beginWaiting("INBOX")
			p.raw("* BYE [UNAVAILABLE] going down\r\n") // and stays
		}, remote.Lost, nil, "going down"},
		{"hung up", "", func(p *script) {
			p.beginWaiting("")
			_ = p.c.Close()
		}, remote.Lost, nil, "closed the connection"},
		{"silent before it idles", "INBOX", func(p *script) {
			p.watched(1, 1)
			p.expect("IDLE")
		}, remote.Lost, nil, "silent"},
		{"throttled", "INBOX", func(p *script) {
			p.watched(1, 1)
			p.expect("IDLE")
			p.say("$1 BAD Request is throttled. Suggested Backoff Time: 300000 Milliseconds")
		}, remote.Unavailable, nil, "throttled"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := preauth(t, notifyCaps, Config{}, tc.play)
				err := s.Wait(t.Context(), tc.mailbox, func(remote.Notice) {})
				var e *remote.Error
				if !errors.As(err, &e) || e.Class != tc.class || tc.is != nil && !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.words) {
					t.Errorf("it ends with %v", err)
				}
				if broken := s.conn.Failure() != nil; broken != remote.Dead(err) {
					t.Errorf("%v, and the connection is broken: %v", err, broken)
				}
			})
		})
	}
}

func TestWaitingTakesTheExtension(t *testing.T) {
	for _, tc := range []struct {
		caps         string
		idle, notify bool
	}{
		{allCaps, false, false}, {idleCaps, true, false}, {notifyCaps, true, true}, {allCaps + " NOTIFY", false, false},
		{"IMAP4rev1 NOTIFY IDLE", true, false}, // no UNSELECT
	} {
		s := preauth(t, tc.caps, Config{}, func(*script) {})
		if caps := s.Capabilities(); caps.Idle != tc.idle || caps.Notify != tc.notify {
			t.Errorf("%s: %+v", tc.caps, caps)
		}
		over, cancel := context.WithCancel(t.Context())
		cancel()
		for mailbox, can := range map[string]bool{"INBOX": tc.idle, "": tc.notify} {
			err := s.Wait(over, mailbox, nil)
			if can && err != nil || !can && remote.ClassOf(err) != remote.Refused {
				t.Errorf("%s: waiting for %q: %v", tc.caps, mailbox, err)
			}
		}
	}
}

func TestNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan []string)
		s := preauth(t, notifyCaps, Config{}, func(p *script) {
			p.openBox7()
			p.expect("UNSELECT", "NOTIFY NONE", notifySet)
			p.say("$1 OK", "$2 OK", "* STATUS a (MESSAGES 4 HIGHESTMODSEQ 9)", "$3 OK")
			p.idles()
			for lines := range told {
				p.raw(strings.Join(lines, "\r\n") + "\r\n")
			}
			p.line() // after the overflow
			p.say("$1 OK")
			p.asked()
			p.say("$1 OK")
			p.idles()
			p.done()
			p.expect(notifyReset)
			p.say("$1 OK")
		})
		if _, err := s.Select(t.Context(), "INBOX"); err != nil {
			t.Fatal(err)
		}
		w := startWaiting(t, s, "")
		known := func(name string, st remote.Status) remote.Notice {
			return remote.Notice{Mailbox: name, Status: st, Known: true}
		}
		w.want(remote.Notice{Ready: true}, known("a", remote.Status{Messages: 4, HighestModSeq: 9}))
		for _, tc := range []struct {
			said []string
			want []remote.Notice
		}{
			{[]string{"* STATUS a (MESSAGES 5 UIDNEXT 7 UIDVALIDITY 3 HIGHESTMODSEQ 10)"}, []remote.Notice{
				known("a", remote.Status{UIDValidity: 3, UIDNext: 7, Messages: 5, HighestModSeq: 10})}},
			{[]string{"* STATUS a (UNSEEN 0 HIGHESTMODSEQ 11)", "* STATUS iNbOx (UIDNEXT 7 MESSAGES 2)"}, []remote.Notice{
				{Mailbox: "INBOX", Status: remote.Status{UIDNext: 7, Messages: 2}}, known("a", remote.Status{HighestModSeq: 11})}},
			{[]string{"* STATUS a (MESSAGES 5 UIDNEXT 8 HIGHESTMODSEQ 12)", "* STATUS a (HIGHESTMODSEQ 13)"}, []remote.Notice{
				known("a", remote.Status{UIDNext: 8, Messages: 5, HighestModSeq: 13})}},
			{[]string{"* STATUS a (HIGHESTMODSEQ 15)", "* STATUS a (HIGHESTMODSEQ 14)"}, []remote.Notice{ // backwards
				{Mailbox: "a", Status: remote.Status{HighestModSeq: 14}}}},
			{[]string{"* STATUS a (MESSAGES 0 HIGHESTMODSEQ 16)"}, []remote.Notice{ // 0 is not told
				{Mailbox: "a", Status: remote.Status{HighestModSeq: 16}}}},
			{[]string{`* LIST () "/" b`, `* LIST (\NonExistent) "/" c`, "* STATUS b (HIGHESTMODSEQ 1)"}, []remote.Notice{
				{Folders: true}, known("b", remote.Status{HighestModSeq: 1})}},
			{[]string{"* STATUS {3}\r\na\nb (HIGHESTMODSEQ 1)"}, []remote.Notice{{Folders: true}}},
			{[]string{"* 5 EXISTS", "* 1 FETCH (FLAGS ())", "* OK [NOTIFICATIONOVERFLOW] too much"}, []remote.Notice{{Folders: true}}},
		} {
			told <- tc.said
			w.want(tc.want...)
		}
		close(told)
		w.want(remote.Notice{Ready: true})
		w.ends()
		w.none()
	})
}

// TestNotifyIsAskedForAnew: soon after the server told of something, for it may tell of nothing more.
func TestNotifyIsAskedForAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := preauth(t, notifyCaps, Config{}, func(p *script) {
			p.beginWaiting("")
			time.Sleep(time.Minute)
			for i := range 3 {
				p.say(fmt.Sprintf("* STATUS a (MESSAGES %d HIGHESTMODSEQ %[1]d)", i+1))
				from := time.Now()
				p.done()
				if d := time.Since(from); d < refreshAfter || d > refreshAfter+time.Second {
					t.Errorf("asked anew after %v", d)
				}
				p.beginWaiting("")
			}
			from := time.Now()
			p.done()
			if d := time.Since(from); d < 7*time.Minute {
				t.Errorf("asked anew after %v though nothing was told", d)
			}
			p.expect(notifyReset)
			p.say("$1 OK")
		})
		w := startWaiting(t, s, "")
		w.want(remote.Notice{Ready: true})
		for i := range uint64(3) {
			w.want(remote.Notice{Mailbox: "a", Status: remote.Status{Messages: uint32(i + 1), HighestModSeq: i + 1}, Known: true}, remote.Notice{Ready: true})
		}
		time.Sleep(7 * time.Minute)
		w.ends()
	})
}

func (p *script) openBox7() {
	p.expect(`SELECT "INBOX" (CONDSTORE)`)
	p.say(selected(1, 2, 5)...)
	p.say("$1 OK [READ-WRITE] open")
}

// TestAFloodIsGathered: whatever comes is told in few notices, and nothing of it is kept.
func TestAFloodIsGathered(t *testing.T) {
	const lines, block = 6_000, 2000
	for _, tc := range []struct {
		mailbox, line string
		most          int // notices, 0: no more than one in each lull
	}{
		{"INBOX", "* 1 FETCH (UID 1 MODSEQ (%d) FLAGS (\\Seen))", 0},
		{"INBOX", "* OK noise %d", 1},
		{"", "* STATUS one (HIGHESTMODSEQ %d)", 0},
		{"", "* STATUS box%d (HIGHESTMODSEQ 7)", lines + 10}, // more than are remembered
		{"", `* LIST () "/" box%d`, 0},
	} {
		t.Run(tc.line, func(t *testing.T) {
			s := preauth(t, notifyCaps, Config{Trace: func(byte, string) {}}, func(p *script) {
				p.beginWaiting(tc.mailbox)
				var b strings.Builder
				for n := range lines {
					fmt.Fprintf(&b, tc.line+"\r\n", n)
					if n%block == block-1 {
						p.raw(b.String())
						b.Reset()
					}
				}
				p.raw("* BYE over\r\n")
			})
			told, folders := 0, 0
			var before, during runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			began := time.Now()
			err := s.Wait(t.Context(), tc.mailbox, func(n remote.Notice) {
				if told++; n.Folders {
					folders++
				}
			})
			most := tc.most
			if most == 0 {
				most = 3 + int(time.Since(began)/lull)
			}
			runtime.GC()
			runtime.ReadMemStats(&during)
			if remote.ClassOf(err) != remote.Lost || !strings.Contains(err.Error(), "over") {
				t.Errorf("it ends with %v", err)
			}
			if told > most {
				t.Errorf("%d notices", told)
			}
			if grown := int64(during.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
				t.Errorf("%d bytes are kept", grown)
			}
			t.Logf("%d notices, %d of them of folders", told, folders)
		})
	}
}

func TestAnEndlessFloodEnds(t *testing.T) {
	s := preauth(t, idleCaps, Config{Trace: func(byte, string) {}}, func(p *script) {
		p.beginWaiting("INBOX")
		for block := strings.Repeat("* OK noise\r\n", 5000); ; {
			if _, err := p.c.Write([]byte(block)); err != nil {
				return
			}
		}
	})
	if err := s.Wait(t.Context(), "INBOX", func(remote.Notice) {}); remote.ClassOf(err) != remote.Protocol {
		t.Errorf("it ends with %v", err)
	}
}

func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := preauth(t, allCaps, Config{}, func(p *script) {
			p.expect("NOOP")
			p.say("$1 OK")
			p.expect("NOOP")
		})
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
		from := time.Now()
		if err := s.Check(t.Context()); remote.ClassOf(err) != remote.Lost || time.Since(from) != checkTime {
			t.Errorf("after %v: %v", time.Since(from), err)
		}
	})
}

// TestThrottlingEndsTheSession: whatever was asked, all that might be asked next would be answered the same.
func TestThrottlingEndsTheSession(t *testing.T) {
	for _, tc := range []struct {
		answer string
		class  remote.Class
		retry  time.Duration
	}{
		{"BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds", remote.Unavailable, 299961 * time.Millisecond},
		{"NO Suggested Backoff Time: 300000 Milliseconds", remote.Unavailable, 5 * time.Minute},
		{"NO [THROTTLED] slow down", remote.Unavailable, 0},
		{"NO [UNAVAILABLE] that mailbox's disk is away", remote.Refused, 0},
		{"NO [LIMIT] no mailbox more", remote.Refused, 0},
	} {
		t.Run(tc.answer, func(t *testing.T) {
			s := preauth(t, allCaps, Config{}, func(p *script) {
				p.expect(`CREATE "x"`)
				p.say("$1 " + tc.answer)
			})
			err := s.Create(t.Context(), "x")
			e, ok := errors.AsType[*remote.Error](err)
			if !ok || e.Class != tc.class || e.RetryAfter != tc.retry || e.Text == "" || e.Op == "" {
				t.Errorf("got %#v", err)
			}
			if remote.Dead(err) {
				if again := s.Check(t.Context()); remote.ClassOf(again) != tc.class {
					t.Errorf("the next call gives %v", again)
				}
			}
		})
	}
}
