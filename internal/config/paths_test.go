package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMaildirInMaildirByLink: what two accounts must not have in common is found whatever symbolic links hide it, and a link alone is none of that.
func TestMaildirInMaildirByLink(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(path string) string { return filepath.ToSlash(filepath.Join(dir, path)) }
	if err := errors.Join(os.Mkdir(at("data"), 0o700), os.Mkdir(at("other"), 0o700), os.Symlink("data", at("link")), os.Symlink("nowhere", at("dangling"))); err != nil {
		t.Skip(err) // Windows wants a privilege for it
	}
	account := func(name, maildir, state string) string {
		return fmt.Sprintf("[account.%[1]s]\nmaildir = %[2]q\nstate = %[3]q\n[account.%[1]s.imap]\nhost = \"h\"\nuser = \"u\"\npassword_env = \"P\"\n", name, maildir, state)
	}
	for _, tt := range []struct{ a, b, state, want string }{
		{"link", "data/mail", "", fmt.Sprintf(`account.b.maildir: %q lies inside the Maildir of account "a" (%q -> %q)`, at("data/mail"), at("link"), at("data"))},
		{"data/mail/new/place", "link/mail", "", fmt.Sprintf(`account.b.maildir: the Maildir of account "a" (%q) lies inside %q -> %q, which`, at("data/mail/new/place"), at("link/mail"), at("data/mail"))},
		{"data", "link", "", fmt.Sprintf(`account.b.maildir: %q -> %q is already the Maildir of account "a"`, at("link"), at("data"))},
		{"data", "other", at("link/.satchel.db"), fmt.Sprintf(`account.b.state: %q is already the state database of account "a"`, at("link/.satchel.db"))},
		{"link", "other", "", ""},
		{"dangling", "data", "", ""},
		{"link/a", "data/b", "", ""},
	} {
		path := filepath.Join(dir, "config.toml")
		if err := os.WriteFile(path, []byte(account("a", at(tt.a), "")+account("b", at(tt.b), tt.state)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s and %s: %v, want %s", tt.a, tt.b, err, tt.want)
		}
	}
}
