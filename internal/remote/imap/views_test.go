package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// An open mailbox is a view that the server brings up to date when it pleases.

func (p *script) openNamed(name string) {
	p.expect(`SELECT "` + name + `"`)
	p.say(selected(2, 3, 0)...)
	p.say("$1 OK [READ-WRITE] open")
}

// examined plays that the mailbox is left without UNSELECT, with further commands behind it.
func (p *script) examined(commands ...string) {
	p.expect(append([]string{`EXAMINE "INBOX"`}, commands...)...)
	p.say("* OK [PERMANENTFLAGS ()] none", "* 8 EXISTS", "* OK [UIDVALIDITY 99] x", "* OK [UIDNEXT 77] x", "$1 OK [READ-ONLY] open")
}

func TestTheOpenMailboxIsLeftBeforeItIsTakenAway(t *testing.T) {
	ctx := t.Context()
	for name, tc := range map[string]struct {
		play func(p *script)
		call func(s *Session) error
	}{
		"delete": {func(p *script) {
			p.examined(`DELETE "a"`)
			p.say("$2 OK done")
		}, func(s *Session) error { return s.Delete(ctx, "a") }},
		"rename": {func(p *script) {
			p.examined(`RENAME "a" "b"`)
			p.say("$2 OK done")
		}, func(s *Session) error { return s.Rename(ctx, "a", "b") }},
		"another one": {func(p *script) {
			p.expect(`DELETE "b"`)
			p.say("$1 OK done")
		}, func(s *Session) error { return s.Delete(ctx, "b") }},
		"only once": {func(p *script) {
			p.examined(`DELETE "a"`)
			p.say("$2 OK done")
			p.expect(`DELETE "a"`)
			p.say("$1 OK done")
		}, func(s *Session) error { return errors.Join(s.Delete(ctx, "a"), s.Delete(ctx, "a")) }},
		"INBOX is not there": {func(p *script) {
			p.expect(`EXAMINE "INBOX"`, `DELETE "a"`)
			p.say("$1 NO what?", "$2 OK done")
		}, func(s *Session) error { return s.Delete(ctx, "a") }},
		"and opened again to write": {func(p *script) {
			p.examined(`RENAME "a" "b"`)
			p.say("$2 OK done")
			p.openNamed("INBOX")
			p.expect(`UID STORE 1 +FLAGS.SILENT (\Seen)`)
			p.say("$1 OK done")
		}, func(s *Session) error {
			if err := s.Rename(ctx, "a", "b"); err != nil {
				return err
			}
			_, _, err := s.Store(ctx, box7(), uidSet(1), true, mail.SystemFlags(mail.Seen))
			return err
		}},
		"and opened again to store something in it": {func(p *script) {
			p.examined(`RENAME "a" "b"`)
			p.say("$2 OK done")
			p.expect(`SELECT "INBOX"`, `APPEND "INBOX" {4}`)
			p.say(selected(2, 3, 0)...)
			p.say("$1 OK [READ-WRITE] open", "+ go on")
			p.line()
			p.say("$2 OK done")
			p.expect(`APPEND "c" {4}`)
			p.say("+ go on")
			p.line()
			p.say("$1 OK done")
		}, func(s *Session) error {
			err := s.Rename(ctx, "a", "b")
			for _, box := range []string{"INBOX", "c"} {
				one := remote.Upload{Size: 4, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("abcd")), nil }}
				_, failed := s.Append(ctx, remote.Box{Name: box}, 0, []remote.Upload{one}, func(int) {}, func(_ int, a remote.Appended) { err = errors.Join(err, a.Err) })
				err = errors.Join(err, failed)
			}
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := preauth(t, bare, Config{}, func(p *script) {
				p.openNamed("a")
				tc.play(p)
			})
			if _, err := s.Select(ctx, "a"); err != nil {
				t.Fatal(err)
			}
			if err := tc.call(s); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTheMailboxAboveTakesTheOpenOneAway: renaming a mailbox renames those below it.
func TestTheMailboxAboveTakesTheOpenOneAway(t *testing.T) {
	s := preauth(t, bare, Config{}, func(p *script) {
		p.openNamed("a/b")
		p.examined(`RENAME "a" "c"`)
		p.say("$2 OK done")
	})
	if _, err := s.Select(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	if err := s.Rename(t.Context(), "a", "c"); err != nil {
		t.Error(err)
	}
}

func TestStatusIsNotAskedOfTheOpenMailbox(t *testing.T) {
	const items = " (MESSAGES UIDNEXT UIDVALIDITY)"
	s := preauth(t, bare, Config{}, func(p *script) {
		p.openNamed("a")
		p.examined(`STATUS "a"` + items)
		p.say(`* STATUS "a" (MESSAGES 5 UIDNEXT 6 UIDVALIDITY 7)`, "$2 OK done")
		p.expect(`STATUS "b"` + items)
		p.say(`* STATUS "b" (MESSAGES 5 UIDNEXT 6 UIDVALIDITY 7)`, "$1 OK done")
		p.examined(`STATUS "INBOX"` + items) // afresh
		p.say(`* STATUS "INBOX" (MESSAGES 5 UIDNEXT 6 UIDVALIDITY 7)`, "$2 OK done")
	})
	if _, err := s.Select(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "INBOX"} {
		if st, err := s.Status(t.Context(), name); err != nil || st.Messages != 5 || st.UIDValidity != 7 {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
	}
}

func TestUIDNextThatSelectDoesNotTell(t *testing.T) {
	const ask = ` (UIDNEXT UIDVALIDITY)`
	s := preauth(t, bare, Config{}, func(p *script) {
		silent := []string{"* 0 EXISTS", "* OK [UIDVALIDITY 7] x"}
		p.expect(`SELECT "INBOX"`)
		p.say(append(silent, "$1 OK open")...)
		p.expect(`EXAMINE "INBOX"`, `STATUS "INBOX"`+ask, `SELECT "INBOX"`)
		p.say(append(silent, "$1 OK open", "* STATUS INBOX (UIDNEXT 4 UIDVALIDITY 7)", "$2 OK done", "* 0 EXISTS", "* OK [UIDVALIDITY 7] x", "$3 OK open")...)
		p.expect(`STATUS "a"`+ask, `SELECT "a"`)
		p.say("* STATUS a (UIDNEXT 4 UIDVALIDITY 8)", "$1 OK done", "* 0 EXISTS", "* OK [UIDVALIDITY 9] replaced", "$2 OK open")
	})
	if sel, err := s.Select(t.Context(), "INBOX"); err != nil || sel.UIDNext != 4 || sel.ReadOnly {
		t.Errorf("%+v, %v", sel, err)
	}
	if sel, err := s.Select(t.Context(), "a"); err != nil || sel.UIDNext != 0 || sel.UIDValidity != 9 {
		t.Errorf("%+v, %v", sel, err)
	}
}

func TestWhatWasNotOfferedIsNotTaken(t *testing.T) {
	s := preauth(t, bare, Config{}, func(p *script) {
		p.expect(`SELECT "INBOX"`)
		p.say(selected(1, 2, 30)...)
		p.say("* OK [MAILBOXID (F1)] x", "$1 OK open")
		p.expect("UID FETCH 1 (UID FLAGS)")
		p.say("* 1 FETCH (UID 1 FLAGS () MODSEQ (30))", "$1 OK done")
	})
	sel, err := s.Select(t.Context(), "INBOX")
	if err != nil || sel.HighestModSeq != 0 || sel.MailboxID != "" {
		t.Errorf("%+v, %v", sel, err)
	}
	if got, err := s.Fetch(t.Context(), box7(), uidSet(1), remote.FetchItems{}); err != nil || len(got) != 1 || got[0].ModSeq != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestNoCallBeginsUnderAnEndedContext(t *testing.T) {
	for range 50 { // it must not be a matter of luck
		s := preauth(t, bare, Config{Trace: func(byte, string) {}}, func(*script) {})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Status(ctx, "INBOX"); remote.ClassOf(err) != remote.Lost || !errors.Is(err, context.Canceled) {
			t.Fatalf("%v", err)
		}
		if _, err := s.Status(t.Context(), "INBOX"); !remote.Dead(err) {
			t.Fatalf("afterwards: %v", err)
		}
	}
}

// TestMessagesThatCameAfterTheMailboxWasOpened: servers pass over what they have not noticed.
func TestMessagesThatCameAfterTheMailboxWasOpened(t *testing.T) {
	s := preauth(t, bare, Config{}, func(p *script) {
		p.openBox(2, 3)
		p.expect(`UID STORE 2 +FLAGS.SILENT (\Seen)`)
		p.say("$1 OK done")
		p.expect("NOOP")
		p.say("* 3 EXISTS", "$1 OK done")
		p.expect(`UID STORE 3 +FLAGS.SILENT (\Seen)`)
		p.say("$1 OK done")
	})
	for _, u := range []mail.UID{2, 3} {
		if _, refused, err := s.Store(t.Context(), box7(), uidSet(u), true, mail.SystemFlags(mail.Seen)); err != nil || len(refused) != 0 {
			t.Errorf("%v, %v", refused, err)
		}
	}
}

// TestTextInPlaceOfAMessage: Courier's answer for what another session removed.
func TestTextInPlaceOfAMessage(t *testing.T) {
	s := preauth(t, bare, Config{}, func(p *script) {
		p.openBoxWith("UID FETCH 5:7" + askBodies)
		p.say(bodyLine(1, 5, unavailable), fmt.Sprintf("* 2 FETCH (BODY[] {%d}\r\n%s UID 6 FLAGS () INTERNALDATE NIL)", len(unavailable), unavailable),
			bodyLine(3, 7, unavailable[:len(unavailable)-3]+"!\r\n"), "$2 OK done")
		p.sayWhatIsThere("5:6", "6")
		p.expect("UID FETCH 6" + askBodies)
		p.say(bodyLine(1, 6, "six"), "$1 OK done")
	})
	got, missing := bodiesOf(t, s, box7(), 5, 6, 7)
	if len(missing) != 1 || !errors.Is(missing[5], remote.ErrGone) || len(got) != 2 || got[6] != "six" || len(got[7]) != len(unavailable) {
		t.Errorf("got %q, missing %v", fmt.Sprint(got), missing)
	}
}

func TestMessageThatReallySaysThatItIsUnavailable(t *testing.T) {
	for name, tc := range map[string]struct {
		there   string
		want    string
		missing func(error) bool
	}{
		"there":          {"5", unavailable, func(err error) bool { return err == nil }},
		"gone meanwhile": {"", "", func(err error) bool { return errors.Is(err, remote.ErrGone) }},
		"no word":        {"?", "", func(err error) bool { return remote.ClassOf(err) == remote.Refused }},
	} {
		t.Run(name, func(t *testing.T) {
			s := preauth(t, bare, Config{}, func(p *script) {
				p.openBoxWith("UID FETCH 5" + askBodies)
				p.say(bodyLine(1, 5, unavailable), "$2 OK done")
				p.sayWhatIsThere("5", "5")
				p.expect("UID FETCH 5" + askBodies)
				p.say(bodyLine(1, 5, unavailable), "$1 OK done")
				p.sayWhatIsThere("5", tc.there)
			})
			got, missing := bodiesOf(t, s, box7(), 5)
			if got[5] != tc.want || !tc.missing(missing[5]) {
				t.Errorf("got %q, missing %v", fmt.Sprint(got), missing)
			}
		})
	}
}

func TestHeaderInPlaceOfAMessage(t *testing.T) {
	const header = "From: System Administrator <root@localhost>\r\nSubject: message unavailable\r\n\r\n"
	literal := fmt.Sprintf("BODY[HEADER] {%d}\r\n%s)", len(header), header)
	for name, tc := range map[string]struct {
		want  remote.FetchItems
		items string
		line  string
	}{
		"header": {remote.FetchItems{Header: true}, "(UID FLAGS BODY.PEEK[HEADER])", "* %d FETCH (UID %d FLAGS () " + literal},
		"size":   {remote.FetchItems{Size: true}, "(UID FLAGS RFC822.SIZE)", "* %d FETCH (UID %d FLAGS () RFC822.SIZE " + itoa(len(unavailable)) + ")"},
	} {
		t.Run(name, func(t *testing.T) {
			s := preauth(t, bare, Config{}, func(p *script) {
				p.openBoxWith("UID FETCH 5:6 " + tc.items)
				p.say(fmt.Sprintf(tc.line, 1, 5), fmt.Sprintf(tc.line, 2, 6), "$2 OK done")
				p.sayWhatIsThere("5:6", "6")
			})
			got, err := s.Fetch(t.Context(), box7(), uidSet(5, 6), tc.want)
			if err != nil || len(got) != 1 || got[0].UID != 6 {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
