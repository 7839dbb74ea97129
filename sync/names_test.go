package sync

import (
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

func TestMatchPattern(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern, name, delim string
		want                 bool
	}{
		{"*", "INBOX", "/", true},
		{"*", "Archive/2024/May", "/", true},
		{"%", "Archive", "/", true},
		{"%", "Archive/2024", "/", false},
		{"Archive/%", "Archive/2024", "/", true},
		{"Archive/%", "Archive/2024/May", "/", false},
		{"Archive*", "Archive/2024/May", "/", true},
		{"Archive/%/May", "Archive/2024/May", "/", true},
		{"Archive/%/May", "Archive/2024/x/May", "/", false},
		{"*/May", "Archive/2024/May", "/", true},
		{"%/May", "Archive/2024/May", "/", false},
		{"a%b*c", "axxbyyc", "/", true},
		{"a%b*c", "a/b/c", "/", false},
		{"inbox", "INBOX", "/", true},
		{"Inbox/x", "INBOX/x", "/", true},
		{"archive", "Archive", "/", false},
		{"[Gmail]/All Mail", "[Gmail]/All Mail", "/", true},
		{"Lists.%", "Lists.go", ".", true},
		{"Lists.%", "Lists.go.nuts", ".", false},
		{"", "x", "/", false},
		{"**", "x", "/", true},
		{"*a", "aaaa", "/", true},
		{"%a%", "bab", "/", true},
	}
	for _, tt := range tests {
		if got := matchPattern(tt.pattern, tt.name, tt.delim); got != tt.want {
			t.Errorf("matchPattern(%q, %q, %q) = %v, want %v", tt.pattern, tt.name, tt.delim, got, tt.want)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	set := &Settings{
		Include: []string{"*", `\All`}, Exclude: []string{"Trash", `\Junk`},
		Map: map[string]string{"[Gmail]/Sent Mail": "Sent", "Lists": "Mailing/Lists"},
	}
	n := &names{
		set: set, delim: ".",
		spell: func(path []string) (string, error) { return "INBOX." + path[len(path)-1], nil },
	}
	n.byDisplay = map[string]remote.Mailbox{"[Gmail]/Sent Mail": {Name: "[Gmail]/Sent Mail"}}
	local, err := n.local(remote.Mailbox{Name: "[Gmail]/Sent Mail", Display: "[Gmail]/Sent Mail", Path: []string{"[Gmail]", "Sent Mail"}})
	if err != nil || local != "Sent" {
		t.Errorf("local = %q, %v", local, err)
	}
	if box, err := n.mailbox("Sent"); err != nil || box != "[Gmail]/Sent Mail" {
		t.Errorf("mailbox(Sent) = %q, %v", box, err)
	}
	if box, err := n.mailbox("Mailing/Lists"); err != nil || box != "INBOX.Lists" {
		t.Errorf("mailbox(Mailing/Lists) = %q, %v", box, err)
	}
	for _, f := range []mail.FolderName{"[Gmail]/Sent Mail", "Inbox", "inbox/sub"} {
		if box, err := n.mailbox(f); err == nil {
			t.Errorf("mailbox(%q) = %q, want an error", f, box)
		}
	}
	if n.wants("INBOX.Trash", []string{"Trash"}, nil) {
		t.Error("an excluded mailbox is wanted")
	}
	if n.wants("INBOX.Spam", []string{"Spam"}, []string{`\junk`}) {
		t.Error("a mailbox excluded by special use is wanted")
	}
	if !n.wants("INBOX.Archive.2024", []string{"Archive", "2024"}, nil) {
		t.Error("a mailbox is not wanted")
	}
}
