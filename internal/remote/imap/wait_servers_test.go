package imap

import (
	"slices"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// until returns the first notice for which is true; those before it do not matter.
func (w *waiter) until(what string, is func(remote.Notice) bool) remote.Notice {
	w.t.Helper()
	for {
		n := w.next()
		if is(n) {
			return n
		}
		w.t.Logf("before %s: %+v", what, n)
	}
}

func ofBox(name string) func(remote.Notice) bool {
	return func(n remote.Notice) bool { return !n.Ready && n.Mailbox == name }
}

// TestIdleOnServers: what another client does is told, and the session is of use afterwards.
func TestIdleOnServers(t *testing.T) {
	for name, start := range map[string]func() *servers.Server{
		"dovecot":                   func() *servers.Server { return servers.Dovecot(t, servers.Options{}) },
		"dovecot without CONDSTORE": func() *servers.Server { return servers.Dovecot(t, servers.Options{}) },
		"cyrus":                     func() *servers.Server { return servers.Cyrus(t, servers.Options{}) },
		"courier":                   func() *servers.Server { return servers.Courier(t, servers.Options{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start()
			other, cfg := server.Client(t), configFor(server)
			if name == "dovecot without CONDSTORE" {
				cfg.Disable = []string{"CONDSTORE", "QRESYNC"}
			}
			s := dial(t, cfg)
			if !s.Capabilities().Idle {
				t.Fatal("no IDLE")
			}
			target, err := s.MailboxName([]string{"Elsewhere"})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Create(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			uid := other.Append("INBOX", letter(1), mail.Flags{}, time.Time{})
			w := startWaiting(t, s, "INBOX")
			if n := w.next(); !n.Ready {
				t.Errorf("the first notice is %+v", n)
			}
			for _, act := range []struct {
				what     string
				do       func()
				messages uint32
			}{
				{"append", func() { uid = max(uid, other.Append("INBOX", letter(2), mail.Flags{}, time.Time{})) }, 2},
				{"flag", func() { other.Store("INBOX", true, mail.SystemFlags(mail.Flagged), other.Index("INBOX")[0].UID) }, 2},
				{"move", func() { other.Move("INBOX", readName(target), other.Index("INBOX")[0].UID) }, 1},
				{"expunge", func() { other.Expunge("INBOX", other.Index("INBOX")[0].UID) }, 0},
			} {
				from := time.Now()
				act.do()
				n := w.until(act.what, func(n remote.Notice) bool { return ofBox("INBOX")(n) && n.Status.Messages == act.messages })
				t.Logf("%s: told after %v: %+v", act.what, time.Since(from).Round(time.Millisecond), n)
			}
			w.ends()
			if _, err := s.Changes(t.Context(), remote.Box{Name: "INBOX"}, remote.Since{}); err != nil {
				t.Error(err)
			}
			if fates := appendAll(t, s, "INBOX", upload(letter(1), mail.Flags{}, time.Time{})); fates[0].Err != nil {
				t.Error(fates[0].Err)
			}
		})
	}
}

func TestNotifyOnDovecot(t *testing.T) {
	t.Parallel()
	server := servers.Dovecot(t, servers.Options{})
	other := server.Client(t)
	other.Create("A")
	other.Create("B")
	s := dial(t, configFor(server))
	if _, err := s.Select(t.Context(), "A"); err != nil { // it is told of, too
		t.Fatal(err)
	}
	w := startWaiting(t, s, "")
	if n := w.next(); !n.Ready {
		t.Errorf("the first notice is %+v", n)
	}
	var uid mail.UID
	for _, act := range []struct {
		what string
		do   func()
		is   func(remote.Notice) bool
	}{
		{"append", func() { uid = other.Append("A", letter(1), mail.Flags{}, time.Time{}) }, func(n remote.Notice) bool {
			return ofBox("A")(n) && n.Known && n.Status.Messages == 1 && n.Status.UIDNext == uid+1 && n.Status.HighestModSeq > 0
		}},
		{"append to INBOX", func() { other.Append("INBOX", letter(1), mail.Flags{}, time.Time{}) }, ofBox("INBOX")},
		{"flag", func() { other.Store("A", true, mail.SystemFlags(mail.Flagged), uid) }, func(n remote.Notice) bool { return ofBox("A")(n) && n.Known }},
		{"keyword", func() { other.Store("A", true, mail.NewFlags("word"), uid) }, func(n remote.Notice) bool { return ofBox("A")(n) && n.Known }},
		{"move", func() { other.Move("A", "B", uid) }, ofBox("B")},
		{"expunge", func() { other.Expunge("B", 1) }, ofBox("B")},
		{"create", func() { other.Create("C") }, func(n remote.Notice) bool { return n.Folders }},
		{"append to it", func() { other.Append("C", letter(1), mail.Flags{}, time.Time{}) }, ofBox("C")},
		{"subscribe", func() { other.Subscribe("A") }, func(n remote.Notice) bool { return n.Folders }},
		{"delete", func() { other.Delete("C") }, func(n remote.Notice) bool { return n.Folders }},
	} {
		from := time.Now()
		act.do()
		n := w.until(act.what, act.is)
		t.Logf("%s: told after %v: %+v", act.what, time.Since(from).Round(time.Millisecond), n)
	}
	w.ends()
	// Afterwards the server tells of the mailbox that is open, and of no other.
	if _, err := s.Select(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	other.Append("A", letter(2), mail.Flags{}, time.Time{})
	if err := s.Check(t.Context()); err != nil || s.sel.exists != 1 {
		t.Errorf("one message came to a mailbox that is open, and it counts %d, %v", s.sel.exists, err)
	}
	w = startWaiting(t, s, "A")
	w.next()
	w.ends()
}

// BenchmarkNotices measures how long servers take to tell: go test ./internal/remote/imap -run '^$' -bench Notices -benchtime 100x
func BenchmarkNotices(b *testing.B) {
	dovecot := func(o servers.Options) func(testing.TB) *servers.Server {
		return func(t testing.TB) *servers.Server { return servers.Dovecot(t, o) }
	}
	cyrus := func(t testing.TB) *servers.Server { return servers.Cyrus(t, servers.Options{}) }
	for _, bc := range []struct {
		name    string
		start   func(testing.TB) *servers.Server
		mailbox string
		ask     bool // by NOOP instead of waiting
	}{
		{"Dovecot, IDLE", dovecot(servers.Options{}), "INBOX", false},
		{"Dovecot, IDLE, mailbox_idle_check_interval of a second", dovecot(servers.Options{Config: "mailbox_idle_check_interval = 1 secs"}), "INBOX", false},
		{"Dovecot, NOTIFY", dovecot(servers.Options{}), "", false},
		{"Dovecot, NOOP", dovecot(servers.Options{}), "INBOX", true},
		{"Cyrus, IDLE", cyrus, "INBOX", false},
	} {
		b.Run(bc.name, func(b *testing.B) {
			server := bc.start(b)
			other, s := server.Client(b), dial(b, configFor(server))
			var told func(messages uint32)
			if bc.ask {
				if _, err := s.Select(b.Context(), bc.mailbox); err != nil {
					b.Fatal(err)
				}
				told = func(messages uint32) {
					for s.sel.exists != messages {
						if err := s.Check(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
				}
			} else {
				w := startWaiting(b, s, bc.mailbox)
				w.next()
				defer w.ends()
				told = func(messages uint32) {
					for n := w.next(); n.Mailbox != "INBOX" || n.Status.Messages != messages; n = w.next() {
					}
				}
			}
			var took []time.Duration
			for i := range b.N {
				if i%50 == 49 {
					other = server.Client(b) // an observer is patient for a minute
				}
				other.Append("INBOX", letter(i), mail.Flags{}, time.Time{})
				from := time.Now()
				told(uint32(i + 1))
				took = append(took, time.Since(from))
				time.Sleep(time.Duration(i) * 997 * time.Microsecond) // else each begins where the last timer ended
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
