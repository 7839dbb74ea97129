package sync_test

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
)

// TestCopyCutOffInAnAlarm: two messages are moved on a server without MOVE. One UID means another by now, and the line would break at the copy of the other: it is moved once.
func TestCopyCutOffInAnAlarm(t *testing.T) {
	t.Parallel()
	date := time.Date(2025, 6, 2, 10, 0, 0, 0, time.UTC)
	w := newWorld(t, model.Options{CondStore: true, UIDPlus: true})
	w.server.CreateMailbox("Lists")
	a, b, c := w.message("a"), w.message("b"), w.message("c longer")
	w.arrive("INBOX", a)
	w.server.Append("INBOX", wire(b), mail.NewFlags(), date)
	w.server.Append("INBOX", wire(c), mail.NewFlags(), date)
	w.sync()
	// the server numbers anew: 1 is still a, 2 and 3 are swapped
	w.server.Recreate("INBOX", true)
	w.arrive("INBOX", a)
	w.server.Append("INBOX", wire(c), mail.NewFlags(), date)
	w.server.Append("INBOX", wire(b), mail.NewFlags(), date)
	w.move(w.file("INBOX", a), "Lists")
	w.move(w.file("INBOX", b), "Lists")
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == "copy" && s.After }, func() model.Action { return model.Action{Kind: model.Drop} }))
	w.try()
	w.server.SetFault(nil)
	w.sync()
	w.want(map[string][]string{"INBOX": {"c longer"}, "Lists": {"a", "b"}})
	w.quiet()
}

// TestGhostDuringAlarmElsewhere: a ghost in one folder arrives while another, which has a copy of the message, is paired anew for a false alarm.
func TestGhostDuringAlarmElsewhere(t *testing.T) {
	t.Parallel()
	for _, alarm := range []int64{0, 7} {
		w := newWorld(t, model.Full())
		w.server.CreateMailbox("A")
		d, m := w.message("d"), w.message("m")
		w.arrive("A", d)
		w.arrive("A", m)
		w.sync()
		w.put("INBOX", m, "S")
		w.server.SetFault(once(func(s model.Step) bool { return s.Op == "append" && !s.After }, func() model.Action { return model.Action{Kind: model.Ghost} }))
		w.try()
		w.server.SetFault(nil)
		w.sync()
		var more int64
		var arrived sync.Once
		w.dialer = between{w.server, func(s remote.Session) remote.Session {
			return onLookAt{resized{s, &more, new(int)}, "A", func() { arrived.Do(w.server.ReleaseGhosts) }}
		}}
		more = alarm
		w.must(os.Remove(w.file("A", d)))
		w.sync()
		if w.server.Ghosts() > 0 {
			t.Fatal("no ghost came")
		}
		w.sync()
		w.want(map[string][]string{"INBOX": {`m \Seen`}, "A": {"m"}})
	}
}

// onLookAt is a server that counts the sizes of one mailbox otherwise, and does something when it was looked at.
type onLookAt struct {
	resized
	box string
	do  func()
}

func (s onLookAt) Fetch(ctx context.Context, box remote.Box, uids mail.UIDSet, want remote.FetchItems) ([]remote.Message, error) {
	if box.Name != s.box {
		return s.Session.Fetch(ctx, box, uids, want)
	}
	ms, err := s.resized.Fetch(ctx, box, uids, want)
	if want.Size && want.Date {
		s.do()
	}
	return ms, err
}

func (s onLookAt) Changes(ctx context.Context, box remote.Box, since remote.Since) (remote.Changes, error) {
	if box.Name != s.box {
		return s.Session.Changes(ctx, box, since)
	}
	return s.resized.Changes(ctx, box, since)
}
