//go:build linux || darwin || freebsd

package maildir

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func again(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// refusesName reports whether the file system has no such names: FAT and its like know no colons.
func refusesName(err error) bool { return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EILSEQ) }

func tryLock(f *os.File) (bool, error) {
	_, err := again(func() (int, error) { return 0, unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
