package maildir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// testRun is when the removals of these tests happen.
var testRun = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// putAside removes messages of a folder as a run does.
func putAside(t testing.TB, s *Store, f mail.FolderName, at time.Time, bases ...string) {
	t.Helper()
	for _, base := range bases {
		if err := s.Remove(f, base, &Undo{Run: RunName(at)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
}

func mustKept(t testing.TB, s *Store) []Kept {
	t.Helper()
	kept, problems, err := s.Kept()
	if err != nil || len(problems) > 0 {
		t.Fatalf("Kept: %v %v", problems, err)
	}
	return kept
}

// restoreAll brings everything back, and fails unless all of it comes.
func restoreAll(t testing.TB, s *Store, drop mail.System) []Entry {
	t.Helper()
	var out []Entry
	for _, k := range mustKept(t, s) {
		for _, o := range s.Restore(k.Folder, []Kept{k}, drop) {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			out = append(out, o.Entry)
		}
	}
	if err := errors.Join(s.Flush(), s.TidyUndo()); err != nil {
		t.Fatal(err)
	}
	return out
}

func undoRootOf(layout Layout) string {
	if layout == PlusPlus {
		return undoPlusPlus
	}
	return undoNested
}

// TestRestore: a message that was put aside comes back as it was, and nothing of it is left there.
func TestRestore(t *testing.T) {
	for _, layout := range []Layout{Nested, PlusPlus} {
		for _, folder := range []mail.FolderName{mail.Inbox, "Archive/2024", "100%25/%2E..", mail.FolderName(strings.Repeat("ä", 60) + "%2F.")} {
			t.Run(string(layout)+"/"+string(folder), func(t *testing.T) {
				s, root := testStore(t, layout, folder)
				flags := mail.NewFlags(`\Seen`, "Work")
				got := deliver(t, s, folder, flags, "Subject: x\r\n\r\nbody\r\n")
				before := mustScan(t, s, folder).Entries
				putAside(t, s, folder, testRun, got.Base)
				if scan := mustScan(t, s, folder); len(scan.Entries) != 0 {
					t.Errorf("it is still there: %+v", scan)
				}
				kept := mustKept(t, s)
				if len(kept) != 1 || kept[0].Folder != folder || !kept[0].Removed.Equal(testRun) || kept[0].Base != got.Base ||
					!kept[0].Flags.Equal(flags) || kept[0].Size != got.FileSize || !kept[0].ModTime.Equal(got.ModTime) {
					t.Fatalf("kept %+v", kept)
				}
				content, err := s.SurveyKept(t.Context(), kept[0])
				if err != nil || content.Digest != got.Content.Digest {
					t.Errorf("SurveyKept: %+v %v", content, err)
				}
				back := restoreAll(t, s, 0)
				if !slices.Equal(back, before) {
					t.Errorf("back as %+v, was %+v", back, before)
				}
				if after := mustScan(t, s, folder).Entries; !slices.Equal(after, before) {
					t.Errorf("the folder holds %+v, held %+v", after, before)
				}
				if info, err := s.Stat(folder, got.Base); err != nil || !info.ModTime.Equal(got.ModTime) || info.Inode != got.Inode {
					t.Errorf("%+v %v", info, err)
				}
				if left := files(t, root, undoRootOf(layout)); len(left) != 0 {
					t.Errorf("left for undo: %q", left)
				}
				if len(mustKept(t, s)) != 0 {
					t.Error("it is still kept")
				}
			})
		}
	}
}

// TestRestoreCases: what the folder is like by then, and what becomes of the file's name.
func TestRestoreCases(t *testing.T) {
	lost := func(t *testing.T, s *Store, _ string) {
		t.Helper()
		if err := s.RemoveFolder("A"); err != nil {
			t.Fatal(err)
		}
	}
	anew := func(keywords string) func(*testing.T, *Store, string) {
		return func(t *testing.T, s *Store, root string) {
			t.Helper()
			lost(t, s, root)
			if err := s.CreateFolder("A"); err != nil {
				t.Fatal(err)
			}
			writeFile(t, root, "A", keywordsFile, keywords)
		}
	}
	for _, c := range []struct {
		what      string
		sub, file string
		keywords  string // the folder's list before
		meanwhile func(t *testing.T, s *Store, root string)
		drop      mail.System
		want      string // what the folder holds then; * for a name that was made up
		flags     string
		list      string // the folder's list then
	}{
		{what: "new stays new", sub: "new", file: "m", want: "new/m"},
		{what: "looked at, without flags", sub: "cur", file: "m:2,", want: "cur/m:2,"},
		{what: "flags in new", sub: "new", file: "m:2,S", want: "cur/m:2,S", flags: `\Seen`},
		{what: "unknown letters", sub: "cur", file: "m:2,SXq", want: "cur/m:2,SXq", flags: `\Seen`},
		{what: "a tail", sub: "cur", file: "m:2,S,x", want: "cur/m:2,S,x", flags: `\Seen`},
		{what: "marked as deleted", sub: "cur", file: "m:2,ST", want: "cur/m:2,ST", flags: `\Seen \Deleted`},
		{what: "without its mark as deleted", sub: "cur", file: "m:2,ST", drop: mail.Deleted, want: "cur/m:2,S", flags: `\Seen`},
		{what: "the name is taken", sub: "cur", file: "m:2,S", meanwhile: func(t *testing.T, _ *Store, root string) {
			writeFile(t, root, "A", "cur", "m:2,F", "other")
		}, want: "cur/*:2,S cur/m:2,F", flags: `\Seen`},
		{what: "the name is taken in new", sub: "new", file: "m", meanwhile: func(t *testing.T, _ *Store, root string) {
			writeFile(t, root, "A", "new", "m", "other")
		}, want: "new/* new/m"},
		{what: "the folder is gone", sub: "cur", file: "m:2,S", meanwhile: lost, want: "cur/m:2,S", flags: `\Seen`},
		{what: "cur and tmp are gone", sub: "cur", file: "m:2,S", meanwhile: func(t *testing.T, _ *Store, root string) {
			for _, sub := range []string{"cur", "tmp"} {
				if err := os.Remove(filepath.Join(root, "A", sub)); err != nil {
					t.Fatal(err)
				}
			}
		}, want: "cur/m:2,S", flags: `\Seen`},
		{what: "keywords", sub: "cur", file: "m:2,Sab", keywords: "0 Work\n1 Home\n", want: "cur/m:2,Sab", flags: `\Seen Home Work`, list: "0 Work\n1 Home\n"},
		{what: "keywords, the folder is gone", sub: "cur", file: "m:2,Sac", keywords: "0 Work\n2 Home\n", meanwhile: lost,
			want: "cur/m:2,Sab", flags: `\Seen Home Work`, list: "0 Home\n1 Work\n"},
		{what: "keywords, the folder is another one", sub: "cur", file: "m:2,Sab", keywords: "0 Work\n1 Home\n", meanwhile: anew("0 Home\n1 Play\n"),
			want: "cur/m:2,Sac", flags: `\Seen Home Work`, list: "0 Home\n1 Play\n2 Work\n"},
		{what: "a letter without a meaning, which has one by now", sub: "cur", file: "m:2,Sa", meanwhile: anew("0 Play\n"),
			want: "cur/m:2,S", flags: `\Seen`, list: "0 Play\n"},
		{what: "no letter left", sub: "cur", file: "m:2,Sa", keywords: "0 Work\n", meanwhile: func(t *testing.T, s *Store, root string) {
			var full strings.Builder
			for i := range maxLetters {
				full.WriteString(string('0'+rune(i/10)) + string('0'+rune(i%10)) + " k" + string('a'+rune(i)) + "\n")
			}
			anew(full.String())(t, s, root)
		}, want: "cur/m:2,S", flags: `\Seen`, list: "-"},
	} {
		t.Run(c.what, func(t *testing.T) {
			s, root := testStore(t, Nested, "A")
			if c.keywords != "" {
				writeFile(t, root, "A", keywordsFile, c.keywords)
			}
			when := time.Unix(1.5e9, 0)
			if err := os.Chtimes(writeFile(t, root, "A", c.sub, c.file, "text"), when, when); err != nil {
				t.Fatal(err)
			}
			putAside(t, s, "A", testRun, "m")
			if c.meanwhile != nil {
				c.meanwhile(t, s, root)
			}
			back := restoreAll(t, s, c.drop)
			var got []string
			for _, sub := range []string{"cur", "new"} {
				for _, name := range files(t, root, "A", sub) {
					if strings.HasSuffix(strings.SplitN(name, ":", 2)[0], ".test") {
						_, info, flagged := strings.Cut(name, ":")
						name = "*"
						if flagged {
							name += ":" + info
						}
					}
					got = append(got, sub+"/"+name)
				}
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("the folder holds %s, want %s", text, c.want)
			}
			if len(back) != 1 || back[0].Flags.String() != c.flags {
				t.Fatalf("%+v, want the flags %s", back, c.flags)
			}
			info, err := s.Stat("A", back[0].Base)
			if err != nil || !info.ModTime.Equal(when) || info.Size != 4 || !info.Flags.Equal(back[0].Flags) {
				t.Errorf("%+v %v", info, err)
			}
			if scan := mustScan(t, s, "A"); !slices.ContainsFunc(scan.Entries, func(e Entry) bool {
				return e.Base == back[0].Base && e.File == back[0].File && e.Flags.Equal(back[0].Flags)
			}) {
				t.Errorf("a scan shows %+v, not %+v", scan.Entries, back[0])
			}
			if c.list != "" && c.list != "-" {
				if list := keywordsOf(t, root, "A"); list != c.list {
					t.Errorf("the folder's list is %q, want %q", list, c.list)
				}
			}
			if left := files(t, root, undoNested); len(left) != 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// TestKeptOrder: the last removals first, in a run by folder; the same name twice is two messages.
func TestKeptOrder(t *testing.T) {
	s, root := testStore(t, PlusPlus, mail.Inbox, "A")
	for i, f := range []string{".", ".A"} {
		for j := range 2 {
			writeFile(t, root, f, "cur", "m:2,S", strings.Repeat("x", i+1))
			putAside(t, s, []mail.FolderName{mail.Inbox, "A"}[i], testRun.Add(time.Duration(j)*time.Hour), "m")
		}
	}
	var got []string
	for _, k := range mustKept(t, s) {
		got = append(got, string(k.Folder)+" "+k.Removed.Format("15"))
	}
	if want := []string{"INBOX 13", "A 13", "INBOX 12", "A 12"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if back := restoreAll(t, s, 0); len(back) != 4 {
		t.Errorf("%+v", back)
	}
	for _, f := range []mail.FolderName{mail.Inbox, "A"} {
		if scan := mustScan(t, s, f); len(scan.Entries) != 2 {
			t.Errorf("%s holds %+v", f, scan.Entries)
		}
	}
}

// TestKeptHostileNames: whatever a folder is called, its messages are kept below the root and under its name.
func TestKeptHostileNames(t *testing.T) {
	for _, layout := range []Layout{Nested, PlusPlus} {
		s, _ := testStore(t, layout)
		want := map[mail.FolderName]bool{}
		names := []mail.FolderName{mail.FolderName(strings.Repeat("long/", 40) + "x")}
		// One that is cut within an escape.
		for _, name := range append(slices.Clone(hostileNames), "y"+strings.Repeat("x%", 60)) {
			if f, err := mail.NewFolderName([]string{"Parent", name}); err == nil {
				names = append(names, f)
			}
		}
		for _, f := range names {
			if s.CreateFolder(f) != nil {
				continue
			}
			got := deliver(t, s, f, mail.Flags{}, "x\r\n")
			putAside(t, s, f, testRun, got.Base)
			want[f] = true
		}
		if len(want) < 40 || !want[names[0]] || !want[names[len(names)-1]] {
			t.Fatalf("only %d folders", len(want))
		}
		for _, k := range mustKept(t, s) {
			if !want[k.Folder] {
				t.Errorf("%s: kept as of %q", layout, k.Folder)
			}
			delete(want, k.Folder)
		}
		for f := range want {
			t.Errorf("%s: what was kept of %q is not found", layout, f)
		}
	}
}

// TestKeptOddThings: what is no kept message is named, and neither followed nor moved.
func TestKeptOddThings(t *testing.T) {
	s, root := testStore(t, Nested, "A")
	outside := writeFile(t, filepath.Dir(root), "outside", "theirs")
	writeFile(t, root, "A", "cur", "m:2,S", "mine")
	putAside(t, s, "A", testRun, "m")
	run := filepath.Join(root, undoNested, RunName(testRun))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Symlink(outside, filepath.Join(run, "A", "link:2,S")))
	must(os.Symlink(filepath.Dir(outside), filepath.Join(run, "B")))
	must(os.Symlink(filepath.Dir(outside), filepath.Join(root, undoNested, RunName(testRun.Add(time.Hour)))))
	must(os.Mkdir(filepath.Join(run, "A", "cur"), 0o700))
	must(os.MkdirAll(filepath.Join(run, "cur", "x"), 0o700))
	writeFile(t, run, "stray", "x")
	writeFile(t, run, "A", ".hidden", "x")
	writeFile(t, run, "A", "."+ownPrefix+"1", "unfinished")
	writeFile(t, root, undoNested, "notes", "x")

	kept, problems, err := s.Kept()
	if err != nil || len(kept) != 1 || kept[0].Base != "m" {
		t.Fatalf("%+v %v", kept, err)
	}
	var named []string
	for _, p := range problems {
		rel, err := filepath.Rel(filepath.Join(undoNested, RunName(testRun)), p.File)
		must(err)
		named = append(named, rel)
	}
	slices.Sort(named)
	if want := []string{"A/.hidden", "A/cur", "A/link:2,S", "B", "cur", "stray"}; !slices.Equal(named, want) {
		t.Errorf("named are %q, want %q", named, want)
	}
	for _, o := range s.Restore("A", kept, 0) {
		must(o.Err)
	}
	must(s.Flush())
	must(s.TidyUndo())
	if got := files(t, run, "A"); !slices.Equal(got, []string{".hidden", "." + ownPrefix + "1", "link:2,S"}) {
		t.Errorf("left in A: %q", got)
	}
	if text, err := os.ReadFile(outside); string(text) != "theirs" {
		t.Errorf("outside: %q %v", text, err)
	}

	// What became a link after it was listed is not moved either.
	writeFile(t, root, "A", "cur", "n:2,S", "mine")
	putAside(t, s, "A", testRun, "n")
	kept, _, err = s.Kept()
	must(err)
	must(os.Remove(filepath.Join(run, "A", "n:2,S")))
	must(os.Symlink(outside, filepath.Join(run, "A", "n:2,S")))
	if out := s.Restore("A", kept, 0); !errors.Is(out[0].Err, ErrNotRegular) || !strings.Contains(out[0].Err.Error(), "bringing n back to A: ") {
		t.Errorf("%v", out[0].Err)
	}

	// Nor is anything looked for behind a link in place of the whole.
	must(os.Rename(filepath.Join(root, undoNested), filepath.Join(root, "elsewhere")))
	must(os.Symlink("../elsewhere", filepath.Join(root, undoNested)))
	if kept, _, err := s.Kept(); !errors.Is(err, ErrNotRegular) {
		t.Errorf("%v %v", kept, err)
	}
	if err := s.PurgeUndo(time.Now()); !errors.Is(err, ErrNotRegular) {
		t.Error(err)
	}
}

// TestKeptKeywordsUnreadable: the messages come back, without keywords.
func TestKeptKeywordsUnreadable(t *testing.T) {
	s, root := testStore(t, Nested, "A")
	writeFile(t, root, "A", keywordsFile, "0 Work\n")
	writeFile(t, root, "A", "cur", "m:2,Sa", "x")
	putAside(t, s, "A", testRun, "m")
	dir := filepath.Join(root, undoNested, RunName(testRun), "A")
	if err := errors.Join(os.Remove(filepath.Join(dir, keptKeywords)), os.Symlink("/etc/passwd", filepath.Join(dir, keptKeywords))); err != nil {
		t.Fatal(err)
	}
	kept, problems, err := s.Kept()
	if err != nil || len(kept) != 1 || kept[0].Flags.String() != `\Seen` || len(problems) == 0 {
		t.Fatalf("%+v %v %v", kept, problems, err)
	}
	if out := s.Restore("A", kept, 0); out[0].Err != nil || out[0].Entry.File != "m:2,S" {
		t.Errorf("%+v", out)
	}
}

// TestRestoreFailsAnywhere: whichever call fails, alone or with all that follow, the message is there once, whole, and comes back in
// the end.
func TestRestoreFailsAnywhere(t *testing.T) {
	for _, all := range []bool{false, true} {
		for step := 0; ; step++ {
			s, f, root := faultStore(t, Nested)
			f.age = time.Hour
			if err := s.CreateFolder("A"); err != nil {
				t.Fatal(err)
			}
			writeFile(t, root, "A", keywordsFile, "0 Work\n")
			writeFile(t, root, "A", "cur", "m:2,Sa", "text")
			putAside(t, s, "A", testRun, "m")
			if err := s.RemoveFolder("A"); err != nil {
				t.Fatal(err)
			}
			restore := func() error {
				kept, problems, err := s.Kept()
				if err != nil || len(problems) > 0 {
					return errors.Join(err, errInjected)
				}
				for _, o := range s.Restore("A", kept, 0) {
					err = errors.Join(err, o.Err)
				}
				if err == nil {
					err = s.Flush()
				}
				if err == nil {
					err = s.TidyUndo()
				}
				return err
			}
			f.failAt(step, all)
			err := restore()
			hit := len(f.calls()) > step
			f.set(nil)
			where := messageFiles(t, root)
			if len(where) != 1 {
				t.Fatalf("step %d: %q (%v)", step, where, err)
			}
			if text, err := os.ReadFile(where[0]); string(text) != "text" {
				t.Fatalf("step %d: %q %v", step, text, err)
			}
			if !hit {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			// As the next process finds it, once the lock of a dead one is old.
			if err := ignoreMissing(os.Remove(filepath.Join(root, "A", keywordsLock))); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(root, Nested, Options{Host: "test"}); err != nil {
				t.Fatal(err)
			}
			if err := restore(); err != nil {
				t.Fatalf("step %d, tried again: %v", step, err)
			}
			scan := mustScan(t, s, "A")
			if len(scan.Entries) != 1 || !slices.Equal(messageFiles(t, root), []string{filepath.Join(root, "A", "cur", scan.Entries[0].File)}) {
				t.Fatalf("step %d: %+v", step, scan.Entries)
			}
			if fl := scan.Entries[0].Flags.String(); fl != `\Seen Work` {
				t.Fatalf("step %d: flags %s", step, fl)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// messageFiles finds the one message of TestRestoreFailsAnywhere.
func messageFiles(t testing.TB, root string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && strings.HasPrefix(e.Name(), "m:2,") {
			found = append(found, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestRestoreDurable: the folder's directory is made durable before the one that the file left.
func TestRestoreDurable(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	if err := s.CreateFolder("A"); err != nil {
		t.Fatal(err)
	}
	writeFile(t, root, "A", "cur", "m:2,S", "x")
	putAside(t, s, "A", testRun, "m")
	f.set(nil)
	restoreAll(t, s, 0)
	dir := undoNested + "/" + RunName(testRun) + "/A"
	calls := f.calls()
	back, gained := slices.Index(calls, "renamenew A/cur/m:2,S"), slices.Index(calls, "syncdir A/cur")
	lost, removed := slices.Index(calls, "syncdir "+dir), slices.Index(calls, "remove "+dir)
	if back < 0 || gained < back || lost < gained || removed < lost {
		t.Errorf("back %d, durable %d, gone %d, tidied %d in %q", back, gained, lost, removed, calls)
	}
}

func TestRestoreAcrossFileSystems(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	if err := s.CreateFolder("A"); err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1.5e9, 0)
	if err := os.Chtimes(writeFile(t, root, "A", "cur", "m:2,S", "text"), when, when); err != nil {
		t.Fatal(err)
	}
	putAside(t, s, "A", testRun, "m")
	crossed := false
	f.set(func(op, name string) error {
		if op == "renamenew" && name == "A/cur/m:2,S" && !crossed {
			crossed = true
			return syscall.EXDEV
		}
		return nil
	})
	restoreAll(t, s, 0)
	f.set(nil)
	info, err := s.Stat("A", "m")
	if err != nil || !crossed || info.Size != 4 || !info.ModTime.Equal(when) || info.Flags.String() != `\Seen` {
		t.Errorf("%+v %v", info, err)
	}
	if left := append(files(t, root, undoNested), files(t, root, "A", "tmp")...); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// TestKeptKeywordsGrow: the list beside kept files has every letter that one of them carries.
func TestKeptKeywordsGrow(t *testing.T) {
	s, root := testStore(t, PlusPlus, mail.Inbox)
	for i, flags := range []string{"One", "Two", "One"} {
		got := deliver(t, s, mail.Inbox, mail.NewFlags(flags), strings.Repeat("x", i))
		putAside(t, s, mail.Inbox, testRun, got.Base)
	}
	if err := os.Remove(filepath.Join(root, keywordsFile)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range restoreAll(t, s, 0) {
		got = append(got, e.Flags.String())
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"One", "One", "Two"}) {
		t.Errorf("%q", got)
	}
}
