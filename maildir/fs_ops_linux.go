package maildir

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// at calls do with the directory that name lies in and its last part.
func (o *osFS) at(op, name string, do func(dir int, base string) error) error {
	return o.in(o.dirs.get, op, name, do)
}

// in calls do with the directory that name lies in, as get opens it, and its last part.
func (o *osFS) in(get func(string) (*openDir, error), op, name string, do func(dir int, base string) error) error {
	dir, base := splitPath(name)
	if base == "" || base == "." || base == ".." {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	d, err := get(dir)
	if err != nil {
		return err
	}
	defer o.dirs.put(d)
	if err := retry(func() error { return do(d.fd, base) }); err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

// recently does something in directories that were looked at a moment ago, and where that finds something missing, once more in those that
// are there now: one may just have been removed and made anew.
func (o *osFS) recently(do func(get func(string) (*openDir, error)) error) error {
	err := do(o.dirs.getRecent)
	if errors.Is(err, fs.ErrNotExist) {
		err = do(o.dirs.get)
	}
	return err
}

// splitPath is path.Dir and path.Base of a name as path.Join makes them.
func splitPath(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ".", name
	}
	return name[:i], name[i+1:]
}

func (o *osFS) Create(name string, perm fs.FileMode) (File, error) {
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	f := &linuxFile{name: name}
	err := o.recently(func(get func(string) (*openDir, error)) error {
		return o.in(get, "open", name, func(dir int, base string) (err error) {
			f.fd, err = unix.Openat(dir, base, flags, uint32(perm.Perm()))
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (o *osFS) Open(name string) (File, error) {
	// O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	f := &linuxFile{name: name}
	err := o.at("open", name, func(dir int, base string) (err error) {
		f.fd, err = unix.Openat(dir, base, flags, 0)
		if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) { // a link; a socket or device
			err = ErrNotRegular
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode.IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: ErrNotRegular}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (o *osFS) Stat(name string) (FileInfo, error) {
	if name == "." {
		return (&linuxFile{fd: o.dirs.top.fd, name: name}).Stat()
	}
	var st unix.Stat_t
	err := o.at("lstat", name, func(dir int, base string) error {
		return unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return FileInfo{}, err
	}
	return statInfo(&st), nil
}

// statInfo reads what lstat gave.
func statInfo(st *unix.Stat_t) FileInfo {
	return FileInfo{
		Mode: fs.FileMode(st.Mode&0o777) | typeOf(typeBits(st)), Size: st.Size,
		ModTime: time.Unix(st.Mtim.Unix()), CTime: time.Unix(st.Ctim.Unix()),
		Dev: uint64(st.Dev), Inode: st.Ino, Links: uint64(st.Nlink),
	}
}

func (o *osFS) Names(dir string, each func(string, fs.FileMode) bool) error {
	d, err := o.dirs.get(dir)
	if err != nil {
		return err
	}
	defer o.dirs.put(d)
	// Its own place in the directory: others may read it at the same time.
	fd, err := again(func() (int, error) {
		return unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	return listDir(fd, dir, each)
}

func (o *osFS) List(dir string, each func(string, fs.FileMode) bool) error {
	return o.Names(dir, func(name string, mode fs.FileMode) bool { return each(strings.Clone(name), mode) })
}

func (o *osFS) Remove(name string) error {
	return o.at("unlink", name, func(dir int, base string) error {
		err := unix.Unlinkat(dir, base, 0)
		if errors.Is(err, unix.EISDIR) {
			err = unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
		}
		return err
	})
}

func (o *osFS) RenameNew(from, to string) error {
	err := o.recently(func(get func(string) (*openDir, error)) error { return o.renameNew(get, from, to) })
	if errors.Is(err, errors.ErrUnsupported) {
		err = o.linkAndRemove(from, to)
	}
	if err == nil {
		o.dirs.renamed(from, to)
	}
	var linkErr *os.LinkError
	if err != nil && !errors.As(err, &linkErr) {
		err = &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return err
}

func (o *osFS) renameNew(get func(string) (*openDir, error), from, to string) error {
	fromDir, fromBase := splitPath(from)
	toDir, toBase := splitPath(to)
	src, err := get(fromDir)
	if err != nil {
		return err
	}
	defer o.dirs.put(src)
	dst := src
	if toDir != fromDir {
		if dst, err = get(toDir); err != nil {
			return err
		}
		defer o.dirs.put(dst)
	}
	err = retry(func() error { return unix.Renameat2(src.fd, fromBase, dst.fd, toBase, unix.RENAME_NOREPLACE) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return errors.ErrUnsupported
	}
	return err
}

func (o *osFS) Touch(name string) (time.Time, error) {
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_CLOEXEC
	f := &linuxFile{name: name}
	err := o.at("open", name, func(dir int, base string) (err error) {
		f.fd, err = unix.Openat(dir, base, flags, 0o600)
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	// The present of whoever keeps the times, not of this process.
	now := unix.Timespec{Nsec: unix.UTIME_NOW}
	if err := f.setTimes([2]unix.Timespec{now, now}); err != nil {
		return time.Time{}, err
	}
	info, err := f.Stat()
	return info.ModTime, err
}

func (o *osFS) SyncDir(dir string) error {
	d, err := o.dirs.get(dir)
	if err != nil {
		return err
	}
	defer o.dirs.put(d)
	if err := retry(func() error { return unix.Fsync(d.fd) }); err != nil {
		return &fs.PathError{Op: "sync", Path: path.Clean(dir), Err: err}
	}
	return nil
}
