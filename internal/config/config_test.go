package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

// minimal is the least that is a configuration: the two tables' lines go in at the marks.
func minimal(account, imap string) string {
	return "[account.a]\nmaildir = \"/mail/a\"\n" + account +
		"\n[account.a.imap]\nhost = \"h.example\"\nuser = \"u\"\npassword_env = \"PW\"\n" + imap + "\n"
}

func parseText(text string) (*Config, error) {
	return parse(source{path: "c.toml", text: text, perm: 0o600, home: "/home/me"})
}

func mustParse(t *testing.T, text string) Account {
	t.Helper()
	cfg, err := parseText(text)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Accounts[0]
}

func TestDefaults(t *testing.T) {
	a := mustParse(t, minimal("", ""))
	if a.IMAP.Password == nil {
		t.Error("no password source")
	}
	a.IMAP.Password = nil
	want := Account{
		Name: "a", Maildir: "/mail/a", Layout: Nested, Mode: TwoWay, Include: []string{"*"}, Create: CreateBoth,
		MaxDelete: MaxDelete{IsShare: true, Percent: 50}, Undo: 30 * 24 * time.Hour, Connections: 4, Compress: CompressAuto, Poll: 5 * time.Minute, WatchConnections: 2,
		StatePath: "/mail/a/.satchel.db",
		IMAP: IMAP{Server{
			Config: transport.Config{Host: "h.example", Port: 993, TLS: transport.Implicit},
			User:   "u", Auth: auth.Auto,
		}},
	}
	if d := cmp.Diff(want, a, cmp.Comparer(func(a, b Since) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	a := mustParse(t, `
[account.a]
maildir = "~/Mail//x/"
layout = "maildir++"
mode = "push"
include = ["INBOX", "Lists/%", "\\Sent"]
exclude = ["[Gmail]/All Mail"]
map = { "[Gmail]/Sent Mail" = "Sent", "a.b" = "A/B" }
subscribed = true
create = "server"
max_delete = "100"
trash = "Deleted/Items"
expunge = "on"
undo = "0"
max_message_size = "50MB"
daily_download = "2500MB"
daily_upload = "1GiB"
on_new_mail = "notmuch new"
since = "2024-02-29"
connections = 20
compress = "on"
poll = "90s"
watch_connections = 5
state = "/var/state/a.db"
[account.a.imap]
host = "127.0.0.1"
port = 1143
tls = "off"
allow_plaintext = true
user = "u@x"
auth = "scram-sha-256"
password_command = ["printf", "s3cret\n"]
`)
	src := a.IMAP.Password
	a.IMAP.Password = nil
	want := Account{
		Name: "a", Maildir: "/home/me/Mail/x", Layout: MaildirPlus, Mode: Push,
		Include: []string{"INBOX", "Lists/%", `\Sent`}, Exclude: []string{"[Gmail]/All Mail"},
		Map:        map[string]string{"[Gmail]/Sent Mail": "Sent", "a.b": "A/B"},
		Subscribed: true, Create: CreateServer, MaxDelete: MaxDelete{Count: 100}, Trash: "Deleted/Items", Expunge: true,
		DailyDownload: 2_500_000_000, DailyUpload: 1 << 30, OnNewMail: "notmuch new",
		MaxMessageSize: 50_000_000, Since: Since{date: civil{2024, 2, 29}}, Connections: 20, Compress: CompressOn, Poll: 90 * time.Second, WatchConnections: 5, StatePath: "/var/state/a.db",
		IMAP: IMAP{Server{
			Config: transport.Config{Host: "127.0.0.1", Port: 1143, TLS: transport.Off, AllowPlaintext: true},
			User:   "u@x", Auth: auth.ScramSHA256,
		}},
	}
	if d := cmp.Diff(want, a, cmp.Comparer(func(a, b Since) bool { return a == b })); d != "" {
		t.Error(d)
	}
	secret, err := src.Secret(context.Background())
	if err != nil || secret.Reveal() != "s3cret" {
		t.Errorf("password_command as a list gives %d bytes, %v", len(secret.Reveal()), err)
	}

	pin := strings.Repeat("ab", 32)
	b := mustParse(t, minimal("", `tls = "starttls"`+"\nca_file = \"~/ca.pem\"\ncert_sha256 = \""+pin+"\"\nclient_cert = \"/c.pem\"\nclient_key = \"/k.pem\""))
	wantT := transport.Config{
		Host: "h.example", Port: 143, TLS: transport.StartTLS,
		CAFile: "/home/me/ca.pem", CertSHA256: pin, ClientCert: "/c.pem", ClientKey: "/k.pem",
	}
	if d := cmp.Diff(wantT, b.IMAP.Config); d != "" {
		t.Error(d)
	}
}

// TestErrors: each case is a change to a valid file, and what the one error must say.
func TestErrors(t *testing.T) {
	tests := []struct {
		name          string
		account, imap string
		want          []string // each must occur in the error
	}{
		{"mode", `mode = "sideways"`, "", []string{`c.toml:3: account.a.mode: "sideways" is not allowed; allowed are "two-way", "pull", "push", "archive"`}},
		{"layout", `layout = "flat"`, "", []string{`c.toml:3: account.a.layout: "flat"`, `"nested", "maildir++"`}},
		{"create", `create = "here"`, "", []string{`account.a.create: "here"`, `"both", "maildir", "server", "none"`}},
		{"expunge", `expunge = true`, "", []string{`account.a.expunge: true or false is not allowed here; allowed are "on", "off"`}},
		{"wrong type of string", `layout = 3`, "", []string{`c.toml:3: account.a.layout: an integer is not allowed here`}},
		{"wrong type of boolean", `subscribed = "yes"`, "", []string{`c.toml:3: account.a.subscribed: a string is not allowed here; allowed is true or false`}},
		{"wrong type of integer", `connections = "4"`, "", []string{`c.toml:3: account.a.connections: a string is not allowed here; allowed is a whole number from 1 to 20`}},
		{"fraction", `connections = 4.5`, "", []string{`account.a.connections: a number with a fraction`}},
		{"wrong type of list", `include = "*"`, "", []string{`c.toml:3: account.a.include: a string is not allowed here; allowed is a list`}},
		{"wrong item in list", `include = ["*", 3]`, "", []string{`c.toml:3: account.a.include: an integer in the list`}},
		{"wrong type of map", `map = "x"`, "", []string{`c.toml:3: account.a.map: a string is not allowed here; allowed is a table`}},
		{"date without quotes", `since = 2024-01-01`, "", []string{`c.toml:3: account.a.since: a date or time without quotes is not allowed here; allowed is a number of days such as "365d"`}},
		{"connections too few", `connections = 0`, "", []string{`account.a.connections: 0 is not allowed; allowed is a whole number from 1 to 20`}},
		{"compress", `compress = "yes"`, "", []string{`account.a.compress: "yes" is not allowed; allowed are "auto", "on", "off"`}},
		{"connections too many", `connections = 21`, "", []string{`account.a.connections: 21 is not allowed`}},
		{"max_delete", `max_delete = "150%"`, "", []string{`account.a.max_delete: "150%" is not allowed; allowed is a share such as "50%", a count such as "100", or "off"`}},
		{"undo", `undo = "soon"`, "", []string{`account.a.undo: "soon" is not allowed`, `"30d"`}},
		{"undo empty", `undo = ""`, "", []string{`account.a.undo: "" is not allowed`}},
		{"budget", `daily_download = "much"`, "", []string{`account.a.daily_download: "much" is not allowed`, `"2500MB"`}},
		{"budget below zero", `daily_upload = "-1"`, "", []string{`account.a.daily_upload: "-1" is not allowed`, `"0" for no limit`}},
		{"budget without quotes", `daily_download = 2500`, "", []string{"account.a.daily_download", `"2500MB"`}},
		{"command of another type", `on_new_mail = ["notmuch", "new"]`, "", []string{"account.a.on_new_mail", `a shell command such as "notmuch new"`}},
		{"command of blanks", `on_new_mail = " "`, "", []string{"account.a.on_new_mail: a command of nothing but blanks"}},
		{"command with NUL", `on_new_mail = "a\u0000b"`, "", []string{"account.a.on_new_mail: a command can't hold a NUL character"}},
		{"size", `max_message_size = "big"`, "", []string{`account.a.max_message_size: "big" is not allowed`, `"50MB"`}},
		{"since", `since = "2023-02-29"`, "", []string{`account.a.since: "2023-02-29" is not allowed`, `"2024-01-01"`}},
		{"include empty", `include = []`, "", []string{`account.a.include: an empty list`}},
		{"include empty pattern", `include = [""]`, "", []string{`account.a.include: an empty pattern`}},
		{"include unknown use", `include = ["\\Snet"]`, "", []string{`account.a.include: \Snet is no special use`, `"\\Sent"`}},
		{"exclude control character", `exclude = ["a\u0007"]`, "", []string{`account.a.exclude: "a\a" is not allowed`}},
		{"map twice the same", `map = { "A" = "X", "B" = "X" }`, "", []string{`c.toml:3: account.a.map.B: "X" is already the local name of "A"`}},
		{"map empty", `map = { "A" = "" }`, "", []string{`account.a.map.A: "" is not allowed; allowed is a local folder name`}},
		{"map escapes", `map = { "A" = "../x" }`, "", []string{`account.a.map.A: "../x" is not allowed`}},
		{"map to Maildir's own", `map = { "A" = "cur" }`, "", []string{`account.a.map.A: "cur" is not allowed`}},
		{"map wrong type", `map = { "A" = 3 }`, "", []string{`account.a.map.A: an integer is not allowed here`}},
		{"trash and pull", "mode = \"pull\"\ntrash = \"Trash\"", "", []string{`c.toml:4: account.a.trash: not allowed with mode = "pull"`}},
		{"trash and archive", "mode = \"archive\"\ntrash = \"Trash\"", "", []string{`account.a.trash: not allowed with mode = "archive"`}},
		{"trash is no folder", `trash = "/Trash"`, "", []string{`account.a.trash: "/Trash" is not allowed`}},
		{"trash is INBOX", `trash = "INBOX"`, "", []string{`account.a.trash: "INBOX" is not allowed`}},
		{"state relative", `state = "x.db"`, "", []string{`c.toml:3: account.a.state: "x.db" is not allowed`, `absolute path`}},
		{"state directory", `state = "/x/"`, "", []string{`account.a.state: "/x/" is a directory`}},
		{"state is the Maildir", `state = "/mail/a"`, "", []string{`account.a.state: "/mail/a" is a Maildir`}},
		{"unknown key", `modes = "pull"`, "", []string{`c.toml:3: account.a.modes: unknown key; did you mean "mode"?`, `max_delete`}},
		{"other case", `Layout = "nested"`, "", []string{`account.a.Layout: unknown key; did you mean "layout"?`}},
		{"letters swapped", `connectoins = 3`, "", []string{`did you mean "connections"?`}},
		{"nothing like it", `colour = "red"`, "", []string{`account.a.colour: unknown key (keys here: compress, connections, `}},
		{"control characters in a key", `"a\u001b[31m" = 1`, "", []string{`account.a."a\u001b[31m": unknown key`}},

		{"port", "", `port = 70000`, []string{`c.toml:8: account.a.imap.port: 70000 is not allowed; allowed is a whole number from 1 to 65535`}},
		{"port zero", "", `port = 0`, []string{`account.a.imap.port: 0 is not allowed`}},
		{"tls", "", `tls = "yes"`, []string{`account.a.imap.tls: "yes" is not allowed; allowed are "implicit", "starttls", "off"`}},
		{"tls off", "", `tls = "off"`, []string{`account.a.imap.tls: "off" would send the password`, `allow_plaintext = true`}},
		{"auth", "", `auth = "cram-md5"`, []string{`account.a.imap.auth: "cram-md5" is not allowed; allowed are "auto", "plain", "login", "scram-sha-256", "xoauth2", "oauthbearer", "external"`}},
		{"external without certificate", "", `auth = "external"`, []string{`account.a.imap.auth: "external" signs in by client certificate; set client_cert`}},
		{"pin", "", `cert_sha256 = "abcd"`, []string{`account.a.imap.cert_sha256: "abcd" is not allowed; allowed is the SHA-256`}},
		{"certificate without key", "", `client_cert = "/c.pem"`, []string{`account.a.imap.client_cert: it needs client_key`}},
		{"key without certificate", "", `client_key = "/c.pem"`, []string{`account.a.imap.client_key: it needs client_cert`}},
		{"ca_file relative", "", `ca_file = "ca.pem"`, []string{`account.a.imap.ca_file: "ca.pem" is not allowed`}},
		{"two password sources", "", `password_command = "x"`, []string{`c.toml:7: account.a.imap.password_env: the password comes from password_command already`}},
		{"tunnel and tls", "", "tunnel = \"x\"\ntls = \"starttls\"", []string{`c.toml:9: account.a.imap.tls: not allowed together with tunnel`}},
		{"tunnel and pin", "", "tunnel = \"x\"\ncert_sha256 = \"" + strings.Repeat("00", 32) + `"`, []string{`account.a.imap.cert_sha256: not allowed together with tunnel`}},
		{"misspelt", "", `prot = 993`, []string{`account.a.imap.prot: unknown key; did you mean "port"?`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseText(minimal(tt.account, tt.imap))
			var errs Errors
			if !errors.As(err, &errs) || len(errs) != 1 {
				t.Fatalf("want one error, have: %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q\nlacks %q", err, want)
				}
			}
		})
	}
}

// TestLaterKeysAreUnknown: what this version does not implement must not be accepted silently.
func TestLaterKeysAreUnknown(t *testing.T) {
	for _, key := range []string{
		"[account.a.smtp]\nhost = \"h\"",
	} {
		text := minimal(key, "")
		if strings.HasPrefix(key, "[") {
			text = minimal("", key)
		}
		if _, err := parseText(text); err == nil || !strings.Contains(err.Error(), "unknown key") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestWatch(t *testing.T) {
	for poll, ok := range map[string]bool{"10s": true, "5m": true, "24h": true, "9s": false, "25h": false, "": false, "m": false, "0": false, "5": false, "-5m": false, "1d": false} {
		if _, err := parseText(minimal("poll = \""+poll+"\"", "")); (err == nil) != ok {
			t.Errorf("poll = %q: %v", poll, err)
		}
	}
	for metrics, want := range map[string]string{"": "", "127.0.0.1:9464": "127.0.0.1:9464", ":9464": "127.0.0.1:9464", "[::1]:1": "[::1]:1", "0.0.0.0:9464": "0.0.0.0:9464",
		"9464": "-", "h:0": "-", "h:70000": "-", "h:": "-"} {
		cfg, err := parseText(minimal("", "[watch]\nmetrics = \""+metrics+"\""))
		switch {
		case (err != nil) != (want == "-"):
			t.Errorf("metrics = %q: %v", metrics, err)
		case err == nil && cfg.Watch.Metrics != want:
			t.Errorf("metrics = %q is read as %q, want %q", metrics, cfg.Watch.Metrics, want)
		}
	}
}

// TestWholeFileErrors are those that minimal can't show.
func TestWholeFileErrors(t *testing.T) {
	imap := "[account.%.imap]\nhost = \"h\"\nuser = \"u\"\npassword_env = \"P\"\n"
	account := func(name, maildir string) string {
		return "[account." + name + "]\nmaildir = \"" + maildir + "\"\n" + strings.ReplaceAll(imap, "%", name)
	}
	long := strings.Repeat("x", 200)
	tests := []struct {
		name, text string
		want       []string
	}{
		{"empty", "", []string{"c.toml:1: account: missing"}},
		{"empty account table", "\n[account]\n", []string{"c.toml:2: account: there is none"}},
		{"account is no table", `account = 3`, []string{"c.toml:1: account: an integer is not allowed here; allowed is tables [account.NAME]"}},
		{"account is a list", "[[account]]\nx = 1\n", []string{"account: a list of tables is not allowed here"}},
		{"account's name missing", "[account]\nmaildir = \"/x\"\n", []string{"c.toml:2: account.maildir: a string is not allowed here; allowed is a table [account.NAME]"}},
		{"syntax", "[account.a]\nmaildir = /x\n", []string{"c.toml:2: this is not TOML: expected value but found"}},
		{"twice", account("a", "/x") + "[account.a]\n", []string{"c.toml:7: this is not TOML: "}},
		{"maildir missing", "# c\n[account.a]\n" + strings.ReplaceAll(imap, "%", "a"), []string{`c.toml:2: account.a: maildir is missing; it is required, such as maildir = "~/Mail/a"`}},
		{"maildir missing without a header", strings.ReplaceAll(imap, "%", "a"), []string{`c.toml:1: account.a: maildir is missing`}},
		{"imap missing", "[account.a]\nmaildir = \"/x\"\n", []string{"c.toml:1: account.a: imap is missing; a table [account.a.imap]"}},
		{"imap is no table", "[account.a]\nmaildir = \"/x\"\nimap = true\n", []string{"c.toml:3: account.a.imap: true or false is not allowed here"}},
		{"imap empty", "[account.a]\nmaildir = \"/x\"\n[account.a.imap]\n", []string{
			"c.toml:3: account.a.imap: host is missing", "c.toml:3: account.a.imap: user is missing", "c.toml:3: account.a.imap: a password source is missing; one of password_command, password_env, password_keyring, password is required",
		}},
		{"maildir relative", account("a", "Mail"), []string{`c.toml:2: account.a.maildir: "Mail" is not allowed: it would depend on where Satchel is started; allowed is an absolute path`}},
		{"maildir with a variable", account("a", "$HOME/Mail"), []string{`environment variables are not expanded`}},
		{"maildir of somebody else", account("a", "~joe/Mail"), []string{`other people's ~`}},
		{"maildir empty", account("a", ""), []string{`c.toml:2: account.a.maildir: "" is not allowed`}},
		{"maildir root", account("a", "/"), []string{`c.toml:2: account.a.maildir: the root of the file system`}},
		{"maildir of a wrong type", "[account.a]\nmaildir = 3\n" + strings.ReplaceAll(imap, "%", "a"), []string{`c.toml:2: account.a.maildir: an integer`}},
		{"same Maildir", account("a", "/x/y") + account("b", "/x/./y/"), []string{`c.toml:8: account.b.maildir: "/x/y" is already the Maildir of account "a"`}},
		{"Maildir inside", account("a", "/x/y") + account("b", "/x/y/z"), []string{`c.toml:8: account.b.maildir: "/x/y/z" lies inside the Maildir of account "a"`}},
		{"Maildir around", account("a", "/x/y") + account("b", "/x"), []string{`c.toml:8: account.b.maildir: the Maildir of account "a" ("/x/y") lies inside "/x"`}},
		{"same state", "[account.a]\nstate = \"/s\"\nmaildir = \"/a\"\n" + strings.ReplaceAll(imap, "%", "a") + "[account.b]\nmaildir = \"/b\"\nstate = \"/s\"\n" + strings.ReplaceAll(imap, "%", "b"), []string{`c.toml:10: account.b.state: "/s" is already the state database of account "a"`}},
		{"state is another's default", account("a", "/a") + "[account.b]\nmaildir = \"/b\"\nstate = \"/a/.satchel.db\"\n" + strings.ReplaceAll(imap, "%", "b"), []string{`account.b.state: "/a/.satchel.db" is already the state database of account "a"`}},
		{"default is another's state", "[account.b]\nmaildir = \"/b\"\nstate = \"/a/.satchel.db\"\n" + strings.ReplaceAll(imap, "%", "b") + account("a", "/a"), []string{`account.a.maildir: "/a/.satchel.db" is already the state database of account "b"`}},
		{"name with slash", account(`"a/b"`, "/x"), []string{`c.toml:1: account."a/b": an account name can't hold "/"`}},
		{"name with dash", account(`-a`, "/x"), []string{`account.-a: an account name can't begin with "-"`}},
		{"name empty", account(`""`, "/x"), []string{`account."": an empty account name is not allowed`}},
		{"name with control", account(`"a\u0007"`, "/x"), []string{`an account name can't hold control characters`}},
		{"all at once, by line", "[account.a]\nmode = \"x\"\nmaildir = \"/x\"\nfoo = 1\n[account.a.imap]\nhost = \"imaps://h\"\nport = -1\nuser = \"\"\npassword_env = \"P\"\n", []string{
			"c.toml:2: account.a.mode:", "c.toml:4: account.a.foo: unknown", "c.toml:6: account.a.imap.host:", "c.toml:7: account.a.imap.port:", "c.toml:8: account.a.imap.user:",
		}},
		{"long value", account("a", long), []string{`"` + long[:80] + `…" is not allowed`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseText(tt.text)
			var errs Errors
			if !errors.As(err, &errs) || len(errs) != len(tt.want) {
				t.Fatalf("want %d errors, have: %v", len(tt.want), err)
			}
			for i, want := range tt.want {
				if !strings.Contains(errs[i].Error(), want) {
					t.Errorf("error %d: %q\nlacks %q", i, errs[i], want)
				}
			}
		})
	}
}

func TestHosts(t *testing.T) {
	for host, ok := range map[string]bool{
		"imap.example.org": true, "localhost": true, "127.0.0.1": true, "::1": true, "fe80::1": true, "a_b.example": true, "xn--bcher-kva.example": true, "h.example.": true,
		"": false, "a b": false, "imap.example.org:993": false, "[::1]": false, "imaps://h": false, "bücher.example": false, "-h": false, "a..b": false, "a\\u0000b": false, "a/b": false,
	} {
		text := strings.Replace(minimal("", ""), "h.example", host, 1)
		_, err := parseText(text)
		if (err == nil) != ok {
			t.Errorf("host %q: %v", host, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "c.toml:5: account.a.imap.host: ") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("host %q: %v", host, err)
		}
	}
}

func TestPlaintextOnlyWhereItStays(t *testing.T) {
	for host, ok := range map[string]bool{"localhost": true, "127.8.9.1": true, "::1": true, "LOCALHOST": true, "localhost.example": false, "10.0.0.1": false, "128.0.0.1": false} {
		_, err := parseText(strings.Replace(minimal("", `tls = "off"`), "h.example", host, 1))
		if (err == nil) != ok {
			t.Errorf("tls off to %s: %v", host, err)
		}
	}
	a := mustParse(t, minimal("", "tls = \"off\"\nallow_plaintext = true"))
	if a.IMAP.Port != 143 || !a.IMAP.AllowPlaintext {
		t.Errorf("%+v", a.IMAP.Config)
	}
}

func TestPasswordIsOptional(t *testing.T) {
	head := "[account.a]\nmaildir = \"/x\"\n[account.a.imap]\nhost = \"h\"\n"
	for _, tt := range []struct {
		lines string
		ok    bool
	}{
		{`user = "u"`, false},
		{"user = \"u\"\nauth = \"plain\"", false},
		{"user = \"u\"\nauth = \"external\"\nclient_cert = \"/c\"\nclient_key = \"/k\"", true},
		{"auth = \"external\"\nclient_cert = \"/c\"\nclient_key = \"/k\"", true},
		{"user = \"u\"\nclient_cert = \"/c\"\nclient_key = \"/k\"", false},
		{`tunnel = "imap"`, true},
		{"tunnel = \"imap\"\npassword_keyring = false\npassword = \"\"", true},
		{"tunnel = \"imap\"\ntls = \"off\"", true},
		{"user = \"u\"\npassword_keyring = true", true},
		{"tunnel = \"imap\"\npassword_keyring = true", false},
		{"user = \"u\"\npassword_keyring = \"yes\"", false},
		{"user = \"u\"\npassword_command = []", false},
		{"user = \"u\"\npassword_command = [\"\"]", false},
		{"user = \"u\"\npassword_command = [3]", false},
		{"user = \"u\"\npassword_command = 3", false},
		{"user = \"u\"\npassword_command = \" \"", false},
		{"user = \"u\"\npassword_command = \"x\"", true},
		{"user = \"u\"\npassword_env = \"$PW\"", false},
		{"user = \"u\"\npassword_env = 3", false},
		{"user = \"u\"\npassword = \"x\"", true},
		{"user = \"u\\u0001\"\npassword = \"x\"", false},
		{`user = 3`, false},
	} {
		_, err := parseText(head + tt.lines + "\n")
		if (err == nil) != tt.ok {
			t.Errorf("%s\n%v", tt.lines, err)
		}
	}
}

// TestNoSecretInErrors breaks files that hold a secret in every way that quotes what is wrong.
func TestNoSecretInErrors(t *testing.T) {
	const canary = "hunter2"
	imap := "[account.a]\nmaildir = \"/x\"\n[account.a.imap]\nhost = \"h\"\nuser = \"u\"\n"
	for _, line := range []string{
		"password = hunter2", "password = 'hunter2", "password = \"hunter2", "password = \"a\\hunter2\"", "password = 7hunter2",
		"password = 0x7hunter2", "password = 1.hunter2", "password = 1_hunter2_", "password = \"hunter2\" x",
		"password = \"hunter2\\u0000\"", "password = \"hunter2\\n\"", "password = [\"hunter2\"]", "password = { x = \"hunter2\" }",
		"password_env = \"$hunter2\"", "password_command = \"echo hunter2\"\npassword = \"hunter2\"", "password_command = [\"echo\",\n hunter2]",
		"password_command = [\"echo\",\n 3, \"hunter2\"]", "password_command = [\"\", \"hunter2\"]", "password_keyring = \"hunter2\"",
		"pasword = \"hunter2\"", "pasword = hunter2", "Password = \"hunter2\"", "tunnel = hunter2", "tunnel = [\"hunter2\"]",
		"password = \"\"\"\nhunter2\n\"\"\"", "password = \"hunter2\"\npassword = \"hunter2\"", "password.hunter = \"hunter2\"",
	} {
		_, err := parseText(imap + line + "\n")
		if err == nil {
			t.Errorf("%s: no error", line)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", line, err)
		}
	}
	_, err := parse(source{path: "c.toml", text: imap + "password = \"hunter2\"\n", perm: 0o644})
	if err == nil || strings.Contains(err.Error(), canary) {
		t.Error(err)
	}
	a := mustParse(t, imap+"password = \"hunter2\"\n")
	if s := fmt.Sprintf("%v %+v %#v", a, a, a); strings.Contains(s, canary) {
		t.Errorf("printing an account shows its password: %s", s)
	}
}

func TestPasswordInReadableFileRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("no such permissions there")
		return
	}
	path := filepath.Join(t.TempDir(), "config.toml")
	text := strings.Replace(minimal("", ""), `password_env = "PW"`, `password = "x"`, 1)
	for _, tt := range []struct {
		perm fs.FileMode
		text string
		ok   bool
	}{
		{0o600, text, true}, {0o400, text, true}, {0o640, text, false}, {0o604, text, false}, {0o644, text, false},
		{0o644, minimal("", ""), true}, {0o644, minimal("", `password = ""`), true},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.perm); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if (err == nil) != tt.ok {
			t.Errorf("mode %o: %v", tt.perm, err)
		}
		if err != nil && (!strings.Contains(err.Error(), path+":7: account.a.imap.password: ") || !strings.Contains(err.Error(), "chmod 600 "+path)) {
			t.Errorf("mode %o: %v", tt.perm, err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	home := t.TempDir()
	t.Setenv("HOME", home)
	path := filepath.Join(dir, "config.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	_, err := Load(path)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "[account.personal.imap]") {
		t.Errorf("missing file: %v", err)
	}
	if _, err := parseText(firstSteps[strings.Index(firstSteps, "["):]); err != nil {
		t.Errorf("the first steps are no configuration: %v", err)
	}
	if _, err := Load(""); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("no path: %v", err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("directory: %v", err)
	}
	write("#" + strings.Repeat("x", maxBytes))
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("huge: %v", err)
	}

	// A byte order mark, CRLF, and accounts in the file's order.
	text := minimal("", "") + strings.ReplaceAll(strings.ReplaceAll(minimal("", ""), "account.a", "account.B"), "/mail/a", "~/b")
	write("\ufeff" + strings.ReplaceAll(text, "\n", "\r\n"))
	cfg, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Path != path || len(cfg.Accounts) != 2 || cfg.Accounts[0].Name != "a" || cfg.Accounts[1].Maildir != filepath.Join(home, "b") {
		t.Errorf("%+v", cfg)
	}
}

func TestDefaultPath(t *testing.T) {
	for _, tt := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"SATCHEL_CONFIG": "x.toml", "XDG_CONFIG_HOME": "/xdg", "HOME": "/h"}, "x.toml"},
		{map[string]string{"XDG_CONFIG_HOME": "/xdg", "HOME": "/h"}, "/xdg/satchel/config.toml"},
		{map[string]string{"XDG_CONFIG_HOME": "xdg", "HOME": "/h"}, "/h/.config/satchel/config.toml"},
		{map[string]string{"HOME": "/h"}, "/h/.config/satchel/config.toml"},
		{nil, ""},
	} {
		if got := DefaultPath(func(k string) string { return tt.env[k] }); filepath.ToSlash(got) != tt.want {
			t.Errorf("%v: %q, want %q", tt.env, got, tt.want)
		}
	}
}

// TestLines: every way to spell a key is located.
func TestLines(t *testing.T) {
	for name, text := range map[string]string{
		"dotted":              "# 1\n# 2\naccount.a.mode = \"x\"\naccount.a.maildir = \"/x\"\naccount.a.imap.host = \"h\"\naccount.a.imap.tunnel = \"t\"\n",
		"quoted":              "# 1\n[account.\"a\"]\n\"mode\" = 'x'\n'maildir' = \"/x\"\nimap.host = \"h\"\nimap.tunnel = \"t\"\n",
		"inline":              "# 1\n# 2\n[account]\na = { mode = \"x\", maildir = \"/x\", imap = { host = \"h\", tunnel = \"t\" } }\n",
		"after a long string": "[account.a]\nmaildir = \"\"\"\n/x\"\"\"\nmode = \"x\"\nimap = { host = \"h\", tunnel = \"t\" }\n",
		"a long string":       "[account.a]\nmaildir = '/x'\nimap = { host = \"h\", tunnel = \"t\" }\nmode = '''\nx\ny\n'''\n",
		"after a list":        "[account.a]\ninclude = [\n  # why\n  \"a\",\n\n  \"b\",\n]\nmaildir = '/x'\nimap = { host = \"h\", tunnel = \"t\" }\nmode = \"x\"\n",
		"with CRLF":           "[account.a]\r\nmaildir = '/x'\r\nimap = { host = \"h\", tunnel = \"t\" }\r\nmode = \"x\"\r\n",
		"after letters":       "\ufeff# äöü\n[account.a]\nmaildir = '/äöü'\nimap = { host = \"h\", tunnel = \"t\" }\nmode = \"x\"\n",
	} {
		want := 0
		for i, line := range strings.Split(text, "\n") {
			if strings.Contains(line, "mode") {
				want = i + 1
			}
		}
		_, err := parseText(text)
		var errs Errors
		if !errors.As(err, &errs) || len(errs) != 1 || errs[0].Line != want || errs[0].Key != "account.a.mode" {
			t.Errorf("%s: want line %d: %v", name, want, err)
		}
	}
}

func TestErrorsAreBounded(t *testing.T) {
	var lines strings.Builder
	for i := range 3 * maxErrors {
		fmt.Fprintf(&lines, "k%d = 1\n", i)
	}
	_, err := parseText(minimal(lines.String(), ""))
	var errs Errors
	if !errors.As(err, &errs) || len(errs) != maxErrors {
		t.Errorf("%d errors", len(errs))
	}
}

// TestExample: the example is a configuration, as it is and with every commented key, and has all keys.
func TestExample(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "config.example.toml"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	plain, err := parseText(text)
	if err != nil {
		t.Fatalf("as it is: %v", err)
	}
	// A default's spelling must mean the default.
	commented := regexp.MustCompile(`(?m)^# ([a-z_0-9]+ = )`)
	full := commented.ReplaceAllString(text, "$1")
	whole, err := parseText(full)
	if err != nil {
		t.Fatalf("with the comment signs taken away: %v", err)
	}
	for i := range plain.Accounts {
		for _, a := range []*Account{&plain.Accounts[i], &whole.Accounts[i]} {
			a.IMAP.Password = nil
			if a.POP3 != nil {
				a.POP3.Password = nil
			}
		}
	}
	for i := range whole.Accounts {
		if len(whole.Accounts[i].Exclude) == 0 { // an empty list and none are the same
			whole.Accounts[i].Exclude = nil
		}
	}
	if d := cmp.Diff(plain, whole, cmp.Comparer(func(a, b Since) bool { return a == b })); d != "" {
		t.Errorf("a commented line is not the default:\n%s", d)
	}

	// The known keys are those that the reader asked for.
	root, doc := parseDocument("c.toml", full)
	r := &reader{source: source{home: "/home/me", perm: 0o600}}
	at := root.table("account", "").table("personal", "")
	r.account("personal", at)
	it := at.table("imap", "")
	r.imap(it)
	if err := doc.err(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []*table{at, it} {
		if len(tt.known) < 15 {
			t.Fatalf("only %d keys in %s: %v", len(tt.known), tt.path(), tt.known)
		}
		for _, key := range tt.known {
			if !tt.has(key) && key != "pop3" { // which another account has
				t.Errorf("config.example.toml lacks %s", tt.path(key))
			}
		}
	}
	pt := root.table("account", "").table("old", "").table("pop3", "")
	r.pop3(pt)
	for _, key := range pt.known {
		if !pt.has(key) && !it.has(key) {
			t.Errorf("config.example.toml lacks %s", pt.path(key))
		}
	}
}
