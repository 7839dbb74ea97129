package conformance

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

func appendFidelity(c *check) {
	shapes := map[string]string{
		"plain":               letter("plain"),
		"no final line end":   "Subject: x\r\n\r\nno end",
		"no body":             "Subject: x\r\n\r\n",
		"no blank line":       "Subject: x\r\n",
		"begins blank":        "\r\nbody only\r\n",
		"8-bit header":        "Subject: \xe9\xff\r\n\r\nb\xf6dy\r\n",
		"From line":           "Subject: x\r\n\r\nFrom here\r\n.\r\n..\r\n",
		"long line":           "Subject: x\r\n\r\n" + strings.Repeat("x", 100_000) + "\r\n",
		"folded header":       "Subject: a\r\n\tb\r\n  c\r\nX-Empty:\r\n\r\nbody\r\n",
		"looks like protocol": "Subject: x\r\n\r\n* 1 FETCH (FLAGS ())\r\nA1 OK\r\n{100}\r\n+ go\r\n)\r\n",
		"big":                 big(300_000),
	}
	for shape, altered := range map[string]bool{"no blank line": c.EndsHeaders, "no final line end": c.EndsLines, "8-bit header": c.Munges8Bit} {
		if altered {
			delete(shapes, shape)
		}
	}
	flags := []mail.Flags{{}, mail.NewFlags(`\Seen`), mail.NewFlags(`\Answered`, `\Flagged`, `\Draft`, `\Deleted`)}
	dates := []time.Time{someDay, otherDay}
	var uploads []remote.Upload
	var names []string
	for name := range shapes {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		uploads = append(uploads, upload(shapes[name], flags[i%len(flags)], dates[i%len(dates)]))
	}
	told := c.append("INBOX", uploads...)
	box := c.box("INBOX")
	seen := c.Other.Messages("INBOX")
	if len(seen) != len(names) {
		c.Fatalf("appended %d messages, the second client sees %d", len(names), len(seen))
	}
	var all mail.UIDSet
	for i, m := range seen {
		all.Add(m.UID)
		c.same(names[i]+", seen by the second client", m.Raw, shapes[names[i]])
		if !m.Flags.Equal(uploads[i].Flags) || !m.Date.Equal(uploads[i].Date) {
			c.Errorf("%s: flags %q, date %s; want %q, %s", names[i], m.Flags, m.Date, uploads[i].Flags, uploads[i].Date)
		}
		// a server may tell without announcing UIDPLUS that it does, but not tell wrong
		right := told[i].UID == m.UID && told[i].UIDValidity == box.UIDValidity
		if !right && (c.caps.UIDPlus || told[i].UID != 0) {
			c.Errorf("%s: told UID %d under %d, is %d under %d", names[i], told[i].UID, told[i].UIDValidity, m.UID, box.UIDValidity)
		}
	}
	got, missing := c.bodies(box, all)
	if len(missing) > 0 {
		c.Errorf("missing: %v", missing)
	}
	for i, m := range seen {
		c.same(names[i]+", fetched", got[m.UID], shapes[names[i]])
	}
}

func appendOrder(c *check) {
	const n = 40
	var uploads []remote.Upload
	for i := range n {
		uploads = append(uploads, upload(letter(fmt.Sprint(i)), mail.Flags{}, someDay))
	}
	nextSent, nextDone := 0, 0
	err := c.s.Append(c.ctx, "INBOX", uploads, func(i int) {
		if i != nextSent {
			c.Errorf("sent(%d) came when sent(%d) was due", i, nextSent)
		}
		nextSent++
	}, func(i int, r remote.Appended) {
		if i != nextDone || i >= nextSent || r.Err != nil {
			c.Errorf("done(%d, %v) came when done(%d) was due and %d were sent", i, r.Err, nextDone, nextSent)
		}
		nextDone++
	})
	c.ok("appending", err)
	if nextSent != n || nextDone != n {
		c.Errorf("of %d uploads %d were sent and %d done", n, nextSent, nextDone)
	}
	for i, m := range c.Other.Messages("INBOX") {
		c.same(fmt.Sprintf("message %d", i), m.Raw, letter(fmt.Sprint(i)))
	}
	if err := c.s.Append(c.ctx, "INBOX", nil, nil, nil); err != nil {
		c.Errorf("appending nothing: %v", err)
	}
}

var errUnreadable = errors.New("this file can't be read")

func appendUnreadable(c *check) {
	bad := remote.Upload{Size: 10, Open: func() (io.ReadCloser, error) { return nil, errUnreadable }}
	uploads := []remote.Upload{upload(letter("a"), mail.Flags{}, someDay), bad, upload(letter("b"), mail.Flags{}, someDay)}
	var order []int
	err := c.s.Append(c.ctx, "INBOX", uploads, func(i int) {
		if i == 1 {
			c.Error("sent was called for what could not be opened")
		}
	}, func(i int, r remote.Appended) {
		order = append(order, i)
		if (i == 1) != errors.Is(r.Err, errUnreadable) || (i != 1 && r.Err != nil) {
			c.Errorf("done(%d, %v)", i, r.Err)
		}
	})
	c.ok("appending", err)
	if !slices.Equal(order, []int{0, 1, 2}) {
		c.Errorf("done was called for %v", order)
	}
	if got := c.Other.Messages("INBOX"); len(got) != 2 {
		c.Errorf("there are %d messages, want 2", len(got))
	}
}

// appendRefused appends a few hundred messages, one of which the server does not take.
func appendRefused(c *check) {
	const n, bad = 300, 150
	var uploads []remote.Upload
	for i := range n {
		uploads = append(uploads, upload(letter(fmt.Sprint(i)), mail.NewFlags(`\Flagged`), someDay))
	}
	if c.Refused != "" {
		uploads[bad] = upload(c.Refused, mail.Flags{}, someDay)
	}
	var fates []remote.Appended
	c.ok("appending", c.s.Append(c.ctx, "INBOX", uploads, func(int) {}, func(i int, r remote.Appended) {
		if i != len(fates) {
			c.Errorf("done(%d) came when done(%d) was due", i, len(fates))
		}
		fates = append(fates, r)
	}))
	there := map[string]mail.UID{}
	for uid, m := range c.content("INBOX") {
		there[m.Raw] = uid
	}
	if len(fates) != n {
		c.Fatalf("of %d uploads the fates of %d are told", n, len(fates))
	}
	for i, fate := range fates {
		if c.Refused != "" && i == bad {
			if remote.ClassOf(fate.Err) != remote.Refused || remote.Dead(fate.Err) {
				c.Errorf("the fate of what the server does not take is %v", fate.Err)
			}
			continue
		}
		uid, ok := there[letter(fmt.Sprint(i))]
		if fate.Err != nil || !ok || (fate.UID != uid && (c.caps.UIDPlus || fate.UID != 0)) {
			c.Errorf("message %d: told %+v, is %d, there %v", i, fate, uid, ok)
		}
		delete(there, letter(fmt.Sprint(i)))
	}
	if len(there) > 0 {
		c.Errorf("%d messages are there too many", len(there))
	}
}

// appendWrongSize appends good, one whose file is off by some bytes, good.
func (c *check) appendWrongSize(off int) {
	wrong := upload(letter("wrong"), mail.Flags{}, someDay)
	wrong.Size -= int64(off)
	uploads := []remote.Upload{upload(letter("a"), mail.Flags{}, someDay), wrong, upload(letter("b"), mail.Flags{}, someDay)}
	fate := map[int]remote.Appended{}
	err := c.s.Append(c.ctx, "INBOX", uploads, func(int) {}, func(i int, r remote.Appended) { fate[i] = r })
	switch {
	case remote.Dead(err):
		if _, err := c.s.Mailboxes(c.ctx); !remote.Dead(err) {
			c.Errorf("the session is still of use: %v", err)
		}
		for i, r := range fate {
			if i > 0 && r.Err == nil {
				c.Errorf("message %d counts as stored", i)
			}
		}
	case err != nil, fate[1].Err == nil, fate[0].Err != nil, fate[2].Err != nil:
		c.Errorf("a message was not as long as announced, and the session lives on after %v: %v", err, fate)
	}
	for _, m := range c.Other.Messages("INBOX") {
		if m.Raw != letter("a") && m.Raw != letter("b") {
			c.Errorf("a broken message was stored: %q", m.Raw)
		}
	}
}

func appendNowhere(c *check) {
	var got remote.Appended
	err := c.s.Append(c.ctx, c.name("None"), []remote.Upload{upload(letter("x"), mail.Flags{}, someDay)}, func(int) {}, func(_ int, r remote.Appended) { got = r })
	if err != nil && !errors.Is(err, remote.ErrNoMailbox) {
		c.Errorf("appending to nowhere: %v", err)
	}
	if err == nil && !errors.Is(got.Err, remote.ErrNoMailbox) {
		c.Errorf("appending to nowhere: the message's fate is %v", got.Err)
	}
	c.append("INBOX", upload(letter("y"), mail.Flags{}, someDay)) // the session lives
}

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
