package imap

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

func TestStoreSendsDifferencesOnly(t *testing.T) {
	s := preauth(t, bare, Config{}, func(p *script) {
		p.openBox(3, 4)
		p.expect(`UID STORE 1:2 +FLAGS.SILENT (\Seen $x)`)
		p.say(`* 2 FETCH (UID 2 FLAGS (\Seen $x))`, "$1 OK done")
		p.expect(`UID STORE 3 -FLAGS.SILENT (\Flagged)`)
		p.say("$1 OK done")
	})
	if seen, refused, err := s.Store(t.Context(), box7(), uidSet(1, 2), true, mail.NewFlags("$x", `\Seen`)); err != nil || len(refused) != 0 || len(seen) != 0 {
		t.Errorf("%v, %v, %v", seen, refused, err)
	}
	if _, refused, err := s.Store(t.Context(), box7(), uidSet(3), false, mail.SystemFlags(mail.Flagged)); err != nil || len(refused) != 0 {
		t.Errorf("%v, %v", refused, err)
	}
}

// TestStoreHearsWhatTheFlagsAreThen: with CONDSTORE each message has its line anyway.
func TestStoreHearsWhatTheFlagsAreThen(t *testing.T) {
	for name, tc := range map[string]struct {
		said []string
		want string
	}{
		"usual":                      {[]string{`* 1 FETCH (UID 1 MODSEQ (10) FLAGS (\Seen))`, `* 2 FETCH (UID 2 FLAGS (a \Seen) MODSEQ (10))`}, `1 10 \Seen, 2 10 \Seen a`},
		"in another order":           {[]string{`* 2 FETCH (UID 2 FLAGS (\Seen))`, `* 1 FETCH (UID 1 FLAGS (\Seen))`}, `1 0 \Seen, 2 0 \Seen`},
		"only the mod-sequence":      {[]string{`* 1 FETCH (UID 1 MODSEQ (10))`, `* 2 FETCH (UID 2 FLAGS (\Seen) MODSEQ (10))`}, `2 10 \Seen`},
		"changed before":             {[]string{`* 1 FETCH (UID 1 FLAGS (a) MODSEQ (9))`, `* 1 FETCH (UID 1 FLAGS (\Seen a) MODSEQ (10))`}, `1 10 \Seen a`},
		"changed before, not since":  {[]string{`* 1 FETCH (UID 1 FLAGS (a) MODSEQ (9))`}, ``},
		"changed afterwards":         {[]string{`* 1 FETCH (UID 1 FLAGS (\Seen) MODSEQ (10))`, `* 1 FETCH (UID 1 FLAGS (\Seen b) MODSEQ (11))`}, `1 11 \Seen b`},
		"taken back afterwards":      {[]string{`* 1 FETCH (UID 1 FLAGS (\Seen) MODSEQ (10))`, `* 1 FETCH (UID 1 FLAGS (b) MODSEQ (11))`}, ``},
		"changed to no one knows":    {[]string{`* 1 FETCH (UID 1 FLAGS (\Seen) MODSEQ (10))`, `* 1 FETCH (UID 1 MODSEQ (11))`}, ``},
		"another message's":          {[]string{`* 3 FETCH (UID 3 FLAGS (\Seen) MODSEQ (10))`, `* 1 FETCH (FLAGS (\Seen) MODSEQ (10))`}, ``},
		"the server keeps no \\Seen": {[]string{`* 1 FETCH (UID 1 FLAGS () MODSEQ (10))`}, ``},
	} {
		t.Run(name, func(t *testing.T) {
			s := preauth(t, condstore, Config{}, func(p *script) {
				p.expect(`SELECT "INBOX" (CONDSTORE)`)
				p.say(selected(3, 4, 9)...)
				p.say("$1 OK open")
				p.expect(`UID STORE 1:2 +FLAGS (\Seen)`)
				p.say(append(tc.said, "$1 OK done")...)
				p.expect(`UID STORE 1:2 -FLAGS (\Seen)`)
				p.say(append(tc.said, "$1 OK done")...)
			})
			seen, refused, err := s.Store(t.Context(), box7(), uidSet(1, 2), true, mail.SystemFlags(mail.Seen))
			if got := spellMessages(seen); err != nil || len(refused) != 0 || got != tc.want {
				t.Errorf("seen %s, want %s; %v, %v", got, tc.want, refused, err)
			}
			seen, _, err = s.Store(t.Context(), box7(), uidSet(1, 2), false, mail.SystemFlags(mail.Seen))
			if err != nil || slices.ContainsFunc(seen, func(m remote.Message) bool { return m.Flags.Has(mail.Seen) }) {
				t.Errorf("seen without it: %s, %v", spellMessages(seen), err)
			}
		})
	}
}

func spellMessages(ms []remote.Message) string {
	var words []string
	for _, m := range ms {
		words = append(words, fmt.Sprintf("%d %d %s", m.UID, m.ModSeq, m.Flags))
	}
	return strings.Join(words, ", ")
}

func TestStoreIsSilentWhereTheMailboxHasNoModSequences(t *testing.T) {
	s := preauth(t, condstore, Config{}, func(p *script) {
		p.expect(`SELECT "INBOX" (CONDSTORE)`)
		p.say(selected(3, 4, 0)...)
		p.say("* OK [NOMODSEQ] none", "$1 OK open")
		p.expect(`UID STORE 1 +FLAGS.SILENT (\Seen)`)
		p.say("$1 OK done")
	})
	if _, refused, err := s.Store(t.Context(), box7(), uidSet(1), true, mail.SystemFlags(mail.Seen)); err != nil || len(refused) != 0 {
		t.Errorf("%v, %v", refused, err)
	}
}

// TestModSeqWithoutFlagsIsNoSetOfFlags: after a STORE servers tell the new mod-sequence alone.
func TestModSeqWithoutFlagsIsNoSetOfFlags(t *testing.T) {
	ch := changes(t, condstore, knownUIDs(20, 3, 1, 2), func(p *script) {
		p.expect(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 3:*"+newItems, "UID FETCH 1:2 (UID FLAGS) (CHANGEDSINCE 20)")
		p.say(selected(2, 3, 30)...)
		p.say("$1 OK open", "$2 OK done", "* 1 FETCH (UID 1 MODSEQ (30))", "$3 OK done")
	})
	want(t, ch, nil, nil, nil)
}

func TestNothingToDoSendsNothing(t *testing.T) {
	s := preauth(t, plus, Config{}, func(*script) {})
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"store": func() error {
			_, _, err := s.Store(ctx, box7(), uidSet(), true, mail.SystemFlags(mail.Seen))
			return err
		},
		"no flags": func() error { _, _, err := s.Store(ctx, box7(), uidSet(1), true, mail.Flags{}); return err },
		"odd flags": func() error {
			_, _, err := s.Store(ctx, box7(), uidSet(1), true, mail.NewFlags("with space", "a\r\nb", `\Recent`, ""))
			return err
		},
		"move":    func() error { _, err := s.Move(ctx, box7(), uidSet(), "x"); return err },
		"expunge": func() error { _, err := s.Expunge(ctx, box7(), uidSet()); return err },
		"fetch":   func() error { _, err := s.Fetch(ctx, box7(), uidSet(), remote.FetchItems{}); return err },
		"bodies":  func() error { _, err := s.Bodies(ctx, box7(), uidSet(), nil); return err },
		"append":  func() error { _, err := s.Append(ctx, remote.Box{Name: "INBOX"}, 1, nil, nil, nil); return err },
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLongSetsAreSplit(t *testing.T) {
	var set mail.UIDSet
	for u := mail.UID(1_000_000_001); u < 1_000_010_000; u += 2 {
		set.Add(u)
	}
	var seen mail.UIDSet
	commands := 0
	s := preauth(t, bare, Config{Trace: func(byte, string) {}}, func(p *script) {
		p.openBox(5000, 2_000_000_000)
		for seen.Len() < set.Len() {
			line := p.line()
			if len(line) > 8000 || line == "" {
				t.Errorf("a line of %d bytes", len(line))
				return
			}
			f := strings.Fields(line)
			part, err := mail.ParseUIDSet(f[3])
			if err != nil {
				t.Error(err)
				return
			}
			seen = seen.Union(part)
			commands++
			p.say(f[0] + " OK done")
		}
	})
	if _, refused, err := s.Store(t.Context(), box7(), set, true, mail.SystemFlags(mail.Seen)); err != nil || len(refused) != 0 {
		t.Errorf("%v, %v", refused, err)
	}
	if seen.String() != set.String() || commands < 7 {
		t.Errorf("%d of %d UIDs in %d commands", seen.Len(), set.Len(), commands)
	}
}

func TestOneRefusalDoesNotSpoilOthers(t *testing.T) {
	s := preauth(t, bare, Config{}, func(p *script) {
		p.openBox(9, 10)
		for {
			tag, text, _ := strings.Cut(p.line(), " ")
			f := strings.Fields(text)
			if len(f) < 3 || f[1] != "STORE" {
				p.raw(tag + " OK done\r\n")
				return
			}
			set, err := mail.ParseUIDSet(f[2])
			if err != nil {
				t.Error(err)
			}
			if set.Contains(4) {
				p.say(tag + " NO [UNAVAILABLE] not that one")
			} else {
				p.say(tag + " OK done")
			}
		}
	})
	_, refused, err := s.Store(t.Context(), box7(), uidSet(1, 2, 3, 4, 5, 6, 7), true, mail.SystemFlags(mail.Seen))
	if err != nil || fmt.Sprint(slices.Collect(maps.Keys(refused))) != "[4]" || remote.ClassOf(refused[4]) != remote.Refused {
		t.Errorf("%v, %v", refused, err)
	}
}

func TestRefusalOfAll(t *testing.T) {
	for answer, most := range map[string]int{"NO [NOPERM] never": 1, "BAD what": 1, "NO no": 15} {
		t.Run(answer, func(t *testing.T) {
			commands := 0
			s := preauth(t, bare, Config{}, func(p *script) {
				p.openBox(9, 10)
				for {
					tag, text, _ := strings.Cut(p.line(), " ")
					if !strings.HasPrefix(text, "UID STORE") {
						p.raw(tag + " OK done\r\n")
						return
					}
					commands++
					p.say(tag + " " + answer)
				}
			})
			_, refused, err := s.Store(t.Context(), box7(), uidSet(1, 2, 3, 4, 5, 6, 7, 8), true, mail.SystemFlags(mail.Seen))
			if err != nil || len(refused) != 1 || remote.ClassOf(refused[0]) != remote.Refused || commands != most {
				t.Errorf("%v, %v after %d commands", refused, err, commands)
			}
		})
	}
}

func TestReadOnlyMailbox(t *testing.T) {
	s := preauth(t, plus, Config{}, func(p *script) {
		p.expect(`SELECT "INBOX"`)
		p.say(selected(2, 3, 0)...)
		p.say("$1 OK [READ-ONLY] open")
	})
	ctx := t.Context()
	if _, _, err := s.Store(ctx, box7(), uidSet(1), true, mail.SystemFlags(mail.Seen)); !errors.Is(err, remote.ErrReadOnly) {
		t.Errorf("Store: %v", err)
	}
	if _, err := s.Expunge(ctx, box7(), uidSet(1)); !errors.Is(err, remote.ErrReadOnly) {
		t.Errorf("Expunge: %v", err)
	}
}

func TestPermanentFlags(t *testing.T) {
	all := mail.NewFlags(`\Seen`, `\Deleted`, "$x", "$Forwarded", "kw")
	for _, tc := range []struct{ code, kept string }{
		{"", all.String()},
		{`* OK [PERMANENTFLAGS (\Seen $x foo] \*)] ok`, `$Forwarded \Seen $x kw`},
		{`* OK [PERMANENTFLAGS (\Seen $x foo])] ok`, `\Seen $x`},
		{"* OK [PERMANENTFLAGS ()] ok", ""}, {"* OK [PERMANENTFLAGS NIL] ok", ""}, {`* OK [PERMANENTFLAGS ( \Seen  )] ok`, `\Seen`},
		{`* OK [PERMANENTFLAGS ("\\Seen")] ok`, `\Seen`},
		{`* OK [PERMANENTFLAGS \Seen] odd`, all.String()}, // not understood, so not known
		{`* OK [PERMANENTFLAGS (\*)] ok`, all.String()},   // go-imap's server in memory means everything
	} {
		s := preauth(t, bare, Config{}, func(p *script) {
			p.expect(`SELECT "INBOX"`)
			p.say("* 1 EXISTS", "* OK [UIDVALIDITY 7] x", "* OK [UIDNEXT 2] x")
			if tc.code != "" {
				p.say(tc.code)
			}
			p.say("$1 OK open")
		})
		sel, err := s.Select(t.Context(), "INBOX")
		if err != nil {
			t.Fatal(err)
		}
		if got := sel.Keeps(all).String(); got != tc.kept {
			t.Errorf("%s: keeps %q, want %q", tc.code, got, tc.kept)
		}
	}
}

func TestMoveWithoutMOVEOnlyCopies(t *testing.T) {
	s := preauth(t, "IMAP4rev1 UIDPLUS", Config{}, func(p *script) {
		p.openBox(3, 4)
		p.expect(`UID COPY 1:2 "Target"`)
		p.say("$1 NO [TRYCREATE] no such mailbox")
		p.expect(`UID COPY 1:2 "Target"`)
		p.say("$1 OK [COPYUID 9 2,1 20,30] done")
	})
	moved, err := s.Move(t.Context(), box7(), uidSet(1, 2), "Target")
	if !errors.Is(err, remote.ErrNoMailbox) || len(moved.UIDs) != 0 {
		t.Errorf("%+v, %v", moved, err)
	}
	moved, err = s.Move(t.Context(), box7(), uidSet(1, 2), "Target")
	if err != nil || moved.UIDValidity != 9 || moved.UIDs[1] != 30 || moved.UIDs[2] != 20 || s.Capabilities().Move {
		t.Errorf("%+v, %v", moved, err)
	}
}

func TestMove(t *testing.T) {
	for _, tc := range []struct {
		name    string
		answers []string
		class   remote.Class
		uids    map[mail.UID]mail.UID
	}{
		{"untagged", []string{"* OK [COPYUID 9 1:3 30:32] x", "* 1 EXPUNGE", "* 1 EXPUNGE", "* VANISHED 3", "$1 OK done"}, 0, map[mail.UID]mail.UID{1: 30, 2: 31, 3: 32}},
		{"tagged", []string{"$1 OK [COPYUID 9 1:3 30:32] done"}, 0, map[mail.UID]mail.UID{1: 30, 2: 31, 3: 32}},
		{"in the order that is spelled", []string{"$1 OK [COPYUID 9 3,1:2 30:31,7] done"}, 0, map[mail.UID]mail.UID{3: 30, 1: 31, 2: 7}},
		{"one was gone", []string{"$1 OK [COPYUID 9 1,3 30,31] done"}, 0, map[mail.UID]mail.UID{1: 30, 3: 31}},
		{"not told", []string{"$1 OK done"}, 0, map[mail.UID]mail.UID{1: 0, 2: 0, 3: 0}},
		{"counts differ", []string{"$1 OK [COPYUID 9 1:3 30:31] x"}, 0, map[mail.UID]mail.UID{1: 0, 2: 0, 3: 0}},
		{"with a star", []string{"$1 OK [COPYUID 9 1:3 30:*] x"}, 0, map[mail.UID]mail.UID{1: 0, 2: 0, 3: 0}},
		{"huge", []string{"$1 OK [COPYUID 9 1:4294967295 1:4294967295] x"}, 0, map[mail.UID]mail.UID{1: 0, 2: 0, 3: 0}},
		{"never asked for", []string{"$1 OK [COPYUID 9 1,2,8 30:32] x"}, 0, map[mail.UID]mail.UID{1: 0, 2: 0, 3: 0}},
		{"twice the same", []string{"$1 OK [COPYUID 9 1,1,2 30:32] x"}, 0, map[mail.UID]mail.UID{1: 0, 2: 0, 3: 0}},
		{"half a code", []string{"$1 OK [COPYUID 9 1:3] x"}, 0, map[mail.UID]mail.UID{1: 0, 2: 0, 3: 0}},
		{"refused", []string{"$1 NO [TRYCREATE] no"}, remote.Refused, nil},
		{"refused after a part", []string{"* OK [COPYUID 9 1 30] x", "* 1 EXPUNGE", "$1 NO [OVERQUOTA] full"}, 0, map[mail.UID]mail.UID{1: 30}},
		{"broken", []string{"$1 BAD no MOVE here"}, remote.Refused, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := preauth(t, "IMAP4rev1 UIDPLUS MOVE", Config{}, func(p *script) {
				p.openBox(3, 4)
				p.expect(`UID MOVE 1:3 "Target"`)
				p.say(tc.answers...)
			})
			moved, err := s.Move(t.Context(), box7(), uidSet(1, 2, 3), "Target")
			if remote.ClassOf(err) != tc.class || !maps.Equal(moved.UIDs, tc.uids) {
				t.Errorf("%+v, %v", moved, err)
			}
			if can := s.Capabilities().Move; can != (tc.name != "broken") {
				t.Errorf("MOVE: %v", can)
			}
		})
	}
}

func TestExpunge(t *testing.T) {
	store := func(p *script, uids string) {
		p.expect(`UID STORE ` + uids + ` +FLAGS.SILENT (\Deleted)`)
		p.say("$1 OK done")
	}
	uidExpunge := func(p *script, uids string, answers ...string) {
		p.expect("UID EXPUNGE " + uids)
		p.say(append(answers, "$1 OK done")...)
	}
	search := func(p *script, answers ...string) {
		p.expect("NOOP")
		p.say("$1 OK done")
		p.expect("UID SEARCH DELETED")
		p.say(append(answers, "$1 OK done")...)
	}
	for _, tc := range []struct {
		name, caps string
		play       func(p *script)
		pending    string
		class      remote.Class
	}{
		{"with UIDPLUS", "UIDPLUS", func(p *script) {
			store(p, "1:2")
			uidExpunge(p, "1:2", "* 1 EXPUNGE", "* 1 EXPUNGE")
			p.sayWhatIsThere("1:2", "")
		}, "", 0},
		{"told by UID", "UIDPLUS", func(p *script) {
			p.expect(`UID STORE 1:2 +FLAGS.SILENT (\Deleted)`)
			p.say("* VANISHED 2", "$1 OK done")
			uidExpunge(p, "1:2", "* VANISHED 1")
		}, "", 0},
		{"told of some", "UIDPLUS", func(p *script) {
			store(p, "1:2")
			uidExpunge(p, "1:2", "* VANISHED (EARLIER) 2", "* VANISHED 1")
			p.sayWhatIsThere("2", "")
		}, "", 0},
		{"the server forgets one", "UIDPLUS", func(p *script) {
			store(p, "1:2")
			uidExpunge(p, "1:2", "* 1 EXPUNGE")
			p.sayWhatIsThere("1:2", "2")
			store(p, "2")
			uidExpunge(p, "2", "* 1 EXPUNGE")
			p.sayWhatIsThere("2", "")
		}, "", 0},
		{"the server keeps one", "UIDPLUS", func(p *script) {
			store(p, "1:2")
			uidExpunge(p, "1:2", "* 1 EXPUNGE")
			p.sayWhatIsThere("1:2", "2")
			store(p, "2")
			uidExpunge(p, "2")
			p.sayWhatIsThere("2", "2")
			p.expect("UID SEARCH UID 2 DELETED")
			p.say("* SEARCH 2", "$1 OK done")
		}, "2", 0},
		{"the server marks nothing", "UIDPLUS", func(p *script) {
			for range 2 {
				store(p, "1:2")
				uidExpunge(p, "1:2")
				p.sayWhatIsThere("1:2", "1 2")
			}
			p.expect("UID SEARCH UID 1:2 DELETED")
			p.say("* SEARCH", "$1 OK done")
		}, "", remote.Refused},
		{"no word of what is there", "UIDPLUS", func(p *script) {
			for range 2 {
				store(p, "1:2")
				uidExpunge(p, "1:2")
				p.sayWhatIsThere("1:2", "nonsense")
			}
			p.expect("UID SEARCH UID 1:2 DELETED")
			p.say("$1 NO later")
		}, "", remote.Refused},
		{"only ours are marked", "", func(p *script) {
			store(p, "1:2")
			search(p, "* SEARCH 2 1")
			p.expect("EXPUNGE")
			p.say("* 1 EXPUNGE", "* 1 EXPUNGE", "$1 OK done")
			p.sayWhatIsThere("1:2", "")
		}, "", 0},
		{"another one is marked", "", func(p *script) {
			store(p, "1:2")
			search(p, "* SEARCH 2 1 3")
		}, "1:2", 0},
		{"one of ours is gone", "", func(p *script) {
			store(p, "1:2")
			search(p, "* SEARCH 2")
			p.expect("EXPUNGE")
			p.say("$1 OK done")
			p.sayWhatIsThere("1:2", "")
		}, "", 0},
		{"one of ours is gone and another one is marked", "", func(p *script) {
			store(p, "1:2")
			search(p, "* SEARCH 2 3")
			p.sayWhatIsThere("1", "")
		}, "2", 0},
		{"all are gone", "", func(p *script) {
			store(p, "1:2")
			search(p, "* SEARCH")
			p.sayWhatIsThere("1:2", "")
		}, "", 0},
		{"garbled search", "", func(p *script) {
			store(p, "1:2")
			search(p, "* SEARCH 1 2 three")
		}, "1:2", 0},
		{"EXPUNGE refused", "", func(p *script) {
			store(p, "1:2")
			search(p, "* SEARCH 1 2")
			p.expect("EXPUNGE")
			p.say("$1 NO [NOPERM] never")
		}, "1:2", remote.Refused},
		{"UID EXPUNGE advertised and missing", "UIDPLUS", func(p *script) {
			store(p, "1:2")
			p.expect("UID EXPUNGE 1:2")
			p.say("$1 BAD unknown command")
			search(p, "* SEARCH 1 2 3")
		}, "1:2", 0},
		{"marking refused", "UIDPLUS", func(p *script) {
			p.expect(`UID STORE 1:2 +FLAGS.SILENT (\Deleted)`)
			p.say("$1 NO [NOPERM] never")
		}, "", remote.Refused},
		{"marking one refused", "UIDPLUS", func(p *script) {
			p.expect(`UID STORE 1:2 +FLAGS.SILENT (\Deleted)`)
			p.say("$1 NO [UNAVAILABLE] not all")
			p.expect(`UID STORE 1 +FLAGS.SILENT (\Deleted)`, `UID STORE 2 +FLAGS.SILENT (\Deleted)`)
			p.say("$1 NO [UNAVAILABLE] not this", "$2 OK done")
			uidExpunge(p, "2", "* VANISHED 2")
		}, "", remote.Refused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := preauth(t, "IMAP4rev1 "+tc.caps, Config{}, func(p *script) {
				p.openBox(3, 4)
				tc.play(p)
			})
			pending, err := s.Expunge(t.Context(), box7(), uidSet(1, 2))
			if pending.String() != tc.pending || remote.ClassOf(err) != tc.class {
				t.Errorf("pending %v, %v", pending, err)
			}
		})
	}
}

func TestWritingChecksUIDValidityFirst(t *testing.T) {
	s := preauth(t, "IMAP4rev1 UIDPLUS MOVE", Config{}, func(p *script) { p.openBox(3, 4) })
	wrong := remote.Box{Name: "INBOX", UIDValidity: 8}
	ctx := t.Context()
	if _, err := s.Select(ctx, "INBOX"); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"store": func() error {
			_, _, err := s.Store(ctx, wrong, uidSet(1), true, mail.SystemFlags(mail.Seen))
			return err
		},
		"move":    func() error { _, err := s.Move(ctx, wrong, uidSet(1), "x"); return err },
		"expunge": func() error { _, err := s.Expunge(ctx, wrong, uidSet(1)); return err },
		"fetch":   func() error { _, err := s.Fetch(ctx, wrong, uidSet(1), remote.FetchItems{}); return err },
		"bodies":  func() error { _, err := s.Bodies(ctx, wrong, uidSet(1), nil); return err },
	} {
		if err := call(); !errors.Is(err, remote.ErrUIDValidity) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUIDValidityThatChangesWhileOpen(t *testing.T) {
	s := preauth(t, bare, Config{}, func(p *script) {
		p.openBox(3, 4)
		p.expect("UID FETCH 1 (UID FLAGS)")
		p.say("* OK [UIDVALIDITY 8] replaced", "* 1 FETCH (UID 1 FLAGS ())", "$1 OK done")
	})
	if _, err := s.Select(t.Context(), "INBOX"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Fetch(t.Context(), box7(), uidSet(1), remote.FetchItems{}); err == nil {
		t.Errorf("got %+v", got)
	}
}

func TestUIDValidityThatChangesBeforeTheRemoval(t *testing.T) {
	for name, tc := range map[string]struct{ caps, before, answer string }{
		"UIDPLUS": {"IMAP4rev1 UIDPLUS", `UID STORE 2 +FLAGS.SILENT (\Deleted)`, ""},
		"EXPUNGE": {bare, "UID SEARCH DELETED", "* SEARCH 2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := preauth(t, tc.caps, Config{}, func(p *script) {
				p.openBox(3, 4)
				if tc.answer != "" {
					p.expect(`UID STORE 2 +FLAGS.SILENT (\Deleted)`)
					p.say("$1 OK done")
					p.expect("NOOP")
					p.say("$1 OK done")
				}
				p.expect(tc.before)
				if tc.answer != "" {
					p.say(tc.answer)
				}
				p.say("* OK [UIDVALIDITY 8] it was replaced", "$1 OK done")
			})
			if _, err := s.Expunge(t.Context(), box7(), uidSet(2)); err == nil {
				t.Error("messages of another mailbox are removed")
			}
		})
	}
}

func TestDeleteAndRenameCloseTheMailbox(t *testing.T) {
	s := preauth(t, "IMAP4rev1 UNSELECT", Config{Subscribed: true}, func(p *script) {
		p.expect(`SELECT "a"`)
		p.say(selected(0, 1, 0)...)
		p.say("$1 OK open")
		p.expect("UNSELECT", `RENAME "a" "b"`)
		p.say("$1 OK done", "$2 OK done")
		p.expect(`SUBSCRIBE "b"`, `UNSUBSCRIBE "a"`)
		p.say("$1 OK done", "$2 OK done")
		p.expect(`DELETE "b"`)
		p.say("$1 NO [INUSE] busy")
		p.expect(`DELETE "c"`)
		p.say("$1 NO no such thing")
		p.expect(`LIST "" "c"`)
		p.say("$1 OK done")
	})
	ctx := t.Context()
	if _, err := s.Select(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Rename(ctx, "a", "b"); err != nil {
		t.Error(err)
	}
	if err := s.Delete(ctx, "b"); remote.ClassOf(err) != remote.Refused || errors.Is(err, remote.ErrNoMailbox) {
		t.Error(err)
	}
	if err := s.Delete(ctx, "c"); !errors.Is(err, remote.ErrNoMailbox) {
		t.Error(err)
	}
}
