package maildir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

const (
	ownDir    = ".satchel" // prefix of everything of Satchel's in the root
	lockFile  = ".satchel.lock"
	stateFile = ".satchel.db" // whose is no business of this package
)

// Store is one account's Maildir.
type Store struct {
	root     string // for messages
	layout   Layout
	fs       FS
	real     bool // fs is the system's, see atOnce
	now      func() time.Time
	readOnly bool
	maildrop bool
	names    *namer
	rootInfo FileInfo
	seed     maphash.Seed // of hashes of base names

	clock     fsClock
	witness   witness
	touched   touched
	listings  listings
	keywords  keywordStore
	scratches sync.Pool // of *scratch, for deliveries

	mu   sync.Mutex // guards what follows
	lock io.Closer
	sep  byte // 0: not known yet
}

// Open opens the Maildir at root. It creates the root (0700) if only that is missing. ErrNotMounted,
// ErrLayout and ErrReadOnly tell why it may not be used.
func Open(root string, layout Layout, o Options) (*Store, error) {
	if layout != Nested && layout != PlusPlus {
		return nil, fmt.Errorf("layout %q: must be %q or %q", layout, Nested, PlusPlus)
	}
	real := o.FS == nil
	if real {
		fsys, err := openRoot(root, o.ReadOnly)
		if err != nil {
			return nil, err
		}
		o.FS = fsys
	}
	s := newStore(root, layout, o)
	s.real = real
	if err := s.check(); err != nil {
		o.FS.Close()
		return nil, err
	}
	return s, nil
}

func newStore(root string, layout Layout, o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Host == "" {
		// A host without a name still has process and random bytes.
		o.Host, _ = os.Hostname()
	}
	if o.PID == 0 {
		o.PID = os.Getpid()
	}
	s := &Store{root: root, layout: layout, now: o.Now, readOnly: o.ReadOnly, maildrop: o.Maildrop}
	s.fs = &seenFS{o.FS, &s.witness}
	s.names = &namer{now: o.Now, random: o.Rand, pid: o.PID, host: escapeHost(o.Host)}
	s.seed = maphash.MakeSeed()
	s.clock.s, s.keywords.s, s.witness.s = s, s, s
	s.witness.seed = s.seed
	return s
}

// openRoot opens the real root, and makes it if only the last directory is missing.
func openRoot(root string, readOnly bool) (FS, error) {
	fsys, err := OSFS(root)
	if !errors.Is(err, fs.ErrNotExist) {
		return fsys, err
	}
	parent := filepath.Dir(filepath.Clean(root))
	if _, statErr := os.Stat(parent); statErr != nil {
		if errors.Is(statErr, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w; if it is on a disk that is not mounted, mount it; on a first run: mkdir -p %s", root, ErrNotMounted, parent)
		}
		return nil, statErr
	}
	if readOnly {
		return nil, err
	}
	if err := os.Mkdir(root, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making the Maildir: %w", err)
	}
	return OSFS(root)
}

func (s *Store) check() error {
	info, err := s.fs.Stat(".")
	if err != nil {
		return fmt.Errorf("%s: %w", s.root, err)
	}
	s.rootInfo = info
	if err := s.checkLayout(); err != nil {
		return err
	}
	if s.readOnly {
		return nil
	}
	return s.clock.refresh()
}

// Close releases the lock and the root. Nothing is flushed.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.lock != nil {
		err = s.lock.Close()
		s.lock = nil
	}
	return errors.Join(err, s.witness.close(), s.fs.Close())
}

// Local reports whether marks can be trusted: false on NFS, SMB and FUSE, and where it is not known.
func (s *Store) Local() bool { return s.fs.Kind().Local }

// RootInode identifies the root directory: another one under the same path is another disk, or a copy. 0: it is not known.
func (s *Store) RootInode() uint64 { return s.lasting(s.rootInfo.Inode) }

// lasting returns an inode number if it says anything to a later run, else 0.
func (s *Store) lasting(inode uint64) uint64 {
	if s.fs.Kind().Passing {
		return 0
	}
	return inode
}

// Lock keeps every other Satchel off this Maildir until Close; a *LockedError says who has it.
func (s *Store) Lock() error {
	if err := s.writable(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock != nil {
		return nil
	}
	lock, err := s.fs.Lock(lockFile)
	if err != nil {
		if errors.Is(err, ErrLocked) {
			return err
		}
		return fmt.Errorf("locking the Maildir %s: %w", s.root, err)
	}
	s.lock = lock
	return nil
}

func (s *Store) locked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lock != nil
}

func (s *Store) writable() error {
	if s.readOnly {
		return fmt.Errorf("%w: it was opened for reading only", ErrReadOnly)
	}
	return nil
}

// fsClock reads the file system's own clock. Reading it costs a write, so an old reading serves
// where that is enough: it can only make something look younger than it is.
type fsClock struct {
	s    *Store
	mu   sync.Mutex
	last time.Time
}

// refresh reads the clock; it is also what shows that the Maildir can be written to.
func (c *fsClock) refresh() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read()
}

func (c *fsClock) read() error {
	if c.s.readOnly {
		c.last = c.s.now()
		return nil
	}
	t, err := c.s.fs.Touch(lockFile)
	if err != nil {
		if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("%s: %w: %w", c.s.root, ErrReadOnly, err)
		}
		return fmt.Errorf("writing to %s: %w", c.s.root, err)
	}
	c.last = t
	return nil
}

// since returns how long ago t surely was: a reading taken before the call, compared with t. It
// reads anew if the last reading does not show at least want.
func (c *fsClock) since(t time.Time, want time.Duration) (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := c.last.Sub(t); age > want {
		return age, nil
	}
	err := c.read()
	return c.last.Sub(t), err
}

// touched collects the directories whose names must be made durable: those that gained a name
// first, so that no message is lost between two directories.
type touched struct {
	mu           sync.Mutex
	gained, lost []string
	set          map[string]bool // true: in gained

	flushing sync.Mutex
	failed   error // guarded by flushing
}

func (t *touched) gain(dir string) { t.add(dir, true) }
func (t *touched) lose(dir string) { t.add(dir, false) }

func (t *touched) add(dir string, gained bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, known := t.set[dir]
	if known && (before || !gained) {
		return
	}
	if t.set == nil {
		t.set = map[string]bool{}
	}
	t.set[dir] = gained
	if gained {
		t.gained = append(t.gained, dir)
	} else {
		t.lost = append(t.lost, dir)
	}
}

// Flush makes all flag changes, moves and removals durable that were made before it was called; others may go on beside it. An error
// means that none since the last Flush may be believed, and is returned ever after.
func (s *Store) Flush() error {
	t := &s.touched
	t.flushing.Lock()
	defer t.flushing.Unlock()
	if t.failed != nil {
		return t.failed
	}
	gained, lost := t.take()
	for _, dirs := range [...][]string{gained, lost} {
		t.failed = s.atOnce(len(dirs), func(i int) error {
			// A directory that somebody removed has no names to keep.
			if err := s.fs.SyncDir(dirs[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("making changes in %s durable: %w", filepath.Join(s.root, dirs[i]), err)
			}
			return nil
		})
		if t.failed != nil {
			return t.failed
		}
	}
	return nil
}

// take hands over what was collected, and begins anew.
func (t *touched) take() (gained, lost []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	gained, lost = t.gained, t.lost
	t.gained, t.lost, t.set = nil, nil, nil
	return gained, lost
}

// SyncFolder makes the names of all files in a folder durable, whoever gave them.
func (s *Store) SyncFolder(f mail.FolderName) error {
	d, err := s.locate(f)
	if err != nil {
		return err
	}
	return s.atOnce(len(subdirs), func(i int) error {
		if err := s.fs.SyncDir(d.sub(subdirs[i])); ignoreMissing(err) != nil {
			return fmt.Errorf("making changes in %s durable: %w", f, err)
		}
		return nil
	})
}

// SyncMessages makes messages durable that somebody else put into a folder, with their names. One that is gone is passed over.
func (s *Store) SyncMessages(f mail.FolderName, bases []string) error {
	d, err := s.locate(f)
	if err != nil {
		return err
	}
	if err := s.syncData(d, bases); err != nil {
		return fmt.Errorf("making messages in %s durable: %w", f, err)
	}
	return s.SyncFolder(f)
}

// syncData makes the data of many files durable at once where that is possible.
func (s *Store) syncData(d folderDir, bases []string) error {
	if done, err := s.syncAll(d, len(bases)); done || err != nil {
		return err
	}
	for _, base := range bases {
		err := s.onFileIn(d, base, func(d folderDir, e Entry) error { return s.syncFile(d.file(e)) })
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// syncAll makes all data on the folder's file system durable if that is less work than to do so with n files, and reports whether it did.
func (s *Store) syncAll(d folderDir, n int) (bool, error) {
	const few = 4
	if n <= few {
		return false, nil
	}
	point, err := s.fs.SyncPoint(d.sub(curDir))
	if errors.Is(err, errors.ErrUnsupported) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, errors.Join(point.Sync(), point.Close())
}

func (s *Store) syncFile(name string) error {
	file, err := s.fs.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

func isNameTooLong(err error) bool { return errors.Is(err, syscall.ENAMETOOLONG) }

func isCrossDevice(err error) bool { return errors.Is(err, syscall.EXDEV) }
