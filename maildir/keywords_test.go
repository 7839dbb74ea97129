package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

func TestParseKeywords(t *testing.T) {
	tests := []struct {
		raw    string
		names  map[int]string
		listed []int
	}{
		{"", nil, nil},
		{"0 Work\n1 $Junk\n", map[int]string{0: "Work", 1: "$Junk"}, []int{0, 1}},
		{"1 b\n0 a", map[int]string{0: "a", 1: "b"}, []int{0, 1}},
		{"0 a\r\n25 z\r\n", map[int]string{0: "a", 25: "z"}, []int{0, 25}},
		{"26 no\n99999999999 no\n-1 no\nx no\n\n \n+1 no\n", nil, nil},
		{"3\n4 \n5 two words\n6 (bad\n", nil, []int{3, 4, 5, 6}},
		{"0 first\n0 second\n", map[int]string{0: "first"}, []int{0}},
		{"2 $forwarded\n3 \\Seen\n", map[int]string{2: "$forwarded"}, []int{2, 3}},
		{"\x00\xff 0 a\n0 a\x00\n", nil, []int{0}},
	}
	for _, tt := range tests {
		k := parseKeywords([]byte(tt.raw))
		for i := range maxLetters {
			if k.names[i] != tt.names[i] || k.listed.has(i) != slices.Contains(tt.listed, i) {
				t.Errorf("%q: letter %c is %q, listed %v", tt.raw, 'a'+i, k.names[i], k.listed.has(i))
			}
		}
	}
}

func FuzzKeywords(f *testing.F) {
	for _, s := range []string{"", "0 Work\n1 $Junk\n", "0 a\n0 b", "25 z\r\n", "5\n6 \n", "x", "1 $Forwarded\n"} {
		f.Add([]byte(s), 3, "New")
	}
	f.Fuzz(func(t *testing.T, raw []byte, at int, name string) {
		k := parseKeywords(raw)
		for i, n := range k.names {
			if n != "" && !k.listed.has(i) {
				t.Fatalf("letter %c means %q and is free", 'a'+i, n)
			}
		}
		if !mail.ValidKeyword(name) || at < 0 || at >= maxLetters || k.listed.has(at) {
			return
		}
		before := bytes.Clone(raw)
		more := k.with(at, name)
		if !bytes.Equal(before, raw) || !bytes.HasPrefix(more.raw, raw) {
			t.Fatal("what was there is not kept")
		}
		for i := range maxLetters {
			want := k.names[i]
			if i == at {
				want = name
			}
			if more.names[i] != want {
				t.Fatalf("letter %c means %q after an addition, want %q", 'a'+i, more.names[i], want)
			}
		}
		flags := mail.NewFlags(name, `\Seen`)
		letters, missing := more.letters(flags)
		if len(missing) != 0 || !more.flags(letters).Equal(flags) {
			t.Fatalf("%v is spelled %q, which means %v", flags, letters, more.flags(letters))
		}
	})
}

func keywordsOf(t testing.TB, root, dir string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, dir, keywordsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(raw)
}

func TestKeywordsHaveOneLetterInTheAccount(t *testing.T) {
	s, root := testStore(t, Nested, "A", "B", "C", "D")
	writeFile(t, root, "A", keywordsFile, "0 Work\n3 Home\n")
	writeFile(t, root, "C", keywordsFile, "3 Other\n")
	for _, f := range []mail.FolderName{"B", "C", "D"} {
		deliver(t, s, f, mail.NewFlags("home"), "x")
	}
	deliver(t, s, "D", mail.NewFlags("Fresh", "Work"), "x")
	deliver(t, s, "A", mail.NewFlags("Fresh"), "x")
	// B: the letter it has in A. C: that is taken, the lowest that means nothing elsewhere.
	want := map[string]string{"A": "0 Work\n3 Home\n2 Fresh\n", "B": "3 home\n", "C": "3 Other\n1 home\n", "D": "3 home\n2 Fresh\n0 Work\n"}
	for dir, lines := range want {
		if got := keywordsOf(t, root, dir); got != lines {
			t.Errorf("%s: %q, want %q", dir, got, lines)
		}
	}
}

func TestLetterInUseIsNotGivenAway(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	// Letters a and c are on messages and the file does not know them.
	writeFile(t, root, "INBOX", "cur", "m:2,Sac", "x")
	writeFile(t, root, "INBOX", keywordsFile, "1 Known\n")
	e, err := s.SetFlags(mail.Inbox, "m", mail.NewFlags("New"), mail.NewFlags(`\Seen`, "Known"))
	if err != nil || e.File != "m:2,acd" || e.Flags.String() != "New" {
		t.Errorf("%+v, %v; want letter d for it, a and c left alone", e, err)
	}
	if got := keywordsOf(t, root, "INBOX"); got != "1 Known\n3 New\n" {
		t.Errorf("file %q", got)
	}
}

func TestKeywordBeyondTheLastLetter(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox, "To")
	var names []string
	for i := range maxLetters {
		names = append(names, fmt.Sprintf("kw%02d", i))
	}
	all := mail.NewFlags(names...)
	got := deliver(t, s, mail.Inbox, all, "x")
	if !got.Flags.Equal(all) {
		t.Fatalf("26 keywords: %v", got.Flags)
	}
	got = deliver(t, s, mail.Inbox, mail.NewFlags("kw03", "one-more", `\Seen`), "x")
	if got.Flags.String() != `\Seen kw03` || got.New {
		t.Errorf("delivered %+v, want it without the 27th", got)
	}
	before := keywordsOf(t, root, "INBOX")
	e, err := s.SetFlags(mail.Inbox, got.Base, mail.NewFlags("another", `\Flagged`), mail.Flags{})
	if err != nil || e.Flags.String() != `\Flagged \Seen kw03` {
		t.Errorf("SetFlags %+v, %v", e, err)
	}
	if keywordsOf(t, root, "INBOX") != before {
		t.Error("the file changed")
	}
	got = deliver(t, s, mail.Inbox, mail.NewFlags("one-more"), "x")
	if !got.Flags.IsZero() || got.New {
		t.Errorf("delivered %+v, want in cur: the message has a flag, if none that can be kept", got)
	}
}

func TestKeywordSpellingsAndAliases(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	writeFile(t, root, "INBOX", keywordsFile, "0 Junk\n1 junk\n2 $Forwarded\n")
	writeFile(t, root, "INBOX", "cur", "m:2,abc", "x")
	info, err := s.Stat(mail.Inbox, "m")
	if err != nil || !info.Flags.Equal(mail.NewFlags("junk", "$Forwarded")) {
		t.Errorf("%v %v", info.Flags, err)
	}
	// Dovecot writes $Forwarded as a keyword; we write P, and take away both.
	e, err := s.SetFlags(mail.Inbox, "m", mail.NewFlags("JUNK", "$Forwarded"), mail.Flags{})
	if err != nil || e.File != "m:2,Pabc" {
		t.Errorf("added: %+v %v", e, err)
	}
	e, err = s.SetFlags(mail.Inbox, "m", mail.Flags{}, mail.NewFlags("jUnk", "$forwarded"))
	if err != nil || e.File != "m:2," || !e.Flags.IsZero() {
		t.Errorf("taken away: %+v %v", e, err)
	}
}

func TestKeywordsFileOfOthersIsReadAgain(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	writeFile(t, root, "INBOX", "cur", "m:2,b", "x")
	for _, lines := range []string{"1 One\n", "1 Two\n", "0 x\n1 Three\n"} {
		writeFile(t, root, "INBOX", "k", lines)
		if err := os.Rename(filepath.Join(root, "INBOX", "k"), filepath.Join(root, "INBOX", keywordsFile)); err != nil {
			t.Fatal(err)
		}
		want := parseKeywords([]byte(lines)).names[1]
		if scan := mustScan(t, s, mail.Inbox); scan.Entries[0].Flags.String() != want {
			t.Errorf("%v, want %s", scan.Entries[0].Flags, want)
		}
	}
}

func TestMoveTranslatesLetters(t *testing.T) {
	s, root := testStore(t, Nested, "A", "B")
	writeFile(t, root, "A", keywordsFile, "0 Work\n1 Home\n")
	writeFile(t, root, "B", keywordsFile, "0 Other\n5 work\n7 Seven\n")
	// X and y: nobody knows them. h: only B does, where it would make Seven of nothing.
	writeFile(t, root, "A", "cur", "m:2,SXabhy", "x")
	e, err := s.Move("A", "m", "B")
	if err != nil || e.Flags.String() != `\Seen Home work` && e.Flags.String() != `\Seen Home Work` {
		t.Fatalf("%+v %v", e, err)
	}
	if want := "m:2,SXbfy"; e.File != want {
		t.Errorf("file %s, want %s", e.File, want)
	}
	if got := keywordsOf(t, root, "B"); got != "0 Other\n5 work\n7 Seven\n1 Home\n" {
		t.Errorf("keywords of B: %q", got)
	}
}

func TestKeywordsLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, root := testStore(t, Nested, mail.Inbox)
		writeFile(t, root, "INBOX", "cur", "m:2,", "x")
		lock := writeFile(t, root, "INBOX", keywordsLock, "")
		begun := time.Now()
		if _, err := s.SetFlags(mail.Inbox, "m", mail.NewFlags("New"), mail.Flags{}); !errors.Is(err, ErrKeywordsLocked) {
			t.Errorf("locked: %v", err)
		}
		if took := time.Since(begun); took < lockWait || took > 2*lockWait {
			t.Errorf("waited %v", took)
		}
		if _, err := os.Stat(lock); err != nil {
			t.Error("the other program's lock was taken away")
		}
		// Flags that need no new letter don't wait.
		begun = time.Now()
		if _, err := s.SetFlags(mail.Inbox, "m", mail.NewFlags(`\Seen`), mail.Flags{}); err != nil || time.Since(begun) > 0 {
			t.Errorf("Seen: %v after %v", err, time.Since(begun))
		}
		// Released while we wait.
		time.AfterFunc(lockWait/2, func() {
			if err := os.Remove(lock); err != nil {
				t.Error(err)
			}
		})
		if e, err := s.SetFlags(mail.Inbox, "m", mail.NewFlags("New"), mail.Flags{}); err != nil || e.File != "m:2,Sa" {
			t.Errorf("released: %+v %v", e, err)
		}
	})
}

func TestStaleKeywordsLockIsBroken(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	writeFile(t, root, "INBOX", "cur", "m:2,", "x")
	lock := writeFile(t, root, "INBOX", keywordsLock, "half a line")
	old := time.Now().Add(-lockStale - time.Minute)
	if err := os.Chtimes(lock, old, old); err != nil {
		t.Fatal(err)
	}
	if e, err := s.SetFlags(mail.Inbox, "m", mail.NewFlags("New"), mail.Flags{}); err != nil || e.File != "m:2,a" {
		t.Errorf("%+v %v", e, err)
	}
	if got := keywordsOf(t, root, "INBOX"); got != "0 New\n" {
		t.Errorf("file %q", got)
	}
}

// TestKeywordsFailAnywhere: the file is the old or the new one, and no message carries a letter that is not in it.
func TestKeywordsFailAnywhere(t *testing.T) {
	for step := 0; ; step++ {
		s, f, root := faultStore(t, Nested)
		f.age = time.Hour
		if err := s.CreateFolder(mail.Inbox); err != nil {
			t.Fatal(err)
		}
		writeFile(t, root, "INBOX", keywordsFile, "0 Old\n")
		writeFile(t, root, "INBOX", "cur", "m:2,a", "x")
		f.failAt(step, false)
		e, err := s.SetFlags(mail.Inbox, "m", mail.NewFlags("New"), mail.Flags{})
		hit := len(f.calls()) > step
		f.set(nil)
		lines := keywordsOf(t, root, "INBOX")
		name := files(t, root, "INBOX", "cur")
		switch {
		case lines != "0 Old\n" && lines != "0 Old\n1 New\n":
			t.Fatalf("step %d: file %q", step, lines)
		case len(name) != 1 || strings.Contains(name[0], "b") && lines == "0 Old\n":
			t.Fatalf("step %d: %v with file %q", step, name, lines)
		case err == nil && (e.Flags.String() != "New Old" || name[0] != "m:2,ab"):
			t.Fatalf("step %d: no error, and %+v", step, e)
		}
		if !hit {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		// The next try works, whatever was left behind.
		if err != nil && !errors.Is(err, errInjected) {
			t.Fatalf("step %d: %v", step, err)
		}
		if err := ignoreMissing(os.Remove(filepath.Join(root, "INBOX", keywordsLock))); err != nil {
			t.Fatal(err)
		}
		if e, err := s.SetFlags(mail.Inbox, "m", mail.NewFlags("New"), mail.Flags{}); err != nil || e.File != "m:2,ab" {
			t.Fatalf("step %d: tried again: %+v %v", step, e, err)
		}
	}
}

func TestFolderCalledLikeTheKeywordsFile(t *testing.T) {
	s, _ := testStore(t, Nested, mail.Inbox, "INBOX/dovecot-keywords")
	got := deliver(t, s, mail.Inbox, mail.NewFlags(`\Seen`, "Work"), "x")
	if got.Flags.String() != `\Seen` {
		t.Errorf("delivered with %v", got.Flags)
	}
	if scan := mustScan(t, s, mail.Inbox); len(scan.Entries) != 1 {
		t.Errorf("%+v", scan)
	}
}

func TestHugeKeywordsFile(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	writeFile(t, root, "INBOX", keywordsFile, strings.Repeat("x", maxKeywordsFile+1))
	if _, err := s.Scan(t.Context(), mail.Inbox, nil); err == nil || errors.Is(err, syscall.ENOENT) {
		t.Errorf("Scan: %v", err)
	}
}
