package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// openAttempts bounds how often OpenReader looks again because a sync ended meanwhile.
const openAttempts = 5

// OpenReader opens the database at path for reading, also while another process writes. It makes no file and
// changes none. It fails with ErrNoState if there is no database, or an empty one, with ErrNewer, ErrCorrupt, and ErrCutOff.
// Update fails. View opens the file afresh each time, so the DB can be kept as long as one likes.
//
// Not for the process that has the database open for writing: closing a file gives up all of a process's locks on it.
func OpenReader(ctx context.Context, path string) (*DB, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	db := &DB{path: path, turn: make(chan struct{}, 1), reader: true}
	db.turn <- struct{}{}
	for attempt := 1; ; attempt++ {
		err := db.viewFile(func(tx *Tx) error {
			db.c = tx.c
			defer func() { db.c = nil }()
			return db.readSelf()
		})
		switch {
		case err == nil:
			return db, nil
		case !errors.Is(err, ErrChanged) || attempt == openAttempts:
			return nil, err
		}
	}
}

// viewFile runs f on a connection of its own.
//
// A database in WAL mode can be read through its log only, and SQLite makes an empty log where there is none. A reader
// shall make no file, so without a log it reads the file as one that can't change, without locks, and looks afterwards
// whether it did: then a sync ended meanwhile, and what f saw may be of two minds. (If the log goes away between the look
// and the opening, SQLite leaves an empty one behind, which the next sync removes.)
func (db *DB) viewFile(f func(tx *Tx) error) error {
	before, err := lookAt(db.path)
	if err != nil {
		return err
	}
	locks, err := usesLocks(db.path)
	if err != nil {
		return err
	}
	if locks {
		err := db.viewOnce("mode=ro", f)
		if !errors.Is(err, ErrIO) || !emptyLog(db.path) {
			return err
		}
		// A sync that found no room has left it, and SQLite has none for what it keeps beside it. Nothing is in it that would be missed.
	}
	err = db.viewOnce("mode=ro&immutable=1", f)
	after, again := lookAt(db.path)
	if again == nil && after != before {
		return fmt.Errorf("state database %s %w; run again", db.path, ErrChanged)
	}
	return errors.Join(err, again)
}

func (db *DB) viewOnce(query string, f func(tx *Tx) error) (err error) {
	c, err := dial(db.path, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	version, empty, err := c.schemaVersion()
	if err != nil {
		return err
	}
	if empty {
		return fmt.Errorf("state database %s: %w", db.path, ErrNoState)
	}
	if err := c.notNewer(version, migrations()); err != nil {
		return err
	}
	if version < len(migrations()) {
		return fmt.Errorf("state database %s: it was written by an older version of Satchel; the next sync brings it up to date", db.path)
	}
	return c.view(f)
}

// look is what shows whether the database was written to. What is in the log is not in the file yet.
type look struct {
	size    int64
	changed time.Time
}

func lookAt(path string) (look, error) {
	info, err := lookAtFiles(path)
	if errors.Is(err, fs.ErrNotExist) {
		return look{}, fmt.Errorf("state database %s: %w", path, ErrNoState)
	}
	if err != nil {
		return look{}, fmt.Errorf("state database: %w", err)
	}
	return look{size: info.Size(), changed: info.ModTime()}, nil
}

func emptyLog(path string) bool {
	log, err := os.Stat(path + "-wal")
	return err == nil && log.Size() == 0
}

// usesLocks reports whether a reader and a writer keep out of each other's way without a new file: there is a log, or the
// file was last written with a rollback journal (https://sqlite.org/fileformat.html, section 1.3, bytes 18 and 19).
func usesLocks(path string) (bool, error) {
	if _, err := os.Stat(path + "-wal"); err == nil {
		return true, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("state database: %w", err)
	}
	defer func() { _ = f.Close() }()
	var header [20]byte
	if n, _ := f.ReadAt(header[:], 0); n < len(header) {
		return false, nil // empty or damaged; SQLite says which
	}
	return header[18] == 1 && header[19] == 1, nil
}
