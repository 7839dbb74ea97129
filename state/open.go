package state

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Options say how to open a database for writing.
type Options struct {
	Owner Owner
	// Rebind takes over a database of another host or user instead of refusing it. It counts as
	// copied until Adopt.
	Rebind bool
	// LocalFS allows a write-ahead log, which needs memory shared between processes. Elsewhere (NFS, SMB, FUSE)
	// there is a rollback journal.
	LocalFS bool
	// Commit, if it is not nil, is called with every commit of an Update and calls it: a test may stop the world before, or
	// after. An error is Update's.
	Commit func(commit func() error) error
	// Now is the clock, time.Now if nil. It only dates the database, see DB.Since.
	Now func() time.Time
	// Kept, if it is not nil, is opened in place of the file.
	Kept *Kept
}

// Open opens the database at path for writing and makes it, for its owner only, if there is none. The
// directory must exist. It fails with ErrOwner, ErrNewer or ErrCorrupt, and then has changed nothing. A database of an
// older version is brought up to date, after a copy of it was made that lies beside it, path.v1 for version 1, and is
// left to the person: put back, it serves the older version as a restored backup does.
func Open(ctx context.Context, path string, o Options) (*DB, error) {
	return open(ctx, path, o, migrations())
}

func open(ctx context.Context, path string, o Options, steps []step) (db *DB, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o.Kept != nil {
		return o.Kept.open(o)
	}
	if err := makeFile(path); err != nil {
		return nil, fmt.Errorf("state database: %w", err)
	}
	c, err := dial(path, "mode=rw")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	version, empty, err := c.schemaVersion()
	if err != nil {
		return nil, err
	}
	if err := c.notNewer(version, steps); err != nil {
		return nil, err
	}
	db = &DB{path: path, turn: make(chan struct{}, 1), c: c, local: o.LocalFS, fresh: empty, now: o.Now}
	db.turn <- struct{}{}
	c.commit = o.Commit
	if db.now == nil {
		db.now = time.Now
	}
	if !empty {
		// Looked at before anything is written: a database that is refused stays as it is.
		if err := db.recognise(o); err != nil {
			return nil, err
		}
	}
	if err := c.durable(o.LocalFS); err != nil {
		return nil, err
	}
	if version < len(steps) {
		if !empty {
			// What the new version makes of it, an older one can't read any more.
			if err := c.keep(oldPath(path, version)); err != nil {
				return nil, fmt.Errorf("state database %s: keeping a copy before it is brought up to date: %w", path, err)
			}
		}
		if err := c.update(func(tx *Tx) error {
			if err := tx.migrate(version, steps); err != nil || !empty {
				return err
			}
			return db.christen(o.Owner)
		}); err != nil {
			return nil, err
		}
	}
	if !empty && !sameOwner(db.owner, o.Owner) {
		if err := db.rebind(o.Owner); err != nil {
			return nil, err
		}
	}
	return db, nil
}

// makeFile makes an empty file that only its owner can read, unless there is a database.
func makeFile(path string) error {
	info, err := lookAtFiles(path)
	if err == nil && info.Size() > 0 {
		return nil
	}
	flags := os.O_WRONLY
	if errors.Is(err, fs.ErrNotExist) {
		flags |= os.O_CREATE | os.O_EXCL
	} else if err != nil {
		return err
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return err
	}
	// The umask can have taken away even the owner's rights.
	return errors.Join(f.Chmod(0o600), f.Close())
}

// lookAtFiles tells of the database's file. SQLite follows links, and it does so in the Maildir, where others than the person who wrote the
// configuration may put them: neither that file nor what SQLite keeps beside it may be one.
func lookAtFiles(path string) (info fs.FileInfo, err error) {
	for _, ending := range beside {
		if _, err := lookAtFile(path + ending); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return lookAtFile(path)
}

func lookAtFile(path string) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, err
	case info.Mode().Type() == fs.ModeSymlink:
		return nil, fmt.Errorf("%s is a symbolic link, which is not followed; if the database is meant to lie elsewhere, remove the link and set `state` in the configuration to its place", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return info, nil
}

func (c *conn) notNewer(version int, steps []step) error {
	if version <= len(steps) {
		return nil
	}
	return fmt.Errorf("state database %s %w (its format is %d, this version knows %d); it was left as it is, use that version",
		c.path, ErrNewer, version, len(steps))
}

// durable sets how commits reach the disk.
func (c *conn) durable(local bool) error {
	want := "delete"
	if local {
		want = "wal"
	}
	mode, err := c.pragmaValue("journal_mode")
	if err != nil {
		return err
	}
	if mode != want {
		if mode, err = c.pragmaValue("journal_mode=" + want); err != nil {
			return err
		}
		if mode != want {
			return fmt.Errorf("state database %s: it keeps the journal mode %v, %s is needed; %w, run again when that has ended",
				c.path, mode, want, ErrBusy)
		}
	}
	// A commit is on the disk when it returns. With a rollback journal it is the removal of that which commits, and only EXTRA makes
	// the directory durable then (https://sqlite.org/pragma.html#pragma_synchronous): a journal that is back takes the commit back.
	level := "EXTRA"
	if local {
		level = "FULL"
	}
	if err := c.pragma("synchronous=" + level); err != nil || runtime.GOOS != "darwin" {
		return err
	}
	// On macOS fsync alone does not reach the disk.
	return errors.Join(c.pragma("fullfsync=1"), c.pragma("checkpoint_fullfsync=1"))
}

// recognise reads whose database it is, and whether it is where it was.
func (db *DB) recognise(o Options) error {
	if err := db.readSelf(); err != nil {
		return err
	}
	if sameOwner(db.owner, o.Owner) {
		return nil
	}
	if db.owner.Kind != o.Owner.Kind {
		return fmt.Errorf("state database %s %w: it is that of %s, the configuration says %s; a Maildir can't go from one protocol "+
			"to another with its state: rename the file away, and the next sync merges both sides without deleting anything",
			db.path, ErrOwner, db.owner, o.Owner)
	}
	if !o.Rebind {
		return fmt.Errorf("state database %s %w: it is that of %s, the configuration says %s; if that is the same mailbox "+
			"under a new name, run sync once with --rebind", db.path, ErrOwner, db.owner, o.Owner)
	}
	return nil
}

func (db *DB) readSelf() error {
	found := false
	var inode, born int64
	err := db.c.query(`SELECT generation, inode, born, owner_kind, owner_host, owner_user, since FROM self`, nil, func(row []driver.Value) error {
		r := &reader{values: row}
		found = true
		db.generation, inode, born = r.text(), r.int(), r.int()
		db.owner = Owner{Kind: r.text(), Host: r.text(), User: r.text()}
		db.since = r.time()
		if r.err != nil {
			return db.c.damaged(r.err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !found {
		return db.c.damaged(errors.New("it does not say whose it is"))
	}
	id, err := identify(db.path)
	if err != nil {
		return fmt.Errorf("state database: %w", err)
	}
	db.copied = id.inode != inode || (id.born != born && id.born != 0 && born != 0)
	return db.readTag()
}

// christen writes what a new database says of itself, inside the caller's transaction.
func (db *DB) christen(owner Owner) error {
	id, err := identify(db.path)
	if err != nil {
		return fmt.Errorf("state database: %w", err)
	}
	db.generation, db.owner, db.since = newGeneration(), owner, db.now().UTC().Truncate(time.Second)
	_, err = db.c.exec(`INSERT INTO self (one, generation, inode, born, owner_kind, owner_host, owner_user, since, next_id) VALUES (1, ?, ?, ?, ?, ?, ?, ?, 1)`,
		db.generation, id.inode, id.born, owner.Kind, owner.Host, owner.User, db.since.Unix())
	if err != nil {
		return err
	}
	// SQLite makes the directory entry of its log durable, and with it that of the database; not so everywhere.
	return syncDir(filepath.Dir(db.path))
}

// rebind gives the database another owner. In the same commit it loses its place, so that
// it counts as copied until a run has compared everything.
func (db *DB) rebind(owner Owner) error {
	err := db.c.update(func(tx *Tx) error {
		_, err := tx.c.exec(`UPDATE self SET inode = 0, owner_kind = ?, owner_host = ?, owner_user = ?`, owner.Kind, owner.Host, owner.User)
		return err
	})
	if err == nil {
		db.owner, db.copied = owner, true
	}
	return err
}

// Adopt records where the database is now and gives it a new generation: a run has compared everything
// it says with both sides. Copied is false from then on.
func (db *DB) Adopt(ctx context.Context) error {
	id, err := identify(db.path)
	if err != nil {
		return fmt.Errorf("state database: %w", err)
	}
	generation, since := newGeneration(), db.now().UTC().Truncate(time.Second)
	if err := db.take(ctx); err != nil {
		return err
	}
	defer db.give()
	err = db.update(true, func(tx *Tx) error {
		_, err := tx.c.exec(`UPDATE self SET generation = ?, inode = ?, born = ?, since = ?`, generation, id.inode, id.born, since.Unix())
		return err
	})
	if err == nil {
		db.generation, db.since, db.copied = generation, since, false
	}
	return err
}

func sameOwner(a, b Owner) bool {
	return a.Kind == b.Kind && strings.EqualFold(a.Host, b.Host) && a.User == b.User
}

func newGeneration() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}
