package maildir

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// syncPointsWork: syncfs tells of lost writes since Linux 5.8.
func syncPointsWork() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	major, rest, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err1 == nil && (a > 5 || (a == 5 && err2 == nil && b >= 8))
}

func syncFileSystem(dir *os.File) error {
	_, err := again(func() (int, error) { return 0, unix.Syncfs(int(dir.Fd())) })
	if err != nil {
		return &os.PathError{Op: "syncfs", Path: dir.Name(), Err: err}
	}
	return nil
}

// kinds are the file systems that people keep mail on. One that is not named here is taken for
// a remote one, which costs time and nothing else.
var kinds = map[uint32]Kind{
	unix.EXT4_SUPER_MAGIC:      {"ext4", true},
	unix.XFS_SUPER_MAGIC:       {"XFS", true},
	unix.BTRFS_SUPER_MAGIC:     {"Btrfs", true},
	unix.F2FS_SUPER_MAGIC:      {"F2FS", true},
	unix.BCACHEFS_SUPER_MAGIC:  {"bcachefs", true},
	unix.TMPFS_MAGIC:           {"tmpfs", true},
	unix.RAMFS_MAGIC:           {"ramfs", true},
	unix.OVERLAYFS_SUPER_MAGIC: {"overlayfs", true},
	unix.ECRYPTFS_SUPER_MAGIC:  {"eCryptfs", true},
	unix.REISERFS_SUPER_MAGIC:  {"ReiserFS", true},
	unix.NILFS_SUPER_MAGIC:     {"NILFS", true},
	unix.MSDOS_SUPER_MAGIC:     {"FAT", true},
	unix.EXFAT_SUPER_MAGIC:     {"exFAT", true},
	0x2FC12FC1:                 {"ZFS", true},
	0x3153464A:                 {"JFS", true},
	0x7366746E:                 {"NTFS", true},
	0x482B:                     {"HFS+", true},
	unix.NFS_SUPER_MAGIC:       {"NFS", false},
	unix.SMB_SUPER_MAGIC:       {"SMB", false},
	unix.SMB2_SUPER_MAGIC:      {"SMB", false},
	unix.CIFS_SUPER_MAGIC:      {"SMB", false},
	unix.FUSE_SUPER_MAGIC:      {"FUSE", false},
	unix.V9FS_MAGIC:            {"9P", false},
	unix.AFS_SUPER_MAGIC:       {"AFS", false},
	unix.CEPH_SUPER_MAGIC:      {"Ceph", false},
	unix.CODA_SUPER_MAGIC:      {"Coda", false},
	unix.OCFS2_SUPER_MAGIC:     {"OCFS2", false},
}

func kindOf(dir *os.File) (Kind, error) {
	var st unix.Statfs_t
	if _, err := again(func() (int, error) { return 0, unix.Fstatfs(int(dir.Fd()), &st) }); err != nil {
		return Kind{}, err
	}
	if k, ok := kinds[uint32(st.Type)]; ok {
		return k, nil
	}
	return Kind{Name: fmt.Sprintf("type %#x", uint32(st.Type))}, nil
}
