// Package remote is the server as the engine sees it: a mailbox account reached through
// sessions, and the classes of errors that decide what happens next. It knows no protocol.
//
// A session is one connection. Its methods are not safe for concurrent use; the engine opens
// several sessions to work on several folders. Every method that touches messages names the mailbox
// with the UIDVALIDITY it was planned under: the implementation selects it when needed and
// fails with ErrUIDValidity if it changed, so that a UID never means another message.
//
// Every call is bounded: it fails when ctx ends or when the server makes no progress for the session's
// patience, and a session that failed with a Lost error is dead and must be closed.
package remote

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Dialer opens signed-in sessions to one account.
type Dialer interface {
	// Dial connects and signs in. Errors are *Error of class Unreachable, Unavailable,
	// Auth or Protocol.
	Dial(ctx context.Context) (Session, error)
}

// Session is one signed-in connection.
type Session interface {
	// Capabilities says what the server can do, as used by the engine. After a call that asks the server
	// something it sends nothing; before, it may have to ask.
	Capabilities() Capabilities

	// Mailboxes lists the account's mailboxes below the personal namespace, with their Status where
	// they can be selected: one exchange where the server can do that.
	Mailboxes(ctx context.Context) ([]Mailbox, error)

	// MailboxesAnd is Mailboxes for who will then read all of one mailbox. If it can go along in the same exchange, the result
	// is what Changes gives without a mark, read after the mailboxes were listed; otherwise, or if it fails, it is nil, and
	// Changes does it or says why not.
	MailboxesAnd(ctx context.Context, mailbox string) ([]Mailbox, *Changes, error)

	// MailboxName spells a path of unescaped components as this server's mailbox name, or says why
	// the server can't have it. It sends as much as Capabilities.
	MailboxName(path []string) (string, error)

	// Status asks for one mailbox. A mailbox that does not exist gives ErrNoMailbox.
	Status(ctx context.Context, mailbox string) (Status, error)

	// Select opens a mailbox afresh and returns what the server says of it. ErrNoMailbox if there is none.
	Select(ctx context.Context, mailbox string) (Selected, error)

	// Changes reads what changed in a mailbox since a mark, by the best way the server has.
	Changes(ctx context.Context, box Box, since Since) (Changes, error)

	// Fetch returns what is known of single messages without their bodies. UIDs that are gone are
	// left out of the answer.
	Fetch(ctx context.Context, box Box, uids mail.UIDSet, want FetchItems) ([]Message, error)

	// Bodies streams whole messages, by and large the highest UIDs first. deliver is called once for each
	// message that comes and must read body to its end; body fails with io.ErrUnexpectedEOF when the
	// message breaks off. An error from deliver skips the message and ends the call after the session was
	// brought into order; it is returned as it is. UIDs for which nothing came, and why, are in the
	// returned map (empty when all came): ErrGone, or a *Error of class Refused, which is ErrTooLarge for one of which far more came than
	// was announced; such ones are in it also when the session had to be given up for them.
	Bodies(ctx context.Context, box Box, uids mail.UIDSet, deliver func(m Message, body io.Reader) error) (map[mail.UID]error, error)

	// Append stores messages in a mailbox, whatever its UIDVALIDITY, pipelined where the server allows, and reports each one's
	// fate in the order given, through done, as soon as it is known; in the end those that are known behind
	// one that is not. When the session dies, messages that done was not called for have an unknown fate if
	// sent was called for them, and were not sent otherwise.
	// The two are never called at the same time, but not all from the caller's goroutine.
	//
	// If the same exchange can tell what the box then holds from the UID from on, seen is that (UID, Flags, Size, Date, and EmailID if
	// there is one), in ascending order. It is for finding what was just stored: what is missing from it may be there all the
	// same. from 0 asks for nothing.
	Append(ctx context.Context, box Box, from mail.UID, uploads []Upload, sent func(i int), done func(i int, r Appended)) (seen []Message, err error)

	// Store adds or removes flags on messages. seen are those of them, in ascending order, of which the
	// server told all flags afterwards (UID, Flags, ModSeq set), and among these flags is what was asked for;
	// of the others nothing is known. refused holds the messages (or, under UID 0, all of them) for which the
	// server refused.
	Store(ctx context.Context, box Box, uids mail.UIDSet, add bool, flags mail.Flags) (seen []Message, refused map[mail.UID]error, err error)

	// Move moves messages to another mailbox: by MOVE, else by COPY, of which the caller must remove the
	// originals once the copies are known (Capabilities.Move tells). The result pairs each UID with
	// its UID in the destination as far as the server told (0 where it did not), under the
	// destination's UIDVALIDITY; a message that is missing from it was not moved. A *Error of class
	// Refused means that nothing was moved.
	Move(ctx context.Context, box Box, uids mail.UIDSet, to string) (Moved, error)

	// Expunge removes messages for good. Without UIDPLUS it removes them only if no other message in the
	// mailbox is marked \Deleted, else it leaves them marked; the result says which are left marked.
	Expunge(ctx context.Context, box Box, uids mail.UIDSet) (pending mail.UIDSet, err error)

	Create(ctx context.Context, mailbox string) error
	Delete(ctx context.Context, mailbox string) error
	Rename(ctx context.Context, from, to string) error

	// Traffic returns what went over the wire so far.
	Traffic() Traffic

	// Close signs off if the session is alive, without waiting for an answer, and frees it.
	Close() error
}

// Capabilities are the abilities that the engine plans by.
type Capabilities struct {
	CondStore bool // HIGHESTMODSEQ can be trusted as a mark
	Move      bool // Move is atomic
	UIDPlus   bool // Append and Move tell the new UIDs, Expunge takes UIDs
	Idle      bool // Waiter can wait for one mailbox
	Notify    bool // Waiter can wait for all mailboxes at once
	// AppendLimit is the largest message the server takes, 0 if it does not say.
	AppendLimit int64
	// EqualEmailIDs: messages with the same bytes have the same EmailID, whoever made them. Else only copies of one message have.
	EqualEmailIDs bool
	// Delimiter separates the levels of mailbox names, empty if the server's names are flat.
	Delimiter string
	// Names are all capabilities as the server spelled them, Used those that this program makes use
	// of, both sorted, for people to read.
	Names, Used []string
}

// Mailbox is one folder on the server.
type Mailbox struct {
	// Name is the mailbox's identity in all other calls: the server's own bytes.
	Name string
	// Path is the name without the personal namespace's prefix, decoded and split at the
	// hierarchy delimiter. INBOX is {"INBOX"} in whatever case the server spells it.
	Path []string
	// Display is Name decoded, with the prefix and the server's delimiter, for patterns and people.
	Display string
	// Selectable is false for a mere container (\Noselect, \NonExistent).
	Selectable bool
	Subscribed bool
	// SpecialUse holds attributes such as \Sent or \All (RFC 6154).
	SpecialUse []string
	// Status is nil if the mailbox is not selectable or the server would not say; StatusErr tells why.
	Status    *Status
	StatusErr error
}

// Status are the numbers that say whether anything happened in a mailbox.
type Status struct {
	UIDValidity uint64 // 0: the server gives none, identities are weak
	UIDNext     mail.UID
	Messages    uint32
	// HighestModSeq is 0 if the mailbox has no mod-sequences (RFC 7162, 3.1.2.2).
	HighestModSeq uint64
	// MailboxID survives a rename; empty if the server has no such thing (RFC 8474, or X-GUID).
	MailboxID string
}

// Selected is what opening a mailbox says.
type Selected struct {
	Status
	ReadOnly bool
	// Permanent are the flags that can be changed for good; AnyKeyword that new keywords can be
	// made. PermanentKnown is false if the server did not say (RFC 9051: then all can be).
	Permanent      mail.Flags
	AnyKeyword     bool
	PermanentKnown bool
}

// Keeps returns the part of flags that the mailbox can store for good, as flags spells it.
func (s Selected) Keeps(flags mail.Flags) mail.Flags {
	if !s.PermanentKnown {
		return flags
	}
	kept := flags.And(s.Permanent)
	if s.AnyKeyword {
		// To the server $Forwarded is a keyword like any other.
		kept = kept.Plus(flags.Minus(mail.SystemFlags(flags.System() &^ mail.Forwarded)))
	}
	return kept
}

// Box is a mailbox under one UIDVALIDITY.
type Box struct {
	Name        string
	UIDValidity uint64
}

// Since is the mark of the last reading. The zero value asks for everything.
type Since struct {
	// ModSeq is the HIGHESTMODSEQ up to which flag changes are known; 0 asks for the flags of
	// all messages.
	ModSeq uint64
	// UIDNext is the first UID that was never seen; messages from there on are new.
	UIDNext mail.UID
	// Known are the UIDs last seen in the mailbox (only those below UIDNext count), nil if nothing was ever seen. It is called
	// only when the server needs it told, or when vanished messages must be worked out.
	Known func() mail.UIDSet
	// KnownCount is the number of UIDs in Known below UIDNext. It is called once the server has answered.
	KnownCount func() uint32
}

// Changes is one reading of a mailbox. Status is the mark as it was when the reading began: it may be
// kept only together with all that the reading found.
type Changes struct {
	Selected Selected
	// Flags holds known messages whose flags may have changed (UID, Flags, ModSeq set).
	Flags []Message
	// New holds messages from Since.UIDNext on (UID, Flags, Size, Date, and EmailID if there is one), and, if the number of messages gave
	// reason to look, those below that are not known.
	New []Message
	// Vanished holds the known messages that are gone.
	Vanished mail.UIDSet
	// Partial: the server's answers contradict each other, or leave out messages that it has. That a message is not
	// among those above says nothing.
	Partial bool
}

// FetchItems selects what Fetch asks for besides UID and FLAGS.
type FetchItems struct {
	Size, Date, EmailID bool
	// Header asks for the digest of the message's header.
	Header bool
	// Listed asks also for messages that the server lists, and does not tell about when it is asked: of these only the UID
	// comes. It is for when what is missing counts as gone: if the server does not list either, the call fails.
	Listed bool
	// Once asks no second time for what does not come at once: it is for looking at what there may be, where nothing follows from
	// what is missing.
	Once bool
}

// Message is one message on the server.
type Message struct {
	UID    mail.UID
	Flags  mail.Flags
	ModSeq uint64
	// Size is RFC822.SIZE: a hint, servers get it wrong.
	Size int64
	// Date is INTERNALDATE, zero if the server gave none that can be read.
	Date time.Time
	// EmailID is the server's own identity of the content (RFC 8474, or X-GM-MSGID), empty if none.
	EmailID string
	// Header is set if it was asked for.
	Header *mail.Content
}

// Upload is one message to be stored.
type Upload struct {
	Size  int64 // exact number of bytes that Open's reader gives
	Flags mail.Flags
	Date  time.Time // INTERNALDATE, zero for the server's now
	// Open returns the bytes to send. If they turn out to be fewer or more than Size the message is not sent or, if
	// that shows too late, the session is torn down before the server could take a broken message for a whole one.
	Open func() (io.ReadCloser, error)
}

// Appended is the fate of one Upload.
type Appended struct {
	// UID and UIDValidity are the server's word for it, 0 if it has none (no UIDPLUS).
	UID         mail.UID
	UIDValidity uint64
	// Err is nil if the server took the message; a *Error of class Refused if it did not; any
	// other error (file unreadable) means that it was not sent.
	Err error
}

// Moved is the result of Session.Move.
type Moved struct {
	UIDValidity uint64 // of the destination, 0 if the server did not tell
	UIDs        map[mail.UID]mail.UID
}

// Traffic counts one session's exchange.
type Traffic struct {
	BytesIn, BytesOut int64
	// RoundTrips counts the times that we waited for the server with nothing more to send.
	RoundTrips int64
}

// Plus returns both together.
func (t Traffic) Plus(other Traffic) Traffic {
	return Traffic{t.BytesIn + other.BytesIn, t.BytesOut + other.BytesOut, t.RoundTrips + other.RoundTrips}
}

// Minus returns what came after other.
func (t Traffic) Minus(other Traffic) Traffic {
	return Traffic{t.BytesIn - other.BytesIn, t.BytesOut - other.BytesOut, t.RoundTrips - other.RoundTrips}
}

// Class says what an error means for what happens next.
type Class int

const (
	// Unreachable: no such host, nobody listening, connection refused (exit 5).
	Unreachable Class = iota + 1
	// Unavailable: the server is there and refuses for now; see RetryAfter (exit 5).
	Unavailable
	// Auth: the server does not accept the credentials, or there are none. Not to be tried in a loop.
	Auth
	// Lost: the connection broke or fell silent in the middle; a new session may go on.
	Lost
	// Refused: the server said NO (or BAD) to this one request; the session goes on.
	Refused
	// Protocol: the server said something that can't be understood or trusted; the session is dead.
	Protocol
)

// Error is a failure with its class.
type Error struct {
	Class Class
	// Op says what was being done, in words ("signing in", "fetching message 17").
	Op string
	// Code is the response code without brackets in upper case ("OVERQUOTA"), empty if none.
	Code string
	// Text is the server's own explanation, without control characters, empty if it gave none.
	Text string
	// RetryAfter is how long the server asked us to stay away, 0 if it did not say.
	RetryAfter time.Duration
	// Hint says what the person can do about it, empty if there is nothing to say.
	Hint string
	Err  error
}

// Error says what was being done, then why it failed: in the server's words if it gave any, else by
// the error below, else by the class; then the hint.
func (e *Error) Error() string {
	var why string
	switch {
	case e.Text != "" && e.Code != "":
		why = "the server says [" + e.Code + "] " + e.Text
	case e.Text != "":
		why = "the server says: " + e.Text
	case e.Err != nil:
		why = e.Err.Error()
	case e.Code != "":
		why = "the server says [" + e.Code + "]"
	default:
		why = e.Class.reason()
	}
	if e.Op != "" {
		why = e.Op + ": " + why
	}
	if e.Hint != "" {
		why += " (" + e.Hint + ")"
	}
	return why
}

// reason is what the class alone says.
func (c Class) reason() string {
	switch c {
	case Unreachable:
		return "the server can't be reached"
	case Unavailable:
		return "the server refuses for now"
	case Auth:
		return "the server does not accept the credentials"
	case Lost:
		return "the connection was lost"
	case Refused:
		return "the server refused"
	case Protocol:
		return "the server's answer can't be understood"
	}
	return "it failed"
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrNoMailbox) hold for a refusal with that code.
func (e *Error) Is(target error) bool {
	return target == ErrNoMailbox && e.Class == Refused && (e.Code == "NONEXISTENT" || e.Code == "TRYCREATE")
}

// ClassOf returns the class of err, 0 if it has none: that of the first *Error that errors.As finds.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return 0
}

// Dead reports whether err means that the session can't be used any more. Of errors that were joined,
// one is enough; an *Error speaks for what it wraps.
func Dead(err error) bool {
	switch e := err.(type) {
	case *Error:
		switch e.Class {
		case Unreachable, Unavailable, Auth, Lost, Protocol:
			return true
		}
		return false
	case interface{ Unwrap() error }:
		return Dead(e.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), Dead)
	}
	return false
}

var (
	// ErrNoMailbox: the mailbox does not exist.
	ErrNoMailbox = errors.New("no such mailbox on the server")
	// ErrUIDValidity: the mailbox's UIDVALIDITY is not the expected one; nothing was done.
	ErrUIDValidity = errors.New("the mailbox was replaced on the server (its UIDVALIDITY changed)")
	// ErrGone: the message is no longer in the mailbox.
	ErrGone = errors.New("the message is no longer on the server")
	// ErrTooLarge: more came of a message than the server had announced, by far.
	ErrTooLarge = errors.New("the message is much larger than announced")
	// ErrReadOnly: the mailbox can't be changed.
	ErrReadOnly = errors.New("the mailbox is read-only on the server")
)
