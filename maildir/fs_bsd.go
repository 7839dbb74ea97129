//go:build darwin || freebsd

package maildir

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func (o *osFS) touch(f *os.File, name string) error {
	now := time.Now() // a local file system has no other clock
	return o.root.Chtimes(name, now, now)
}

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
