package maildir

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

func fileInfo(info os.FileInfo) FileInfo {
	return FileInfo{Mode: info.Mode(), Size: info.Size(), ModTime: info.ModTime()}
}

func (o *osFS) openNoFollow(_ *os.File, name string) (*os.File, error) {
	info, err := o.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: ErrNotRegular}
	}
	return o.root.Open(name)
}

func renameNoReplace(*os.File, string, *os.File, string) error { return errors.ErrUnsupported }

// syncDir does nothing: Windows has no way to ask for it, NTFS keeps names in its journal.
func syncDir(*os.File) error { return nil }

func syncPointsWork() bool { return false }

func syncFileSystem(*os.File) error { return errors.ErrUnsupported }

// kindOf: nothing here tells a network drive or how fine directory times are, so they are not believed.
func kindOf(*os.File) (Kind, error) { return Kind{Name: "Windows"}, nil }

// refusesName reports whether the file system has no such names.
func refusesName(err error) bool { return errors.Is(err, windows.ERROR_INVALID_NAME) }

func tryLock(f *os.File) (bool, error) {
	// One byte far behind the end, so that others can still read who holds it.
	at := &windows.Overlapped{OffsetHigh: 1 << 30}
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}
