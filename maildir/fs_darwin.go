package maildir

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func changeTime(st *syscall.Stat_t) syscall.Timespec { return st.Ctimespec }

func renameNoReplace(src *os.File, from string, dst *os.File, to string) error {
	_, err := again(func() (int, error) {
		return 0, unix.RenameatxNp(int(src.Fd()), from, int(dst.Fd()), to, unix.RENAME_EXCL)
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) {
		return errors.ErrUnsupported
	}
	return err
}

func localType(name string) bool { return name == "apfs" || name == "hfs" }
