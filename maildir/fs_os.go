package maildir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// osFS is the real file system. Every directory is opened by os.Root, component by component, so that
// symbolic links can't lead out of the root even if somebody plants them between two calls.
type osFS struct {
	root *os.Root
	kind Kind
	dirs openDirs
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
	o := &osFS{root: r, kind: kind}
	if err := o.dirs.open(r); err != nil {
		r.Close()
		return nil, err
	}
	return o, nil
}

func (o *osFS) Kind() Kind   { return o.kind }
func (o *osFS) Close() error { return errors.Join(o.dirs.close(), o.root.Close()) }

func (o *osFS) Mkdir(name string, perm fs.FileMode) error { return o.root.Mkdir(name, perm) }
func (o *osFS) Rename(from, to string) error              { return o.root.Rename(from, to) }

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
