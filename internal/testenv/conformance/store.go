package conformance

import (
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

func store(c *check) {
	uids := c.put("INBOX", "a", "b", "c")
	box := c.box("INBOX")
	set := func(add bool, flags string, uids ...mail.UID) {
		c.Helper()
		seen, no, err := c.s.Store(c.ctx, box, mail.NewUIDSet(uids...), add, mail.ParseFlags(flags))
		c.ok("storing", err)
		if len(no) > 0 {
			c.Errorf("refused: %v", no)
		}
		if c.caps.CondStore && flags != "" && len(seen) == 0 { // of those that it changes not, Dovecot says nothing
			c.Errorf("of no message were the flags told")
		}
		now := c.content("INBOX")
		for _, m := range seen {
			if !slices.Contains(uids, m.UID) || !m.Flags.Equal(now[m.UID].Flags) {
				c.Errorf("message %d was said to have %q, it has %q", m.UID, m.Flags, now[m.UID].Flags)
			}
		}
	}
	c.Other.Store("INBOX", true, mail.NewFlags(`\Flagged`), uids[0])
	set(true, `\Seen \Answered`, uids[0], uids[1])
	set(false, `\Seen`, uids[1], uids[2])
	set(true, `\Draft \Deleted`, uids[2])
	set(true, "", uids[2])
	want := map[mail.UID]string{uids[0]: `\Flagged \Answered \Seen`, uids[1]: `\Answered`, uids[2]: `\Draft \Deleted`}
	for uid, m := range c.content("INBOX") {
		if m.Flags.String() != want[uid] {
			c.Errorf("message %d has %q, want %q", uid, m.Flags, want[uid])
		}
	}
}

func keywords(c *check) {
	flags := mail.NewFlags("$Label1", "$Forwarded", "work", "NonJunk")
	c.append("INBOX", upload(letter("a"), flags, someDay), upload(letter("b"), mail.Flags{}, someDay))
	sel, err := c.s.Select(c.ctx, "INBOX")
	c.ok("opening INBOX", err)
	box := remote.Box{Name: "INBOX", UIDValidity: sel.UIDValidity}
	if !sel.Keeps(flags).Equal(flags) {
		c.Errorf("the server says that of %q it keeps %q", flags, sel.Keeps(flags))
	}
	seen := c.Other.Messages("INBOX")
	_, _, err = c.s.Store(c.ctx, box, mail.NewUIDSet(seen[1].UID), true, flags)
	c.ok("storing keywords", err)
	_, _, err = c.s.Store(c.ctx, box, mail.NewUIDSet(seen[0].UID), false, mail.NewFlags("WORK", "$Forwarded"))
	c.ok("taking keywords away", err)
	want := []mail.Flags{mail.NewFlags("$Label1", "NonJunk"), flags}
	for i, m := range c.Other.Messages("INBOX") {
		if !m.Flags.Equal(want[i]) {
			c.Errorf("message %d has %q, want %q", i, m.Flags, want[i])
		}
	}
	got, err := c.s.Fetch(c.ctx, box, mail.NewUIDSet(seen[1].UID), remote.FetchItems{})
	c.ok("fetching", err)
	if len(got) != 1 || !got[0].Flags.Equal(flags) {
		c.Errorf("fetched %v, want %q", got, flags)
	}
}

func storeGone(c *check) {
	uids := c.put("INBOX", "a", "b")
	box := c.box("INBOX")
	c.Other.Expunge("INBOX", uids[0])
	_, no, err := c.s.Store(c.ctx, box, mail.NewUIDSet(uids...), true, mail.NewFlags(`\Seen`))
	if err != nil || len(no) > 0 {
		c.Errorf("storing on a message that is gone and one that is not: %v, %v", no, err)
	}
	if m := c.content("INBOX")[uids[1]]; !m.Flags.Has(mail.Seen) {
		c.Errorf("the one that is there has %q", m.Flags)
	}
}

func move(c *check) {
	work := c.create("Work")
	c.put(work, "already there")
	flags := mail.NewFlags(`\Flagged`, `\Seen`)
	c.Other.Append("INBOX", letter("a"), flags, otherDay)
	c.Other.Append("INBOX", letter("b"), mail.Flags{}, someDay)
	c.Other.Append("INBOX", letter("c"), mail.Flags{}, someDay)
	box := c.box("INBOX")
	var uids []mail.UID
	for _, m := range c.Other.Messages("INBOX") {
		uids = append(uids, m.UID)
	}
	r, err := c.s.Move(c.ctx, box, mail.NewUIDSet(uids[0], uids[1]), work)
	c.ok("moving", err)
	there := c.Other.Messages(work)
	if len(there) != 3 {
		c.Fatalf("%d messages are in the destination, want 3", len(there))
	}
	for i, m := range there[1:] {
		want := upload("", mail.Flags{}, someDay)
		if i == 0 {
			want = upload("", flags, otherDay)
		}
		c.same("a moved message", m.Raw, letter(string(rune('a'+i))))
		if !m.Flags.Equal(want.Flags) || !m.Date.Equal(want.Date) {
			c.Errorf("a moved message has flags %q and date %s, want %q and %s", m.Flags, m.Date, want.Flags, want.Date)
		}
		got, ok := r.UIDs[uids[i]]
		if !ok || got != m.UID && (c.caps.UIDPlus || got != 0) {
			c.Errorf("message %d went to %d, told is %d", uids[i], m.UID, got)
		}
	}
	if st, err := c.s.Status(c.ctx, work); err != nil || (c.caps.UIDPlus && st.UIDValidity != r.UIDValidity) {
		c.Errorf("told UIDVALIDITY %d of the destination, is %d, %v", r.UIDValidity, st.UIDValidity, err)
	}
	left := c.content("INBOX")
	if c.caps.Move && len(left) != 1 || !c.caps.Move && len(left) != 3 {
		c.Errorf("%d messages are left, Move is %v", len(left), c.caps.Move)
	}
}

func moveRefused(c *check) {
	uids := c.put("INBOX", "a")
	box := c.box("INBOX")
	_, err := c.s.Move(c.ctx, box, mail.NewUIDSet(uids...), c.name("None"))
	c.class("moving to nowhere", err, remote.Refused)
	if got := len(c.content("INBOX")); got != 1 {
		c.Errorf("INBOX has %d messages", got)
	}
	c.box("INBOX") // the session lives
}

func expunge(c *check) {
	uids := c.put("INBOX", "a", "b", "c", "d")
	box := c.box("INBOX")
	pending, err := c.s.Expunge(c.ctx, box, mail.NewUIDSet(uids[0]))
	c.ok("expunging", err)
	if left := c.content("INBOX"); len(left) != 3 || !pending.IsEmpty() || left[uids[0]].UID != 0 {
		c.Fatalf("after expunging one of four: %d left, pending %v", len(left), pending)
	}
	c.Other.Store("INBOX", true, mail.SystemFlags(mail.Deleted), uids[3])
	pending, err = c.s.Expunge(c.ctx, box, mail.NewUIDSet(uids[1]))
	c.ok("expunging beside another's deleted message", err)
	left := c.content("INBOX")
	if _, ok := left[uids[3]]; !ok {
		c.Fatal("another client's message was expunged")
	}
	m, there := left[uids[1]]
	if c.caps.UIDPlus && there {
		c.Error("with UIDPLUS the message was not expunged")
	}
	if there != pending.Contains(uids[1]) || there && !m.Flags.Has(mail.Deleted) {
		c.Errorf("the message is there: %v, with flags %q, pending: %v", there, m.Flags, pending)
	}
	c.Other.Store("INBOX", false, mail.SystemFlags(mail.Deleted), uids[3])
	c.box("INBOX") // so that the session knows
	pending, err = c.s.Expunge(c.ctx, box, mail.NewUIDSet(uids[1], uids[2]))
	c.ok("expunging what was pending", err)
	if left := c.content("INBOX"); len(left) != 1 || !pending.IsEmpty() {
		c.Errorf("in the end %d are left, pending %v", len(left), pending)
	}
	if pending, err = c.s.Expunge(c.ctx, box, mail.NewUIDSet(uids[0])); err != nil || !pending.IsEmpty() {
		c.Errorf("expunging what is gone: %v, %v", pending, err)
	}
}
