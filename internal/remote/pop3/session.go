package pop3

import (
	"context"
	"errors"
	"slices"
	"strings"

	gopop3 "github.com/knadh/go-pop3"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// Session is one signed-in connection. It implements remote.Maildrop.
type Session struct {
	cfg    Config
	wire   *wire
	pop    *gopop3.Conn
	secure bool
	book   *book

	secret *auth.Secret // what it signed in with, nil if that took none

	stamp   string // of the greeting, for APOP
	caps    []string
	hasCapa bool
	hasUIDL bool // it answered the command

	list    *listing
	numbers map[mail.UID]int // message numbers, nil until they are needed

	read    bool // a whole message was asked for
	spilled bool // one that came was not taken
}

var _ remote.Maildrop = (*Session)(nil)

// sendAll sends commands in one go where the server allows it; else answerTo sends each when its turn has come.
func (s *Session) sendAll(commands []string) error {
	s.wire.begin()
	if !s.has("PIPELINING") {
		return nil
	}
	for _, c := range commands {
		s.traceOut(c)
	}
	return s.pop.Send(strings.Join(commands, "\r\n"))
}

// answerTo reads the answer to the ith of the commands that sendAll was given.
func (s *Session) answerTo(op string, commands []string, i int) (status, error) {
	if !s.has("PIPELINING") {
		s.traceOut(commands[i])
		if err := s.pop.Send(commands[i]); err != nil {
			return status{}, during(op, err)
		}
	}
	return s.answer(op)
}

// exchange sends a command and reads its answer's first line.
func (s *Session) exchange(op, command string) (status, error) {
	return s.exchangeSecretly(op, command, command)
}

// exchangeSecretly is exchange, of which show is what may be seen of the command.
func (s *Session) exchangeSecretly(op, command, show string) (status, error) {
	s.wire.begin()
	s.traceOut(show)
	if err := s.pop.Send(command); err != nil {
		return status{}, during(op, err)
	}
	return s.answer(op)
}

// answer reads the line that answers a command. The library reads it; what it means is judged by the line itself.
func (s *Session) answer(op string) (status, error) {
	_, _ = s.pop.ReadOne() // its error is the server's text, or the connection's, which is known
	if err := s.wire.Failure(); err != nil {
		return status{}, during(op, err)
	}
	st, ok := parseStatus(s.wire.last)
	if !ok {
		return status{}, s.wire.Fail(protocolAt(op, errors.New("the server's answer is neither +OK nor -ERR: "+remote.CleanText(string(s.wire.last))), ""))
	}
	if st.asks {
		s.traceIn("+ ***")
	} else {
		s.traceIn(string(s.wire.last))
	}
	return st, nil
}

func (s *Session) traceOut(line string) {
	if s.cfg.Trace != nil {
		s.cfg.Trace('>', line)
	}
}

func (s *Session) traceIn(line string) {
	if s.cfg.Trace != nil {
		s.cfg.Trace('<', line)
	}
}

// Capabilities implements remote.Session.
func (s *Session) Capabilities() remote.Capabilities {
	out := remote.Capabilities{Names: slices.Clone(s.caps)}
	for _, c := range s.caps {
		name, _, _ := strings.Cut(c, " ")
		switch strings.ToUpper(name) {
		case "CAPA", "PIPELINING", "UIDL", "TOP", "SASL", "USER", "RESP-CODES", "AUTH-RESP-CODE", "LOGIN-DELAY":
			out.Used = append(out.Used, c)
		}
	}
	if s.hasUIDL && !s.has("UIDL") { // it has it and did not say so
		out.Names, out.Used = append(out.Names, "UIDL"), append(out.Used, "UIDL")
	}
	slices.Sort(out.Names)
	slices.Sort(out.Used)
	return out
}

// Mailboxes implements remote.Session: there is one.
func (s *Session) Mailboxes(ctx context.Context) ([]remote.Mailbox, error) {
	st, err := s.Status(ctx, string(mail.Inbox))
	if err != nil {
		return nil, err
	}
	name := string(mail.Inbox)
	return []remote.Mailbox{{Name: name, Path: []string{name}, Display: name, Selectable: true, Subscribed: true, Status: &st}}, nil
}

// MailboxesAnd implements remote.Session. The listing was read already, and tells what Changes would.
func (s *Session) MailboxesAnd(ctx context.Context, _ string) ([]remote.Mailbox, *remote.Changes, error) {
	boxes, err := s.Mailboxes(ctx)
	return boxes, nil, err
}

// MailboxName implements remote.Session. No mailbox is ever made of such a name.
func (s *Session) MailboxName(path []string) (string, error) { return strings.Join(path, "/"), nil }

// validity is the one UIDVALIDITY: UIDs are the engine's own, and it uses none twice.
const validity = 1

// Status implements remote.Session.
func (s *Session) Status(ctx context.Context, mailbox string) (remote.Status, error) {
	if mailbox != string(mail.Inbox) {
		return remote.Status{}, &remote.Error{Class: remote.Refused, Op: "looking at mailbox " + remote.CleanText(mailbox), Code: "NONEXISTENT",
			Err: errors.New("POP3 has the INBOX only")}
	}
	l, err := s.Listing(ctx)
	if err != nil {
		return remote.Status{}, err
	}
	return remote.Status{UIDValidity: validity, Messages: uint32(len(l.Messages)), HighestModSeq: l.Mark}, nil
}

// Select implements remote.Session.
func (s *Session) Select(ctx context.Context, mailbox string) (remote.Selected, error) {
	st, err := s.Status(ctx, mailbox)
	return remote.Selected{Status: st, PermanentKnown: true}, err
}

// Listing implements remote.Maildrop.
func (s *Session) Listing(ctx context.Context) (remote.Listing, error) {
	if err := s.load(ctx); err != nil {
		return remote.Listing{}, err
	}
	return s.list.Listing, nil
}

func (s *Session) load(ctx context.Context) error {
	if err := s.wire.Failure(); err != nil {
		return err
	}
	if s.list != nil {
		return nil
	}
	defer s.wire.Watch(ctx)()
	l, err := s.readListing()
	if err != nil {
		return err
	}
	s.list = l
	return nil
}

// Name implements remote.Maildrop.
func (s *Session) Name(uids []mail.UID) {
	s.numbers = make(map[mail.UID]int, len(uids))
	for i, uid := range uids {
		if uid != 0 && i < len(s.list.Messages) {
			s.numbers[uid] = i + 1
		}
	}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	s.book.listing, s.book.numbers = *s.list, s.numbers
}

// resolve finds out which messages UIDs that an earlier session was told mean here: the same as there, if all that were listed still
// are, under the same names, in the same places and as large. Where names are numbers, nothing else would tell.
func (s *Session) resolve(ctx context.Context) error {
	if err := s.load(ctx); err != nil || s.numbers != nil {
		return err
	}
	s.numbers = map[mail.UID]int{}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	old := s.book.listing
	if n := len(old.Messages); n > len(s.list.Messages) || !slices.Equal(old.Messages, s.list.Messages[:n]) {
		return nil
	}
	for uid, n := range s.book.numbers {
		if old.unique[n-1] && s.list.unique[n-1] {
			s.numbers[uid] = n
		}
	}
	return nil
}

// Traffic implements remote.Session.
func (s *Session) Traffic() remote.Traffic { return s.wire.traffic() }

// Close implements remote.Session. What was marked as deleted and not confirmed by Expunge is not deleted: nothing ever is. A server
// that deletes what was read does so at QUIT, which it is not told then.
func (s *Session) Close() error {
	farewell := "QUIT\r\n"
	if s.read && (s.expires() || s.spilled) {
		farewell = ""
	} else if s.wire.Failure() == nil {
		s.traceOut("QUIT")
	}
	s.wire.farewell(farewell)
	return nil
}

// expires reports whether the server deletes messages once they were read (RFC 2449, section 6.7).
func (s *Session) expires() bool {
	args, _ := s.capability("EXPIRE")
	return len(args) > 0 && args[0] == "0"
}
