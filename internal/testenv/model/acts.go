package model

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

func no(doing, code, text string) *remote.Error {
	return &remote.Error{Class: remote.Refused, Op: doing, Code: code, Text: text}
}

// create makes a mailbox; parents that do not exist are containers then.
func (s *Server) create(doing, name string) error {
	name = canonical(strings.TrimSuffix(name, s.o.Delimiter))
	if name == "" || name == s.o.Prefix {
		return no(doing, "CANNOT", "that is no name")
	}
	if s.boxes[name] != nil {
		return no(doing, "ALREADYEXISTS", "there is such a mailbox")
	}
	if s.o.NoCreateParents {
		if up := s.parents(strings.TrimPrefix(name, s.o.Prefix)); len(up) > 0 && s.boxes[s.o.Prefix+up[len(up)-1]] == nil {
			return no(doing, "NOPERM", "its parent does not exist")
		}
	}
	s.add(name)
	return nil
}

// remove deletes a mailbox; one with mailboxes below it becomes a container (RFC 9051, 6.3.5).
func (s *Server) remove(doing, name string) error {
	name = canonical(name)
	switch {
	case name == "INBOX":
		return no(doing, "CANNOT", "INBOX can't be deleted")
	case s.boxes[name] == nil:
		return no(doing, "NONEXISTENT", "no such mailbox")
	}
	delete(s.boxes, name)
	return nil
}

// rename moves a mailbox with all below it. INBOX gives its messages to a new mailbox (RFC 9051, 6.3.6).
func (s *Server) rename(doing, from, to string) error {
	from, to = canonical(from), canonical(to)
	b, below := s.boxes[from], s.children(from)
	switch {
	case b == nil && len(below) == 0:
		return no(doing, "NONEXISTENT", "no such mailbox")
	case s.boxes[to] != nil || len(s.children(to)) > 0 && len(below) > 0:
		return no(doing, "ALREADYEXISTS", "there is such a mailbox")
	case s.o.Delimiter != "" && strings.HasPrefix(to, from+s.o.Delimiter):
		return no(doing, "CANNOT", "a mailbox can't be moved into itself")
	}
	if from == "INBOX" && s.o.MovesInbox {
		s.relabel(b, to)
		s.add(from)
		return nil
	}
	if from == "INBOX" {
		dest := s.add(to)
		for _, m := range b.messages {
			s.insert(dest, m.raw, m.flags, m.date, m.emailID)
		}
		b.remove(slices.Clone(b.messages))
		return nil
	}
	if b != nil {
		s.relabel(b, to)
	}
	for _, name := range below {
		s.relabel(s.boxes[name], to+strings.TrimPrefix(name, from))
	}
	return nil
}

func (s *Server) relabel(b *box, to string) {
	delete(s.boxes, b.name)
	b.name = to
	if s.o.SharedUIDValidity && b.uidValidity <= s.validities[to] {
		b.uidValidity = s.newUIDValidity(to)
	} else {
		s.validities[to] = b.uidValidity
	}
	s.boxes[to] = b
}

// must finds a mailbox for an act of the second client. A test that names one that does not exist is wrong.
func (s *Server) must(mailbox string) *box {
	b := s.boxes[canonical(mailbox)]
	if b == nil {
		panic(fmt.Sprintf("model: the test names mailbox %q, which does not exist", mailbox))
	}
	return b
}

func mustNot(err error) {
	if err != nil {
		panic(fmt.Sprintf("model: an act that the test asked for is impossible: %v", err))
	}
}

// Append stores a message as another client does: no limit holds, and no hook is asked. A zero date is now.
func (s *Server) Append(mailbox, raw string, flags mail.Flags, date time.Time) mail.UID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.insert(s.must(mailbox), raw, flags, date, "").uid
}

// Store adds or removes flags. UIDs that are gone are passed over.
func (s *Server) Store(mailbox string, add bool, flags mail.Flags, uids ...mail.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.must(mailbox).change(mail.NewUIDSet(uids...), add, flags)
}

// Expunge removes messages for good.
func (s *Server) Expunge(mailbox string, uids ...mail.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.must(mailbox)
	b.remove(b.among(mail.NewUIDSet(uids...)))
}

// Move moves messages and returns their new UIDs, in the order of the old ones.
func (s *Server) Move(from, to string, uids ...mail.UID) []mail.UID {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.must(from)
	gone := b.among(mail.NewUIDSet(uids...))
	out := s.copyTo(to, gone)
	b.remove(gone)
	return out
}

// Copy copies messages and returns the copies' UIDs, in the order of the originals.
func (s *Server) Copy(from, to string, uids ...mail.UID) []mail.UID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copyTo(to, s.must(from).among(mail.NewUIDSet(uids...)))
}

func (s *Server) copyTo(to string, messages []*message) []mail.UID {
	var out []mail.UID
	dest := s.must(to)
	for _, m := range messages {
		out = append(out, s.insert(dest, m.raw, m.flags, m.date, m.emailID).uid)
	}
	return out
}

// CreateMailbox makes a mailbox.
func (s *Server) CreateMailbox(mailbox string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mustNot(s.create("CreateMailbox", mailbox))
}

// DeleteMailbox removes a mailbox with its messages.
func (s *Server) DeleteMailbox(mailbox string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mustNot(s.remove("DeleteMailbox", mailbox))
}

// RenameMailbox renames a mailbox with all below it.
func (s *Server) RenameMailbox(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mustNot(s.rename("RenameMailbox", from, to))
}

// Recreate replaces a mailbox by an empty one, with a new UIDVALIDITY or, as bad servers do, the same.
func (s *Server) Recreate(mailbox string, sameUIDValidity bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.must(mailbox)
	delete(s.boxes, old.name)
	b := s.add(old.name)
	if sameUIDValidity {
		b.uidValidity = old.uidValidity
	}
}

// Renumber gives a mailbox another UIDVALIDITY and its messages other UIDs, as after a restored backup.
func (s *Server) Renumber(mailbox string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.must(mailbox)
	b.uidValidity, b.uidNext = s.newUIDValidity(b.name), 1
	for _, m := range b.messages {
		m.uid = b.uidNext
		b.uidNext++
	}
	b.modSeq++
}

// Restore puts a mailbox back to what it was, UIDNEXT and mod-sequences too, as a backup does.
func (s *Server) Restore(was Mailbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.must(was.Name)
	b.uidValidity, b.uidNext, b.modSeq, b.messages = was.UIDValidity, was.UIDNext, was.ModSeq, nil
	for _, m := range was.Messages {
		b.messages = append(b.messages, &message{uid: m.UID, flags: m.Flags, modSeq: m.ModSeq, date: m.Date, raw: m.Raw, emailID: m.EmailID})
	}
}

// Permute gives each message of a mailbox the UID of the next, and the last that of the first, and tells nobody.
func (s *Server) Permute(mailbox string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.must(mailbox).messages
	for i := range len(all) - 1 {
		a, b := all[i], all[i+1]
		a.uid, b.uid = b.uid, a.uid
		all[i], all[i+1] = b, a
	}
}

// SetUIDValidity gives a mailbox another UIDVALIDITY, also 0 or beyond 32 bits, and leaves all else.
func (s *Server) SetUIDValidity(mailbox string, v uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.must(mailbox).uidValidity = v
}

// SetUIDNext sets the next UID, for gaps and for large ones. It must be above all that are in use.
func (s *Server) SetUIDNext(mailbox string, next mail.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.must(mailbox).uidNext = next
}

// SetReadOnly makes a mailbox read-only for the sessions, not for the acts of the second client.
func (s *Server) SetReadOnly(mailbox string, readOnly bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.must(mailbox).readOnly = readOnly
}

// SetNoModSeq takes a mailbox's mod-sequences away, on a server that has them (RFC 7162, 3.1.2.2).
func (s *Server) SetNoModSeq(mailbox string, none bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.must(mailbox).noModSeq = none
}

// SetPermanent sets PERMANENTFLAGS: other flags are not kept. anyKeyword is \*.
func (s *Server) SetPermanent(mailbox string, flags mail.Flags, anyKeyword bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.must(mailbox).permanent = &permanent{flags, anyKeyword}
}

// SetSpecialUse sets the attributes of RFC 6154.
func (s *Server) SetSpecialUse(mailbox string, attributes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.must(mailbox).specialUse = attributes
}

// Subscribe sets or takes away the subscription to a name, whether there is a mailbox or not.
func (s *Server) Subscribe(mailbox string, subscribed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribed[canonical(mailbox)] = subscribed
}
