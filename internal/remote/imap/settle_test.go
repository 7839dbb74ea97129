package imap

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
	"github.com/satchel-mail/satchel/internal/testenv/proxy"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

const askAll = `LIST "" "*" RETURN (SPECIAL-USE STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ))`

// askNew asks about all messages of a mailbox.
const askNew = "UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)"

// preauthWith greets a client that comes by a tunnel.
func (p *script) preauthWith(caps string) { p.say("* PREAUTH [CAPABILITY " + caps + "] ready") }

// expectLead expects what a first flight begins with, and what follows it in the same flight.
func (p *script) expectLead(then ...string) {
	p.expect(append([]string{`ID ("name" "satchel")`, "NAMESPACE", "ENABLE QRESYNC"}, then...)...)
	p.say(`* ID ("name" "Script")`, "$1 OK done", `* NAMESPACE (("" "/")) NIL NIL`, "$2 OK done", "* ENABLED QRESYNC", "$3 OK done")
}

// trips is how many round trips f costs.
func trips(s remote.Session, f func()) int64 {
	before := s.Traffic().RoundTrips
	f()
	return s.Traffic().RoundTrips - before
}

func TestFirstFlight(t *testing.T) {
	for name, tc := range map[string]struct {
		play func(p *script)
		call func(s *Session) error
	}{
		"Mailboxes": {func(p *script) {
			p.expectLead(askAll)
			p.say(`* LIST () "/" INBOX`, "* STATUS INBOX (MESSAGES 1)", "$4 OK done")
		}, func(s *Session) error {
			list, err := s.Mailboxes(t.Context())
			if err == nil && (len(list) != 1 || list[0].Status == nil) {
				err = fmt.Errorf("listed %+v", list)
			}
			return err
		}},
		"Mailboxes and one of them": {func(p *script) {
			p.expectLead(askAll, `SELECT "INBOX" (CONDSTORE)`, askNew)
			p.say(`* LIST () "/" INBOX`, "* STATUS INBOX (MESSAGES 1 UIDVALIDITY 7)", "$4 OK done")
			p.say(selected(1, 2, 6)...)
			p.say("$5 OK [READ-WRITE] open", `* 1 FETCH (UID 1 FLAGS () INTERNALDATE " 1-Jan-2024 00:00:00 +0000" RFC822.SIZE 3)`, "$6 OK done")
		}, func(s *Session) error {
			list, ch, err := s.MailboxesAnd(t.Context(), "inbox")
			if err == nil && (len(list) != 1 || ch == nil || len(ch.New) != 1 || ch.Selected.UIDValidity != 7) {
				err = fmt.Errorf("listed %+v, read %+v", list, ch)
			}
			return err
		}},
		"Mailboxes and one that can't be opened": {func(p *script) {
			p.expectLead(askAll, `SELECT "INBOX" (CONDSTORE)`, askNew)
			p.say(`* LIST (\Noselect) "/" INBOX`, "$4 OK done", "$5 NO not this one", "$6 BAD nothing is open")
		}, func(s *Session) error {
			list, ch, err := s.MailboxesAnd(t.Context(), "INBOX")
			if err == nil && (len(list) != 1 || ch != nil) {
				err = fmt.Errorf("listed %+v, read %+v", list, ch)
			}
			return err
		}},
		"Changes": {func(p *script) {
			p.expectLead(`SELECT "INBOX" (QRESYNC (7 5 1:3))`, "UID FETCH 4:* (UID FLAGS INTERNALDATE RFC822.SIZE)")
			p.say(selected(2, 4, 6)...)
			p.say("* VANISHED (EARLIER) 2", "$4 OK [READ-WRITE] open", "$5 OK done")
		}, func(s *Session) error {
			ch, err := s.Changes(t.Context(), box7(), knownUIDs(5, 4, 1, 2, 3))
			if err == nil && !slices.Equal(ch.Vanished.Slice(), []mail.UID{2}) {
				err = fmt.Errorf("read %+v", ch)
			}
			return err
		}},
		"Append": {func(p *script) {
			p.expectLead(`APPEND "INBOX" {3+}`)
			p.literal(3)
			p.line()
			p.say("$4 OK done")
		}, func(s *Session) error {
			var f fates
			return f.append(t.Context(), s, upload("one", mail.Flags{}, time.Time{}))
		}},
		"Bodies": {func(p *script) {
			p.expectLead(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 1"+askBodies)
			p.say(selected(1, 2, 6)...)
			p.say("$4 OK [READ-WRITE] open", "* 1 FETCH (UID 1 FLAGS () INTERNALDATE NIL BODY[] {3}\r\nabc)", "$5 OK done")
		}, func(s *Session) error {
			_, err := s.Bodies(t.Context(), box7(), uidSet(1), func(_ remote.Message, body io.Reader) error {
				_, err := io.Copy(io.Discard, body)
				return err
			})
			return err
		}},
		"nothing": {func(p *script) { p.expectLead() }, func(s *Session) error {
			_, err := s.MailboxName([]string{"a", "b"})
			if got := s.Capabilities().Delimiter; got != "/" {
				t.Errorf("delimiter %q", got)
			}
			return err
		}},
		"what can't be said, and then something": {func(p *script) {
			p.expectLead(`STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ)`)
			p.say("* STATUS INBOX (MESSAGES 1)", "$4 OK done")
		}, func(s *Session) error {
			if _, err := s.Status(t.Context(), "a\nb"); remote.ClassOf(err) != remote.Refused {
				t.Errorf("got %v", err)
			}
			_, err := s.Status(t.Context(), "INBOX")
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t, scripted(t, Config{}), func(p *script) {
				p.preauthWith(allCaps)
				tc.play(p)
			})
			n := trips(s, func() {
				if err := tc.call(s); err != nil {
					t.Error(err)
				}
			})
			if n != 1 {
				t.Errorf("it took %d round trips", n)
			}
		})
	}
}

func TestLaterSessionsKnowWhatTheFirstLearnt(t *testing.T) {
	cfg := account(auth.Auto)
	d := scripted(t, cfg)
	const login = `LOGIN "me@example.org" "` + canary + `"`
	first, err := connect(t, d, secureConn(), false, func(p *script) {
		p.say("* OK hello")
		p.expect("CAPABILITY")
		p.say("* CAPABILITY IMAP4rev1", "$1 OK done")
		p.expect(login)
		p.say("$1 OK fine")
		p.expect("CAPABILITY")
		p.say("* CAPABILITY "+allCaps, "$1 OK done")
		p.expect(`ID ("name" "satchel")`, "NAMESPACE", "ENABLE QRESYNC")
		p.say(`* ID ("name" "Dovecot")`, "$1 OK done", `* NAMESPACE (("INBOX." ".")) (("user." ".")) NIL`, "$2 OK done", "$3 OK done")
	})
	if err != nil {
		t.Fatal(err)
	}
	if name, err := first.MailboxName([]string{"a", "b"}); err != nil || name != "INBOX.a.b" {
		t.Errorf("%q, %v", name, err)
	}
	second, err := connect(t, d, secureConn(), false, func(p *script) {
		p.say("* OK hello")
		p.expect(login)
		p.say("$1 OK fine")
		p.expect("ENABLE QRESYNC", `LIST "" "INBOX" RETURN (SPECIAL-USE STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ X-GUID))`,
			`LIST "" "INBOX.*" RETURN (SPECIAL-USE STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ X-GUID))`)
		p.say("* ENABLED QRESYNC", "$1 OK done", `* LIST () "." INBOX`, "* STATUS INBOX (MESSAGES 1 X-GUID abc)", "$2 OK done", "$3 OK done")
	})
	if err != nil {
		t.Fatal(err)
	}
	n := trips(second, func() {
		if name, err := second.MailboxName([]string{"a", "b"}); err != nil || name != "INBOX.a.b" || second.Capabilities().Delimiter != "." {
			t.Errorf("%q, %v", name, err)
		}
		if list, err := second.Mailboxes(t.Context()); err != nil || len(list) != 1 || list[0].Status.MailboxID != "abc" {
			t.Errorf("%+v, %v", list, err)
		}
	})
	if n != 1 || second.Traffic().RoundTrips != 2 {
		t.Errorf("the second session took %d round trips, %d of them for the list", second.Traffic().RoundTrips, n)
	}

	// Another machine behind the same name does not want what the first offered.
	_, err = connect(t, d, secureConn(), false, func(p *script) {
		p.say("* OK hello")
		p.expect(login)
		p.say("$1 BAD not here")
	})
	if err == nil || d.memory.Load() != nil {
		t.Errorf("after %v it is still remembered what misled", err)
	}
}

func TestWhatALaterSessionIsToldCounts(t *testing.T) {
	d := scripted(t, Config{})
	for _, caps := range []string{"IMAP4rev1 MOVE", "IMAP4rev1 UIDPLUS"} {
		s := begin(t, d, func(p *script) {
			p.preauthWith(caps)
			if strings.Contains(caps, "MOVE") {
				p.settle(caps)
			}
		})
		if got := s.Capabilities(); got.Move != strings.Contains(caps, "MOVE") || got.UIDPlus == got.Move {
			t.Errorf("with %s: %+v", caps, got)
		}
	}
}

func TestXGUIDIsGuessed(t *testing.T) {
	const caps = "IMAP4rev1 ID LIST-EXTENDED LIST-STATUS"
	const plainAsk, guidAsk = `LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY))`, `LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY X-GUID))`
	for name, tc := range map[string]struct {
		greeting, id, ask, answer, again, want string
	}{
		"by the greeting":       {"Dovecot (Debian) ready.", `("name" "Dovecot")`, guidAsk, "OK done", "", "g"},
		"by the greeting alone": {"Dovecot ready.", "NIL", guidAsk, "OK done", "", "g"},
		"by its ID":             {"ready", `("name" "Dovecot")`, plainAsk, "OK done", guidAsk, "g"},
		"wrongly":               {"not Dovecot", `("name" "other")`, guidAsk, "BAD what", plainAsk, ""},
		"not":                   {"ready", `("name" "other")`, plainAsk, "OK done", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := scripted(t, Config{})
			sayAll := func(p *script, ask string) {
				p.say(`* LIST () "/" INBOX`, "* STATUS INBOX (MESSAGES 1"+map[bool]string{true: " X-GUID g"}[ask == guidAsk]+")")
			}
			s := begin(t, d, func(p *script) {
				p.say("* PREAUTH [CAPABILITY " + caps + "] " + tc.greeting)
				p.expect(`ID ("name" "satchel")`, `LIST "" ""`, tc.ask)
				p.say("* ID "+tc.id, "$1 OK done", `* LIST (\Noselect) "/" ""`, "$2 OK done")
				sayAll(p, tc.ask)
				p.say("$3 " + tc.answer)
				if tc.again != "" {
					p.expect(tc.again)
					sayAll(p, tc.again)
					p.say("$1 OK done")
				}
			})
			list, err := s.Mailboxes(t.Context())
			if err != nil || len(list) != 1 || list[0].Status == nil || list[0].Status.MailboxID != tc.want {
				t.Errorf("%+v, %v", list, err)
			}
			if l := d.memory.Load(); l == nil || l.xguid != (tc.want != "") {
				t.Errorf("remembered %+v", l)
			}
		})
	}
}

func TestMailboxIDsOfCyrusAreNotBelieved(t *testing.T) {
	s := begin(t, scripted(t, Config{}), func(p *script) {
		p.preauthWith("IMAP4rev1 ID OBJECTID")
		p.expect(`ID ("name" "satchel")`, `LIST "" ""`, `STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY MAILBOXID)`)
		p.say(`* ID ("name" "Cyrus IMAPD")`, "$1 OK done", `* LIST (\Noselect) "/" ""`, "$2 OK done", "* STATUS INBOX (MESSAGES 1 MAILBOXID (x))", "$3 OK done")
	})
	if st, err := s.Status(t.Context(), "INBOX"); err != nil || st.MailboxID != "" || st.Messages != 1 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestQResyncThatIsNotSwitchedOnIsNotReliedOn(t *testing.T) {
	s := begin(t, scripted(t, Config{}), func(p *script) {
		p.preauthWith(allCaps)
		const fresh = "UID FETCH 4:* (UID FLAGS INTERNALDATE RFC822.SIZE)"
		p.expect(`ID ("name" "satchel")`, "NAMESPACE", "ENABLE QRESYNC", `SELECT "INBOX" (QRESYNC (7 5 1:3))`, fresh)
		p.say("$1 OK done", `* NAMESPACE (("" "/")) NIL NIL`, "$2 OK done", "* ENABLED", "$3 OK done")
		p.say(selected(3, 4, 6)...)
		p.say("$4 OK [READ-WRITE] open", "$5 OK done")
		p.expect("UNSELECT", `SELECT "INBOX" (CONDSTORE)`, fresh, "UID FETCH 1:3 (UID FLAGS) (CHANGEDSINCE 5)")
		p.say("$1 OK done")
		p.say(selected(3, 4, 6)...)
		p.say("$2 OK [READ-WRITE] open", "$3 OK done", `* 2 FETCH (UID 2 FLAGS (\Seen) MODSEQ (6))`, "$4 OK done")
	})
	ch, err := s.Changes(t.Context(), box7(), knownUIDs(5, 4, 1, 2, 3))
	if err != nil || !slices.Equal(uidsOf(ch.Flags), []mail.UID{2}) {
		t.Errorf("%+v, %v", ch, err)
	}
}

func TestConnectedWithoutBeingConnectedEndsTheFirstFlight(t *testing.T) {
	s := begin(t, scripted(t, Config{}), func(p *script) {
		p.preauthWith("IMAP4rev1 LITERAL+")
		p.expect(`LIST "" ""`, `APPEND "INBOX" {3+}`)
		p.literal(3)
		p.line()
		p.say("$1 BAD User is authenticated but not connected.", "$2 BAD User is authenticated but not connected.")
	})
	var f fates
	err := f.append(t.Context(), s, upload("one", mail.Flags{}, time.Time{}))
	if e, ok := errors.AsType[*remote.Error](err); !ok || e.Class != remote.Auth || e.Hint == "" || !remote.Dead(err) || len(f.done) != 0 {
		t.Errorf("%v, %+v", err, f)
	}
}

func TestCloseDoesNotWait(t *testing.T) {
	heard := make(chan string, 1)
	s := begin(t, scripted(t, Config{}), func(p *script) {
		p.preauthWith(bare)
		heard <- p.line() // and no answer
	})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got := <-heard; got != "S1 LOGOUT" {
		t.Errorf("the server hears %q", got)
	}
}

// TestRoundTripsOfASync counts what the network sees of a sync of Dovecot in which nothing, or little, changed.
func TestRoundTripsOfASync(t *testing.T) {
	server := servers.Dovecot(t, servers.Options{})
	between := proxy.New(t, server.Addr(), nil)
	cfg := configFor(server)
	cfg.Method = auth.Plain
	cfg.Transport = transport.Config{Host: between.Host(), Port: between.Port(), TLS: transport.Off}
	d := NewDialer(cfg)
	uid := server.Client(t).Append("INBOX", letter(1), mail.Flags{}, time.Time{})

	turns := 0
	count := func(what string, want int) {
		t.Helper()
		if got := between.Count().Turns - turns; got != want {
			t.Errorf("%s: %d round trips, want %d", what, got, want)
		}
		turns = between.Count().Turns
	}
	open := func() remote.Session {
		t.Helper()
		s, err := d.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	list, err := s.Mailboxes(t.Context())
	if err != nil || len(list) == 0 || list[0].Status.MailboxID == "" {
		t.Fatalf("%+v, %v", list, err)
	}
	count("an idle sync", 2) // AUTHENTICATE and LIST; the greeting comes by itself
	ch, err := s.Changes(t.Context(), remote.Box{Name: "INBOX"}, remote.Since{})
	if err != nil || len(ch.New) != 1 {
		t.Fatalf("%+v, %v", ch, err)
	}
	count("a folder", 1)
	other := open()
	box := remote.Box{Name: "INBOX", UIDValidity: ch.Selected.UIDValidity}
	if ch, err = other.Changes(t.Context(), box, since(ch, uid)); err != nil || len(ch.New) != 0 || !ch.Vanished.IsEmpty() {
		t.Fatalf("%+v, %v", ch, err)
	}
	count("the second session", 2)
	for _, s := range []remote.Session{s, other} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestFirstCommandOnServers begins sessions with each kind of command.
func TestFirstCommandOnServers(t *testing.T) {
	for _, server := range []*servers.Server{
		servers.Dovecot(t, servers.Options{}), servers.Dovecot(t, servers.Options{Separator: ".", Prefix: "INBOX."}),
		servers.Cyrus(t, servers.Options{}), servers.Cyrus(t, servers.Options{Separator: ".", Prefix: "INBOX."}), servers.Courier(t, servers.Options{}),
	} {
		t.Run(server.Name+server.Prefix, func(t *testing.T) {
			ctx := t.Context()
			s := dial(t, configFor(server))
			// Courier tells another UIDVALIDITY of a mailbox whenever it is asked, until somebody has opened it.
			if _, err := s.Select(ctx, "INBOX"); err != nil {
				t.Fatal(err)
			}
			sub, err := s.MailboxName([]string{"sub"})
			if err != nil || !strings.HasPrefix(sub, server.Prefix) {
				t.Fatalf("%q, %v", sub, err)
			}
			if err := s.Create(ctx, sub); err != nil {
				t.Fatal(err)
			}
			appendAll(t, s, sub, upload(letter(1), mail.Flags{}, time.Time{}), upload(letter(2), mail.Flags{}, time.Time{}))
			ch, err := s.Changes(ctx, remote.Box{Name: sub}, remote.Since{})
			if err != nil || len(ch.New) != 2 {
				t.Fatalf("%+v, %v", ch, err)
			}
			uids, box := uidsOf(ch.New), remote.Box{Name: sub, UIDValidity: ch.Selected.UIDValidity}
			want, err := s.Mailboxes(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for what, call := range map[string]func(s *Session) (any, error){
				"Mailboxes": func(s *Session) (any, error) {
					got, err := s.Mailboxes(ctx)
					if len(got) != len(want) {
						return got, err
					}
					for i := range got {
						if got[i].Name != want[i].Name || *got[i].Status != *want[i].Status || !slices.Equal(got[i].Path, want[i].Path) {
							return got[i], err
						}
					}
					return nil, err
				},
				"Status": func(s *Session) (any, error) {
					st, err := s.Status(ctx, sub)
					i := slices.IndexFunc(want, func(m remote.Mailbox) bool { return m.Name == sub })
					if st != *want[i].Status {
						return st, err
					}
					return nil, err
				},
				"Changes": func(s *Session) (any, error) {
					got, err := s.Changes(ctx, box, since(ch, uids...))
					if len(got.New) > 0 || !got.Vanished.IsEmpty() || got.Selected.Messages != 2 {
						return got, err
					}
					return nil, err
				},
				"Bodies": func(s *Session) (any, error) {
					got, _ := bodiesOf(t, s, box, uids...)
					if got[uids[0]] != letter(1) || got[uids[1]] != letter(2) {
						return got, nil
					}
					return nil, nil
				},
			} {
				first := dial(t, configFor(server))
				if odd, err := call(first); odd != nil || err != nil {
					t.Errorf("%s first: %+v, %v", what, odd, err)
				}
			}
		})
	}
}
