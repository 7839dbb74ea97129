package maildir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/satchel-mail/satchel/internal/mail"
)

// knownNames is a Known as a caller may have it: flags by base name.
type knownNames struct {
	at     map[string]int // index into what follows
	flags  []uint32
	taken  []bool
	resets int
}

func knowing(entries []Entry) *knownNames {
	k := &knownNames{at: map[string]int{}, taken: make([]bool, len(entries))}
	for i, e := range entries {
		k.at[strings.Clone(e.Base)] = i
		k.flags = append(k.flags, e.Flags.Hash())
	}
	return k
}

func (k *knownNames) Reset() { clear(k.taken); k.resets++ }

func (k *knownNames) Take(base string, flags uint32) bool {
	i, ok := k.at[base]
	if !ok || k.flags[i] != flags || k.taken[i] {
		return false
	}
	k.taken[i] = true
	return true
}

func (k *knownNames) Taken(base string) bool {
	i, ok := k.at[base]
	return ok && k.taken[i]
}

// missing are the names that were not taken, sorted.
func (k *knownNames) missing() []string {
	var out []string
	for base, i := range k.at {
		if !k.taken[i] {
			out = append(out, base)
		}
	}
	slices.Sort(out)
	return out
}

func scanKnown(t testing.TB, s *Store, k Known) Scan {
	t.Helper()
	scan, err := s.Scan(t.Context(), mail.Inbox, k)
	if err != nil {
		t.Fatal(err)
	}
	return scan
}

func basesOf(entries []Entry) []string {
	out := []string{}
	for _, e := range entries {
		out = append(out, e.Base)
	}
	return out
}

func TestScanOfWhatIsKnown(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	inbox := filepath.Join(root, "INBOX")
	writeFile(t, inbox, keywordsFile, "0 Work\n")
	for _, name := range []string{"new/n", "cur/a:2,", "cur/b:2,S", "cur/c:2,Sa", "cur/d:2,Sz", "cur/e:2,F"} {
		writeFile(t, inbox, name, "x")
	}
	first := mustScan(t, s, mail.Inbox)
	k := knowing(first.Entries)
	scan := scanKnown(t, s, k)
	// d has a letter that means nothing: whatever its flags, it is not offered.
	if got := basesOf(scan.Entries); !slices.Equal(got, []string{"d"}) || !scan.Entries[0].Unexplained || scan.All || scan.Count != 6 || !scan.Quiet {
		t.Errorf("nothing changed: %+v", scan)
	}
	if scan.Names != first.Names || !slices.Equal(k.missing(), []string{"d"}) {
		t.Errorf("names %v and %v, missing %v", scan.Names, first.Names, k.missing())
	}
	for from, to := range map[string]string{"cur/b:2,S": "cur/b:2,", "new/n": "cur/n:2,", "cur/e:2,F": "cur/f:2,F"} {
		if err := os.Rename(filepath.Join(inbox, from), filepath.Join(inbox, to)); err != nil {
			t.Fatal(err)
		}
	}
	scan = scanKnown(t, s, k)
	if got := basesOf(scan.Entries); !slices.Equal(got, []string{"b", "d", "f"}) || scan.Entries[0].File != "b:2," || scan.Count != 6 {
		t.Errorf("b lost a flag, f is new: %+v", scan)
	}
	if got := k.missing(); !slices.Equal(got, []string{"b", "d", "e"}) || scan.Names == first.Names {
		t.Errorf("missing %v", got)
	}
	// A letter gets its meaning between the reading of the list and that of the names.
	writeFile(t, inbox, keywordsFile, "0 Work\n25 Late\n")
	if scan = scanKnown(t, s, k); scan.Entries[1].Flags.String() != `\Seen Late` || scan.Entries[1].Unexplained {
		t.Errorf("%+v", scan.Entries)
	}
}

// TestLetterListedDuringReading: the list is read before the names, and again for a letter that it does not have.
func TestLetterListedDuringReading(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	if err := s.CreateFolder(mail.Inbox); err != nil {
		t.Fatal(err)
	}
	inbox := filepath.Join(root, "INBOX")
	writeFile(t, inbox, keywordsFile, "0 Work\n")
	writeFile(t, inbox, "cur", "a:2,a", "x")
	f.age = time.Hour
	f.set(func(op, name string) error {
		if op != "list" || name != "INBOX/cur" {
			return nil
		}
		f.before = nil
		return errors.Join(os.WriteFile(filepath.Join(inbox, keywordsFile), []byte("0 Work\n1 Home\n"), 0o600),
			os.Rename(filepath.Join(inbox, "cur", "a:2,a"), filepath.Join(inbox, "cur", "a:2,ab")))
	})
	d, err := s.locate(mail.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.read(d, knowing(nil))
	if err != nil || len(r.entries) != 1 || r.entries[0].Flags.String() != "Home Work" || r.entries[0].Unexplained {
		t.Errorf("%+v %v", r.entries, err)
	}
}

// TestTwoFilesWithOneKnownName: whichever of them is known, all are read and told apart.
func TestTwoFilesWithOneKnownName(t *testing.T) {
	for _, known := range []string{"", "S", "F"} {
		s, root := testStore(t, Nested, mail.Inbox)
		writeFile(t, root, "INBOX", "cur", "a:2,S", "first")
		writeFile(t, root, "INBOX", "cur", "b:2,", "x")
		tick(t, root)
		writeFile(t, root, "INBOX", "cur", "a:2,F", "second")
		k := knowing([]Entry{{Base: "b"}})
		if known != "" {
			k = knowing([]Entry{{Base: "b"}, {Base: "a", Flags: mail.SystemFlags(systemFlags(known))}})
		}
		scan := scanKnown(t, s, k)
		if !scan.All || scan.Count != 3 || len(scan.Entries) != 3 || len(k.missing()) != len(k.at) {
			t.Errorf("%q known: %+v, taken all but %v", known, scan, k.missing())
		}
		if got := readWire(t, s, mail.Inbox, "a", false); got != "first" {
			t.Errorf("a is %q", got)
		}
	}
}

// TestKnownNamesAreLookedUpCheaply: a folder of which only hashes are held still says what is not there.
func TestKnownNamesAreLookedUpCheaply(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	if err := s.CreateFolder(mail.Inbox); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		writeFile(t, root, "INBOX", "cur", fmt.Sprintf("m%d:2,S", i), "x")
	}
	k := knowing(mustScan(t, s, mail.Inbox).Entries)
	f.age = time.Hour
	scanKnown(t, s, k)
	f.set(nil)
	for i := range 50 {
		if _, err := s.Stat(mail.Inbox, fmt.Sprintf("none%d", i)); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		if info, err := s.Stat(mail.Inbox, fmt.Sprintf("m%d", i)); err != nil || info.Size != 1 {
			t.Fatal(info, err)
		}
	}
	if n := listsIn(f.calls()); n != 0 {
		t.Errorf("%d directories were read", n)
	}
	// More and more of them: the folder is read once.
	for i := range 200 {
		if _, err := s.Stat(mail.Inbox, fmt.Sprintf("m%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := listsIn(f.calls()); n != 2 {
		t.Errorf("%d directories were read, want new and cur once", n)
	}
}

// TestOwnChangesOfKnownNames: what this Store did since is known too.
func TestOwnChangesOfKnownNames(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	if err := s.CreateFolder(mail.Inbox); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		writeFile(t, root, "INBOX", "cur", fmt.Sprintf("m%d:2,S", i), "x")
	}
	k := knowing(mustScan(t, s, mail.Inbox).Entries)
	f.age = time.Hour
	scanKnown(t, s, k)
	got := deliver(t, s, mail.Inbox, mail.NewFlags(`\Seen`), "x")
	if err := s.Remove(mail.Inbox, "m3", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetFlags(mail.Inbox, "m4", mail.NewFlags(`\Draft`), mail.Flags{}); err != nil {
		t.Fatal(err)
	}
	l := s.listings.get(mail.Inbox)
	for base, want := range map[string]verdict{got.Base: unlisted, "m3": absent, "m4": listed, "m5": unlisted, "none": absent} {
		if _, v := l.find(base); v != want {
			t.Errorf("%s: %v, want %v", base, v, want)
		}
	}
}

func listsIn(calls []string) int {
	n := 0
	for _, c := range calls {
		if strings.HasPrefix(c, "list ") {
			n++
		}
	}
	return n
}

// TestKnownInARestlessFolder: names change during every reading; what the caller does not know and an earlier reading
// saw is looked for once more, what it knows it looks up itself.
func TestKnownInARestlessFolder(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	f.age = time.Hour
	if err := s.CreateFolder(mail.Inbox); err != nil {
		t.Fatal(err)
	}
	inbox := filepath.Join(root, "INBOX")
	for _, name := range []string{"known", "fresh"} {
		writeFile(t, inbox, "cur", name+":2,S", "x")
	}
	k := knowing([]Entry{{Base: "known", Flags: mail.NewFlags(`\Seen`)}})
	n := 0
	f.set(func(op, name string) error {
		if op != "list" {
			return nil
		}
		// In every reading after the first both are in the directory that is not being read.
		if n++; n < 3 {
			if n == 2 {
				return os.WriteFile(filepath.Join(inbox, "new", "other"), nil, 0o600)
			}
			return nil
		}
		var err error
		for _, m := range []string{"known", "fresh"} {
			inNew, inCur := filepath.Join(inbox, "new", m+":2,S"), filepath.Join(inbox, "cur", m+":2,S")
			if name == "INBOX/cur" {
				err = errors.Join(err, os.Rename(inCur, inNew))
			} else {
				err = errors.Join(err, ignoreMissing(os.Rename(inNew, inCur)))
			}
		}
		return err
	})
	scan := scanKnown(t, s, k)
	f.set(nil)
	if scan.Quiet {
		t.Error("a reading during which names changed calls itself quiet")
	}
	for _, name := range k.missing() {
		if _, err := s.Stat(mail.Inbox, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if k.resets != maxReadings {
		t.Errorf("Reset was called %d times in %d readings", k.resets, maxReadings)
	}
}

// TestScanWithAndWithoutKnown: whatever is known, entries and what was taken are together what there is.
func TestScanWithAndWithoutKnown(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	f.age = time.Hour
	if err := s.CreateFolder(mail.Inbox); err != nil {
		t.Fatal(err)
	}
	inbox := filepath.Join(root, "INBOX")
	writeFile(t, inbox, keywordsFile, "0 Work\n1 Home\n")
	rapid.Check(t, func(t *rapid.T) {
		for _, dir := range []string{"new", "cur"} {
			for _, name := range rapidNames(filepath.Join(inbox, dir)) {
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
			}
		}
		letters := rapid.SampledFrom([]string{"", "S", "FS", "Sa", "ab", "z", "Sz"})
		for i := range rapid.IntRange(0, 8).Draw(t, "files") {
			name := filepath.Join(inbox, "cur", fmt.Sprintf("m%d:2,%s", i, letters.Draw(t, "letters")))
			if rapid.IntRange(0, 3).Draw(t, "new") == 0 {
				name = filepath.Join(inbox, "new", fmt.Sprintf("m%d", i))
			}
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var known []Entry
		for i := range 8 {
			if rapid.Bool().Draw(t, "known") {
				known = append(known, Entry{Base: fmt.Sprintf("m%d", i), Flags: rapid.SampledFrom([]mail.Flags{{}, mail.NewFlags(`\Seen`), mail.NewFlags("Work", "Home")}).Draw(t, "flags")})
			}
		}
		k := knowing(known)
		all, err := s.Scan(t.Context(), mail.Inbox, nil)
		if err != nil {
			t.Fatal(err)
		}
		some, err := s.Scan(t.Context(), mail.Inbox, k)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]Entry{}
		for _, e := range some.Entries {
			got[e.Base] = e
		}
		for _, e := range all.Entries {
			i, isKnown := k.at[e.Base]
			same := isKnown && !e.Unexplained && known[i].Flags.Equal(e.Flags)
			if have, ok := got[e.Base]; ok == same || ok && have != e || k.Taken(e.Base) != same {
				t.Fatalf("%+v: known %v as %v, returned %v, taken %v", e, isKnown, known, ok, k.Taken(e.Base))
			}
		}
		if some.Count != len(all.Entries) || all.Count != some.Count || some.Names != all.Names || !all.All || some.All {
			t.Fatalf("%+v and %+v", some, all)
		}
	})
}

func rapidNames(dir string) []string {
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	return names
}
