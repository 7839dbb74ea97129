//go:build unix && !linux

package state

import (
	"os"

	"golang.org/x/sys/unix"
)

func identify(path string) (identity, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return identity{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return identity{inode: int64(st.Ino)}, nil
}
