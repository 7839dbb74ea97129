package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

func dial(t *testing.T, s *Server) remote.Session {
	t.Helper()
	c, err := s.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func uploads(texts ...string) []remote.Upload {
	var out []remote.Upload
	for _, text := range texts {
		out = append(out, remote.Upload{Size: int64(len(text)), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(text)), nil
		}})
	}
	return out
}

// fates appends texts and says of each "sent", "done" or "refused CODE", and what INBOX holds then.
func fates(t *testing.T, s *Server, texts ...string) (fate []string, held []string, err error) {
	t.Helper()
	fate = make([]string, len(texts))
	_, err = dial(t, s).Append(t.Context(), remote.Box{Name: "INBOX"}, 0, uploads(texts...), func(i int) { fate[i] = "sent" }, func(i int, r remote.Appended) {
		fate[i] = "done"
		if e, ok := errors.AsType[*remote.Error](r.Err); ok {
			fate[i] = "refused " + e.Code
		}
	})
	return fate, inbox(s), err
}

func inbox(s *Server) []string {
	box, _ := s.Snapshot().Mailbox("INBOX")
	var out []string
	for _, m := range box.Messages {
		out = append(out, m.Raw)
	}
	return out
}

// on makes a Fault for one moment of one upload.
func on(i int, after bool, kind Kind) func(Step) Action {
	return func(s Step) Action {
		if s.Op == "append" && s.Index == i && s.After == after {
			return Action{Kind: kind, Code: "OVERQUOTA"}
		}
		return Action{}
	}
}

func TestAppendFaults(t *testing.T) {
	for _, c := range []struct {
		name       string
		window     int
		fault      func(Step) Action
		fate, held string
		ghosts     string // what INBOX holds after the ghosts arrived
		dead       bool
	}{
		{"no fault", 1, nil, "done done done", "a b c", "a b c", false},
		{"lost before", 1, on(1, false, Drop), "done sent ", "a", "a", true},
		{"lost before, pipelined", 3, on(1, false, Drop), "done sent sent", "a", "a", true},
		{"lost after", 1, on(1, true, Drop), "done sent ", "a b", "a b", true},
		{"silence after", 1, on(1, true, Silence), "done sent ", "a b", "a b", true},
		{"refused", 2, on(1, false, Refuse), "done refused OVERQUOTA done", "a c", "a c", false},
		{"ghost", 1, on(1, false, Ghost), "done sent ", "a", "a b", true},
		{"ghosts, pipelined", 3, on(1, false, Ghost), "done sent sent", "a", "a b c", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(Options{Window: c.window, Fault: c.fault})
			fate, held, err := fates(t, s, "a", "b", "c")
			if got := strings.Join(fate, " "); got != c.fate {
				t.Errorf("fates are %q, want %q", got, c.fate)
			}
			if got := strings.Join(held, " "); got != c.held {
				t.Errorf("INBOX holds %q, want %q", got, c.held)
			}
			if remote.Dead(err) != c.dead {
				t.Errorf("the error is %v", err)
			}
			s.ReleaseGhosts()
			if got := strings.Join(inbox(s), " "); got != c.ghosts || s.Ghosts() != 0 {
				t.Errorf("later INBOX holds %q, want %q", got, c.ghosts)
			}
		})
	}
}

// TestPartsAndGhosts: a dead connection's command is done in part, or as a whole when it is over.
func TestPartsAndGhosts(t *testing.T) {
	all := mail.NewUIDSet(1, 2, 3)
	acts := map[string]func(remote.Session, remote.Box) error{
		"store": func(c remote.Session, b remote.Box) error {
			_, _, err := c.Store(t.Context(), b, all, true, mail.NewFlags(`\Seen`))
			return err
		},
		"move":    func(c remote.Session, b remote.Box) error { _, err := c.Move(t.Context(), b, all, "Work"); return err },
		"copy":    func(c remote.Session, b remote.Box) error { _, err := c.Move(t.Context(), b, all, "Work"); return err },
		"expunge": func(c remote.Session, b remote.Box) error { _, err := c.Expunge(t.Context(), b, all); return err },
		"create":  func(c remote.Session, _ remote.Box) error { return c.Create(t.Context(), "New") },
		"append": func(c remote.Session, b remote.Box) error {
			_, err := c.Append(t.Context(), b, 0, uploads("long"), func(int) {}, func(int, remote.Appended) {})
			return err
		},
	}
	for _, tt := range []struct{ op, part, ghost string }{
		{"store", "INBOX a+ b+ c; Work", "INBOX a+ b+ c+; Work"},
		{"move", "INBOX b c; Work a b", "INBOX; Work a b c"},
		{"copy", "INBOX a b c; Work a b", "INBOX a b c; Work a b c"},
		{"expunge", "INBOX c+; Work", "INBOX; Work"},
		{"create", "INBOX a b c; Work", "INBOX a b c; New; Work"},
		{"append", "INBOX a b c lo; Work", "INBOX a b c long; Work"},
	} {
		for kind, want := range map[Kind]string{Part: tt.part, Ghost: tt.ghost} {
			o := Full()
			o.Move = tt.op == "move"
			s := New(o)
			s.CreateMailbox("Work")
			for _, text := range []string{"a", "b", "c"} {
				s.Append("INBOX", text, mail.Flags{}, time.Time{})
			}
			s.SetFault(func(st Step) Action {
				if st.Op == tt.op && !st.After {
					return Action{Kind: kind}
				}
				return Action{}
			})
			box, _ := s.Snapshot().Mailbox("INBOX")
			if err := acts[tt.op](dial(t, s), remote.Box{Name: "INBOX", UIDValidity: box.UIDValidity}); !remote.Dead(err) {
				t.Errorf("%s: the error is %v", tt.op, err)
			}
			c := s.Clone()
			c.ReleaseGhosts()
			var parts []string
			for _, b := range c.Snapshot().Mailboxes {
				part := b.Name
				for _, m := range b.Messages {
					part += " " + m.Raw
					if !m.Flags.IsZero() {
						part += "+"
					}
				}
				parts = append(parts, part)
			}
			if got := strings.Join(parts, "; "); got != want {
				t.Errorf("%s, fault %d: the server holds %q, want %q", tt.op, kind, got, want)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		fate string
	}{
		{"size", Options{AppendLimit: 3}, "done refused TOOBIG"},
		{"quota", Options{Quota: 6}, "done refused OVERQUOTA"},
		{"one message refused", Options{Refuse: func(s Step) Action {
			if s.Index == 1 {
				return Action{Kind: Refuse, Code: "UNAVAILABLE"}
			}
			return Action{}
		}}, "done refused UNAVAILABLE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fate, _, err := fates(t, New(c.o), "abc", "abcd")
			if got := strings.Join(fate, " "); got != c.fate || err != nil {
				t.Errorf("fates are %q, %v, want %q", got, err, c.fate)
			}
		})
	}
	s := New(Options{AppendLimit: 3})
	if got := dial(t, s).Capabilities().AppendLimit; got != 3 {
		t.Errorf("the announced limit is %d", got)
	}
	s = New(Options{AppendLimit: 3, HideAppendLimit: true})
	if got := dial(t, s).Capabilities().AppendLimit; got != 0 {
		t.Errorf("the hidden limit is announced as %d", got)
	}
}

// TestFaultsEverywhere lets each step of a session of all calls be the one where the connection is lost:
// then every further call fails, and the same history without the fault gives the same steps.
func TestFaultsEverywhere(t *testing.T) {
	clean := New(Full())
	if err := everything(t.Context(), clean); err != nil {
		t.Fatal(err)
	}
	again := New(Full())
	if err := everything(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(clean.Snapshot(), again.Snapshot(), cmp.Comparer(mail.Flags.Equal)); diff != "" {
		t.Fatalf("the same acts give another end:\n%s", diff)
	}
	for n := 1; n <= clean.Steps(); n++ {
		for _, kind := range []Kind{Drop, Silence, Ghost, Cut, Part} {
			s := New(Full())
			s.SetFault(At(n, Action{Kind: kind}))
			if err := everything(t.Context(), s); !remote.Dead(err) {
				t.Errorf("step %d, fault %d: %v", n, kind, err)
			}
			if s.Steps() != n {
				t.Errorf("after the fault at step %d there were steps up to %d", n, s.Steps())
			}
		}
	}
}

// everything makes one session do all it can.
func everything(ctx context.Context, s *Server) error {
	c, err := s.Dial(ctx)
	if err != nil {
		return err
	}
	var steps []error
	add := func(err error) { steps = append(steps, err) }
	_, err = c.Mailboxes(ctx)
	add(err)
	add(c.Create(ctx, "Work"))
	add(c.Rename(ctx, "Work", "Play"))
	_, err = c.Append(ctx, remote.Box{Name: "INBOX"}, 1, uploads("a", "b"), func(int) {}, func(int, remote.Appended) {})
	add(err)
	sel, err := c.Select(ctx, "INBOX")
	add(err)
	box := remote.Box{Name: "INBOX", UIDValidity: sel.UIDValidity}
	_, err = c.Changes(ctx, box, remote.Since{})
	add(err)
	one := mail.NewUIDSet(1)
	_, err = c.Fetch(ctx, box, one, remote.FetchItems{Header: true})
	add(err)
	_, err = c.Bodies(ctx, box, one, func(_ remote.Message, r io.Reader) error { _, err := io.ReadAll(r); return err })
	add(err)
	_, _, err = c.Store(ctx, box, one, true, mail.SystemFlags(mail.Seen))
	add(err)
	_, err = c.Move(ctx, box, one, "Play")
	add(err)
	_, err = c.Expunge(ctx, box, mail.NewUIDSet(2))
	add(err)
	add(c.Delete(ctx, "Play"))
	_, err = c.Status(ctx, "INBOX")
	add(err)
	var first error
	for i, err := range steps {
		if first != nil && !remote.Dead(err) {
			return fmt.Errorf("call %d after the session died gives %w", i, err)
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func TestCut(t *testing.T) {
	s := New(Options{})
	s.Append("INBOX", "0123456789", mail.Flags{}, time.Time{})
	c := dial(t, s)
	sel, err := c.Select(t.Context(), "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	s.SetFault(func(step Step) Action {
		if step.Op == "body" {
			return Action{Kind: Cut}
		}
		return Action{}
	})
	var got string
	_, err = c.Bodies(t.Context(), remote.Box{Name: "INBOX", UIDValidity: sel.UIDValidity}, mail.NewUIDSet(1), func(_ remote.Message, r io.Reader) error {
		b, err := io.ReadAll(r)
		got = string(b)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the broken body ends with %v", err)
		}
		return err
	})
	if got != "01234" || !remote.Dead(err) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestDialFaults(t *testing.T) {
	for want, a := range map[remote.Class]Action{
		remote.Auth:        {Kind: Refuse, Code: "AUTHENTICATIONFAILED"},
		remote.Unavailable: {Kind: Refuse, Code: "UNAVAILABLE", RetryAfter: time.Minute},
		remote.Unreachable: {Kind: Drop},
	} {
		_, err := New(Options{Fault: At(1, a)}).Dial(t.Context())
		if got := remote.ClassOf(err); got != want {
			t.Errorf("%+v gives %v, of class %d, want %d", a, err, got, want)
		}
	}
}

// TestActs covers the acts of the second client and what the switches per mailbox do.
func TestActs(t *testing.T) {
	s := New(Full())
	s.CreateMailbox("Work/2024")
	uid := s.Append("INBOX", "a", mail.NewFlags("$Label"), time.Time{})
	copies := s.Copy("INBOX", "Work/2024", uid)
	moved := s.Move("INBOX", "Work/2024", uid)
	s.RenameMailbox("Work", "Play")
	if got := s.Snapshot().Names(); !slices.Equal(got, []string{"INBOX", "Play/2024"}) {
		t.Fatalf("mailboxes are %q", got)
	}
	box, _ := s.Snapshot().Mailbox("Play/2024")
	if len(box.Messages) != 2 || box.Messages[0].UID != copies[0] || box.Messages[1].UID != moved[0] || box.Messages[0].EmailID != box.Messages[1].EmailID {
		t.Errorf("after a copy and a move: %s", s.Snapshot())
	}
	s.Renumber("Play/2024")
	renumbered, _ := s.Snapshot().Mailbox("Play/2024")
	if renumbered.UIDValidity == box.UIDValidity || renumbered.ID != box.ID || len(renumbered.Messages) != 2 {
		t.Errorf("renumbered: %s", s.Snapshot())
	}
	s.Recreate("Play/2024", true)
	recreated, _ := s.Snapshot().Mailbox("Play/2024")
	if recreated.UIDValidity != renumbered.UIDValidity || recreated.ID == box.ID || len(recreated.Messages) != 0 {
		t.Errorf("recreated: %s", s.Snapshot())
	}
	s.SetUIDNext("INBOX", 4294967290)
	if uid := s.Append("INBOX", "late", mail.Flags{}, time.Time{}); uid != 4294967290 {
		t.Errorf("the UID after SetUIDNext is %d", uid)
	}
}

func TestSwitches(t *testing.T) {
	ctx := t.Context()
	s := New(Full())
	c := dial(t, s)
	uid := mail.NewUIDSet(s.Append("INBOX", "a", mail.Flags{}, time.Time{}))
	sel, err := c.Select(ctx, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	box := remote.Box{Name: "INBOX", UIDValidity: sel.UIDValidity}

	s.SetPermanent("INBOX", mail.NewFlags(`\Seen`, "$kept"), false)
	if _, _, err := c.Store(ctx, box, uid, true, mail.NewFlags(`\Seen`, `\Flagged`, "$Kept", "other")); err != nil {
		t.Fatal(err)
	}
	if got := s.Snapshot().Mailboxes[0].Messages[0].Flags; !got.Equal(mail.NewFlags(`\Seen`, "$kept")) {
		t.Errorf("of the flags %q were kept", got)
	}

	s.SetReadOnly("INBOX", true)
	_, no, err := c.Store(ctx, box, uid, false, mail.SystemFlags(mail.Seen))
	if err != nil || !errors.Is(no[0], remote.ErrReadOnly) {
		t.Errorf("storing in a read-only mailbox: %v, %v", no, err)
	}
	if _, err := c.Expunge(ctx, box, uid); !errors.Is(err, remote.ErrReadOnly) || remote.ClassOf(err) != remote.Refused {
		t.Errorf("expunging in a read-only mailbox: %v", err)
	}
	if sel, err := c.Select(ctx, "INBOX"); err != nil || !sel.ReadOnly || !sel.Keeps(mail.SystemFlags(mail.Seen)).IsZero() {
		t.Errorf("a read-only mailbox opens as %+v, %v", sel, err)
	}

	s.SetReadOnly("INBOX", false)
	s.SetNoModSeq("INBOX", true)
	if st, err := c.Status(ctx, "INBOX"); err != nil || st.HighestModSeq != 0 {
		t.Errorf("without mod-sequences: %+v, %v", st, err)
	}
	s.SetUIDValidity("INBOX", 1<<40)
	if st, err := c.Status(ctx, "INBOX"); err != nil || st.UIDValidity != 1<<40 {
		t.Errorf("with a large UIDVALIDITY: %+v, %v", st, err)
	}
	s.SetSpecialUse("INBOX", `\Inbox`)
	if list, err := c.Mailboxes(ctx); err != nil || !slices.Equal(list[0].SpecialUse, []string{`\Inbox`}) {
		t.Errorf("listed: %+v, %v", list, err)
	}
}

func TestKeywordLimit(t *testing.T) {
	ctx := t.Context()
	s := New(Options{KeywordLimit: 2})
	uid := s.Append("INBOX", "a", mail.NewFlags("one", "two"), time.Time{})
	c := dial(t, s)
	sel, err := c.Select(ctx, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	box := remote.Box{Name: "INBOX", UIDValidity: sel.UIDValidity}
	_, no, err := c.Store(ctx, box, mail.NewUIDSet(uid), true, mail.NewFlags("three"))
	if err != nil || remote.ClassOf(no[0]) != remote.Refused {
		t.Errorf("a third keyword: %v, %v", no, err)
	}
	if _, no, err := c.Store(ctx, box, mail.NewUIDSet(uid), true, mail.NewFlags("ONE")); err != nil || len(no) > 0 {
		t.Errorf("a keyword that is there: %v, %v", no, err)
	}
}
