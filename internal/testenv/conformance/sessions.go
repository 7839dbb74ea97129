package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

func cancelled(c *check) {
	c.put("INBOX", "a")
	ctx, cancel := context.WithCancel(c.ctx)
	cancel()
	started := time.Now()
	if _, err := c.s.Status(ctx, "INBOX"); !remote.Dead(err) && !errors.Is(err, context.Canceled) {
		c.Errorf("a call under a context that has ended: %v", err)
	}
	if took := time.Since(started); took > soon {
		c.Errorf("it took %s", took)
	}
	if s, err := c.Dialer.Dial(ctx); err == nil {
		_ = s.Close()
		c.Error("Dial succeeded under a context that has ended")
	}
}

func closed(c *check) {
	if err := c.s.Close(); err != nil {
		c.Errorf("closing: %v", err)
	}
	if _, err := c.s.Status(c.ctx, "INBOX"); !remote.Dead(err) {
		c.Errorf("a call after Close: %v", err)
	}
}

func twoSessions(c *check) {
	second := c.dial()
	work := c.create("Work")
	here := c.box("INBOX")
	c.append("INBOX", upload(letter("a"), mail.Flags{}, someDay))
	first, err := second.Changes(c.ctx, here, remote.Since{})
	c.ok("reading by the second session", err)
	if len(first.New) != 1 {
		c.Fatalf("the second session sees %v", first.New)
	}
	_, _, err = second.Store(c.ctx, here, mail.NewUIDSet(first.New[0].UID), true, mail.NewFlags(`\Seen`))
	c.ok("storing by the second session", err)
	got, err := c.s.Changes(c.ctx, here, mark(first, mail.UIDSet{}))
	c.ok("reading by the first session", err)
	if len(got.Flags) != 1 || !got.Flags[0].Flags.Has(mail.Seen) {
		c.Errorf("the first session reads %+v", got.Flags)
	}
	_, err = second.Move(c.ctx, here, mail.NewUIDSet(first.New[0].UID), work)
	c.ok("moving by the second session", err)
	if !c.caps.Move {
		_, err = second.Expunge(c.ctx, here, mail.NewUIDSet(first.New[0].UID))
		c.ok("expunging by the second session", err)
	}
	// a server may serve what another session removed until it has said so
	uid := first.New[0].UID
	bodies, missing := c.bodies(here, mail.NewUIDSet(uid))
	if bodies[uid] != letter("a") && !errors.Is(missing[uid], remote.ErrGone) {
		c.Errorf("of a message that is gone the first session gets %q, missing %v", bodies[uid], missing)
	}
}

func many(c *check) {
	const n = 600
	var uploads []remote.Upload
	for i := range n {
		uploads = append(uploads, upload(letter(fmt.Sprint(i)), mail.Flags{}, someDay))
	}
	c.append("INBOX", uploads...)
	box := c.box("INBOX")
	ch, err := c.s.Changes(c.ctx, box, remote.Since{})
	c.ok("reading", err)
	if len(ch.New) != n {
		c.Fatalf("%d of %d messages are there", len(ch.New), n)
	}
	uids := uidsOf(ch.New)
	var odd mail.UIDSet // in pieces, so that the command line is long
	for i := 1; i < n; i += 2 {
		odd.Add(uids[i])
	}
	_, no, err := c.s.Store(c.ctx, box, odd, true, mail.NewFlags(`\Flagged`))
	c.ok("storing", err)
	if len(no) > 0 {
		c.Errorf("refused: %v", no)
	}
	got, missing := c.bodies(box, odd)
	if len(got) != n/2 || len(missing) > 0 {
		c.Errorf("%d bodies came, missing %v", len(got), missing)
	}
	pending, err := c.s.Expunge(c.ctx, box, odd)
	c.ok("expunging", err)
	left, err := c.s.Changes(c.ctx, box, mark(ch, mail.UIDSet{}))
	c.ok("reading", err)
	if !pending.IsEmpty() || left.Vanished.String() != odd.String() {
		c.Errorf("pending %v; of %d expunged messages %d vanished", pending, odd.Len(), left.Vanished.Len())
	}
}

// soon is how long a call may go on after its context has ended, or Close may take.
const soon = 20 * time.Second

// cameLater works by one session on messages that came while it had their mailbox open.
func cameLater(c *check) {
	c.put("INBOX", "old")
	box := c.box("INBOX")
	seen := mail.NewFlags(`\Seen`)
	uid := c.put("INBOX", "flagged")[0]
	_, no, err := c.s.Store(c.ctx, box, mail.NewUIDSet(uid), true, seen)
	c.ok("storing", err)
	if m := c.content("INBOX")[uid]; len(no) > 0 || !m.Flags.Equal(seen) {
		c.Errorf("after storing %q it has %q, refused %v", seen, m.Flags, no)
	}
	box = c.box("INBOX")
	uid = c.put("INBOX", "read")[0]
	if got, missing := c.bodies(box, mail.NewUIDSet(uid)); got[uid] != letter("read") {
		c.Errorf("its body is %q, missing %v", got[uid], missing)
	}
	box = c.box("INBOX")
	uid = c.put("INBOX", "fetched")[0]
	if got, err := c.s.Fetch(c.ctx, box, mail.NewUIDSet(uid), remote.FetchItems{}); err != nil || len(got) != 1 {
		c.Errorf("fetched %v, %v", got, err)
	}
	box = c.box("INBOX")
	uid = c.put("INBOX", "removed")[0]
	pending, err := c.s.Expunge(c.ctx, box, mail.NewUIDSet(uid))
	c.ok("expunging", err)
	if _, there := c.content("INBOX")[uid]; there || !pending.IsEmpty() {
		c.Errorf("after expunging it is there: %v, pending %v", there, pending)
	}
	box = c.box("INBOX")
	uid = c.put("INBOX", "moved")[0]
	work := c.create("Work")
	_, err = c.s.Move(c.ctx, box, mail.NewUIDSet(uid), work)
	c.ok("moving", err)
	if got := c.Other.Messages(work); len(got) != 1 || got[0].Raw != letter("moved") {
		c.Errorf("the destination holds %v", got)
	}
}

// spans names four thousand million messages, of which there are few.
func spans(c *check) {
	uids := c.put("INBOX", "a", "b", "c", "d")
	last := ^mail.UID(0)
	if c.CostsSpans {
		last = uids[3] + 1000
	}
	work := c.create("Work")
	box := c.box("INBOX")
	var all mail.UIDSet
	all.AddRange(uids[1], last)
	got, err := c.s.Fetch(c.ctx, box, all, remote.FetchItems{Size: true})
	c.ok("fetching", err)
	if !slices.Equal(uidsOf(got), uids[1:]) {
		c.Errorf("fetched %v, want %v", uidsOf(got), uids[1:])
	}
	if texts, _ := c.bodies(box, all); len(texts) != 3 || texts[uids[3]] != letter("d") {
		c.Errorf("bodies are %v", texts)
	}
	_, no, err := c.s.Store(c.ctx, box, all, true, mail.NewFlags(`\Seen`))
	c.ok("storing", err)
	if len(no) > 0 {
		c.Errorf("refused: %v", no)
	}
	for uid, m := range c.content("INBOX") {
		if m.Flags.Has(mail.Seen) != (uid != uids[0]) {
			c.Errorf("message %d has %q", uid, m.Flags)
		}
	}
	_, err = c.s.Move(c.ctx, box, all.Clamp(uids[2], last), work)
	c.ok("moving", err)
	if n := len(c.content(work)); n != 2 {
		c.Errorf("%d messages were moved", n)
	}
	pending, err := c.s.Expunge(c.ctx, box, all)
	c.ok("expunging", err)
	if left := c.content("INBOX"); len(left) != 1 || left[uids[0]].Raw == "" || !pending.IsEmpty() {
		c.Errorf("%d messages are left, pending %v", len(left), pending)
	}
}

// openMailbox is what an engine does to remove a mailbox that may have changed: look, rename, empty, look, delete.
func openMailbox(c *check) {
	second := c.dial() // the second client has had the mailbox open, and some servers hang up when it is renamed
	work := c.create("Work")
	uids := c.put(work, "a", "b")
	c.box(work)
	count := func(name string, want uint32) {
		c.Helper()
		if st, err := c.s.Status(c.ctx, name); err != nil || st.Messages != want {
			c.Errorf("%s: %+v, %v; want %d messages", name, st, err, want)
		}
	}
	count(work, 2)
	c.box(work)
	c.Other.Expunge(work, uids[0])
	count(work, 1)
	c.box(work)
	aside := c.name("Aside")
	c.ok("renaming", c.s.Rename(c.ctx, work, aside))
	box := c.box(aside)
	ch, err := c.s.Changes(c.ctx, box, remote.Since{}) // a server may count the messages anew
	c.ok("reading", err)
	if len(ch.New) != 1 {
		c.Fatalf("the renamed mailbox has %d messages", len(ch.New))
	}
	pending, err := c.s.Expunge(c.ctx, box, mail.NewUIDSet(ch.New[0].UID))
	c.ok("expunging", err)
	count(aside, uint32(pending.Len()))
	c.box(aside)
	_, err = second.Append(c.ctx, remote.Box{Name: aside}, 1, []remote.Upload{upload(letter("late"), mail.Flags{}, someDay)}, func(int) {}, func(_ int, r remote.Appended) {
		c.ok("appending by the second session", r.Err)
	})
	c.ok("appending by the second session", err)
	count(aside, uint32(pending.Len())+1)
	c.box(aside)
	c.ok("deleting", c.s.Delete(c.ctx, aside))
	if got := c.paths(); !slices.Equal(got, []string{"INBOX"}) {
		c.Errorf("mailboxes are %q", got)
	}
}

// expungeChanged removes a message whose flags another client changed while it was open here.
func expungeChanged(c *check) {
	uids := c.put("INBOX", "a", "b", "c")
	box := c.box("INBOX")
	for _, uid := range uids {
		c.Other.Store("INBOX", true, mail.NewFlags(`\Flagged`), uids...)
		pending, err := c.s.Expunge(c.ctx, box, mail.NewUIDSet(uid))
		c.ok("expunging", err)
		if _, there := c.content("INBOX")[uid]; there || !pending.IsEmpty() {
			c.Errorf("message %d is there: %v, pending %v", uid, there, pending)
		}
		uids = uids[1:]
	}
}
