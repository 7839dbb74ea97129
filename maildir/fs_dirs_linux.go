package maildir

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxDirs bounds how many directories are held open: eight folders with their cur, new and tmp.
const maxDirs = 32

// openDirs keeps the directories that were used last open, so that a call is one on a directory and not one for
// each part of a path. A directory is only ever opened through os.Root, which follows no link out of the root. Before
// each use its path is looked up once more: if that is another directory by now, or a link, it is opened anew. What
// can't be noticed is a link, higher up, to the very directory that was opened: that leads nowhere new. For messages that are written and
// renamed one after the other it is enough to have looked recently: they go where the directory has gone.
type openDirs struct {
	root *os.Root
	top  *openDir // the root itself
	// trust is how long a look at a path is good for, for what is done in the directory that was there a moment ago.
	trust time.Duration

	mu     sync.Mutex // guards what follows, and checked, users, used and dropped of every openDir
	byPath map[string]*openDir
	clock  uint64
}

// openDir is one directory that is held open.
type openDir struct {
	file     *os.File
	fd       int
	dev, ino uint64

	checked time.Time // when its path last led to it

	users   int    // calls that work with it
	used    uint64 // when it was last asked for, in calls
	dropped bool   // closed when its last user is done
}

func (c *openDirs) open(root *os.Root) error {
	c.root, c.byPath, c.trust = root, map[string]*openDir{}, time.Millisecond
	var err error
	c.top, err = c.openAfresh(".")
	return err
}

func (c *openDirs) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.byPath {
		c.drop(name)
	}
	return c.top.file.Close()
}

// get returns the directory that dir is now. The caller hands it back with put.
func (c *openDirs) get(dir string) (*openDir, error) {
	if dir == "." {
		return c.top, nil
	}
	return c.getChecked(dir, time.Now())
}

// getRecent is get for what may be done in the directory that dir was a moment ago.
func (c *openDirs) getRecent(dir string) (*openDir, error) {
	if dir == "." {
		return c.top, nil
	}
	now := time.Now()
	if d := c.known(dir, now.Add(-c.trust)); d != nil {
		return d, nil
	}
	return c.getChecked(dir, now)
}

func (c *openDirs) getChecked(dir string, now time.Time) (*openDir, error) {
	if d := c.known(dir, time.Time{}); d != nil {
		if st, err := statAt(c.top.fd, dir); err == nil && d.is(&st) {
			c.mu.Lock()
			d.checked = now
			c.mu.Unlock()
			return d, nil
		}
		c.forget(dir, d)
	}
	d, err := c.openAfresh(dir)
	if err != nil {
		return nil, err
	}
	d.checked = now
	c.keep(dir, d)
	return d, nil
}

func (d *openDir) is(st *unix.Stat_t) bool { return uint64(st.Dev) == d.dev && st.Ino == d.ino }

// known returns a directory that is open, if it was checked since then.
func (c *openDirs) known(dir string, since time.Time) *openDir {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.byPath[dir]
	if d == nil || d.checked.Before(since) {
		return nil
	}
	c.clock++
	d.used = c.clock
	d.users++
	return d
}

// openAfresh opens a directory in the way that is safe whatever lies there.
func (c *openDirs) openAfresh(dir string) (*openDir, error) {
	// O_DIRECTORY: opening a pipe that nobody writes to would wait for ever.
	f, err := c.root.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	d := &openDir{file: f, fd: int(f.Fd()), users: 1}
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(d.fd, &st) }); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	d.dev, d.ino = uint64(st.Dev), st.Ino
	return d, nil
}

// keep remembers a directory that was just opened, in place of the one that was not used for the longest time.
func (c *openDirs) keep(dir string, d *openDir) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	d.used = c.clock
	if c.byPath[dir] != nil {
		c.drop(dir) // somebody else was as quick
	}
	if len(c.byPath) >= maxDirs {
		var oldest string
		for name, o := range c.byPath {
			if oldest == "" || o.used < c.byPath[oldest].used {
				oldest = name
			}
		}
		c.drop(oldest)
	}
	c.byPath[dir] = d
}

// forget gives up a directory that is not what its path leads to any more, and hands it back.
func (c *openDirs) forget(dir string, d *openDir) {
	c.mu.Lock()
	if c.byPath[dir] == d {
		c.drop(dir)
	}
	c.mu.Unlock()
	c.put(d)
}

// renamed gives up the directories that are called, or lie below, a name that a rename of this process has just taken or given: however recently
// they were looked at, they are others now.
func (c *openDirs) renamed(from, to string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for dir := range c.byPath {
		if isWithin(dir, from) || isWithin(dir, to) {
			c.drop(dir)
		}
	}
}

func isWithin(dir, top string) bool {
	return len(dir) >= len(top) && dir[:len(top)] == top && (len(dir) == len(top) || dir[len(top)] == '/')
}

// drop takes a directory out; c.mu is held.
func (c *openDirs) drop(dir string) {
	d := c.byPath[dir]
	delete(c.byPath, dir)
	d.dropped = true
	d.closeUnused()
}

func (c *openDirs) put(d *openDir) {
	if d == c.top {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d.users--
	d.closeUnused()
}

func (d *openDir) closeUnused() {
	if d.dropped && d.users == 0 {
		d.file.Close() // it was only read
	}
}

// statAt is lstat of a path below a directory.
func statAt(fd int, name string) (st unix.Stat_t, err error) {
	err = retry(func() error { return unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

// retry calls again what a signal interrupted.
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
