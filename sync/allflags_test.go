package sync_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
)

// TestFlagsThatChangeWithoutAMark: a server changes flags and does not count that. Once in a week, when a mailbox is read anyway, it is asked for
// all flags; in a run that is one mailbox, and a run that finds nothing asks for none.
func TestFlagsThatChangeWithoutAMark(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("Work")
	hidden := w.arrive("INBOX", w.message("a"))
	w.arrive("Work", w.message("b"))
	var asked forgetful
	asked.uid = hidden
	w.dialer = between{w.server, func(s remote.Session) remote.Session { return forgetfulSession{s, &asked} }}
	w.sync()
	expect := func(what string, boxes ...string) {
		t.Helper()
		w.sync()
		if got := asked.taken(); !slices.Equal(got, boxes) {
			t.Errorf("%s: all flags of %q were read, want %q", what, got, boxes)
		}
	}
	news := func() {
		w.arrive("INBOX", w.message("x"))
		w.arrive("Work", w.message("y"))
	}
	asked.taken()
	news()
	expect("the first changes")
	w.server.Store("INBOX", true, mail.NewFlags(`\Flagged`), hidden)
	expect("flags that are not counted")
	w.now = w.now.Add(6 * 24 * time.Hour)
	news()
	expect("six days later")
	if got := w.localTree()["INBOX"]; slices.ContainsFunc(got, func(s string) bool { return s[:3] != "[] " }) {
		t.Fatalf("the server did not hide the flag: %q", got)
	}
	w.now = w.now.Add(2 * 24 * time.Hour)
	expect("nothing, after a week")
	news()
	w.sync()
	first := asked.taken()
	news()
	w.sync()
	if both := append(first, asked.taken()...); len(first) != 1 || !slices.Equal(slices.Sorted(slices.Values(both)), []string{"INBOX", "Work"}) {
		t.Errorf("all flags of %q were read", both)
	}
	w.same()
	news()
	expect("once they were read")
	w.now = w.now.Add(-30 * 24 * time.Hour)
	w.arrive("Work", w.message("z"))
	expect("a clock that went back", "Work")
	w.same()
	w.quiet()
}

// forgetful notes of which mailboxes all flags are asked for, and hides the changes of one message from those who ask for changes.
type forgetful struct {
	uid   mail.UID
	mu    sync.Mutex
	boxes []string
}

func (f *forgetful) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	boxes := f.boxes
	f.boxes = nil
	return boxes
}

type forgetfulSession struct {
	remote.Session
	f *forgetful
}

func (s forgetfulSession) Changes(ctx context.Context, box remote.Box, since remote.Since) (remote.Changes, error) {
	ch, err := s.Session.Changes(ctx, box, since)
	if since.ModSeq > 0 && box.Name == "INBOX" {
		ch.Flags = slices.DeleteFunc(ch.Flags, func(m remote.Message) bool { return m.UID == s.f.uid })
	}
	if since.ModSeq == 0 && since.UIDNext > 0 {
		s.f.mu.Lock()
		s.f.boxes = append(s.f.boxes, box.Name)
		s.f.mu.Unlock()
	}
	return ch, err
}
