package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/proxy"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// newPOP3 makes an account over POP3: by TLS, or by the server's tunnel where it has no port.
func newPOP3(t testing.TB, s *servers.Server) *account {
	t.Helper()
	a := newAccount(t, s)
	a.protocol = "pop3"
	a.imap = map[string]string{"host": `"localhost"`, "user": quote(s.User), "password": quote(s.Password)}
	if s.POP3Tunnel != "" {
		a.imap["tunnel"] = quote(s.POP3Tunnel)
	} else {
		a.imap["port"], a.imap["ca_file"] = strconv.Itoa(s.POP3TLSPort), quote(s.CAFile)
	}
	a.write()
	return a
}

// pop3Plainly has the program connect to a loopback port without TLS.
func (a *account) pop3Plainly(port int) {
	a.t.Helper()
	a.imap = map[string]string{"host": `"127.0.0.1"`, "port": strconv.Itoa(port), "tls": `"off"`,
		"user": quote(a.Server.User), "password": quote(a.Server.Password)}
	a.write()
}

// letterNo is a message unlike all others.
func letterNo(n int) string {
	return fmt.Sprintf("Received: from x by y; Mon, 2 Jan 2023 10:00:%02d +0000\r\nFrom: a@example.org\r\nSubject: letter %d\r\nMessage-ID: <%d@example.org>\r\n"+
		"Date: Mon, 2 Jan 2023 09:00:00 +0000\r\n\r\nNumber %d\r\n.\r\n..dots\r\n.\r\n%s", n%60, n, n, n, strings.Repeat("text\r\n", n%7))
}

// post stores messages on the server.
func (a *account) post(numbers ...int) {
	a.t.Helper()
	c := a.Server.Client(a.t)
	defer c.Close()
	for _, n := range numbers {
		c.Append("INBOX", letterNo(n), mail.Flags{}, time.Now())
	}
}

func span(from, to int) []int {
	var out []int
	for n := from; n < to; n++ {
		out = append(out, n)
	}
	return out
}

// left is how many messages the server has.
func (a *account) left() int {
	a.t.Helper()
	c := a.Server.Client(a.t)
	defer c.Close()
	return c.Count("INBOX")
}

// letters are the message files of a folder, sorted by content.
func (a *account) letters(folder string) []string {
	a.t.Helper()
	var out []string
	for _, sub := range []string{"new", "cur"} {
		names, err := filepath.Glob(filepath.Join(a.Maildir, folder, sub, "*"))
		a.check(err)
		out = append(out, names...)
	}
	return out
}

// holdsLetters fails the test unless the Maildir holds exactly these letters, in whatever folders, each once and to the byte.
func (a *account) holdsLetters(numbers ...int) {
	a.t.Helper()
	var got, want []string
	folders, err := os.ReadDir(a.Maildir)
	a.check(err)
	for _, f := range folders {
		for _, name := range a.letters(f.Name()) {
			content, err := os.ReadFile(name)
			a.check(err)
			got = append(got, strings.ReplaceAll(string(content), "\n", "\r\n"))
		}
	}
	for _, n := range numbers {
		want = append(want, letterNo(n))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		a.t.Fatalf("the Maildir holds %d messages that are not the %d it should:\n%.2000q", len(got), len(want), got)
	}
}

func pop3Servers(t *testing.T, test func(t *testing.T, start func(testing.TB) *servers.Server)) {
	t.Helper()
	for _, s := range []struct {
		name  string
		start func(testing.TB, servers.Options) *servers.Server
	}{{"Dovecot", servers.Dovecot}, {"Courier", servers.Courier}} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			test(t, func(t testing.TB) *servers.Server { return s.start(t, servers.Options{POP3: true}) })
		})
	}
}

// TestPOP3 takes a mailbox through its life: first pull, nothing new, something new, check, status, verify, wrong password.
func TestPOP3(t *testing.T) {
	pop3Servers(t, func(t *testing.T, start func(testing.TB) *servers.Server) {
		a := newPOP3(t, start(t))
		a.post(span(0, 25)...)
		if o := a.run("sync", "--dry-run", "--json"); o.Code != 0 || strings.Count(o.Stdout, `"op":"download"`) != 25 {
			t.Fatal(o)
		}
		if r := a.sync(0); r.ToMaildir.New != 25 || r.ToServer != (counts{}) {
			t.Fatal(r.Outcome)
		}
		a.holdsLetters(span(0, 25)...)
		a.quiet()
		a.post(25, 26)
		if r := a.sync(0); r.ToMaildir.New != 2 {
			t.Fatal(r.Outcome)
		}
		a.holdsLetters(span(0, 27)...)
		a.quiet()
		for _, args := range [][]string{{"verify"}, {"verify", "--deep"}, {"check"}} {
			if o := a.run(args...); o.Code != 0 {
				t.Error(o)
			}
		}
		if f := a.status()["INBOX"]; f.Server != 27 || f.Maildir != 27 || f.Waiting != 0 || f.KeptBack != 0 {
			t.Errorf("status: %+v", f)
		}
		if n := a.left(); n != 27 {
			t.Errorf("the server has %d messages", n)
		}
		a.setIMAP("password", `"wrong"`)
		if r := a.sync(1); !r.AuthNeeded {
			t.Error(r.Outcome)
		}
	})
}

// TestPOP3Moves: where a file is moved to, which flags it gets and that it is deleted is the person's business: nothing is delivered
// again.
func TestPOP3Moves(t *testing.T) {
	pop3Servers(t, func(t *testing.T, start func(testing.TB) *servers.Server) {
		a := newPOP3(t, start(t))
		a.post(span(0, 12)...)
		a.sync(0)
		for _, sub := range []string{"new", "cur", "tmp"} {
			a.check(os.MkdirAll(filepath.Join(a.Maildir, "Archive", sub), 0o700))
		}
		files := a.letters("INBOX")
		for _, f := range files[:4] { // as a mail program that reads and files them
			a.check(os.Rename(f, filepath.Join(a.Maildir, "Archive", "cur", filepath.Base(f)+":2,S")))
		}
		for _, f := range files[4:6] { // as one that writes them anew under another name
			a.check(os.Rename(f, filepath.Join(a.Maildir, "Archive", "cur", "other-"+filepath.Base(f)+":2,S")))
		}
		for _, f := range files[6:8] {
			a.check(os.Remove(f))
		}
		for _, f := range files[8:] {
			a.check(os.Rename(f, filepath.Join(a.Maildir, "INBOX", "cur", filepath.Base(f)+":2,FS")))
		}
		for range 2 {
			if r := a.sync(0); r.ToMaildir.New != 0 || r.ToServer != (counts{}) {
				t.Fatal(r.Outcome)
			}
		}
		a.post(12)
		if r := a.sync(0); r.ToMaildir.New != 1 {
			t.Fatal(r.Outcome)
		}
		if len(a.letters("INBOX")) != 5 || len(a.letters("Archive")) != 6 || a.left() != 13 {
			t.Errorf("INBOX %d, Archive %d, server %d", len(a.letters("INBOX")), len(a.letters("Archive")), a.left())
		}
		if o := a.run("verify", "--deep"); o.Code != 0 {
			t.Error(o)
		}
		if f := a.status()["Archive"]; f.KeptBack != 0 {
			t.Errorf("status: %+v", f)
		}
	})
}

// TestPOP3Never: messages leave the server once they are safe, also if the connection had broken before QUIT was answered.
func TestPOP3Never(t *testing.T) {
	pop3Servers(t, func(t *testing.T, start func(testing.TB) *servers.Server) {
		a := newPOP3(t, start(t))
		a.setIMAP("keep_on_server", `"never"`)
		a.post(span(0, 20)...)
		if r := a.sync(0); r.ToMaildir.New != 20 || r.ToServer.Deleted != 20 || r.HeldBack != 0 {
			t.Fatal(r.Outcome)
		}
		if n := a.left(); n != 0 {
			t.Errorf("the server still has %d messages", n)
		}
		a.holdsLetters(span(0, 20)...)
		a.quiet()
		a.post(20)
		if r := a.sync(0); r.ToMaildir.New != 1 || r.ToServer.Deleted != 1 || a.left() != 0 {
			t.Fatal(r.Outcome)
		}
		a.holdsLetters(span(0, 21)...)
		if o := a.run("verify"); o.Code != 0 {
			t.Error(o)
		}
	})
}

// TestPOP3UntilDeleted: what is deleted locally leaves the server, under the guard; what is moved does not.
func TestPOP3UntilDeleted(t *testing.T) {
	pop3Servers(t, func(t *testing.T, start func(testing.TB) *servers.Server) {
		a := newPOP3(t, start(t))
		a.setIMAP("keep_on_server", `"until-deleted"`)
		a.post(span(0, 30)...)
		a.sync(0)
		for _, sub := range []string{"new", "cur", "tmp"} {
			a.check(os.MkdirAll(filepath.Join(a.Maildir, "Work", sub), 0o700))
		}
		files := a.letters("INBOX")
		a.check(os.Rename(files[0], filepath.Join(a.Maildir, "Work", "cur", filepath.Base(files[0])+":2,")))
		a.check(os.Remove(files[1]))
		if r := a.sync(0); r.ToServer.Deleted != 1 || r.ToMaildir.New != 0 || a.left() != 29 {
			t.Fatal(r.Outcome, a.left())
		}
		// The moved one is still the server's.
		moved := a.letters("Work")
		a.check(os.Remove(moved[0]))
		if r := a.sync(0); r.ToServer.Deleted != 1 || a.left() != 28 {
			t.Fatal(r.Outcome, a.left())
		}
		a.quiet()
		for _, f := range files[2:22] {
			a.check(os.Remove(f))
		}
		for range 2 {
			if r := a.sync(3); r.HeldBack != 20 || a.left() != 28 {
				t.Fatal(r.Outcome)
			}
		}
		if r := a.sync(0, "--restore-held"); r.ToMaildir.New != 20 || a.left() != 28 {
			t.Fatal(r.Outcome)
		}
		for _, f := range a.letters("INBOX")[:20] {
			a.check(os.Remove(f))
		}
		a.sync(3)
		if r := a.sync(0, "--allow-deletes"); r.ToServer.Deleted != 20 || a.left() != 8 {
			t.Fatal(r.Outcome)
		}
		a.quiet()
		if n := len(a.letters("INBOX")); n != 8 {
			t.Errorf("%d files are left", n)
		}
	})
}

// TestPOP3KeepsWhatLeft: that the server has a message no longer is nothing to the Maildir; with "30d" nothing leaves before.
func TestPOP3KeepsWhatLeft(t *testing.T) {
	a := newPOP3(t, servers.Dovecot(t, servers.Options{POP3: true}))
	a.setIMAP("keep_on_server", `"30d"`)
	a.post(span(0, 15)...)
	a.sync(0)
	c := a.Server.Client(t)
	for _, m := range c.Index("INBOX") {
		c.Expunge("INBOX", m.UID)
	}
	c.Close()
	for range 2 {
		if r := a.sync(0); r.ToMaildir != (counts{}) || r.ToServer != (counts{}) || r.HeldBack != 0 {
			t.Fatal(r.Outcome)
		}
	}
	a.holdsLetters(span(0, 15)...)
}

// TestPOP3Restored: without its state an account finds its messages again, wherever they are, and downloads none twice.
func TestPOP3Restored(t *testing.T) {
	a := newPOP3(t, servers.Dovecot(t, servers.Options{POP3: true}))
	a.post(span(0, 15)...)
	a.sync(0)
	for _, sub := range []string{"new", "cur", "tmp"} {
		a.check(os.MkdirAll(filepath.Join(a.Maildir, "Archive", sub), 0o700))
	}
	for _, f := range a.letters("INBOX")[:5] {
		a.check(os.Rename(f, filepath.Join(a.Maildir, "Archive", "cur", filepath.Base(f)+":2,S")))
	}
	a.check(os.Remove(filepath.Join(a.Maildir, ".satchel.db")))
	if r := a.sync(0); r.ToMaildir.New != 0 {
		t.Fatal(r.Outcome)
	}
	a.holdsLetters(span(0, 15)...)
	a.quiet()
	if o := a.run("verify", "--deep"); o.Code != 0 {
		t.Error(o)
	}
}

// TestPOP3OtherNames: a server that calls its messages otherwise after an upgrade (Dovecot's pop3_uidl_format) does not have them
// downloaded again.
func TestPOP3OtherNames(t *testing.T) {
	old := servers.Dovecot(t, servers.Options{POP3: true})
	a := newPOP3(t, old)
	a.post(span(0, 15)...)
	a.sync(0)
	a.check(os.Remove(a.letters("INBOX")[0])) // what is deleted stays so
	a.sync(0)
	renamed := servers.Dovecot(t, servers.Options{POP3: true, Config: "pop3_uidl_format = new-%v-%u\nmail_location = sdbox:" + filepath.Dir(old.Root) + "/" + old.User})
	a.setIMAP("port", strconv.Itoa(renamed.POP3TLSPort))
	a.setIMAP("ca_file", quote(renamed.CAFile))
	for range 2 {
		if r := a.sync(0); r.ToMaildir.New != 0 {
			t.Fatal(r.Outcome)
		}
	}
	if n := len(a.letters("INBOX")); n != 14 {
		t.Errorf("%d files", n)
	}
}

// TestPOP3Cut: the line breaks after every so many bytes; in the end everything is there once, and what left the server is there.
func TestPOP3Cut(t *testing.T) {
	s := servers.Dovecot(t, servers.Options{POP3: true})
	relay := proxy.New(t, fmt.Sprintf("127.0.0.1:%d", s.POP3Port), lingering)
	a := newPOP3(t, s)
	a.pop3Plainly(relay.Port())
	a.setIMAP("keep_on_server", `"never"`)
	a.post(span(0, 40)...)
	broken := 0
	for i := range 14 {
		script := proxy.Script{Linger: true, CutAfterDown: int64(900 + 700*i)}
		if i%2 == 1 {
			script = proxy.Script{Linger: true, CutAfterUp: int64(60 + 60*i)}
		}
		relay.SetScript(func(int) proxy.Script { return script })
		o := a.run("sync")
		if o.Code != 0 && o.Code != 1 && o.Code != 5 {
			t.Fatal(o)
		}
		if o.Code != 0 {
			broken++
		}
		relay.Idle()
	}
	relay.SetScript(lingering)
	a.sync(0)
	a.holdsLetters(span(0, 40)...)
	if n := a.left(); n != 0 {
		t.Errorf("%d messages are left on the server", n)
	}
	if broken < 4 {
		t.Errorf("only %d runs were cut off", broken)
	}
}

// TestPOP3CutBeforeQuit: nothing counts as deleted, and nothing is downloaded again.
func TestPOP3CutBeforeQuit(t *testing.T) {
	s := servers.Dovecot(t, servers.Options{POP3: true})
	relay := proxy.New(t, fmt.Sprintf("127.0.0.1:%d", s.POP3Port), lingering)
	a := newPOP3(t, s)
	a.pop3Plainly(relay.Port())
	a.post(span(0, 20)...)
	a.sync(0)
	before := relay.Count()
	a.sync(0)
	noop := relay.Count().Up - before.Up // with QUIT at its end
	a.setIMAP("keep_on_server", `"never"`)
	// The look at the headers and all of "DELE n", and nothing of QUIT.
	relay.SetScript(func(int) proxy.Script {
		return proxy.Script{Linger: true, CutAfterUp: noop - int64(len("QUIT\r\n")) + 9*int64(len("TOP 1 0\r\nDELE 1\r\n")) + 11*int64(len("TOP 10 0\r\nDELE 10\r\n"))}
	})
	o := a.run("sync", "--json", "-vv")
	if !strings.Contains(o.Stderr, "DELE 20") {
		t.Error("the line was cut before the last DELE: the test proves nothing")
	}
	if o.Code == 0 || strings.Contains(o.Stdout, `"to_server":{"new":0,"flags":0,"moved":0,"deleted":20}`) {
		t.Fatal(o)
	}
	relay.Idle()
	relay.SetScript(lingering)
	if n := a.left(); n != 20 {
		t.Fatalf("the server has %d messages", n)
	}
	if r := a.sync(0); r.ToMaildir.New != 0 || r.ToServer.Deleted != 20 || a.left() != 0 {
		t.Fatal(r.Outcome)
	}
	a.holdsLetters(span(0, 20)...)
}

// TestPOP3Kill: killed at random moments of a pull that removes from the server, nothing is lost and nothing doubled.
func TestPOP3Kill(t *testing.T) {
	a := newPOP3(t, servers.Dovecot(t, servers.Options{POP3: true}))
	a.setIMAP("keep_on_server", `"never"`)
	total, killed := 0, 0
	for round := range 8 {
		a.post(span(total, total+30)...)
		total += 30
		cmd := a.command(t.Context(), "sync")
		a.check(cmd.Start())
		time.Sleep(time.Duration(10+9*round) * time.Millisecond) // where in its work it dies is left to chance
		_ = cmd.Process.Kill()
		if cmd.Wait() != nil {
			killed++
		}
	}
	for try := range 50 { // the killed one's session is still the server's lock for a moment
		if o := a.run("sync"); o.Code == 0 {
			break
		} else if try == 49 {
			t.Fatal(o)
		}
	}
	a.holdsLetters(span(0, total)...)
	if n := a.left(); n != 0 {
		t.Errorf("%d messages are left on the server", n)
	}
	if killed == 0 {
		t.Error("nothing was killed")
	}
}

// TestPOP3InUse: a mailbox that another session has open is no wrong password.
func TestPOP3InUse(t *testing.T) {
	s := servers.Dovecot(t, servers.Options{POP3: true, Config: "pop3_lock_session = yes\npop3_fast_size_lookups = yes"})
	a := newPOP3(t, s)
	a.post(1)
	b := newPOP3(t, s)
	r := holdPOP3(t, s)
	if got := a.sync(5); got.AuthNeeded || !strings.Contains(got.Outcome.Stderr, "IN-USE") {
		t.Error(got.Outcome)
	}
	r()
	b.sync(0)
}

// TestPOP3SignIn: the ways to sign in that Dovecot has, with TLS from the start and after STLS.
func TestPOP3SignIn(t *testing.T) {
	s := servers.Dovecot(t, servers.Options{POP3: true, Mechanisms: "plain login scram-sha-256 apop"})
	a := newPOP3(t, s)
	a.post(1)
	for _, auth := range []string{"auto", "plain", "login", "scram-sha-256"} {
		for _, tls := range []string{"implicit", "starttls", "off"} {
			port := s.POP3Port
			if tls == "implicit" {
				port = s.POP3TLSPort
			}
			a.setIMAP("auth", quote(auth))
			a.setIMAP("tls", quote(tls))
			a.setIMAP("port", strconv.Itoa(port))
			if o := a.run("check"); o.Code != 0 {
				t.Errorf("%s, %s: %v", auth, tls, o)
			}
		}
	}
	a.setIMAP("auth", `"xoauth2"`)
	if o := a.run("check"); o.Code != 1 || !strings.Contains(o.String(), "does not offer") {
		t.Error(o)
	}
}

// TestPOP3Map: INBOX has another name locally, limits hold, and the rest waits.
func TestPOP3Map(t *testing.T) {
	a := newPOP3(t, servers.Dovecot(t, servers.Options{POP3: true}))
	a.set("map", `{ "INBOX" = "Post" }`)
	a.set("max_message_size", `"1kB"`)
	a.post(span(0, 3)...)
	c := a.Server.Client(t)
	c.Append("INBOX", letterNo(3)+strings.Repeat("large\r\n", 400), mail.Flags{}, time.Now())
	c.Close()
	if r := a.sync(0); r.ToMaildir.New != 3 || r.Deferred != 1 {
		t.Fatal(r.Outcome)
	}
	if n := len(a.letters("Post")); n != 3 {
		t.Errorf("%d files", n)
	}
	a.quiet()
	a.set("max_message_size", `"0"`)
	if r := a.sync(0); r.ToMaildir.New != 1 || r.Deferred != 0 {
		t.Fatal(r.Outcome)
	}
	a.quiet()
	a.set("since", `"2024-01-01"`) // they are from before, by their headers
	a.post(4)
	if r := a.sync(0); r.ToMaildir.New != 0 {
		t.Fatal(r.Outcome)
	}
	a.set("since", "")
	if r := a.sync(0); r.ToMaildir.New != 1 {
		t.Fatal(r.Outcome)
	}
}

// TestPOP3Modes: what can't be is said.
func TestPOP3Modes(t *testing.T) {
	a := newPOP3(t, servers.Dovecot(t, servers.Options{POP3: true}))
	for _, mode := range []string{"two-way", "push"} {
		a.set("mode", quote(mode))
		if o := a.run("sync"); o.Code != 2 || !strings.Contains(o.Stderr, `"pull" and "archive"`) {
			t.Error(o)
		}
	}
	a.set("mode", `"archive"`)
	a.post(1)
	a.sync(0)
	a.holdsLetters(1)
}

// holdPOP3 opens a session and keeps it open until the returned function is called.
func holdPOP3(t *testing.T, s *servers.Server) (release func()) {
	t.Helper()
	conn, lines := dialPOP3(t, s)
	for _, c := range []string{"USER " + s.User, "PASS " + s.Password, "STAT"} {
		fmt.Fprintf(conn, "%s\r\n", c)
		if line := lines(); !strings.HasPrefix(line, "+OK") {
			t.Fatalf("%s: %s", c, line)
		}
	}
	return func() {
		fmt.Fprint(conn, "QUIT\r\n")
		lines()
		_ = conn.Close()
	}
}
