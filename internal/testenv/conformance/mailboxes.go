package conformance

import (
	"errors"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

func capabilities(c *check) {
	for what, list := range map[string][]string{"Names": c.caps.Names, "Used": c.caps.Used} {
		if !slices.IsSorted(list) {
			c.Errorf("%s is not sorted: %q", what, list)
		}
	}
	if len(c.caps.Names) == 0 {
		c.Error("no capability is told")
	}
	for _, used := range c.caps.Used {
		if !slices.Contains(c.caps.Names, used) {
			c.Errorf("%s is used but not among the server's %q", used, c.caps.Names)
		}
	}
	for name, has := range map[string]bool{"UIDPLUS": c.caps.UIDPlus, "MOVE": c.caps.Move} {
		if has != slices.ContainsFunc(c.caps.Names, func(s string) bool { return strings.EqualFold(s, name) }) {
			c.Errorf("%s is %v, the server says %q", name, has, c.caps.Names)
		}
	}
}

func newAccount(c *check) {
	before := c.s.Traffic()
	list, err := c.s.Mailboxes(c.ctx)
	c.ok("listing the mailboxes", err)
	i := slices.IndexFunc(list, func(m remote.Mailbox) bool { return slices.Equal(m.Path, []string{"INBOX"}) })
	if i < 0 {
		c.Fatalf("no INBOX in %+v", list)
	}
	inbox := list[i]
	if !inbox.Selectable || inbox.Status == nil || inbox.Display != "INBOX" || !strings.EqualFold(inbox.Name, "INBOX") {
		c.Fatalf("INBOX is %+v (status error %v)", inbox, inbox.StatusErr)
	}
	if inbox.Status.UIDValidity == 0 || inbox.Status.Messages != 0 {
		c.Errorf("INBOX has status %+v", *inbox.Status)
	}
	st, err := c.s.Status(c.ctx, inbox.Name)
	c.ok("asking for its status", err)
	sel, err := c.s.Select(c.ctx, inbox.Name)
	c.ok("opening it", err)
	if st != *inbox.Status {
		c.Errorf("Mailboxes says %+v, Status says %+v", *inbox.Status, st)
	}
	if sel.UIDValidity != st.UIDValidity || sel.UIDNext != st.UIDNext || sel.Messages != st.Messages || sel.HighestModSeq != st.HighestModSeq {
		c.Errorf("Select says %+v, Status says %+v", sel.Status, st)
	}
	if (st.HighestModSeq > 0) != c.caps.CondStore {
		c.Errorf("CondStore is %v, HIGHESTMODSEQ is %d", c.caps.CondStore, st.HighestModSeq)
	}
	if sel.ReadOnly {
		c.Error("INBOX is read-only")
	}
	if all := mail.NewFlags(`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`); !sel.Keeps(all).Equal(all) {
		c.Errorf("INBOX keeps only %s", sel.Keeps(all))
	}
	after := c.s.Traffic()
	if after.BytesIn <= before.BytesIn || after.BytesOut <= before.BytesOut || after.RoundTrips <= before.RoundTrips {
		c.Errorf("three exchanges took the traffic from %+v to %+v", before, after)
	}
}

func mailboxes(c *check) {
	work, year := c.create("Work"), c.create("Work", "2024")
	if got, want := c.paths(), []string{"INBOX", "Work", "Work/2024"}; !slices.Equal(got, want) {
		c.Fatalf("mailboxes are %q, want %q", got, want)
	}
	if got := c.Other.Mailboxes(); !slices.Contains(got, work) || !slices.Contains(got, year) {
		c.Errorf("the second client sees %q, not %q and %q", got, work, year)
	}
	c.class("creating what exists", c.s.Create(c.ctx, work), remote.Refused)

	uids := c.put(year, "kept")
	before := c.box(year)
	if !c.RenameLeavesChildren {
		play := c.name("Play", "2024")
		c.ok("renaming", c.s.Rename(c.ctx, work, c.name("Play")))
		if got, want := c.paths(), []string{"INBOX", "Play", "Play/2024"}; !slices.Equal(got, want) {
			c.Fatalf("after the rename mailboxes are %q, want %q", got, want)
		}
		if after := c.box(play); after.UIDValidity == before.UIDValidity {
			got, _ := c.bodies(after, mail.NewUIDSet(uids...))
			c.same("a message in a renamed mailbox", got[uids[0]], letter("kept"))
		}
		work, year = c.name("Play"), play
	}
	c.ok("deleting", c.s.Delete(c.ctx, year))
	c.ok("deleting", c.s.Delete(c.ctx, work))
	if got, want := c.paths(), []string{"INBOX"}; !slices.Equal(got, want) {
		c.Errorf("after the deletion mailboxes are %q, want %q", got, want)
	}
}

// names that people give to folders, one for each way to get them wrong.
var names = []string{"Ünïcödé 北京", "📬", "R&D", "&", "&-", "a b", `say "x"`, `back\slash`, "(paren)", "100%", "star*", "[Gmail]",
	"~home", "under_score", "e\u0301", "\u00e9", "UPPER", "upper", "+plus", "a&AOk-b"}

func oddNames(c *check) {
	var want []string
	for _, name := range names {
		refuses := slices.Contains(c.RefusesNames, name)
		spelled, err := c.s.MailboxName([]string{"Odd", name})
		if err == nil {
			err = c.s.Create(c.ctx, spelled)
		}
		switch {
		case err == nil && refuses:
			c.Errorf("the server takes %q after all", name)
		case err == nil:
			want = append(want, "Odd/"+name)
		case !refuses:
			c.Errorf("creating %q: %v", name, err)
		case remote.Dead(err):
			c.Fatalf("a refused name ended the session: %v", err)
		}
	}
	slices.Sort(want)
	got := slices.DeleteFunc(c.paths(), func(p string) bool { return !strings.HasPrefix(p, "Odd/") })
	if !slices.Equal(got, want) {
		c.Errorf("created %q\nlisted  %q", want, got)
	}
	list, err := c.s.Mailboxes(c.ctx)
	c.ok("listing the mailboxes", err)
	for _, m := range list {
		if len(m.Path) < 2 || !m.Selectable {
			continue
		}
		if again := c.name(m.Path...); again != m.Name {
			c.Errorf("%q is called %q by the server and %q by MailboxName", m.Path, m.Name, again)
		}
		c.append(m.Name, upload(letter("x"), mail.Flags{}, someDay))
		st, err := c.s.Status(c.ctx, m.Name)
		c.ok("asking for the status of "+m.Name, err)
		if st.Messages != 1 {
			c.Errorf("%q has %d messages after one was appended", m.Path, st.Messages)
		}
	}
}

func impossibleNames(c *check) {
	before := c.s.Traffic()
	bad := [][]string{{}, {""}, {"a", ""}, {"a\r\nb"}, {"nul\x00"}, {"\xff"}}
	if d := c.caps.Delimiter; d != "" {
		bad = append(bad, []string{"a" + d + "b"})
	}
	for _, path := range bad {
		if name, err := c.s.MailboxName(path); err == nil {
			c.Errorf("%q is spelled %q", path, name)
		}
	}
	if name, err := c.s.MailboxName([]string{"inbox"}); err != nil || name != "INBOX" {
		c.Errorf(`"inbox" is spelled %q, %v`, name, err)
	}
	if after := c.s.Traffic(); after != before {
		c.Errorf("MailboxName talked to the server: traffic went from %+v to %+v", before, after)
	}
}

// deletedAbove: where a mailbox is deleted and one below it is not, a server may go on listing the name, but the mailbox is gone.
func deletedAbove(c *check) {
	above := c.create("Above")
	c.create("Above", "Below")
	err := c.s.Delete(c.ctx, above)
	if refused, ok := errors.AsType[*remote.Error](err); ok && refused.Code == "HASCHILDREN" {
		return
	}
	c.ok("deleting the one above", err)
	if _, err := c.s.Status(c.ctx, above); !errors.Is(err, remote.ErrNoMailbox) {
		c.Errorf("Status of a mailbox that was deleted and has one below it: %v, want ErrNoMailbox", err)
	}
	list, err := c.s.Mailboxes(c.ctx)
	c.ok("listing the mailboxes", err)
	for _, m := range list {
		if m.Name == above && m.Selectable {
			c.Errorf("it is listed as one that can be opened: %+v", m)
		}
	}
}

func noMailbox(c *check) {
	none := c.name("None")
	box := remote.Box{Name: none, UIDValidity: 1}
	uids := mail.NewUIDSet(1)
	_, statusErr := c.s.Status(c.ctx, none)
	_, selectErr := c.s.Select(c.ctx, none)
	_, changesErr := c.s.Changes(c.ctx, box, remote.Since{})
	_, fetchErr := c.s.Fetch(c.ctx, box, uids, remote.FetchItems{})
	_, _, storeErr := c.s.Store(c.ctx, box, uids, true, mail.SystemFlags(mail.Seen))
	_, expungeErr := c.s.Expunge(c.ctx, box, uids)
	_, moveErr := c.s.Move(c.ctx, box, uids, "INBOX")
	for doing, err := range map[string]error{"Status": statusErr, "Select": selectErr, "Changes": changesErr, "Fetch": fetchErr,
		"Store": storeErr, "Expunge": expungeErr, "Move": moveErr} {
		if !errors.Is(err, remote.ErrNoMailbox) {
			c.Errorf("%s of a mailbox that does not exist: %v, want ErrNoMailbox", doing, err)
		}
	}
	c.class("deleting what does not exist", c.s.Delete(c.ctx, none), remote.Refused)
	if !c.DiesOfRename {
		c.class("renaming what does not exist", c.s.Rename(c.ctx, none, c.name("Other")), remote.Refused)
	}
	c.box("INBOX") // the session lives
}

func subscriptions(c *check) {
	a, b := c.name("A"), c.name("B")
	c.Other.Create(a)
	c.Other.Create(b)
	c.Other.Subscribe(a)
	list, err := c.s.Mailboxes(c.ctx)
	c.ok("listing the mailboxes", err)
	for _, m := range list {
		if (m.Name == a && !m.Subscribed) || (m.Name == b && m.Subscribed) {
			c.Errorf("%s: subscribed is %v", m.Name, m.Subscribed)
		}
	}
}

func uidValidity(c *check) {
	work := c.create("Work")
	uids := mail.NewUIDSet(c.put(work, "first")...)
	old := c.box(work)
	c.box("INBOX")
	c.Other.Delete(work)
	c.Other.Create(work)
	c.Other.Append(work, letter("second"), mail.Flags{}, someDay)
	before := c.content(work)

	_, changesErr := c.s.Changes(c.ctx, old, remote.Since{})
	_, fetchErr := c.s.Fetch(c.ctx, old, uids, remote.FetchItems{})
	_, _, storeErr := c.s.Store(c.ctx, old, uids, true, mail.SystemFlags(mail.Seen))
	_, moveErr := c.s.Move(c.ctx, old, uids, "INBOX")
	_, expungeErr := c.s.Expunge(c.ctx, old, uids)
	_, bodiesErr := c.s.Bodies(c.ctx, old, uids, nil)
	for doing, err := range map[string]error{"Changes": changesErr, "Fetch": fetchErr, "Store": storeErr, "Expunge": expungeErr,
		"Move": moveErr, "Bodies": bodiesErr} {
		if !errors.Is(err, remote.ErrUIDValidity) {
			c.Errorf("%s under the old UIDVALIDITY: %v, want ErrUIDValidity", doing, err)
		}
	}
	after := c.content(work)
	for uid, m := range before {
		if !after[uid].Flags.Equal(m.Flags) {
			c.Errorf("message %d had flags %q and has %q", uid, m.Flags, after[uid].Flags)
		}
	}
	if len(after) != len(before) || len(c.content("INBOX")) != 0 {
		c.Error("messages of the new mailbox were touched under the old UIDVALIDITY")
	}
}

func refusal(c *check) {
	c.put("INBOX", "one")
	c.class("creating INBOX", c.s.Create(c.ctx, "INBOX"), remote.Refused)
	if !c.InboxCanBeDeleted {
		c.class("deleting INBOX", c.s.Delete(c.ctx, "INBOX"), remote.Refused)
	}
	if got := len(c.content("INBOX")); got != 1 {
		c.Errorf("INBOX has %d messages", got)
	}
	if _, err := c.s.Mailboxes(c.ctx); err != nil {
		c.Errorf("after refusals: %v", err)
	}
}
