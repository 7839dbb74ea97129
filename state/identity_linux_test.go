package state

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestIdentityOnFAT: where a file gets another inode number with each mount, its birth alone tells it from a copy.
func TestIdentityOnFAT(t *testing.T) {
	file, mountedAgain, restored := identity{inode: 100, born: 5}, identity{inode: 200, born: 5}, identity{inode: 100, born: 9}
	for fsType, lasting := range map[int64]bool{unix.MSDOS_SUPER_MAGIC: false, unix.EXFAT_SUPER_MAGIC: false, unix.EXT4_SUPER_MAGIC: true} {
		if is := file.on(fsType) == mountedAgain.on(fsType); is == lasting {
			t.Errorf("%#x: the same file after a mount: %v", fsType, is)
		}
		if file.on(fsType) == restored.on(fsType) || file.on(fsType).inode == 0 {
			t.Errorf("%#x: a restored one is taken for the same, or for one that is not adopted", fsType)
		}
	}
}
