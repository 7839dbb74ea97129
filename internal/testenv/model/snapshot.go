package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Snapshot is all that the server holds at one moment. It shares nothing with the server.
type Snapshot struct {
	// Mailboxes are sorted by name.
	Mailboxes []Mailbox
}

// Mailbox is one mailbox of a Snapshot.
type Mailbox struct {
	Name        string
	ID          string
	UIDValidity uint64
	UIDNext     mail.UID
	ModSeq      uint64
	ReadOnly    bool
	Messages    []Message // by UID
}

// Message is one message of a Snapshot.
type Message struct {
	UID     mail.UID
	Flags   mail.Flags
	ModSeq  uint64
	Date    time.Time
	EmailID string
	Raw     string
}

// Snapshot returns what the server holds.
func (s *Server) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out Snapshot
	for _, name := range s.names() {
		b := s.boxes[name]
		m := Mailbox{Name: name, ID: b.id, UIDValidity: b.uidValidity, UIDNext: b.uidNext, ModSeq: b.modSeq, ReadOnly: b.readOnly}
		for _, msg := range b.messages {
			m.Messages = append(m.Messages, Message{UID: msg.uid, Flags: msg.flags, ModSeq: msg.modSeq, Date: msg.date, EmailID: msg.emailID, Raw: msg.raw})
		}
		out.Mailboxes = append(out.Mailboxes, m)
	}
	return out
}

// Mailbox returns the named mailbox; false if there is none.
func (s Snapshot) Mailbox(name string) (Mailbox, bool) {
	for _, m := range s.Mailboxes {
		if m.Name == name {
			return m, true
		}
	}
	return Mailbox{}, false
}

// Names are the names of all mailboxes, sorted.
func (s Snapshot) Names() []string {
	var names []string
	for _, m := range s.Mailboxes {
		names = append(names, m.Name)
	}
	return names
}

// String shows names, UIDs, flags and the first line of each message, for failing tests.
func (s Snapshot) String() string {
	var b strings.Builder
	for _, m := range s.Mailboxes {
		fmt.Fprintf(&b, "%s (UIDVALIDITY %d, UIDNEXT %d, HIGHESTMODSEQ %d)\n", m.Name, m.UIDValidity, m.UIDNext, m.ModSeq)
		for _, msg := range m.Messages {
			first, _, _ := strings.Cut(msg.Raw, "\r\n")
			fmt.Fprintf(&b, "  %d [%s] modseq %d, %d bytes, %s: %.60q\n", msg.UID, msg.Flags, msg.ModSeq, len(msg.Raw), msg.Date.UTC().Format(time.RFC3339), first)
		}
	}
	return b.String()
}

// Clone returns a server with the same content and options, to which nobody is connected.
func (s *Server) Clone() *Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &Server{o: s.o, boxes: map[string]*box{}, subscribed: maps.Clone(s.subscribed), uidValidity: s.uidValidity, validities: maps.Clone(s.validities),
		emailID: s.emailID, mailboxID: s.mailboxID, ghosts: slices.Clone(s.ghosts), halves: slices.Clone(s.halves)}
	for name, b := range s.boxes {
		copied := *b
		copied.sent = maps.Clone(b.sent)
		copied.messages = make([]*message, len(b.messages))
		for i, m := range b.messages {
			one := *m
			copied.messages[i] = &one
		}
		c.boxes[name] = &copied
	}
	return c
}
