package remote

import "context"

// Waiter is a Session whose server can tell of changes by itself, while the session does nothing else.
type Waiter interface {
	Session

	// Wait reports what the server tells until ctx ends; then it brings the session into order, within seconds, and the result is
	// nil. With an empty mailbox the server tells of all of the account's mailboxes (NOTIFY, RFC 5465; only if Capabilities.Notify),
	// else of the named one (IDLE, RFC 2177; only if Capabilities.Idle).
	//
	// told is called from the caller's goroutine, first with Ready once the server has confirmed that it will tell. It must not use the
	// session, and nothing more is read while it runs. What comes at once is gathered: it is called at most every 10 ms, then once for each mailbox.
	//
	// An error is a *Error as with other calls, and then the session is dead unless it is of class Refused.
	Wait(ctx context.Context, mailbox string, told func(Notice)) error
}

// Notice is one thing that the server told while a session waited.
type Notice struct {
	// Ready: waiting has begun. What happened before may not be told and must be looked at. It may come again, when something may have
	// been missed.
	Ready bool
	// Mailbox is the server's name, not always one that Mailboxes lists; empty with Folders, and with a Ready for all mailboxes.
	Mailbox string
	// Folders: the list of mailboxes or subscriptions changed, or anything at all did (the server lost track).
	Folders bool
	// Status is what is known of the numbers now; fields that were not told are 0.
	Status Status
	// Known: nothing happened that a reading does not cover whose mark has at least this HighestModSeq and agrees with the other
	// numbers that are not 0. Otherwise something changed, and only a look tells what.
	Known bool
}
