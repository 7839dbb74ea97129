package imap

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/remote"
)

// TestPanicEndsTheSession: a mistake of the program's own while it reads or writes is the end of that session, and of nothing else. Whoever
// waits hears of it.
func TestPanicEndsTheSession(t *testing.T) {
	// The trace is called where lines are read and where commands are written.
	on := func(part string) Config {
		return Config{Trace: func(dir byte, line string) {
			if strings.Contains(string(dir)+line, part) {
				panic("a mistake")
			}
		}}
	}
	ended := func(t *testing.T, s *Session, err error) {
		t.Helper()
		e, ok := errors.AsType[*remote.Error](err)
		if !ok || e.Class != remote.Protocol || !remote.Dead(err) || defect.Of(err) == nil || !strings.Contains(err.Error(), "a mistake") {
			t.Errorf("got %#v", err)
		}
		if s == nil {
			return
		}
		if _, err := s.Status(t.Context(), "INBOX"); !remote.Dead(err) {
			t.Errorf("the session goes on: %v", err)
		}
	}
	t.Run("reading", func(t *testing.T) {
		s := preauth(t, bare, on("<* 3 FETCH"), func(p *script) {
			p.openBoxWith("UID FETCH 5:6" + askBodies)
			p.say("* 3 FETCH (UID 5 BODY[] {2}")
		})
		_, err := s.Bodies(t.Context(), box7(), uidSet(5, 6), func(remote.Message, io.Reader) error { return nil })
		ended(t, s, err)
	})
	t.Run("delivering", func(t *testing.T) {
		s := preauth(t, bare, Config{}, func(p *script) {
			p.openBoxWith("UID FETCH 5:6" + askBodies)
			p.raw("* 3 FETCH (UID 5 BODY[] {2}\r\nab)\r\n")
		})
		_, err := s.Bodies(t.Context(), box7(), uidSet(5, 6), func(remote.Message, io.Reader) error { panic("a mistake") })
		ended(t, s, err)
	})
	t.Run("writing", func(t *testing.T) {
		s := preauth(t, bare, on(" STATUS "), func(p *script) {})
		_, err := s.Status(t.Context(), "Work")
		ended(t, s, err)
	})
	t.Run("greeting", func(t *testing.T) {
		_, err := converse(t, on("<* OK"), tunnelled(), func(p *script) { p.say("* OK ready") })
		ended(t, nil, err)
	})
	t.Run("signing in", func(t *testing.T) {
		_, err := converse(t, on("<* CAPABILITY"), tunnelled(), func(p *script) {
			p.say("* OK ready")
			p.expect("CAPABILITY")
			p.say("* CAPABILITY IMAP4rev1", "$1 OK done")
		})
		ended(t, nil, err)
	})
}
