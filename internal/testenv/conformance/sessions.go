package conformance

import (
	"context"
	"errors"
	"fmt"
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
	_, err = second.Store(c.ctx, here, mail.NewUIDSet(first.New[0].UID), true, mail.NewFlags(`\Seen`))
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
	no, err := c.s.Store(c.ctx, box, odd, true, mail.NewFlags(`\Flagged`))
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
