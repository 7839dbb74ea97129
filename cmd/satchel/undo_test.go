package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// removed makes messages of which each became what is said.
func removed(became ...mailsync.Became) []mailsync.RemovedMessage {
	var out []mailsync.RemovedMessage
	for _, b := range became {
		out = append(out, mailsync.RemovedMessage{Folder: "INBOX", Became: b})
	}
	return out
}

func TestUndoneSentences(t *testing.T) {
	const back, present, failed, kept = mailsync.BecameBack, mailsync.BecamePresent, mailsync.BecameFailed, mailsync.BecameKept
	unreachable := &mailsync.Result{Fatal: &remote.Error{Class: remote.Unreachable}}
	for _, c := range []struct {
		say  func(*mailsync.Undone) string
		u    mailsync.Undone
		want string
		exit int
	}{
		{undone, mailsync.Undone{}, "nothing to bring back", 0},
		{undone, mailsync.Undone{Messages: removed(back), Sync: &mailsync.Result{}}, "1 message is back in the Maildir", 0},
		{undone, mailsync.Undone{Messages: removed(back, back), Sync: unreachable}, "2 messages are back in the Maildir; the next sync takes what is not yet on the server there", 5},
		{undone, mailsync.Undone{Messages: removed(back), OneWay: true, Sync: &mailsync.Result{HeldBack: 1}},
			"1 message is back in the Maildir, but not on the server, where nothing is stored in this mode", 3},
		{undone, mailsync.Undone{Messages: removed(back, kept), Fatal: errInterrupted},
			"1 message is back in the Maildir; the next sync takes what is not yet on the server there", 130},
		{undone, mailsync.Undone{Messages: removed(present, present)}, "nothing to bring back; 2 messages are left aside, because the folder holds an equal one", 0},
		{undone, mailsync.Undone{Messages: removed(failed), Errors: []mailsync.FolderError{{Folder: "A", Err: errors.New("no")}}}, "nothing to bring back", 1},
		{undone, mailsync.Undone{Messages: removed(kept), Fatal: mailsync.ErrLocked}, "nothing to bring back", 4},
		{wouldUndo, mailsync.Undone{Messages: removed(back, present)}, "would bring back 1 message; 1 message is left aside, because the folder holds an equal one", 0},
		{wouldUndo, mailsync.Undone{}, "there is nothing to bring back", 0},
		{listed, mailsync.Undone{Messages: removed(kept, kept)}, "2 messages of 1 folder can be brought back", 0},
		{listed, mailsync.Undone{}, "nothing to bring back", 0},
	} {
		if got := c.say(&c.u); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
		if got := exitOfUndone(&c.u); got != c.exit {
			t.Errorf("%s: exit code %d, want %d", c.want, got, c.exit)
		}
	}
}

// What strangers write into a header commands no terminal and breaks no line.
func TestRemovedTable(t *testing.T) {
	at := time.Date(2024, 5, 6, 7, 8, 9, 0, time.Local)
	m := mailsync.RemovedMessage{
		Folder: "INBOX", Removed: at, Arrived: at, Size: 2417,
		Envelope: mail.Envelope{From: "\x1b[31mEve\n", Subject: strings.Repeat("long ", 20)},
	}
	lines := strings.Split(removedTable([]mailsync.RemovedMessage{m}), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[1], "  2024-05-06 07:08  INBOX   [31mEve  long long") || !strings.HasSuffix(lines[1], "  2024-05-06  2.4 kB") || len(lines[1]) > 100 {
		t.Errorf("%q", lines)
	}
	m.Subject, m.Err = "a\x1b[0mb", errors.New("\x1b[31mno")
	line, err := json.Marshal(removedLine("personal", &m))
	if err != nil || !strings.Contains(string(line), `"flags":[],"from":"[31mEve\n","subject":"a[0mb","became":"","error":"[31mno"}`) {
		t.Errorf("%s %v", line, err)
	}
}
