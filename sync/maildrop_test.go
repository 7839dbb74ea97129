package sync_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/pop3"
	"github.com/satchel-mail/satchel/internal/remote/transport"
	"github.com/satchel-mail/satchel/internal/testenv/popserver"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// popWorld is an account over POP3 with a server that can misbehave.
type popWorld struct {
	t      *testing.T
	server *popserver.Server
	set    mailsync.Settings
	world  mailsync.World // but for the server and the clock
	now    time.Time
}

const forever = -1

func newPopWorld(t *testing.T, leaveFor time.Duration, mail ...popserver.Message) *popWorld {
	t.Helper()
	w := &popWorld{t: t, server: popserver.New(t, mail...), now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	w.set = mailsync.Settings{
		Account: "me", Owner: state.Owner{Kind: "pop3", Host: "h", User: "u"}, Root: filepath.Join(t.TempDir(), "Mail"), Layout: maildir.Nested, Connections: 1,
		Policy:   plan.Policy{Mode: plan.Archive, Maildrop: true, Create: plan.CreateBoth, Guard: plan.Guard{ByShare: true, Share: 0.5}},
		LeaveFor: leaveFor, Undo: time.Hour,
	}
	return w
}

func (w *popWorld) dialer() *pop3.Dialer {
	return pop3.NewDialer(pop3.Config{
		Transport: transport.Config{Host: "127.0.0.1", Port: w.server.Port(), TLS: transport.Off}, User: "u", Secret: auth.Literal("secret"),
		Patience: 10 * time.Second, MaxMessage: w.set.MaxMessageSize,
	})
}

// run synchronises once.
func (w *popWorld) run(o mailsync.Options) *mailsync.Result {
	w.t.Helper()
	world := w.world
	if testing.Verbose() {
		world.Log = slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	world.Dialer, world.Now = w.dialer(), func() time.Time { return w.now }
	return mailsync.Sync(w.t.Context(), w.set, world, o)
}

// sync is run, which must go well.
func (w *popWorld) sync() *mailsync.Result {
	w.t.Helper()
	r := w.run(mailsync.Options{})
	if r.Fatal != nil || len(r.Errors) > 0 {
		w.t.Fatalf("%v, %v", r.Fatal, r.Errors)
	}
	return r
}

// brought fails the test unless a sync brings so many messages and deletes so many on the server.
func (w *popWorld) brought(fresh, deleted int) {
	w.t.Helper()
	if r := w.sync(); r.ToMaildir.New != fresh || r.ToServer.Deleted != deleted || r.ToMaildir.Deleted != 0 {
		w.t.Fatalf("brought %+v, deleted %+v; want %d and %d", r.ToMaildir, r.ToServer, fresh, deleted)
	}
}

// paths are the message files.
func (w *popWorld) paths() []string {
	w.t.Helper()
	var out []string
	for _, sub := range []string{"new", "cur"} {
		found, err := filepath.Glob(filepath.Join(w.set.Root, "*", sub, "*"))
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, found...)
	}
	return out
}

// has fails the test unless the Maildir holds exactly these messages.
func (w *popWorld) has(want ...popserver.Message) {
	w.t.Helper()
	var got, bodies []string
	for _, p := range w.paths() {
		b, err := os.ReadFile(p)
		if err != nil {
			w.t.Fatal(err)
		}
		got = append(got, strings.ReplaceAll(string(b), "\n", "\r\n"))
	}
	for _, m := range want {
		bodies = append(bodies, m.Body)
	}
	slices.Sort(got)
	slices.Sort(bodies)
	if !slices.Equal(got, bodies) {
		w.t.Fatalf("the Maildir holds\n%q\nwant\n%q", got, bodies)
	}
}

func (w *popWorld) remove(m popserver.Message) {
	w.t.Helper()
	for _, p := range w.paths() {
		if b, err := os.ReadFile(p); err == nil && strings.ReplaceAll(string(b), "\n", "\r\n") == m.Body {
			if err := os.Remove(p); err != nil {
				w.t.Fatal(err)
			}
			return
		}
	}
	w.t.Fatalf("no file holds %q", m.Body)
}

// pop makes the nth message; all are of one size.
func pop(id string, n int) popserver.Message {
	return popserver.Message{ID: id, Body: fmt.Sprintf("From: a@example.org\r\nMessage-ID: <%03d@example.org>\r\nDate: Fri, 1 May 2026 10:00:00 +0000\r\n\r\nbody %03d\r\n", n, n)}
}

func pops(n int) []popserver.Message {
	var out []popserver.Message
	for i := range n {
		out = append(out, pop(fmt.Sprintf("id%d", i), i))
	}
	return out
}

// TestMaildropWithoutUIDL: messages are known by their content.
func TestMaildropWithoutUIDL(t *testing.T) {
	for _, q := range []popserver.Quirks{{NoUIDL: true}, {NoUIDL: true, NoTOP: true, NoCapa: true}} {
		mail := pops(12)
		mail = append(mail, mail[3]) // two that are alike are two
		w := newPopWorld(t, forever, mail...)
		w.server.Set(q)
		w.brought(13, 0)
		w.brought(0, 0)
		w.server.Put(append([]popserver.Message{pop("x", 99)}, mail[1:]...)...) // others' numbers are other ones now
		w.brought(1, 0)
		w.remove(mail[5])
		w.brought(0, 0)
		w.brought(0, 0)
		w.has(append(slices.Delete(slices.Clone(mail), 5, 6), pop("x", 99))...)
		w.set.LeaveFor = 0 // "never"
		w.brought(0, 13)
		if n := len(w.server.Mail()); n != 0 {
			t.Errorf("%d are left", n)
		}
		w.brought(0, 0)
	}
}

// TestMaildropSameUIDL: of two messages with one name none is taken for the other, and none is deleted unseen.
func TestMaildropSameUIDL(t *testing.T) {
	a, b, c := pop("same", 1), pop("same", 2), pop("other", 3)
	w := newPopWorld(t, forever, a, b, c)
	w.brought(3, 0)
	w.brought(0, 0)
	w.server.Put(b, c) // which of the two is left
	w.brought(0, 0)
	d := pop("same", 4)
	w.server.Put(b, c, d)
	w.brought(1, 0)
	w.has(a, b, c, d)
	w.set.LeaveFor = 0
	w.brought(0, 3)
	w.has(a, b, c, d)
}

// TestMaildropUIDLOfAnother: a name that is given to another message later does not hide that one.
func TestMaildropUIDLOfAnother(t *testing.T) {
	w := newPopWorld(t, forever, pop("1", 1), pop("2", 2))
	w.brought(2, 0)
	other := popserver.Message{ID: "1", Body: pop("1", 7).Body + "longer\r\n"}
	w.server.Put(other, pop("2", 2))
	w.brought(1, 0)
	w.has(pop("", 1), pop("", 2), other)
	// One that had left the server, of the same size.
	w.server.Put(pop("2", 2))
	w.brought(0, 0)
	w.server.Put(pop("2", 2), pop("1", 8))
	w.brought(1, 0)
}

// TestMaildropDeletesNoOther: what a name meant when it was downloaded is looked at again before the message of that name is deleted.
func TestMaildropDeletesNoOther(t *testing.T) {
	for _, byPerson := range []bool{false, true} {
		w := newPopWorld(t, 30*24*time.Hour, pop("1", 1), pop("2", 2), pop("3", 3))
		w.set.Policy.UntilDeleted = byPerson
		w.brought(3, 0)
		other := pop("1", 7)
		w.server.Put(other, pop("2", 2), pop("3", 3))
		w.brought(0, 0)
		if byPerson {
			w.remove(pop("1", 1))
			w.brought(1, 0)
			w.has(other, pop("2", 2), pop("3", 3))
			continue
		}
		w.now = w.now.Add(31 * 24 * time.Hour)
		w.brought(1, 2)
		w.has(pop("1", 1), pop("2", 2), pop("3", 3), other)
		if left := w.server.Mail(); len(left) != 1 || left[0].Body != other.Body {
			t.Errorf("the server has %v", left)
		}
		w.brought(0, 0)
	}
}

// TestMaildropTooLargeComesAgain: what was never transferred and was not listed once is not taken for what the person has deleted.
func TestMaildropTooLargeComesAgain(t *testing.T) {
	large := popserver.Message{ID: "L", Body: pop("", 9).Body + strings.Repeat("x", 500) + "\r\n"}
	w := newPopWorld(t, 0, pop("1", 1), large)
	w.set.MaxMessageSize = 400
	w.brought(1, 1)
	w.server.Put()
	w.brought(0, 0)
	w.server.Put(large)
	for range 3 {
		w.brought(0, 0)
	}
	if left := w.server.Mail(); len(left) != 1 {
		t.Fatalf("the server has %v", left)
	}
	w.set.MaxMessageSize = 0
	w.brought(1, 0)
	w.brought(0, 1)
}

// TestMaildropTruncatedFile: a file that is not what was stored is no reason to delete the server's message.
func TestMaildropTruncatedFile(t *testing.T) {
	w := newPopWorld(t, 24*time.Hour, pop("1", 1))
	w.brought(1, 0)
	if err := os.Truncate(w.paths()[0], 0); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(48 * time.Hour)
	for range 2 {
		if r := w.run(mailsync.Options{}); r.ToServer.Deleted != 0 || len(r.Errors) == 0 {
			t.Errorf("deleted %d, errors %v", r.ToServer.Deleted, r.Errors)
		}
	}
	if left := w.server.Mail(); len(left) != 1 {
		t.Fatalf("the server has %v", left)
	}
}

// TestMaildropDamagedFile: a file with the header and size of a message is not that message before all of it was compared.
func TestMaildropDamagedFile(t *testing.T) {
	m := pop("1", 1)
	w := newPopWorld(t, 0, m)
	damaged := strings.ReplaceAll(strings.Replace(m.Body, "body 001", "\x00\x00\x00\x00\x00\x00\x00\x00", 1), "\r\n", "\n")
	w.own("INBOX", damaged)
	w.brought(1, 1)
	w.has(m, popserver.Message{Body: strings.ReplaceAll(damaged, "\n", "\r\n")})
}

// TestMaildropOtherUIDLs: all names are others, after an upgrade or in every session.
func TestMaildropOtherUIDLs(t *testing.T) {
	mail := pops(12)
	w := newPopWorld(t, forever, mail...)
	w.brought(12, 0)
	w.remove(mail[0])
	w.brought(0, 0)
	for session := range 3 {
		renamed := slices.Clone(mail)
		for i := range renamed {
			renamed[i].ID = fmt.Sprintf("s%d-%d", session, i)
		}
		w.server.Put(renamed...)
		w.brought(0, 0)
	}
	w.has(mail[1:]...)
}

// TestMaildropNumbers: message numbers are no names.
func TestMaildropNumbers(t *testing.T) {
	mail := pops(6)
	w := newPopWorld(t, forever, mail...)
	w.brought(6, 0)
	slices.Reverse(mail)
	w.server.Put(mail...)
	w.brought(0, 0)
	w.server.Put(mail[2:]...)
	w.brought(0, 0)
	w.set.LeaveFor, w.now = 24*time.Hour, w.now.Add(48*time.Hour)
	w.server.Put(mail[3], pop("new", 50), mail[5])
	w.brought(1, 2)
	if left := w.server.Mail(); len(left) != 1 || left[0].ID != "new" {
		t.Errorf("left are %v", left)
	}
}

// TestMaildropDisappears: a listing that is empty for once, or cut short, costs nothing: neither a deletion nor a second download.
func TestMaildropDisappears(t *testing.T) {
	mail := pops(30)
	w := newPopWorld(t, forever, mail...)
	w.brought(30, 0)
	w.remove(mail[7])
	w.brought(0, 0)
	w.server.Put()
	w.brought(0, 0)
	w.server.Put(mail...)
	before := w.server.Retrieved()
	w.brought(0, 0)
	if n := w.server.Retrieved() - before; n != 0 {
		t.Errorf("%d messages were read again", n)
	}
	w.server.Set(popserver.Quirks{Listing: func(i int) bool { return i%2 == 0 }})
	w.brought(0, 0)
	w.server.Set(popserver.Quirks{})
	w.brought(0, 0)
	w.has(slices.Delete(slices.Clone(mail), 7, 8)...)
	w.server.Put()
	w.brought(0, 0)
	w.now = w.now.Add(100 * 24 * time.Hour) // what is not seen for so long is forgotten
	w.server.Put(pop("fresh", 77))
	w.brought(1, 0)
}

// TestMaildropContradictions: where STAT, LIST and UIDL don't fit together nothing is deleted, and what is new is delivered.
func TestMaildropContradictions(t *testing.T) {
	w := newPopWorld(t, 0, pops(5)...)
	w.server.Set(popserver.Quirks{Stat: 1})
	w.brought(5, 0)
	w.brought(0, 0)
	if n := len(w.server.Mail()); n != 5 {
		t.Errorf("%d are left", n)
	}
	w.server.Set(popserver.Quirks{Size: func(m popserver.Message) int { return 7 }}) // wrong, but that harms nobody
	w.brought(0, 5)
	w.has(pops(5)...)
}

// TestMaildropQuit: a deletion happened when the server has confirmed it, and not before.
func TestMaildropQuit(t *testing.T) {
	for _, q := range []popserver.Quirks{{HangUpAtQuit: true}, {Quit: "-ERR some deleted messages not removed"}, {RefuseDele: true}} {
		w := newPopWorld(t, 0, pops(5)...)
		w.server.Set(q)
		for range 2 {
			if r := w.run(mailsync.Options{}); r.ToServer.Deleted != 0 || r.Fatal == nil && len(r.Errors) == 0 {
				t.Errorf("%+v: %+v, %v, %v", q, r.ToServer, r.Fatal, r.Errors)
			}
		}
		w.has(pops(5)...)
		w.server.Set(popserver.Quirks{})
		w.brought(0, 5)
		w.has(pops(5)...)
		w.brought(0, 0)
	}
}

// TestMaildropIgnoresDele: a server that says it has deleted and has not is told again, and nothing is delivered again.
func TestMaildropIgnoresDele(t *testing.T) {
	w := newPopWorld(t, 0, pops(5)...)
	w.server.Set(popserver.Quirks{IgnoreDele: true})
	w.brought(5, 5)
	for range 4 {
		if r := w.sync(); r.ToMaildir.New != 0 {
			t.Fatalf("%+v", r.ToMaildir)
		}
	}
	w.server.Set(popserver.Quirks{})
	for range 2 {
		w.sync()
	}
	if n := len(w.server.Mail()); n != 0 {
		t.Errorf("%d are left", n)
	}
	w.has(pops(5)...)
}

// TestMaildropDays: with "30d" a message leaves thirty days after it was downloaded, not before, also if nothing else happens.
func TestMaildropDays(t *testing.T) {
	mail := pops(4)
	w := newPopWorld(t, 30*24*time.Hour, mail[:2]...)
	w.brought(2, 0)
	w.now = w.now.Add(20 * 24 * time.Hour)
	w.server.Put(mail...)
	w.brought(2, 0)
	w.now = w.now.Add(10*24*time.Hour - time.Minute)
	w.brought(0, 0)
	w.now = w.now.Add(time.Minute)
	w.brought(0, 2)
	w.now = w.now.Add(19 * 24 * time.Hour)
	w.brought(0, 0)
	w.now = w.now.Add(24 * time.Hour)
	w.brought(0, 2)
	w.has(mail...)
	if n := len(w.server.Mail()); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// TestMaildropLastCopies: what is due and not in the Maildir either is under the guard: nobody would have it then.
func TestMaildropLastCopies(t *testing.T) {
	mail := pops(20)
	w := newPopWorld(t, 30*24*time.Hour, mail...)
	w.brought(20, 0)
	for _, m := range mail[:15] {
		w.remove(m)
	}
	w.brought(0, 0)
	w.now = w.now.Add(31 * 24 * time.Hour)
	r := w.sync()
	if r.HeldBack != 15 || r.ToServer.Deleted != 5 || len(w.server.Mail()) != 15 {
		t.Fatalf("held %d, deleted %+v, left %d", r.HeldBack, r.ToServer, len(w.server.Mail()))
	}
	if r = w.run(mailsync.Options{RestoreHeld: true}); r.ToMaildir.New != 15 || r.Fatal != nil {
		t.Fatalf("%+v, %v", r.ToMaildir, r.Fatal)
	}
	w.has(mail...)
}

// TestMaildropRefused: a message that the server does not give holds up no other, is reported, and never deleted.
func TestMaildropRefused(t *testing.T) {
	mail := pops(3)
	w := newPopWorld(t, 0, mail...)
	w.server.Set(popserver.Quirks{Refuse: "id1"})
	for range 2 {
		if r := w.run(mailsync.Options{}); len(r.Errors) == 0 || r.Fatal != nil {
			t.Fatalf("%v, %v", r.Errors, r.Fatal)
		}
	}
	if left := w.server.Mail(); len(left) != 1 || left[0].ID != "id1" {
		t.Fatalf("left are %v", left)
	}
	w.server.Set(popserver.Quirks{})
	w.sync()
	w.sync()
	w.has(mail...)
	if n := len(w.server.Mail()); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// TestMaildropCutRetr: a message that breaks off is not there, and the whole ones are not fetched again.
func TestMaildropCutRetr(t *testing.T) {
	mail := pops(3)
	mail[1].Body += strings.Repeat("x\r\n", 100)
	w := newPopWorld(t, 0, mail...)
	w.server.Set(popserver.Quirks{CutRetr: 200})
	r := w.run(mailsync.Options{})
	if r.Fatal == nil && len(r.Errors) == 0 || r.ToServer.Deleted != 0 && len(w.server.Mail())+r.ToServer.Deleted != 3 {
		t.Fatalf("%+v", r)
	}
	for _, p := range w.paths() {
		if b, err := os.ReadFile(p); err != nil || !slices.ContainsFunc(mail, func(m popserver.Message) bool { return m.Body == strings.ReplaceAll(string(b), "\n", "\r\n") }) {
			t.Errorf("half a message: %q, %v", b, err)
		}
	}
	w.server.Set(popserver.Quirks{})
	w.sync()
	w.has(mail...)
}

// TestMaildropExpiry: what the person deletes day by day leaves the server day by day, and the guard lets it.
func TestMaildropExpiry(t *testing.T) {
	const days, daily = 10, 12
	w := newPopWorld(t, days*24*time.Hour)
	for day := range 3 * days {
		fresh := make([]popserver.Message, daily)
		for i := range fresh {
			n := day*daily + i
			fresh[i] = pop(fmt.Sprint("id", n), n)
		}
		w.server.Put(append(w.server.Mail(), fresh...)...)
		if r := w.sync(); r.HeldBack != 0 {
			t.Fatalf("day %d: %d are held back: %s", day, r.HeldBack, r.HeldWhy)
		}
		for _, m := range fresh {
			w.remove(m)
		}
		w.now = w.now.Add(24 * time.Hour)
	}
	if n := len(w.server.Mail()); n > (days+1)*daily {
		t.Errorf("the server has %d messages", n)
	}
}

// TestMaildropThatDeletesWhatWasRead: from a server that says so nothing goes but what is meant to.
func TestMaildropThatDeletesWhatWasRead(t *testing.T) {
	mail := pops(5)
	w := newPopWorld(t, forever, mail...)
	w.server.Set(popserver.Quirks{DeletesRead: true, Capabilities: []string{"EXPIRE 0"}})
	w.brought(5, 0)
	if n := len(w.server.Mail()); n != 5 {
		t.Errorf("%d messages are left", n)
	}
	w.set.LeaveFor = 0
	w.brought(0, 5)
}

// TestMaildropNumbersAfterALostSession: where names are numbers, and the numbers are others after the connection broke, nothing is deleted
// that was not downloaded.
func TestMaildropNumbersAfterALostSession(t *testing.T) {
	w := newPopWorld(t, 0, numbered(pops(3)...)...)
	lost := false
	w.server.Set(popserver.Quirks{Refuse: "3", NoPipelining: true, Lose: func(command string) bool {
		if lost || command != "RETR 1" {
			return false
		}
		lost = true
		w.server.Put(numbered(pops(3)[1:]...)...) // somebody else deleted the first
		return true
	}})
	w.run(mailsync.Options{})
	w.server.Set(popserver.Quirks{})
	for range 3 {
		w.run(mailsync.Options{})
	}
	if !lost {
		t.Error("the session was not lost")
	}
	for _, file := range w.paths() {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "body 002") {
			return
		}
	}
	t.Errorf("the message that could not be read at first is nowhere; the server has %v", w.server.Mail())
}

// TestMaildropDurableFirst: DELE is sent only for what is recorded, all of it after the last RETR.
func TestMaildropDurableFirst(t *testing.T) {
	w := newPopWorld(t, 0, pops(50)...)
	w.brought(50, 50)
	commands := w.server.Commands()
	firstDele := slices.IndexFunc(commands, func(c string) bool { return strings.HasPrefix(c, "DELE") })
	if slices.ContainsFunc(commands[firstDele:], func(c string) bool { return strings.HasPrefix(c, "RETR") }) || commands[len(commands)-1] != "QUIT" {
		t.Errorf("%q", commands[firstDele:])
	}
}

// TestMaildropInUse: a locked mailbox is no wrong password, and comes with how long to wait.
func TestMaildropInUse(t *testing.T) {
	w := newPopWorld(t, forever)
	w.server.Set(popserver.Quirks{SignIn: "-ERR [LOGIN-DELAY] too soon", Capabilities: []string{"LOGIN-DELAY 60"}})
	r := w.run(mailsync.Options{})
	if remote.ClassOf(r.Fatal) != remote.Unavailable || !strings.Contains(r.Fatal.Error(), "sync less often") {
		t.Error(r.Fatal)
	}
}
