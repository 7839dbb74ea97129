package state

import (
	"os"
	"syscall"
)

func identify(path string) (identity, error) {
	f, err := os.Open(path)
	if err != nil {
		return identity{}, err
	}
	defer func() { _ = f.Close() }()
	var info syscall.ByHandleFileInformation
	if err := syscall.GetFileInformationByHandle(syscall.Handle(f.Fd()), &info); err != nil {
		return identity{}, &os.PathError{Op: "GetFileInformationByHandle", Path: path, Err: err}
	}
	return identity{inode: int64(info.FileIndexHigh)<<32 | int64(info.FileIndexLow)}, nil
}

// syncDir does nothing: Windows can't flush a directory, NTFS keeps the order of its changes by itself.
func syncDir(string) error { return nil }
