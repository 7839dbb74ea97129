package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// TestScenario does the same on every kind of server: people act on both sides, and after one sync
// both are what they should be.
func TestScenario(t *testing.T) {
	t.Parallel()
	run := func(name string, start func(t *testing.T) *account) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scenario(t, start(t))
		})
	}
	run("Dovecot over TLS", func(t *testing.T) *account {
		a := newAccount(t, servers.Dovecot(t, servers.Options{}))
		a.overTLS()
		return a
	})
	run("Dovecot with separator . and prefix INBOX.", func(t *testing.T) *account {
		return newAccount(t, servers.Dovecot(t, servers.Options{Separator: ".", Prefix: "INBOX."}))
	})
	run("Dovecot with maildir++ here", func(t *testing.T) *account {
		a := newAccount(t, servers.Dovecot(t, servers.Options{}))
		a.set("layout", `"maildir++"`)
		return a
	})
	run("Cyrus", func(t *testing.T) *account { return newAccount(t, servers.Cyrus(t, servers.Options{})) })
	run("Cyrus with separator . and prefix INBOX.", func(t *testing.T) *account {
		return newAccount(t, servers.Cyrus(t, servers.Options{Separator: ".", Prefix: "INBOX."}))
	})
	run("Courier", func(t *testing.T) *account { return newAccount(t, servers.Courier(t, servers.Options{})) })
	for _, without := range []string{"UIDPLUS", "CONDSTORE", "QRESYNC", "MOVE", "ESEARCH", "LIST-STATUS", "LITERAL+", "ENABLE", "IDLE",
		"SPECIAL-USE", "NAMESPACE", "*"} {
		name := "Dovecot without " + without
		if without == "*" {
			name = "Dovecot without any extension"
		}
		run(name, func(t *testing.T) *account {
			return newAccount(t, servers.Dovecot(t, servers.Options{Without: []string{without}}))
		})
	}
}

// received is when messages on the server arrived.
var received = time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC)

func scenario(t *testing.T, a *account) {
	firstSync(t, a)
	ordinaryDay(t, a)
	folderDay(t, a)
	conflictDay(t, a)
	hastyDay(t, a)
}

// send stores letters in a folder on the server, with flags.
func (a *account) send(folder string, f mail.Flags, subjects ...string) {
	a.t.Helper()
	for _, s := range subjects {
		a.client().Append(a.mailbox(folder), letter(s), f, received)
	}
}

// file stores letters in a folder of the Maildir, with flags.
func (a *account) file(folder, flags string, subjects ...string) {
	a.t.Helper()
	for _, s := range subjects {
		a.putAt(folder, onDisk(letter(s)), flags, received)
	}
}

// did fails the test unless the run changed just that.
func (r report) did(t *testing.T, toMaildir, toServer counts) {
	t.Helper()
	if r.ToMaildir != toMaildir || r.ToServer != toServer {
		t.Fatalf("to the Maildir: %+v, want %+v; to the server: %+v, want %+v\n%v", r.ToMaildir, toMaildir, r.ToServer, toServer, r.Outcome)
	}
}

// firstSync: both sides are full, and some messages are the same.
func firstSync(t *testing.T, a *account) {
	c := a.client()
	c.Create(a.mailbox("Work"))
	c.Create(a.mailbox("Work/Sub"))
	a.send("INBOX", flags(), "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "same1", "same2", "twin", "twin")
	a.send("INBOX", flags(`\Seen`), "s9")
	a.send("Work", flags(), "w1", "w2")
	a.send("Work/Sub", flags(), "ws")
	a.file("INBOX", "", "l1", "l3", "l4", "twin")
	a.file("INBOX", "FS", "l2")
	a.file("INBOX", "S", "same1", "same2")
	a.file("Home", "S", "h1", "h2", "h3")
	r := a.sync(0)
	r.did(t, counts{New: 13}, counts{New: 7, Flags: 2})
	a.holds("INBOX", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "same1", "same2", "twin", "twin", "l1", "l2", "l3", "l4")
	a.holds("Work", "w1", "w2")
	a.holds("Work/Sub", "ws")
	a.holds("Home", "h1", "h2", "h3")
	if f := a.find("INBOX", "s1"); !f.New {
		t.Errorf("a message without flags was delivered to %s, not to new/", f.Path)
	}
	if f := a.find("INBOX", "s9"); f.New || f.Flags != "S" {
		t.Errorf("a read message was delivered to %s", f.Path)
	}
	if !a.at("INBOX", "same1").Flags.Has(mail.Seen) {
		t.Error("the flag of a message that both sides had did not come over")
	}
	a.verify()
	a.quiet()
}

// ordinaryDay: new messages, flags, keywords, moves, deletions and new folders on both sides.
func ordinaryDay(t *testing.T, a *account) {
	c := a.client()
	a.send("INBOX", flags(), "n1")
	c.Store("INBOX", true, flags(`\Seen`, `\Flagged`), a.uid("INBOX", "s1"))
	c.Store("INBOX", true, flags(`\Answered`, `\Draft`), a.uid("INBOX", "s2"))
	c.Store("INBOX", true, flags("$Forwarded"), a.uid("INBOX", "s3"))
	c.Store("INBOX", true, flags("Errand", "$Label1"), a.uid("INBOX", "s4"))
	c.Store("INBOX", false, flags(`\Seen`), a.uid("INBOX", "s9"))
	c.Move(a.mailbox("Work"), "INBOX", a.uid("Work", "w1"))
	c.Expunge("INBOX", a.uid("INBOX", "l2"))
	c.Create(a.mailbox("Fresh"))
	a.send("Fresh", flags(), "f1", "f2")

	a.file("INBOX", "", "n2")
	a.setKeywords("INBOX", "Todo")
	a.flag("INBOX", "same1", "Sa")
	a.flag("INBOX", "l1", "DFPRS")
	a.flag("INBOX", "same2", "")
	a.move("Home", "Work", "h1")
	a.remove("INBOX", "s5")
	a.file("Made", "", "m1")

	r := a.sync(0)
	r.did(t, counts{New: 3, Flags: 5, Moved: 1, Deleted: 1}, counts{New: 2, Flags: 3, Moved: 1, Deleted: 1})
	a.verify()
	a.quiet()
	a.holds("INBOX", "s1", "s2", "s3", "s4", "s6", "s7", "s8", "s9", "same1", "same2", "twin", "twin", "l1", "l3", "l4", "n1", "n2", "w1")
	a.holds("Work", "w2", "h1")
	a.holds("Fresh", "f1", "f2")
	a.holds("Made", "m1")
	for subject, want := range map[string]string{"s1": "FS", "s2": "DR", "s3": "P", "s9": "", "l1": "DFPRS", "same2": ""} {
		if f := a.find("INBOX", subject); f.Flags != want {
			t.Errorf("the flags of %s are %q, want %q", subject, f.Flags, want)
		}
		if f := a.at("INBOX", subject).Flags; letters(f) != want {
			t.Errorf("the flags of %s on the server are %q, want %q", subject, f, want)
		}
	}
	if f := a.at("INBOX", "same1").Flags; !f.HasKeyword("Todo") || !f.Has(mail.Seen) {
		t.Errorf("the flags of same1 on the server are %q, want \\Seen and Todo", f)
	}
}

// folderDay: folders renamed and deleted on both sides.
func folderDay(t *testing.T, a *account) {
	c := a.client()
	c.Rename(a.mailbox("Fresh"), a.mailbox("Fresher"))
	c.Delete(a.mailbox("Made"))
	a.check(os.Rename(a.dir("Home"), a.dir("House")))
	a.rmdir("Work/Sub")

	r := a.sync(0)
	if r.ToMaildir.New != 0 || r.ToServer.New != 0 {
		t.Errorf("a renamed folder's messages were transferred again: %v", r.Outcome)
	}
	a.verify()
	a.quiet()
	a.holds("Fresher", "f1", "f2")
	a.holds("House", "h2", "h3")
	if got, want := strings.Join(a.folders(), " "), "Fresher House INBOX Work"; got != want {
		t.Errorf("the local folders are %q, want %q", got, want)
	}
}

// conflictDay: both sides changed the same messages.
func conflictDay(t *testing.T, a *account) {
	c := a.client()
	c.Store("INBOX", true, flags(`\Flagged`), a.uid("INBOX", "s6")) // flags on both sides
	a.flag("INBOX", "s6", "RS")

	c.Store("INBOX", true, flags(`\Flagged`), a.uid("INBOX", "s7")) // deleted here, flagged there
	a.remove("INBOX", "s7")
	c.Expunge("INBOX", a.uid("INBOX", "s8")) // deleted there, flagged here
	a.flag("INBOX", "s8", "F")

	c.Move("INBOX", a.mailbox("Work"), a.uid("INBOX", "s1")) // deleted here, moved there
	a.remove("INBOX", "s1")
	c.Expunge("INBOX", a.uid("INBOX", "s2")) // deleted there, moved here
	a.move("INBOX", "Work", "s2")

	c.Move("INBOX", a.mailbox("Fresher"), a.uid("INBOX", "s3")) // moved to two places
	a.move("INBOX", "Work", "s3")

	c.Store("INBOX", true, flags(`\Answered`), a.uid("INBOX", "l3")) // moved here, flagged there
	a.move("INBOX", "Work", "l3")
	c.Move("INBOX", a.mailbox("Work"), a.uid("INBOX", "l4")) // moved there, flagged here
	a.flag("INBOX", "l4", "F")

	a.send("INBOX", flags(`\Flagged`), "both") // new on both sides
	a.file("INBOX", "S", "both")

	a.sync(0)
	a.verify()
	a.quiet()
	a.holds("INBOX", "s4", "s6", "s9", "same1", "same2", "twin", "twin", "l1", "n1", "n2", "w1", "both")
	a.holds("Work", "w2", "h1", "s1", "s2", "l3", "l4")
	a.holds("Fresher", "f1", "f2", "s3")
	for folder, want := range map[string][2]string{"INBOX": {"s6", "FRS"}, "Work": {"l3", "R"}} {
		if f := a.find(folder, want[0]); f.Flags != want[1] {
			t.Errorf("the flags of %s are %q, want %q", want[0], f.Flags, want[1])
		}
	}
	if f := a.find("Work", "l4"); f.Flags != "F" {
		t.Errorf("the flags of l4 are %q, want F", f.Flags)
	}
	if f := a.find("INBOX", "both"); f.Flags != "FS" {
		t.Errorf("the flags of a message that is new on both sides are %q, want FS", f.Flags)
	}
	if left, err := filepath.Glob(filepath.Join(a.Maildir, "*", "tmp", "*")); err != nil || len(left) > 0 {
		t.Errorf("files are left in tmp: %q, %v", left, err)
	}
}

// hastyDay: the folder that messages were moved to on the server is synchronised alone, before what somebody did to them here was.
func hastyDay(t *testing.T, a *account) {
	c := a.client()
	for _, f := range []string{"From", "To", "Else"} {
		c.Create(a.mailbox(f))
	}
	a.send("From", flags(), "moved twice", "moved and flagged", "left")
	a.sync(0)
	c = a.client()
	c.Move(a.mailbox("From"), a.mailbox("To"), a.uid("From", "moved twice"))
	c.Move(a.mailbox("From"), a.mailbox("To"), a.uid("From", "moved and flagged"))
	a.move("From", "Else", "moved twice")
	a.flag("From", "moved and flagged", "F")
	a.sync(0, "me/To")
	a.settled()
	a.holds("From", "left")
	a.holds("To", "moved and flagged", "moved twice")
	a.holds("Else")
	if f := a.find("To", "moved and flagged"); f.Flags != "F" {
		t.Errorf("it has the flags %q", f.Flags)
	}
}
