package config

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse: whatever is in the file, there is an answer, and every error has a place in it.
func FuzzParse(f *testing.F) {
	f.Add(minimal("", ""))
	f.Add(minimal("mode = \"x\"\nmap = { a = \"b\" }", "port = 0"))
	f.Add(strings.Replace(minimal("", "keep_on_server = \"30d\""), "imap", "pop3", 1))
	f.Add("account.a.\"\".c = 1\n\"\" = 2\n[[account]]\n[watch]\nx = '''\n'''\n")
	f.Add("\ufeff[account]\r\na = { imap = { host = 3 } }")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := parseText(text)
		if (cfg == nil) == (err == nil) {
			t.Fatal("neither a configuration nor an error, or both")
		}
		var errs Errors
		if err != nil && !errors.As(err, &errs) {
			t.Fatalf("%T", err)
		}
		last := 1
		for _, e := range errs {
			if e.Line < last || e.Line > 1+strings.Count(text, "\n") {
				t.Fatalf("line %d after %d of %d", e.Line, last, 1+strings.Count(text, "\n"))
			}
			if strings.ContainsAny(e.Error(), "\n\x1b") {
				t.Fatalf("%q", e.Error())
			}
			last = e.Line
		}
		if cfg != nil {
			for _, a := range cfg.Accounts {
				if a.Name == "" || !filepath.IsAbs(a.Maildir) || !filepath.IsAbs(a.StatePath) || a.Server().Host == "" || a.Server().Port == 0 {
					t.Fatalf("%+v", a)
				}
			}
		}
	})
}
