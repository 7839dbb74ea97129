package state

import "golang.org/x/sys/unix"

// keepsBirth reports whether a file keeps its birth for life in a directory, also under another name and after a crash: known of
// few file systems.
func keepsBirth(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC, zfsMagic:
		return true
	}
	return false
}

const zfsMagic = 0x2FC12FC1
