package maildir

import (
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// linuxFile is an open regular file without what os.File does for pipes and sockets: one system call for each
// method and for Close.
type linuxFile struct {
	name string

	mu     sync.RWMutex // Close waits for whoever works with fd: the number may be another file's then
	fd     int
	closed bool
}

// do calls f, again if a signal interrupted it.
func (l *linuxFile) do(op string, f func() error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	err := fs.ErrClosed
	if !l.closed {
		err = retry(f)
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: l.name, Err: err}
	}
	return nil
}

func (l *linuxFile) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	err = l.do("read", func() (err error) { n, err = unix.Read(l.fd, p); return err })
	if err == nil && n == 0 {
		return 0, io.EOF
	}
	return max(n, 0), err
}

func (l *linuxFile) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m := 0
		err := l.do("read", func() (err error) { m, err = unix.Pread(l.fd, p[n:], off+int64(n)); return err })
		if err != nil {
			return n, err
		}
		if m == 0 {
			return n, io.EOF
		}
		n += m
	}
	return n, nil
}

func (l *linuxFile) WriteAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m := 0
		err := l.do("write", func() (err error) { m, err = unix.Pwrite(l.fd, p[n:], off+int64(n)); return err })
		if err != nil {
			return n, err
		}
		if m == 0 {
			return n, io.ErrUnexpectedEOF
		}
		n += m
	}
	return n, nil
}

func (l *linuxFile) Seek(offset int64, whence int) (pos int64, err error) {
	err = l.do("seek", func() (err error) { pos, err = unix.Seek(l.fd, offset, whence); return err })
	return pos, err
}

func (l *linuxFile) Sync() error { return l.do("sync", func() error { return unix.Fsync(l.fd) }) }

func (l *linuxFile) Stat() (FileInfo, error) {
	var st unix.Stat_t
	if err := l.do("stat", func() error { return unix.Fstat(l.fd, &st) }); err != nil {
		return FileInfo{}, err
	}
	return statInfo(&st), nil
}

func (l *linuxFile) SetModTime(t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return &fs.PathError{Op: "chtimes", Path: l.name, Err: err}
	}
	return l.setTimes([2]unix.Timespec{ts, ts})
}

// setTimes is futimens, which is utimensat without a name.
func (l *linuxFile) setTimes(times [2]unix.Timespec) error {
	return l.do("chtimes", func() error {
		_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(l.fd), 0, uintptr(unsafe.Pointer(&times[0])), 0, 0, 0)
		if errno != 0 {
			return syscall.Errno(errno)
		}
		return nil
	})
}

// Close closes the file whatever it says: some file systems report only now that writing failed. After a signal
// the file is closed too.
func (l *linuxFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return &fs.PathError{Op: "close", Path: l.name, Err: os.ErrClosed}
	}
	l.closed = true
	if err := unix.Close(l.fd); err != nil && err != unix.EINTR {
		return &fs.PathError{Op: "close", Path: l.name, Err: err}
	}
	return nil
}
