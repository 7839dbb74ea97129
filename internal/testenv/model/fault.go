package model

import (
	"context"
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
	// Index is the upload's, for "append", and Raw its text.
	Index int
	Raw   string
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
	// Ghost loses the connection before a change that the server will still make when
	// ReleaseGhosts is called, as a server does that works off what a dead connection had sent. For
	// operations that only read it is Drop.
	Ghost
	// Cut breaks off a "body" in its middle and loses the connection. For other operations it is Drop.
	Cut
	// Part loses the connection when the server has done a part: an "append" of half a message, of "store", "copy", "mark" and
	// "expunge" the first half of the messages, and so of "move", but that the last of them was copied and not removed, which
	// RFC 6851, section 3.3 only advises against. For other operations it is Drop.
	Part
)

// Action is the answer of a hook. The zero value is Pass.
type Action struct {
	Kind Kind
	// Code and Text are what a refusal says. Code "AUTHENTICATIONFAILED" at "dial" is of class Auth.
	Code, Text string
	// RetryAfter is what a refusal at "dial" asks for.
	RetryAfter time.Duration
	// Until holds the step up until it is closed; nil does not.
	Until <-chan struct{}
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

// ghost is a change that a dead connection had sent.
type ghost struct {
	raws []string // of the messages that it is about
	do   func(*Server)
}

// upload is the ghost of one.
func (up stored) ghost(mailbox string) ghost {
	return ghost{[]string{up.raw}, func(s *Server) { (&session{s: s}).store("", mailbox, up) }} // nobody hears the answer
}

type stored struct {
	raw   string
	flags mail.Flags
	date  time.Time
}

// Ghosts is the number of changes that dead connections had sent and that were not made yet.
func (s *Server) Ghosts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ghosts)
}

// UnderWay counts those that a message is the subject of.
func (s *Server) UnderWay(raw string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.ghosts {
		if slices.Contains(g.raws, raw) {
			n++
		}
	}
	return n
}

// ReleaseGhosts has them made, in the order they were sent, where their mailbox still exists.
func (s *Server) ReleaseGhosts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.ghosts {
		g.do(s)
	}
	s.ghosts = nil
}

// Halves are the messages of which only half was stored, as it was.
func (s *Server) Halves() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.halves)
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

// ask counts a step, calls the Fault hook and waits for what holds the step up.
func (s *Server) ask(step Step) Action {
	s.mu.Lock()
	s.steps++
	step.N = s.steps
	fault := s.o.Fault
	s.mu.Unlock()
	a := s.call(fault, step)
	if a.Until != nil {
		select {
		case <-a.Until:
		case <-time.After(10 * time.Second):
			panic(fmt.Sprintf("%s: what it waits for does not come", step))
		}
	}
	return a
}

// refusal calls the Refuse hook for one message; nil if the server takes it. It is no step of its own.
func (s *Server) refusal(step Step, doing string) error {
	s.mu.Lock()
	step.N = s.steps
	refuse := s.o.Refuse
	s.mu.Unlock()
	if a := s.call(refuse, step); a.Kind == Refuse {
		return refused(doing, a)
	}
	return nil
}

// call calls a hook, if there is one, without the server's own lock.
func (s *Server) call(hook func(Step) Action, step Step) Action {
	if hook == nil {
		return Action{}
	}
	s.asking.Lock()
	defer s.asking.Unlock()
	return hook(step)
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

// change is do for what changes the server. act is given the session to act for, which is another one if it acts late, and the messages
// that it is to deal with. It holds the lock.
func (c *session) change(ctx context.Context, step Step, doing string, act func(c *session, uids mail.UIDSet) error) error {
	return c.exchange(ctx, step, doing, func() error { return act(c, step.UIDs) }, func(kind Kind) {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		switch kind {
		case Ghost:
			g := ghost{do: func(s *Server) { _ = act(&session{s: s}, step.UIDs) }} // nobody hears the answer
			if b := c.s.boxes[canonical(step.Mailbox)]; b != nil {
				for _, m := range b.among(step.UIDs) {
					g.raws = append(g.raws, m.raw)
				}
			}
			c.s.ghosts = append(c.s.ghosts, g)
		case Part:
			if n := step.UIDs.Len(); n > 0 {
				_ = act(&session{s: c.s, partly: true}, firstOf(step.UIDs, (n+1)/2))
			}
		}
	})
}

// firstOf are the first n of some messages.
func firstOf(uids mail.UIDSet, n int64) (some mail.UIDSet) {
	for uid := range uids.All() {
		if n--; n < 0 {
			break
		}
		some.Add(uid)
	}
	return some
}

func lost(doing string, kind Kind) *remote.Error {
	err := errDropped
	if kind == Silence {
		err = errSilent
	}
	return &remote.Error{Class: remote.Lost, Op: doing, Err: err}
}
