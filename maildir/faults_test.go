package maildir

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

var errInjected = errors.New("injected fault")

// faultFS asks before every call; what before returns is the call's error. Stat can be shifted. Nothing
// is really made durable: the calls are in the log.
type faultFS struct {
	FS
	mu     sync.Mutex
	before func(op, name string) error
	log    []string
	// age is subtracted from all times that Stat gives, so that nothing is racy.
	age time.Duration
	// frozen is all times there are, the clock's too, as within one tick of it.
	frozen time.Time
	// clock is the clock's time; all others are that less age.
	clock  time.Time
	whole  bool // Stat gives whole seconds
	remote bool
	noSync bool // no sync points
}

func (f *faultFS) ask(op, name string) error {
	f.mu.Lock()
	before := f.before
	f.log = append(f.log, op+" "+name)
	f.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(op, name)
}

// set changes what is asked from now on, and forgets the log.
func (f *faultFS) set(before func(op, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.log = before, nil
}

func (f *faultFS) calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log
}

// failAt fails the n-th call from now on, counted from 0, and all after it if all is set.
func (f *faultFS) failAt(n int, all bool) {
	f.set(func(string, string) error {
		n--
		if n == -1 || (all && n < -1) {
			return errInjected
		}
		return nil
	})
}

func (f *faultFS) Create(name string, perm fs.FileMode) (File, error) {
	if err := f.ask("create", name); err != nil {
		return nil, err
	}
	return f.file(f.FS.Create(name, perm))(name)
}

func (f *faultFS) Open(name string) (File, error) {
	if err := f.ask("open", name); err != nil {
		return nil, err
	}
	return f.file(f.FS.Open(name))(name)
}

func (f *faultFS) file(file File, err error) func(string) (File, error) {
	return func(name string) (File, error) {
		if err != nil {
			return nil, err
		}
		return &faultFile{File: file, fs: f, name: name}, nil
	}
}

func (f *faultFS) shift(info FileInfo, err error) (FileInfo, error) {
	info.ModTime, info.CTime = info.ModTime.Add(-f.age), info.CTime.Add(-f.age)
	if !f.frozen.IsZero() {
		info.ModTime, info.CTime = f.frozen, f.frozen
	}
	if !f.clock.IsZero() {
		t := f.clock.Add(-f.age)
		if f.whole {
			t = t.Truncate(time.Second)
		}
		info.ModTime, info.CTime = t, t
	}
	return info, err
}

func (f *faultFS) Stat(name string) (FileInfo, error) {
	if err := f.ask("stat", name); err != nil {
		return FileInfo{}, err
	}
	return f.shift(f.FS.Stat(name))
}

func (f *faultFS) List(dir string, each func(string, fs.FileMode) bool) error {
	if err := f.ask("list", dir); err != nil {
		return err
	}
	return f.FS.List(dir, each)
}

func (f *faultFS) Names(dir string, each func(string, fs.FileMode) bool) error {
	if err := f.ask("list", dir); err != nil {
		return err
	}
	return f.FS.Names(dir, each)
}

func (f *faultFS) Mkdir(name string, perm fs.FileMode) error {
	return f.then("mkdir", name, func() error { return f.FS.Mkdir(name, perm) })
}

func (f *faultFS) Rename(from, to string) error {
	return f.then("rename", to, func() error { return f.FS.Rename(from, to) })
}

func (f *faultFS) RenameNew(from, to string) error {
	return f.then("renamenew", to, func() error { return f.FS.RenameNew(from, to) })
}

func (f *faultFS) Remove(name string) error {
	return f.then("remove", name, func() error { return f.FS.Remove(name) })
}

func (f *faultFS) SyncDir(dir string) error {
	return f.then("syncdir", dir, func() error { _, err := f.FS.Stat(dir); return err })
}

func (f *faultFS) then(op, name string, do func() error) error {
	if err := f.ask(op, name); err != nil {
		return err
	}
	return do()
}

func (f *faultFS) Touch(name string) (time.Time, error) {
	if err := f.ask("touch", name); err != nil {
		return time.Time{}, err
	}
	switch {
	case !f.frozen.IsZero():
		return f.frozen, nil
	case !f.clock.IsZero():
		return f.clock, nil
	}
	return f.FS.Touch(name)
}

func (f *faultFS) SyncPoint(dir string) (SyncPoint, error) {
	if f.noSync {
		return nil, errors.ErrUnsupported
	}
	if err := f.ask("syncpoint", dir); err != nil {
		return nil, err
	}
	p, err := f.FS.SyncPoint(dir)
	if err != nil {
		return nil, err
	}
	return faultPoint{p, f}, nil
}

type faultPoint struct {
	SyncPoint
	fs *faultFS
}

func (p faultPoint) Sync() error { return p.fs.ask("syncfs", "") }

func (f *faultFS) Kind() Kind {
	k := f.FS.Kind()
	k.Exact = false // its times are made up
	if f.remote {
		k.Local = false
	}
	return k
}

type faultFile struct {
	File
	fs   *faultFS
	name string
}

func (f *faultFile) Read(p []byte) (int, error) {
	if err := f.fs.ask("read", f.name); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.ask("readat", f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.ask("write", f.name); err != nil {
		// A full disk takes a part.
		n, _ := f.File.WriteAt(p[:len(p)/2], off)
		return n, err
	}
	return f.File.WriteAt(p, off)
}

func (f *faultFile) SetModTime(t time.Time) error {
	return f.fs.then("setmodtime", f.name, func() error { return f.File.SetModTime(t) })
}

func (f *faultFile) Sync() error { return f.fs.ask("sync", f.name) }

func (f *faultFile) Stat() (FileInfo, error) { return f.fs.shift(f.File.Stat()) }

// Close really closes, whatever it says.
func (f *faultFile) Close() error {
	err := f.File.Close()
	if injected := f.fs.ask("close", f.name); injected != nil && !errors.Is(err, fs.ErrClosed) {
		return injected
	}
	return err
}

var _ FS = (*faultFS)(nil)

// faultStore is a Store on a faulty file system.
func faultStore(t testing.TB, layout Layout) (*Store, *faultFS, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "Mail")
	real, err := openRoot(root, false)
	if err != nil {
		t.Fatal(err)
	}
	f := &faultFS{FS: real}
	s, err := Open(root, layout, Options{FS: f, Host: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, f, root
}

var _ io.Closer = (*Store)(nil)
