package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// version1 makes a database as version 1 left it, and returns its rows.
func version1(tb testing.TB, path string, messages int) map[int64]Message {
	tb.Helper()
	sql, err := os.ReadFile(filepath.Join("testdata", "v1.sql"))
	must(tb, err)
	c, err := dial(path, "")
	must(tb, err)
	must(tb, c.script(string(sql)))
	rows := map[int64]Message{}
	for _, m := range goldenContents().messages {
		rows[m.ID] = m
	}
	for n := range messages {
		m := benchMessage(1, n)
		m.ID = int64(10 + n)
		insert1(tb, c, &m)
		rows[m.ID] = m
	}
	must(tb, c.script("UPDATE self SET next_id = 1000"))
	must(tb, c.close())
	return rows
}

// TestAnOlderDatabaseIsKept: before a database is brought up to date a copy of it is made, for its owner only, which the older
// version can go on with.
func TestAnOlderDatabaseIsKept(t *testing.T) {
	path := statePath(t)
	version1(t, path, 50)
	must(t, os.WriteFile(path+".v1.tmp", []byte("of a run that was stopped"), 0o644))
	must(t, os.WriteFile(path+".v1", []byte("older still"), 0o644))
	for range 2 { // the second time there is nothing to keep
		db := openAt(t, path)
		must(t, db.Close())
		same(t, "files", files(t, path), []string{"state.db", "state.db.v1"})
		info, err := os.Stat(path + ".v1")
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("the copy has the mode %v", info.Mode())
		}
	}
	c, err := dial(path+".v1", "mode=ro")
	must(t, err)
	version, _, err := c.schemaVersion()
	must(t, err)
	same(t, "version of the copy", version, 1)
	n, err := c.one("SELECT count(*) FROM message")
	must(t, err)
	same(t, "messages in the copy", n, int64(53))
	must(t, c.close())

	// Put back, it is a backup that was restored.
	must(t, os.Rename(path+".v1", path))
	if db := openAt(t, path); !db.Copied() {
		t.Error("it does not count as restored")
	}
}

// TestWithoutACopyNothingIsConverted: if there is no place for the copy, the database stays as it is.
func TestWithoutACopyNothingIsConverted(t *testing.T) {
	path := statePath(t)
	version1(t, path, 5)
	must(t, os.Mkdir(path+".v1", 0o700))
	must(t, os.WriteFile(filepath.Join(path+".v1", "in the way"), nil, 0o600))
	before, err := os.ReadFile(path)
	must(t, err)
	if _, err := Open(context.Background(), path, Options{Owner: testOwner}); err == nil || errors.Is(err, ErrCorrupt) {
		t.Errorf("opened: %v", err)
	}
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("it was changed")
	}
	same(t, "files", files(t, path), []string{"state.db", "state.db.v1"})
}

func TestSetAside(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.FixedZone("", 7200))
	path := statePath(t)
	for n, name := range []string{"state.db.damaged-20260506T050809Z", "state.db.damaged-20260506T050809Z-2", "state.db.damaged-20260506T050809Z-3"} {
		content := []byte{byte(n)}
		must(t, os.WriteFile(path, content, 0o600))
		if n > 0 { // the first has nothing beside it
			must(t, os.WriteFile(path+"-wal", content, 0o600))
			must(t, os.WriteFile(path+"-journal", content, 0o600))
		}
		aside, err := SetAside(path, now)
		must(t, err)
		same(t, "place", filepath.Base(aside), name)
		for _, ending := range []string{"", "-wal", "-journal"} {
			got, err := os.ReadFile(aside + ending)
			if n == 0 && ending != "" {
				continue
			}
			must(t, err)
			same(t, "content", got, content)
		}
	}
	must(t, openAt(t, path).Close())
	if _, err := SetAside(filepath.Join(t.TempDir(), "none"), now); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
}

// TestStrayFilesBesideANewDatabase: what a set-aside that was stopped left beside it is not taken for its own.
func TestStrayFilesBesideANewDatabase(t *testing.T) {
	path := statePath(t)
	db := openAt(t, path)
	addFolder(t, db, "INBOX")
	wal, err := os.ReadFile(path + "-wal")
	must(t, err)
	must(t, db.Close())
	other := statePath(t)
	must(t, os.WriteFile(other+"-wal", wal, 0o600))
	must(t, os.WriteFile(other+"-journal", bytes.Repeat([]byte{0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7}, 100), 0o600))
	for range 2 {
		db = openAt(t, other)
		same(t, "folders", len(read(t, db, (*Tx).Folders)), 0)
		must(t, db.Close())
	}
	same(t, "files", files(t, other), []string{"state.db"})
}

func TestIsOurs(t *testing.T) {
	path := statePath(t)
	must(t, openAt(t, path).Close())
	content, err := os.ReadFile(path)
	must(t, err)
	damaged := bytes.Clone(content)
	copy(damaged, "rubbish")
	for name, tc := range map[string]struct {
		content []byte
		ours    bool
	}{
		"whole": {content, true}, "damaged": {damaged, true}, "short": {content[:70], false}, "empty": {nil, false},
		"text": {bytes.Repeat([]byte("From: me\n"), 500), false},
	} {
		must(t, os.WriteFile(path, tc.content, 0o600))
		if got := IsOurs(path); got != tc.ours {
			t.Errorf("%s: %v", name, got)
		}
	}
	if IsOurs(filepath.Join(t.TempDir(), "none")) {
		t.Error("what is not there is ours")
	}
}

// version2 makes a database as version 2 left it, and returns its rows. What version 3 added is taken away again, the rest is
// the same.
func version2(tb testing.TB, path string, messages int) map[int64]Message {
	tb.Helper()
	db := openAt(tb, path)
	fill(tb, db, messages, 30)
	rows := map[int64]Message{}
	for _, m := range read(tb, db, func(tx *Tx) ([]Message, error) { return tx.InFolder(1) }) {
		rows[m.ID] = m
	}
	must(tb, db.Close())
	c, err := dial(path, "")
	must(tb, err)
	must(tb, c.script("DROP TABLE departed; PRAGMA user_version = 2"))
	must(tb, c.close())
	return rows
}

// FuzzUpgrade overwrites a part of a database of version 1: what comes out of the conversion was in it, or an error does. No half of the
// copy that is made before stays behind.
func FuzzUpgrade(f *testing.F) { fuzzUpgrade(f, version1, 1) }

// FuzzUpgradeFrom2 does it with one of version 2.
func FuzzUpgradeFrom2(f *testing.F) { fuzzUpgrade(f, version2, 2) }

func fuzzUpgrade(f *testing.F, older func(testing.TB, string, int) map[int64]Message, version int) {
	path := statePath(f)
	rows := older(f, path, 100)
	content, err := os.ReadFile(path)
	must(f, err)
	f.Add(uint32(0), []byte("SQLite format 4"))
	f.Add(uint32(63), []byte{3})
	f.Add(uint32(68), []byte("None"))
	f.Add(uint32(100), []byte{5, 0, 0, 0, 1})
	f.Add(uint32(4096), []byte{2, 0xff, 0xff})
	for at := 4096; at < len(content); at += 4096 {
		f.Add(uint32(at+3), []byte{0, 1})
		f.Add(uint32(at+4000), []byte("xyz"))
	}
	f.Add(uint32(8192), make([]byte, 4096))
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		damaged := append([]byte(nil), content...)
		copy(damaged[int(at)%len(damaged):], patch)
		path := filepath.Join(t.TempDir(), "state.db")
		tryDamaged(t, path, damaged, rows)
		if _, err := os.Stat(fmt.Sprintf("%s.v%d.tmp", path, version)); err == nil {
			t.Error("half a copy was left")
		}
	})
}
