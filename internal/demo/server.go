// Package demo is what `satchel demo` shows: a mail server of its own, a Maildir of its own, two people who
// change things on either side, and a check of everything by other means than Satchel's.
//
// The server is go-imap's, with the mail in memory. It has neither CONDSTORE nor QRESYNC, so that
// the demonstration takes the plain way that works everywhere. The person at the server is go-imap's client,
// which shares no code with the connection that Satchel uses; the person at the Maildir renames, writes and
// removes files as mail clients do.
package demo

import (
	"io"
	"log"
	"net"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
)

// Server is an IMAP server on a loopback port, without TLS, with one account.
type Server struct {
	Port           int
	User, Password string

	server *imapserver.Server
	done   chan struct{} // closed when it serves no longer
}

// Host is where a Server listens.
const Host = "127.0.0.1"

// StartServer starts an empty server.
func StartServer() (*Server, error) {
	s := &Server{User: "you@example.org", Password: "not-a-secret", done: make(chan struct{})}
	user := imapmemserver.NewUser(s.User, s.Password)
	if err := user.Create("INBOX", nil); err != nil {
		return nil, err
	}
	mem := imapmemserver.New()
	mem.AddUser(user)
	s.server = imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return &session{user: user}, nil, nil
		},
		Caps: imap.CapSet{
			imap.CapIMAP4rev1: {}, imap.CapNamespace: {}, imap.CapUIDPlus: {}, imap.CapESearch: {}, imap.CapListExtended: {},
			imap.CapListStatus: {}, imap.CapMove: {}, imap.CapLiteralPlus: {},
		},
		InsecureAuth: true, // on loopback
		Logger:       log.New(io.Discard, "", 0),
	})
	l, err := net.Listen("tcp", net.JoinHostPort(Host, "0"))
	if err != nil {
		return nil, err
	}
	s.Port = l.Addr().(*net.TCPAddr).Port
	go func() {
		defer close(s.done)
		_ = s.server.Serve(l) // it ends by Close
	}()
	return s, nil
}

// Close ends the server and forgets its mail.
func (s *Server) Close() error {
	err := s.server.Close()
	<-s.done
	return err
}

// session is imapmemserver's, which says of an empty mailbox that no flag can be set there.
type session struct {
	*imapmemserver.UserSession // nil before Login
	user                       *imapmemserver.User
}

// Login implements imapserver.Session.
func (s *session) Login(user, password string) error {
	if err := s.user.Login(user, password); err != nil {
		return err
	}
	s.UserSession = imapmemserver.NewUserSession(s.user)
	return nil
}

// Select implements imapserver.Session.
func (s *session) Select(mailbox string, options *imap.SelectOptions) (*imap.SelectData, error) {
	data, err := s.UserSession.Select(mailbox, options)
	if err != nil {
		return nil, err
	}
	data.Flags = []imap.Flag{imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagSeen, imap.FlagDraft}
	data.PermanentFlags = append([]imap.Flag{imap.FlagWildcard}, data.Flags...)
	return data, nil
}
