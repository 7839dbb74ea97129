// Package plan decides what a synchronisation does. It is pure: from what the server has, what the
// Maildir has and what both had when they last agreed (the base) it makes operations, without
// clock, file, socket or goroutine, and the same input always gives the same plan.
//
// All rules about conflicts, modes, deletions and their guard live here and nowhere else.
//
// The caller names only what may have changed: base rows on which neither side shows a difference
// need not be in the input, because they would give no operation. Planning has three steps:
//
//	Folders    pairs, renames, creates folders, before any message is looked at
//	Questions  says which messages must be looked at more closely (header or content digest)
//	           before moves and equal messages can be told; asked again until it returns none
//	Make       makes the operations
package plan

import (
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Mode says whose changes count.
type Mode string

const (
	TwoWay  Mode = "two-way"
	Pull    Mode = "pull"
	Push    Mode = "push"
	Archive Mode = "archive"
)

// Side is one of the two places that mail is in.
type Side string

const (
	Maildir Side = "maildir"
	Server  Side = "server"
)

// Create says where missing folders may be created.
type Create string

const (
	CreateBoth    Create = "both"
	CreateMaildir Create = "maildir"
	CreateServer  Create = "server"
	CreateNone    Create = "none"
)

// Guard is the limit on deletions in one run. The zero value is off.
type Guard struct {
	// Share, from 0 to 1 and set if ByShare, of a folder's or of the account's messages.
	Share   float64
	ByShare bool
	// Count of messages, if ByCount.
	Count   int
	ByCount bool
}

// Policy is what the person asked for.
type Policy struct {
	Mode    Mode
	Trash   mail.FolderName // empty: none
	Expunge bool
	Create  Create
	Guard   Guard
	// Maildrop: the server has one mailbox without folders and flags (POP3), see maildrop.go. Mode is Archive then.
	// UntilDeleted: what the person deletes in the Maildir is deleted there too.
	Maildrop, UntilDeleted bool
	// AllowDeletes lifts the guard for this run; RestoreHeld takes back what it holds.
	AllowDeletes, RestoreHeld bool
}

// CreatesFolders reports whether a folder is created on a side because the other one has it. One that a message goes to may be created all the same.
func (p Policy) CreatesFolders(side Side) bool {
	if side == Server {
		return (p.Mode == TwoWay || p.Mode == Push) && (p.Create == CreateBoth || p.Create == CreateServer)
	}
	return p.Mode != Push && (p.Create == CreateBoth || p.Create == CreateMaildir)
}

// Presence is what was seen of a base row on one side.
type Presence uint8

const (
	// Present: it is where the base says. Flags are its flags now (the base's own, if nobody looked).
	Present Presence = iota
	// Gone: it was looked for and is not there. It may have moved, or was deleted.
	Gone
	// Lost: the base's name for it means nothing any more (UIDVALIDITY changed, the state was
	// restored from a backup). It is not evidence of a deletion.
	Lost
	// Absent: the base itself says that this side does not have it.
	Absent
)

// Why says why a row is on one side only.
type Why string

const (
	Agreed     Why = ""           // on both sides
	TooLarge   Why = "too-large"  // above max_message_size
	TooOld     Why = "too-old"    // before since
	ReadOnly   Why = "read-only"  // the mailbox takes no changes
	OneWay     Why = "one-way"    // the mode never transfers it
	Refused    Why = "refused"    // the server would not take or give it, see the row's text; tried again each run
	Unreadable Why = "unreadable" // the local file can't be read; tried again each run
	Dismissed  Why = "dismissed"  // archive: the person deleted it locally, it is not delivered again
	Pending    Why = "pending"    // marked \Deleted on a server without UIDPLUS, or to go from a maildrop that lists it again; counts as gone
	NoFolder   Why = "no-folder"  // the other side has no such folder and may not get one

	OverDownload Why = "over-daily-download" // beyond the day's budget, see Budget
	OverUpload   Why = "over-daily-upload"
)

// Retried reports whether a row parked for this reason is tried again on every run.
func (w Why) Retried() bool { return w == Refused || w == Unreadable }

// Base is one row of the state: a message as both sides last agreed on it, or, with Why set,
// a message known on one side only.
type Base struct {
	ID     int64
	Folder mail.FolderName
	UID    mail.UID // 0 if the server does not have it
	Name   string   // Maildir base name, empty if the Maildir does not have it
	Why    Why
	// RemoteFlags and LocalFlags are what was last observed on each side. They differ where one
	// side can't keep a flag; that difference is never read back as a change.
	RemoteFlags, LocalFlags mail.Flags
	Digest, Header          mail.Digest // of the content and of its header; zero if not known
	HasMessageID            bool
	RemoteDigest            mail.Digest // of the content on the server, where it keeps other bytes than it was sent; else zero
	RemoteSize              int64       // RFC822.SIZE as the server told it
	FileSize                int64       // bytes on disk
	Inode                   uint64
	EmailID                 string
	Date                    time.Time // INTERNALDATE
}

// onServer is the digest of the content that the server has.
func (b *Base) onServer() mail.Digest {
	if b.RemoteDigest.IsZero() {
		return b.Digest
	}
	return b.RemoteDigest
}

// Pair is a base row with what was seen of it. Rows on which nothing was seen to change may be left out.
type Pair struct {
	Base
	Remote, Local         Presence
	RemoteNow, LocalNow   mail.Flags // valid where Present
	RemoteHeld, LocalHeld bool       // Gone on that side since an earlier run, and held then
	Guarded               bool       // the guard held back its removal in an earlier run
	// Waits: it is parked on the server as ReadOnly, because it was deleted or moved in the Maildir and a mailbox took no changes. As long as it
	// waits that is decided anew in each run: Why is Agreed and Local is Gone.
	Waits bool
	// Withheld: the state has other LocalFlags, Noted, which were seen while the mailbox was read-only.
	Withheld bool
	Noted    mail.Flags
	Back     bool // held in an earlier run, and seen again on that side
	Due      bool // its time in the maildrop is over
}

// MissingSomewhere reports whether it is not where one of the sides had it.
func (p *Pair) MissingSomewhere() bool {
	return p.Remote == Gone || p.Remote == Lost || p.Local == Gone || p.Local == Lost
}

// RemoteMessage is a message on the server that the base does not know, or knows as parked for a
// reason that is to be looked at again.
type RemoteMessage struct {
	Row    int64 // the parked row, 0 if there is none
	Folder mail.FolderName
	UID    mail.UID
	// Unknowable is set when a question about it could not be answered; it is then compared no further,
	// and neither paired nor transferred in this run. (It is here because there are many messages: this way it takes no room.)
	Unknowable bool
	Due        bool // to leave the maildrop once the Maildir has it
	Unread     bool // it waits since an earlier run, because it may be a file that can't be read
	Flags      mail.Flags
	Size       int64
	Date       time.Time
	EmailID    string
	Header     *Header      // nil until Questions asked for it
	Digest     *mail.Digest // of the content; nil until asked for
	// Park is the reason not to transfer it (TooLarge, TooOld, OverDownload), if any. It may still be paired.
	Park Why
}

// Header is what a message's header says.
type Header struct {
	Digest       mail.Digest
	HasMessageID bool
}

// LocalMessage is a file in the Maildir that the base does not know, or knows as parked for a
// reason that is to be looked at again.
type LocalMessage struct {
	Row      int64
	Folder   mail.FolderName
	Name     string
	Flags    mail.Flags
	FileSize int64
	Inode    uint64
	Date     time.Time     // modification time
	Content  *mail.Content // nil until Questions asked for it
	Park     Why
	// Unknowable as for RemoteMessage: the file could not be read. It is parked as Unreadable.
	Unknowable bool
	// Unexplained: its name carries keyword letters that mean nothing in its folder. If it is a message that moved
	// here, that takes no keyword from it.
	Unexplained bool
}

// Folder are the facts about one folder that the planner needs. Every folder that a pair or message
// names is in the input.
type Folder struct {
	Name mail.FolderName
	// OnServer and InMaildir say where it is now; WasOnServer and WasInMaildir where the base had it. A folder
	// that was and is not has been deleted there: all its rows must be in the input.
	OnServer, InMaildir       bool
	WasOnServer, WasInMaildir bool
	// CanCreate is false if the other side can't have a folder of this name.
	CanCreate bool
	// RemoteReadOnly: nothing in it can be changed on the server.
	RemoteReadOnly bool
	// RemotePartial: the server left out some of its messages, and nothing tells which of those that are missing they are.
	RemotePartial bool
	// Unknown: the state does not know yet what the server had in it, so what both sides have is told by its content alone.
	Unknown bool
	// Agreed counts the base rows that are on both sides, and in a maildrop those that are dismissed (for the guard).
	Agreed int
	// Target is false if this run was not asked to work on this folder; it is here because messages
	// may have moved from or to it. No operation changes a folder that is no target, except
	// as the other end of a move.
	Target bool
}

// Input is everything that Questions and Make look at. Slices may come in any order.
type Input struct {
	Policy  Policy
	Folders []Folder
	Pairs   []*Pair
	Remote  []RemoteMessage
	Local   []LocalMessage
	// Download and Upload are the day's budgets.
	Download, Upload Budget
	// HeldElsewhere: the guard holds back deletions in folders that are no targets.
	HeldElsewhere bool
	// Removed is what was removed before and the guard counts as if it were to be removed now.
	Removed []Removed
}

// Removed are messages of one folder that were removed on one side.
type Removed struct {
	Side     Side
	Folder   mail.FolderName
	Messages int
}

// Question asks for one fact: the header or the whole content's digest of a message.
type Question struct {
	Side   Side
	Folder mail.FolderName
	UID    mail.UID // Server
	Name   string   // Maildir: always the whole content
	Whole  bool     // Server: content digest, else header
}

// Kind is what an operation does.
type Kind string

const (
	// Additions.
	Pairing  Kind = "pair"     // the same message is on both sides: UID and Name become one row, nothing is transferred
	Download Kind = "download" // deliver UID to the Maildir; Row set: it is this row's message again
	Upload   Kind = "upload"   // store Name on the server; Row set: it is this row's message again
	// Moves. From is where the message is now, Folder where it belongs.
	Move Kind = "move"
	// Rebind tells the state that a row's message has a new place or name (Folder, UID, Name as set); nothing is
	// done on either side.
	Rebind Kind = "rebind"
	// Flags: Add and Remove on Side. Both empty: only the state learns what was observed.
	SetFlags Kind = "flags"
	// Removals.
	Delete       Kind = "delete"        // remove the row's message on Side
	DeleteFolder Kind = "delete-folder" // remove the folder on Side, if it is empty by then
	// State only.
	Forget Kind = "forget" // drop the row: neither side has it
	Park   Kind = "park"   // remember the message as known on Side only, because of Why
	Hold   Kind = "hold"   // the row's deletion on Side is held back, by the guard unless Why is set
)

// Op is one operation. Operations are in the order in which stopping after any of them loses nothing.
// Those on one row must keep their order, and if one fails the row's later ones must be left out, because
// each counts on what the state learnt from the one before. Others of the same kind and side may change places.
//
// How a row is told apart from what it was:
//
//	Forget      may come first, to make room for the row that takes a parked message over.
//	Rebind      may give rows of a folder each other's UIDs (after a new UIDVALIDITY), so that they are only
//	            unique again when all of the folder's are done. A UID of 0 or an empty Name is not known at present; with
//	            Gone set it never will be, because the message is gone on that side, and a Hold follows. But for that it lifts
//	            RemoteHeld and LocalHeld, and keeps the row parked if Why is set.
//	Move        on the Server: UID is the message's in From, Name the file's in Folder. In the Maildir: Name is the
//	            file's in From, UID the message's in Folder. It takes over what is parked of the message, at either place, once it is done.
//	SetFlags    after a Move on the Server has UID 0: the row has the new one by then. After a Pairing
//	            without a row it names its message by Folder, UID and Name. In a read-only mailbox LocalSeen goes on having the keywords
//	            that were removed in the Maildir.
//	Delete      on the Server with a Name set: the Maildir still has the message, and a Delete there follows; the row
//	            goes with the last one. RemoteSeen and LocalSeen are set if it goes because it is marked \Deleted, see MarkTakenBack.
//	Park        with a row: the row has one half only from then on.
//	Hold        on the Maildir: the message is gone on the server (RemoteHeld). On the Server: LocalHeld. It comes in
//	            every run. With Why set it is not the guard that holds: the message has moved to where the other side
//	            can't follow (NoFolder), or may be one that can't be looked into just now (Unreadable). Such a row
//	            must come in again together with the parked message that it may be. RemoteSeen and LocalSeen are the flags of the half
//	            that is left, which the state does not learn: changes must be seen again once it is held no more. With Expunge
//	            set nothing is gone: both sides keep the message with its mark.
type Op struct {
	Kind   Kind
	Side   Side // the side that is changed; for Park the side that has the message
	Folder mail.FolderName
	From   mail.FolderName // Move: where the message is now; Rebind: unset
	Row    int64           // 0 for messages that the base does not know
	UID    mail.UID
	Name   string
	// Add and Remove for SetFlags; for Pairing, Download and Upload Add are the flags the copy gets on Side.
	Add, Remove mail.Flags
	// RemoteSeen and LocalSeen are the flags that the state may record as observed once the operation is done, less
	// what the side turned out not to keep. They are the merge base of the row's next operation: before the
	// SetFlags that finishes a row they may be older than what was seen.
	RemoteSeen, LocalSeen mail.Flags
	Why                   Why
	// Trash is set on a Move that carries out a deletion.
	Trash bool
	// Expunge is set on a Delete, or a Hold, that is done because the message is marked \Deleted, not because
	// the other side lost it.
	Expunge bool // Delete, Hold
	// Guarded is set on a Rebind, a Park or a Move of a row that the guard goes on holding.
	Guarded bool
	// Gone is set on a Rebind to another folder of a row whose message is gone on that side.
	Gone Side
	// Kept is set on a Delete on the server of a message that stays in the Maildir. For the guard it is no deletion.
	Kept bool
	// Reason says for people why the operation is planned.
	Reason string
}

// Plan is the result of Make.
type Plan struct {
	Ops []Op
	// Held counts deletions that the guard holds back, per folder, those of earlier runs included.
	Held map[mail.FolderName]int
	// HeldWhy says for people which limit was met, empty if none.
	HeldWhy string
	// ReadAgain are folders that the next run must read again, whatever their marks say: some message in them was left as it is.
	ReadAgain []mail.FolderName
	// ListAgain are folders of which the next run must list the Maildir's files.
	ListAgain []mail.FolderName
	// ReadOnly are mailboxes because of which something waits, in no particular order: the caller should make sure that they still are.
	ReadOnly []mail.FolderName
}
