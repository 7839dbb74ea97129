package sync_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// TestUIDValidityChange: nothing is downloaded twice, nothing is deleted because of it.
func TestUIDValidityChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	var want []string
	for _, s := range []string{"a", "b", "c", "d"} {
		w.arrive("INBOX", w.message(s))
		want = append(want, s)
	}
	twin := "Subject: twin\n\nwithout an id\n"
	w.arrive("INBOX", twin)
	w.arrive("INBOX", twin, `\Seen`)
	want = append(want, "twin", `twin \Seen`)
	w.sync()
	w.server.SetUIDNext("INBOX", 100)
	w.server.Renumber("INBOX")
	res := w.sync()
	if res.ToMaildir != (mailsync.Count{}) || res.ToServer != (mailsync.Count{}) {
		t.Errorf("something was transferred: %+v %+v", res.ToMaildir, res.ToServer)
	}
	w.want(map[string][]string{"INBOX": want})
	w.quiet()

	// A new, empty incarnation is no evidence of a deletion.
	w.server.Recreate("INBOX", false)
	w.sync()
	w.want(map[string][]string{"INBOX": want})
	w.quiet()
}

// nameless is a server that can do all but give mailboxes and messages identities.
func nameless() model.Options {
	o := model.Full()
	o.MailboxIDs, o.EmailIDs = false, false
	return o
}

// TestReplacedMailboxWithOtherMessages: another mailbox of the same name, with other messages under the same UIDs.
func TestReplacedMailboxWithOtherMessages(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]model.Options{"with identities": model.Full(), "without": nameless()} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			w.server.CreateMailbox("A")
			flagged := w.message("old1")
			w.arrive("A", flagged)
			w.arrive("A", w.message("old2"), `\Seen`)
			w.arrive("A", w.message("old3"))
			w.sync()
			w.server.Recreate("A", false)
			w.arrive("A", w.message("new1"))
			w.arrive("A", w.message("new2"), `\Answered`)
			w.arrive("A", w.message("new3"))
			w.reflag(w.file("A", flagged), "F")
			w.sync()
			w.want(map[string][]string{"INBOX": {}, "A": {`old1 \Flagged`, `old2 \Seen`, "old3", "new1", `new2 \Answered`, "new3"}})
			w.quiet()
		})
	}
}

// TestUIDValidityZero: UIDs of such a mailbox mean nothing from one run to the next.
func TestUIDValidityZero(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nameless())
	w.server.SetUIDValidity("INBOX", 0)
	a, b := w.message("a"), w.message("b")
	w.arrive("INBOX", a)
	w.arrive("INBOX", b)
	w.put("INBOX", w.message("c"), "S")
	w.sync()
	w.want(map[string][]string{"INBOX": {"a", "b", `c \Seen`}})
	w.quiet()
	w.reflag(w.file("INBOX", a), "F")
	w.server.Store("INBOX", true, mail.NewFlags(`\Answered`), 2)
	w.sync()
	w.want(map[string][]string{"INBOX": {`a \Flagged`, `b \Answered`, `c \Seen`}})
	w.server.Expunge("INBOX", 1)
	w.sync()
	w.want(map[string][]string{"INBOX": {`a \Flagged`, `b \Answered`, `c \Seen`}})
	w.must(os.Remove(w.file("INBOX", b)))
	w.sync()
	w.want(map[string][]string{"INBOX": {`a \Flagged`, `c \Seen`}})
	w.quiet()
}

// TestUIDNextGoesBack: a server that was restored, or counts anew, under the same UIDVALIDITY.
func TestUIDNextGoesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nameless())
	b := w.message("b")
	w.arrive("INBOX", w.message("a"))
	w.arrive("INBOX", b, `\Seen`)
	w.arrive("INBOX", w.message("c"))
	w.sync()
	w.server.Recreate("INBOX", true)
	w.arrive("INBOX", w.message("x"), `\Flagged`)
	w.arrive("INBOX", b, `\Seen`)
	w.sync()
	w.want(map[string][]string{"INBOX": {"a", `b \Seen`, "c", `x \Flagged`}})
	w.quiet()
}

// TestRecreatedWithTheSameUIDValidity: the mailbox is another one. With as many messages as before it looks like the old one: then
// nothing may be removed because of it, and verify must find it.
func TestRecreatedWithTheSameUIDValidity(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]model.Options{"with identities": model.Full(), "without": nameless(), "bare": {}} {
		for _, n := range []int{0, 2, 3, 4} {
			t.Run(fmt.Sprint(name, " ", n), func(t *testing.T) {
				w := newWorld(t, o)
				w.server.CreateMailbox("A")
				want := []string{"old1", "old2", "old3"}
				for _, s := range want {
					w.arrive("A", w.message(s))
				}
				w.sync()
				w.server.Recreate("A", true)
				for i := range n {
					w.arrive("A", w.message(fmt.Sprint("new", i)), `\Flagged`)
					want = append(want, fmt.Sprintf(`new%d \Flagged`, i))
				}
				w.sync()
				if n < 3 || o.MailboxIDs {
					w.want(map[string][]string{"INBOX": {}, "A": want})
					w.quiet()
					return
				}
				w.sync()
				if tree := w.serverTree(); len(tree["A"]) != n || len(w.localTree()["A"]) != n {
					t.Fatalf("something was removed\n%s", w)
				}
				v := mailsync.Verify(t.Context(), w.set, mailsync.World{Dialer: w.dialer}, mailsync.VerifyOptions{})
				if v.Fatal != nil || len(v.Differences) < 3 {
					t.Errorf("verify finds %v, %v", v.Differences, v.Fatal)
				}
			})
		}
	}
}

// TestUIDsThatMeanOtherMessages: the server numbers its messages anew and says nothing of it. What a person deletes must not
// take another message along, and is deleted under its new number.
func TestUIDsThatMeanOtherMessages(t *testing.T) {
	t.Parallel()
	identities := nameless()
	identities.EmailIDs = true
	for _, tc := range []struct {
		name    string
		options model.Options
		longer  string        // of the subject of one
		later   time.Duration // than the other it arrived
	}{
		{"another size", nameless(), " longer", 0},
		{"another date", nameless(), "", time.Second},
		{"another EMAILID", identities, "", 0},
	} {
		for _, deed := range []string{"deleted", "to the trash", "moved", "marked, with expunge"} {
			t.Run(tc.name+", "+deed, func(t *testing.T) {
				w := newWorld(t, tc.options)
				a, b := w.message("a"), w.message("b"+tc.longer)
				arrive := func(text string) {
					date := time.Date(2025, 6, 2, 10, 0, 0, 0, time.UTC)
					if text == b {
						date = date.Add(tc.later)
					}
					w.server.Append("INBOX", wire(text), mail.NewFlags(), date)
				}
				w.server.CreateMailbox("Lists")
				arrive(a)
				arrive(b)
				w.sync()
				w.server.Recreate("INBOX", true)
				arrive(b)
				arrive(a)
				want := map[string][]string{"INBOX": {"b" + tc.longer}, "Lists": {}}
				switch deed {
				case "marked, with expunge":
					w.set.Policy.Expunge = true
					w.reflag(w.file("INBOX", a), "T")
				case "moved":
					w.move(w.file("INBOX", a), "Lists")
					want["Lists"] = []string{"a"}
				case "to the trash":
					w.set.Policy.Trash = "Trash"
					want["Trash"] = []string{"a"}
					fallthrough
				default:
					w.must(os.Remove(w.file("INBOX", a)))
				}
				w.sync()
				w.want(want)
				w.quiet()
			})
		}
	}
}

// TestDatesThatChange: a server that was moved has other dates than it had, or one does not keep those of uploads. A deletion is carried over all the
// same, because the header is the one that is known; and that it looks costs nothing where nothing changed.
func TestDatesThatChange(t *testing.T) {
	t.Parallel()
	for _, shift := range []time.Duration{0, time.Hour} {
		w := newWorld(t, nameless())
		text := w.message("a")
		w.arrive("INBOX", text)
		w.sync()
		w.must(os.Remove(w.file("INBOX", text)))
		var asked []remote.FetchItems
		w.dialer = between{w.server, func(s remote.Session) remote.Session { return shiftedDates{s, shift, &asked} }}
		w.sync()
		w.want(map[string][]string{"INBOX": {}})
		want := []remote.FetchItems{{Size: true, Date: true, EmailID: true}}
		if shift != 0 {
			want = append(want, remote.FetchItems{Header: true})
		}
		if !slices.Equal(asked, want) {
			t.Errorf("asked for %+v, want %+v", asked, want)
		}
		w.dialer = w.server
		w.quiet()
	}
}

// shiftedDates tells other dates than the messages have.
type shiftedDates struct {
	remote.Session
	by    time.Duration
	asked *[]remote.FetchItems
}

func (d shiftedDates) Fetch(ctx context.Context, box remote.Box, uids mail.UIDSet, want remote.FetchItems) ([]remote.Message, error) {
	*d.asked = append(*d.asked, want)
	ms, err := d.Session.Fetch(ctx, box, uids, want)
	for i := range ms {
		if !ms[i].Date.IsZero() {
			ms[i].Date = ms[i].Date.Add(d.by)
		}
	}
	return ms, err
}

// TestRenumberedAndTheCopyUnread: a move without MOVE is settled in a mailbox whose UIDs turned out to mean other messages, and then that can't be
// read in this run. The copy is known for what it is in the next one.
func TestRenumberedAndTheCopyUnread(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Options{CondStore: true, UIDPlus: true})
	w.server.CreateMailbox("Lists")
	date := time.Date(2025, 6, 2, 10, 0, 0, 0, time.UTC)
	a, x, y := w.message("a"), w.message("x"), w.message("y longer")
	w.arrive("INBOX", a)
	w.server.Append("Lists", wire(x), mail.NewFlags(), date)
	w.server.Append("Lists", wire(y), mail.NewFlags(), date)
	w.sync()
	w.server.Recreate("Lists", true)
	w.server.Append("Lists", wire(y), mail.NewFlags(), date)
	w.server.Append("Lists", wire(x), mail.NewFlags(), date)
	w.must(os.Remove(w.file("Lists", x)))
	w.move(w.file("INBOX", a), "Lists")
	w.moveUnread("Lists")
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "Lists": {"a", "y longer"}})
	w.quiet()
}

// moveUnread runs a sync in which a COPY into a mailbox has no answer, is found and settled, and the mailbox then can't be read.
func (w *world) moveUnread(mailbox string) {
	w.t.Helper()
	copied, expunged := false, false
	w.server.SetFault(func(s model.Step) model.Action {
		switch {
		case s.Op == "copy" && s.After && !copied:
			copied = true
			return model.Action{Kind: model.Drop}
		case s.Op == "expunge" && s.After:
			expunged = true
		case s.Op == "changes" && s.Mailbox == mailbox && expunged:
			return model.Action{Kind: model.Refuse, Text: "busy"}
		}
		return model.Action{}
	})
	if w.try(); !expunged {
		w.t.Fatal("the move was not settled")
	}
	w.server.SetFault(nil)
}

// TestSizesCountedOtherwise: a server counts the bytes of its messages otherwise than it did. What the person does is carried over, and the mailbox is
// read as a whole for it once at most.
func TestSizesCountedOtherwise(t *testing.T) {
	t.Parallel()
	for deed, want := range map[string]map[string][]string{
		"deleted":              {"A": {"b"}, "B": {}, "INBOX": {}},
		"marked, with expunge": {"A": {"b"}, "B": {}, "INBOX": {}},
		"moved":                {"A": {"b"}, "B": {"a"}, "INBOX": {}},
	} {
		t.Run(deed, func(t *testing.T) {
			w := newWorld(t, model.Options{CondStore: true, UIDPlus: true, Move: true})
			var more int64
			readings := 0
			w.dialer = between{w.server, func(s remote.Session) remote.Session { return resized{s, &more, &readings} }}
			w.server.CreateMailbox("A")
			w.server.CreateMailbox("B")
			a := w.message("a")
			w.arrive("A", a)
			w.arrive("A", w.message("b"))
			w.sync()
			switch more = 7; deed {
			case "deleted":
				w.must(os.Remove(w.file("A", a)))
			case "moved":
				w.move(w.file("A", a), "B")
			default:
				w.set.Policy.Expunge = true
				w.reflag(w.file("A", a), "T")
			}
			readings = 0
			w.sync()
			w.want(want)
			w.sync()
			if readings > 1 {
				t.Errorf("%d whole readings", readings)
			}
		})
	}
}

// resized is a server that counts more bytes than the messages have, and counts whole readings of A.
type resized struct {
	remote.Session
	more     *int64
	readings *int
}

func (s resized) resize(ms []remote.Message) {
	for i := range ms {
		if ms[i].Size > 0 {
			ms[i].Size += *s.more
		}
	}
}

func (s resized) Fetch(ctx context.Context, box remote.Box, uids mail.UIDSet, want remote.FetchItems) ([]remote.Message, error) {
	ms, err := s.Session.Fetch(ctx, box, uids, want)
	s.resize(ms)
	return ms, err
}

func (s resized) Changes(ctx context.Context, box remote.Box, since remote.Since) (remote.Changes, error) {
	ch, err := s.Session.Changes(ctx, box, since)
	if since.UIDNext == 0 && box.Name == "A" {
		*s.readings++
	}
	s.resize(ch.New)
	return ch, err
}

// TestGhostInAReplacedMailbox: an upload was sent twice, and then its mailbox is replaced by one with the same UIDVALIDITY, in which another message has
// its UID. It is not taken for its own ghost.
func TestGhostInAReplacedMailbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.sync()
	text := w.message("m")
	w.put("INBOX", text, "S")
	w.dropOnce("append", "INBOX")
	w.sync()
	if in := w.intents(); len(in) != 1 || in[0].Sends != 2 {
		t.Fatalf("intents %+v", in)
	}
	box, _ := w.server.Snapshot().Mailbox("INBOX")
	m := box.Messages[0]
	w.server.Recreate("INBOX", true)
	w.server.Append("INBOX", wire(w.message("other")), mail.NewFlags(), w.now)
	w.server.Append("INBOX", m.Raw, m.Flags, m.Date)
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "expunge" || s.Op == "append" {
			t.Errorf("%s", s)
		}
		return model.Action{}
	})
	w.sync()
	w.want(map[string][]string{"INBOX": {`m \Seen`, "other"}})
	w.quiet()
}

// TestMarkIsAnotherMessages: with expunge, a UID means another message, which is marked as deleted. The message that it meant is not removed for that,
// wherever the person has it, also if the server does not say enough to tell them apart.
func TestMarkIsAnotherMessages(t *testing.T) {
	t.Parallel()
	date := time.Date(2025, 6, 2, 10, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name   string
		moved  bool
		silent bool // no headers at first
	}{{"moved", true, false}, {"in its place", false, false}, {"and no header can be had", false, true}, {"moved, and no header can be had", true, true}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nameless())
			w.set.Policy.Expunge = true
			w.server.CreateMailbox("Lists")
			x, y := w.message("x"), w.message("y")
			w.server.Append("INBOX", wire(x), mail.NewFlags(), date)
			w.server.Append("INBOX", wire(w.message("z")), mail.NewFlags(), date)
			w.sync()
			w.server.Recreate("INBOX", true)
			w.server.Append("INBOX", wire(y), mail.NewFlags(`\Deleted`), date.Add(time.Second))
			w.server.SetUIDNext("INBOX", 3)
			folder := "INBOX"
			if tc.moved {
				folder = "Lists"
				w.move(w.file("INBOX", x), folder)
			}
			silent := tc.silent
			w.dialer = between{w.server, func(s remote.Session) remote.Session { return headerless{s, "INBOX", &silent} }}
			w.try()
			w.file(folder, x)
			silent = false
			w.sync()
			w.file(folder, x)
			if !slices.ContainsFunc(w.serverTree()[folder], func(m string) bool { return strings.Contains(m, "Subject: x\n") }) {
				t.Errorf("it is not on the server\n%s", w)
			}
		})
	}
}

// headerless is a server that gives no headers of one mailbox while it is silent.
type headerless struct {
	remote.Session
	box    string
	silent *bool
}

func (s headerless) Fetch(ctx context.Context, box remote.Box, uids mail.UIDSet, want remote.FetchItems) ([]remote.Message, error) {
	if want.Header && box.Name == s.box && *s.silent {
		return nil, nil
	}
	return s.Session.Fetch(ctx, box, uids, want)
}

// TestCopyWithoutAHeader: the copy of a move is there, and at first the server does not give its header. It is not taken for anybody's new message.
func TestCopyWithoutAHeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Options{CondStore: true, UIDPlus: true})
	w.server.CreateMailbox("Lists")
	a := w.message("a")
	w.arrive("INBOX", a)
	w.sync()
	w.move(w.file("INBOX", a), "Lists")
	silent := true
	w.dialer = between{w.server, func(s remote.Session) remote.Session { return headerless{s, "Lists", &silent} }}
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == "copy" && s.After }, func() model.Action { return model.Action{Kind: model.Drop} }))
	w.try()
	w.server.SetFault(nil)
	silent = false
	w.sync()
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "Lists": {"a"}})
}

// TestCopyInARestoredMailbox: the target of a move without MOVE is put back to a backup right before, and then can't be read in this run. What the backup
// lacks is not taken for deleted in the next one.
func TestCopyInARestoredMailbox(t *testing.T) {
	t.Parallel()
	date := time.Date(2025, 6, 2, 10, 0, 0, 0, time.UTC)
	w := newWorld(t, model.Options{CondStore: true, UIDPlus: true})
	w.server.CreateMailbox("Lists")
	a := w.message("a")
	w.arrive("INBOX", a)
	w.server.Append("Lists", wire(w.message("x")), mail.NewFlags(), date)
	backup, _ := w.server.Snapshot().Mailbox("Lists")
	w.server.SetUIDNext("Lists", 9)
	w.server.Append("Lists", wire(w.message("y")), mail.NewFlags(), date)
	w.sync()
	w.move(w.file("INBOX", a), "Lists")
	var restored sync.Once
	w.dialer = between{w.server, func(s remote.Session) remote.Session {
		return onSelect{s, func(mailbox string) {
			if mailbox == "Lists" {
				restored.Do(func() { w.server.Restore(backup) })
			}
		}}
	}}
	w.moveUnread("Lists")
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "Lists": {"a", "x", "y"}})
}

// onSelect does something before a mailbox is selected.
type onSelect struct {
	remote.Session
	do func(mailbox string)
}

func (s onSelect) Select(ctx context.Context, mailbox string) (remote.Selected, error) {
	s.do(mailbox)
	return s.Session.Select(ctx, mailbox)
}

// TestGhostDuringAFalseAlarm: a ghost arrives just when sizes that are counted otherwise have the mailbox paired anew. It is still known for one.
func TestGhostDuringAFalseAlarm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	d := w.message("d")
	w.arrive("INBOX", d)
	w.sync()
	w.put("INBOX", w.message("m"), "S")
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == "append" && !s.After }, func() model.Action { return model.Action{Kind: model.Ghost} }))
	w.try()
	w.server.SetFault(nil)
	w.sync()
	var more int64
	var arrived sync.Once
	w.dialer = between{w.server, func(s remote.Session) remote.Session {
		return onLook{resized{s, &more, new(int)}, func() { arrived.Do(w.server.ReleaseGhosts) }}
	}}
	more = 7
	w.must(os.Remove(w.file("INBOX", d)))
	w.sync()
	w.sync()
	w.want(map[string][]string{"INBOX": {`m \Seen`}})
}

// onLook does something after each look at messages.
type onLook struct {
	resized
	do func()
}

func (s onLook) Fetch(ctx context.Context, box remote.Box, uids mail.UIDSet, want remote.FetchItems) ([]remote.Message, error) {
	ms, err := s.resized.Fetch(ctx, box, uids, want)
	if want.Size && want.Date {
		s.do()
	}
	return ms, err
}

// TestOriginalThatCantBeTold: a sync is stopped between a copy and the removal of its original, and the server does not say enough to tell whether that is still
// the same message. It goes once that can be told, and is not taken for a new one.
func TestOriginalThatCantBeTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Options{CondStore: true, UIDPlus: true})
	w.server.CreateMailbox("Lists")
	text := w.message("a")
	w.arrive("INBOX", text)
	w.sync()
	w.sync()
	w.move(w.file("INBOX", text), "Lists")
	silent := false
	w.dialer = between{w.server, func(s remote.Session) remote.Session {
		return headerless{shiftedDates{s, time.Hour, new([]remote.FetchItems)}, "INBOX", &silent}
	}}
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == "copy" && s.After }, func() model.Action {
		silent = true
		return model.Action{Kind: model.Drop}
	}))
	for range 2 {
		if res := w.try(); res.Fatal != nil || len(res.Errors) == 0 {
			t.Errorf("fatal %v, errors %v", res.Fatal, res.Errors)
		}
	}
	silent = false
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "Lists": {"a"}})
	w.quiet()
}
