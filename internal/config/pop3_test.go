package config

import (
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/remote/transport"
)

// minimalPOP3 is minimal for an account over POP3.
func minimalPOP3(account, pop3 string) string {
	return strings.Replace(minimal(account, pop3), "[account.a.imap]", "[account.a.pop3]", 1)
}

func TestPOP3(t *testing.T) {
	a := mustParse(t, minimalPOP3("", ""))
	if a.POP3 == nil || a.POP3.Host != "h.example" || a.POP3.Port != 995 || a.POP3.TLS != transport.Implicit || a.POP3.User != "u" || a.Mode != Pull ||
		a.POP3.Keep.For >= 0 || a.POP3.Keep.UntilDeleted || a.Server().Port != 995 || a.IMAP.Host != "" {
		t.Errorf("%+v", a)
	}
	if b := mustParse(t, minimalPOP3(`mode = "archive"`, `tls = "starttls"`)); b.POP3.Port != 110 || b.Mode != Archive {
		t.Errorf("%+v", b)
	}
	for text, want := range map[string]Keep{
		"forever": a.POP3.Keep, "never": {}, "until-deleted": {UntilDeleted: true, For: a.POP3.Keep.For}, "30d": {For: 30 * 24 * time.Hour}, "12h": {For: 12 * time.Hour},
	} {
		if got := mustParse(t, minimalPOP3("", "keep_on_server = "+quote(text))).POP3.Keep; got != want {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

func TestPOP3Errors(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"two-way", minimalPOP3(`mode = "two-way"`, ""), []string{"c.toml:3: account.a.mode: ", `"two-way" is not allowed with pop3`, "nothing can be stored", `"pull" and "archive"`}},
		{"push", minimalPOP3(`mode = "push"`, ""), []string{"c.toml:3: account.a.mode: ", `"push" is not allowed with pop3`}},
		{"trash", minimalPOP3(`trash = "Trash"`, ""), []string{"account.a.trash: not allowed with mode = \"pull\""}},
		{"both protocols", minimalPOP3("", "[account.a.imap]\nhost = \"h\"\nuser = \"u\"\npassword_env = \"P\""), []string{"account.a.pop3: an account has one server"}},
		{"keep_on_server with IMAP", minimal("", `keep_on_server = "never"`), []string{"account.a.imap.keep_on_server: unknown key"}},
		{"how long", minimalPOP3("", `keep_on_server = "always"`), []string{"account.a.pop3.keep_on_server: ", `"always"`, `"forever", "never", "until-deleted"`}},
		{"not at all is never", minimalPOP3("", `keep_on_server = "0"`), []string{"account.a.pop3.keep_on_server: "}},
		{"a number", minimalPOP3("", `keep_on_server = 30`), []string{"account.a.pop3.keep_on_server: an integer is not allowed here"}},
		{"no host", strings.Replace(minimalPOP3("", ""), "host = \"h.example\"\n", "", 1), []string{`such as host = "pop3.example.org"`}},
	} {
		_, err := parseText(tt.text)
		if err == nil {
			t.Errorf("%s: no error", tt.name)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q\nlacks %q", tt.name, err, want)
			}
		}
	}
}
