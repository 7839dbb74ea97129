package imap

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// everythingFrom is a set that names four thousand million messages, of which there are two.
func everythingFrom(first mail.UID) (set mail.UIDSet) {
	set.AddRange(first, lastUID)
	return set
}

// TestSetsThatSpanMuchCostWhatIsThere: none of the calls may ask for, or make room for, every UID that a set names.
func TestSetsThatSpanMuchCostWhatIsThere(t *testing.T) {
	const all = "5:4294967295"
	for name, tc := range map[string]struct {
		caps string
		play func(p *script)
		call func(s *Session) error
	}{
		"fetch": {"IMAP4rev1", func(p *script) {
			p.expect("NOOP")
			p.say("$1 OK done")
			p.expect("UID FETCH " + all + " (UID FLAGS)")
			p.say("* 1 FETCH (UID 7 FLAGS ())", "$1 OK done")
			p.sayWhatIsThere("5:6,8:4294967295", "9")
			p.expect("UID FETCH 9 (UID FLAGS)")
			p.say("* 2 FETCH (UID 9 FLAGS ())", "$1 OK done")
		}, func(s *Session) error {
			got, err := s.Fetch(t.Context(), box7(), everythingFrom(5), remote.FetchItems{})
			if !slices.Equal(uidsOf(got), []mail.UID{7, 9}) {
				t.Errorf("fetched %v", uidsOf(got))
			}
			return err
		}},
		"fetch without a list": {"IMAP4rev1", func(p *script) {
			p.expect("NOOP")
			p.say("$1 OK done")
			p.expect("UID FETCH " + all + " (UID FLAGS)")
			p.say("* 1 FETCH (UID 7 FLAGS ())", "$1 OK done")
			p.sayWhatIsThere("5:6,8:4294967295", "what?")
		}, func(s *Session) error {
			got, err := s.Fetch(t.Context(), box7(), everythingFrom(5), remote.FetchItems{})
			if !slices.Equal(uidsOf(got), []mail.UID{7}) || len(s.Warnings()) == 0 {
				t.Errorf("fetched %v, warnings %q", uidsOf(got), s.Warnings())
			}
			return err
		}},
		"fetch from a server that lists everything": {"IMAP4rev1", func(p *script) {
			p.expect("NOOP")
			p.say("$1 OK done")
			p.expect("UID FETCH " + all + " (UID FLAGS)")
			p.say("$1 OK done")
			p.expect("NOOP")
			p.say("$1 OK done")
			p.expect("UID SEARCH UID " + all)
			p.say("* ESEARCH UID ALL 1:4294967295", "$1 OK done")
		}, func(s *Session) error {
			_, err := s.Fetch(t.Context(), box7(), everythingFrom(5), remote.FetchItems{})
			return err
		}},
		"bodies": {"IMAP4rev1", func(p *script) {
			p.expect("NOOP")
			p.say("$1 OK done")
			p.expect("UID SEARCH UID " + all)
			p.say("* SEARCH 7 9", "$1 OK done")
			p.expect("UID FETCH 7,9" + askBodies)
			p.say(bodyLine(1, 7, "seven"), bodyLine(2, 9, "nine"), "$1 OK done")
		}, func(s *Session) error {
			n := 0
			missing, err := s.Bodies(t.Context(), box7(), everythingFrom(5), func(_ remote.Message, body io.Reader) error {
				n++
				_, err := io.Copy(io.Discard, body)
				return err
			})
			if n != 2 || len(missing) != 0 {
				t.Errorf("%d bodies, %d missing", n, len(missing))
			}
			return err
		}},
		"bodies without a list": {"IMAP4rev1", func(p *script) {
			p.expect("NOOP")
			p.say("$1 OK done")
			p.expect("UID SEARCH UID " + all)
			p.say("* SEARCH what?", "$1 OK done")
		}, func(s *Session) error {
			_, err := s.Bodies(t.Context(), box7(), everythingFrom(5), nil)
			if remote.ClassOf(err) != remote.Refused {
				t.Errorf("bodies of no one knows what: %v", err)
			}
			return nil
		}},
		"store": {"IMAP4rev1", func(p *script) {
			p.expect("NOOP")
			p.say("$1 OK done")
			p.expect("UID STORE " + all + ` +FLAGS.SILENT (\Seen)`)
			p.say("$1 NO not all of them")
			p.expect("UID SEARCH UID " + all)
			p.say("* SEARCH 7 9", "$1 OK done")
			p.expect(`UID STORE 7 +FLAGS.SILENT (\Seen)`, `UID STORE 9 +FLAGS.SILENT (\Seen)`)
			p.say("$1 OK done", "$2 NO not this")
		}, func(s *Session) error {
			_, refused, err := s.Store(t.Context(), box7(), everythingFrom(5), true, mail.SystemFlags(mail.Seen))
			if len(refused) != 1 || refused[9] == nil {
				t.Errorf("refused: %v", refused)
			}
			return err
		}},
		"store without a list": {"IMAP4rev1", func(p *script) {
			p.expect("NOOP")
			p.say("$1 OK done")
			p.expect("UID STORE " + all + ` +FLAGS.SILENT (\Seen)`)
			p.say("$1 NO not all of them")
			p.expect("UID SEARCH UID " + all)
			p.say("* SEARCH what?", "$1 OK done")
		}, func(s *Session) error {
			_, refused, err := s.Store(t.Context(), box7(), everythingFrom(5), true, mail.SystemFlags(mail.Seen))
			if len(refused) != 1 || refused[0] == nil {
				t.Errorf("refused: %v", refused)
			}
			return err
		}},
		"move": {"IMAP4rev1 MOVE", func(p *script) {
			p.expect("NOOP")
			p.say("$1 OK done")
			p.expect("UID SEARCH UID " + all)
			p.say("* SEARCH 7 9", "$1 OK done")
			p.expect(`UID MOVE 7,9 "x"`)
			p.say("$1 OK done")
		}, func(s *Session) error {
			moved, err := s.Move(t.Context(), box7(), everythingFrom(5), "x")
			if len(moved.UIDs) != 2 {
				t.Errorf("moved: %v", moved.UIDs)
			}
			return err
		}},
		"expunge": {"IMAP4rev1 UIDPLUS", func(p *script) {
			p.expect("NOOP")
			p.say("$1 OK done")
			p.expect("UID STORE " + all + ` +FLAGS.SILENT (\Deleted)`)
			p.say("$1 OK done")
			p.expect("UID EXPUNGE " + all)
			p.say("* 1 EXPUNGE", "$1 OK done")
			p.sayWhatIsThere(all, "9")
			p.expect(`UID STORE 9 +FLAGS.SILENT (\Deleted)`)
			p.say("$1 OK done")
			p.expect("UID EXPUNGE 9")
			p.say("* 1 EXPUNGE", "$1 OK done")
			p.sayWhatIsThere("9", "")
		}, func(s *Session) error {
			pending, err := s.Expunge(t.Context(), box7(), everythingFrom(5))
			if !pending.IsEmpty() {
				t.Errorf("pending: %v", pending)
			}
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := preauth(t, tc.caps, Config{}, func(p *script) {
				p.openBox(2, 10)
				tc.play(p)
			})
			if _, err := s.Select(t.Context(), "INBOX"); err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := tc.call(s); err != nil {
				t.Error(err)
			}
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
				t.Errorf("%d bytes were allocated", used)
			}
		})
	}
}

func TestManyAreAskedForAgain(t *testing.T) {
	const n = 2*portion + 5
	var set mail.UIDSet
	set.AddRange(1, n)
	asked := 0
	s := preauth(t, "IMAP4rev1 ESEARCH", Config{Trace: func(byte, string) {}}, func(p *script) {
		p.openBoxWith("UID FETCH 1:20005 (UID FLAGS)")
		p.say("$2 NO not all of them")
		p.expect("NOOP")
		p.say("$1 OK done")
		p.expect("UID SEARCH UID 1:20005")
		p.say("* ESEARCH UID ALL 1:20005", "$1 OK done")
		for range n {
			tag, _, _ := strings.Cut(p.line(), " ")
			asked++
			p.say(tag + " NO never")
		}
	})
	if got, err := s.Fetch(t.Context(), box7(), set, remote.FetchItems{}); remote.ClassOf(err) != remote.Refused || len(got) != 0 {
		t.Errorf("%d messages, %v", len(got), err)
	}
	if asked != n {
		t.Errorf("%d were asked for", asked)
	}
}

func TestWhatIsGoneOfManyIsNamed(t *testing.T) {
	var set mail.UIDSet
	set.AddRange(1, maxSpan+1)
	s := preauth(t, "IMAP4rev1", Config{}, func(p *script) {
		p.openBox(1, 20_000)
		p.expect("UID SEARCH UID 1:10001")
		p.say("* SEARCH 3", "$1 OK done")
		p.expect("UID FETCH 3" + askBodies)
		p.say(bodyLine(1, 3, "three"), "$1 OK done")
	})
	missing, err := s.Bodies(t.Context(), box7(), set, func(_ remote.Message, body io.Reader) error {
		_, err := io.Copy(io.Discard, body)
		return err
	})
	if err != nil || len(missing) != maxSpan || !errors.Is(missing[1], remote.ErrGone) || missing[3] != nil {
		t.Errorf("%d missing, %v", len(missing), err)
	}
}

// iCloud sends no SEARCH when nothing is found, Proton Bridge says NO if the mailbox is empty.
func TestServersWithoutAnAnswerWhereNothingIsFound(t *testing.T) {
	for name, tc := range map[string]struct {
		exists int
		search string // the outcome of the search for the one message
		all    []string
		sure   bool
	}{
		"others are there":         {2, "$1 OK SEARCH completed (took 2 ms)", []string{"* SEARCH 1 3"}, true},
		"not all that there are":   {2, "$1 OK SEARCH completed", []string{"* SEARCH 1"}, false},
		"it never answers":         {2, "$1 OK SEARCH completed", nil, false},
		"a refusal":                {2, "$1 NO no such message", nil, false},
		"an empty mailbox":         {0, "$1 OK SEARCH completed", nil, true},
		"refused where it's empty": {0, "$1 NO no such message", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := preauth(t, bare, Config{}, func(p *script) {
				p.expect(`SELECT "INBOX"`, "UID FETCH 2 (UID FLAGS)")
				p.say(selected(tc.exists, 4, 0)...)
				p.say("$1 OK open", "$2 OK done")
				p.expect("NOOP")
				p.say("$1 OK done")
				p.expect("UID SEARCH UID 2")
				p.say(tc.search)
				if tc.exists > 0 && strings.Contains(tc.search, "OK") {
					p.expect("UID SEARCH ALL")
					p.say(append(tc.all, "$1 OK done")...)
				}
			})
			ms, err := s.Fetch(t.Context(), box7(), uidSet(2), remote.FetchItems{Listed: true})
			if len(ms) > 0 || (err == nil) != tc.sure {
				t.Errorf("%v, %v", ms, err)
			}
		})
	}
}

// A mailbox was moved to another server: its UIDs are 1 to n, and the headers of all are asked for, to pair them again.
func TestHeadersOfAWholeMailbox(t *testing.T) {
	const n = 8000
	header := "Subject: s\r\n" + strings.Repeat("X-Long: "+strings.Repeat("x", 66)+"\r\n", 140) + "\r\n" // 10 kB, as mailing lists have it
	s := preauth(t, bare, Config{Trace: func(byte, string) {}}, func(p *script) {
		p.expect(`SELECT "INBOX"`)
		p.say(append(selected(n, n+1, 0), "$1 OK open")...)
		for from := 1; from <= n; from += 500 {
			tag, text, _ := strings.Cut(p.line(), " ")
			if want := fmt.Sprintf("UID FETCH %d:%d (UID FLAGS BODY.PEEK[HEADER])", from, from+499); text != want {
				p.t.Errorf("got %s, want %s", text, want)
				return
			}
			for u := from; u < from+500; u++ {
				p.raw(fmt.Sprintf("* %d FETCH (UID %d FLAGS () BODY[HEADER] {%d}\r\n%s)\r\n", u, u, len(header), header))
			}
			p.say(tag + " OK done")
		}
	})
	var all mail.UIDSet
	all.AddRange(1, n)
	ms, err := s.Fetch(t.Context(), box7(), all, remote.FetchItems{Header: true})
	if err != nil || len(ms) != n {
		t.Fatalf("%d messages, %v", len(ms), err)
	}
}
