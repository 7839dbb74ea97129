package state

import (
	"os"

	"golang.org/x/sys/unix"
)

// noInode is the inode where only the birth tells. It is not 0, by which a database is not adopted.
const noInode = 1

func identify(path string) (identity, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return identity{}, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	id := identity{inode: int64(st.Ino)}
	if st.Mask&unix.STATX_BTIME == 0 {
		return id, nil
	}
	id.born = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return identity{}, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return id.on(int64(fs.Type)), nil
}

// on is the identity as far as it lasts on a file system: FAT and exFAT have no inodes, and Linux numbers their files anew with each mount.
func (id identity) on(fsType int64) identity {
	if fsType == unix.MSDOS_SUPER_MAGIC || fsType == unix.EXFAT_SUPER_MAGIC {
		id.inode = noInode
	}
	return id
}
