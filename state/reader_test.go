package state

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReaderMakesNothing(t *testing.T) {
	for _, local := range []bool{true, false} {
		path := statePath(t)
		if _, err := OpenReader(context.Background(), path); !errors.Is(err, ErrNoState) {
			t.Errorf("no file: %v", err)
		}
		same(t, "files", files(t, path), []string(nil))
		must(t, os.WriteFile(path, nil, 0o600))
		if _, err := OpenReader(context.Background(), path); !errors.Is(err, ErrNoState) {
			t.Errorf("empty file: %v", err)
		}
		db := openWith(t, path, Options{Owner: testOwner, LocalFS: local})
		f := addFolder(t, db, "INBOX")
		addMessage(t, db, fullMessage(f.ID, 7))
		generation := db.Generation()
		must(t, db.Close())
		before, err := os.Stat(path)
		must(t, err)

		r, err := OpenReader(context.Background(), path)
		must(t, err)
		if r.Owner() != testOwner || r.Generation() != generation || r.Fresh() || r.Copied() {
			t.Errorf("owner %v, generation %q, fresh %v, copied %v", r.Owner(), r.Generation(), r.Fresh(), r.Copied())
		}
		view(t, r, func(tx *Tx) error {
			same(t, "files while reading", files(t, path), []string{"state.db"})
			c, err := tx.Counts(f.ID)
			same(t, "held", c.Held, 1)
			return err
		})
		if err := r.Update(context.Background(), func(*Tx) error { return nil }); !errors.Is(err, errReadOnly) {
			t.Errorf("Update: %v", err)
		}
		must(t, r.Close())
		if err := r.View(context.Background(), func(*Tx) error { return nil }); !errors.Is(err, errClosed) {
			t.Errorf("View after Close: %v", err)
		}
		same(t, "files", files(t, path), []string{"state.db"})
		after, err := os.Stat(path)
		must(t, err)
		if !after.ModTime().Equal(before.ModTime()) || after.Size() != before.Size() {
			t.Error("the file was written to")
		}
	}
}

func TestReaderOfAReadOnlyDirectory(t *testing.T) {
	path := statePath(t)
	db := openAt(t, path)
	addFolder(t, db, "INBOX")
	must(t, db.Close())
	must(t, os.Chmod(path, 0o400))
	must(t, os.Chmod(filepath.Dir(path), 0o500))
	defer func() { must(t, os.Chmod(filepath.Dir(path), 0o700)) }()
	r, err := OpenReader(context.Background(), path)
	must(t, err)
	same(t, "folders", len(read(t, r, (*Tx).Folders)), 1)
}

func TestReaderBesideAWriter(t *testing.T) {
	path := statePath(t)
	w := openAt(t, path)
	f := addFolder(t, w, "INBOX")
	r, err := OpenReader(context.Background(), path)
	must(t, err)
	agreed := func() int { return read(t, r, func(tx *Tx) (int, error) { return tx.Agreed(f.ID) }) }
	same(t, "before", agreed(), 0)
	update(t, w, func(tx *Tx) error {
		must(t, tx.PutMessage(&Message{Folder: f.ID, UID: 1, Name: "a"}))
		same(t, "what is not committed", agreed(), 0)
		return nil
	})
	same(t, "what is", agreed(), 1)

	// A snapshot stays what it is while the writer goes on.
	view(t, r, func(tx *Tx) error {
		if _, err := tx.Agreed(f.ID); err != nil {
			return err
		}
		addMessage(t, w, Message{Folder: f.ID, UID: 2, Name: "b"})
		n, err := tx.Agreed(f.ID)
		same(t, "in the snapshot", n, 1)
		return err
	})
	same(t, "after it", agreed(), 2)
	must(t, w.Close())
	same(t, "after the writer", agreed(), 2)
}

// TestReaderMeetsAHotJournal: a crash in a commit, without a write-ahead log, leaves what only a writer can take back.
func TestReaderMeetsAHotJournal(t *testing.T) {
	path, crashed := statePath(t), statePath(t)
	o := Options{Owner: testOwner}
	db := openWith(t, path, o)
	addFolder(t, db, "INBOX")
	update(t, db, func(tx *Tx) error {
		// More than SQLite keeps in memory, so that some of it is in the file before the commit.
		err := errors.Join(tx.PutFolder(&Folder{Name: "A"}), tx.Set("filler", strings.Repeat("x", 4<<20)), tx.c.pager.flush())
		for _, ending := range []string{"", "-journal"} {
			b, rerr := os.ReadFile(path + ending)
			err = errors.Join(err, rerr, os.WriteFile(crashed+ending, b, 0o600))
		}
		return err
	})
	_, err := OpenReader(context.Background(), crashed)
	if !errors.Is(err, ErrCutOff) || !strings.Contains(err.Error(), "next sync") {
		t.Errorf("with a hot journal: %v", err)
	}
	must(t, openWith(t, crashed, o).Close())
	r, err := OpenReader(context.Background(), crashed)
	must(t, err)
	same(t, "folders after the next sync", len(read(t, r, (*Tx).Folders)), 1)
}

// TestReaderNoticesTheEndOfASync: the file is read without a lock, and a sync ends meanwhile.
func TestReaderNoticesTheEndOfASync(t *testing.T) {
	path := statePath(t)
	w := openAt(t, path)
	f := addFolder(t, w, "INBOX")
	must(t, w.Close())
	r, err := OpenReader(context.Background(), path)
	must(t, err)
	for _, result := range []error{nil, errors.New("what was read made no sense")} {
		runs := 0
		err = r.View(context.Background(), func(tx *Tx) error {
			runs++
			w := openAt(t, path)
			addMessage(t, w, Message{Folder: f.ID})
			must(t, w.Close())
			return result
		})
		if !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), path) || runs != 1 {
			t.Errorf("f returned %v: %v after %d runs", result, err, runs)
		}
	}
	rows := read(t, r, func(tx *Tx) ([]Message, error) { return tx.InFolder(f.ID) })
	same(t, "rows, read again", len(rows), 2)

	refused := errors.New("refused by the caller")
	if err := r.View(context.Background(), func(*Tx) error { return refused }); !errors.Is(err, refused) || errors.Is(err, ErrChanged) {
		t.Errorf("the caller's own error: %v", err)
	}
}
