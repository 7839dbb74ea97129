package imap

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

const newItems = " (UID FLAGS INTERNALDATE RFC822.SIZE)"

func newLine(u uint32) string {
	return fmt.Sprintf(`* %d FETCH (UID %d FLAGS () INTERNALDATE "07-Aug-2019 06:05:04 +0000" RFC822.SIZE 10)`, u, u)
}

// changes runs one reading against a script and checks its outcome.
func changes(t *testing.T, caps string, mark remote.Since, play func(*script)) remote.Changes {
	t.Helper()
	s := preauth(t, caps, Config{}, play)
	ch, err := s.Changes(t.Context(), box7(), mark)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func want(t *testing.T, ch remote.Changes, flags, fresh, vanished []mail.UID) {
	t.Helper()
	if got := uidsOf(ch.Flags); !slices.Equal(got, flags) {
		t.Errorf("flags of %v, want %v", got, flags)
	}
	if got := uidsOf(ch.New); !slices.Equal(got, fresh) {
		t.Errorf("new %v, want %v", got, fresh)
	}
	if got := ch.Vanished.Slice(); !slices.Equal(got, vanished) {
		t.Errorf("vanished %v, want %v", got, vanished)
	}
}

const (
	bare      = "IMAP4rev1"
	condstore = "IMAP4rev1 CONDSTORE ESEARCH"
	qresync   = "IMAP4rev1 ENABLE QRESYNC ESEARCH UNSELECT"
)

func TestLastMessageBelowTheMarkIsNotNew(t *testing.T) {
	ch := changes(t, bare, knownUIDs(0, 10, 8, 9), func(p *script) {
		p.expect(`SELECT "INBOX"`, "UID FETCH 10:*"+newItems, "UID FETCH 1:9 (UID FLAGS)")
		p.say(selected(2, 10, 0)...)
		p.say("$1 OK open", newLine(9), "$2 OK done", `* 1 FETCH (UID 8 FLAGS ())`, `* 2 FETCH (UID 9 FLAGS ())`, "$3 OK done")
	})
	want(t, ch, []mail.UID{8, 9}, nil, nil)
	if ch.Selected.UIDNext != 10 {
		t.Errorf("UIDNEXT %d", ch.Selected.UIDNext)
	}
}

func TestVanishedWithoutCondStore(t *testing.T) {
	ch := changes(t, bare, knownUIDs(0, 10, 7, 8, 9), func(p *script) {
		p.expect(`SELECT "INBOX"`, "UID FETCH 10:*"+newItems, "UID FETCH 1:9 (UID FLAGS)")
		p.say(selected(3, 11, 0)...)
		p.say("$1 OK open", newLine(10), "$2 OK done", `* 1 FETCH (UID 8 FLAGS ())`, `* 2 FETCH (UID 9 FLAGS ())`, "$3 OK done")
	})
	want(t, ch, []mail.UID{8, 9}, []mail.UID{10}, []mail.UID{7})
}

func TestVanishedWithCondStore(t *testing.T) {
	for _, tc := range []struct{ caps, search, answer string }{
		{condstore, "UID SEARCH RETURN (ALL) ALL", `* ESEARCH (TAG "$1") UID ALL 2:3,5`},
		{"IMAP4rev1 CONDSTORE", "UID SEARCH ALL", "* SEARCH 5 3 2"},
	} {
		t.Run(tc.search, func(t *testing.T) {
			ch := changes(t, tc.caps, knownUIDs(20, 5, 1, 2, 3, 4), func(p *script) {
				p.expect(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 5:*"+newItems, "UID FETCH 1:4 (UID FLAGS) (CHANGEDSINCE 20)")
				p.say(selected(3, 6, 30)...)
				p.say("$1 OK open", newLine(5), "$2 OK done", `* 1 FETCH (UID 2 FLAGS (\Seen) MODSEQ (25))`, "$3 OK done")
				p.expect(tc.search)
				p.say(tc.answer, "$1 OK done")
			})
			want(t, ch, []mail.UID{2}, []mail.UID{5}, []mail.UID{1, 4})
			if ch.Selected.HighestModSeq != 30 || ch.Flags[0].ModSeq != 25 {
				t.Errorf("mark %d, message %d", ch.Selected.HighestModSeq, ch.Flags[0].ModSeq)
			}
		})
	}
}

// TestOldMessagesThatComeIntoView: a provider that shows only so many messages shows more again. Those that are not known are new, whatever their UIDs.
func TestOldMessagesThatComeIntoView(t *testing.T) {
	t.Run("CONDSTORE", func(t *testing.T) {
		ch := changes(t, condstore, knownUIDs(20, 9, 6, 7, 8), func(p *script) {
			p.expect(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 9:*"+newItems, "UID FETCH 1:8 (UID FLAGS) (CHANGEDSINCE 20)")
			p.say(selected(5, 10, 30)...)
			p.say("$1 OK open", newLine(9), "$2 OK done", `* 3 FETCH (UID 7 FLAGS (\Seen) MODSEQ (25))`, "$3 OK done")
			p.expect("UID SEARCH RETURN (ALL) ALL")
			p.say(`* ESEARCH (TAG "$1") UID ALL 2,4,7:9`, "$1 OK done")
			p.expect("UID FETCH 2,4" + newItems)
			p.say(newLine(2), newLine(4), "$1 OK done")
		})
		want(t, ch, []mail.UID{7}, []mail.UID{2, 4, 9}, []mail.UID{6})
	})
	t.Run("bare", func(t *testing.T) {
		ch := changes(t, bare, knownUIDs(0, 9, 7, 8), func(p *script) {
			p.expect(`SELECT "INBOX"`, "UID FETCH 9:*"+newItems, "UID FETCH 1:8 (UID FLAGS)")
			p.say(selected(3, 9, 0)...)
			p.say("$1 OK open", newLine(8), "$2 OK done", `* 1 FETCH (UID 2 FLAGS ())`, `* 2 FETCH (UID 7 FLAGS ())`, `* 3 FETCH (UID 8 FLAGS ())`, "$3 OK done")
			p.expect("UID FETCH 2" + newItems)
			p.say(newLine(2), "$1 OK done")
		})
		want(t, ch, []mail.UID{7, 8}, []mail.UID{2}, nil)
	})
}

// TestAsManyButOthers: one that was hidden comes into view in the moment in which another goes: the number is the same, the messages are not.
func TestAsManyButOthers(t *testing.T) {
	ch := changes(t, bare, knownUIDs(0, 9, 6, 7), func(p *script) {
		p.expect(`SELECT "INBOX"`, "UID FETCH 9:*"+newItems, "UID FETCH 1:8 (UID FLAGS)")
		p.say(selected(2, 9, 0)...)
		p.say("$1 OK open", newLine(7), "$2 OK done", `* 1 FETCH (UID 2 FLAGS ())`, `* 2 FETCH (UID 7 FLAGS ())`, "$3 OK done")
		p.expect("UID FETCH 2" + newItems)
		p.say(newLine(2), "$1 OK done")
	})
	want(t, ch, []mail.UID{7}, []mail.UID{2}, []mail.UID{6})
}

func TestNothingChangedCostsOneExchange(t *testing.T) {
	s := preauth(t, condstore, Config{}, func(p *script) {
		p.expect(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 5:*"+newItems, "UID FETCH 1:4 (UID FLAGS) (CHANGEDSINCE 30)")
		p.say(selected(4, 5, 30)...)
		p.say("$1 OK open", newLine(4), "$2 OK done", "$3 OK done")
	})
	before := s.Traffic().RoundTrips
	mark := knownUIDs(30, 5)
	mark.KnownCount, mark.Known = func() uint32 { return 4 }, func() mail.UIDSet { t.Error("the known UIDs were asked for"); return mail.UIDSet{} }
	ch, err := s.Changes(t.Context(), box7(), mark)
	if err != nil {
		t.Fatal(err)
	}
	want(t, ch, nil, nil, nil)
	if n := s.Traffic().RoundTrips - before; n != 1 {
		t.Errorf("%d round trips", n)
	}
}

func TestTruncatedSearchIsNoEvidenceOfDeletion(t *testing.T) {
	ch := changes(t, condstore, knownUIDs(20, 7, 1, 2, 3, 4, 5, 6), func(p *script) {
		p.expect(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 7:*"+newItems, "UID FETCH 1:6 (UID FLAGS) (CHANGEDSINCE 20)")
		p.say(selected(5, 7, 30)...)
		p.say("$1 OK open", "$2 OK done", "$3 OK done")
		p.expect("UID SEARCH RETURN (ALL) ALL")
		p.say(`* ESEARCH (TAG "$1") UID ALL 1:3`, "$1 OK done")
		p.expect("UID FETCH 1:* (UID)")
		p.say("* 1 FETCH (UID 1)", "* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)", "* 4 FETCH (UID 4)", "* 5 FETCH (UID 6)", "$1 OK done")
	})
	want(t, ch, nil, nil, []mail.UID{5})
}

func TestContradictionMakesNothingVanish(t *testing.T) {
	ch := changes(t, condstore, knownUIDs(20, 7, 1, 2, 3, 4, 5, 6), func(p *script) {
		p.expect(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 7:*"+newItems, "UID FETCH 1:6 (UID FLAGS) (CHANGEDSINCE 20)")
		p.say(selected(5, 7, 30)...)
		p.say("$1 OK open", "$2 OK done", "$3 OK done")
		p.expect("UID SEARCH RETURN (ALL) ALL")
		p.say(`* ESEARCH (TAG "$1") UID`, "$1 OK done")
		p.expect("UID FETCH 1:* (UID)")
		p.say("* 1 FETCH (UID 1)", "$1 OK done")
	})
	want(t, ch, nil, nil, nil)
}

func TestQResync(t *testing.T) {
	ch := changes(t, qresync, knownUIDs(20, 5, 1, 2, 3, 4), func(p *script) {
		p.expect(`SELECT "INBOX" (QRESYNC (7 20 1:4))`, "UID FETCH 5:*"+newItems)
		p.say(selected(3, 6, 30)...)
		p.say("* VANISHED (EARLIER) 1,4,40:50", `* 1 FETCH (UID 2 FLAGS (\Seen) MODSEQ (25))`, "$1 OK open", newLine(5), "$2 OK done")
	})
	want(t, ch, []mail.UID{2}, []mail.UID{5}, []mail.UID{1, 4})
}

func TestQResyncInAnotherMailboxClosesTheFirst(t *testing.T) {
	s := preauth(t, qresync, Config{}, func(p *script) {
		p.expect(`SELECT "Other" (CONDSTORE)`)
		p.say(selected(9, 10, 10)...)
		p.say("$1 OK open")
		p.expect("UNSELECT", `SELECT "INBOX" (QRESYNC (7 20 1:4))`, "UID FETCH 5:*"+newItems)
		p.say("* VANISHED 2", `* 1 FETCH (UID 1 FLAGS (\Deleted) MODSEQ (25))`, "* 8 EXISTS", "$1 OK closed")
		p.say(selected(4, 5, 30)...)
		p.say("$2 OK open", "$3 OK done")
	})
	if _, err := s.Select(t.Context(), "Other"); err != nil {
		t.Fatal(err)
	}
	ch, err := s.Changes(t.Context(), box7(), knownUIDs(20, 5, 1, 2, 3, 4))
	if err != nil {
		t.Fatal(err)
	}
	want(t, ch, nil, nil, nil)
}

func TestDataBeforeTheSelectIsAnsweredIsNotAboutTheNewMailbox(t *testing.T) {
	s := preauth(t, condstore, Config{}, func(p *script) {
		p.expect(`SELECT "Other" (CONDSTORE)`)
		p.say(selected(9, 10, 10)...)
		p.say("$1 OK open")
		p.expect(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 3:*"+newItems, "UID FETCH 1:2 (UID FLAGS) (CHANGEDSINCE 20)")
		p.say("* 17 EXISTS", `* 1 FETCH (UID 1 FLAGS (\Deleted) MODSEQ (25))`, "* OK [CLOSED] the other")
		p.say(selected(2, 3, 30)...)
		p.say("$1 OK open", "$2 OK done", "$3 OK done")
	})
	if _, err := s.Select(t.Context(), "Other"); err != nil {
		t.Fatal(err)
	}
	ch, err := s.Changes(t.Context(), box7(), knownUIDs(20, 3, 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	want(t, ch, nil, nil, nil)
}

func TestVanishedThatNamesAlmostEverythingIsVerified(t *testing.T) {
	ch := changes(t, qresync, knownUIDs(20, 5, 1, 2, 3, 4), func(p *script) {
		p.expect(`SELECT "INBOX" (QRESYNC (7 20 1:4))`, "UID FETCH 5:*"+newItems)
		p.say(selected(4, 5, 30)...)
		p.say("* VANISHED (EARLIER) 1:4294967295", "$1 OK open", "$2 OK done")
		p.expect("UID SEARCH RETURN (ALL) ALL")
		p.say(`* ESEARCH (TAG "$1") UID ALL 1:4`, "$1 OK done")
	})
	want(t, ch, nil, nil, nil)
}

func TestVanishedAfterAnyCommand(t *testing.T) {
	for name, line := range map[string]string{"fetch": "* VANISHED 2", "earlier": "* VANISHED (EARLIER) 2", "several": "* VANISHED 9\r\n* VANISHED 2"} {
		t.Run(name, func(t *testing.T) {
			ch := changes(t, qresync, knownUIDs(20, 5, 1, 2, 3), func(p *script) {
				p.expect(`SELECT "INBOX" (QRESYNC (7 20 1:4))`, "UID FETCH 5:*"+newItems)
				p.say(selected(3, 5, 30)...)
				p.say("$1 OK open", line, "$2 OK done")
				if name == "earlier" { // this contradicts EXISTS
					p.expect("UID SEARCH RETURN (ALL) ALL")
					p.say("* 2 EXISTS", `* ESEARCH (TAG "$1") UID ALL 1,3`, "$1 OK done")
				}
			})
			want(t, ch, nil, nil, []mail.UID{2})
		})
	}
}

func TestQResyncNeedsEnabled(t *testing.T) {
	s, err := converse(t, Config{}, tunnelled(), func(p *script) {
		p.say("* PREAUTH [CAPABILITY IMAP4rev1 ENABLE QRESYNC UNSELECT] ready")
		p.expect(`LIST "" ""`, "ENABLE QRESYNC")
		p.say(`* LIST (\Noselect) "/" ""`, "$1 OK done", "$2 OK but no ENABLED")
		p.expect(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 2:*"+newItems, "UID FETCH 1:1 (UID FLAGS) (CHANGEDSINCE 20)")
		p.say(selected(1, 2, 30)...)
		p.say("$1 OK open", "$2 OK done", "$3 OK done")
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Changes(t.Context(), box7(), knownUIDs(20, 2, 1)); err != nil {
		t.Error(err)
	}
}

func TestRefusedQResyncFallsBack(t *testing.T) {
	ch := changes(t, qresync, knownUIDs(20, 3, 1, 2), func(p *script) {
		p.expect(`SELECT "INBOX" (QRESYNC (7 20 1:2))`, "UID FETCH 3:*"+newItems)
		p.say("$1 BAD what", "$2 BAD no mailbox")
		p.expect("UNSELECT", `SELECT "INBOX" (CONDSTORE)`, "UID FETCH 3:*"+newItems, "UID FETCH 1:2 (UID FLAGS) (CHANGEDSINCE 20)")
		p.say("$1 BAD nothing is open")
		p.say(selected(2, 3, 30)...)
		p.say("$2 OK open", "$3 OK done", "$4 OK done")
	})
	want(t, ch, nil, nil, nil)
}

func TestUntrustworthyModSeqReadsAllFlags(t *testing.T) {
	for _, tc := range []struct {
		name, code string
		mark       uint64
	}{
		{"none", "* OK [NOMODSEQ] none here", 0}, {"zero", "* OK [HIGHESTMODSEQ 0] zero", 0},
		{"backwards", "* OK [HIGHESTMODSEQ 19] less than before", 0}, {"garbled", "* OK [HIGHESTMODSEQ many] odd", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ch := changes(t, condstore, knownUIDs(20, 3, 1, 2), func(p *script) {
				p.expect(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 3:*"+newItems, "UID FETCH 1:2 (UID FLAGS) (CHANGEDSINCE 20)")
				p.say("* 2 EXISTS", "* OK [UIDVALIDITY 7] x", "* OK [UIDNEXT 3] x", tc.code, "$1 OK open", "$2 OK done", "$3 BAD no mod-sequences")
				p.expect("UID FETCH 1:2 (UID FLAGS)")
				p.say(`* 1 FETCH (UID 1 FLAGS (\Seen))`, `* 2 FETCH (UID 2 FLAGS ())`, "$1 OK done")
			})
			want(t, ch, []mail.UID{1, 2}, nil, nil)
			if ch.Selected.HighestModSeq != tc.mark {
				t.Errorf("mark %d", ch.Selected.HighestModSeq)
			}
		})
	}
}

func TestModSeqIsTheOneFromTheSelect(t *testing.T) {
	ch := changes(t, condstore, knownUIDs(20, 3, 1, 2), func(p *script) {
		p.expect(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 3:*"+newItems, "UID FETCH 1:2 (UID FLAGS) (CHANGEDSINCE 20)")
		p.say(selected(2, 3, 30)...)
		p.say("$1 OK open", "* OK [HIGHESTMODSEQ 99] later", "$2 OK [HIGHESTMODSEQ 99] done", "$3 OK [HIGHESTMODSEQ 99] done")
	})
	if ch.Selected.HighestModSeq != 30 {
		t.Errorf("mark %d", ch.Selected.HighestModSeq)
	}
}

func TestLargeNumbers(t *testing.T) {
	const modseq = 1<<63 + 5
	s := preauth(t, condstore, Config{}, func(p *script) {
		p.expect(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 4294967295:*"+newItems, fmt.Sprintf("UID FETCH 1:4294967294 (UID FLAGS) (CHANGEDSINCE %d)", uint64(modseq)))
		p.say("* 1 EXISTS", "* OK [UIDVALIDITY 1666390893380] x", "* OK [UIDNEXT 4294967296] x", fmt.Sprintf("* OK [HIGHESTMODSEQ %d] x", uint64(modseq+1)), "$1 OK open",
			newLine(4294967295), "$2 OK done", "$3 OK done")
		p.expect("UID SEARCH RETURN (ALL) ALL")
		p.say(`* ESEARCH (TAG "$1") UID ALL 4294967295`, "$1 OK done")
	})
	ch, err := s.Changes(t.Context(), remote.Box{Name: "inbox", UIDValidity: 1666390893380}, knownUIDs(modseq, 4294967295, 4294967290))
	if err != nil {
		t.Fatal(err)
	}
	want(t, ch, nil, []mail.UID{4294967295}, []mail.UID{4294967290})
	if ch.Selected.HighestModSeq != modseq+1 {
		t.Errorf("mark %d", ch.Selected.HighestModSeq)
	}
}

func TestHugeSetsAreNotExpanded(t *testing.T) {
	ch := changes(t, condstore, knownUIDs(20, 3, 1, 2), func(p *script) {
		p.expect(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 3:*"+newItems, "UID FETCH 1:2 (UID FLAGS) (CHANGEDSINCE 20)")
		p.say(selected(1, 3, 30)...)
		p.say("$1 OK open", "* VANISHED 1:4294967295", "$2 OK done", "$3 OK done")
		p.expect("UID SEARCH RETURN (ALL) ALL")
		p.say(`* ESEARCH (TAG "$1") UID ALL 1:4294967295`, "$1 OK done")
		p.expect("UID FETCH 1:* (UID)")
		p.say("* 1 EXISTS", "* 1 FETCH (UID 2)", "$1 OK done")
	})
	want(t, ch, nil, nil, []mail.UID{1})
}

func TestMissingUIDNextIsWorkedOut(t *testing.T) {
	for _, tc := range []struct {
		name   string
		exists int
		lines  []string
		ask    bool
		next   mail.UID
	}{
		{"by a new message", 3, []string{newLine(14)}, false, 15},
		{"by the last message", 2, []string{newLine(9)}, false, 10},
		{"by asking", 2, nil, true, 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ch := changes(t, bare, knownUIDs(0, 10, 8, 9), func(p *script) {
				p.expect(`SELECT "INBOX"`, "UID FETCH 10:*"+newItems, "UID FETCH 1:9 (UID FLAGS)")
				p.say(fmt.Sprintf("* %d EXISTS", tc.exists), "* OK [UIDVALIDITY 7] x", "$1 OK open")
				p.say(tc.lines...)
				p.say("$2 OK done", `* 1 FETCH (UID 8 FLAGS ())`, `* 2 FETCH (UID 9 FLAGS ())`, "$3 OK done")
				if tc.ask {
					p.expect("UID FETCH * (UID)")
					p.say("* 2 FETCH (UID 9)", "$1 OK done")
				}
			})
			if ch.Selected.UIDNext != tc.next || !ch.Vanished.IsEmpty() {
				t.Errorf("UIDNEXT %d, want %d; vanished %v", ch.Selected.UIDNext, tc.next, ch.Vanished)
			}
		})
	}
}

func TestUIDNextThatWentBackIsReported(t *testing.T) {
	ch := changes(t, bare, knownUIDs(0, 10, 9), func(p *script) {
		p.expect(`SELECT "INBOX"`, "UID FETCH 10:*"+newItems, "UID FETCH 1:9 (UID FLAGS)")
		p.say(selected(1, 4, 0)...)
		p.say("$1 OK open", "$2 OK done", "* 1 FETCH (UID 3 FLAGS ())", "$3 OK done")
	})
	if ch.Selected.UIDNext != 4 {
		t.Errorf("UIDNEXT %d", ch.Selected.UIDNext)
	}
}

func TestUIDValidity(t *testing.T) {
	for _, tc := range []struct {
		name, code string
		box        uint64
		ok         bool
	}{
		{"the same", "* OK [UIDVALIDITY 7] x", 7, true}, {"larger", "* OK [UIDVALIDITY 8] x", 7, false},
		{"an older one", "* OK [UIDVALIDITY 6] x", 7, false}, {"none any more", "* OK fine", 7, false},
		{"none ever", "* OK fine", 0, true}, {"zero", "* OK [UIDVALIDITY 0] x", 0, true}, {"any will do", "* OK [UIDVALIDITY 8] x", 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := preauth(t, bare, Config{}, func(p *script) {
				p.expect(`SELECT "INBOX"`, "UID FETCH 1:*"+newItems)
				p.say("* 1 EXISTS", tc.code, "$1 OK open", newLine(1), "$2 OK done")
			})
			_, err := s.Changes(t.Context(), remote.Box{Name: "INBOX", UIDValidity: tc.box}, remote.Since{})
			if (err == nil) != tc.ok || (err != nil && !errors.Is(err, remote.ErrUIDValidity)) {
				t.Errorf("Changes: %v", err)
			}
		})
	}
}

func TestNewMessageKnownByTheWayOnlyIsAskedFor(t *testing.T) {
	ch := changes(t, bare, remote.Since{}, func(p *script) {
		p.expect(`SELECT "INBOX"`, "UID FETCH 1:*"+newItems)
		p.say(selected(2, 3, 0)...)
		p.say("$1 OK open", newLine(1), `* 2 FETCH (UID 2 FLAGS (\Seen))`, "* 3 EXISTS", `* 3 FETCH (UID 3 FLAGS ())`, "$2 OK done")
		p.expect("UID FETCH 2" + newItems)
		p.say(newLine(2), "$1 OK done")
	})
	want(t, ch, nil, []mail.UID{1, 2}, nil)
	if ch.Selected.UIDNext != 3 || ch.New[1].Size != 10 {
		t.Errorf("UIDNEXT %d, message %+v", ch.Selected.UIDNext, ch.New[1])
	}
}

func TestMessageThatIsWithheldStaysAheadOfTheMark(t *testing.T) {
	ch := changes(t, condstore, knownUIDs(20, 3, 1, 2), func(p *script) {
		p.expect(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 3:*"+newItems, "UID FETCH 1:2 (UID FLAGS) (CHANGEDSINCE 20)")
		p.say(selected(5, 6, 30)...)
		p.say("$1 OK open", newLine(3), newLine(5), "$2 OK done", "$3 OK done")
		p.expect("UID SEARCH RETURN (ALL) ALL")
		p.say(`* ESEARCH (TAG "$1") UID ALL 1:5`, "$1 OK done")
		p.expect("UID FETCH 4" + newItems)
		p.say("$1 NO [UNAVAILABLE] not this one")
	})
	want(t, ch, nil, []mail.UID{3, 5}, nil)
	if ch.Selected.UIDNext != 4 {
		t.Errorf("UIDNEXT %d", ch.Selected.UIDNext)
	}
}

func TestMessageThatCameWhileReadingMovesTheMark(t *testing.T) {
	ch := changes(t, condstore, knownUIDs(20, 3, 1, 2), func(p *script) {
		p.expect(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 3:*"+newItems, "UID FETCH 1:2 (UID FLAGS) (CHANGEDSINCE 20)")
		p.say(selected(3, 4, 30)...)
		p.say("$1 OK open", "* 4 EXISTS", newLine(3), newLine(4), "$2 OK done", "$3 OK done")
	})
	want(t, ch, nil, []mail.UID{3, 4}, nil)
	if ch.Selected.UIDNext != 5 || ch.Selected.Messages != 3 {
		t.Errorf("UIDNEXT %d, %d messages", ch.Selected.UIDNext, ch.Selected.Messages)
	}
}

func TestEmptyMailboxMayRefuseAnyUID(t *testing.T) {
	ch := changes(t, bare, remote.Since{}, func(p *script) {
		p.expect(`SELECT "INBOX"`, "UID FETCH 1:*"+newItems)
		p.say(selected(0, 1, 0)...)
		p.say("$1 OK open", "$2 BAD nothing here")
	})
	want(t, ch, nil, nil, nil)
}

func TestReadingsOfABareServerEqualThoseOfACapableOne(t *testing.T) {
	// The same history on a server of each kind: 1..5 known; 2 deleted, 3 seen, 6 new.
	mark := knownUIDs(20, 6, 1, 2, 3, 4, 5)
	tail := func(p *script) { p.say(newLine(6)) }
	kinds := map[string]struct {
		caps string
		play func(p *script)
	}{
		"bare": {bare, func(p *script) {
			p.expect(`SELECT "INBOX"`, "UID FETCH 6:*"+newItems, "UID FETCH 1:5 (UID FLAGS)")
			p.say(selected(5, 7, 0)...)
			p.say("$1 OK open")
			tail(p)
			p.say("$2 OK x", "* 1 FETCH (UID 1 FLAGS ())", `* 2 FETCH (UID 3 FLAGS (\Seen))`, "* 3 FETCH (UID 4 FLAGS ())", "* 4 FETCH (UID 5 FLAGS ())", "$3 OK x")
		}},
		"condstore": {condstore, func(p *script) {
			p.expect(`SELECT "INBOX" (CONDSTORE)`, "UID FETCH 6:*"+newItems, "UID FETCH 1:5 (UID FLAGS) (CHANGEDSINCE 20)")
			p.say(selected(5, 7, 30)...)
			p.say("$1 OK open")
			tail(p)
			p.say("$2 OK x", `* 2 FETCH (UID 3 FLAGS (\Seen) MODSEQ (22))`, "$3 OK x")
			p.expect("UID SEARCH RETURN (ALL) ALL")
			p.say(`* ESEARCH (TAG "$1") UID ALL 1,3:6`, "$1 OK x")
		}},
		"qresync": {qresync, func(p *script) {
			p.expect(`SELECT "INBOX" (QRESYNC (7 20 1:5))`, "UID FETCH 6:*"+newItems)
			p.say(selected(5, 7, 30)...)
			p.say("* VANISHED (EARLIER) 2", `* 2 FETCH (UID 3 FLAGS (\Seen) MODSEQ (22))`, "$1 OK open")
			tail(p)
			p.say("$2 OK x")
		}},
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			ch := changes(t, kind.caps, mark, kind.play)
			flags := map[mail.UID]string{}
			for _, m := range ch.Flags {
				flags[m.UID] = m.Flags.String()
			}
			if flags[3] != `\Seen` || strings.Join([]string{flags[1], flags[4], flags[5]}, "") != "" {
				t.Errorf("flags %v", flags)
			}
			if !slices.Equal(uidsOf(ch.New), []mail.UID{6}) || ch.Vanished.String() != "2" {
				t.Errorf("new %v, vanished %v", uidsOf(ch.New), ch.Vanished)
			}
		})
	}
}

func TestFetchAsksAgainForWhatIsMissing(t *testing.T) {
	s := preauth(t, bare, Config{}, func(p *script) {
		p.expect(`SELECT "INBOX"`, "UID FETCH 1:3 (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER])")
		p.say(selected(3, 4, 0)...)
		p.say("$1 OK open", `* 1 FETCH (UID 1 FLAGS ())`, "* 2 FETCH (BODY[HEADER] {9}\r\nA: b\r\n\r\nx UID 2 FLAGS () RFC822.SIZE -1)", "$2 OK done")
		p.sayWhatIsThere("1,3", "1 3")
		p.expect("UID FETCH 1 (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER])", "UID FETCH 3 (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER])")
		p.say("* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 7 BODY[HEADER] \"A: b\")", "$1 OK done", "$2 OK done")
	})
	got, err := s.Fetch(t.Context(), box7(), mail.NewUIDSet(1, 2, 3), remote.FetchItems{Size: true, Header: true})
	if err != nil || !slices.Equal(uidsOf(got), []mail.UID{1, 2}) {
		t.Fatalf("Fetch: %+v, %v", got, err)
	}
	if got[0].Header == nil || got[1].Header == nil || got[0].Header.Header != got[1].Header.Header || got[0].Size != 7 {
		t.Errorf("messages %+v, %+v", got[0], got[1])
	}
}

func TestFetchReportsRefusalsWithTheRest(t *testing.T) {
	s := preauth(t, bare, Config{}, func(p *script) {
		p.expect(`SELECT "INBOX"`, "UID FETCH 1:2 (UID FLAGS)")
		p.say(selected(2, 3, 0)...)
		p.say("$1 OK open", "$2 NO [UNAVAILABLE] not now")
		p.sayWhatIsThere("1:2", "1 2")
		p.expect("UID FETCH 1 (UID FLAGS)", "UID FETCH 2 (UID FLAGS)")
		p.say("* 1 FETCH (UID 1 FLAGS ())", "$1 OK done", "$2 NO [UNAVAILABLE] not this")
	})
	got, err := s.Fetch(t.Context(), box7(), mail.NewUIDSet(1, 2), remote.FetchItems{})
	if !slices.Equal(uidsOf(got), []mail.UID{1}) || remote.ClassOf(err) != remote.Refused {
		t.Errorf("Fetch: %+v, %v", got, err)
	}
}
