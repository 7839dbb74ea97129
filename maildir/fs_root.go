//go:build !linux

package maildir

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"time"
)

// openDirs: elsewhere than on Linux nothing is held open, and os.Root resolves every name anew.
type openDirs struct{}

func (*openDirs) open(*os.Root) error { return nil }
func (*openDirs) close() error        { return nil }

func (o *osFS) Create(name string, perm fs.FileMode) (File, error) {
	f, err := o.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f, o.root, name}, nil
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
	return osFile{f, o.root, name}, nil
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

func (o *osFS) Names(dir string, each func(string, fs.FileMode) bool) error { return o.List(dir, each) }

func (o *osFS) Remove(name string) error { return o.root.Remove(name) }

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

func (o *osFS) Touch(name string) (time.Time, error) {
	f, err := o.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	now := time.Now() // a local file system has no other clock
	if err := o.root.Chtimes(name, now, now); err != nil {
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

type osFile struct {
	*os.File
	root *os.Root
	name string
}

func (f osFile) Stat() (FileInfo, error) {
	info, err := f.File.Stat()
	if err != nil {
		return FileInfo{}, err
	}
	return fileInfo(info), nil
}

func (f osFile) SetModTime(t time.Time) error { return f.root.Chtimes(f.name, t, t) }
