package maildir

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// syncPointsWork: syncfs tells of lost writes since Linux 5.8.
func syncPointsWork() bool { return kernelSince(5, 8) }

// kernelSince reports whether the kernel is of that version or later.
func kernelSince(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	first, rest, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), ".")
	second, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(first)
	b, err2 := strconv.Atoi(second)
	return err1 == nil && (a > major || (a == major && err2 == nil && b >= minor))
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
	unix.EXT4_SUPER_MAGIC:      {Name: "ext4", Local: true},
	unix.XFS_SUPER_MAGIC:       {Name: "XFS", Local: true},
	unix.BTRFS_SUPER_MAGIC:     {Name: "Btrfs", Local: true},
	unix.F2FS_SUPER_MAGIC:      {Name: "F2FS", Local: true},
	unix.BCACHEFS_SUPER_MAGIC:  {Name: "bcachefs", Local: true},
	unix.TMPFS_MAGIC:           {Name: "tmpfs", Local: true},
	unix.RAMFS_MAGIC:           {Name: "ramfs", Local: true},
	unix.OVERLAYFS_SUPER_MAGIC: {Name: "overlayfs", Local: true},
	unix.ECRYPTFS_SUPER_MAGIC:  {Name: "eCryptfs", Local: true},
	unix.REISERFS_SUPER_MAGIC:  {Name: "ReiserFS", Local: true},
	unix.NILFS_SUPER_MAGIC:     {Name: "NILFS", Local: true},
	unix.MSDOS_SUPER_MAGIC:     {Name: "FAT", Local: true, Passing: true},
	unix.EXFAT_SUPER_MAGIC:     {Name: "exFAT", Local: true, Passing: true},
	0x2FC12FC1:                 {Name: "ZFS", Local: true},
	0x3153464A:                 {Name: "JFS", Local: true},
	0x7366746E:                 {Name: "NTFS", Local: true},
	0x482B:                     {Name: "HFS+", Local: true},
	unix.NFS_SUPER_MAGIC:       {Name: "NFS", Local: false},
	unix.SMB_SUPER_MAGIC:       {Name: "SMB", Local: false},
	unix.SMB2_SUPER_MAGIC:      {Name: "SMB", Local: false},
	unix.CIFS_SUPER_MAGIC:      {Name: "SMB", Local: false},
	unix.FUSE_SUPER_MAGIC:      {Name: "FUSE", Local: false},
	unix.V9FS_MAGIC:            {Name: "9P", Local: false},
	unix.AFS_SUPER_MAGIC:       {Name: "AFS", Local: false},
	unix.CEPH_SUPER_MAGIC:      {Name: "Ceph", Local: false},
	unix.CODA_SUPER_MAGIC:      {Name: "Coda", Local: false},
	unix.OCFS2_SUPER_MAGIC:     {Name: "OCFS2", Local: false},
}

// exactTimes are file systems with multigrain timestamps, which the kernel has since Linux 6.13
// (https://docs.kernel.org/filesystems/multigrain-ts.html), and use them for every change of a directory: on tmpfs a removal
// leaves the directory the time of the file that went. The names are those of mounts: what is mounted as ext3 has the number of
// ext4, and not its times.
var exactTimes = map[string]bool{"ext4": true, "xfs": true}

func kindOf(dir *os.File) (Kind, error) {
	var st unix.Statfs_t
	if _, err := again(func() (int, error) { return 0, unix.Fstatfs(int(dir.Fd()), &st) }); err != nil {
		return Kind{}, err
	}
	if k, ok := kinds[uint32(st.Type)]; ok {
		k.Exact = k.Local && kernelSince(6, 13) && exactTimes[mountType(dir)]
		return k, nil
	}
	return Kind{Name: fmt.Sprintf("type %#x", uint32(st.Type))}, nil
}

// mountType is the type that the file system of a directory is mounted as, empty if that can't be found out
// (proc_pid_mountinfo(5)).
func mountType(dir *os.File) string {
	var st unix.Stat_t
	if unix.Fstat(int(dir.Fd()), &st) != nil {
		return ""
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	defer mounts.Close()
	device := fmt.Sprintf("%d:%d", unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev)))
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		front, back, _ := strings.Cut(lines.Text(), " - ")
		if fields := strings.Fields(front); len(fields) > 2 && fields[2] == device {
			name, _, _ := strings.Cut(back, " ")
			return name
		}
	}
	return ""
}
