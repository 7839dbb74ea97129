package maildir

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

// TestFinishMove: what a move that was cut off left in the old folder goes, and nothing else.
func TestFinishMove(t *testing.T) {
	link := func(t *testing.T, from, to string) {
		if err := os.Link(from, to); err != nil {
			t.Fatal(err)
		}
	}
	write := func(text string) func(*testing.T, string, string) {
		return func(t *testing.T, _, to string) {
			if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		name    string
		there   func(t *testing.T, from, to string)
		mounted bool // nothing is renamed into B
		done    bool
	}{
		{"a link", link, false, true},
		{"nothing", func(*testing.T, string, string) {}, false, false},
		{"a copy", write("x"), false, false},
		{"a copy to a mounted folder", write("x"), true, true},
		{"another message in a mounted folder", write("y"), true, false},
	} {
		s, f, root := faultStore(t, Nested)
		withFolders(t, s, root, []mail.FolderName{"A", "B"})
		from, to := filepath.Join(root, "A", "cur", "m:2,S"), filepath.Join(root, "B", "cur", "m:2,S")
		write("x")(t, "", from)
		tc.there(t, from, to)
		if tc.mounted {
			f.FS = showing{f.FS, "B"}
		}
		done, err := s.FinishMove(t.Context(), "A", "m", "B")
		if done != tc.done || err != nil {
			t.Errorf("%s: %v %v", tc.name, done, err)
		}
		if got := files(t, root, "A", "cur"); (len(got) == 0) != tc.done {
			t.Errorf("%s: A has %v", tc.name, got)
		}
		if got := files(t, root, "A", "tmp"); len(got) > 0 {
			t.Errorf("%s: left: %v", tc.name, got)
		}
		if done, err := s.FinishMove(t.Context(), "A", "m", "B"); done || err != nil {
			t.Errorf("%s, once more: %v %v", tc.name, done, err)
		}
	}
}

// TestFinishMoveInOneFolder: two folders are one directory, as a mount shows it elsewhere. The only file that there is stays.
func TestFinishMoveInOneFolder(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	withFolders(t, s, root, []mail.FolderName{"A", "B"})
	writeFile(t, root, "A", "cur", "m:2,S", "x")
	f.FS = showing{f.FS, "A"}
	done, err := s.FinishMove(t.Context(), "A", "m", "B")
	if got := files(t, root, "A", "cur"); done || err != nil || !slices.Equal(got, []string{"m:2,S"}) {
		t.Errorf("%v %v, there is %v", done, err, got)
	}
	if got := files(t, root, "A", "tmp"); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

// showing shows a folder as B, which nothing is renamed into from elsewhere.
type showing struct {
	FS
	folder string
}

func (v showing) name(name string) string {
	if rest, ok := strings.CutPrefix(name, "B/"); ok {
		return v.folder + "/" + rest
	}
	return name
}

func (v showing) Stat(name string) (FileInfo, error) { return v.FS.Stat(v.name(name)) }

func (v showing) Open(name string) (File, error) { return v.FS.Open(v.name(name)) }

func (v showing) Mkdir(name string, perm fs.FileMode) error { return v.FS.Mkdir(v.name(name), perm) }

func (v showing) RenameNew(from, to string) error {
	if strings.HasPrefix(from, "B/") != strings.HasPrefix(to, "B/") {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: syscall.EXDEV}
	}
	return v.FS.RenameNew(v.name(from), v.name(to))
}
