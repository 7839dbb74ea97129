package state

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// busyTimeout, in milliseconds, is how long a statement waits for another process, which can only be
// a status that reads: it never holds a lock for longer than it takes to read a few rows.
const busyTimeout = 10_000

// conn is one connection to SQLite, used by one goroutine at a time. It talks to the driver below
// database/sql: rows come as plain values, without the reflection that sql.Rows.Scan spends on each column,
// which is most of the cost of reading 100,000 rows.
type conn struct {
	path  string
	dc    driver.Conn
	stmts map[string]driver.Stmt
	// args is reused by every statement.
	args   []driver.NamedValue
	warmed bool // see warm
	limits limits
	commit func(commit func() error) error // see Options
	alone  bool                            // nobody else can write into it, see Kept

	// What was read or written lately, see forget.
	pager   pager
	words   words
	known   map[int64]*summary // nil until it is needed
	indexes map[int64]*index
	key     *hashKey
	// clock counts uses of indexes.
	clock uint64
	// changes counts what may have changed rows of messages.
	changes uint64
	// version is SQLite's number for what all others wrote into the file.
	version int64
	// broken is the first error in this transaction after which what is in memory may be half a change. It is not
	// committed then, even if the caller goes on.
	broken error
	// ioErr is the first I/O error. What is on disk after one is not known, so nothing is written any more.
	ioErr error
}

// dial opens path. query holds SQLite's own URI parameters, such as mode=ro.
func dial(path, query string) (*conn, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("state database %s: %w", path, err)
	}
	abs = filepath.ToSlash(abs)
	if !strings.HasPrefix(abs, "/") {
		abs = "/" + abs // a Windows drive letter, see https://sqlite.org/uri.html
	}
	dsn := (&url.URL{Scheme: "file", Path: abs, RawQuery: query, OmitHost: true}).String()
	c := &conn{path: path, stmts: make(map[string]driver.Stmt), limits: defaultLimits()}
	c.forget()
	if c.dc, err = new(sqlite.Driver).Open(dsn); err != nil {
		return nil, c.explain(err)
	}
	for _, p := range []string{
		fmt.Sprintf("busy_timeout=%d", busyTimeout),
		"cell_size_check=1", // damaged pages are found when they are read, not when they are used
		"trusted_schema=0",
		"temp_store=memory",
		"cache_size=-2000", // KiB; the pages of rows have a cache of their own
	} {
		if err := c.pragma(p); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

// warm keeps a little of SQLite's memory in use. The driver's allocator gives memory back to the system with the last piece
// of a size (powers of two), and pieces of the size of our blobs come and go one at a time: without this, two
// system calls and fresh pages for each are half of what reading and writing them takes. A prepared statement holds
// a copy of its text. A connection that reads no such blob, which is that of most syncs, needs none of it.
func (c *conn) warm() error {
	if c.warmed {
		return nil
	}
	c.warmed = true
	for _, size := range []int{3000, 6000, 12000} { // bytes; the allocator rounds up
		if _, err := c.prepare("SELECT 1 /*" + strings.Repeat(" ", size) + "*/"); err != nil {
			return err
		}
	}
	return nil
}

// close releases the connection. The last one to leave a database removes its write-ahead log.
func (c *conn) close() error {
	for _, s := range c.stmts {
		// Closing repeats the error of the statement's last run, which was reported then.
		_ = s.Close()
	}
	c.stmts = nil
	if err := c.dc.Close(); err != nil {
		return c.explain(err)
	}
	return nil
}

// forget drops all that is kept in memory of what the database holds.
func (c *conn) forget() {
	c.changes++
	room := c.pager.room // what is left of it belongs to no page
	c.pager, c.words = newPager(c), newWords()
	c.pager.room = room
	c.known, c.indexes, c.key = nil, make(map[int64]*index), nil
}

// catchUp forgets what it must if anybody else has written to the file. Nobody should, but then nothing here would fit.
func (c *conn) catchUp() error {
	if c.alone {
		return nil
	}
	v, err := c.one("PRAGMA data_version")
	if err == nil && v != c.version {
		c.version = v
		c.forget()
	}
	return err
}

// pragma runs a PRAGMA and drops what it answers.
func (c *conn) pragma(p string) error {
	return c.query("PRAGMA "+p, nil, func([]driver.Value) error { return nil })
}

// pragmaValue runs a PRAGMA that answers with one value.
func (c *conn) pragmaValue(p string) (v driver.Value, err error) {
	err = c.query("PRAGMA "+p, nil, func(row []driver.Value) error {
		v = row[0]
		return nil
	})
	return v, err
}

// script runs statements that are needed once.
func (c *conn) script(sql string) error {
	s, err := c.dc.Prepare(sql)
	if err != nil {
		return c.explain(err)
	}
	_, err = s.(driver.StmtExecContext).ExecContext(context.Background(), nil)
	if err = errors.Join(err, s.Close()); err != nil {
		return c.explain(err)
	}
	return nil
}

// exec runs one statement and returns how many rows it changed. Statements are prepared once.
func (c *conn) exec(sql string, args ...driver.Value) (int64, error) {
	s, err := c.prepare(sql)
	if err != nil {
		return 0, err
	}
	res, err := s.(driver.StmtExecContext).ExecContext(context.Background(), c.named(args))
	if err != nil {
		return 0, c.explain(err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, c.explain(err)
	}
	return n, nil
}

// query calls each with every row. The slice is reused, its values are not; each must not use the connection.
func (c *conn) query(sql string, args []driver.Value, each func(row []driver.Value) error) (err error) {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(context.Background(), c.named(args))
	if err != nil {
		return c.explain(err)
	}
	defer func() {
		if closing := rows.Close(); closing != nil && err == nil {
			err = c.explain(closing)
		}
	}()
	row := make([]driver.Value, len(rows.Columns()))
	for {
		err := rows.Next(row)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return c.explain(err)
		}
		if err := each(row); err != nil {
			return err
		}
	}
}

func (c *conn) prepare(sql string) (driver.Stmt, error) {
	if s, ok := c.stmts[sql]; ok {
		return s, nil
	}
	s, err := c.dc.Prepare(sql)
	if err != nil {
		// Every statement fits the schema, so one that can't be prepared means that the schema is not ours.
		if primary(err) == sqlite3.SQLITE_ERROR {
			return nil, c.damaged(err)
		}
		return nil, c.explain(err)
	}
	c.stmts[sql] = s
	return s, nil
}

func (c *conn) named(args []driver.Value) []driver.NamedValue {
	c.args = c.args[:0]
	for i, a := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return c.args
}

// explain turns an error of SQLite into one for people.
func (c *conn) explain(err error) error {
	explained := c.inWords(err)
	if primary(err) != sqlite3.SQLITE_CONSTRAINT { // that is an answer, and changed nothing
		c.breakOff(explained)
	}
	return explained
}

func (c *conn) breakOff(err error) {
	if c.broken == nil {
		c.broken = err
	}
}

func (c *conn) inWords(err error) error {
	if se := (*sqlite.Error)(nil); errors.As(err, &se) && se.Code() == sqlite3.SQLITE_READONLY_ROLLBACK {
		return fmt.Errorf("state database %s %w; the next sync mends it (%w)", c.path, ErrCutOff, err)
	}
	switch primary(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH:
		return c.damaged(err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("state database %s: %w; nothing of this step was recorded, make room and run again (%w)", c.path, syscall.ENOSPC, err)
	case sqlite3.SQLITE_IOERR:
		if c.ioErr == nil {
			c.ioErr = fmt.Errorf("state database %s: %w; look at the disk, which may be full, and run again (%w)", c.path, ErrIO, err)
		}
		return c.ioErr
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fmt.Errorf("state database %s: %w; run again when that has ended (%w)", c.path, ErrBusy, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH:
		return fmt.Errorf("state database %s: can't be opened for writing; look at the permissions of the file and its directory (%w)", c.path, err)
	}
	return fmt.Errorf("state database %s: %w", c.path, err)
}

func (c *conn) damaged(err error) error {
	err = fmt.Errorf("state database %s: %w (%v); the next sync sets it aside and makes a new one by comparing both sides, without deleting anything",
		c.path, ErrCorrupt, err)
	c.breakOff(err)
	return err
}

// primary returns SQLite's primary result code (https://sqlite.org/rescode.html), -1 for other errors.
func primary(err error) int {
	if se := (*sqlite.Error)(nil); errors.As(err, &se) {
		return se.Code() & 0xff
	}
	return -1
}

// one returns the first column of the first row, 0 if it is NULL or there is no row.
func (c *conn) one(sql string, args ...driver.Value) (n int64, err error) {
	err = c.query(sql, args, func(row []driver.Value) error {
		n, _ = row[0].(int64)
		return nil
	})
	return n, err
}
