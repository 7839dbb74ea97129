package maildir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"unsafe"

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
//
// The names that each gets lie in the buffer: the next ones take their place.
func listDir(fd int, dir string, each func(string, fs.FileMode) bool) error {
	buf := make([]byte, listBuffer)
	for {
		n, err := again(func() (int, error) { return unix.Getdents(fd, buf) })
		if err != nil {
			return &fs.PathError{Op: "readdir", Path: dir, Err: err}
		}
		if n == 0 {
			return nil
		}
		for rest := buf[:n]; len(rest) > direntName; {
			size := int(binary.NativeEndian.Uint16(rest[direntReclen:]))
			if size <= direntName || size > len(rest) {
				return &fs.PathError{Op: "readdir", Path: dir, Err: unix.EIO}
			}
			end := bytes.IndexByte(rest[direntName:size], 0)
			if end < 0 {
				end = size - direntName
			}
			name := unsafe.String(&rest[direntName], end)
			kind := rest[direntType]
			rest = rest[size:]
			if name == "." || name == ".." {
				continue
			}
			if kind == unix.DT_UNKNOWN {
				// Some file systems don't tell the type in the directory.
				st, err := statAt(fd, name)
				if errors.Is(err, fs.ErrNotExist) {
					continue // gone meanwhile
				}
				if err != nil {
					return &fs.PathError{Op: "lstat", Path: dir + "/" + name, Err: err}
				}
				kind = typeBits(&st)
			}
			if !each(name, typeOf(kind)) {
				return nil
			}
		}
	}
}

// typeBits is the type of a file as a directory tells it.
func typeBits(st *unix.Stat_t) byte { return byte(st.Mode & unix.S_IFMT >> 12) }

// typeOf is a type as a directory tells it.
func typeOf(kind byte) fs.FileMode {
	switch kind {
	case unix.DT_REG:
		return 0
	case unix.DT_DIR:
		return fs.ModeDir
	case unix.DT_LNK:
		return fs.ModeSymlink
	case unix.DT_FIFO:
		return fs.ModeNamedPipe
	case unix.DT_SOCK:
		return fs.ModeSocket
	}
	return fs.ModeDevice
}
