package imap

import (
	"context"
	"slices"
	"strings"

	goimap "github.com/emersion/go-imap/v2"
)

// learnt is what a session finds out about the server and the account, so that the next ones of the same Dialer
// need not ask again. It is not changed once it is there.
type learnt struct {
	before, after *capSet // the sign-in
	serverName    string
	prefix        string
	delim         byte
	foreign       []string
	xguid         bool
}

// recall takes over what an earlier session learnt.
func (s *Session) recall(l *learnt) {
	s.serverName, s.prefix, s.delim, s.foreign, s.xguid = l.serverName, l.prefix, l.delim, slices.Clone(l.foreign), l.xguid
	s.delimKnown, s.settled = true, true
}

// remember leaves what this session learnt to those after it.
func (s *Session) remember() {
	if s.memory == nil || !s.delimKnown {
		return
	}
	s.memory.Store(&learnt{before: s.before, after: s.caps.clone(), serverName: s.serverName,
		prefix: s.prefix, delim: s.delim, foreign: slices.Clone(s.foreign), xguid: s.xguid})
}

// lead returns the commands that a session's first flight begins with, and none for the later ones: who we are and who
// it is, where the mailboxes are, and the switch to QRESYNC. They cost no exchange of their own, because no
// command depends on what they bring; what is made of its answer may, and waits until settled is set.
func (s *Session) lead() []*command {
	if !s.fresh {
		return nil
	}
	s.fresh = false
	var cmds []*command
	add := func(op, verb string) *command {
		c := newCommand(op, verb)
		cmds = append(cmds, c)
		return c
	}
	if !s.settled && s.caps.has(goimap.CapID) {
		add("introducing ourselves", `ID ("name" "satchel")`)
	}
	switch {
	case s.settled:
	case s.caps.has(goimap.CapNamespace):
		add("asking for the namespaces", "NAMESPACE")
	default:
		add("asking for the hierarchy delimiter", `LIST "" ""`).root = func(delim byte) {
			s.delim, s.delimKnown = delim, true
		}
	}
	switch {
	case s.enablesQResync():
		add("switching QRESYNC on", "ENABLE QRESYNC")
	case s.caps.has(goimap.CapEnable) && s.caps.has(goimap.CapCondStore):
		add("switching CONDSTORE on", "ENABLE CONDSTORE")
	}
	left := len(cmds)
	for _, c := range cmds {
		c.finish = func() {
			if err := c.refused(); err != nil {
				s.warn("%v", err)
			}
			if left--; left == 0 {
				s.settleIn()
			}
		}
	}
	return cmds
}

// enablesQResync reports whether the first flight switches QRESYNC on (RFC 5161; RFC 7162, section 3.2.3).
func (s *Session) enablesQResync() bool {
	return s.caps.has(goimap.CapEnable) && s.caps.has(goimap.CapQResync)
}

// settleIn draws the conclusions from the answers to lead.
func (s *Session) settleIn() {
	s.xguid = s.xguid || s.hasXGUID()
	s.settled = true
	s.remember()
}

// settleNow sends lead alone, for those who must know its answers before anything else is asked. What goes wrong shows in
// the next call.
func (s *Session) settleNow(ctx context.Context) {
	if !s.settled {
		_ = s.run(ctx, "looking around")
	}
}

// hasXGUID: STATUS knows X-GUID on Dovecot, which does not advertise it.
func (s *Session) hasXGUID() bool {
	// Where there is no greeting that counts, in a tunnel or after STARTTLS, it is known by an extension of its own. A
	// wrong guess costs an exchange.
	return (s.isMade("dovecot") || s.serverName == "" && s.caps.has("SNIPPET=FUZZY")) && !s.caps.has(goimap.CapObjectID)
}

// isMade reports whether the server's software is of that name, in lower case: by its ID, or its greeting until it
// has given one.
func (s *Session) isMade(name string) bool {
	words := s.serverName
	if words == "" {
		words = s.welcome
	}
	return strings.Contains(strings.ToLower(words), name)
}
