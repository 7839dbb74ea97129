package maildir

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// The layout of struct linux_dirent64.
const (
	direntReclen = 16
	direntType   = 18
	direntName   = 19
)

const listBuffer = 64 << 10

// listDir reads names and types from the directory alone: below an os.Root the standard library
// looks at every file, which for a large folder takes longer than everything else.
func listDir(d *os.File, each func(string, fs.FileMode) bool) error {
	buf := make([]byte, listBuffer)
	for {
		n, err := again(func() (int, error) { return unix.Getdents(int(d.Fd()), buf) })
		if err != nil {
			return &fs.PathError{Op: "readdir", Path: d.Name(), Err: err}
		}
		if n == 0 {
			return nil
		}
		// One string for all names of the buffer.
		for rest := string(buf[:n]); len(rest) > direntName; {
			size := int(binary.NativeEndian.Uint16([]byte(rest[direntReclen : direntReclen+2])))
			if size <= direntName || size > len(rest) {
				return &fs.PathError{Op: "readdir", Path: d.Name(), Err: unix.EIO}
			}
			name, _, _ := strings.Cut(rest[direntName:size], "\x00")
			kind := rest[direntType]
			rest = rest[size:]
			if name == "." || name == ".." {
				continue
			}
			mode, err := modeOf(d, name, kind)
			if errors.Is(err, fs.ErrNotExist) {
				continue // gone meanwhile
			}
			if err != nil {
				return err
			}
			if !each(name, mode) {
				return nil
			}
		}
	}
}

// modeOf is the type of a directory entry. Some file systems don't tell it in the directory.
func modeOf(d *os.File, name string, kind byte) (fs.FileMode, error) {
	if kind == unix.DT_UNKNOWN {
		var st unix.Stat_t
		if _, err := again(func() (int, error) {
			return 0, unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
		}); err != nil {
			return 0, &fs.PathError{Op: "lstat", Path: name, Err: err}
		}
		kind = byte(st.Mode & unix.S_IFMT >> 12) // DT_ and S_IF numbers are the same
	}
	switch kind {
	case unix.DT_REG:
		return 0, nil
	case unix.DT_DIR:
		return fs.ModeDir, nil
	case unix.DT_LNK:
		return fs.ModeSymlink, nil
	case unix.DT_FIFO:
		return fs.ModeNamedPipe, nil
	case unix.DT_SOCK:
		return fs.ModeSocket, nil
	}
	return fs.ModeDevice, nil
}
