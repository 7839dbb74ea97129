package imap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// letter is a message with the given number in it, as it goes over the wire.
func letter(n int) string {
	return fmt.Sprintf("From: a@example.org\r\nMessage-ID: <%d@example.org>\r\nSubject: letter %d\r\n\r\nHello, this is letter %d.\r\n", n, n, n)
}

func upload(text string, flags mail.Flags, date time.Time) remote.Upload {
	return remote.Upload{Size: int64(len(text)), Flags: flags, Date: date,
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
}

// configFor reaches a test server over its plain port, or its tunnel if it has no port.
func configFor(s *servers.Server) Config {
	cfg := Config{User: s.User, Secret: auth.Literal(s.Password), Patience: 20 * time.Second}
	if s.Port == 0 {
		cfg.Transport = transport.Config{Host: s.Name, Tunnel: s.Tunnel}
	} else {
		cfg.Transport = transport.Config{Host: s.Host, Port: s.Port, TLS: transport.Off}
	}
	return cfg
}

// dial opens a session that ends with the test. What is traced shows when the test fails.
func dial(t testing.TB, cfg Config) *Session {
	t.Helper()
	if cfg.Trace == nil {
		var trace bytes.Buffer
		cfg.Trace = func(dir byte, line string) { fmt.Fprintf(&trace, "%c %s\n", dir, line) }
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("protocol:\n%s", trace.String())
			}
		})
	}
	s, err := NewDialer(cfg).Dial(t.Context())
	if err != nil {
		t.Fatalf("signing in: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s.(*Session)
}

// appendAll stores messages and returns their fates.
func appendAll(t *testing.T, s remote.Session, mailbox string, uploads ...remote.Upload) []remote.Appended {
	t.Helper()
	var sent []int
	var fates []remote.Appended
	_, err := s.Append(t.Context(), remote.Box{Name: mailbox}, 0, uploads, func(i int) { sent = append(sent, i) }, func(i int, r remote.Appended) {
		if i != len(fates) {
			t.Errorf("done(%d) was called when it was %d's turn", i, len(fates))
		}
		fates = append(fates, r)
	})
	if err != nil {
		t.Fatalf("storing: %v", err)
	}
	if len(fates) != len(uploads) {
		t.Fatalf("%d of %d fates are known", len(fates), len(uploads))
	}
	return fates
}

// since makes the mark of a reading.
func since(ch remote.Changes, known ...mail.UID) remote.Since {
	set := mail.NewUIDSet(known...)
	return remote.Since{ModSeq: ch.Selected.HighestModSeq, UIDNext: ch.Selected.UIDNext,
		Known: func() mail.UIDSet { return set }, KnownCount: func() uint32 { return uint32(set.Len()) }}
}

func uidsOf(list []remote.Message) []mail.UID {
	var out []mail.UID
	for _, m := range list {
		out = append(out, m.UID)
	}
	return out
}

// bodiesOf fetches bodies into strings.
func bodiesOf(t *testing.T, s remote.Session, box remote.Box, uids ...mail.UID) (map[mail.UID]string, map[mail.UID]error) {
	t.Helper()
	got := map[mail.UID]string{}
	missing, err := s.Bodies(t.Context(), box, mail.NewUIDSet(uids...), func(m remote.Message, body io.Reader) error {
		text, err := io.ReadAll(body)
		if _, twice := got[m.UID]; twice {
			t.Errorf("message %d was delivered twice", m.UID)
		}
		if m.Size != int64(len(text)) {
			t.Errorf("message %d: Size says %d, body has %d bytes", m.UID, m.Size, len(text))
		}
		got[m.UID] = string(text)
		return err
	})
	if err != nil {
		t.Fatalf("fetching bodies: %v", err)
	}
	return got, missing
}

// exercise takes a session through all of its methods on an empty account. The observer, if there is
// one, is another client on the same account.
func exercise(t *testing.T, cfg Config, observer *servers.Client) {
	ctx := t.Context()
	s := dial(t, cfg)
	caps := s.Capabilities()
	name, err := s.MailboxName([]string{"Wörk & play", "Jahr 2024"})
	if s.delim == 0 {
		name, err = s.MailboxName([]string{"Wörk & play"})
	}
	if err != nil {
		t.Fatal(err)
	}

	// Mailboxes.
	if err := s.Create(ctx, name); err != nil {
		t.Fatal(err)
	}
	box, found := mailboxNamed(t, s, name)
	if !found || box.Status == nil || box.Status.Messages != 0 || box.Status.UIDValidity == 0 {
		t.Fatalf("a new mailbox is listed as %+v", box)
	}
	if back, err := s.MailboxName(box.Path); err != nil || back != name {
		t.Errorf("the path %q of %q is named %q, %v", box.Path, name, back, err)
	}
	if in, ok := mailboxNamed(t, s, "INBOX"); !ok || !slices.Equal(in.Path, []string{"INBOX"}) || in.Status == nil {
		t.Errorf("INBOX is listed as %+v", in)
	}
	for what, call := range map[string]func() error{
		"Status": func() error { _, err := s.Status(ctx, name+"x"); return err },
		"Select": func() error { _, err := s.Select(ctx, name+"x"); return err },
	} {
		if err := call(); !errors.Is(err, remote.ErrNoMailbox) {
			t.Errorf("%s of a mailbox that is not there: %v", what, err)
		}
	}

	// Append, and a first reading.
	date := time.Date(2019, 8, 7, 6, 5, 4, 0, time.UTC)
	seen := mail.SystemFlags(mail.Seen)
	var uploads []remote.Upload
	for i := range 6 {
		uploads = append(uploads, upload(letter(i), mail.Flags{}, date))
	}
	uploads[0].Flags = mail.NewFlags(`\Seen`, `\Flagged`)
	fates := appendAll(t, s, name, uploads...)
	for i, fate := range fates {
		if fate.Err != nil {
			t.Fatalf("message %d was refused: %v", i, fate.Err)
		}
		if caps.UIDPlus != (fate.UID != 0) {
			t.Errorf("UIDPLUS %v, told UID %d", caps.UIDPlus, fate.UID)
		}
	}
	sel, err := s.Select(ctx, name)
	if err != nil || sel.Messages != 6 || sel.ReadOnly {
		t.Fatalf("Select: %+v, %v", sel, err)
	}
	at := remote.Box{Name: name, UIDValidity: sel.UIDValidity}
	ch, err := s.Changes(ctx, at, remote.Since{})
	if err != nil {
		t.Fatal(err)
	}
	uids := uidsOf(ch.New)
	if len(uids) != 6 || len(ch.Flags) != 0 || !ch.Vanished.IsEmpty() || ch.Selected.UIDNext <= uids[5] {
		t.Fatalf("the first reading finds %+v", ch)
	}
	for i, m := range ch.New {
		if m.Size != int64(len(letter(i))) || !m.Date.Equal(date) || !m.Flags.Equal(uploads[i].Flags) {
			t.Errorf("message %d is read as %+v", i, m)
		}
		if fates[i].UID != 0 && (fates[i].UID != m.UID || fates[i].UIDValidity != at.UIDValidity) {
			t.Errorf("message %d was said to become %+v, is %d", i, fates[i], m.UID)
		}
	}
	if caps.CondStore != (ch.Selected.HighestModSeq != 0) {
		t.Errorf("CONDSTORE %v, mark %d", caps.CondStore, ch.Selected.HighestModSeq)
	}

	// Nothing changed.
	quiet, err := s.Changes(ctx, at, since(ch, uids...))
	if err != nil || len(quiet.New) != 0 || !quiet.Vanished.IsEmpty() || (caps.CondStore && len(quiet.Flags) != 0) {
		t.Errorf("nothing changed, and it is read as %+v, %v", quiet, err)
	}

	// Single messages.
	got, err := s.Fetch(ctx, at, mail.NewUIDSet(uids[1], uids[3], uids[5]+100), remote.FetchItems{Size: true, Date: true, EmailID: true, Header: true})
	if err != nil || !slices.Equal(uidsOf(got), []mail.UID{uids[1], uids[3]}) {
		t.Fatalf("Fetch: %+v, %v", got, err)
	}
	want, _ := mail.Survey(strings.NewReader(letter(3)))
	if h := got[1].Header; h == nil || h.Header != want.Header || !h.HasMessageID {
		t.Errorf("the header's digest is %+v, want %v", h, want.Header)
	}
	texts, missing := bodiesOf(t, s, at, append(slices.Clone(uids), uids[5]+100)...)
	for i, u := range uids {
		if texts[u] != letter(i) {
			t.Errorf("body %d is %q", i, texts[u])
		}
	}
	if len(missing) != 1 || !errors.Is(missing[uids[5]+100], remote.ErrGone) {
		t.Errorf("missing bodies: %v", missing)
	}
	if after, err := s.Fetch(ctx, at, mail.NewUIDSet(uids[1]), remote.FetchItems{}); err != nil || len(after) != 1 || after[0].Flags.Has(mail.Seen) {
		t.Errorf("reading a message marked it: %+v, %v", after, err)
	}

	// Flags.
	marks := mail.NewFlags(`\Answered`, "$Forwarded")
	if !sel.Keeps(marks).Equal(marks) {
		marks = mail.NewFlags(`\Answered`)
	}
	if _, refused, err := s.Store(ctx, at, mail.NewUIDSet(uids[1], uids[2]), true, marks); err != nil || len(refused) != 0 {
		t.Errorf("Store: %v, %v", refused, err)
	}
	if _, refused, err := s.Store(ctx, at, mail.NewUIDSet(uids[0]), false, seen); err != nil || len(refused) != 0 {
		t.Errorf("Store: %v, %v", refused, err)
	}
	ch2, err := s.Changes(ctx, at, since(ch, uids...))
	if err != nil {
		t.Fatal(err)
	}
	checkFlags(t, ch2, map[mail.UID]mail.Flags{uids[0]: mail.NewFlags(`\Flagged`), uids[1]: marks, uids[2]: marks})

	// Another client.
	if observer != nil {
		folder := readName(name)
		observer.Store(folder, true, seen, uids[3])
		observer.Expunge(folder, uids[4])
		observer.Append(folder, letter(7), mail.Flags{}, date)
		ch3, err := s.Changes(ctx, at, since(ch2, uids...))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(ch3.Vanished.Slice(), []mail.UID{uids[4]}) || len(ch3.New) != 1 || ch3.New[0].UID <= uids[5] {
			t.Errorf("after another client's work: new %v, vanished %v", uidsOf(ch3.New), ch3.Vanished)
		}
		checkFlags(t, ch3, map[mail.UID]mail.Flags{uids[3]: seen})
	}

	// Moves.
	target, err := s.MailboxName([]string{"Target"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Move(ctx, at, mail.NewUIDSet(uids[0]), target); remote.ClassOf(err) != remote.Refused {
		t.Errorf("a move to nowhere: %v", err)
	}
	if err := s.Create(ctx, target); err != nil {
		t.Fatal(err)
	}
	moved, err := s.Move(ctx, at, mail.NewUIDSet(uids[0], uids[5]), target)
	if err != nil || len(moved.UIDs) != 2 {
		t.Fatalf("Move: %+v, %v", moved, err)
	}
	left, err := s.Fetch(ctx, at, mail.NewUIDSet(uids[0], uids[5]), remote.FetchItems{})
	if err != nil || caps.Move != (len(left) == 0) {
		t.Errorf("MOVE %v, left behind %v, %v", caps.Move, uidsOf(left), err)
	}
	inTarget, err := s.Changes(ctx, remote.Box{Name: target}, remote.Since{})
	if err != nil || len(inTarget.New) != 2 {
		t.Fatalf("the target holds %+v, %v", inTarget.New, err)
	}
	if caps.UIDPlus {
		to := remote.Box{Name: target, UIDValidity: moved.UIDValidity}
		texts, _ := bodiesOf(t, s, to, moved.UIDs[uids[0]], moved.UIDs[uids[5]])
		if texts[moved.UIDs[uids[0]]] != letter(0) || texts[moved.UIDs[uids[5]]] != letter(5) {
			t.Errorf("COPYUID pairs are wrong: %v, %v", moved.UIDs, texts)
		}
	}

	// Removal, with a message that somebody else has marked.
	if _, refused, err := s.Store(ctx, at, mail.NewUIDSet(uids[3]), true, mail.SystemFlags(mail.Deleted)); err != nil || len(refused) != 0 {
		t.Fatalf("Store: %v, %v", refused, err)
	}
	pending, err := s.Expunge(ctx, at, mail.NewUIDSet(uids[1]))
	if err != nil || caps.UIDPlus != pending.IsEmpty() {
		t.Errorf("UIDPLUS %v, pending %v, %v", caps.UIDPlus, pending, err)
	}
	if kept, err := s.Fetch(ctx, at, mail.NewUIDSet(uids[3]), remote.FetchItems{}); err != nil || len(kept) != 1 {
		t.Errorf("somebody else's message was removed: %v, %v", kept, err)
	}
	if pending, err = s.Expunge(ctx, at, mail.NewUIDSet(uids[1], uids[3])); err != nil || !pending.IsEmpty() {
		t.Errorf("all that is marked is ours, pending %v, %v", pending, err)
	}
	if gone, err := s.Fetch(ctx, at, mail.NewUIDSet(uids[1], uids[3]), remote.FetchItems{}); err != nil || len(gone) != 0 {
		t.Errorf("not removed: %v, %v", gone, err)
	}

	// Another UIDVALIDITY.
	wrong := remote.Box{Name: name, UIDValidity: at.UIDValidity + 1}
	if _, err := s.Changes(ctx, wrong, since(ch, uids...)); !errors.Is(err, remote.ErrUIDValidity) {
		t.Errorf("Changes under another UIDVALIDITY: %v", err)
	}
	if _, err := s.Expunge(ctx, wrong, mail.NewUIDSet(uids[2])); !errors.Is(err, remote.ErrUIDValidity) {
		t.Errorf("Expunge under another UIDVALIDITY: %v", err)
	}

	// Names.
	other, err := s.MailboxName([]string{"Träume"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Rename(ctx, target, other); err != nil {
		t.Fatal(err)
	}
	if box, ok := mailboxNamed(t, s, other); !ok || box.Status == nil || box.Status.Messages != 2 {
		t.Errorf("after a rename: %+v", box)
	}
	if err := s.Delete(ctx, other); err != nil {
		t.Fatal(err)
	}
	if box, ok := mailboxNamed(t, s, other); ok && box.Selectable {
		t.Errorf("after a deletion: %+v", box)
	}
	if st, err := s.Status(ctx, name); err != nil || st.Messages == 0 || st.UIDValidity != at.UIDValidity {
		t.Errorf("Status: %+v, %v", st, err)
	}
	if len(s.Warnings()) > 0 {
		t.Logf("warnings: %q", s.Warnings())
	}
}

func mailboxNamed(t *testing.T, s remote.Session, name string) (remote.Mailbox, bool) {
	t.Helper()
	list, err := s.Mailboxes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if m.Name == name {
			return m, true
		}
	}
	return remote.Mailbox{}, false
}

// checkFlags compares the flags that a reading found, of the messages in want.
func checkFlags(t *testing.T, ch remote.Changes, want map[mail.UID]mail.Flags) {
	t.Helper()
	got := map[mail.UID]mail.Flags{}
	for _, m := range ch.Flags {
		got[m.UID] = m.Flags
	}
	for u, flags := range want {
		if f, ok := got[u]; !ok || !f.Equal(flags) {
			t.Errorf("message %d is read with flags %q, want %q", u, f, flags)
		}
	}
	if ch.Selected.HighestModSeq != 0 && len(got) != len(want) {
		t.Errorf("flags of %v were read, want those of %v only", got, want)
	}
}

// extensions are those without which everything must work as well.
var extensions = []string{"UIDPLUS", "CONDSTORE", "QRESYNC", "MOVE", "ESEARCH", "LIST-STATUS", "LIST-EXTENDED", "LITERAL+",
	"ENABLE", "SPECIAL-USE", "NAMESPACE", "UNSELECT", "ID", "SASL-IR"}

func TestDovecot(t *testing.T) {
	for _, o := range []servers.Options{
		{}, {Format: "maildir"}, {Separator: ".", Prefix: "INBOX."}, {Without: []string{"*"}}, {Without: []string{"QRESYNC", "CONDSTORE"}},
	} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			s := servers.Dovecot(t, o)
			exercise(t, configFor(s), s.Client(t))
		})
	}
}

func TestDovecotByTunnel(t *testing.T) {
	s := servers.Dovecot(t, servers.Options{})
	cfg := configFor(s)
	cfg.Transport = transport.Config{Host: "pipe", Tunnel: s.Tunnel}
	cfg.Secret = nil
	exercise(t, cfg, s.Client(t))
}

func TestDovecotWithoutEachExtension(t *testing.T) {
	without := [][]string{{"LITERAL+", "LITERAL-"}, {"CONDSTORE", "QRESYNC"}, extensions}
	for _, name := range extensions {
		without = append(without, []string{name})
	}
	for _, names := range without {
		t.Run(strings.Join(names, " "), func(t *testing.T) {
			s := servers.Dovecot(t, servers.Options{})
			cfg := configFor(s)
			cfg.Disable = names
			exercise(t, cfg, s.Client(t))
		})
	}
}

func TestCyrus(t *testing.T) {
	for _, o := range []servers.Options{{}, {Separator: ".", Prefix: "INBOX."}} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			s := servers.Cyrus(t, o)
			exercise(t, configFor(s), s.Client(t))
		})
	}
}

func TestCourier(t *testing.T) {
	s := servers.Courier(t, servers.Options{})
	exercise(t, configFor(s), s.Client(t))
}

func TestMailboxIDSurvivesARename(t *testing.T) {
	for _, s := range []*servers.Server{servers.Dovecot(t, servers.Options{}), servers.Cyrus(t, servers.Options{})} {
		t.Run(s.Name, func(t *testing.T) {
			session := dial(t, configFor(s))
			ctx := t.Context()
			id := func(name string) string {
				box, found := mailboxNamed(t, session, name)
				if !found || box.Status == nil {
					t.Fatalf("%s: %+v", name, box)
				}
				sel, err := session.Select(ctx, name)
				if err != nil {
					t.Fatal(err)
				}
				return box.Status.MailboxID + sel.MailboxID // one of them has it
			}
			if err := session.Create(ctx, "before"); err != nil {
				t.Fatal(err)
			}
			first := id("before")
			if err := session.Rename(ctx, "before", "after"); err != nil {
				t.Fatal(err)
			}
			if second := id("after"); first == "" || second != first || first == id("INBOX") {
				t.Errorf("identity %q became %q", first, second)
			}
		})
	}
}

func TestRoundTrips(t *testing.T) {
	s := servers.Dovecot(t, servers.Options{})
	session := dial(t, configFor(s))
	ctx := t.Context()
	before := int64(0)
	trips := func(what string, most int64) {
		t.Helper()
		now := session.Traffic().RoundTrips
		if now-before > most {
			t.Errorf("%s took %d round trips, not %d", what, now-before, most)
		}
		before = now
	}
	trips("signing in", 3) // by SCRAM
	if _, err := session.Mailboxes(ctx); err != nil {
		t.Fatal(err)
	}
	trips("the list of mailboxes", 1)
	if _, ch, err := session.MailboxesAnd(ctx, "INBOX"); err != nil || ch == nil {
		t.Fatalf("%v, %v", ch, err)
	}
	trips("the list of mailboxes and a reading", 1)
	fates := appendAll(t, session, "INBOX", upload(letter(1), mail.Flags{}, time.Time{}), upload(letter(2), mail.Flags{}, time.Time{}))
	trips("storing two messages", 2)
	box := remote.Box{Name: "INBOX", UIDValidity: fates[0].UIDValidity}
	ch, err := session.Changes(ctx, box, remote.Since{})
	if err != nil {
		t.Fatal(err)
	}
	trips("the first reading", 1)
	if _, err := session.Changes(ctx, box, since(ch, uidsOf(ch.New)...)); err != nil {
		t.Fatal(err)
	}
	trips("another reading", 1)
	bodiesOf(t, session, box, uidsOf(ch.New)...)
	trips("two bodies", 1)
	if pending, err := session.Expunge(ctx, box, uidSet(uidsOf(ch.New)...)); err != nil || !pending.IsEmpty() {
		t.Fatalf("%v, %v", pending, err)
	}
	trips("removing two messages", 2) // QRESYNC names what is gone
}
