package maildir

import (
	"io"
	"io/fs"
	"time"
)

// FS is the only door to the file system. All names are slash-separated and relative to the Maildir's
// root ("." is the root itself); no name and no symbolic link leads out of it. Errors wrap fs.ErrNotExist,
// fs.ErrExist and the system's error numbers as package os does. It is used from several goroutines.
type FS interface {
	// Create makes a new file, open for reading and writing; fs.ErrExist if the name is taken.
	Create(name string, perm fs.FileMode) (File, error)
	// Open opens a regular file for reading: ErrNotRegular for everything else, without waiting
	// on pipes and without following a link in the last component.
	Open(name string) (File, error)
	// Stat is lstat: it describes a link itself.
	Stat(name string) (FileInfo, error)
	// List calls each with the names in a directory and their types, in the system's order, until
	// each returns false.
	List(dir string, each func(name string, mode fs.FileMode) bool) error
	// Names is List for large directories: a name is only there until each returns. strings.Clone keeps it.
	Names(dir string, each func(name string, mode fs.FileMode) bool) error
	// Mkdir makes one directory; fs.ErrExist if the name is taken.
	Mkdir(name string, perm fs.FileMode) error
	// Rename replaces a file that is in the way.
	Rename(from, to string) error
	// RenameNew is Rename that fails with fs.ErrExist if the name is taken. Interrupted, it may leave both
	// names for one file where the system has nothing better than link and unlink.
	RenameNew(from, to string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// Touch sets a file's modification time to the file system's own present, makes the file (0600) if
	// it is missing, and returns that time.
	Touch(name string) (time.Time, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
	// SyncPoint is taken before files are written below dir. Its Sync makes all data written since
	// durable at once, on the file system that holds dir, or fails if any of it was lost.
	// errors.ErrUnsupported where the system does not report that reliably.
	SyncPoint(dir string) (SyncPoint, error)
	// Watch begins to note which names come and go in directories, whoever is at work. errors.ErrUnsupported where the
	// system does not tell all of them.
	Watch() (Watch, error)
	// Lock takes an exclusive lock that ends with the process, on a file that it makes (0600) if it is
	// missing. It does not wait: a *LockedError says who has it.
	Lock(name string) (io.Closer, error)
	// Kind describes the file system below the root.
	Kind() Kind
	// Close releases the root.
	Close() error
}

// File is an open file.
type File interface {
	io.Reader
	io.Seeker
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes the file's data durable, not its name.
	Sync() error
	// SetModTime sets the modification time.
	SetModTime(t time.Time) error
	Stat() (FileInfo, error)
}

// SyncPoint makes many files durable at once; see FS.
type SyncPoint interface {
	Sync() error
	Close() error
}

// Watch tells which names come and go; see FS. One goroutine uses it at a time.
type Watch interface {
	// Add adds a directory. Adding it again changes nothing.
	Add(dir string) error
	// Told calls each with every name that came or went since the last call, with the directory as it was given to Add. When it
	// returns, everything was told that had happened before anybody could notice it in the directory. An error means
	// that some may be missing, and that nothing more will be told.
	Told(each func(dir, name string, came bool)) error
	Close() error
}

// FileInfo is what lstat tells. Where a system has no such thing, Dev, Inode, Links and CTime are zero.
type FileInfo struct {
	Mode    fs.FileMode
	Size    int64
	ModTime time.Time
	CTime   time.Time // last change of the inode, name included on most systems
	Dev     uint64
	Inode   uint64
	Links   uint64 // how many names the file has
}

// Kind describes a file system.
type Kind struct {
	// Name is how people call it ("ext4", "NFS"), a number if it is not known.
	Name string
	// Local: directory times can be believed (not NFS, SMB, FUSE and their like).
	Local bool
	// Exact: a change that follows a look at a directory always leaves it with another time.
	Exact bool
	// Passing: the inode numbers are the system's, and others after the next mount.
	Passing bool
}
