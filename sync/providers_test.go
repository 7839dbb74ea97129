package sync_test

import (
	"context"
	"os"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
)

// TestOneMessageInSeveralFolders: to a provider with labels what it shows in two folders is one message, with one EMAILID. It is one file in each
// of them, and what is done to one is not done to the other.
func TestOneMessageInSeveralFolders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	for _, f := range []string{"All", "Work", "Later"} {
		w.server.CreateMailbox(f)
	}
	text := w.message("m")
	uid := w.arrive("INBOX", text)
	w.server.Copy("INBOX", "All", uid)
	w.server.Copy("INBOX", "Work", uid)
	w.sync()
	w.want(map[string][]string{"INBOX": {"m"}, "All": {"m"}, "Work": {"m"}, "Later": {}})
	w.quiet()

	// The label is taken off here, and another one put on there.
	w.must(os.Remove(w.file("Work", text)))
	w.server.Copy("INBOX", "Later", uid)
	w.sync()
	w.want(map[string][]string{"INBOX": {"m"}, "All": {"m"}, "Work": {}, "Later": {"m"}})
	w.quiet()

	// It is archived there, flagged here.
	w.server.Expunge("INBOX", uid)
	w.reflag(w.file("All", text), "F")
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "All": {`m \Flagged`}, "Work": {}, "Later": {"m"}})
	w.quiet()

	// It is moved here from one to another.
	w.move(w.file("Later", text), "Work")
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "All": {`m \Flagged`}, "Work": {"m"}, "Later": {}})
	w.quiet()
}

// TestServerThatRemovesWhatIsMarked: with auto-expunge a message is gone in the instant in which it is marked as deleted. Nothing but what a person
// marked goes that way, and that is kept aside.
func TestServerThatRemovesWhatIsMarked(t *testing.T) {
	t.Parallel()
	for _, move := range []bool{true, false} {
		for _, trash := range []mail.FolderName{"", "Trash"} {
			o := model.Full()
			o.Move = move
			w := newWorld(t, o)
			w.set.Policy.Trash = trash
			for _, f := range []string{"Work", "Trash"} {
				w.server.CreateMailbox(f)
			}
			w.dialer = between{w.server, func(s remote.Session) remote.Session { return autoExpunge{s, w.server} }}
			moved, deleted, marked, stays := w.message("moved"), w.message("deleted"), w.message("marked"), w.message("stays")
			for _, text := range []string{moved, deleted, marked, stays} {
				w.arrive("INBOX", text)
			}
			w.sync()
			w.move(w.reflag(w.file("INBOX", moved), "S"), "Work")
			w.must(os.Remove(w.file("INBOX", deleted)))
			w.reflag(w.file("INBOX", marked), "T")
			w.sync()
			w.sync() // which sees what became of the marked one
			want := map[string][]string{"INBOX": {"stays"}, "Work": {`moved \Seen`}, "Trash": {}}
			if trash != "" {
				want["Trash"] = []string{"deleted"}
			}
			w.want(want)
			w.quiet()
			if got := len(w.aside()); got != 1 {
				t.Errorf("move %v, trash %q: %d messages are kept aside, want the one that was marked", move, trash, got)
			}
		}
	}
}

// autoExpunge removes at once what is marked as deleted.
type autoExpunge struct {
	remote.Session
	server *model.Server
}

func (a autoExpunge) Store(ctx context.Context, box remote.Box, uids mail.UIDSet, add bool, flags mail.Flags) ([]remote.Message, map[mail.UID]error, error) {
	_, refused, err := a.Session.Store(ctx, box, uids, add, flags)
	if err == nil && add && flags.Has(mail.Deleted) {
		a.server.Expunge(box.Name, uids.Slice()...)
	}
	return nil, refused, err
}

// TestOutOfView: a provider shows the newest messages of a folder only. Many that fall out of view are held by the guard, and all is as before when they
// are back; a few count as deleted, are kept aside, and come down again.
func TestOutOfView(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	all := []string{}
	for i := range 30 {
		subject := "m" + string(rune('a'+i%26)) + string(rune('a'+i/26))
		w.arrive("INBOX", w.message(subject))
		all = append(all, subject)
	}
	shown := 30
	w.dialer = between{w.server, func(s remote.Session) remote.Session { return window{s, &shown} }}
	w.sync()
	w.want(map[string][]string{"INBOX": all})

	shown = 12
	for range 2 {
		if res := w.try(); res.Fatal != nil || res.HeldBack != 18 {
			t.Fatalf("%v, %d are held back", res.Fatal, res.HeldBack)
		}
		w.want(map[string][]string{"INBOX": all})
	}
	shown = 30
	if res := w.sync(); res.HeldBack != 0 || res.ToMaildir.New != 0 {
		t.Errorf("back in view: %+v", res)
	}
	w.want(map[string][]string{"INBOX": all})
	w.quiet()

	shown = 25
	w.sync()
	if here, aside := len(w.localTree()["INBOX"]), len(w.aside()); here != 25 || aside != 5 {
		t.Errorf("%d are in the folder, %d kept aside", here, aside)
	}
	if there := len(w.serverTree()["INBOX"]); there != 30 {
		t.Fatalf("the server has %d", there)
	}
	shown = 30
	w.sync()
	w.want(map[string][]string{"INBOX": all})
	w.quiet()
}

// window shows only the newest messages of each mailbox.
type window struct {
	remote.Session
	shown *int
}

func (v window) Mailboxes(ctx context.Context) ([]remote.Mailbox, error) {
	boxes, err := v.Session.Mailboxes(ctx)
	for i := range boxes {
		boxes[i].Status.Messages = min(boxes[i].Status.Messages, uint32(*v.shown))
	}
	return boxes, err
}

func (v window) MailboxesAnd(ctx context.Context, _ string) ([]remote.Mailbox, *remote.Changes, error) {
	boxes, err := v.Mailboxes(ctx)
	return boxes, nil, err
}

func (v window) Changes(ctx context.Context, box remote.Box, since remote.Since) (remote.Changes, error) {
	ch, err := v.Session.Changes(ctx, box, remote.Since{})
	if err != nil {
		return ch, err
	}
	in := ch.New[max(0, len(ch.New)-*v.shown):]
	ch.New, ch.Selected.Messages = nil, uint32(len(in))
	var there, known mail.UIDSet
	if since.Known != nil {
		known = since.Known()
	}
	for _, m := range in {
		there.Add(m.UID)
		if m.UID < since.UIDNext && known.Contains(m.UID) {
			ch.Flags = append(ch.Flags, m)
		} else {
			ch.New = append(ch.New, m)
		}
	}
	ch.Vanished = known.Minus(there)
	return ch, nil
}

func (v window) Fetch(ctx context.Context, box remote.Box, uids mail.UIDSet, want remote.FetchItems) ([]remote.Message, error) {
	ch, err := v.Changes(ctx, box, remote.Since{})
	if err != nil {
		return nil, err
	}
	var there mail.UIDSet
	for _, m := range ch.New {
		there.Add(m.UID)
	}
	return v.Session.Fetch(ctx, box, uids.Minus(uids.Minus(there)), want)
}

// TestSizesAreAskedForLittle: a server may have to read a message to tell its size, so it is asked for new messages, which Changes brings, and before
// a removal; never where nothing changed, nor for flags.
func TestSizesAreAskedForLittle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nameless())
	var texts []string
	for _, s := range []string{"a", "b", "c"} {
		texts = append(texts, w.message(s))
		w.arrive("INBOX", texts[len(texts)-1])
	}
	var sizes mail.UIDSet
	w.dialer = between{w.server, func(s remote.Session) remote.Session { return sizesAsked{s, &sizes} }}
	for _, step := range []struct {
		what string
		do   func()
		want mail.UIDSet
	}{
		{"the first sync", func() {}, mail.UIDSet{}},
		{"nothing", func() {}, mail.UIDSet{}},
		{"flags here", func() { w.reflag(w.file("INBOX", texts[0]), "F") }, mail.UIDSet{}},
		{"flags there", func() { w.server.Store("INBOX", true, mail.NewFlags(`\Seen`), 2) }, mail.UIDSet{}},
		{"a new one there", func() { w.arrive("INBOX", w.message("d")) }, mail.UIDSet{}},
		{"one deleted there", func() { w.server.Expunge("INBOX", 4) }, mail.UIDSet{}},
		{"one deleted here", func() { w.must(os.Remove(w.file("INBOX", texts[2]))) }, mail.NewUIDSet(3)},
		{"one moved here", func() { w.move(w.file("INBOX", texts[1]), "Work") }, mail.NewUIDSet(2)},
	} {
		sizes = mail.UIDSet{}
		step.do()
		w.sync()
		if sizes.String() != step.want.String() {
			t.Errorf("%s: the sizes of %s were asked for, want %q", step.what, sizes, step.want)
		}
	}
	w.same()
}

// sizesAsked notes of which messages the size was asked for one by one.
type sizesAsked struct {
	remote.Session
	uids *mail.UIDSet
}

func (s sizesAsked) Fetch(ctx context.Context, box remote.Box, uids mail.UIDSet, want remote.FetchItems) ([]remote.Message, error) {
	if want.Size {
		for u := range uids.All() {
			s.uids.Add(u)
		}
	}
	return s.Session.Fetch(ctx, box, uids, want)
}
