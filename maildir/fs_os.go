package maildir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"
)

// osFS is the real file system. Every name is resolved by os.Root, component by component, so that
// symbolic links can't lead out of the root even if somebody plants them between two calls.
type osFS struct {
	root *os.Root
	kind Kind
}

// OSFS opens the real file system below root, which must exist.
func OSFS(root string) (FS, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	d, err := r.Open(".")
	if err != nil {
		r.Close()
		return nil, err
	}
	defer d.Close()
	kind, err := kindOf(d)
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("finding out the kind of file system at %s: %w", root, err)
	}
	return &osFS{root: r, kind: kind}, nil
}

func (o *osFS) Kind() Kind   { return o.kind }
func (o *osFS) Close() error { return o.root.Close() }

func (o *osFS) Create(name string, perm fs.FileMode) (File, error) {
	f, err := o.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (o *osFS) Open(name string) (File, error) {
	dir, err := o.root.Open(path.Dir(name))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := o.openNoFollow(dir, name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		if err == nil {
			err = &fs.PathError{Op: "open", Path: name, Err: ErrNotRegular}
		}
		return nil, err
	}
	return osFile{f}, nil
}

func (o *osFS) Stat(name string) (FileInfo, error) {
	info, err := o.root.Lstat(name)
	if err != nil {
		return FileInfo{}, err
	}
	return fileInfo(info), nil
}

func (o *osFS) List(dir string, each func(string, fs.FileMode) bool) error {
	d, err := o.root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return listDir(d, each)
}

func (o *osFS) Mkdir(name string, perm fs.FileMode) error { return o.root.Mkdir(name, perm) }
func (o *osFS) Rename(from, to string) error              { return o.root.Rename(from, to) }
func (o *osFS) Remove(name string) error                  { return o.root.Remove(name) }

func (o *osFS) RenameNew(from, to string) error {
	src, err := o.root.Open(path.Dir(from))
	if err != nil {
		return err
	}
	defer src.Close()
	dst := src
	if path.Dir(to) != path.Dir(from) {
		if dst, err = o.root.Open(path.Dir(to)); err != nil {
			return err
		}
		defer dst.Close()
	}
	err = renameNoReplace(src, path.Base(from), dst, path.Base(to))
	if errors.Is(err, errors.ErrUnsupported) {
		err = o.linkAndRemove(from, to)
	}
	var linkErr *os.LinkError
	if err != nil && !errors.As(err, &linkErr) {
		err = &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return err
}

// linkAndRemove is the old way to rename without replacing. Directories, and files where there are no
// hard links (FAT), are checked first and then renamed: the best that such systems offer.
func (o *osFS) linkAndRemove(from, to string) error {
	info, err := o.root.Lstat(from)
	if err != nil {
		return err
	}
	if info.Mode().IsRegular() {
		err := o.root.Link(from, to)
		if err == nil {
			return o.root.Remove(from)
		}
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if _, err := o.root.Lstat(to); err == nil {
		return fs.ErrExist
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return o.root.Rename(from, to)
}

func (o *osFS) SetModTime(name string, t time.Time) error { return o.root.Chtimes(name, t, t) }

func (o *osFS) Touch(name string) (time.Time, error) {
	f, err := o.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	if err := o.touch(f, name); err != nil {
		return time.Time{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

func (o *osFS) SyncDir(dir string) error {
	d, err := o.root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return syncDir(d)
}

func (o *osFS) SyncPoint(dir string) (SyncPoint, error) {
	if !o.kind.Local || !syncPointsWork() {
		return nil, errors.ErrUnsupported
	}
	d, err := o.root.Open(dir)
	if err != nil {
		return nil, err
	}
	return osSyncPoint{d}, nil
}

type osSyncPoint struct{ dir *os.File }

func (p osSyncPoint) Sync() error  { return syncFileSystem(p.dir) }
func (p osSyncPoint) Close() error { return p.dir.Close() }

func (o *osFS) Lock(name string) (io.Closer, error) {
	f, err := o.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	ok, err := tryLock(f)
	if err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	if !ok {
		defer f.Close()
		var pid int
		// What can't be read is a holder that is not known: the lock itself is what counts.
		if _, err := fmt.Fscanf(io.LimitReader(f, 20), "%d", &pid); err != nil || pid < 0 {
			pid = 0
		}
		return nil, &LockedError{PID: pid}
	}
	if err := writePID(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	return err
}

type osFile struct{ *os.File }

func (f osFile) Stat() (FileInfo, error) {
	info, err := f.File.Stat()
	if err != nil {
		return FileInfo{}, err
	}
	return fileInfo(info), nil
}
