package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// beside are what SQLite keeps next to a database, under its name with these endings.
var beside = [...]string{"-wal", "-shm", "-journal"}

// SetAside renames a damaged database, together with what SQLite keeps beside it, so that Open makes a new one, and returns
// its new path. Nothing is removed and nothing is overwritten. The caller holds the account's lock and has closed the
// database.
func SetAside(path string, now time.Time) (aside string, err error) {
	if aside, err = unused(path + ".damaged-" + now.UTC().Format("20060102T150405Z")); err != nil {
		return "", fmt.Errorf("state database: setting it aside: %w", err)
	}
	// The database goes first: stopped in between, SQLite throws away a log or journal that it finds beside no database or
	// an empty one. The other way round an old database without its log would be left, which looks whole.
	for i, ending := range append([]string{""}, beside[:]...) {
		err := os.Rename(path+ending, aside+ending)
		if err != nil && (i == 0 || !errors.Is(err, fs.ErrNotExist)) {
			return "", fmt.Errorf("state database: setting it aside: %w", err)
		}
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return "", fmt.Errorf("state database: setting it aside: %w", err)
	}
	return aside, nil
}

// unused returns a path that nothing has: the one given, or one like it.
func unused(path string) (string, error) {
	try := path
	for n := 2; ; n++ {
		_, err := os.Lstat(try)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return try, nil
		case err != nil:
			return "", err
		}
		try = fmt.Sprintf("%s-%d", path, n)
	}
}

// markAt is where SQLite keeps the application's id in a file (https://sqlite.org/fileformat.html, section 1.3).
const markAt = 68

// IsOurs reports whether a file bears the mark of a state database, however damaged it may be otherwise.
func IsOurs(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	var id [4]byte
	n, _ := f.ReadAt(id[:], markAt)
	return n == len(id) && bytes.Equal(id[:], []byte{applicationID >> 24, applicationID >> 16 & 0xff, applicationID >> 8 & 0xff, applicationID & 0xff})
}

// oldPath is where a database of an older version is kept when it is brought up to date.
func oldPath(path string, version int) string { return fmt.Sprintf("%s.v%d", path, version) }

// keep makes a copy of a database as it is, at to, in place of an older one that may be there. It is whole, or it is not
// there: what is being made has another name.
func (c *conn) keep(to string) (err error) {
	making := to + ".tmp"
	if err := os.Remove(making); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a run that was stopped
		return err
	}
	if err := makeFile(making); err != nil { // SQLite would make it for all to read
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(making))
		}
	}()
	abs, err := filepath.Abs(making) // which can't be taken for a URI
	if err != nil {
		return err
	}
	if _, err := c.exec("VACUUM INTO ?", abs); err != nil {
		return err
	}
	if err := syncFile(making); err != nil {
		return err
	}
	if err := os.Rename(making, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
