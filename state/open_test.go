package state

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestOpenMakesAPrivateFileAndCloseLeavesOnlyThat(t *testing.T) {
	path := statePath(t)
	born := time.Date(2026, 5, 6, 7, 8, 9, 10, time.UTC)
	db, err := Open(context.Background(), path, Options{Owner: testOwner, LocalFS: true, Now: func() time.Time { return born }})
	must(t, err)
	if !db.Fresh() || db.Copied() || db.Owner() != testOwner || len(db.Generation()) != 32 {
		t.Errorf("fresh %v, copied %v, owner %v, generation %q", db.Fresh(), db.Copied(), db.Owner(), db.Generation())
	}
	same(t, "since", db.Since(), born.Truncate(time.Second))
	addFolder(t, db, "INBOX")
	generation := db.Generation()
	must(t, db.Close())
	same(t, "files", files(t, path), []string{"state.db"})
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("permissions are %v", info.Mode())
	}
	must(t, db.Close()) // once more does nothing
	if err := db.View(context.Background(), func(*Tx) error { return nil }); !errors.Is(err, errClosed) {
		t.Errorf("View after Close: %v", err)
	}

	db = openAt(t, path)
	if db.Fresh() || db.Copied() || db.Generation() != generation || !db.Since().Equal(born.Truncate(time.Second)) {
		t.Errorf("opened again: fresh %v, copied %v, generation %q, since %v", db.Fresh(), db.Copied(), db.Generation(), db.Since())
	}
}

func TestOpenTakesAnEmptyFileForNone(t *testing.T) {
	path := statePath(t)
	must(t, os.WriteFile(path, nil, 0o600))
	if !openAt(t, path).Fresh() {
		t.Error("not fresh")
	}
}

func TestOpenWithOddPaths(t *testing.T) {
	for _, name := range []string{"a?mode=memory", "50%41", "hash#mark", "sp ace&x=y", "ümläut", "semi;colon", "file:x"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name)
			must(t, os.Mkdir(dir, 0o700))
			path := filepath.Join(dir, name)
			db := openAt(t, path)
			addFolder(t, db, "INBOX")
			must(t, db.Close())
			same(t, "files", files(t, path), []string{name})
			r, err := OpenReader(context.Background(), path)
			must(t, err)
			same(t, "folders", len(read(t, r, (*Tx).Folders)), 1)
			same(t, "files after reading", files(t, path), []string{name})
		})
	}
}

func TestJournalModes(t *testing.T) {
	path := statePath(t)
	for _, local := range []bool{false, true, false} {
		db, err := Open(context.Background(), path, Options{Owner: testOwner, LocalFS: local})
		must(t, err)
		want, wantLevel := "delete", int64(3) // EXTRA
		if local {
			want, wantLevel = "wal", 2 // FULL
		}
		mode, err := db.c.pragmaValue("journal_mode")
		must(t, err)
		level, err := db.c.pragmaValue("synchronous")
		must(t, err)
		if mode != want || level != wantLevel {
			t.Errorf("local %v: journal_mode %v, synchronous %v", local, mode, level)
		}
		update(t, db, func(tx *Tx) error {
			if _, err := os.Stat(path + "-wal"); (err == nil) != local {
				t.Errorf("local %v: write-ahead log: %v", local, err)
			}
			return tx.Set("k", want)
		})
		must(t, db.Close())
		same(t, "files", files(t, path), []string{"state.db"})
	}
}

func TestOpenRefusesAnotherOwner(t *testing.T) {
	path := statePath(t)
	must(t, openAt(t, path).Close())
	before, err := os.ReadFile(path)
	must(t, err)
	for _, tc := range []struct {
		name   string
		owner  Owner
		rebind bool
		hint   string
	}{
		{"host", Owner{"imap", "mail.example.net", "me@example.org"}, false, "--rebind"},
		{"user", Owner{"imap", "imap.example.org", "you@example.org"}, false, "--rebind"},
		{"case of the user", Owner{"imap", "imap.example.org", "Me@example.org"}, false, "--rebind"},
		{"protocol", Owner{"pop3", "imap.example.org", "me@example.org"}, false, "rename the file away"},
		{"protocol, rebound", Owner{"pop3", "imap.example.org", "me@example.org"}, true, "rename the file away"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Open(context.Background(), path, Options{Owner: tc.owner, Rebind: tc.rebind, LocalFS: true})
			if !errors.Is(err, ErrOwner) {
				t.Fatal(err)
			}
			for _, part := range []string{path, testOwner.Host, testOwner.User, tc.owner.Host, tc.owner.User, tc.hint} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not name %q", err, part)
				}
			}
			after, err := os.ReadFile(path)
			must(t, err)
			if !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
			same(t, "files", files(t, path), []string{"state.db"})
		})
	}
	t.Run("case of the host is the same", func(t *testing.T) {
		must(t, openWith(t, path, Options{Owner: Owner{"imap", "IMAP.example.org", "me@example.org"}}).Close())
	})
}

func TestRebindCountsAsCopiedUntilAdopted(t *testing.T) {
	path := statePath(t)
	db := openAt(t, path)
	addFolder(t, db, "INBOX")
	generation := db.Generation()
	must(t, db.Close())

	owner := Owner{"imap", "new.example.org", "me@example.org"}
	db = openWith(t, path, Options{Owner: owner, Rebind: true, LocalFS: true})
	if !db.Copied() || db.Owner() != owner {
		t.Errorf("copied %v, owner %v", db.Copied(), db.Owner())
	}
	must(t, db.Close())

	// The run was cut off: the next one, without --rebind, still knows.
	db = openWith(t, path, Options{Owner: owner, LocalFS: true})
	if !db.Copied() {
		t.Error("forgot that it was rebound")
	}
	must(t, db.Adopt(context.Background()))
	if db.Copied() || db.Generation() == generation {
		t.Errorf("adopted: copied %v, generation %q", db.Copied(), db.Generation())
	}
	generation = db.Generation()
	must(t, db.Close())

	// With --rebind left in the command line nothing more happens.
	db = openWith(t, path, Options{Owner: owner, Rebind: true, LocalFS: true})
	if db.Copied() || db.Generation() != generation {
		t.Errorf("rebound to itself: copied %v", db.Copied())
	}
	same(t, "folders", len(read(t, db, (*Tx).Folders)), 1)
}

func TestCopyAndRestoreAreNoticed(t *testing.T) {
	path := statePath(t)
	db := openAt(t, path)
	addFolder(t, db, "INBOX")
	must(t, db.Close())
	backup, err := os.ReadFile(path)
	must(t, err)

	t.Run("renamed", func(t *testing.T) {
		moved := path + ".moved"
		must(t, os.Rename(path, moved))
		db := openAt(t, moved)
		if db.Copied() {
			t.Error("a rename is no copy")
		}
		must(t, db.Close())
		must(t, os.Rename(moved, path))
	})
	t.Run("copied", func(t *testing.T) {
		other := statePath(t)
		must(t, os.WriteFile(other, backup, 0o600))
		db := openAt(t, other)
		if !db.Copied() || db.Fresh() {
			t.Errorf("copied %v, fresh %v", db.Copied(), db.Fresh())
		}
		must(t, db.Close())
	})
	t.Run("restored", func(t *testing.T) {
		before, err := identify(path)
		must(t, err)
		must(t, os.Remove(path))
		must(t, os.WriteFile(path, backup, 0o600))
		after, err := identify(path)
		must(t, err)
		// A file system that gives the inode again and tells no birth hides it.
		db := openAt(t, path)
		if db.Copied() != (after != before) {
			t.Errorf("copied is %v: %+v, was %+v", db.Copied(), after, before)
		}
		must(t, db.Adopt(context.Background()))
		must(t, db.Close())
		db = openAt(t, path)
		if db.Copied() {
			t.Error("adopted, and copied again")
		}
		must(t, db.Close())
	})
}

func TestBirthTellsReusedInodes(t *testing.T) {
	path := statePath(t)
	db := openAt(t, path)
	id, err := identify(path)
	must(t, err)
	for _, tc := range []struct {
		name   string
		id     identity
		copied bool
	}{
		{"the same", id, false},
		{"another inode", identity{id.inode + 1, id.born}, true},
		{"another inode, birth unknown", identity{id.inode + 1, 0}, true},
		{"same inode, birth was unknown", identity{id.inode, 0}, false},
		{"same inode, other birth", identity{id.inode, id.born + 1}, id.born != 0},
	} {
		update(t, db, func(tx *Tx) error {
			_, err := tx.c.exec(`UPDATE self SET inode = ?, born = ?`, tc.id.inode, tc.id.born)
			return err
		})
		must(t, db.readSelf())
		if db.copied != tc.copied {
			t.Errorf("%s: copied is %v", tc.name, db.copied)
		}
	}
}

func TestOpenRefusesNewer(t *testing.T) {
	path := statePath(t)
	db := openAt(t, path)
	must(t, db.c.pragma("user_version = 99"))
	must(t, db.Close())
	before, err := os.ReadFile(path)
	must(t, err)
	_, err = Open(context.Background(), path, Options{Owner: testOwner, LocalFS: true})
	_, readErr := OpenReader(context.Background(), path)
	for _, err := range []error{err, readErr} {
		if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), path) {
			t.Error(err)
		}
	}
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
	same(t, "files", files(t, path), []string{"state.db"})
}

func TestOpenRefusesWhatIsNoStateDatabase(t *testing.T) {
	foreign := statePath(t)
	c, err := dial(foreign, "")
	must(t, err)
	must(t, c.script("CREATE TABLE t (x)"))
	must(t, c.close())
	other, err := os.ReadFile(foreign)
	must(t, err)
	for name, content := range map[string][]byte{
		"text":                         []byte(strings.Repeat("From: me\n", 500)),
		"short":                        []byte("SQLite format 3"),
		"zeros":                        make([]byte, 4096),
		"another program's database":   other,
		"a database cut off after 100": other[:100],
	} {
		t.Run(name, func(t *testing.T) {
			path := statePath(t)
			must(t, os.WriteFile(path, content, 0o600))
			_, err := Open(context.Background(), path, Options{Owner: testOwner, LocalFS: true})
			_, readErr := OpenReader(context.Background(), path)
			for _, err := range []error{err, readErr} {
				if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "without deleting anything") {
					t.Error(err)
				}
			}
			after, err := os.ReadFile(path)
			must(t, err)
			if !bytes.Equal(content, after) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestOpenRefusesADirectory(t *testing.T) {
	path := t.TempDir()
	_, err := Open(context.Background(), path, Options{Owner: testOwner})
	if err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
	if _, err = OpenReader(context.Background(), path); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
}

// TestOpenFollowsNoLink: whoever may write in the Maildir can't have a database written elsewhere.
func TestOpenFollowsNoLink(t *testing.T) {
	for _, ending := range append([]string{""}, beside[:]...) {
		dir := t.TempDir()
		path, outside := filepath.Join(dir, "state.db"), filepath.Join(t.TempDir(), "outside")
		must(t, os.WriteFile(outside, nil, 0o644))
		if ending != "" {
			must(t, openAt(t, path).Close())
		}
		_ = os.Remove(path + ending)
		if err := os.Symlink(outside, path+ending); err != nil {
			t.Skip(err) // Windows wants a privilege for it
		}
		_, err := Open(context.Background(), path, Options{Owner: testOwner, LocalFS: true})
		if err == nil || !strings.Contains(err.Error(), "symbolic link") {
			t.Errorf("%q: opened: %v", ending, err)
		}
		if _, err = OpenReader(context.Background(), path); err == nil || !strings.Contains(err.Error(), "symbolic link") {
			t.Errorf("%q: opened for reading: %v", ending, err)
		}
		info, err := os.Stat(outside)
		must(t, err)
		same(t, "size of the file outside", info.Size(), int64(0))
		entries, err := os.ReadDir(filepath.Dir(outside))
		must(t, err)
		same(t, "files outside", len(entries), 1)
	}
}

func TestEmptyFileIsMadePrivate(t *testing.T) {
	path := statePath(t)
	must(t, os.WriteFile(path, nil, 0o644))
	must(t, os.Chmod(path, 0o644))
	must(t, openAt(t, path).Close())
	info, err := os.Stat(path)
	must(t, err)
	if runtime.GOOS != "windows" {
		same(t, "mode", info.Mode().Perm(), os.FileMode(0o600))
	}
}

func TestOpenInAMissingDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no", "state.db")
	if _, err := Open(context.Background(), path, Options{Owner: testOwner}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, path, Options{Owner: testOwner}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestARenamedDatabaseLeavesNoLogBehind: a damaged database is renamed away, but not the log of the crash
// that damaged it. SQLite must not replay that into the new database.
func TestARenamedDatabaseLeavesNoLogBehind(t *testing.T) {
	path := statePath(t)
	db := openAt(t, path)
	addFolder(t, db, "Old")
	log, err := os.ReadFile(path + "-wal")
	must(t, err)
	if len(log) == 0 {
		t.Fatal("there is no log to leave behind")
	}
	must(t, db.Close())
	must(t, os.Rename(path, path+".away"))
	must(t, os.WriteFile(path+"-wal", log, 0o600))
	must(t, os.WriteFile(path+"-journal", log, 0o600))
	db = openAt(t, path)
	if !db.Fresh() || len(read(t, db, (*Tx).Folders)) != 0 {
		t.Error("the old log came back")
	}
}

func TestMigrations(t *testing.T) {
	path := statePath(t)
	db := openAt(t, path)
	f := addFolder(t, db, "INBOX")
	addMessage(t, db, fullMessage(f.ID, 7))
	must(t, db.Close())
	before, err := os.ReadFile(path)
	must(t, err)
	ctx, o := context.Background(), Options{Owner: testOwner, LocalFS: true}

	// A step that fails in its middle takes the steps before it back, too.
	broken := append(migrations(), step{sql: `CREATE TABLE extra (x INTEGER)`}, step{sql: `CREATE TABLE more (x INTEGER); CREATE TABLE more (x INTEGER)`})
	if _, err := open(ctx, path, o, broken); err == nil {
		t.Fatal("a broken migration succeeded")
	}
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("a broken migration changed the file")
	}

	steps := append(migrations(), step{sql: `CREATE TABLE extra (x INTEGER)`}, step{sql: `INSERT INTO extra VALUES (1)`, do: func(tx *Tx) error {
		_, err := tx.c.exec(`UPDATE extra SET x = x + (SELECT count(*) FROM message_page)`)
		return err
	}})
	for range 2 { // the second time there is nothing to do
		db, err = open(ctx, path, o, steps)
		must(t, err)
		n, err := db.c.one(`SELECT sum(x) FROM extra`)
		must(t, err)
		version, _, err := db.c.schemaVersion()
		must(t, err)
		if n != 2 || version != len(steps) {
			t.Errorf("after the migration: %d, version %d", n, version)
		}
		must(t, db.Close())
	}
	if _, err := Open(ctx, path, o); !errors.Is(err, ErrNewer) {
		t.Errorf("the older program opens it: %v", err)
	}
}
