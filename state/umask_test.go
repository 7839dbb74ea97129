//go:build unix

package state

import (
	"os"
	"syscall"
	"testing"
)

func TestFileModeWhateverTheUmask(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077, 0o277} {
		path := statePath(t)
		old := syscall.Umask(mask)
		db := openAt(t, path)
		addFolder(t, db, "INBOX")
		syscall.Umask(old)
		for _, suffix := range []string{"", "-wal", "-shm"} {
			info, err := os.Stat(path + suffix)
			must(t, err)
			if info.Mode().Perm() != 0o600 {
				t.Errorf("umask %o: %q has mode %o", mask, suffix, info.Mode().Perm())
			}
		}
		must(t, db.Close())
	}
}
