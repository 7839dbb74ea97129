package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

func TestSetFlagsNames(t *testing.T) {
	tests := []struct{ from, add, remove, want string }{
		{"new/m", `\Seen`, "", "cur/m:2,S"},
		{"new/m", "", `\Seen`, "new/m"},
		{"new/m:2,S", "", `\Seen`, "new/m:2,"},
		{"new/m:2,S", `\Seen`, "", "cur/m:2,S"},
		{"cur/m:2,S", "", `\Seen`, "cur/m:2,"},
		{"cur/m:2,", `\Flagged \Seen`, "", "cur/m:2,FS"},
		{"cur/m:2,FS", `\Seen`, `\Flagged`, "cur/m:2,S"},
		{"cur/m:2,S", `\Seen`, `\Seen`, "cur/m:2,S"},
		{"cur/m", `\Seen`, "", "cur/m:2,S"},
		{"cur/m", "", `\Seen`, "cur/m"},
		{"cur/m:2,SQz", `\Draft`, `\Seen`, "cur/m:2,DQz"},
		{"cur/m:2,S,more", `\Answered`, "", "cur/m:2,RS,more"},
		{"cur/m;2,S", `\Answered`, "", "cur/m;2,RS"},
		{"cur/m!2,", `\Deleted`, "", "cur/m!2,T"},
		{"cur/m:1,x", `\Seen`, "", "cur/m:1,x:2,S"},
		{"cur/m:2,S:2,F", "", `\Flagged`, "cur/m:2,S:2,"},
	}
	for _, tt := range tests {
		s, root := testStore(t, Nested, mail.Inbox)
		writeFile(t, root, "INBOX", tt.from, "x")
		base := parseFileName(filepath.Base(tt.from)).base
		e, err := s.SetFlags(mail.Inbox, base, mail.ParseFlags(tt.add), mail.ParseFlags(tt.remove))
		got := "cur/" + e.File
		if e.New {
			got = "new/" + e.File
		}
		if err != nil || got != tt.want || e.Base != base {
			t.Errorf("%s +%s -%s: %s %v, want %s", tt.from, tt.add, tt.remove, got, err, tt.want)
		}
		if _, err := os.Stat(filepath.Join(root, "INBOX", tt.want)); err != nil {
			t.Errorf("%s: %v", tt.from, err)
		}
		if scan := mustScan(t, s, mail.Inbox); len(scan.Entries) != 1 || !scan.Entries[0].Flags.Equal(e.Flags) {
			t.Errorf("%s: %+v, want %+v", tt.from, scan.Entries, e)
		}
		if err := s.Flush(); err != nil {
			t.Error(err)
		}
	}
	s, _ := testStore(t, Nested, mail.Inbox)
	if _, err := s.SetFlags(mail.Inbox, "none", mail.NewFlags(`\Seen`), mail.Flags{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such message: %v", err)
	}
	if _, err := s.SetFlags("None", "m", mail.NewFlags(`\Seen`), mail.Flags{}); !errors.Is(err, ErrNoFolder) {
		t.Errorf("no such folder: %v", err)
	}
}

// TestFlagsMergeWithAReaders: a reader renames the file between our look and our rename.
func TestFlagsMergeWithAReaders(t *testing.T) {
	for _, op := range []string{"flags", "move", "remove"} {
		s, f, root := faultStore(t, Nested)
		f.age = time.Hour
		for _, name := range []mail.FolderName{mail.Inbox, "To"} {
			if err := s.CreateFolder(name); err != nil {
				t.Fatal(err)
			}
		}
		cur := filepath.Join(root, "INBOX", "cur")
		writeFile(t, cur, "m:2,", "x")
		mustScan(t, s, mail.Inbox)
		letters, times := []string{"", "F", "FR", "FRT"}, 0
		f.set(func(op, name string) error {
			if (op == "renamenew" || op == "remove") && times < 3 {
				times++
				return os.Rename(filepath.Join(cur, "m:2,"+letters[times-1]), filepath.Join(cur, "m:2,"+letters[times]))
			}
			return nil
		})
		var e Entry
		var err error
		switch op {
		case "flags":
			e, err = s.SetFlags(mail.Inbox, "m", mail.NewFlags(`\Seen`), mail.NewFlags(`\Answered`))
			if e.File != "m:2,FST" {
				t.Errorf("flags: %s, want the reader's and ours", e.File)
			}
		case "move":
			e, err = s.Move(mail.Inbox, "m", "To")
			if e.File != "m:2,FRT" {
				t.Errorf("move: %s, want the reader's flags", e.File)
			}
		case "remove":
			err = s.Remove(mail.Inbox, "m", nil)
		}
		if err != nil || times != 3 {
			t.Errorf("%s: %v after %d renames", op, err, times)
		}
		if left := files(t, cur); op != "flags" && len(left) != 0 {
			t.Errorf("%s: left %v", op, left)
		}
	}
}

func TestReaderThatNeverStops(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	f.age = time.Hour
	if err := s.CreateFolder(mail.Inbox); err != nil {
		t.Fatal(err)
	}
	cur := filepath.Join(root, "INBOX", "cur")
	names := []string{"m:2,", "m:2,F"}
	writeFile(t, cur, names[0], "x")
	f.set(func(op, _ string) error {
		if op == "renamenew" {
			names[0], names[1] = names[1], names[0]
			return os.Rename(filepath.Join(cur, names[1]), filepath.Join(cur, names[0]))
		}
		return nil
	})
	if _, err := s.SetFlags(mail.Inbox, "m", mail.NewFlags(`\Seen`), mail.Flags{}); !errors.Is(err, ErrBusy) {
		t.Errorf("%v, want ErrBusy", err)
	}
}

func TestSetFlagsWhenTheNameIsTaken(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	inbox := filepath.Join(root, "INBOX")
	writeFile(t, inbox, "new", "m", "older")
	tick(t, root)
	writeFile(t, inbox, "cur", "m:2,S", "younger")
	e, err := s.SetFlags(mail.Inbox, "m", mail.NewFlags(`\Seen`), mail.Flags{})
	if err != nil || e.File != "m:2,S" {
		t.Fatalf("%+v %v", e, err)
	}
	texts := map[string]bool{}
	for _, e := range mustScan(t, s, mail.Inbox).Entries {
		texts[readWire(t, s, mail.Inbox, e.Base, false)] = true
	}
	if !texts["older"] || !texts["younger"] {
		t.Errorf("there are %v", texts)
	}
}

// TestRenameThatWasCutOff: a rename by link and unlink was cut off, so that the file has its old name and its new one. Done again it is
// finished, whichever of the names is listed, and nothing else of the message is left.
func TestRenameThatWasCutOff(t *testing.T) {
	seen, flagged, deleted := mail.NewFlags(`\Seen`), mail.NewFlags(`\Flagged`), mail.NewFlags(`\Deleted`)
	for _, tc := range []struct {
		was, now    string
		add, remove mail.Flags
		wasIs       mail.Flags // flags of was
	}{
		{was: "m:2,S", now: "m:2,ST", add: deleted, wasIs: seen},
		{was: "m:2,S", now: "m:2,FS", add: flagged, wasIs: seen},
		{was: "m:2,F", now: "m:2,FS", add: seen, wasIs: flagged},
		{was: "m:2,FS", now: "m:2,S", remove: flagged, wasIs: seen.Plus(flagged)},
		{was: "m:2,S", now: "m:2,", remove: seen, wasIs: seen},
	} {
		for _, bulk := range []bool{false, true} {
			for _, forgotten := range []bool{false, true} {
				s, root := realStore(t, Nested, "INBOX")
				cur := filepath.Join(root, "INBOX", "cur")
				writeFile(t, cur, tc.was, "x")
				if err := os.Link(filepath.Join(cur, tc.was), filepath.Join(cur, tc.now)); err != nil {
					t.Fatal(err)
				}
				known := knowing([]Entry{{Base: "m", Flags: tc.wasIs}})
				scan, err := s.Scan(t.Context(), "INBOX", known)
				if err != nil || len(scan.Entries) != 1 || scan.Entries[0].File != tc.was || known.Taken("m") {
					t.Fatalf("%+v: %+v %v", tc, scan, err)
				}
				if forgotten { // as where there are many folders
					for i := range maxListings {
						s.listings.put(mail.FolderName(fmt.Sprint(i)), &listing{}, nil)
					}
				}
				for range 2 {
					if bulk {
						err = s.SetFlagsAll("INBOX", []FlagChange{{Seen{"m", tc.wasIs}, tc.add, tc.remove}})[0].Err
					} else {
						_, err = s.SetFlags("INBOX", "m", tc.add, tc.remove)
					}
					if err != nil {
						t.Errorf("%+v: %v", tc, err)
					}
				}
				if got := files(t, cur); !slices.Equal(got, []string{tc.now}) {
					t.Errorf("%+v: there is %v", tc, got)
				}
			}
		}
	}
}

// TestOneNameIsNotTwo: what is found under two names may be one name, where small letters are taken for capitals, or a directory is mounted
// twice. It is never taken away as the rest of a rename.
func TestOneNameIsNotTwo(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	withFolders(t, s, root, []mail.FolderName{"INBOX", "B"})
	writeFile(t, root, "INBOX", "cur", "m:2,s", "x")
	real := f.FS
	for name, other := range map[string]string{"small letters": "INBOX/cur/m:2,S", "mounted twice": "B/cur/m:2,s"} {
		for _, links := range []uint64{0, 1, 2} {
			f.FS = aliasFS{real, strings.TrimSuffix(other, path.Base(other)), other, links}
			if s.twoNames("INBOX/cur/m:2,s", other) {
				t.Errorf("%s, links %d: two names", name, links)
			}
		}
	}
}

// aliasFS shows the directory INBOX/cur, and the file in it, once more under other names.
type aliasFS struct {
	FS
	dir, file string
	links     uint64
}

func (a aliasFS) Stat(name string) (FileInfo, error) {
	switch name {
	case a.file:
		name = "INBOX/cur/m:2,s"
	case strings.TrimSuffix(a.dir, "/"):
		name = "INBOX/cur"
	}
	info, err := a.FS.Stat(name)
	if info.Mode.IsRegular() {
		info.Links = a.links
	}
	return info, err
}

func TestMove(t *testing.T) {
	s, root := testStore(t, PlusPlus, mail.Inbox, "To")
	for _, from := range []string{"new/a", "new/b:2,S", "cur/c:2,FS", "cur/d"} {
		writeFile(t, root, from, from)
		base := parseFileName(filepath.Base(from)).base
		e, err := s.Move(mail.Inbox, base, "To")
		if err != nil || e.Base != base {
			t.Errorf("%s: %+v %v", from, e, err)
		}
		if got, err := os.ReadFile(filepath.Join(root, ".To", from)); string(got) != from {
			t.Errorf("%s: %v, want it as it was", from, err)
		}
	}
	if scan := mustScan(t, s, mail.Inbox); len(scan.Entries) != 0 {
		t.Errorf("left: %v", scan.Entries)
	}
	if e, err := s.Move("To", "a", "To"); err != nil || e.Base != "a" {
		t.Errorf("to where it is: %+v %v", e, err)
	}
	if _, err := s.Move("To", "a", "None"); !errors.Is(err, ErrNoFolder) {
		t.Errorf("to no folder: %v", err)
	}
	if _, err := s.Move(mail.Inbox, "a", "To"); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such message: %v", err)
	}
}

func TestMoveNeverOverwrites(t *testing.T) {
	for _, scanned := range []bool{false, true} {
		for _, taken := range []string{"cur/m:2,S", "cur/m:2,DFT", "new/m"} {
			s, root := testStore(t, Nested, "A", "B")
			writeFile(t, root, "A", "cur", "m:2,S", "ours")
			writeFile(t, root, "B", taken, "theirs")
			if scanned {
				mustScan(t, s, "B")
			}
			e, err := s.Move("A", "m", "B")
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			scan := mustScan(t, s, "B")
			for _, e := range scan.Entries {
				got[readWire(t, s, "B", e.Base, false)] = true
			}
			if len(scan.Entries) != 2 || !got["ours"] || !got["theirs"] {
				t.Errorf("%s: %v", taken, got)
			}
			if e.Base == "m" && (scanned || taken != "cur/m:2,DFT") {
				t.Errorf("%s, scanned %v: the name was taken, and is %+v", taken, scanned, e)
			}
		}
	}
}

// TestChangesFailAnywhere: whichever call fails, the message is there once, whole.
func TestChangesFailAnywhere(t *testing.T) {
	run := RunName(time.Unix(1e9, 0))
	for name, change := range map[string]func(s *Store) error{
		"flags": func(s *Store) error {
			_, err := s.SetFlags("A", "m", mail.NewFlags(`\Flagged`), mail.Flags{})
			return err
		},
		"move":   func(s *Store) error { _, err := s.Move("A", "m", "B/C"); return err },
		"undo":   func(s *Store) error { return s.Remove("A", "m", &Undo{Run: run}) },
		"rename": func(s *Store) error { return s.RenameFolder("A", "New/A") },
	} {
		for step := 0; ; step++ {
			s, f, root := faultStore(t, Nested)
			f.age = time.Hour
			for _, name := range []mail.FolderName{"A", "B/C"} {
				if err := s.CreateFolder(name); err != nil {
					t.Fatal(err)
				}
			}
			writeFile(t, root, "A", "new", "m:2,S", "text")
			f.failAt(step, false)
			err := errors.Join(change(s), s.Flush())
			hit := len(f.calls()) > step
			f.set(nil)
			var found []string
			if walkErr := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
				if err == nil && e.Type().IsRegular() && strings.Contains(e.Name(), "m:2,") {
					found = append(found, p)
				}
				return err
			}); walkErr != nil {
				t.Fatal(walkErr)
			}
			if len(found) != 1 {
				t.Fatalf("%s, step %d: %v (%v)", name, step, found, err)
			}
			if text, err := os.ReadFile(found[0]); string(text) != "text" {
				t.Fatalf("%s, step %d: %q %v", name, step, text, err)
			}
			if !hit {
				if err != nil {
					t.Fatal(name, err)
				}
				break
			}
		}
	}
}

func TestFlush(t *testing.T) {
	s, f, _ := faultStore(t, Nested)
	for _, name := range []mail.FolderName{"A", "B"} {
		if err := s.CreateFolder(name); err != nil {
			t.Fatal(err)
		}
	}
	var bases []string
	for range 5 {
		bases = append(bases, deliver(t, s, "A", mail.NewFlags(`\Seen`), "x").Base)
	}
	f.set(nil)
	for _, base := range bases {
		if _, err := s.Move("A", base, "B"); err != nil {
			t.Fatal(err)
		}
	}
	if slices.ContainsFunc(f.calls(), func(c string) bool { return strings.HasPrefix(c, "sync") }) {
		t.Error("a move alone makes something durable: that is for Flush, once")
	}
	f.set(nil)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	// Where the messages are now comes first: a power loss between the two leaves two names, not none.
	if got := f.calls(); !slices.Equal(got, []string{"syncdir B/cur", "syncdir A/cur"}) {
		t.Errorf("Flush: %v", got)
	}
	f.set(nil)
	if err := s.Flush(); err != nil || len(f.calls()) != 0 {
		t.Errorf("a second Flush: %v %v", f.calls(), err)
	}
	if err := s.Remove("B", bases[0], nil); err != nil {
		t.Fatal(err)
	}
	f.failAt(0, false)
	if err := s.Flush(); !errors.Is(err, errInjected) {
		t.Errorf("%v", err)
	}
	f.set(nil)
	if err := s.Flush(); !errors.Is(err, errInjected) {
		t.Errorf("a failed Flush is believed the next time: %v", err)
	}
}

func TestMoveAcrossFileSystems(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	for _, name := range []mail.FolderName{"A", "B"} {
		if err := s.CreateFolder(name); err != nil {
			t.Fatal(err)
		}
	}
	cross := func(op, name string) error {
		if op == "renamenew" && !strings.Contains(name, ownPrefix) && len(f.log) > 0 {
			last := f.log[max(0, len(f.log)-2)]
			if !strings.HasPrefix(last, "close") && !strings.HasPrefix(last, "sync ") {
				return syscall.EXDEV
			}
		}
		return nil
	}
	got := deliver(t, s, "A", mail.NewFlags(`\Seen`), "some text\r\n")
	f.set(cross)
	e, err := s.Move("A", got.Base, "B")
	f.set(nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Stat("B", e.Base)
	if err != nil || !info.ModTime.Equal(got.ModTime) || info.Size != got.FileSize {
		t.Errorf("%+v %v", info, err)
	}
	if left := slices.Concat(files(t, root, "A", "cur"), files(t, root, "B", "tmp")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	f.set(cross)
	run := RunName(time.Unix(1e9, 0))
	if err := s.Remove("B", e.Base, &Undo{Run: run}); err != nil {
		t.Fatal(err)
	}
	if kept := files(t, root, ".satchel", "undo", run, "B"); !slices.Equal(kept, []string{e.File}) {
		t.Errorf("kept %v", kept)
	}
	if left := files(t, root, "B", "cur"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestSeparatorOfTheFolder(t *testing.T) {
	for _, sep := range []string{":", ";", "!"} {
		s, root := testStore(t, Nested, mail.Inbox)
		writeFile(t, root, "INBOX", "cur", "old"+sep+"2,S", "x")
		got := deliver(t, s, mail.Inbox, mail.NewFlags(`\Seen`), "x")
		if want := got.Base + sep + "2,S"; !slices.Contains(files(t, root, "INBOX", "cur"), want) {
			t.Errorf("%q: not %s in %v", sep, want, files(t, root, "INBOX", "cur"))
		}
		writeFile(t, root, "INBOX", "cur", "plain", "x")
		if e, err := s.SetFlags(mail.Inbox, "plain", mail.NewFlags(`\Flagged`), mail.Flags{}); err != nil || e.File != "plain"+sep+"2,F" {
			t.Errorf("%q: %+v %v", sep, e, err)
		}
	}
	// A file system that can't have colons.
	s, f, root := faultStore(t, Nested)
	if err := s.CreateFolder(mail.Inbox); err != nil {
		t.Fatal(err)
	}
	f.set(func(_, name string) error {
		if strings.Contains(name, ":") {
			return syscall.EINVAL
		}
		return nil
	})
	got := deliver(t, s, mail.Inbox, mail.NewFlags(`\Seen`), "x")
	if names := files(t, root, "INBOX", "cur"); !slices.Equal(names, []string{got.Base + ";2,S"}) {
		t.Errorf("without colons: %v", names)
	}
	if names := files(t, root, "INBOX", "tmp"); len(names) != 0 {
		t.Errorf("left in tmp: %v", names)
	}
}

// TestFolderGoneWhileTryingColons: that says nothing about colons.
func TestFolderGoneWhileTryingColons(t *testing.T) {
	for _, at := range []string{"list", "remove"} {
		s, f, root := faultStore(t, Nested)
		for _, name := range []mail.FolderName{mail.Inbox, "A"} {
			if err := s.CreateFolder(name); err != nil {
				t.Fatal(err)
			}
		}
		gone := false
		f.set(func(op, name string) error {
			if op == at && !gone && strings.HasPrefix(name, "A/tmp") {
				gone = true
				return os.RemoveAll(filepath.Join(root, "A"))
			}
			return nil
		})
		b := s.NewBatch()
		if d, err := b.Add("A", mail.NewFlags(`\Seen`), time.Unix(1e9, 0)); err == nil {
			_, _ = d.Close() // its folder is gone
		}
		if !gone {
			t.Fatalf("no %s", at)
		}
		got := deliver(t, s, mail.Inbox, mail.NewFlags(`\Seen`), "x")
		if names := files(t, root, "INBOX", "cur"); !slices.Equal(names, []string{got.Base + ":2,S"}) {
			t.Errorf("gone at %s: %v", at, names)
		}
	}
}

func TestWireOfAChangedFile(t *testing.T) {
	big := strings.Repeat("line\n", wireInMemory)
	for what, change := range map[string]func(name string) error{
		"longer":  func(name string) error { return os.WriteFile(name, []byte(big+"more\n"), 0o600) },
		"shorter": func(name string) error { return os.Truncate(name, int64(len(big)-7)) },
		"edited": func(name string) error {
			now := time.Now().Add(time.Hour)
			return errors.Join(os.WriteFile(name, []byte(strings.ReplaceAll(big, "line", "LINE")), 0o600), os.Chtimes(name, now, now))
		},
		"nothing": func(string) error { return nil },
	} {
		s, root := testStore(t, Nested, mail.Inbox)
		name := writeFile(t, root, "INBOX", "cur", "m:2,", big)
		r, size, err := s.OpenWire(mail.Inbox, "m", false)
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(len(big) + wireInMemory); size != want {
			t.Errorf("%s: announced %d, want %d", what, size, want)
		}
		if err := change(name); err != nil {
			t.Fatal(err)
		}
		// As an upload reads it: exactly so many bytes, and not the end after them.
		buf := make([]byte, 4096)
		var n int64
		for n < size && err == nil {
			var m int
			m, err = r.Read(buf[:min(int64(len(buf)), size-n)])
			n += int64(m)
		}
		if changed := what != "nothing"; errors.Is(err, ErrChanged) != changed || (n == size) == changed {
			t.Errorf("%s: %d of %d bytes, %v", what, n, size, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	// A reader changing flags meanwhile is no change of the message.
	s, root := testStore(t, Nested, mail.Inbox)
	name := writeFile(t, root, "INBOX", "cur", "m:2,", big)
	r, _, err := s.OpenWire(mail.Inbox, "m", true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Rename(name, name+"S"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len(big))
	for n := 0; n < len(big); {
		m, err := r.Read(buf[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	if string(buf) != big {
		t.Error("raw bytes differ")
	}
}

func TestWireForms(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	tests := []struct {
		disk, wire string
		raw        bool
	}{
		{"", "", false}, {"a\nb\n", "a\r\nb\r\n", false}, {"a\nb\n", "a\nb\n", true}, {"a\r\nb\n", "a\r\nb\n", false},
		{"a\rb\n", "a\rb\r\n", false}, {"a", "a", false}, {"\n", "\r\n", false}, {"\r\n", "\r\n", false}, {"a\r", "a\r", false},
	}
	for _, pad := range []string{"", strings.Repeat("0123456789abcde\n", 3*wireInMemory/16)} {
		padWire := strings.ReplaceAll(pad, "\n", "\r\n")
		for _, tt := range tests {
			writeFile(t, root, "INBOX", "cur", "m:2,", pad+tt.disk)
			want := padWire + tt.wire
			if tt.raw || strings.Contains(tt.disk, "\r\n") {
				want = pad + tt.wire
			}
			if got := readWire(t, s, mail.Inbox, "m", tt.raw); got != want {
				t.Errorf("%q raw %v after %d bytes: %q", tt.disk, tt.raw, len(pad), got[max(0, len(got)-20):])
			}
		}
	}
	m, err := s.Open(mail.Inbox, "m")
	if err != nil || m.Info.Base != "m" || m.Info.Size != 3*wireInMemory+2 {
		t.Errorf("Open: %+v %v", m, err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
