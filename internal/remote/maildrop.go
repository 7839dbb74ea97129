package remote

import (
	"context"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Maildrop is a Session to a server that has one mailbox, without folders and flags, and counts its messages anew in
// every session (POP3, RFC 1939). The UIDs by which the other methods call messages are made up by the engine.
//
// Expunge ends such a session, because only that removes anything: it has removed what it was told to once it returns without an
// error. All that is called afterwards fails as Lost.
type Maildrop interface {
	Session

	// Listing returns what the mailbox held when the session began. It asks the server once.
	Listing(ctx context.Context) (Listing, error)

	// Name gives the listed messages their UIDs, in the order of Listing; of one whose UID is 0 nobody will speak.
	// Later sessions of the same Dialer recognise the messages, if each has an ID of its own and all that were listed still are, in
	// the same places; else these UIDs mean nothing there.
	Name(uids []mail.UID)
}

// Listing is what is in a maildrop.
type Listing struct {
	Messages []Listed // in the server's order
	// Mark is a digest of Messages: as long as it is the same they are the same ones. It is 0 if the server does not tell them
	// apart.
	Mark uint64
	// Named: the server gives its messages IDs. One that has none then is one of which it did not say all.
	Named bool
	// Partial: the server's answers contradict each other. That a message is not listed says nothing, and what is listed may not
	// be what it is taken for: nothing may be removed.
	Partial bool
}

// Listed is one message of a Listing.
type Listed struct {
	// ID is the server's name for it (UIDL), which should never be another message's. Empty if there is none.
	ID string
	// Size is what the server says of its size in bytes, often roughly; -1 if it says nothing.
	Size int64
}
