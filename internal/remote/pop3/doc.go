// Package pop3 reaches a mailbox over POP3 (RFC 1939), with the extensions that RFC 2449 lists: CAPA, PIPELINING, UIDL, TOP, SASL
// (RFC 5034), STLS (RFC 2595), RESP-CODES and AUTH-RESP-CODE (RFC 3206). It implements remote.Dialer and remote.Maildrop.
//
// From the wire up:
//
//	wire     bytes with deadlines, counted; the first failure sticks and closes the socket. To the library, which is
//	         github.com/knadh/go-pop3, it is a connection that gives one line at a time
//	library  sends commands and reads the one line that answers each. Its view of that line is never trusted alone: it takes
//	         an empty line for a success
//	listing  STAT, UIDL and LIST, read line by line and held against each other
//	body     a message, streamed, its dots unstuffed; never held in memory
//	Session  what the engine calls
//
// Rules that hold everywhere: message numbers mean nothing beyond the session; a message ends with its last dot and with nothing
// else, whatever size was told; nothing is deleted in a session whose listing contradicts itself; a deletion happened when
// QUIT was answered with +OK, and not before; no CR, LF or NUL gets into a command.
package pop3
