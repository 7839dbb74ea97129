package model

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// Step is one moment in an exchange: right before the server acts, or right after it acted and before its
// answer arrives.
type Step struct {
	// N counts all steps of the server, from 1.
	N int
	// Session counts the server's sessions, from 1.
	Session int
	// Op is "dial", "list", "status", "select", "changes", "fetch", "body", "append", "store", "move",
	// "copy", "mark" (before an expunge, \Deleted), "expunge", "create", "delete", "rename", "wait" or "tell".
	Op      string
	Mailbox string
	// UIDs are the messages, as far as the operation names any; of "append", none.
	UIDs mail.UIDSet
	// Index is the upload's, for "append".
	Index int
	// After tells the moment after the act from the one before.
	After bool
}

func (s Step) String() string {
	when := "before"
	if s.After {
		when = "after"
	}
	text := fmt.Sprintf("step %d (session %d): %s %s %s", s.N, s.Session, when, s.Op, s.Mailbox)
	if !s.UIDs.IsEmpty() {
		text += " " + s.UIDs.String()
	}
	if s.Op == "append" {
		text += fmt.Sprintf(" #%d", s.Index)
	}
	return text
}

// Kind is what happens at a step.
type Kind int

const (
	// Pass lets it happen.
	Pass Kind = iota
	// Drop loses the connection: before the act nothing is done, after it the answer is lost.
	Drop
	// Silence is Drop by a server that stops answering: the error says so.
	Silence
	// Refuse answers NO (before the act; after it, it is too late and it counts as Pass).
	Refuse
	// Ghost loses the connection before an "append" that the server will still do when
	// ReleaseGhosts is called, as a server does that works off what a dead connection had sent. For
	// other operations it is Drop.
	Ghost
	// Cut breaks off a "body" in its middle and loses the connection. For other operations it is Drop.
	Cut
)

// Action is the answer of a hook. The zero value is Pass.
type Action struct {
	Kind Kind
	// Code and Text are what a refusal says. Code "AUTHENTICATIONFAILED" at "dial" is of class Auth.
	Code, Text string
	// RetryAfter is what a refusal at "dial" asks for.
	RetryAfter time.Duration
}

// At makes a Fault that takes action at step n, and nowhere else.
func At(n int, action Action) func(Step) Action {
	return func(s Step) Action {
		if s.N == n {
			return action
		}
		return Action{}
	}
}

// ghost is a message that a dead connection had sent.
type ghost struct {
	mailbox string
	upload  stored
}

type stored struct {
	raw   string
	flags mail.Flags
	date  time.Time
}

// Ghosts is the number of messages that dead connections had sent and that have not arrived.
func (s *Server) Ghosts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ghosts)
}

// UnderWay reports whether a message is among them.
func (s *Server) UnderWay(raw string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.ghosts, func(g ghost) bool { return g.upload.raw == raw })
}

// ReleaseGhosts lets them arrive, in the order they were sent, where their mailbox still exists.
func (s *Server) ReleaseGhosts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.ghosts {
		if b := s.boxes[g.mailbox]; b != nil && !b.readOnly {
			s.insert(b, g.upload.raw, g.upload.flags, g.upload.date, "")
		}
	}
	s.ghosts = nil
}

// Steps is the number of steps so far.
func (s *Server) Steps() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.steps
}

// SetFault replaces Options.Fault.
func (s *Server) SetFault(fault func(Step) Action) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.o.Fault = fault
}

// SetRefuse replaces Options.Refuse.
func (s *Server) SetRefuse(refuse func(Step) Action) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.o.Refuse = refuse
}

// ask counts a step and calls the Fault hook, without the lock.
func (s *Server) ask(step Step) Action {
	s.mu.Lock()
	s.steps++
	step.N = s.steps
	fault := s.o.Fault
	s.mu.Unlock()
	if fault == nil {
		return Action{}
	}
	return fault(step)
}

// refusal calls the Refuse hook for one message; nil if the server takes it. It is no step of its own.
func (s *Server) refusal(step Step, doing string) error {
	s.mu.Lock()
	step.N = s.steps
	refuse := s.o.Refuse
	s.mu.Unlock()
	if refuse == nil {
		return nil
	}
	if a := refuse(step); a.Kind == Refuse {
		return refused(doing, a)
	}
	return nil
}

func refused(doing string, a Action) *remote.Error {
	text := a.Text
	if text == "" {
		text = "refused by the test"
	}
	return &remote.Error{Class: remote.Refused, Op: doing, Code: a.Code, Text: text, RetryAfter: a.RetryAfter}
}

var (
	errDropped = errors.New("the connection was closed by the test")
	errSilent  = errors.New("the server stopped answering in the test")
)

func lost(doing string, kind Kind) *remote.Error {
	err := errDropped
	if kind == Silence {
		err = errSilent
	}
	return &remote.Error{Class: remote.Lost, Op: doing, Err: err}
}
