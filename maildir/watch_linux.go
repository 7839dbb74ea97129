package maildir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// inotify tells of names that come and go (inotify(7)). The kernel does so while the directory is still locked for the change.
type inotify struct {
	o    *osFS
	fd   int
	dirs map[int]string
	buf  []byte
}

// stacked are file systems whose files may change below them, without notice.
var stacked = map[string]bool{"overlayfs": true, "eCryptfs": true}

func (o *osFS) Watch() (Watch, error) {
	if !o.kind.Local || stacked[o.kind.Name] {
		return nil, errors.ErrUnsupported
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, errors.ErrUnsupported // there are too many of them, or none at all
	}
	return &inotify{o: o, fd: fd, dirs: map[int]string{}, buf: make([]byte, 32<<10)}, nil
}

const (
	cameEvents = unix.IN_CREATE | unix.IN_MOVED_TO
	wentEvents = unix.IN_DELETE | unix.IN_MOVED_FROM
	goneEvents = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
)

func (w *inotify) Add(dir string) error {
	d, err := w.o.dirs.get(dir)
	if err != nil {
		return err
	}
	defer w.o.dirs.put(d)
	// The directory that is open, whatever its path leads to by now.
	wd, err := again(func() (int, error) {
		return unix.InotifyAddWatch(w.fd, "/proc/self/fd/"+strconv.Itoa(d.fd), cameEvents|wentEvents|goneEvents|unix.IN_ONLYDIR)
	})
	if err != nil {
		return &fs.PathError{Op: "watch", Path: dir, Err: err}
	}
	w.dirs[wd] = dir
	return nil
}

var errUntold = errors.New("not all changes were told")

func (w *inotify) Told(each func(dir, name string, came bool)) error {
	for {
		n, err := again(func() (int, error) { return unix.Read(w.fd, w.buf) })
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watching the Maildir: %w", err)
		}
		if err := w.tell(w.buf[:n], each); err != nil {
			return err
		}
	}
}

// tell reads events: descriptor, mask, cookie and the length of the name, 32 bits each, and the name with zeros behind it.
func (w *inotify) tell(events []byte, each func(dir, name string, came bool)) error {
	for len(events) >= unix.SizeofInotifyEvent {
		wd, mask := int(int32(binary.NativeEndian.Uint32(events))), binary.NativeEndian.Uint32(events[4:])
		size := int(binary.NativeEndian.Uint32(events[12:]))
		events = events[unix.SizeofInotifyEvent:]
		if size > len(events) || mask&(unix.IN_Q_OVERFLOW|unix.IN_IGNORED|unix.IN_UNMOUNT|goneEvents) != 0 {
			return errUntold
		}
		name, _, _ := bytes.Cut(events[:size], []byte{0})
		events = events[size:]
		if mask&(cameEvents|wentEvents) != 0 {
			each(w.dirs[wd], string(name), mask&cameEvents != 0)
		}
	}
	return nil
}

func (w *inotify) Close() error { return unix.Close(w.fd) }
