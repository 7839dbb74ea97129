// Package conformance checks that an implementation of remote.Dialer and remote.Session keeps
// what their comments promise. The same checks run on the model server and on the real
// implementations over every real server, so that the model stays honest.
package conformance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// Account is an empty account (nothing but INBOX, and nothing in it) that a check works on.
type Account struct {
	Dialer remote.Dialer
	// Other is a second client on the same account.
	Other Other
	// Refused is a message that the server does not take, empty if none is known.
	Refused string
	// Deviations name what the server is known to do otherwise.
	Deviations
}

// Deviations of real servers from what they should do. Each is named here so that it is known, and
// tested as far as it goes.
type Deviations struct {
	// RefusesNames lists folder names, by their last component, that the server doesn't take.
	RefusesNames []string
	// EndsHeaders: a message whose header has no end gets one.
	EndsHeaders bool
	// EndsLines: a message whose last line has no end gets one.
	EndsLines bool
	// Munges8Bit: bytes above 127 in a header become "X".
	Munges8Bit bool
	// DiesOfRename: renaming what does not exist ends the session.
	DiesOfRename bool
	// RenameLeavesChildren: RENAME forgets the mailboxes below the one renamed.
	RenameLeavesChildren bool
	// InboxCanBeDeleted: DELETE INBOX is obeyed.
	InboxCanBeDeleted bool
	// CostsSpans: what is done with a set of UIDs takes as long as the set spans.
	CostsSpans bool
}

// Other is what a second client does and sees. Mailboxes are named as in remote.Mailbox.Name. A failure
// ends the test.
type Other interface {
	Append(mailbox, raw string, flags mail.Flags, date time.Time) mail.UID
	Store(mailbox string, add bool, flags mail.Flags, uids ...mail.UID)
	Expunge(mailbox string, uids ...mail.UID)
	Create(mailbox string)
	Delete(mailbox string)
	Subscribe(mailbox string)
	// Messages are those of one mailbox, by UID.
	Messages(mailbox string) []Message
	// Mailboxes are the names of those that can be selected, sorted.
	Mailboxes() []string
}

// Message is one message as Other sees it.
type Message struct {
	UID   mail.UID
	Flags mail.Flags
	Date  time.Time
	Raw   string
}

// patience bounds one check on a busy machine.
const patience = 2 * time.Minute

// Run runs all checks, each on an account that fresh makes.
func Run(t *testing.T, fresh func(t *testing.T) Account) {
	checks := []struct {
		name string
		run  func(*check)
	}{
		{"capabilities are sorted and told", capabilities},
		{"a new account has an empty INBOX", newAccount},
		{"mailboxes are made, listed, renamed and deleted", mailboxes},
		{"names of every kind come back as they went", oddNames},
		{"names that can't be are refused without asking", impossibleNames},
		{"what does not exist is ErrNoMailbox", noMailbox},
		{"so is what has only its name left, for those below", deletedAbove},
		{"subscriptions are told", subscriptions},
		{"an appended message comes back byte for byte", appendFidelity},
		{"uploads are sent and answered in order", appendOrder},
		{"an upload that can't be opened is skipped", appendUnreadable},
		{"a refused upload holds up no other", appendRefused},
		{"an upload that is too short is never stored", func(c *check) { c.appendWrongSize(-1) }},
		{"an upload that is too long is never stored", func(c *check) { c.appendWrongSize(+1) }},
		{"an upload to nowhere is refused", appendNowhere},
		{"changes since nothing are everything", changesFromNothing},
		{"what is read along with the list is everything", readAlong},
		{"changes since a mark are the changes", changesSinceMark},
		{"changes by others are seen at once", changesByOthers},
		{"a message added and gone between two readings is not told", changesInvisible},
		{"fetch tells what was asked", fetch},
		{"header digests equal those of the whole message", fetchHeader},
		{"bodies stream, and what is gone is named", bodies},
		{"an error of the receiver ends the call and not the session", bodiesReceiverFails},
		{"store changes only the given flags", store},
		{"keywords are stored", keywords},
		{"store passes over what is gone", storeGone},
		{"move keeps content, flags and date", move},
		{"a refused move moves nothing", moveRefused},
		{"expunge removes nobody else's message", expunge},
		{"expunge makes sure of what others change meanwhile", expungeChanged},
		{"messages that came after the mailbox was opened are reached", cameLater},
		{"a set that spans everything costs what is there", spans},
		{"the open mailbox can be asked about, renamed and deleted", openMailbox},
		{"another UIDVALIDITY stops everything", uidValidity},
		{"a refusal does not end the session", refusal},
		{"the end of the context ends the session", cancelled},
		{"a closed session is dead", closed},
		{"two sessions work side by side", twoSessions},
		{"many messages in one call", many},
	}
	for _, ch := range checks {
		t.Run(ch.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			t.Cleanup(cancel)
			a := fresh(t)
			c := &check{T: t, ctx: ctx, Account: a}
			c.s = c.dial()
			c.caps = c.s.Capabilities()
			ch.run(c)
		})
	}
}

// check is one running check.
type check struct {
	*testing.T
	Account
	ctx  context.Context
	s    remote.Session
	caps remote.Capabilities
}

func (c *check) dial() remote.Session {
	c.Helper()
	s, err := c.Dialer.Dial(c.ctx)
	c.ok("signing in", err)
	c.Cleanup(func() {
		if err := s.Close(); err != nil {
			c.Errorf("closing the session: %v", err)
		}
	})
	return s
}

func (c *check) ok(doing string, err error) {
	c.Helper()
	if err != nil {
		c.Fatalf("%s: %v", doing, err)
	}
}

// name spells a path for the server.
func (c *check) name(path ...string) string {
	c.Helper()
	name, err := c.s.MailboxName(path)
	c.ok("spelling "+strings.Join(path, "/"), err)
	return name
}

// create makes a mailbox.
func (c *check) create(path ...string) string {
	c.Helper()
	name := c.name(path...)
	c.ok("creating "+name, c.s.Create(c.ctx, name))
	return name
}

// box opens a mailbox and names it with its UIDVALIDITY.
func (c *check) box(name string) remote.Box {
	c.Helper()
	sel, err := c.s.Select(c.ctx, name)
	c.ok("opening "+name, err)
	return remote.Box{Name: name, UIDValidity: sel.UIDValidity}
}

// paths lists the paths of the mailboxes that can be selected.
func (c *check) paths() []string {
	c.Helper()
	list, err := c.s.Mailboxes(c.ctx)
	c.ok("listing the mailboxes", err)
	var out []string
	for _, m := range list {
		if m.Selectable {
			out = append(out, strings.Join(m.Path, "/"))
		}
	}
	slices.Sort(out)
	return out
}

// upload is a message to append.
func upload(raw string, flags mail.Flags, date time.Time) remote.Upload {
	return remote.Upload{Size: int64(len(raw)), Flags: flags, Date: date,
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(raw)), nil }}
}

// append stores messages, insists that each is taken, and returns what the server told.
func (c *check) append(mailbox string, uploads ...remote.Upload) []remote.Appended {
	c.Helper()
	out := make([]remote.Appended, len(uploads))
	_, err := c.s.Append(c.ctx, remote.Box{Name: mailbox}, 0, uploads, func(int) {}, func(i int, r remote.Appended) {
		c.Helper()
		if r.Err != nil {
			c.Fatalf("appending message %d: %v", i, r.Err)
		}
		out[i] = r
	})
	c.ok("appending", err)
	return out
}

// bodies reads whole messages.
func (c *check) bodies(box remote.Box, uids mail.UIDSet) (map[mail.UID]string, map[mail.UID]error) {
	c.Helper()
	got := map[mail.UID]string{}
	missing, err := c.s.Bodies(c.ctx, box, uids, func(m remote.Message, body io.Reader) error {
		b, err := io.ReadAll(body)
		if _, twice := got[m.UID]; twice {
			c.Errorf("message %d was delivered twice", m.UID)
		}
		got[m.UID] = string(b)
		return err
	})
	c.ok("fetching bodies", err)
	return got, missing
}

// content is what the mailbox holds, as the second client sees it.
func (c *check) content(mailbox string) map[mail.UID]Message {
	c.Helper()
	out := map[mail.UID]Message{}
	for _, m := range c.Other.Messages(mailbox) {
		out[m.UID] = m
	}
	return out
}

// letter is a message with the given subject.
func letter(subject string) string {
	return fmt.Sprintf("From: a@example.org\r\nMessage-ID: <%s@example.org>\r\nSubject: %s\r\n\r\nbody of %s\r\n", subject, subject, subject)
}

// put lets the second client append letters and returns their UIDs.
func (c *check) put(mailbox string, subjects ...string) []mail.UID {
	c.Helper()
	for _, s := range subjects {
		c.Other.Append(mailbox, letter(s), mail.Flags{}, someDay)
	}
	var uids []mail.UID
	all := c.Other.Messages(mailbox)
	for _, m := range all[len(all)-len(subjects):] {
		uids = append(uids, m.UID)
	}
	return uids
}

var (
	someDay  = time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC)
	otherDay = time.Date(1999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -5*3600))
)

// oneOf fails unless err is of the class.
func (c *check) class(doing string, err error, want remote.Class) {
	c.Helper()
	if got := remote.ClassOf(err); got != want {
		c.Errorf("%s: error %v is of class %d, want %d", doing, err, got, want)
	}
}

// same compares bytes and shows where they part.
func (c *check) same(what, got, want string) {
	c.Helper()
	if got == want {
		return
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	show := func(s string) string { return s[max(0, min(i-20, len(s))):min(i+20, len(s))] }
	c.Errorf("%s: %d bytes instead of %d; they part at byte %d: %q instead of %q", what, len(got), len(want), i, show(got), show(want))
}

// big is a message of about n bytes with every byte value but NUL, in lines.
func big(n int) string {
	var b bytes.Buffer
	b.WriteString("Subject: big\r\n\r\n")
	for i := 1; b.Len() < n; i++ {
		c := byte(i%255 + 1)
		if c == '\r' || c == '\n' {
			c = ' '
		}
		b.WriteByte(c)
		if i%70 == 0 {
			b.WriteString("\r\n")
		}
	}
	b.WriteString("\r\n")
	return b.String()
}
