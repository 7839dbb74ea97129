package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// say gives lines to the server by its tunnel, as another client's, and returns what it answers.
func (a *account) say(lines ...string) string {
	a.t.Helper()
	cmd := exec.CommandContext(context.Background(), "/bin/sh", "-c", a.Server.Tunnel)
	for i, l := range append(lines, "LOGOUT") {
		lines = append(lines[:i:i], fmt.Sprintf("x%d %s\r\n", i, l))
	}
	cmd.Stdin = strings.NewReader(strings.Join(lines, ""))
	out, err := cmd.Output()
	a.check(err)
	return string(out)
}

// sized is a letter with a body of about n bytes.
func sized(subject string, n int) string {
	return letter(subject) + strings.Repeat("0123456789012345678901234567890123456789012345678901234567890\r\n", n/63)
}

// TestQuota: a full mailbox stops the message that does not fit, and no other.
func TestQuota(t *testing.T) {
	t.Parallel()
	a := newAccount(t, servers.Dovecot(t, servers.Options{Quota: "*:storage=40k"}))
	a.client().Append("INBOX", sized("ballast", 25_000), flags(), received)
	a.client().Create("Other")
	a.put("INBOX", onDisk(letter("before")), "S")
	a.put("INBOX", onDisk(sized("large", 25_000)), "F")
	a.put("INBOX", onDisk(letter("behind")), "S")
	a.put("Other", onDisk(letter("elsewhere")), "S")
	for range 2 { // it is tried anew, and refused again
		r := a.sync(1)
		if len(r.Errors) != 1 || r.Errors[0].Folder != "INBOX" || !strings.Contains(r.Errors[0].Error, "OVERQUOTA") {
			t.Fatalf("want one error with the server's code, got %v", r.Outcome)
		}
		a.sides("INBOX", "ballast before behind", "ballast before behind large")
		a.sides("Other", "elsewhere", "elsewhere")
	}
	s := a.status()["INBOX"]
	if s.OneSided["refused"] != 1 || len(s.Parked) != 1 || s.Parked[0].Name != a.find("INBOX", "large").Base || s.Parked[0].Text == "" {
		t.Errorf("status does not list the message: %+v", s)
	}
	a.client().Expunge("INBOX", a.uid("INBOX", "ballast"))
	a.settled()
	a.holds("INBOX", "before", "behind", "large")
	if s := a.status()["INBOX"]; len(s.Parked) != 0 {
		t.Errorf("status still lists %+v", s.Parked)
	}
}

// TestTooLarge: a message that the server will never take stops no other.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	a := newAccount(t, servers.Dovecot(t, servers.Options{Quota: "*:storage=1000k", Config: "plugin {\n quota_max_mail_size = 10k\n}"}))
	for i := range 5 {
		a.put("INBOX", onDisk(letter(fmt.Sprint("small", i))), "S")
	}
	a.put("INBOX", onDisk(sized("large", 25_000)), "S")
	for i := range 5 {
		a.put("INBOX", onDisk(letter(fmt.Sprint("tail", i))), "S")
	}
	for range 2 {
		if r := a.sync(1); len(r.Errors) != 1 {
			t.Fatalf("want one error, got %v", r.Outcome)
		}
		if got := a.client().Count("INBOX"); got != 10 {
			t.Errorf("%d messages on the server, want 10", got)
		}
	}
	a.remove("INBOX", "large")
	a.settled()
}

// TestUnreadable: what can't be read in cur/ is reported and stops nothing.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		make func(path string) error
	}{
		{"a link to nowhere", func(path string) error { return os.Symlink("/nonexistent/satchel", path) }},
		{"a link to itself", func(path string) error { return os.Symlink(path, path) }},
		{"a link to a file outside", func(path string) error { return os.Symlink("/etc/passwd", path) }},
		{"a link to another message", func(path string) error {
			others, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(path)), "*", "*"))
			if err != nil || len(others) == 0 {
				return fmt.Errorf("no message to link to: %w", err)
			}
			return os.Symlink(others[0], path)
		}},
		{"a folder", func(path string) error { return os.Mkdir(path, 0o700) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := synced(t, "a")
			path := filepath.Join(a.dir("INBOX"), "cur", "1700000000.bad.host:2,S")
			a.check(tt.make(path))
			a.file("INBOX", "S", "b")
			a.send("INBOX", flags(), "c")
			r := a.sync(1)
			if len(r.Errors) != 1 || r.Errors[0].Folder != "INBOX" || !strings.Contains(r.Errors[0].Error, "1700000000.bad.host") {
				t.Errorf("want one error with the name, got %v", r.Outcome)
			}
			a.check(os.Remove(path))
			a.holds("INBOX", "a", "b", "c")
			a.settled()
		})
	}
}

// TestUnreadableFile: a file that may not be read, for which the program must not be root.
func TestUnreadableFile(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	a.send("INBOX", flags(), "a")
	a.imap["user"] = quote(a.Server.User) // the same owner by the tunnel and by TLS
	a.write()
	a.sync(0)
	base := a.put("INBOX", onDisk(letter("secret")), "S")
	a.file("INBOX", "S", "b")
	path := filepath.Join(a.dir("INBOX"), "cur", base+":2,S")
	a.check(os.Chmod(path, 0))
	a.overTLS()
	if os.Geteuid() == 0 {
		a.asNobody()
	}
	for range 2 {
		r := a.sync(1)
		if len(r.Errors) != 1 || !strings.Contains(r.Errors[0].Error, base) {
			t.Errorf("want one error with the name, got %v", r.Outcome)
		}
		if got := a.client().Count("INBOX"); got != 2 {
			t.Errorf("%d messages on the server, want 2", got)
		}
	}
	if s := a.status()["INBOX"]; s.OneSided["unreadable"] != 1 {
		t.Errorf("status does not list the file: %+v", s)
	}
	a.check(os.Chmod(path, 0o600))
	a.sync(0)
	a.holds("INBOX", "a", "b", "secret")
}

// TestReadOnlyFolder: local changes in a folder that can't be changed stay, are listed, and are no removals.
func TestReadOnlyFolder(t *testing.T) {
	t.Parallel()
	a := withRights(t, "lr")
	a.flag("F", "a", "S")
	a.remove("F", "b")
	a.file("F", "", "mine")
	a.sync(0) // there is nothing that failed
	a.sides("F", "a b c", "a c mine")
	if f := a.find("F", "a"); f.Flags != "S" {
		t.Errorf("the flag was taken back: %q", f.Flags)
	}
	if s := a.status()["F"]; !s.ReadOnly {
		t.Errorf("status does not say that the folder is read-only: %+v", s)
	}
	a.allow("lrwstipekxa")
	a.settled()
	a.sides("F", "a c mine", "a c mine")
	if f := a.at("F", "a").Flags; !f.Has(mail.Seen) {
		t.Errorf("the flag did not come to the server in the end: %q", f)
	}
}

// TestPermanentFlags: a flag that the folder can't keep stays where it is, and its absence is no removal.
func TestPermanentFlags(t *testing.T) {
	t.Parallel()
	a := withRights(t, "lrsite")
	a.setKeywords("F", "Todo")
	a.flag("F", "a", "FSa")
	for range 2 {
		a.sync(0)
		if f := a.find("F", "a"); f.Flags != "FSa" {
			t.Errorf("the flags are %q, want FSa", f.Flags)
		}
		if f := a.at("F", "a").Flags; !f.Equal(flags(`\Seen`)) {
			t.Errorf("the flags on the server are %q, want \\Seen", f)
		}
	}
	if s := a.status()["F"]; s.KeptBack != 1 {
		t.Errorf("status counts %d messages with flags that the server can't keep, want 1", s.KeptBack)
	}
}

// withRights is a synchronised account whose folder F gives its owner only these rights (RFC 4314).
func withRights(t *testing.T, rights string) *account {
	t.Helper()
	a := newAccount(t, servers.Dovecot(t, servers.Options{ACL: true}))
	a.client().Create("F")
	a.send("F", flags(), "a", "b", "c")
	a.settled()
	a.allow(rights)
	return a
}

// allow sets the owner's rights on F.
func (a *account) allow(rights string) {
	a.t.Helper()
	a.check(os.WriteFile(filepath.Join(a.Server.Root, "mailboxes", "F", "dbox-Mails", "dovecot-acl"), []byte("owner "+rights+"\n"), 0o644))
}

// TestManyKeywords: a Maildir has 26 letters. What has none stays on the server and is never read as removed.
func TestManyKeywords(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("Keyword%02d", i))
	}
	a.send("INBOX", flags(names...), "many")
	a.send("INBOX", flags(names[28]), "one")
	a.sync(0)
	f := a.find("INBOX", "many")
	if len(f.Flags) != 26 || len(a.keywords("INBOX")) != 26 {
		t.Errorf("the flags are %q, and %d keywords have a letter", f.Flags, len(a.keywords("INBOX")))
	}
	a.flag("INBOX", "many", "S"+f.Flags[1:]) // one keyword removed, \Seen set
	a.flag("INBOX", "one", "S")
	a.sync(0)
	gone := a.keywords("INBOX")[f.Flags[0]]
	want := flags(append(slices.DeleteFunc(slices.Clone(names), func(s string) bool { return strings.EqualFold(s, gone) }), `\Seen`)...)
	if got := a.at("INBOX", "many").Flags; !got.Equal(want) {
		t.Errorf("the flags on the server are %q, want %q", got, want)
	}
	if got := a.at("INBOX", "one").Flags; !got.Has(mail.Seen) {
		t.Errorf("the flags on the server are %q, want \\Seen among them", got)
	}
	if s := a.status()["INBOX"]; s.KeptBack == 0 {
		t.Errorf("status does not say that keywords have no letter: %+v", s)
	}
	a.quiet()
}

// TestNames: every folder name that a server can have gets a place of its own in the Maildir, inside the root.
func TestNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 220)
	for _, tt := range []struct {
		name    string
		options servers.Options
		mailbox map[string]string // the name in modified UTF-7 to the local name
	}{
		{"separator /", servers.Options{}, map[string]string{
			"Entw&APw-rfe": "Entwürfe", "cur": "%63ur", "new": "%6Eew", "tmp/cur": "%74mp/%63ur", "A&-B": "A&B", "100%": "100%25",
			"a%2Fb": "a%252Fb", "space ": "space ", " space": " space", "dot.dot": "dot.dot", "Z&2D3cqQ-": "Z💩", long: long,
			"quote\\\"d": "quote\"d", "star*": "star*", "tilde~": "tilde~", "back\\\\slash": "back\\slash",
		}},
		{"separator .", servers.Options{Separator: ".", Prefix: "INBOX.", Config: "mail_location = sdbox:~/index:LAYOUT=index"}, map[string]string{
			"INBOX.a/b": "a%2Fb", "INBOX.x.y": "x/y", "INBOX.cur": "%63ur", "INBOX.Entw&APw-rfe": "Entwürfe",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, servers.Dovecot(t, tt.options))
			var made []string
			for box, local := range tt.mailbox {
				if got := a.say(`CREATE "` + box + `"`); !strings.Contains(got, "x0 OK") {
					t.Errorf("the server does not take %q, so it is no case: %s", box, got)
					continue
				}
				made = append(made, local)
			}
			a.sync(0)
			got := slices.DeleteFunc(a.folders(), func(s string) bool { return s == "INBOX" })
			slices.Sort(made)
			if !slices.Equal(got, made) {
				t.Errorf("the folders are %q, want %q", got, made)
			}
			for _, local := range made {
				a.put(local, onDisk(letter("in "+local)), "S")
			}
			a.sync(0).did(t, counts{}, counts{New: len(made)})
			if o := a.run("verify", "--deep"); o.Code != 0 {
				t.Error(o)
			}
			a.quiet()
			if out, err := filepath.Glob(filepath.Join(a.Dir, "*")); err != nil || len(out) != 2 {
				t.Errorf("beside the Maildir and the configuration there is %q", out)
			}
		})
	}
}

// TestLocalNames: folders that only the Maildir has, and whether the server can have them.
func TestLocalNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, local string
		options     servers.Options
		mailbox     string // empty: the server can't have it
	}{
		{"umlauts", "Entwürfe", servers.Options{}, "Entwürfe"},
		{"ampersand", "A&B", servers.Options{}, "A&B"},
		{"an escape", "cut%2Fhere", servers.Options{Separator: ".", Config: "mail_location = sdbox:~/index:LAYOUT=index"}, "cut/here"},
		{"no escape", "100%", servers.Options{}, "100%"},
		{"an escape that is none of ours", "a%41b", servers.Options{}, "a%41b"},
		{"the server's separator", "dot.dot", servers.Options{Separator: ".", Config: "mail_location = sdbox:~/index:LAYOUT=index"}, ""},
		{"INBOX in other case", "inbox", servers.Options{}, ""},
		{"an escape of the server's separator", "a%2Fb", servers.Options{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, servers.Dovecot(t, tt.options))
			a.send("INBOX", flags(), "i")
			a.file(tt.local, "S", "m")
			a.file("Fine", "S", "f")
			want := 0
			if tt.mailbox == "" {
				want = 1
			}
			r := a.sync(want)
			boxes := slices.DeleteFunc(a.client().Folders(), func(s string) bool { return s == "INBOX" || s == "Fine" })
			switch {
			case tt.mailbox != "" && !slices.Equal(boxes, []string{tt.mailbox}):
				t.Errorf("the server's folders are %q, want %q", boxes, tt.mailbox)
			case tt.mailbox == "" && (len(boxes) != 0 || len(r.Errors) != 1 || r.Errors[0].Folder != tt.local):
				t.Errorf("want an error about %q and no folder, got %q and %v", tt.local, boxes, r.Outcome)
			}
			a.holds("Fine", "f")
			if got := a.find(tt.local, "m"); got.Flags != "S" {
				t.Errorf("the local message became %q", got.Path)
			}
		})
	}
}

// TestMaildirInMaildir: one account's Maildir lies in another's, which a symbolic link hides. The one's mail is not stored on the other's server:
// within one configuration both are refused, and what another configuration has there is no folder.
func TestMaildirInMaildir(t *testing.T) {
	t.Parallel()
	home, work := dovecot(t), dovecot(t)
	home.check(os.Mkdir(filepath.Join(home.Dir, "data"), 0o700))
	home.check(os.Symlink("data", filepath.Join(home.Dir, "link")))
	home.Maildir = filepath.Join(home.Dir, "link")
	home.set("maildir", quote(home.Maildir))
	work.Maildir = filepath.Join(home.Dir, "data", "work")
	work.set("maildir", quote(work.Maildir))
	work.send("INBOX", flags(), "confidential")
	home.send("INBOX", flags(), "mine")
	work.settled()
	for range 2 {
		if r := home.sync(1); !strings.Contains(r.Outcome.Stderr, "another account's Maildir") {
			t.Errorf("it does not say why: %v", r.Outcome)
		}
	}
	home.holds("INBOX", "mine")
	if got := home.client().Folders(); len(got) != 1 {
		t.Errorf("the server has the folders %q", got)
	}

	one, err := os.ReadFile(home.Config)
	home.check(err)
	two, err := os.ReadFile(work.Config)
	home.check(err)
	home.check(os.WriteFile(home.Config, []byte(string(one)+strings.ReplaceAll(string(two), "account.me", "account.work")), 0o600))
	for _, account := range []string{"me", "work"} {
		if o := home.run("sync", account); o.Code != 2 || !strings.Contains(o.Stderr, "lies inside") {
			t.Errorf("want 2, got %v", o)
		}
	}
}
