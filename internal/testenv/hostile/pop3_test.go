//go:build !race

package hostile_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/remote/pop3"
	"github.com/satchel-mail/satchel/internal/remote/transport"
	"github.com/satchel-mail/satchel/internal/testenv/hostile"
	"github.com/satchel-mail/satchel/internal/testenv/popserver"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// popWorld is an account over POP3: four messages that are known, and three new ones, one of which is large.
type popWorld struct {
	*world
	server *popserver.Server
	mail   []popserver.Message
}

const popForever = -1

func newPOPWorld(t *testing.T, leaveFor time.Duration) *popWorld {
	t.Helper()
	w := &popWorld{world: &world{t: t, dir: t.TempDir(), now: time.Now(), flooded: true}}
	for i := range 7 {
		body := text(fmt.Sprintf("pop%d", i))
		if i == 5 {
			body += strings.Repeat("large and larger\r\n", 4000)
		}
		w.mail = append(w.mail, popserver.Message{ID: fmt.Sprintf("name%d", i), Body: body})
	}
	w.server = popserver.New(t, w.mail[:4]...)
	w.root = w.dir + "/mail"
	w.set = mailsync.Settings{
		Account: "test", Owner: state.Owner{Kind: "pop3", Host: "hostile", User: "u"}, Root: w.root, Layout: maildir.Nested, Connections: 1,
		Policy:   plan.Policy{Mode: plan.Archive, Maildrop: true, Create: plan.CreateBoth},
		LeaveFor: popForever, Undo: time.Hour,
	}
	w.sync(patient, time.Minute)
	w.set.LeaveFor = leaveFor
	w.server.Put(w.mail...)
	return w
}

// sync runs the engine once, which must end in time.
func (w *popWorld) sync(patience, most time.Duration) *mailsync.Result {
	w.t.Helper()
	w.now = w.now.Add(time.Minute)
	ctx, cancel := context.WithTimeout(w.t.Context(), most)
	defer cancel()
	dialer := pop3.NewDialer(pop3.Config{
		Transport: transport.Config{Host: "127.0.0.1", Port: w.server.Port(), TLS: transport.Off}, User: "u", Secret: auth.Literal("secret"), Patience: patience,
	})
	res := mailsync.Sync(ctx, w.set, mailsync.World{Dialer: dialer, Now: func() time.Time { return w.now }}, mailsync.Options{})
	if ctx.Err() != nil {
		w.t.Fatalf("it went on for %v: %v", most, res.Fatal)
	}
	return res
}

// unharmed fails the test unless each message is on the server or whole in the Maildir, and what was known still is there.
func (w *popWorld) unharmed() {
	w.t.Helper()
	there := w.server.Mail()
	for i, m := range w.mail {
		if n := w.count(m.Body); n == 0 && (i < 4 || !slices.Contains(there, m)) {
			w.t.Errorf("message %d is lost", i)
		}
	}
}

// recovers runs against the honest server, a day later too, and fails the test unless each message is in the Maildir, once. putOff is how many
// of them may be left on the server, because more came of them than can be.
func (w *popWorld) recovers(putOff int) {
	w.t.Helper()
	w.server.Set(popserver.Quirks{})
	for range 2 {
		if res := w.sync(patient, time.Minute); res.Fatal != nil || len(res.Errors) > 0 {
			w.t.Errorf("with an honest server: %v %v", res.Fatal, res.Errors)
		}
		w.now = w.now.Add(25 * time.Hour)
	}
	missing := 0
	for i, m := range w.mail {
		switch n := w.count(m.Body); {
		case n > 1:
			w.t.Errorf("message %d is there %d times", i, n)
		case n == 0:
			missing++
		}
	}
	left := len(w.server.Mail())
	if missing > putOff || w.set.LeaveFor == popForever && left != len(w.mail) || w.set.LeaveFor == 0 && left != missing {
		w.t.Errorf("%d messages are missing in the Maildir", missing)
		w.t.Errorf("%d messages are left on the server", left)
	}
}

// TestPOP3EveryTurn is TestEveryTurn for POP3.
func TestPOP3EveryTurn(t *testing.T) {
	const short = 300 * time.Millisecond
	ends := []struct {
		name     string
		patience time.Duration
		do       func(x *popserver.Exchange)
	}{
		{"hang up before the answer", patient, func(x *popserver.Exchange) { x.Answer, x.HangUp = nil, true }},
		{"hang up after the answer", patient, func(x *popserver.Exchange) { x.HangUp = true }},
		{"half the answer", patient, func(x *popserver.Exchange) { x.Answer, x.HangUp = x.Answer[:len(x.Answer)/2], true }},
		{"-ERR", patient, func(x *popserver.Exchange) { x.Answer = []byte("-ERR [SYS/TEMP] not this one\x1b[2J\r\n") }},
		{"an empty +OK", patient, func(x *popserver.Exchange) { x.Answer = []byte("+OK\r\n.\r\n"); x.HangUp = true }},
		{"silence before the answer", short, func(x *popserver.Exchange) { x.Answer, x.Silence = nil, true }},
		{"silence in the answer", short, func(x *popserver.Exchange) { x.Answer, x.Silence = x.Answer[:len(x.Answer)/2], true }},
	}
	for _, end := range ends {
		for _, leaveFor := range []time.Duration{popForever, 0} {
			t.Run(fmt.Sprintf("%s, left for %v", end.name, leaveFor), func(t *testing.T) {
				t.Parallel()
				for at, more := 0, true; more; at++ {
					w := newPOPWorld(t, leaveFor)
					happened := false
					w.server.Set(popserver.Quirks{Act: func(x *popserver.Exchange) {
						if x.N == at {
							happened = true
							end.do(x)
						}
					}})
					w.sync(end.patience, time.Minute)
					w.unharmed()
					w.recovers(0)
					if more = happened; more && t.Failed() {
						t.Fatalf("at exchange %d", at)
					}
				}
				t.Log("all turns")
			})
		}
	}
}

// rewritten replaces what a pattern finds in the answers to some commands.
func rewritten(pattern, replacement string, verbs ...string) func(*popserver.Exchange) {
	re := regexp.MustCompile(pattern)
	return func(x *popserver.Exchange) {
		if x.Is(verbs...) {
			x.Answer = re.ReplaceAll(x.Answer, []byte(replacement))
		}
	}
}

// TestPOP3Lies: what STAT, LIST, UIDL and RETR say can't be, or contradicts the others. (sync: TestMaildropShort has RETR say too little.)
func TestPOP3Lies(t *testing.T) {
	names := func(n int) func(*popserver.Exchange) {
		return rewritten(`(?m)^(\d+) .*\r$`, "${1} "+strings.Repeat("x", n)+"\r", "UIDL")
	}
	for name, act := range map[string]func(*popserver.Exchange){
		"STAT has none":                   rewritten(`\d+ \d+`, "0 0", "STAT"),
		"STAT has more":                   rewritten(`\d+ \d+`, "4294967296 9", "STAT"),
		"STAT is beyond all":              rewritten(`\d+ \d+`, "99999999999999999999 99999999999999999999", "STAT"),
		"STAT is negative":                rewritten(`\d+ \d+`, "-7 -1", "STAT"),
		"LIST is empty":                   rewritten(`(?m)^\d+ .*\r\n`, "", "LIST"),
		"LIST has sizes of nothing":       rewritten(`(?m)^(\d+) \d+`, "${1} 0", "LIST"),
		"LIST has sizes beyond all":       rewritten(`(?m)^(\d+) \d+`, "${1} 9223372036854775807", "LIST"),
		"LIST has sizes that are none":    rewritten(`(?m)^(\d+) \d+`, "${1} -1", "LIST"),
		"LIST has words":                  rewritten(`(?m)^(\d+) \d+`, "one two", "LIST"),
		"LIST has one number for all":     rewritten(`(?m)^(\d+) `, "1 ", "LIST"),
		"LIST has numbers beyond all":     rewritten(`(?m)^(\d+) `, "429496729${1} ", "LIST"),
		"LIST lacks some":                 rewritten(`(?m)^[135] .*\r\n`, "", "LIST"),
		"UIDL is empty":                   rewritten(`(?m)^\d+ .*\r\n`, "", "UIDL"),
		"UIDL lacks some":                 rewritten(`(?m)^[246] .*\r\n`, "", "UIDL"),
		"UIDL has one name for all":       names(5),
		"UIDL has names without end":      names(5000),
		"UIDL has no names":               names(0),
		"UIDL has the names of others":    rewritten(`name(\d)`, "name${1}0", "UIDL"),
		"UIDL has bytes that no name has": rewritten(`name(\d)`, "\x00\x1b\xff${1}", "UIDL"),
		"UIDL says each twice":            rewritten(`(?m)^(\d+ .*\r\n)`, "${1}${1}", "UIDL"),
		"all of them are empty":           rewritten(`(?s).*`, "+OK\r\n.\r\n", "LIST", "UIDL", "STAT"),
		"RETR gives nothing":              rewritten(`(?s).*`, "+OK\r\n.\r\n", "RETR"),
		"RETR refuses":                    rewritten(`(?s).*`, "-ERR no\r\n", "RETR"),
		"DELE refuses":                    rewritten(`(?s).*`, "-ERR no\r\n", "DELE"),
		"QUIT refuses":                    rewritten(`(?s).*`, "-ERR some were not removed\r\n", "QUIT"),
		"neither +OK nor -ERR":            rewritten(`^(\+OK|-ERR)`, "* OK", "CAPA", "STAT", "LIST", "UIDL", "RETR", "DELE", "QUIT"),
	} {
		for _, leaveFor := range []time.Duration{popForever, 0} {
			t.Run(fmt.Sprintf("%s, left for %v", name, leaveFor), func(t *testing.T) {
				t.Parallel()
				w := newPOPWorld(t, leaveFor)
				w.server.Set(popserver.Quirks{Act: act})
				w.sync(patient, time.Minute)
				w.unharmed()
				w.recovers(0)
			})
		}
	}
}

// TestPOP3Floods is TestFloods for POP3.
func TestPOP3Floods(t *testing.T) {
	const modest = 48 << 20
	for _, tt := range []struct {
		name, begin string
		piece       func(int) string
		at          []string
	}{
		{"a line without an end", "+OK ", func(int) string { return strings.Repeat("x", 1000) }, []string{"", "CAPA", "USER", "PASS", "STAT", "LIST", "UIDL", "RETR", "DELE", "QUIT"}},
		{"lines without an end", "+OK\r\n", func(n int) string { return fmt.Sprintf("X%d\r\n", n) }, []string{"CAPA"}},
		{"messages without an end", "+OK\r\n", func(n int) string { return fmt.Sprintf("%d 100\r\n", n) }, []string{"LIST"}},
		{"names without an end", "+OK\r\n", func(n int) string { return fmt.Sprintf("%d name-%d\r\n", n, n) }, []string{"UIDL"}},
		{"one message without an end", "+OK\r\n", func(int) string { return "1 100\r\n" }, []string{"LIST", "UIDL"}},
		{"a header without an end", "+OK\r\n", func(n int) string { return fmt.Sprintf("X-%d: y\r\n", n) }, []string{"TOP", "RETR"}},
		{"an answer to nothing without an end", "", func(int) string { return "+OK\r\n" }, []string{"", "STAT", "LIST"}},
		{"rubbish without an end", "", func(int) string { return "\x00\xff\x1b[2J\r\n" }, []string{"", "LIST"}},
	} {
		for _, at := range tt.at {
			t.Run(tt.name+" at "+at, func(t *testing.T) {
				w := newPOPWorld(t, 0)
				flooded := 0
				w.server.Set(popserver.Quirks{Act: func(x *popserver.Exchange) {
					if x.Is(at) && flooded == 0 {
						flooded++
						hostile.Flood(x, tt.begin, tt.piece)
						x.Answer, x.HangUp = nil, true
					}
				}})
				stop := heap()
				start := time.Now()
				w.sync(5*time.Second, 2*time.Minute)
				took, memory := time.Since(start), stop()
				t.Logf("%v, %d MB", took.Round(time.Millisecond), memory>>20)
				if memory > modest || took > 45*time.Second {
					t.Errorf("%d MB of memory, %v", memory>>20, took)
				}
				w.unharmed()
				putOff := 0
				if at == "RETR" {
					putOff = flooded
				}
				w.recovers(putOff)
			})
		}
	}
}
