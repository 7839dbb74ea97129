package conformance

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// mark is the Since that a reading leaves behind.
func mark(ch remote.Changes, before mail.UIDSet) remote.Since {
	known := before.Minus(ch.Vanished)
	for _, m := range ch.New {
		known.Add(m.UID)
	}
	return remote.Since{ModSeq: ch.Selected.HighestModSeq, UIDNext: ch.Selected.UIDNext,
		Known: func() mail.UIDSet { return known }, KnownCount: func() uint32 { return uint32(known.Len()) }}
}

func uidsOf(messages []remote.Message) []mail.UID {
	var out []mail.UID
	for _, m := range messages {
		out = append(out, m.UID)
	}
	slices.Sort(out)
	return out
}

func changesFromNothing(c *check) {
	uids := c.put("INBOX", "a", "b", "c")
	c.Other.Store("INBOX", true, mail.NewFlags(`\Flagged`), uids[1])
	ch, err := c.s.Changes(c.ctx, c.box("INBOX"), remote.Since{})
	c.ok("reading the changes", err)
	if got := uidsOf(ch.New); !slices.Equal(got, uids) || len(ch.Flags) > 0 || !ch.Vanished.IsEmpty() {
		c.Fatalf("changes since nothing: new %v, flags %v, vanished %v; want new %v", got, ch.Flags, ch.Vanished, uids)
	}
	for _, m := range ch.New {
		var want mail.Flags
		if m.UID == uids[1] {
			want = mail.NewFlags(`\Flagged`)
		}
		if !m.Flags.Equal(want) || !m.Date.Equal(someDay) || m.Size != int64(len(letter("a"))) {
			c.Errorf("message %d is told as %+v", m.UID, m)
		}
	}
	if ch.Selected.Messages != 3 || ch.Selected.UIDNext <= uids[2] {
		c.Errorf("the mark is %+v", ch.Selected.Status)
	}
}

// readAlong: the second time a mailbox is open, and it is asked about with the others.
func readAlong(c *check) {
	uids := c.put("INBOX", "a", "b")
	for range 2 {
		list, ch, err := c.s.MailboxesAnd(c.ctx, "INBOX")
		c.ok("listing the mailboxes and reading one", err)
		i := slices.IndexFunc(list, func(m remote.Mailbox) bool { return m.Name == "INBOX" })
		if i < 0 || list[i].Status == nil || int(list[i].Status.Messages) != len(uids) {
			c.Fatalf("listed %+v", list)
		}
		if ch != nil {
			want, err := c.s.Changes(c.ctx, c.box("INBOX"), remote.Since{})
			c.ok("reading the changes", err)
			if !slices.EqualFunc(ch.New, want.New, func(a, b remote.Message) bool { return a.UID == b.UID && a.Flags.Equal(b.Flags) && a.Size == b.Size }) ||
				ch.Selected.Status != want.Selected.Status || ch.Partial || len(ch.Flags) > 0 {
				c.Errorf("read along: %+v, read: %+v", ch, want)
			}
		}
		uids = append(uids, c.put("INBOX", "c")...)
	}
	if _, ch, err := c.s.MailboxesAnd(c.ctx, "There is none"); err != nil || ch != nil {
		c.Errorf("of a mailbox that is none: %+v, %v", ch, err)
	}
}

func changesSinceMark(c *check) {
	uids := c.put("INBOX", "a", "b", "c", "d")
	box := c.box("INBOX")
	first, err := c.s.Changes(c.ctx, box, remote.Since{})
	c.ok("reading everything", err)
	since := mark(first, mail.UIDSet{})

	none, err := c.s.Changes(c.ctx, box, since)
	c.ok("reading no changes", err)
	if len(none.New) > 0 || !none.Vanished.IsEmpty() || (c.caps.CondStore && len(none.Flags) > 0) {
		c.Errorf("without any change: new %v, flags %v, vanished %v", none.New, none.Flags, none.Vanished)
	}

	_, _, err = c.s.Store(c.ctx, box, mail.NewUIDSet(uids[0]), true, mail.NewFlags(`\Seen`))
	c.ok("storing a flag", err)
	c.Other.Store("INBOX", true, mail.NewFlags(`\Flagged`), uids[1])
	c.Other.Expunge("INBOX", uids[2])
	added := c.put("INBOX", "e")
	ch, err := c.s.Changes(c.ctx, box, since)
	c.ok("reading the changes", err)
	if got := uidsOf(ch.New); !slices.Equal(got, added) {
		c.Errorf("new messages are %v, want %v", got, added)
	}
	if want := mail.NewUIDSet(uids[2]); ch.Vanished.String() != want.String() {
		c.Errorf("vanished: %v, want %v", ch.Vanished, want)
	}
	flags := map[mail.UID]mail.Flags{}
	for _, m := range ch.Flags {
		if (m.ModSeq > since.ModSeq) != c.caps.CondStore {
			c.Errorf("message %d changed under mod-sequence %d, the mark was %d, CondStore is %v", m.UID, m.ModSeq, since.ModSeq, c.caps.CondStore)
		}
		flags[m.UID] = m.Flags
	}
	if !flags[uids[0]].Equal(mail.NewFlags(`\Seen`)) || !flags[uids[1]].Equal(mail.NewFlags(`\Flagged`)) {
		c.Errorf("flags are told as %v", flags)
	}
	if _, gone := flags[uids[2]]; gone {
		c.Error("a vanished message is told with flags")
	}
	if c.caps.CondStore && len(flags) != 2 {
		c.Errorf("flags of %d messages are told, two changed", len(flags))
	}

	since.ModSeq = 0 // forgotten: all flags
	ch, err = c.s.Changes(c.ctx, box, since)
	c.ok("reading all flags", err)
	if got, want := uidsOf(ch.Flags), []mail.UID{uids[0], uids[1], uids[3]}; !slices.Equal(got, want) {
		c.Errorf("without a mark flags of %v are told, want %v", got, want)
	}
}

func changesByOthers(c *check) {
	box := c.box("INBOX") // stays selected while the second client works
	first, err := c.s.Changes(c.ctx, box, remote.Since{})
	c.ok("reading", err)
	since := mark(first, mail.UIDSet{})
	for i := range 3 {
		uids := c.put("INBOX", fmt.Sprint(i))
		st, err := c.s.Status(c.ctx, box.Name)
		c.ok("asking for the status", err)
		if st.Messages != 1 || st.UIDNext != uids[0]+1 {
			c.Errorf("after another client's message: %+v", st)
		}
		ch, err := c.s.Changes(c.ctx, box, since)
		c.ok("reading", err)
		if got := uidsOf(ch.New); !slices.Equal(got, uids) {
			c.Errorf("another client's messages %v are told as %v", uids, got)
		}
		since = mark(ch, since.Known())
		c.Other.Expunge("INBOX", uids...)
		ch, err = c.s.Changes(c.ctx, box, since)
		c.ok("reading", err)
		if !ch.Vanished.Contains(uids[0]) || ch.Vanished.Len() != 1 {
			c.Errorf("another client's expunge of %v is told as %v", uids, ch.Vanished)
		}
		since = mark(ch, since.Known())
	}
}

func changesInvisible(c *check) {
	uids := c.put("INBOX", "a")
	box := c.box("INBOX")
	ch, err := c.s.Changes(c.ctx, box, remote.Since{})
	c.ok("reading", err)
	since := mark(ch, mail.UIDSet{})
	c.Other.Expunge("INBOX", c.put("INBOX", "b")...)
	ch, err = c.s.Changes(c.ctx, box, since)
	c.ok("reading", err)
	if len(ch.New) > 0 || !ch.Vanished.IsEmpty() {
		c.Errorf("new %v, vanished %v; known was only %v", ch.New, ch.Vanished, uids)
	}
}

func fetch(c *check) {
	uids := c.put("INBOX", "a", "b", "c")
	c.Other.Store("INBOX", true, mail.NewFlags(`\Answered`), uids[2])
	c.Other.Expunge("INBOX", uids[1])
	box := c.box("INBOX")
	got, err := c.s.Fetch(c.ctx, box, mail.NewUIDSet(append(uids, uids[2]+10)...), remote.FetchItems{Size: true, Date: true})
	c.ok("fetching", err)
	if ids := uidsOf(got); !slices.Equal(ids, []mail.UID{uids[0], uids[2]}) {
		c.Fatalf("fetched %v", ids)
	}
	for _, m := range got {
		var want mail.Flags
		if m.UID == uids[2] {
			want = mail.NewFlags(`\Answered`)
		}
		if m.Size != int64(len(letter("a"))) || !m.Date.Equal(someDay) || m.Header != nil || !m.Flags.Equal(want) {
			c.Errorf("message %d is %+v", m.UID, m)
		}
	}
	got, err = c.s.Fetch(c.ctx, box, mail.UIDSet{}, remote.FetchItems{})
	if err != nil || len(got) > 0 {
		c.Errorf("fetching nothing gives %v, %v", got, err)
	}
}

func fetchHeader(c *check) {
	raws := []string{letter("a"), "Subject: x\r\n\r\n", "Subject: folded\r\n and more\r\n\r\nbody\r\n", big(50_000)}
	for _, raw := range raws {
		c.Other.Append("INBOX", raw, mail.Flags{}, someDay)
	}
	seen := c.Other.Messages("INBOX")
	var all mail.UIDSet
	for _, m := range seen {
		all.Add(m.UID)
	}
	got, err := c.s.Fetch(c.ctx, c.box("INBOX"), all, remote.FetchItems{Header: true})
	c.ok("fetching", err)
	slices.SortFunc(got, func(a, b remote.Message) int { return int(a.UID) - int(b.UID) })
	if len(got) != len(raws) {
		c.Fatalf("fetched %d of %d", len(got), len(raws))
	}
	for i, m := range got {
		want, err := mail.Survey(strings.NewReader(raws[i]))
		c.ok("surveying", err)
		if m.Header == nil || m.Header.Header != want.Header || m.Header.HasMessageID != want.HasMessageID {
			c.Errorf("the header of %.40q is told as %+v, want %s", raws[i], m.Header, want.Header)
		}
		if m.Flags.Has(mail.Seen) {
			c.Error("reading a header set \\Seen")
		}
	}
}

func bodies(c *check) {
	uids := c.put("INBOX", "a", "b", "c")
	c.Other.Expunge("INBOX", uids[1])
	beyond := uids[2] + 100
	box := c.box("INBOX")
	got, missing := c.bodies(box, mail.NewUIDSet(uids[0], uids[1], uids[2], beyond))
	c.same("the first", got[uids[0]], letter("a"))
	c.same("the third", got[uids[2]], letter("c"))
	if len(got) != 2 || len(missing) != 2 || !errors.Is(missing[uids[1]], remote.ErrGone) || !errors.Is(missing[beyond], remote.ErrGone) {
		c.Errorf("got %d messages, missing %v", len(got), missing)
	}
	for _, m := range c.Other.Messages("INBOX") {
		if m.Flags.Has(mail.Seen) {
			c.Error("reading a body set \\Seen")
		}
	}
	if got, missing := c.bodies(box, mail.UIDSet{}); len(got) != 0 || len(missing) != 0 {
		c.Errorf("no message asked for: got %v, missing %v", got, missing)
	}
}

func bodiesReceiverFails(c *check) {
	for range 5 {
		c.Other.Append("INBOX", big(200_000), mail.Flags{}, someDay)
	}
	box := c.box("INBOX")
	var all mail.UIDSet
	for _, m := range c.Other.Messages("INBOX") {
		all.Add(m.UID)
	}
	calls := 0
	full := errors.New("no space left")
	_, err := c.s.Bodies(c.ctx, box, all, func(_ remote.Message, body io.Reader) error {
		calls++
		if calls < 2 {
			_, err := io.Copy(io.Discard, body)
			return err
		}
		_, _ = body.Read(make([]byte, 100))
		return full
	})
	if err != full || calls != 2 {
		c.Errorf("after %d calls: %v, want the receiver's own error after 2", calls, err)
	}
	got, missing := c.bodies(box, all)
	if len(got) != 5 || len(missing) > 0 {
		c.Errorf("afterwards: %d bodies, missing %v", len(got), missing)
	}
}
