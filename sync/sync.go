// Package sync is the engine: it makes one account's server and Maildir the same.
//
// It reads three trees (the server through a remote.Session, the Maildir, the state of the last
// agreement), hands what differs to package plan, carries the planned operations out and commits to the
// state what was observed. It knows no protocol and no file format.
//
// Three rules hold in every file of this package:
//
//   - What can't be recognised again after a crash (a delivery, an upload, a move) is written to the state as
//     an intent before it starts; settle.go finishes or forgets it.
//   - The state learns what was observed, never what was hoped: marks are committed only after
//     everything they cover has been applied.
//   - Additions come before removals, and right before a removal both sides are looked at once more.
package sync

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// Settings are what the configuration says of one account.
type Settings struct {
	Account string
	// Owner names the remote end that the Maildir belongs to.
	Owner  state.Owner
	Root   string // of the Maildir, absolute
	Layout maildir.Layout
	// StatePath is the state database, empty for the one in Root.
	StatePath string
	// Policy holds everything the planner decides by but the flags of one run.
	Policy plan.Policy

	Include, Exclude []string
	Map              map[string]string // server name = local name
	Subscribed       bool

	MaxMessageSize int64                         // bytes, 0: no limit
	Since          func(now time.Time) time.Time // messages that arrived before are not transferred; nil or zero: no limit
	DailyDownload  int64                         // bytes of messages in a day of the calendar, 0: no limit
	DailyUpload    int64
	Connections    int           // most sessions at once, at least 1
	Undo           time.Duration // how long removed messages are kept, 0: not at all
	// LeaveFor, in a maildrop (Policy.Maildrop), is how long messages are left there once the Maildir has them; 0 is not at all,
	// negative for ever.
	LeaveFor time.Duration
}

// World is what the engine reaches the outside through.
type World struct {
	Dialer remote.Dialer
	// Maildir opens the doors of the local side; its zero value is the real file system and clock.
	Maildir maildir.Options
	Now     func() time.Time // nil: time.Now
	Log     *slog.Logger     // nil: nothing is logged
	// Progress is called as work goes on, from several goroutines; nil: nobody looks.
	Progress func(Progress)
	// Commit is called with every commit to the state, see state.Options.
	Commit func(commit func() error) error
	// Keep, if it is set, takes the sessions that are in order when a run ends, instead of their being closed. The Dialer may give them out again;
	// their Traffic must then begin at zero.
	Keep func(remote.Session)
	// State, if it is not nil, is the state in place of the file, see state.Options.
	State *state.Kept
	// Serial has the engine do one thing after the other, so that a test can repeat a run step by step. A mistake of the program's own is
	// then a panic in the end, instead of an error.
	Serial bool
}

// Options are what one run was asked for.
type Options struct {
	// Targets are the folders to work on, empty for all.
	Targets []mail.FolderName
	DryRun  bool
	// AllowDeletes, RestoreHeld and Rebind are the flags of `satchel sync`.
	AllowDeletes, RestoreHeld, Rebind bool
	// Removed is what runs before this one removed and the guard counts as if this one did.
	Removed []plan.Removed
	// MayRemove is asked before messages that are gone from the Maildir are removed from the server, with how many they are. If it says no they
	// wait for another run, and all else is done. nil always says yes.
	MayRemove func(messages int) bool
	// Patient has the run wait at its end, some ten milliseconds, until the times of the directories that it changed are telling, so that
	// nothing need be read again because of its own changes.
	Patient bool
}

// Progress says how far a run is. Totals grow while the plan is made.
type Progress struct {
	Account               string
	Phase                 string // what is going on, in a word or two
	Folders, FoldersDone  int
	Messages, MessagesAll int64 // messages moved over the wire, of how many
	Bytes, BytesAll       int64
}

// Count are the changes made on one side.
type Count struct{ New, Flags, Moved, Deleted int }

// Add counts the changes of other too.
func (c *Count) Add(other Count) {
	c.New += other.New
	c.Flags += other.Flags
	c.Moved += other.Moved
	c.Deleted += other.Deleted
}

// FolderCount are the folders that were made, renamed and removed on one side.
type FolderCount struct{ Created, Renamed, Deleted int }

// FolderError is something that failed in one folder; Folder is empty for the account.
type FolderError struct {
	Folder mail.FolderName
	Err    error
}

func (e FolderError) Error() string {
	if e.Folder == "" {
		return e.Err.Error()
	}
	return fmt.Sprintf("%s: %v", e.Folder, e.Err)
}

func (e FolderError) Unwrap() error { return e.Err }

// Result is the outcome of one run on one account.
type Result struct {
	Account string
	// Targets are the folders that were asked for, empty for all.
	Targets             []mail.FolderName
	ToMaildir, ToServer Count
	// MaildirFolders and ServerFolders are the folder operations that were carried out.
	MaildirFolders, ServerFolders FolderCount
	Folders, FoldersChanged       int
	HeldBack, Deferred            int
	OverBudget                    int // how many of Deferred wait for another day
	HeldWhy                       string
	// Marks are those of all folders that the server has, by the server's name of the mailbox.
	Marks map[string]Mark
	// Removed is what this run removed.
	Removed  []plan.Removed
	Traffic  remote.Traffic
	Duration time.Duration
	// Errors are failures that did not stop the rest.
	Errors []FolderError
	// Fatal stopped the account: ErrLocked, a *SetupError, a *LocalError, a *remote.Error or ctx's error.
	Fatal error
	// Notes tell the person what was special about the run.
	Notes []string
	// Warnings tell what the person must hear of though nothing failed: a damaged state database was set aside.
	Warnings []string
	// FolderPlan and Plan hold the planned operations of a dry run.
	FolderPlan []plan.FolderOp
	Plan       []plan.Op
}

// Mark is up to where everything in a folder was seen and dealt with, in the server's numbers.
type Mark struct {
	remote.Status
	Folder mail.FolderName
}

func (r *Result) folders(side plan.Side) *FolderCount {
	if side == plan.Server {
		return &r.ServerFolders
	}
	return &r.MaildirFolders
}

// ErrLocked: another Satchel is working on this account.
var ErrLocked = errors.New("another Satchel is working on this account")

// SetupError is a fault in the configuration or on the local side that must be mended by the
// person before anything is touched.
type SetupError struct{ Err error }

func (e *SetupError) Error() string { return e.Err.Error() }
func (e *SetupError) Unwrap() error { return e.Err }

// LocalError is what the local side could not do this time, though nothing is wrong with how it is set up: the disk is full or fails, or
// another program is in the way.
type LocalError struct{ Err error }

func (e *LocalError) Error() string { return e.Err.Error() }
func (e *LocalError) Unwrap() error { return e.Err }
