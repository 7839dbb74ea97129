package maildir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/satchel-mail/satchel/internal/defect"
)

// The layout of struct linux_dirent64.
const (
	direntReclen = 16
	direntType   = 18
	direntName   = 19
)

// Most directories are small, and a large buffer costs more than reading them.
const (
	firstBuffer = 4 << 10
	listBuffer  = 64 << 10
	// buffersAhead is how many of them are read ahead, while what is known of the folder is still being loaded: a hundred
	// thousand names are some 130.
	buffersAhead = 96
)

// listDir reads names and types from the directory alone: below an os.Root the standard library
// looks at every file, which for a large folder takes longer than everything else. Of a large directory the kernel
// gets the next names together while each is given these.
//
// The names that each gets lie in a buffer: later ones take their place.
func listDir(fd int, dir string, each func(string, fs.FileMode) bool) error {
	buf := make([]byte, firstBuffer)
	for {
		n, err := getdents(fd, dir, buf)
		if err != nil || n == 0 {
			return err
		}
		if n > firstBuffer/2 {
			return listAhead(fd, dir, buf[:n], each)
		}
		if more, err := takeDents(fd, dir, buf[:n], each); err != nil || !more {
			return err
		}
	}
}

// listAhead is listDir for a large directory, of which the first names are there.
func listAhead(fd int, dir string, first []byte, each func(string, fs.FileMode) bool) error {
	type filled struct {
		buf []byte
		n   int
		err error
	}
	free, full := make(chan []byte, buffersAhead), make(chan filled, buffersAhead)
	for range buffersAhead {
		free <- nil // made when it is needed
	}
	var enough atomic.Bool
	go func() {
		defer close(full)
		for buf := range free {
			if enough.Load() {
				return
			}
			if buf == nil {
				buf = make([]byte, listBuffer)
			}
			n := 0
			err := defect.Contain(func() (err error) { n, err = getdents(fd, dir, buf); return err })
			full <- filled{buf, n, err}
			if n == 0 || err != nil {
				return
			}
		}
	}()
	var failed error
	take := func(buf []byte) {
		more, err := takeDents(fd, dir, buf, each)
		if failed = err; !more || err != nil {
			enough.Store(true)
			close(free)
		}
	}
	take(first)
	for f := range full { // until the reader has ended
		switch {
		case enough.Load():
		case f.err != nil || f.n == 0:
			failed = f.err
		default:
			if take(f.buf[:f.n]); !enough.Load() {
				free <- f.buf
			}
		}
	}
	return failed
}

func getdents(fd int, dir string, buf []byte) (int, error) {
	n, err := again(func() (int, error) { return unix.Getdents(fd, buf) })
	if err != nil {
		return 0, &fs.PathError{Op: "readdir", Path: dir, Err: err}
	}
	return n, nil
}

// takeDents gives the names in a buffer to each. more is false if that wants no more.
func takeDents(fd int, dir string, buf []byte, each func(string, fs.FileMode) bool) (more bool, err error) {
	for rest := buf; len(rest) > direntName; {
		size := int(binary.NativeEndian.Uint16(rest[direntReclen:]))
		if size <= direntName || size > len(rest) {
			return false, &fs.PathError{Op: "readdir", Path: dir, Err: unix.EIO}
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
				return false, &fs.PathError{Op: "lstat", Path: dir + "/" + name, Err: err}
			}
			kind = typeBits(&st)
		}
		if !each(name, typeOf(kind)) {
			return false, nil
		}
	}
	return true, nil
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
