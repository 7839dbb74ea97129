package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// What a sync costs is counted here in round trips and bytes, which don't depend on the machine. bench/ measures seconds.
// Round trips are those within the session: connecting and TLS are two more for every client.

// costs is an account that is reached as from afar: by TLS and with a password.
func costs(t *testing.T) *account {
	a := newAccount(t, servers.Dovecot(t, servers.Options{}))
	a.overTLS()
	a.setIMAP("auth", `"plain"`) // SCRAM asks back
	a.set("max_delete", `"off"`)
	return a
}

// fill stores n messages of some 600 bytes in a folder.
func (a *account) fill(c *servers.Client, folder string, n int) []mail.UID {
	var uids []mail.UID
	for i := range n {
		raw := fmt.Sprintf("From: a@example.org\r\nMessage-ID: <%d.%s@example.org>\r\nSubject: message %d\r\n\r\n%s\r\n", i, folder, i, strings.Repeat("0123456789 ", 45))
		uids = append(uids, c.Append(folder, raw, mail.Flags{}, time.Unix(1_700_000_000+int64(i), 0)))
	}
	return uids
}

// rest waits out the two seconds in which a directory's times can't be trusted, and has a sync believe them.
func (a *account) rest() {
	a.t.Helper()
	time.Sleep(2100 * time.Millisecond) // the file system's clock: nothing shorter will do
	a.sync(0)
}

// atMost fails the test if a run took more round trips or bytes than a limit.
func (r report) atMost(t *testing.T, what string, trips, bytes int64) {
	t.Helper()
	if r.RoundTrips > trips || r.BytesIn+r.BytesOut > bytes {
		t.Errorf("%s took %d round trips and %d bytes, at most %d and %d are enough", what, r.RoundTrips, r.BytesIn+r.BytesOut, trips, bytes)
	}
}

func TestCostOfNothing(t *testing.T) {
	t.Parallel()
	a := costs(t)
	c := a.Server.Client(t)
	a.fill(c, "INBOX", 300)
	for i := range 30 {
		c.Create(fmt.Sprintf("F%02d", i))
	}
	a.sync(0)
	a.rest()
	// What a bare client needs that signs in and sends one LIST: its two answers.
	few := a.sync(0)
	few.atMost(t, "a sync that found nothing", 2, 12_000)
	a.fill(c, "INBOX", 300)
	a.sync(0)
	a.rest()
	if many := a.sync(0); many.RoundTrips != few.RoundTrips || many.BytesIn > few.BytesIn+50 {
		t.Errorf("with twice as many messages it took %d round trips and %d bytes, before %d and %d", many.RoundTrips, many.BytesIn, few.RoundTrips, few.BytesIn)
	}
}

func TestCostOfFirstPull(t *testing.T) {
	t.Parallel()
	var trips [2]int64
	for i, n := range []int{20, 1200} {
		a := costs(t)
		a.fill(a.Server.Client(t), "INBOX", n)
		r := a.sync(0)
		r.atMost(t, fmt.Sprintf("a first pull of %d messages", n), 5, int64(n)*900+10_000)
		trips[i] = r.RoundTrips
	}
	if trips[1] > trips[0]+1 {
		t.Errorf("round trips grow with the number of messages: %v", trips)
	}
}

func TestCostOfFirstPush(t *testing.T) {
	t.Parallel()
	a := costs(t)
	dir := filepath.Join(a.Maildir, "INBOX")
	for _, sub := range []string{"cur", "new", "tmp"} {
		a.check(os.MkdirAll(filepath.Join(dir, sub), 0o700))
	}
	const n = 600
	for i := range n {
		text := fmt.Sprintf("Message-ID: <%d@example.org>\nSubject: message %d\n\n%s\n", i, i, strings.Repeat("0123456789 ", 45))
		a.check(os.WriteFile(filepath.Join(dir, "cur", fmt.Sprintf("17%08d.x%d.host:2,S", i, i)), []byte(text), 0o600))
	}
	r := a.sync(0)
	if r.ToServer.New != n {
		t.Fatal(r.Outcome)
	}
	// Signing in, the list with what is in the INBOX, and the messages together with the look at what became of them.
	r.atMost(t, "a first push of 600 messages", 3, n*900+20_000)
}

// TestCostOfAnUpload counts a sync that has one message for a mailbox which is as it was.
func TestCostOfAnUpload(t *testing.T) {
	t.Parallel()
	a := costs(t)
	c := a.Server.Client(t)
	c.Create("Sent")
	a.fill(c, "Sent", 20)
	a.sync(0)
	text := "Message-ID: <sent@example.org>\nSubject: sent\n\nx\n"
	a.check(os.WriteFile(filepath.Join(a.Maildir, "Sent", "cur", "1700001000.x.host:2,S"), []byte(text), 0o600))
	r := a.sync(0)
	if r.ToServer.New != 1 {
		t.Fatal(r.Outcome)
	}
	// Signing in, the list, opening the mailbox, and the message together with the look at what became of it.
	r.atMost(t, "an upload", 4, 12_000)
}

func TestCostOfFlags(t *testing.T) {
	t.Parallel()
	a := costs(t)
	c := a.Server.Client(t)
	uids := a.fill(c, "INBOX", 1000)
	a.sync(0)
	c.Store("INBOX", true, mail.SystemFlags(mail.Seen), uids...)
	r := a.sync(0)
	if r.ToMaildir.Flags != len(uids) {
		t.Fatal(r.Outcome)
	}
	r.atMost(t, "marking 1,000 messages read on the server", 4, 120_000)

	cur := filepath.Join(a.Maildir, "INBOX", "cur")
	names, err := os.ReadDir(cur)
	a.check(err)
	for _, e := range names {
		a.check(os.Rename(filepath.Join(cur, e.Name()), filepath.Join(cur, strings.TrimSuffix(e.Name(), "S")+"FS")))
	}
	r = a.sync(0)
	if r.ToServer.Flags != len(uids) {
		t.Fatal(r.Outcome)
	}
	r.atMost(t, "flagging 1,000 messages in the Maildir", 8, 250_000)
}

func TestCostOfMoves(t *testing.T) {
	t.Parallel()
	a := costs(t)
	c := a.Server.Client(t)
	uids := a.fill(c, "INBOX", 500)
	c.Create("Archive")
	a.sync(0)
	const bodies = 500 * 600
	c.Move("INBOX", "Archive", uids[:250]...)
	r := a.sync(0)
	if r.ToMaildir.Moved != 250 {
		t.Fatal(r.Outcome)
	}
	// The headers are compared, the bodies stay where they are.
	r.atMost(t, "a move of 250 messages on the server", 10, bodies/4)

	dir := filepath.Join(a.Maildir, "INBOX", "new")
	names, err := os.ReadDir(dir)
	a.check(err)
	for _, e := range names {
		a.check(os.Rename(filepath.Join(dir, e.Name()), filepath.Join(a.Maildir, "Archive", "new", e.Name())))
	}
	r = a.sync(0)
	if r.ToServer.Moved != len(names) {
		t.Fatal(r.Outcome)
	}
	r.atMost(t, "a move of 250 messages in the Maildir", 14, bodies/4)
}
