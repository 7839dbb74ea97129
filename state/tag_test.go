package state

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/ci"
)

// tagged opens a database that has a tag, and is closed.
func tagged(t *testing.T) string {
	t.Helper()
	path := statePath(t)
	db := openAt(t, path)
	addFolder(t, db, "INBOX")
	must(t, db.Close())
	if len(tagsOf(t, path)) == 0 {
		ci.Skip(t, "there is no tag: this file system is not known to keep births")
	}
	time.Sleep(20 * time.Millisecond) // births differ by the system's tick
	return path
}

func tagsOf(t *testing.T, path string) []string {
	t.Helper()
	files, err := tagFiles(path)
	must(t, err)
	return files
}

// recorded writes something in a run of its own.
func recorded(t *testing.T, path string, name mail.FolderName) {
	t.Helper()
	db := openAt(t, path)
	if db.Copied() {
		t.Errorf("before %s: it counts as restored", name)
	}
	addFolder(t, db, name)
	must(t, db.Close())
}

func copied(t *testing.T, path string) bool {
	t.Helper()
	r, err := OpenReader(context.Background(), path)
	must(t, err)
	db := openAt(t, path)
	if r.Copied() != db.Copied() {
		t.Errorf("a reader says %v, a writer %v", r.Copied(), db.Copied())
	}
	must(t, db.Close())
	return db.Copied()
}

// putBack writes all files of a backup over those in a directory, which keep their inodes.
func putBack(t *testing.T, backup, dir string) {
	t.Helper()
	files, err := os.ReadDir(backup)
	must(t, err)
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(backup, f.Name()))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, f.Name()), b, 0o600))
	}
}

func TestRestoredInPlace(t *testing.T) {
	for _, how := range []string{"beside what came later", "and what came later removed"} {
		t.Run(how, func(t *testing.T) {
			path := tagged(t)
			backup := filepath.Join(t.TempDir(), "backup")
			must(t, os.CopyFS(backup, os.DirFS(filepath.Dir(path))))
			recorded(t, path, "A")
			later := tagsOf(t, path)
			putBack(t, backup, filepath.Dir(path))
			if how != "beside what came later" {
				must(t, os.Remove(later[0]))
			}
			for range 2 { // nothing was compared yet
				if !copied(t, path) {
					t.Fatal("it is not noticed")
				}
			}
			db := openAt(t, path)
			addFolder(t, db, "A")
			must(t, db.Adopt(context.Background()))
			if db.Copied() || len(tagsOf(t, path)) != 1 {
				t.Errorf("adopted: copied %v, tags %q", db.Copied(), tagsOf(t, path))
			}
			must(t, db.Close())
			for _, name := range []mail.FolderName{"B", "C"} {
				recorded(t, path, name)
			}
			// The same backup once more, which does not know that the database was adopted.
			putBack(t, backup, filepath.Dir(path))
			if !copied(t, path) {
				t.Error("the second time it is not noticed")
			}
		})
	}
}

// TestRestoredWhileInUse: a backup that was made while a run was under way.
func TestRestoredWhileInUse(t *testing.T) {
	path := tagged(t)
	db := openAt(t, path)
	addFolder(t, db, "A")
	backup := filepath.Join(t.TempDir(), "backup")
	must(t, os.CopyFS(backup, os.DirFS(filepath.Dir(path))))
	addFolder(t, db, "B")
	must(t, db.Close())
	time.Sleep(20 * time.Millisecond)
	putBack(t, backup, filepath.Dir(path))
	if !copied(t, path) {
		t.Error("it is not noticed")
	}
}

// TestNotRestored: what else happens to files does not look like a restored backup, which would bring deleted mail back.
func TestNotRestored(t *testing.T) {
	for name, f := range map[string]func(t *testing.T, path, tag string){
		"nothing":         func(*testing.T, string, string) {},
		"the tag is gone": func(t *testing.T, _, tag string) { must(t, os.Remove(tag)) },
		"other rights":    func(t *testing.T, path, tag string) { must(t, os.Chmod(path, 0o600)); must(t, os.Chmod(tag, 0o600)) },
		"other times": func(t *testing.T, path, tag string) {
			now := time.Now()
			must(t, os.Chtimes(path, now, now))
			must(t, os.Chtimes(tag, now, now))
		},
		"a second name": func(t *testing.T, path, tag string) {
			must(t, os.Link(path, path+".link"))
			must(t, os.Link(tag, filepath.Join(t.TempDir(), "tag")))
		},
		"a backup is made": func(t *testing.T, path, _ string) {
			must(t, os.CopyFS(filepath.Join(t.TempDir(), "backup"), os.DirFS(filepath.Dir(path))))
		},
		"a backup of what it is now": func(t *testing.T, path, _ string) {
			backup := filepath.Join(t.TempDir(), "backup")
			must(t, os.CopyFS(backup, os.DirFS(filepath.Dir(path))))
			putBack(t, backup, filepath.Dir(path))
		},
		"the name is that of before a power cut": func(t *testing.T, path, tag string) { must(t, os.Rename(tag, tagPath(path, newGeneration()))) },
		"it was not named yet when it stopped":   func(t *testing.T, path, tag string) { must(t, os.Rename(tag, path+"-tag.new")) },
		"it was not recorded yet when it stopped": func(t *testing.T, path, _ string) {
			if makeTag(path+"-tag.new") == (identity{}) {
				t.Error("it can't be made")
			}
		},
		"of an older version, that knows no tags": func(t *testing.T, path, tag string) {
			must(t, os.Remove(tag))
			db := openAt(t, path)
			must(t, db.c.update(func(tx *Tx) error { return tx.Set(tagKey, "") }))
			must(t, db.Close())
		},
		"used by an older version meanwhile": func(t *testing.T, path, _ string) {
			db := openAt(t, path)
			must(t, db.c.update(func(tx *Tx) error { return tx.Set("older", "1") }))
			must(t, db.Close())
		},
		"there and back": func(t *testing.T, path, _ string) {
			other := statePath(t)
			must(t, os.Rename(path, other))
			recorded(t, other, "Other")
			must(t, os.Rename(other, path))
		},
		"its directory is another's too": func(t *testing.T, path, _ string) { recorded(t, path+"2", "INBOX") },
	} {
		t.Run(name, func(t *testing.T) {
			path := tagged(t)
			f(t, path, tagsOf(t, path)[0])
			for _, name := range []mail.FolderName{"A", "B"} {
				if copied(t, path) {
					t.Error("it counts as restored")
				}
				recorded(t, path, name)
				if len(tagsOf(t, path)) != 1 {
					t.Errorf("tags: %q", tagsOf(t, path))
				}
			}
		})
	}
}

// TestFailedUpdateMakesNoTag: what was not recorded is not named.
func TestFailedUpdateMakesNoTag(t *testing.T) {
	path := tagged(t)
	must(t, os.Remove(tagsOf(t, path)[0]))
	db := openAt(t, path)
	if err := db.Update(context.Background(), func(*Tx) error { return os.ErrInvalid }); err == nil || len(tagsOf(t, path)) != 0 {
		t.Errorf("%v, tags %q", err, tagsOf(t, path))
	}
	must(t, db.Close())
	recorded(t, path, "A")
	if len(tagsOf(t, path)) != 1 {
		t.Errorf("tags: %q", tagsOf(t, path))
	}
}
