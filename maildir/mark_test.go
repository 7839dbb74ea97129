package maildir

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

func mustMark(t testing.TB, s *Store, f mail.FolderName) Mark {
	t.Helper()
	m, err := s.Mark(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMarkTellsEveryChange: each kind of change makes another mark, and nothing else does.
func TestMarkTellsEveryChange(t *testing.T) {
	const f = mail.FolderName("Archive/2024")
	changes := []struct {
		what string
		do   func(dir string) error
		want bool // a change
	}{
		{"a message in new", func(dir string) error { return os.WriteFile(filepath.Join(dir, "new", "m"), nil, 0o600) }, true},
		{"moved to cur", func(dir string) error {
			return os.Rename(filepath.Join(dir, "new", "m"), filepath.Join(dir, "cur", "m:2,"))
		}, true},
		{"flagged", func(dir string) error {
			return os.Rename(filepath.Join(dir, "cur", "m:2,"), filepath.Join(dir, "cur", "m:2,S"))
		}, true},
		{"a message, and the directory's time set back", func(dir string) error {
			cur := filepath.Join(dir, "cur")
			info, err := os.Stat(cur)
			if err != nil {
				return err
			}
			return errors.Join(os.WriteFile(filepath.Join(cur, "n"), nil, 0o600), os.Chtimes(cur, info.ModTime(), info.ModTime()))
		}, true},
		{"removed", func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "cur", "m:2,S")), os.Remove(filepath.Join(dir, "cur", "n")))
		}, true},
		{"keywords", func(dir string) error { return os.WriteFile(filepath.Join(dir, keywordsFile), []byte("0 a\n"), 0o600) }, true},
		{"keywords in place", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, keywordsFile), []byte("0 a\n1 b\n"), 0o600)
		}, true},
		{"cur put in place of another", func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "cur"), filepath.Join(dir, "old")), os.Mkdir(filepath.Join(dir, "cur"), 0o700))
		}, true},
		{"the folder renamed there and back", func(dir string) error {
			return errors.Join(os.Rename(dir, dir+"x"), os.Rename(dir+"x", dir))
		}, true},
		{"a folder beside it", func(dir string) error { return os.Mkdir(filepath.Join(filepath.Dir(dir), "2025"), 0o700) }, true},
		{"cur gone", func(dir string) error { return os.Remove(filepath.Join(dir, "cur")) }, true},
		{"nothing", func(string) error { return nil }, false},
		{"a file read", func(dir string) error { _, err := os.ReadDir(filepath.Join(dir, "new")); return err }, false},
		{"a delivery begun in tmp", func(dir string) error { return os.WriteFile(filepath.Join(dir, "tmp", "x"), nil, 0o600) }, false},
		{"the state database", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "..", "..", ".satchel.db"), nil, 0o600)
		}, false},
		{"another top folder", func(dir string) error { return os.Mkdir(filepath.Join(dir, "..", "..", "Other"), 0o700) }, false},
	}
	s, root := testStore(t, Nested, f)
	before := mustMark(t, s, f)
	for _, c := range changes {
		tick(t, root)
		if err := c.do(filepath.Join(root, string(f))); err != nil {
			t.Fatal(err)
		}
		after := mustMark(t, s, f)
		if before.Equal(after) == c.want {
			t.Errorf("%s: the mark changed: %v, want %v", c.what, !c.want, c.want)
		}
		before = after
	}
}

func TestMarkOfTheRootFolder(t *testing.T) {
	s, root := testStore(t, PlusPlus, mail.Inbox)
	before := mustMark(t, s, mail.Inbox)
	tick(t, root) // makes a file in the root, as the state database does
	if !before.Equal(mustMark(t, s, mail.Inbox)) {
		t.Error("a file in the root changes the mark of the inbox")
	}
	writeFile(t, root, "cur", "m", "")
	if before.Equal(mustMark(t, s, mail.Inbox)) {
		t.Error("a message does not")
	}
}

// TestMarkIsRacy: a mark may be kept once its youngest time is older than the step in which times are kept.
func TestMarkIsRacy(t *testing.T) {
	for _, tt := range []struct {
		name   string
		age    time.Duration
		whole  bool // times are whole seconds
		remote bool
		want   bool
	}{
		{"just now", 0, false, false, true},
		{"a moment ago", 20 * time.Millisecond, false, false, false},
		{"in the future", -time.Hour, false, false, true},
		{"a second ago, in whole ones", time.Second, true, false, true},
		{"three seconds ago, in whole ones", 3 * time.Second, true, false, false},
		{"a minute ago, elsewhere", time.Minute, false, true, true},
	} {
		s, f, _ := faultStore(t, Nested)
		if err := s.CreateFolder(mail.Inbox); err != nil {
			t.Fatal(err)
		}
		f.clock, f.age, f.whole, f.remote = time.Unix(1e10, 5), tt.age, tt.whole, tt.remote
		if m := mustMark(t, s, mail.Inbox); m.Racy != tt.want {
			t.Errorf("last change %s: racy %v", tt.name, m.Racy)
		}
		if s.Local() == tt.remote {
			t.Errorf("Local = %v", s.Local())
		}
		folders, _, err := s.Folders()
		if err != nil || folders[0].Mark.Racy != tt.want {
			t.Errorf("last change %s: Folders says racy %v (%v)", tt.name, folders, err)
		}
		if tt.want && !tt.remote {
			continue // reading such a folder waits
		}
		scan := mustScan(t, s, mail.Inbox)
		if scan.Mark.Racy != tt.want || !folders[0].Mark.Equal(scan.Mark) {
			t.Errorf("last change %s: Scan says racy %v", tt.name, scan.Mark.Racy)
		}
	}
}

// TestClockIsReadWhenNeeded: reading the file system's clock writes; marks of old folders need no new reading.
func TestClockIsReadWhenNeeded(t *testing.T) {
	s, f, _ := faultStore(t, Nested)
	for _, name := range []mail.FolderName{"A", "B", "C"} {
		if err := s.CreateFolder(name); err != nil {
			t.Fatal(err)
		}
	}
	f.age = time.Hour
	f.set(nil)
	for _, name := range []mail.FolderName{"A", "B", "C"} {
		mustMark(t, s, name)
		mustScan(t, s, name)
	}
	for _, c := range f.calls() {
		if c == "touch "+lockFile {
			t.Fatal("the clock was read")
		}
	}
}

func TestMarkIsFromBeforeTheReading(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	if err := s.CreateFolder(mail.Inbox); err != nil {
		t.Fatal(err)
	}
	f.age = time.Hour
	f.set(func(op, name string) error {
		if op == "list" && name == "INBOX/cur" {
			f.before = nil // once
			return os.WriteFile(filepath.Join(root, "INBOX", "new", "m"), nil, 0o600)
		}
		return nil
	})
	// It arrives in new when that was read already: a quiet reading after it must hold it.
	scan := mustScan(t, s, mail.Inbox)
	if len(scan.Entries) != 1 || !scan.Quiet || !scan.Mark.Equal(mustMark(t, s, mail.Inbox)) {
		t.Errorf("%+v", scan)
	}
}

func TestMarkBytes(t *testing.T) {
	s, _ := testStore(t, Nested, "A", "B")
	a, b := mustMark(t, s, "A"), mustMark(t, s, "B")
	raw, err := a.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var back Mark
	if err := back.UnmarshalBinary(raw); err != nil || !back.Equal(a) || back.Equal(b) || back.IsZero() {
		t.Errorf("comes back as %+v (%v), want %+v", back, err, a)
	}
	if err := back.UnmarshalBinary(nil); err != nil || !back.IsZero() || back.Equal(a) {
		t.Errorf("no bytes: %+v %v", back, err)
	}
}

func TestReadOnlyMaildir(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	if err := s.CreateFolder(mail.Inbox); err != nil {
		t.Fatal(err)
	}
	got := deliver(t, s, mail.Inbox, mail.NewFlags(`\Seen`), "x")
	before := treeOf(t, root)

	// A mount that came back read-only is found out at once.
	f.set(func(op, _ string) error {
		if op == "touch" {
			return syscall.EROFS
		}
		return nil
	})
	again := newStore(root, Nested, Options{FS: f})
	if err := again.check(); !errors.Is(err, ErrReadOnly) {
		t.Errorf("check on a read-only mount: %v", err)
	}
	f.set(nil)

	ro, err := Open(root, Nested, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	if scan := mustScan(t, ro, mail.Inbox); len(scan.Entries) != 1 {
		t.Errorf("Scan: %+v", scan)
	}
	if _, err := ro.Stat(mail.Inbox, got.Base); err != nil {
		t.Error(err)
	}
	seen := mail.NewFlags(`\Seen`)
	_, flagsErr := ro.SetFlags(mail.Inbox, got.Base, mail.Flags{}, seen)
	_, moveErr := ro.Move(mail.Inbox, got.Base, "A")
	_, addErr := ro.NewBatch().Add(mail.Inbox, seen, time.Now())
	for what, err := range map[string]error{
		"SetFlags": flagsErr, "Move": moveErr, "Add": addErr, "Remove": ro.Remove(mail.Inbox, got.Base, nil), "CreateFolder": ro.CreateFolder("A"),
		"RenameFolder": ro.RenameFolder("A", "B"), "RemoveFolder": ro.RemoveFolder("A"), "PurgeUndo": ro.PurgeUndo(time.Now()), "Restore": ro.Restore("A", []Kept{{Base: "m"}}, 0)[0].Err, "TidyUndo": ro.TidyUndo(), "Clean": ro.Clean(nil), "Lock": ro.Lock(),
	} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v, want ErrReadOnly", what, err)
		}
	}
	if after := treeOf(t, root); after != before {
		t.Errorf("changed:\n%s\nwas\n%s", after, before)
	}
}

// treeOf spells out all names below root, with sizes of files.
func treeOf(t testing.TB, root string) string {
	t.Helper()
	var out string
	err := filepath.Walk(root, func(p string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		out += rel + " " + info.Mode().String() + " " + info.ModTime().UTC().Format(time.RFC3339Nano) + "\n"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
