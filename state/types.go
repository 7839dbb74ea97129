package state

import (
	"fmt"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Owner says whose state it is: the remote end that the Maildir belongs to.
type Owner struct {
	Kind string // "imap", "pop3"
	Host string
	User string
}

func (o Owner) String() string { return fmt.Sprintf("%s at %s (%s)", o.User, o.Host, o.Kind) }

// Folder is one folder as it was at the end of the last run.
type Folder struct {
	ID   int64
	Name mail.FolderName
	// Mailbox is the server's name for it, empty if it is not on the server.
	Mailbox string
	// OnDisk says that the Maildir has it.
	OnDisk      bool
	UIDValidity uint64
	MailboxID   string
	Inode       uint64 // of the local directory

	// The server's mark: what the last complete reading covered. UIDNext 0 means never read.
	UIDNext       mail.UID
	HighestModSeq uint64
	Exists        uint32
	// LocalMark is the Maildir's mark of the last complete reading, empty if it can't be trusted.
	LocalMark []byte
	// Filter fingerprints the settings under which the marks were taken.
	Filter string

	ReadOnly       bool
	Permanent      mail.Flags // see remote.Selected
	AnyKeyword     bool
	PermanentKnown bool

	LastSync time.Time
	// LastError is the last run's error in this folder, empty if it went well.
	LastError string
}

// Message is one row: a message on both sides, or, with Why set, known on one side only.
type Message struct {
	ID     int64
	Folder int64
	UID    mail.UID // 0: not on the server
	Name   string   // Maildir base name, empty: not in the Maildir
	Why    string   // plan.Why
	// Text says for people why the message could not be transferred.
	Text                    string
	RemoteFlags, LocalFlags mail.Flags
	// Digest and Header are of the server's bytes as they lie in the Maildir; zero if not known.
	Digest, Header mail.Digest
	HasMessageID   bool
	// RemoteDigest is set where the server keeps other bytes than it was sent.
	RemoteDigest mail.Digest
	RemoteSize   int64 // RFC822.SIZE as told, -1 if not known
	FileSize     int64
	Inode        uint64
	EmailID      string
	Date         time.Time // INTERNALDATE
	// Raw marks a message whose LFs are not CRLFs on the wire.
	Raw bool
	// RemoteHeld and LocalHeld: gone on that side, and the deletion is held back, by the guard if Guarded is set.
	RemoteHeld, LocalHeld bool
	// Guarded: the guard held back its removal, and only a person's word lifts that. With expunge both sides have it.
	Guarded bool
}

// IntentKind is what was about to happen.
type IntentKind string

const (
	Deliver    IntentKind = "deliver"     // a file is renamed into new/ or cur/
	Upload     IntentKind = "upload"      // APPEND
	MoveRemote IntentKind = "move-remote" // MOVE, or COPY and removal
	MoveLocal  IntentKind = "move-local"  // a file is renamed into another folder
)

// Intent is something that can't be recognised again after a crash unless it was written down before.
type Intent struct {
	ID   int64
	Kind IntentKind
	// Message is the row as it will be when the deed is done; Message.ID is 0 if it makes a new row.
	Message Message
	// To is the destination folder of a move, and Message.Folder the source; of an upload of a known message it is the folder that this
	// was known in, and Message.Folder the destination.
	To int64
	// UIDValidity and UIDNext are the destination mailbox's before the deed.
	UIDValidity uint64
	UIDNext     mail.UID
	// Sends counts how often an APPEND was begun without an answer; Started is when the last one was.
	Sends   int
	Started time.Time
	// Settled: the message is known by now; the intent is kept to recognise ghosts of earlier sends.
	Settled bool
}

// Counts is what status shows of a folder.
type Counts struct {
	Agreed, OnlyRemote, OnlyLocal, Held int
	// Why counts rows that are on one side only, by reason.
	Why map[string]int
	// KeptBack counts rows whose flags differ between the sides because one can't keep them.
	KeptBack int
}

// Run is the outcome of the last run of the account.
type Run struct {
	Start, End time.Time
	Exit       int
	Error      string
}
