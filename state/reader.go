package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// readAttempts bounds how often a reader starts again because a sync that ended changed the file under it.
const readAttempts = 5

// OpenReader opens the database at path for reading, also while another process writes. It makes no file and
// changes none. It fails with ErrNoState if there is no database, or an empty one, with ErrNewer, and with ErrCorrupt.
// Update fails, and View opens the file each time, so the DB may be kept open as long as one likes.
func OpenReader(ctx context.Context, path string) (*DB, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	db := &DB{path: path, turn: make(chan struct{}, 1), reader: true}
	db.turn <- struct{}{}
	err := db.viewFile(func(tx *Tx) error {
		db.c = tx.c
		defer func() { db.c = nil }()
		return db.readSelf()
	})
	if err != nil {
		return nil, err
	}
	return db, nil
}

// viewFile runs f on a connection of its own.
//
// A database in WAL mode can be read through its log only, and SQLite makes an empty log where there is none. A reader
// shall make no file, so without a log it reads the file as one that can't change, without locks, and looks afterwards
// whether it did: then a sync ended meanwhile, and everything is read again.
func (db *DB) viewFile(f func(tx *Tx) error) error {
	for attempt := 1; ; attempt++ {
		before, err := lookAt(db.path)
		if err != nil {
			return err
		}
		query := "mode=ro"
		if !before.log {
			query = "mode=ro&immutable=1"
			if rollback, err := usesJournal(db.path); err != nil {
				return err
			} else if rollback {
				query = "mode=ro"
			}
		}
		err = db.viewOnce(query, f)
		if before.log {
			return err
		}
		after, again := lookAt(db.path)
		if again != nil || after == before {
			return errors.Join(err, again)
		}
		if attempt == readAttempts {
			return fmt.Errorf("state database %s: it changed %d times while it was read; run again later", db.path, attempt)
		}
	}
}

func (db *DB) viewOnce(query string, f func(tx *Tx) error) (err error) {
	c, err := dial(db.path, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	version, empty, err := c.version()
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

// look is what shows whether a file was written to.
type look struct {
	size    int64
	changed time.Time
	log     bool
}

func lookAt(path string) (look, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return look{}, fmt.Errorf("state database %s: %w", path, ErrNoState)
	}
	if err != nil {
		return look{}, fmt.Errorf("state database: %w", err)
	}
	if !info.Mode().IsRegular() {
		return look{}, fmt.Errorf("state database: %s is not a regular file", path)
	}
	_, err = os.Stat(path + "-wal")
	return look{size: info.Size(), changed: info.ModTime(), log: err == nil}, nil
}

// usesJournal reports whether the file was last written with a rollback journal, not with a log
// (https://sqlite.org/fileformat.html, section 1.3, bytes 18 and 19). Then ordinary locks do.
func usesJournal(path string) (bool, error) {
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
