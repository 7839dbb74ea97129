// Package state keeps what both sides last agreed on: one SQLite database for each account.
//
// The database holds observations: folders with the marks of their last complete reading, one row for
// every message that is known, intents (what was about to happen and can't be recognised again after a
// crash), and the outcome of the last run. Nothing in it is a decision; sync/plan makes those.
//
// # What lies where
//
// SQLite makes changes whole and durable, but takes some 20 µs for a row. So messages and intents are packed (pack.go) into
// pages of 32 (page.go), and what they are looked up by, UIDs and hashes of names, is in an index of our own for each
// folder (index.go, indexes.go), which is loaded only when it is needed. A summary for each folder (summary.go) counts its
// rows, and says what its index must add up to.
//
// # What survives
//
// Update is one durable commit: after it returns nil its changes survive a crash and a power cut, and
// until then none of them does. On a local file system the database runs with a write-ahead log, which Close
// folds into the one file that remains; elsewhere with a rollback journal. A file that is damaged, written by a
// newer version or by another account's is refused unchanged. Every row, or the blob that it is packed into, carries a
// checksum, so that a flipped bit is an error and not a deletion.
//
// # Who may use it
//
// One process writes, under the account's lock, which the caller holds. Any number may read
// beside it with OpenReader. A DB is safe for concurrent use; a Tx is not.
package state

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// Errors that a caller decides on. They come wrapped in texts for people.
var (
	// ErrOwner: the database belongs to another host or user.
	ErrOwner = errors.New("belongs to another account")
	// ErrNewer: a newer version of Satchel wrote the database. It was not changed.
	ErrNewer = errors.New("was written by a newer version of Satchel")
	// ErrCorrupt: the file is damaged, or not a state database.
	ErrCorrupt = errors.New("is damaged")
	// ErrNotFound: no row has the id.
	ErrNotFound = errors.New("no such row in the state")
	// ErrTaken: another row of the folder has the UID or the name.
	ErrTaken = errors.New("is another row's")
	// ErrNoState: OpenReader found no database.
	ErrNoState = errors.New("nothing was synchronised yet")
	// ErrIO: the disk, or what is between, does not do what it should. A disk that is full is syscall.ENOSPC, where SQLite can tell.
	ErrIO = errors.New("reading or writing failed")
	// ErrBusy: another program has the file.
	ErrBusy = errors.New("another program holds it")
	// ErrCutOff: a sync was stopped in the middle of a commit, and the next one has to take it back before anything can be read.
	ErrCutOff = errors.New("was left in the middle of a change by a sync that was cut off")
	// ErrChanged: a sync ended while a DB from OpenReader was read. What was read may not fit together;
	// reading again will do.
	ErrChanged = errors.New("changed while it was read")
)

var (
	errReadOnly = errors.New("state: a write in a transaction that only reads")
	errClosed   = errors.New("state: the database is closed")
)

// DB is an open state database. Its methods are safe for concurrent use; View and Update wait for
// each other, so one must not be called inside the other.
type DB struct {
	path string
	// turn holds one token: whoever took it may use c and reader.
	turn chan struct{}
	c    *conn // nil for a reader, and once closed
	// reader makes View open the file afresh each time, see OpenReader.
	reader bool
	closed bool
	local  bool
	kept   bool // c stays open, see Kept

	fresh, copied bool
	owner         Owner
	generation    string
	since         time.Time
	now           func() time.Time
	tag           tag
}

// Tx is one transaction. It is valid only inside the function that View or Update called, and in one goroutine.
type Tx struct {
	c *conn
	// pending are changes of indexes, by folder; unwritten counts them.
	pending   map[int64]*pending
	unwritten int
	// The summary that was used last.
	lastFolder  int64
	lastSummary *summary
	// nextID is the next row id to give out, 0 until one is needed.
	nextID   int64
	readOnly bool
	// cells and args are reused by every write.
	cells writer
	args  []driver.Value
}

// Fresh reports whether Open made the database: there was none, or an empty file.
func (db *DB) Fresh() bool { return db.fresh }

// Copied reports whether the database is not where it was, or not what it was: the file was copied, or restored
// from a backup, or was given another owner (Options.Rebind). Until Adopt, what it says of either side
// is no evidence of a deletion.
func (db *DB) Copied() bool { return db.copied }

// Owner returns whose state it is.
func (db *DB) Owner() Owner { return db.owner }

// Generation returns a random name of the database's present life: a new one whenever it was made or adopted.
func (db *DB) Generation() string { return db.generation }

// Since returns when that life began.
func (db *DB) Since() time.Time { return db.since }

// View runs f on one consistent snapshot. Writing in f fails. ctx bounds the wait for other
// transactions. On a DB from OpenReader it can fail with ErrChanged after f ran.
func (db *DB) View(ctx context.Context, f func(tx *Tx) error) error {
	if err := db.take(ctx); err != nil {
		return err
	}
	defer db.give()
	if db.reader {
		return db.viewFile(f)
	}
	return db.c.view(f)
}

// Update runs f and commits what it wrote, durably and as a whole. When f fails or panics, or the commit
// fails, the database is as before. ctx bounds the wait for other transactions; once f has
// returned nil the commit is not given up, because f may record what was done already.
func (db *DB) Update(ctx context.Context, f func(tx *Tx) error) error {
	if err := db.take(ctx); err != nil {
		return err
	}
	defer db.give()
	return db.update(false, f)
}

func (db *DB) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-db.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	if db.closed {
		db.give()
		return errClosed
	}
	return nil
}

func (db *DB) give() { db.turn <- struct{}{} }

func (c *conn) view(f func(tx *Tx) error) (err error) {
	if _, err := c.exec("BEGIN"); err != nil {
		return err
	}
	ended := false
	defer func() {
		if !ended {
			c.forget() // a panic may have left half of something in memory
		}
		// Nothing was written, so ending it can't fail in a way that matters.
		_, _ = c.exec("ROLLBACK")
	}()
	if err = c.catchUp(); err == nil {
		err = f(&Tx{c: c, readOnly: true})
	}
	ended = true
	return err
}

func (c *conn) update(f func(tx *Tx) error) (err error) {
	if c.ioErr != nil {
		return c.ioErr
	}
	if _, err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	committed := false
	c.broken = nil
	defer func() {
		if committed {
			return
		}
		c.forget()
		// SQLite has rolled back by itself after some errors, and then says that there is no transaction.
		if _, rollback := c.exec("ROLLBACK"); rollback != nil && err == nil {
			err = rollback
		}
	}()
	if err := c.catchUp(); err != nil {
		return err
	}
	tx := &Tx{c: c, pending: make(map[int64]*pending)}
	if err := f(tx); err != nil {
		return err
	}
	if c.broken != nil {
		return c.broken
	}
	if err := tx.finish(); err != nil {
		return err
	}
	commit := func() error { _, err := c.exec("COMMIT"); return err }
	if c.commit != nil {
		err = c.commit(commit)
	} else {
		err = commit()
	}
	committed = err == nil
	return err
}

// finish writes what was kept back until the end of the transaction.
func (tx *Tx) finish() error {
	if err := tx.c.pager.flush(); err != nil {
		return err
	}
	if err := tx.flushIndexes(); err != nil {
		return err
	}
	if err := tx.flushSummaries(); err != nil {
		return err
	}
	if tx.nextID == 0 {
		return nil
	}
	_, err := tx.c.exec(`UPDATE self SET next_id = ?`, tx.nextID)
	return err
}

// newID gives out a row id that was never used before, in any table.
func (tx *Tx) newID() (int64, error) {
	if tx.nextID == 0 {
		next, err := tx.c.one(`SELECT next_id FROM self`)
		if err != nil {
			return 0, err
		}
		if next < 1 || next > maxID {
			return 0, tx.c.damaged(fmt.Errorf("the next row id is %d", next))
		}
		tx.nextID = next
	}
	tx.nextID++
	return tx.nextID - 1, nil
}

// writable fails in View.
func (tx *Tx) writable() error {
	if tx.readOnly {
		return errReadOnly
	}
	return nil
}

// Close folds the write-ahead log into the database, so that one file remains, and releases it. What was
// committed is safe even if Close fails. It waits for transactions that run.
func (db *DB) Close() error {
	<-db.turn
	defer db.give()
	if db.closed {
		return nil
	}
	db.closed = true
	if db.reader {
		return nil
	}
	if db.kept {
		db.c = nil
		return nil
	}
	if db.tag.moved && db.tag.place != "" {
		db.moveTag() // of the name that it had meanwhile there may be a backup too
	}
	var err error
	if db.local {
		err = db.c.pragma("wal_checkpoint(TRUNCATE)")
	}
	err = errors.Join(err, db.c.close())
	db.c = nil
	return err
}
