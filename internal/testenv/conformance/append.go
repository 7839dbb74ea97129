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
	seen, err := c.s.Append(c.ctx, remote.Box{Name: "INBOX"}, 1, uploads, func(i int) {
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
	there := c.content("INBOX")
	for _, m := range seen { // what it may be missing is not wrong
		if int64(len(there[m.UID].Raw)) != m.Size {
			c.Errorf("what was stored is seen as UID %d with %d bytes, and has %d", m.UID, m.Size, len(there[m.UID].Raw))
		}
	}
	if _, err := c.s.Append(c.ctx, remote.Box{Name: "INBOX"}, 1, nil, nil, nil); err != nil {
		c.Errorf("appending nothing: %v", err)
	}
}

var errUnreadable = errors.New("this file can't be read")

func appendUnreadable(c *check) {
	bad := remote.Upload{Size: 10, Open: func() (io.ReadCloser, error) { return nil, errUnreadable }}
	uploads := []remote.Upload{upload(letter("a"), mail.Flags{}, someDay), bad, upload(letter("b"), mail.Flags{}, someDay)}
	var order []int
	_, err := c.s.Append(c.ctx, remote.Box{Name: "INBOX"}, 1, uploads, func(i int) {
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
	_, err := c.s.Append(c.ctx, remote.Box{Name: "INBOX"}, 0, uploads, func(int) {}, func(i int, r remote.Appended) {
		if i != len(fates) {
			c.Errorf("done(%d) came when done(%d) was due", i, len(fates))
		}
		fates = append(fates, r)
	})
	c.ok("appending", err)
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
	_, err := c.s.Append(c.ctx, remote.Box{Name: "INBOX"}, 1, uploads, func(int) {}, func(i int, r remote.Appended) { fate[i] = r })
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
	_, err := c.s.Append(c.ctx, remote.Box{Name: c.name("None")}, 1, []remote.Upload{upload(letter("x"), mail.Flags{}, someDay)}, func(int) {}, func(_ int, r remote.Appended) { got = r })
	if err != nil && !errors.Is(err, remote.ErrNoMailbox) {
		c.Errorf("appending to nowhere: %v", err)
	}
	if err == nil && !errors.Is(got.Err, remote.ErrNoMailbox) {
		c.Errorf("appending to nowhere: the message's fate is %v", got.Err)
	}
	c.append("INBOX", upload(letter("y"), mail.Flags{}, someDay)) // the session lives
}
