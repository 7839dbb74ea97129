// Package maildir is the local side: folders, messages, flags and deliveries in one Maildir tree.
//
// A Store is one account's Maildir, in one of two layouts:
//
//	nested       root/INBOX/{cur,new,tmp}   root/Archive/2024/{cur,new,tmp}
//	maildir++    root/{cur,new,tmp}         root/.Archive.2024/{cur,new,tmp}
//
// Other programs work in the same directories at the same time, so the package holds on to nothing:
// a message is known by its base name (the file name up to ":2,"), and is looked up again whenever it
// is not where it was. Nothing is ever overwritten, every rename refuses to replace. Paths never
// lead out of the root, whatever a folder is called and wherever a symbolic link points.
//
// What is durable when: a Batch puts data, then names, then directories on disk; renames and removals
// are durable after Flush. The caller commits its state after that, and only then removes at the source.
//
// All methods of Store may be called from several goroutines at once. A Batch belongs to one, but there may be several
// Batches: one can be written while another one is made durable.
package maildir

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Layout says how folders lie below the root.
type Layout string

const (
	// Nested has a directory for each folder, the inbox in INBOX.
	Nested Layout = "nested"
	// PlusPlus is Maildir++: the root is the inbox, .Archive.2024 a folder in it.
	PlusPlus Layout = "maildir++"
)

var (
	// ErrNotMounted: the root is missing and so is its parent.
	ErrNotMounted = errors.New("neither it nor the directory above it exists")
	// ErrReadOnly: nothing can be written below the root.
	ErrReadOnly = errors.New("the Maildir can't be written to")
	// ErrLayout: the root's directories show the other layout.
	ErrLayout = errors.New("the Maildir has the other layout")
	// ErrLocked: another process works on this Maildir; the error is a *LockedError.
	ErrLocked = errors.New("another Satchel is working on this Maildir")
	// ErrNoFolder: the folder has none of cur, new and tmp.
	ErrNoFolder = errors.New("no such folder in the Maildir")
	// ErrNotFound: a quiet reading of the folder does not have the message.
	ErrNotFound = errors.New("no such message in the folder")
	// ErrBusy: the folder changed as fast as it was read, so that nobody can say what is missing.
	ErrBusy = errors.New("the folder keeps changing while it is read; try again later")
	// ErrChanged: the file changed while it was read.
	ErrChanged = errors.New("the file was changed while it was read")
	// ErrNotRegular: a symbolic link, directory, pipe or device where a message should be.
	ErrNotRegular = errors.New("not a regular file")
	// ErrNotEmpty: the folder still holds messages or files of others.
	ErrNotEmpty = errors.New("the folder is not empty")
	// ErrFolderExists: the folder's new name is taken.
	ErrFolderExists = errors.New("a folder of that name exists")
	// ErrKeywordsLocked: another program holds dovecot-keywords.lock.
	ErrKeywordsLocked = errors.New("dovecot-keywords is locked by another program, which has made dovecot-keywords.lock; if that one is gone, the lock counts no more after two minutes")
)

// LockedError says who works on the Maildir.
type LockedError struct {
	PID int // 0 if not known
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return ErrLocked.Error()
	}
	return fmt.Sprintf("%v (process %d)", ErrLocked, e.PID)
}

func (e *LockedError) Unwrap() error { return ErrLocked }

// Options are the doors to the world; what is left zero is the real one.
type Options struct {
	FS   FS
	Now  func() time.Time
	Rand io.Reader
	Host string
	PID  int // of this process
	// ReadOnly: nothing below the root is created, renamed, touched or removed
	// (dry runs, status, verify). Methods that would have to fail with ErrReadOnly.
	ReadOnly bool
	// Maildrop: what is said of messages is what mail.NewMaildropSurveyor says.
	Maildrop bool
}

// Folder is one folder that exists.
type Folder struct {
	Name  mail.FolderName
	Inode uint64 // of the directory, 0 if it is not known
	Mark  Mark
	// Incomplete: it lacks cur or new. CreateFolder completes it.
	Incomplete bool
}

// Problem is something that was left out, and why.
type Problem struct {
	Folder mail.FolderName // may be empty
	File   string          // path below the root
	Base   string          // of what lies in a message's place, else empty
	Err    error
}

func (p Problem) Error() string { return fmt.Sprintf("%s: %v", p.File, p.Err) }

func (p Problem) Unwrap() error { return p.Err }

// Entry is a message as its file name tells it.
type Entry struct {
	// Base identifies the message within its folder: the file name without ":2," and flags.
	Base string
	// Flags holds no keyword that has no letter in the folder.
	Flags mail.Flags
	// New: it lies in new/.
	New bool
	// File is the whole name, in new/ or cur/.
	File string
	// Unexplained: the name carries keyword letters that dovecot-keywords does not list, so that a keyword
	// which is missing from Flags need not have been removed.
	Unexplained bool
}

// Known is what the caller of Scan knows of a folder already, so that a reading need not hold what did not change. A
// base that it is asked about is only there until it returns: strings.Clone keeps it.
type Known interface {
	// Reset begins a reading: nothing was seen yet. A Scan may read several times.
	Reset()
	// Take reports whether a message of this base name and these flags (mail.Flags.Hash) is known, and was not
	// seen in this reading. From then on it was.
	Take(base string, flags uint32) bool
	// Taken reports whether Take said yes to a message of this base name in this reading.
	Taken(base string) bool
}

// Scan is what one folder holds.
type Scan struct {
	// Mark is from before the reading.
	Mark Mark
	// Entries are sorted by Base, each Base once. The caller must not change them. Those that Known took are not
	// among them, unless All.
	Entries []Entry
	// All: the Entries are all there are. So it is without Known, and if two files have one base name, which only
	// looking at all of them can tell apart. Known was Reset then, and has taken nothing.
	All bool
	// Count is the number of messages, those that Known took included.
	Count int
	// Names tells apart which base names there were.
	Names Names
	// Problems are files that are no messages, or whose names could not be told apart.
	Problems []Problem
	// Quiet: nobody changed the folder while it was read, so what is not in Entries, nor taken, is not there. If
	// false, a name that is missing must be looked up with Stat before it counts as gone.
	Quiet bool
	// Aside is how many files were put aside for undo by this Scan, as copies of others under the same base name.
	Aside int
}

// Names is a fingerprint of a set of base names, whatever their order. Those that one Store made are compared
// with ==.
type Names struct {
	n   int
	sum [2]uint64 // of two independent hashes of each name
}

// Info is a message with what its inode tells.
type Info struct {
	Entry
	Size    int64
	ModTime time.Time
	Inode   uint64
}

// Delivered is a message whose bytes are on disk, not yet under its final name.
type Delivered struct {
	Base string
	// Content is of the bytes that were written, as they came over the wire.
	Content mail.Content
	// FileSize is the size on disk, with LF line ends or as it came.
	FileSize int64
	Inode    uint64
	// Raw: the file's LFs are not CRLFs on the wire; hand it to OpenWire as such.
	Raw bool
	// Flags are those the file carries, without keywords that have no letter.
	Flags   mail.Flags
	New     bool
	ModTime time.Time
}
