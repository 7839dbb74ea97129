package maildir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

// TestExactTimes: where the kernel is taken to give every change a time of its own, it does.
func TestExactTimes(t *testing.T) {
	s, root := realStore(t, Nested, mail.Inbox)
	if !s.fs.Kind().Exact {
		t.Skip("this system does not promise it: ", s.fs.Kind().Name)
	}
	cur, other := filepath.Join(root, "INBOX/cur"), t.TempDir()
	before := mustMark(t, s, mail.Inbox)
	for i := range 200 {
		name := fmt.Sprintf("m%d:2,", i)
		for what, change := range []func() error{
			func() error { return os.WriteFile(filepath.Join(cur, name), nil, 0o600) },
			func() error { return os.Rename(filepath.Join(cur, name), filepath.Join(cur, name+"S")) },
			func() error { return os.Rename(filepath.Join(cur, name+"S"), filepath.Join(other, name)) },
			func() error { return os.Rename(filepath.Join(other, name), filepath.Join(cur, name)) },
			func() error { return os.Link(filepath.Join(cur, name), filepath.Join(cur, "l"+name)) },
			func() error { return os.Remove(filepath.Join(cur, name)) },
		} {
			if err := change(); err != nil {
				t.Fatal(err)
			}
			after := mustMark(t, s, mail.Inbox)
			if after.Racy || after.Equal(before) {
				t.Fatalf("change %d of round %d leaves the mark as it was", what, i)
			}
			before = after
		}
	}
}

// witnessed is a store with a folder of a few messages that is being watched.
func witnessed(t *testing.T) (s *Store, root string) {
	t.Helper()
	s, root = testStore(t, Nested, mail.Inbox)
	if _, err := s.fs.Watch(); err != nil {
		t.Skip("nothing can be watched here: ", err)
	}
	for i := range 9 {
		writeFile(t, root, "INBOX/cur", fmt.Sprintf("m%d:2,S", i), "text\n")
	}
	s.Witness(mail.Inbox, mustScan(t, s, mail.Inbox).Mark)
	return s, root
}

func TestVouchForOwnChanges(t *testing.T) {
	s, _ := witnessed(t)
	check := func(what string) {
		t.Helper()
		m, ok := s.Vouch(context.Background(), mail.Inbox, true)
		if !ok || m.Racy || !m.Equal(mustMark(t, s, mail.Inbox)) {
			t.Fatalf("after %s: vouches %v, racy %v", what, ok, m.Racy)
		}
	}
	check("nothing")
	seen, flagged := mail.SystemFlags(mail.Seen), mail.SystemFlags(mail.Flagged)
	for i, out := range s.SetFlagsAll(mail.Inbox, []FlagChange{{Seen{"m0", seen}, flagged, mail.Flags{}}, {Seen{Base: "m1"}, mail.Flags{}, seen}}) {
		if out.Err != nil {
			t.Fatalf("change %d: %v", i, out.Err)
		}
	}
	check("changing flags")
	if err := s.Remove(mail.Inbox, "m2", nil); err != nil {
		t.Fatal(err)
	}
	check("removing")
	if err := s.CreateFolder("Other"); err != nil {
		t.Fatal(err)
	}
	// A new folder changes the directory above, not this one.
	if _, err := s.Move(mail.Inbox, "m3", "Other"); err != nil {
		t.Fatal(err)
	}
	check("moving away")
	deliver(t, s, mail.Inbox, mail.Flags{}, "Subject: x\n\ny\n")
	check("delivering")
}

func TestVouchNotForOthers(t *testing.T) {
	cur := func(root, name string) string { return filepath.Join(root, "INBOX/cur", name) }
	for what, change := range map[string]func(root string) error{
		"a new message":     func(root string) error { return os.WriteFile(cur(root, "x:2,"), nil, 0o600) },
		"a rename":          func(root string) error { return os.Rename(cur(root, "m5:2,S"), cur(root, "m5:2,FS")) },
		"a removal":         func(root string) error { return os.Remove(cur(root, "m5:2,S")) },
		"a link":            func(root string) error { return os.Link(cur(root, "m5:2,S"), cur(root, "m9:2,S")) },
		"coming and going":  func(root string) error { return os.Rename(cur(root, "m5:2,S"), filepath.Join(root, "m5")) },
		"another directory": func(root string) error { return os.Mkdir(filepath.Join(root, "INBOX/more"), 0o700) },
		"keywords": func(root string) error {
			return os.WriteFile(filepath.Join(root, "INBOX/dovecot-keywords"), nil, 0o600)
		},
		"the whole of cur": func(root string) error {
			if err := os.Rename(filepath.Join(root, "INBOX/cur"), filepath.Join(root, "INBOX/was")); err != nil {
				return err
			}
			return os.Mkdir(filepath.Join(root, "INBOX/cur"), 0o700)
		},
	} {
		t.Run(what, func(t *testing.T) {
			s, root := witnessed(t)
			if err := s.Remove(mail.Inbox, "m0", nil); err != nil {
				t.Fatal(err)
			}
			if err := change(root); err != nil {
				t.Fatal(err)
			}
			if err := s.Remove(mail.Inbox, "m1", nil); err != nil && what != "the whole of cur" {
				t.Fatal(err)
			}
			if _, ok := s.Vouch(context.Background(), mail.Inbox, true); ok {
				t.Error("vouches for what somebody else did")
			}
		})
	}
}

// TestWitnessOfAnotherState: what happened between the mark and the watch nobody saw.
func TestWitnessOfAnotherState(t *testing.T) {
	s, root := witnessed(t)
	mark := mustScan(t, s, mail.Inbox).Mark
	writeFile(t, root, "INBOX/new", "late", "")
	s.Witness(mail.Inbox, mark)
	if _, ok := s.Vouch(context.Background(), mail.Inbox, true); ok {
		t.Error("vouches for a folder that was not as its mark says")
	}
	s.Witness(mail.Inbox, mustScan(t, s, mail.Inbox).Mark)
	if _, ok := s.Vouch(context.Background(), mail.Inbox, true); !ok {
		t.Error("does not begin anew")
	}
}

// TestVouchForVeryMany: the system keeps only so many names, so they are asked for in between.
func TestVouchForVeryMany(t *testing.T) {
	s, root := witnessed(t)
	flagged := mail.SystemFlags(mail.Flagged)
	for range maxUnheard + maxUnheard/8 { // times two changes of two names each
		for _, c := range []FlagChange{{Add: flagged}, {Remove: flagged}} {
			if _, err := s.SetFlags(mail.Inbox, "m0", c.Add, c.Remove); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, ok := s.Vouch(context.Background(), mail.Inbox, true); !ok {
		t.Error("does not vouch for many changes")
	}
	for i := range 20_000 { // more than are kept
		if err := os.Rename(filepath.Join(root, fmt.Sprintf("INBOX/cur/m0:2,%s", []string{"S", "FS"}[i%2])),
			filepath.Join(root, fmt.Sprintf("INBOX/cur/m0:2,%s", []string{"FS", "S"}[i%2]))); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := s.Vouch(context.Background(), mail.Inbox, true); ok {
		t.Error("vouches though not all was told")
	}
}
