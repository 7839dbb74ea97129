// Package imap reaches a mail account over IMAP4rev1 (RFC 3501, and RFC 9051 where it only clarifies),
// with the extensions that make synchronising cheap: CONDSTORE and QRESYNC, UIDPLUS, MOVE,
// LITERAL+, MULTIAPPEND, COMPRESS, ESEARCH, LIST-EXTENDED and LIST-STATUS, SPECIAL-USE, NAMESPACE, OBJECTID. It
// implements remote.Dialer and remote.Session.
//
// From the wire up:
//
//	conn       bytes with a progress deadline, counted; errors stick and close the socket. Its gauge
//	           tells whether the link is slow; then what follows is compressed
//	lineReader lines and literals, bounded; bodies are never held in memory
//	response   one response: a line and its literals, taken apart by a lenient parser. What
//	           can't be understood spoils that response alone
//	flight     commands written without waiting in between: one goroutine writes, the caller's
//	           reads, so that neither side can block the other. What must be settled once a session
//	           goes with the first
//	Session    what the engine calls, made of flights
//
// Rules that hold everywhere: messages are named by UID only, sequence numbers are read and forgotten;
// a response code is believed only where its command's answer can carry it; FETCH data is an
// observation under its UID, whoever asked; a set of UIDs, whether the server or the caller names it, is never expanded
// beyond the messages there are; an open mailbox is a view that the server brings up to date when it pleases, so
// that what matters is asked after a NOOP of its own, or of a mailbox that is not open;
// mailbox names are the server's bytes, and go back as they came; nothing from the server gets
// into a command except inside a quoted string or literal.
package imap
