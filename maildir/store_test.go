package maildir

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// testStore opens a Maildir in a new directory, with the folders given. It makes nothing durable, which
// no test would notice, except that they would all take minutes.
func testStore(t testing.TB, layout Layout, folders ...mail.FolderName) (*Store, string) {
	t.Helper()
	s, _, root := faultStore(t, layout)
	return s, withFolders(t, s, root, folders)
}

// realStore is testStore on the file system as it is.
func realStore(t testing.TB, layout Layout, folders ...mail.FolderName) (*Store, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "Mail")
	s, err := Open(root, layout, Options{Host: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, withFolders(t, s, root, folders)
}

func withFolders(t testing.TB, s *Store, root string, folders []mail.FolderName) string {
	t.Helper()
	for _, f := range folders {
		if err := s.CreateFolder(f); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func writeFile(t testing.TB, parts ...string) string {
	t.Helper()
	name := filepath.Join(parts[:len(parts)-1]...)
	if err := os.WriteFile(name, []byte(parts[len(parts)-1]), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// deliver delivers one message.
func deliver(t testing.TB, s *Store, f mail.FolderName, flags mail.Flags, text string) Delivered {
	t.Helper()
	b := s.NewBatch()
	d, err := b.Add(f, flags, time.Unix(1e9, 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(d, text); err != nil {
		t.Fatal(err)
	}
	got, err := d.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	return got
}

func mustScan(t testing.TB, s *Store, f mail.FolderName) Scan {
	t.Helper()
	scan, err := s.Scan(t.Context(), f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return scan
}

// files lists a directory below the root, sorted.
func files(t testing.TB, parts ...string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func readWire(t testing.TB, s *Store, f mail.FolderName, base string, raw bool) string {
	t.Helper()
	r, size, err := s.OpenWire(f, base, raw)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(got)) != size {
		t.Fatalf("OpenWire announced %d bytes and gave %d", size, len(got))
	}
	return string(got)
}

func TestLifeOfAMessage(t *testing.T) {
	for _, layout := range []Layout{Nested, PlusPlus} {
		t.Run(string(layout), func(t *testing.T) {
			s, root := realStore(t, layout, mail.Inbox, "Archive/2024")
			const text = "Subject: hello\r\nDate: Mon, 2 Jan 2006 15:04:05 +0000\r\n\r\nbody\r\n"
			got := deliver(t, s, mail.Inbox, mail.Flags{}, text)
			if want := int64(len(text) - 4); got.FileSize != want || !got.New || got.Raw {
				t.Errorf("Delivered = %+v, want %d bytes in new", got, want)
			}
			info, err := s.Stat(mail.Inbox, got.Base)
			if err != nil || info.Inode != got.Inode || !info.ModTime.Equal(time.Unix(1e9, 0)) {
				t.Errorf("Stat = %+v, %v", info, err)
			}
			if wire := readWire(t, s, mail.Inbox, got.Base, false); wire != text {
				t.Errorf("wire = %q, want %q", wire, text)
			}
			content, _, err := s.Survey(t.Context(), mail.Inbox, got.Base)
			if err != nil || content.Digest != got.Content.Digest || content.Header != got.Content.Header {
				t.Errorf("Survey = %+v, %v", content, err)
			}
			e, err := s.SetFlags(mail.Inbox, got.Base, mail.NewFlags(`\Seen`, "Work"), mail.Flags{})
			if err != nil || e.File != got.Base+":2,Sa" || e.New || e.Flags.String() != `\Seen Work` {
				t.Errorf("SetFlags = %+v, %v", e, err)
			}
			e, err = s.Move(mail.Inbox, got.Base, "Archive/2024")
			if err != nil || e.File != got.Base+":2,Sa" || e.Flags.String() != `\Seen Work` {
				t.Errorf("Move = %+v, %v", e, err)
			}
			if scan := mustScan(t, s, mail.Inbox); len(scan.Entries) != 0 || !scan.Quiet {
				t.Errorf("Scan of the folder it left = %+v", scan)
			}
			if scan := mustScan(t, s, "Archive/2024"); len(scan.Entries) != 1 || scan.Entries[0] != e || !scan.Quiet {
				t.Errorf("Scan = %+v, want %+v", scan, e)
			}
			if found, err := s.FindAll(t.Context(), []string{got.Base}); err != nil || !slices.Equal(found[got.Base], []mail.FolderName{"Archive/2024"}) {
				t.Errorf("FindAll = %v %v", found, err)
			}
			run := RunName(time.Unix(1e9, 0))
			if err := s.Remove("Archive/2024", got.Base, &Undo{Run: run}); err != nil {
				t.Fatal(err)
			}
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			undo := filepath.Join(root, ".satchel/undo")
			if layout == PlusPlus {
				undo = filepath.Join(root, "satchel-undo")
			}
			if kept := files(t, undo, run, "Archive%2F2024"); !slices.Equal(kept, []string{keptKeywords, e.File}) {
				t.Errorf("kept for undo: %v, want %s", kept, e.File)
			}
			if folders, problems, err := s.Folders(); err != nil || len(folders) != 2 || len(problems) != 0 {
				t.Errorf("Folders = %v %v %v", folders, problems, err)
			}
			if err := s.PurgeUndo(time.Unix(1e9+1, 0)); err != nil || len(files(t, undo)) != 0 {
				t.Errorf("PurgeUndo: %v", err)
			}
			if err := s.RemoveFolder("Archive/2024"); err != nil {
				t.Fatal(err)
			}
		})
	}
}
