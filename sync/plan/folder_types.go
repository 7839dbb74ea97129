package plan

import "github.com/satchel-mail/satchel/internal/mail"

// FolderInput are the folders of one account in the three trees.
type FolderInput struct {
	Policy Policy
	Base   []BaseFolder
	Remote []RemoteFolder
	Local  []LocalFolder
	// RemoteSame and LocalSame answer FolderQuestions: the share (0 to 1) of the base folder's UIDs or
	// base names that the candidate holds. A pair that is missing was not asked for yet.
	RemoteSame map[FolderQuestion]float64
	LocalSame  map[FolderQuestion]float64
	// Keep: that a folder is missing on a side is no deletion in this run, and it is made again.
	Keep bool
}

// BaseFolder is a folder that both sides, or one of them, had at the end of the last run. A folder that was
// deleted on one side keeps its Mailbox and OnDisk as long as the other side has it: that is what tells a deleted folder
// (held, or kept for a message that stays) from one that the side never had.
type BaseFolder struct {
	ID          int64
	Name        mail.FolderName
	Mailbox     string // the server's name, empty if it was not on the server
	OnDisk      bool   // it was in the Maildir
	UIDValidity uint64
	MailboxID   string
	Inode       uint64 // of the directory
	Messages    int    // base rows in it
}

// RemoteFolder is a mailbox that is on the server now and within the configured filter.
type RemoteFolder struct {
	Name        mail.FolderName // the local name that the configuration gives it
	Mailbox     string
	UIDValidity uint64
	MailboxID   string
}

// LocalFolder is a folder that is in the Maildir now and within the configured filter.
type LocalFolder struct {
	Name mail.FolderName
	// Mailbox is the server's name for it, empty with Problem saying why the server can't have it.
	Mailbox string
	Problem string
	Inode   uint64
}

// FolderQuestion asks how much of a base folder's messages a candidate holds.
type FolderQuestion struct {
	Side      Side
	Base      int64           // BaseFolder.ID
	Candidate mail.FolderName // RemoteFolder.Name or LocalFolder.Name
}

// FolderKind is what a folder operation does.
type FolderKind string

const (
	// RenameFolder renames From to Folder on Side. Children are renamed by operations of their own only
	// where they don't simply follow: an executor renames a folder with all below it, and the state with it.
	RenameFolder FolderKind = "rename-folder"
	// FollowFolder tells the state alone that From is now called Folder on both sides.
	FollowFolder FolderKind = "follow-folder"
	// CreateFolder creates Folder on Side.
	CreateFolder FolderKind = "create-folder"
)

// FolderOp is one folder operation.
type FolderOp struct {
	Kind    FolderKind
	Side    Side
	Folder  mail.FolderName
	From    mail.FolderName
	Base    int64  // the base folder, 0 for new ones
	Mailbox string // the server's new name for it, where known
	Reason  string
}
