package imap

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// look stores messages in box7 and looks from UID 5 on.
func (f *fates) look(t *testing.T, s *Session, uploads ...remote.Upload) []remote.Message {
	t.Helper()
	seen, err := s.Append(t.Context(), box7(), 5, uploads, func(i int) { f.sent = append(f.sent, i) }, func(_ int, r remote.Appended) { f.done = append(f.done, r) })
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// expectUploads expects an APPEND for each text, and behind them what is asked besides.
func (p *script) expectUploads(texts []string, besides ...string) {
	var tags []string
	for _, text := range texts {
		p.expect(`APPEND "INBOX" {` + itoa(len(text)) + `+}`)
		tags = append(tags, p.tags...)
		p.literal(len(text))
		p.line()
	}
	p.expect(besides...)
	p.tags = append(tags, p.tags...)
}

func TestLookGoesWithTheUploads(t *testing.T) {
	texts := []string{"one", "two", "by"}
	stored := []string{"$1 OK [APPENDUID 7 5] done", "$2 NO [OVERQUOTA] full", "$3 OK [APPENDUID 7 9] done"}
	open := append(selected(3, 10, 0), "$4 OK [READ-WRITE] open")
	five, nine := `* 2 FETCH (UID 5 FLAGS (\Seen) RFC822.SIZE 3)`, `* 3 FETCH (UID 9 FLAGS () RFC822.SIZE 4)`
	for name, tc := range map[string]struct {
		answer []string
		seen   []mail.UID
	}{
		"all":                         {slices.Concat(stored, open, []string{five, nine, "$5 OK done"}), []mail.UID{5, 9}},
		"some":                        {slices.Concat(stored, open, []string{nine, "$5 OK done"}), []mail.UID{9}},
		"and others":                  {slices.Concat(stored, open, []string{`* 1 FETCH (UID 4 FLAGS () RFC822.SIZE 3)`, `* 3 FETCH (UID 112 FLAGS () RFC822.SIZE 3)`, five, "$5 OK done"}), []mail.UID{5}},
		"not all of it":               {slices.Concat(stored, open, []string{`* 2 FETCH (UID 5 FLAGS (\Seen))`, `* 3 FETCH (UID 9 RFC822.SIZE 3)`, "$5 OK done"}), nil},
		"told before it was asked":    {slices.Concat([]string{`* 2 FETCH (UID 5 FLAGS (\Seen) RFC822.SIZE 3)`}, stored, open, []string{"$5 OK done"}), nil},
		"refused":                     {slices.Concat(stored, open, []string{five, "$5 NO not now"}), []mail.UID{5}},
		"no mailbox":                  {slices.Concat(stored, []string{"$4 NO it was deleted", "$5 BAD there is none open"}), nil},
		"another mailbox of its name": {slices.Concat(stored, []string{"* 3 EXISTS", "* OK [UIDVALIDITY 8] yes", "* OK [UIDNEXT 10] yes", "$4 OK open", five, nine, "$5 OK done"}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := preauth(t, plus, Config{}, func(p *script) {
				p.expectUploads(texts, `SELECT "INBOX"`, "UID FETCH 5:111 (UID FLAGS RFC822.SIZE INTERNALDATE)")
				p.say(tc.answer...)
			})
			var f fates
			var seen []remote.Message
			n := trips(s, func() { seen = f.look(t, s, plainUploads(texts...)...) })
			if n != 1 {
				t.Errorf("%d round trips", n)
			}
			if got := f.uids(); !slices.Equal(got, []mail.UID{5, 0, 9}) || f.done[1].Err == nil {
				t.Errorf("%+v", f.done)
			}
			if got := uidsOf(seen); !slices.Equal(got, tc.seen) {
				t.Errorf("seen %v, want %v", got, tc.seen)
			}
			for _, m := range seen {
				if m.UID == 5 && (m.Size != 3 || !m.Flags.Equal(mail.NewFlags(`\Seen`))) {
					t.Errorf("%+v", m)
				}
			}
		})
	}
}

// TestLookOpensTheMailboxAfresh: Dovecot does not notice what it stored last while commands arrive together.
func TestLookOpensTheMailboxAfresh(t *testing.T) {
	s := preauth(t, plus+" UNSELECT", Config{}, func(p *script) {
		p.openBox(1, 5)
		p.expectUploads([]string{"one"}, "UNSELECT", `SELECT "INBOX"`, "UID FETCH 5:107 (UID FLAGS RFC822.SIZE INTERNALDATE)")
		p.say("* 2 EXISTS", "$1 OK [APPENDUID 7 5] done", "$2 OK closed")
		p.say(strings.Split(strings.ReplaceAll(strings.Join(selected(2, 6, 0), "\n"), "$1", "$3"), "\n")...)
		p.say("$3 OK [READ-WRITE] open", `* 2 FETCH (UID 5 FLAGS () RFC822.SIZE 3)`, "$4 OK done")
	})
	if _, err := s.Select(t.Context(), "INBOX"); err != nil {
		t.Fatal(err)
	}
	var f fates
	if seen := f.look(t, s, plainUploads("one")...); len(seen) != 1 || seen[0].UID != 5 {
		t.Errorf("%+v", seen)
	}
}

// TestLookThatWouldHaveToWait is not asked for: the script stands for no more than the uploads.
func TestLookThatWouldHaveToWait(t *testing.T) {
	for _, tc := range []struct {
		caps, announced string
		size            int
		from            mail.UID
	}{
		{"IMAP4rev1 UIDPLUS", "{3}", 3, 5}, {"IMAP4rev1 UIDPLUS LITERAL-", "{4097}", 4097, 5}, {"IMAP4rev1 LITERAL+", "{3+}", 3, 5}, {plus, "{3+}", 3, 0},
	} {
		s := preauth(t, tc.caps, Config{}, func(p *script) {
			p.expect(`APPEND "INBOX" ` + tc.announced)
			if !strings.Contains(tc.announced, "+") {
				p.say("+ go on")
			}
			p.literal(tc.size)
			p.line()
			p.say("$1 OK done")
		})
		seen, err := s.Append(t.Context(), box7(), tc.from, plainUploads(strings.Repeat("x", tc.size)), func(int) {}, func(int, remote.Appended) {})
		if len(seen) > 0 || err != nil {
			t.Errorf("%s: %v, %v", tc.caps, seen, err)
		}
	}
}

func TestLookAgainWhenAGroupWasRefused(t *testing.T) {
	ask := "UID FETCH 5:109 (UID FLAGS RFC822.SIZE INTERNALDATE)"
	s := preauthBy(t, "Cyrus IMAP ready", multi, Config{}, func(p *script) {
		p.expectGroup("one", "bad")
		tags := p.tags
		p.expect(`SELECT "INBOX"`, ask)
		p.tags = append(tags, p.tags...)
		p.say("$1 NO [CANNOT] one of them is bad")
		p.say(selected(0, 5, 0)...)
		p.say("$2 OK [READ-WRITE] open", "$3 OK done")
		p.expectUploads([]string{"one", "bad"}, `SELECT "INBOX"`, ask)
		p.say("$1 OK [APPENDUID 7 5] done", "$2 NO [CANNOT] this is")
		p.say(selected(1, 6, 0)...)
		p.say("$3 OK [READ-WRITE] open", `* 1 FETCH (UID 5 FLAGS () RFC822.SIZE 3)`, "$4 OK done")
	})
	var f fates
	if seen := f.look(t, s, plainUploads("one", "bad")...); len(seen) != 1 || len(f.done) != 2 || f.done[0].UID != 5 || f.done[1].Err == nil {
		t.Errorf("%+v, %+v", seen, f.done)
	}
}

// TestLookOnServers: those that need not wait for anything show all that they stored, whether or not the mailbox is open, in one exchange.
func TestLookOnServers(t *testing.T) {
	for _, server := range []*servers.Server{servers.Dovecot(t, servers.Options{}), servers.Cyrus(t, servers.Options{})} {
		t.Run(server.Name, func(t *testing.T) {
			s := dial(t, configFor(server))
			sel, err := s.Select(t.Context(), "INBOX")
			if err != nil {
				t.Fatal(err)
			}
			box, from := remote.Box{Name: "INBOX", UIDValidity: sel.UIDValidity}, sel.UIDNext
			for _, n := range []int{1, 250, 3} {
				var uploads []remote.Upload
				for i := range n {
					uploads = append(uploads, upload(letter(i), mail.NewFlags(`\Flagged`), time.Time{}))
				}
				var seen []remote.Message
				var told []mail.UID
				turns := trips(s, func() {
					seen, err = s.Append(t.Context(), box, from, uploads, func(int) {}, func(_ int, r remote.Appended) { told = append(told, r.UID) })
				})
				if err != nil || turns != 1 || !slices.Equal(uidsOf(seen), told) {
					t.Fatalf("%d messages: %v, %d round trips, told %v, seen %v", n, err, turns, told, uidsOf(seen))
				}
				for i, m := range seen {
					if m.Size != uploads[i].Size || !m.Flags.Has(mail.Flagged) {
						t.Errorf("%+v", m)
					}
				}
				from = told[n-1] + 1
				if _, err := s.Mailboxes(t.Context()); err != nil { // closes the mailbox
					t.Fatal(err)
				}
			}
		})
	}
}
