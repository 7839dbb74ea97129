package maildir

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

// TestCopiesUnderOneBaseName: files of one base name and with the same bytes are one message. What lies in cur stays, then what is not known, then
// what came last; the others can be had back. Files of other bytes are messages of their own.
func TestCopiesUnderOneBaseName(t *testing.T) {
	for _, tc := range []struct {
		files  string // in the order in which they were made
		known  string // its flags, "-": none
		want   string
		copies string
	}{
		{"new/a cur/a:2,S", "", "cur/a:2,S", "a"},
		{"cur/a:2,S new/a", "S", "cur/a:2,S", "a"},
		{"cur/a:2,S new/a", "-", "cur/a:2,S", "a"},
		{"cur/a:2,S cur/a:2,FS", "-", "cur/a:2,FS", "a:2,S"},
		{"cur/a:2,FS cur/a:2,S", "-", "cur/a:2,S", "a:2,FS"},
		{"cur/a:2,FS cur/a:2,S", "", "cur/a:2,S", "a:2,FS"},
		{"cur/a:2,S cur/a:2,FS", "S", "cur/a:2,FS", "a:2,S"},
		{"cur/a:2,FS cur/a:2,S", "FS", "cur/a:2,S", "a:2,FS"},
		{"cur/a:2,F cur/a:2,S cur/a:2,FSa new/a", "F", "cur/a:2,FSa", "a a:2,F a:2,S"},
	} {
		s, root := testStore(t, Nested, mail.Inbox)
		inbox := filepath.Join(root, "INBOX")
		writeFile(t, inbox, keywordsFile, "0 Work\n")
		text := strings.Repeat("x", 200<<10)
		for _, name := range strings.Fields(tc.files) {
			writeFile(t, inbox, name, text)
			tick(t, root)
		}
		writeFile(t, inbox, "cur/b:2,S", text)
		known := knowing([]Entry{{Base: "b", Flags: mail.NewFlags(`\Seen`)}})
		if tc.known != "" {
			known = knowing([]Entry{{Base: "a", Flags: mail.SystemFlags(systemFlags(strings.Trim(tc.known, "-")))}})
		}
		before := treeOf(t, root)
		ro, err := Open(root, Nested, Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		n := len(strings.Fields(tc.copies))
		if scan := scanKnown(t, ro, known); scan.Count != 2 || len(scan.Problems) != n || scan.Aside != 0 || treeOf(t, root) != before {
			t.Errorf("%s, reading only: %+v", tc.files, scan)
		}
		ro.Close()

		scan := scanKnown(t, s, known)
		if !scan.All || scan.Count != 2 || scan.Aside != n || len(scan.Problems) != 0 || known.Taken("a") {
			t.Errorf("%s: %+v", tc.files, scan)
		}
		if e := scan.Entries[0]; tc.want != strings.TrimPrefix(folderDir{path: "INBOX"}.file(e), "INBOX/") {
			t.Errorf("%s, known %q: %s stays", tc.files, tc.known, e.File)
		}
		kept, problems, err := s.Kept()
		if err != nil || len(problems) > 0 {
			t.Fatal(problems, err)
		}
		var aside []string
		for _, k := range kept {
			aside = append(aside, filepath.Base(k.file))
			if k.Size != int64(len(text)) || k.Folder != mail.Inbox {
				t.Errorf("%+v", k)
			}
		}
		if slices.Sort(aside); !slices.Equal(aside, strings.Fields(tc.copies)) {
			t.Errorf("%s, known %q: aside is %v", tc.files, tc.known, aside)
		}
		if err := s.Flush(); err != nil {
			t.Error(err)
		}
		if again := mustScan(t, s, mail.Inbox); !slices.Equal(again.Entries, scan.Entries) || again.Aside != 0 {
			t.Errorf("%s: a second reading gives %+v, want %+v", tc.files, again, scan.Entries)
		}
	}
}

// TestCopyThatCantBeCompared: what can't be read may be another message, and takes no new name either.
func TestCopyThatCantBeCompared(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	withFolders(t, s, root, []mail.FolderName{mail.Inbox})
	writeFile(t, root, "INBOX", "new", "a", "x")
	writeFile(t, root, "INBOX", "cur", "a:2,S", "x")
	f.set(func(op, name string) error {
		if op == "open" && name == "INBOX/new/a" {
			return fs.ErrPermission
		}
		return nil
	})
	if _, err := s.Scan(t.Context(), mail.Inbox, nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v", err)
	}
	if got := slices.Concat(files(t, root, "INBOX", "new"), files(t, root, "INBOX", "cur")); !slices.Equal(got, []string{"a", "a:2,S"}) {
		t.Errorf("there is %v", got)
	}
	f.set(nil)
	if scan := mustScan(t, s, mail.Inbox); len(scan.Entries) != 1 || scan.Aside != 1 {
		t.Errorf("%+v", scan)
	}
}
