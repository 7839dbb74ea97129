package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// odd are messages that programs on the way like to change, as bytes on the wire or, with LF, in a file.
func odd() []struct{ name, text string } {
	const head = "From: ann@example.org\r\nSubject: odd\r\nMessage-ID: <odd@example.org>\r\n"
	return []struct{ name, text string }{
		{"plain", head + "\r\nbody\r\n"},
		{"no final newline", head + "\r\nbody"},
		{"no blank line", "From: ann@example.org\r\nSubject: odd\r\n"},
		{"no bytes", ""},
		{"blank line first", "\r\nbody\r\n"},
		{"8-bit header", "From: ann@example.org\r\nSubject: \xfcml\xe4ut and ümläut\r\n\r\nb\xf6dy\r\n"},
		{"NUL", head + "\r\na\x00b\r\n"},
		{"bare CR", head + "\r\na\rb\r\n\rc\r\n"},
		{"bare LF", head + "\r\na\nb\r\n"},
		{"CR CR LF", head + "\r\na\r\r\nb\r\n"},
		{"LF only", strings.ReplaceAll(head, "\r\n", "\n") + "\nbody\n"},
		{"line of 100000 bytes", head + "\r\n" + strings.Repeat("x", 100_000) + "\r\n"},
		{"mbox line", "From ann@example.org Mon Feb  3 04:05:06 2020\r\n" + head + "\r\nbody\r\n"},
		{"no Message-ID", "From: ann@example.org\r\nSubject: odd\r\n\r\nbody\r\n"},
		{"X-TUID", "X-TUID: abcdefghijkl\r\n" + head + "\r\nbody\r\n"},
		{"X-OfflineIMAP", "X-OfflineIMAP: 123-456-789\r\n" + head + "\r\nbody\r\n"},
		{"long folded header", "Subject: " + strings.Repeat("w\xf6rds and more\r\n ", 150) + "end\r\n\r\nbody\r\n"},
		{"trailing blank lines", head + "\r\nbody\r\n\r\n\r\n\r\n"},
		{"spaces and no value", "Subject: trailing   \r\nX-Empty:\r\nX-Space: \r\n\r\nbody   \r\n"},
		{"no header line", "this is no header\r\nSubject: odd\r\n\r\nbody\r\n"},
		{"no date", "Date: the day before yesterday\r\n" + head + "\r\nbody\r\n"},
		{"tabs and form feed", head + "X-Fold: a\r\n\tb\r\n\r\n\tbody\f\v\r\n"},
	}
}

// eachServer runs a test on the three kinds of server.
func eachServer(t *testing.T, test func(t *testing.T, a *account)) {
	for name, start := range map[string]func(testing.TB, servers.Options) *servers.Server{
		"Dovecot": servers.Dovecot, "Cyrus": servers.Cyrus, "Courier": servers.Courier,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newAccount(t, start(t, servers.Options{})))
		})
	}
}

// only returns the one local message of a folder.
func (a *account) only(folder string) (file, []byte) {
	a.t.Helper()
	list := a.files(folder)
	if len(list) != 1 {
		a.t.Fatalf("%s holds %d messages in the Maildir, want one", folder, len(list))
	}
	b, err := os.ReadFile(list[0].Path)
	a.check(err)
	return list[0], b
}

func folderFor(i int) string { return fmt.Sprintf("F%02d", i) }

// TestPulledBytes: what the server has lies on disk by the contract's rule of line ends, and in no other way changed.
func TestPulledBytes(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, a *account) {
		taken := map[int]string{}
		for i, m := range odd() {
			a.client().Create(a.mailbox(folderFor(i)))
			a.observer = nil // a connection that saw a refusal may be of no use
			if err := a.client().TryAppend(a.mailbox(folderFor(i)), m.text); err != nil {
				t.Logf("%s: the server does not take it: %v", m.name, err)
				a.observer = nil
				continue
			}
			taken[i] = m.name
		}
		if len(taken) < 17 {
			t.Fatalf("the server took %d messages only", len(taken))
		}
		a.sync(0)
		for i, name := range taken {
			wire := string(a.client().Messages(a.mailbox(folderFor(i)))[0].Body)
			if _, disk := a.only(folderFor(i)); string(disk) != onDisk(wire) {
				t.Errorf("%s: the server has %.200q, the file %.200q", name, wire, disk)
			}
		}
		if o := a.run("verify", "--deep"); o.Code != 0 {
			t.Error(o)
		}
		a.quiet()
	})
}

// TestPushedBytes: a file arrives on the server as the contract says. What a server itself changes is remembered, and what it
// refuses is listed.
func TestPushedBytes(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, a *account) {
		type letter struct{ name, disk, wire string }
		var all []letter
		for _, m := range odd() {
			all = append(all, letter{m.name + " as LF", strings.ReplaceAll(m.text, "\r\n", "\n"), m.text})
			if strings.Contains(m.text, "\r\n") {
				all = append(all, letter{m.name + " as CRLF", m.text, m.text})
			}
		}
		for i := range all {
			m := &all[i]
			if !strings.Contains(m.disk, "\r\n") {
				m.wire = strings.ReplaceAll(m.disk, "\n", "\r\n")
			}
			a.put(folderFor(i), m.disk, "S")
		}
		o := a.run("sync", "--json")
		if o.Code > 1 {
			t.Fatal(o)
		}
		status := a.status()
		refused, rewritten := 0, 0
		for i, m := range all {
			if _, disk := a.only(folderFor(i)); string(disk) != m.disk {
				t.Errorf("%s: the file itself was changed", m.name)
			}
			got := a.client().Messages(a.mailbox(folderFor(i)))
			switch parked := status[folderFor(i)].Parked; {
			case len(got) == 0 && len(parked) == 1 && parked[0].Why == "refused":
				t.Logf("%s: refused: %s", m.name, parked[0].Text)
				refused++
			case len(got) != 1:
				t.Errorf("%s: %d messages on the server, status says %+v", m.name, len(got), status[folderFor(i)])
			case string(got[0].Body) != m.wire:
				t.Logf("%s: sent %.100q, kept as %.100q", m.name, tail(m.wire), tail(string(got[0].Body)))
				rewritten++
			}
		}
		if (refused > 0) != (o.Code == 1) || refused > 8 || rewritten > 8 {
			t.Errorf("%d refused, %d rewritten: %v", refused, rewritten, o)
		}
		v := a.run("verify", "--deep", "--json")
		lines := strings.Split(strings.TrimSpace(v.Stdout), "\n")
		var verdict struct{ Rewritten, Differences int }
		a.check(json.Unmarshal([]byte(lines[len(lines)-1]), &verdict))
		if v.Code != 0 || verdict.Rewritten != rewritten || verdict.Differences != 0 {
			t.Errorf("want no difference and %d rewritten, got %v", rewritten, v)
		}
		if r := a.run("sync", "--json"); !strings.Contains(r.Stdout, `"to_maildir":{"new":0,"flags":0,"moved":0,"deleted":0},"to_server":{"new":0,"flags":0,"moved":0,"deleted":0}`) {
			t.Errorf("a second run still changed something: %v", r)
		}
	})
}

func tail(s string) string { return s[max(0, len(s)-60):] }

// TestDates: INTERNALDATE becomes the file's time and the other way round; what can't be one becomes the Date header, else now.
func TestDates(t *testing.T) {
	t.Parallel()
	header := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	now := time.Now().Truncate(time.Second)
	const undated = "From: ann@example.org\r\nSubject: undated\r\n\r\nbody\r\n"
	for _, tt := range []struct {
		name, text string
		given      time.Time
		want       time.Time // zero: now
		pushOnly   bool      // a server can't have it
	}{
		{"ordinary", letter("x"), received, received, false},
		{"zone", letter("x"), time.Date(2021, 3, 4, 5, 6, 7, 0, time.FixedZone("", 5*3600+1800)), time.Date(2021, 3, 3, 23, 36, 7, 0, time.UTC), false},
		{"leap day", letter("x"), time.Date(2024, 2, 29, 23, 59, 59, 0, time.UTC), time.Date(2024, 2, 29, 23, 59, 59, 0, time.UTC), false},
		{"the second day", letter("x"), time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC), false},
		{"within a day of now", letter("x"), now.Add(12 * time.Hour).Truncate(time.Second), now.Add(12 * time.Hour).Truncate(time.Second), false},
		{"in the future", letter("x"), now.AddDate(10, 0, 0), header, false},
		{"in the future, without Date", undated, now.AddDate(10, 0, 0), time.Time{}, false},
		{"before 1970", letter("x"), time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC), header, true},
		{"before 1970, without Date", undated, time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{}, true},
		{"parts of a second", letter("x"), received.Add(999 * time.Millisecond), received, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, servers.Courier(t, servers.Options{})) // Dovecot takes no date after now
			check := func(what string, got time.Time) {
				t.Helper()
				if tt.want.IsZero() && (got.Before(now.Add(-time.Minute)) || got.After(time.Now().Add(time.Minute))) {
					t.Errorf("%s: %v, want now", what, got)
				}
				if !tt.want.IsZero() && !got.Equal(tt.want) {
					t.Errorf("%s: %v, want %v", what, got, tt.want)
				}
			}
			a.client().Create(a.mailbox("Pull"))
			if !tt.pushOnly {
				a.client().Append(a.mailbox("Pull"), tt.text, flags(), tt.given)
			}
			a.putAt("Push", onDisk(tt.text), "S", tt.given)
			a.sync(0)
			if !tt.pushOnly {
				f, _ := a.only("Pull")
				info, err := os.Stat(f.Path)
				a.check(err)
				check("the file's time", info.ModTime())
			}
			check("INTERNALDATE", a.client().Index(a.mailbox("Push"))[0].Date)
			// Later changes to the time mean nothing.
			f, _ := a.only("Push")
			later := received.AddDate(1, 1, 1)
			a.check(os.Chtimes(f.Path, later, later))
			a.quiet()
			check("INTERNALDATE afterwards", a.client().Index(a.mailbox("Push"))[0].Date)
		})
	}
}

// TestRewrittenWithoutUIDs: a message that the server changes, and whose UID it does not tell, is not sent twice.
func TestRewrittenWithoutUIDs(t *testing.T) {
	t.Parallel()
	without := servers.Options{Without: []string{"UIDPLUS"}}
	const head = "From: ann@example.org\nSubject: odd\nMessage-ID: <odd@example.org>\n"
	for name, tt := range map[string]struct {
		start func(testing.TB, servers.Options) *servers.Server
		text  string
	}{
		"NUL on Dovecot":            {servers.Dovecot, head + "\na\x00b\n"},
		"line ends on Dovecot":      {servers.Dovecot, head + "\na\r\nb\nc\n"},
		"8-bit header on Cyrus":     {servers.Cyrus, "X-Odd: \xfcml\xe4ut\n" + head + "\nbody\n"},
		"final line end on Courier": {servers.Courier, head + "\nbody"},
		"CR on Courier":             {servers.Courier, head + "\nbo\rdy\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, tt.start(t, without))
			a.put("INBOX", tt.text, "S")
			a.put("INBOX", onDisk(letter("plain")), "S")
			for range 3 {
				a.sync(0)
			}
			if n, m := a.client().Count("INBOX"), len(a.files("INBOX")); n != 2 || m != 2 {
				t.Errorf("%d messages on the server and %d in the Maildir, want 2 each", n, m)
			}
			if o := a.run("verify", "--deep"); o.Code != 0 || !strings.Contains(o.Stdout, "of 1 message the server keeps other bytes") {
				t.Error(o)
			}
		})
	}
}
