// Package model is a mail server in memory, without a wire: it implements remote.Dialer and
// remote.Session with the semantics of IMAP and nothing else, so that a test of the engine can
// run thousands of histories, see everything, and stop the world at every step.
//
// A Server has switches for what servers do differently (Options, and the Set methods per
// mailbox), acts of a second client that take effect at once (acts.go), a Snapshot of all that it
// holds, and faults: Options.Fault is asked before and after every effect and may lose the connection, refuse, or
// let the effect arrive later (fault.go).
//
// It is deterministic: it starts no goroutine, reads no clock but Options.Now, and walks everything in
// order. It may be used from several goroutines; the order of their steps is then theirs.
package model

import (
	"crypto/sha1"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// Options say what the server can do. The zero value is a server with plain IMAP4rev1; Full is
// one with everything.
type Options struct {
	// CondStore gives mod-sequences (RFC 7162). QResync makes the server itself say what vanished.
	CondStore, QResync bool
	// UIDPlus tells new UIDs and expunges by UID (RFC 4315).
	UIDPlus bool
	// Move is atomic (RFC 6851); without it Session.Move copies.
	Move bool
	// Idle and Notify let sessions wait for one mailbox, and for all at once.
	Idle, Notify bool
	// MailboxIDs and EmailIDs give identities (RFC 8474).
	MailboxIDs, EmailIDs bool
	// EqualEmailIDs makes the latter of the messages' bytes, as Cyrus does.
	EqualEmailIDs bool
	// MovesInbox has RENAME INBOX give the mailbox itself the new name, with its identity, and make a new INBOX, as Dovecot does.
	MovesInbox bool
	// SharedUIDValidity gives mailboxes the same UIDVALIDITY, as servers do that make it of the time or have one for all. Only one whose name
	// another mailbox has had gets another one.
	SharedUIDValidity bool
	// Delimiter separates the levels of names, "/" by default; Flat makes names flat.
	Delimiter string
	Flat      bool
	// Prefix is the personal namespace ("INBOX."). INBOX itself never has it.
	Prefix string
	// AppendLimit is the largest message taken, 0 for any. It is announced unless HideAppendLimit.
	AppendLimit     int64
	HideAppendLimit bool
	// Quota is the sum of all messages' bytes that the account may hold, 0 for any.
	Quota int64
	// KeywordLimit is the number of different keywords that one mailbox can hold, 0 for any.
	KeywordLimit int
	// NoCreateParents refuses a mailbox whose parent does not exist.
	NoCreateParents bool
	// Window is how many messages Append has sent before the first answer comes, 1 by default: then it has to wait for each.
	Window int
	// Now is the clock for messages that come without a date; by default time stands still.
	Now func() time.Time
	// Fault is asked at every step; nil lets everything pass. It may call the server's own methods and be the second client that comes
	// in between. The hooks are called one at a time, whatever sessions there are: they may remember what they saw.
	Fault func(Step) Action
	// Refuse is asked for every single message that is fetched, stored, moved or appended; an Action other
	// than Refuse counts as nothing. nil refuses none.
	Refuse func(Step) Action
}

// Full returns the options of a server that can do everything.
func Full() Options {
	return Options{CondStore: true, QResync: true, UIDPlus: true, Move: true, Idle: true, Notify: true,
		MailboxIDs: true, EmailIDs: true, Window: 4}
}

// Server is an account.
type Server struct {
	o Options

	asking sync.Mutex // held while a hook runs
	mu     lock       // guards all below; never held while a hook runs
	// boxes by name; a missing parent of one that exists is shown as a mere container.
	boxes       map[string]*box
	subscribed  map[string]bool
	uidValidity uint64 // the last one given
	// validities are the last ones that each name had, where mailboxes share them.
	validities map[string]uint64
	emailID    int // the last one given
	mailboxID  int
	sessions   int
	steps      int
	ghosts     []ghost
	halves     []string // see Halves
}

var _ remote.Dialer = (*Server)(nil)

// box is one mailbox.
type box struct {
	name        string
	id          string
	uidValidity uint64
	uidNext     mail.UID
	modSeq      uint64 // the highest so far
	messages    []*message
	readOnly    bool
	noModSeq    bool
	specialUse  []string
	// permanent is what PERMANENTFLAGS says, nil for everything with \*.
	permanent *permanent
	sent      map[string]bool // see WasSent
}

type permanent struct {
	flags      mail.Flags
	anyKeyword bool
}

type message struct {
	uid     mail.UID
	flags   mail.Flags
	modSeq  uint64
	date    time.Time
	raw     string
	emailID string
}

// New makes an account with an empty INBOX.
func New(o Options) *Server {
	if o.Delimiter == "" && !o.Flat {
		o.Delimiter = "/"
	}
	if o.Window < 1 {
		o.Window = 1
	}
	if o.Now == nil {
		still := time.Date(2025, 1, 1, 12, 0, 0, 0, time.UTC)
		o.Now = func() time.Time { return still }
	}
	s := &Server{o: o, boxes: map[string]*box{}, subscribed: map[string]bool{}, uidValidity: firstUIDValidity - 1, validities: map[string]uint64{}}
	s.add("INBOX")
	return s
}

// add makes a mailbox; the caller knows that there is none of that name.
func (s *Server) add(name string) *box {
	s.mailboxID++
	b := &box{name: name, id: fmt.Sprintf("M%d", s.mailboxID), uidValidity: s.newUIDValidity(name), uidNext: 1, modSeq: 1}
	s.boxes[name] = b
	return b
}

// Options are those that it was made with.
func (s *Server) Options() Options { return s.o }

const firstUIDValidity = 1001

// newUIDValidity is one that no mailbox of that name has had.
func (s *Server) newUIDValidity(name string) uint64 {
	if s.o.SharedUIDValidity {
		s.validities[name] = max(firstUIDValidity, s.validities[name]+1)
		return s.validities[name]
	}
	s.uidValidity++
	return s.uidValidity
}

// canonical gives INBOX its one spelling (RFC 9051, section 5.1).
func canonical(name string) string {
	if strings.EqualFold(name, "INBOX") {
		return "INBOX"
	}
	return name
}

// names returns the names of all mailboxes, sorted.
func (s *Server) names() []string {
	var names []string
	for name := range s.boxes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// children returns the names below name, sorted.
func (s *Server) children(name string) []string {
	if s.o.Delimiter == "" {
		return nil
	}
	return slices.DeleteFunc(s.names(), func(n string) bool { return !strings.HasPrefix(n, name+s.o.Delimiter) })
}

// parents returns the names above name, top first.
func (s *Server) parents(name string) []string {
	var out []string
	if s.o.Delimiter == "" {
		return nil
	}
	for i := 0; ; {
		j := strings.Index(name[i:], s.o.Delimiter)
		if j < 0 {
			return out
		}
		i += j
		out = append(out, name[:i])
		i += len(s.o.Delimiter)
	}
}

func (b *box) find(uid mail.UID) *message {
	i, ok := slices.BinarySearchFunc(b.messages, uid, func(m *message, u mail.UID) int {
		return int(int64(m.uid) - int64(u))
	})
	if !ok {
		return nil
	}
	return b.messages[i]
}

// among returns the messages that uids names, by UID.
func (b *box) among(uids mail.UIDSet) []*message {
	var out []*message
	for _, m := range b.messages {
		if uids.Contains(m.uid) {
			out = append(out, m)
		}
	}
	return out
}

// insert adds a message under the next UID.
func (s *Server) insert(b *box, raw string, flags mail.Flags, date time.Time, emailID string) *message {
	if date.IsZero() {
		date = s.o.Now()
	}
	switch {
	case s.o.EqualEmailIDs:
		emailID = fmt.Sprintf("%x", sha1.Sum([]byte(raw)))
	case emailID == "":
		s.emailID++
		emailID = fmt.Sprintf("E%d", s.emailID)
	}
	b.modSeq++
	// INTERNALDATE has no fractions of a second
	m := &message{uid: b.uidNext, flags: b.keeps(flags), modSeq: b.modSeq, date: date.Truncate(time.Second), raw: raw, emailID: emailID}
	b.uidNext++
	b.messages = append(b.messages, m)
	return m
}

func (b *box) keeps(flags mail.Flags) mail.Flags {
	return b.selected(Options{}).Keeps(flags)
}

// remove takes messages out. It is one change, so they share a mod-sequence.
func (b *box) remove(gone []*message) {
	if len(gone) == 0 {
		return
	}
	b.modSeq++
	b.messages = slices.DeleteFunc(b.messages, func(m *message) bool { return slices.Contains(gone, m) })
}

// setFlags changes one message's flags under the given mod-sequence, if they really change.
func (m *message) setFlags(flags mail.Flags, modSeq uint64) bool {
	if m.flags.Equal(flags) {
		return false
	}
	m.flags, m.modSeq = flags, modSeq
	return true
}

// status is the mailbox's, as far as the options let the server tell.
func (b *box) status(o Options) remote.Status {
	st := remote.Status{UIDValidity: b.uidValidity, UIDNext: b.uidNext, Messages: uint32(len(b.messages))}
	if o.CondStore && !b.noModSeq {
		st.HighestModSeq = b.modSeq
	}
	if o.MailboxIDs {
		st.MailboxID = b.id
	}
	return st
}

func (b *box) selected(o Options) remote.Selected {
	sel := remote.Selected{Status: b.status(o), ReadOnly: b.readOnly, PermanentKnown: true, AnyKeyword: true,
		Permanent: mail.NewFlags(`\Draft`, `\Flagged`, `\Answered`, `\Seen`, `\Deleted`)}
	if b.permanent != nil {
		sel.Permanent, sel.AnyKeyword = b.permanent.flags, b.permanent.anyKeyword
	}
	if b.readOnly {
		sel.Permanent, sel.AnyKeyword = mail.Flags{}, false
	}
	return sel
}

// keywords returns the different keywords in use, in lower case, sorted.
func (b *box) keywords() []string {
	var out []string
	for _, m := range b.messages {
		for _, k := range m.flags.Keywords() {
			out = append(out, strings.ToLower(k))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// tooManyKeywords reports whether flags would bring b over the limit.
func (s *Server) tooManyKeywords(b *box, flags mail.Flags) bool {
	if s.o.KeywordLimit == 0 {
		return false
	}
	in := b.keywords()
	for _, k := range flags.Keywords() {
		if k = strings.ToLower(k); !slices.Contains(in, k) {
			in = append(in, k)
		}
	}
	return len(in) > s.o.KeywordLimit
}

// used is the number of bytes that the account holds.
func (s *Server) used() int64 {
	var n int64
	for _, b := range s.boxes {
		for _, m := range b.messages {
			n += int64(len(m.raw))
		}
	}
	return n
}
