//go:build darwin || freebsd

package maildir

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func fileInfo(info os.FileInfo) FileInfo {
	out := FileInfo{Mode: info.Mode(), Size: info.Size(), ModTime: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		// The types differ between systems, on some the conversions do nothing.
		out.Dev, out.Inode, out.Links = uint64(st.Dev), uint64(st.Ino), uint64(st.Nlink)
		changed := changeTime(st)
		out.CTime = time.Unix(changed.Unix())
	}
	return out
}

func (o *osFS) openNoFollow(dir *os.File, name string) (*os.File, error) {
	// O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := again(func() (int, error) { return unix.Openat(int(dir.Fd()), path.Base(name), flags, 0) })
	// ELOOP and, on FreeBSD, EMLINK: a link. ENXIO: a socket or device.
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.ENXIO) {
		err = ErrNotRegular
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func syncDir(d *os.File) error { return d.Sync() }

func syncPointsWork() bool { return false }

func syncFileSystem(*os.File) error { return errors.ErrUnsupported }

func kindOf(dir *os.File) (Kind, error) {
	var st unix.Statfs_t
	if _, err := again(func() (int, error) { return 0, unix.Fstatfs(int(dir.Fd()), &st) }); err != nil {
		return Kind{}, err
	}
	name := unix.ByteSliceToString(st.Fstypename[:])
	return Kind{Name: name, Local: uint64(st.Flags)&unix.MNT_LOCAL != 0 && localType(name)}, nil
}
