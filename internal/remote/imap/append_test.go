package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

const plus = "IMAP4rev1 LITERAL+ UIDPLUS"

// fates collects what Append reports.
type fates struct {
	sent []int
	done []remote.Appended
	log  []string
}

func (f *fates) append(ctx context.Context, s *Session, uploads ...remote.Upload) error {
	_, err := s.Append(ctx, remote.Box{Name: "INBOX"}, 0, uploads, func(i int) {
		f.sent, f.log = append(f.sent, i), append(f.log, fmt.Sprintf("sent %d", i))
	}, func(i int, r remote.Appended) {
		f.done, f.log = append(f.done, r), append(f.log, fmt.Sprintf("done %d", i))
	})
	return err
}

func TestAppendIsPipelined(t *testing.T) {
	date := time.Date(2024, 5, 3, 4, 5, 6, 0, time.FixedZone("", -7*3600))
	s := preauth(t, plus, Config{}, func(p *script) {
		var tags []string
		for _, want := range []string{`APPEND "INBOX" (\Seen $x) " 3-May-2024 04:05:06 -0700" {3+}`, `APPEND "INBOX" {0+}`, `APPEND "INBOX" {3+}`} {
			p.expect(want)
			tags = append(tags, p.tags...)
			p.literal(len([]string{"one", "", "two"}[len(tags)-1]))
			if end := p.line(); end != "" {
				t.Errorf("behind the literal stands %q", end)
			}
		}
		p.tags = tags
		p.say("$3 OK [APPENDUID 7 13] done", "$1 OK [APPENDUID 7 11] done", "$2 NO [OVERQUOTA] full")
	})
	var f fates
	before := s.Traffic().RoundTrips
	err := f.append(t.Context(), s, upload("one", mail.NewFlags(`\Seen`, "$x"), date), upload("", mail.Flags{}, time.Time{}), upload("two", mail.Flags{}, time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)))
	if err != nil || len(f.done) != 3 {
		t.Fatalf("%v, %+v", err, f)
	}
	if f.done[0].UID != 11 || f.done[2].UID != 13 || f.done[0].UIDValidity != 7 {
		t.Errorf("%+v", f.done)
	}
	if e, ok := errors.AsType[*remote.Error](f.done[1].Err); !ok || e.Code != "OVERQUOTA" || e.Class != remote.Refused {
		t.Errorf("%v", f.done[1].Err)
	}
	if got := strings.Join(f.log, ","); !strings.HasSuffix(got, "done 0,done 1,done 2") {
		t.Errorf("order of reports: %s", got)
	}
	if n := s.Traffic().RoundTrips - before; n != 1 {
		t.Errorf("%d round trips", n)
	}
}

func TestSentIsCalledBeforeTheFirstByte(t *testing.T) {
	var told bool
	s := preauth(t, plus, Config{}, func(p *script) {
		p.expect(`APPEND "INBOX" {3+}`)
		if !told {
			t.Error("the message is on its way and sent was not called")
		}
		p.literal(3)
		p.line()
		p.say("$1 OK done")
	})
	_, err := s.Append(t.Context(), remote.Box{Name: "INBOX"}, 0, []remote.Upload{upload("one", mail.Flags{}, time.Time{})}, func(int) { told = true }, func(int, remote.Appended) {})
	if err != nil {
		t.Error(err)
	}
}

func TestUploadOfAnotherSizeTearsTheConnectionDown(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		size       int64
	}{
		{"shorter", "short", 100}, {"longer", "longer than said", 10}, {"longer than nothing", "x", 0}, {"empty", "", 10},
		{"much longer", strings.Repeat("x", 3*uploadChunk), 2 * uploadChunk}, {"much shorter", strings.Repeat("x", 2*uploadChunk), 3 * uploadChunk},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := preauth(t, plus, Config{}, func(p *script) {
				got, _ := io.ReadAll(p.r) // to the end of the connection
				_, text, _ := strings.Cut(string(got), "+}\r\n")
				if tc.size > 0 && int64(len(text)) >= tc.size {
					t.Errorf("the server has got all %d bytes", tc.size)
				}
				if tc.size == 0 && strings.Count(string(got), "\r\n") > 1 {
					t.Errorf("the server has got the end of the command: %q", got)
				}
			})
			up := upload(tc.text, mail.Flags{}, time.Time{})
			up.Size = tc.size
			var f fates
			err := f.append(t.Context(), s, up, upload("next", mail.Flags{}, time.Time{}))
			if remote.ClassOf(err) != remote.Lost || !strings.Contains(err.Error(), "changed") || len(f.done) != 0 || len(f.sent) != 1 {
				t.Errorf("%v, %+v", err, f)
			}
		})
	}
}

func TestUnreadableFileIsNotSent(t *testing.T) {
	s := preauth(t, plus, Config{}, func(p *script) {
		p.expect(`APPEND "INBOX" {3+}`)
		p.literal(3)
		p.line()
		p.say("$1 OK [APPENDUID 7 1] done")
	})
	denied := errors.New("permission denied")
	var f fates
	err := f.append(t.Context(), s, remote.Upload{Size: 5, Open: func() (io.ReadCloser, error) { return nil, denied }}, upload("one", mail.Flags{}, time.Time{}))
	if err != nil || len(f.done) != 2 || !errors.Is(f.done[0].Err, denied) || f.done[1].UID != 1 {
		t.Fatalf("%v, %+v", err, f)
	}
	if fmt.Sprint(f.sent) != "[1]" {
		t.Errorf("sent %v", f.sent)
	}
}

func TestSynchronisingLiterals(t *testing.T) {
	for _, tc := range []struct {
		caps  string
		size  int
		waits bool
	}{
		{"IMAP4rev1", 3, true}, {"IMAP4rev1 LITERAL-", 4096, false}, {"IMAP4rev1 LITERAL-", 4097, true}, {"IMAP4rev1 LITERAL+", 5000, false},
	} {
		t.Run(fmt.Sprintf("%s %d", tc.caps, tc.size), func(t *testing.T) {
			text := strings.Repeat("x", tc.size)
			s := preauth(t, tc.caps, Config{}, func(p *script) {
				var tags []string
				for range 2 {
					if tc.waits {
						p.expect(fmt.Sprintf(`APPEND "INBOX" {%d}`, tc.size))
						p.say("+ go on")
					} else {
						p.expect(fmt.Sprintf(`APPEND "INBOX" {%d+}`, tc.size))
					}
					tags = append(tags, p.tags...)
					if got := p.literal(tc.size) + p.line(); got != text {
						t.Errorf("got %d bytes", len(got))
					}
				}
				p.tags = tags
				p.say("$1 OK done", "$2 OK done")
			})
			var f fates
			if err := f.append(t.Context(), s, upload(text, mail.Flags{}, time.Time{}), upload(text, mail.Flags{}, time.Time{})); err != nil || len(f.done) != 2 {
				t.Errorf("%v, %+v", err, f)
			}
		})
	}
}

func TestRefusedLiteralKeepsTheSession(t *testing.T) {
	s := preauth(t, "IMAP4rev1 UIDPLUS", Config{}, func(p *script) {
		p.expect(`APPEND "INBOX" {3}`)
		p.say("$1 NO [TRYCREATE] no such mailbox")
		p.expect(`APPEND "INBOX" {5}`)
		p.say("* OK thinking", "+ go on")
		if got := p.literal(5) + p.line(); got != "three" {
			t.Errorf("got %q", got)
		}
		p.say("$1 OK [APPENDUID 7 9] done")
		p.expect(`STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY)`)
		p.say("* STATUS INBOX (MESSAGES 1)", "$1 OK done")
	})
	var f fates
	if err := f.append(t.Context(), s, upload("one", mail.Flags{}, time.Time{}), upload("three", mail.Flags{}, time.Time{})); err != nil || len(f.done) != 2 {
		t.Fatalf("%v, %+v", err, f)
	}
	if !errors.Is(f.done[0].Err, remote.ErrNoMailbox) || f.done[1].UID != 9 {
		t.Errorf("%+v", f.done)
	}
	if _, err := s.Status(t.Context(), "INBOX"); err != nil {
		t.Error(err)
	}
}

// TestMessageAnsweredBad: some servers say BAD to a message whose lines are too long for them.
func TestMessageAnsweredBad(t *testing.T) {
	s := preauth(t, plus, Config{}, func(p *script) {
		var tags []string
		for range 2 {
			p.expect(`APPEND "INBOX" {3+}`)
			tags = append(tags, p.tags...)
			p.literal(3)
			p.line()
		}
		p.tags = tags
		p.say("$1 BAD Command Argument Error. 11", "$2 OK [APPENDUID 7 9] done")
		p.expect(`STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY)`)
		p.say("* STATUS INBOX (MESSAGES 1)", "$1 OK done")
	})
	var f fates
	err := f.append(t.Context(), s, upload("one", mail.Flags{}, time.Time{}), upload("two", mail.Flags{}, time.Time{}))
	if err != nil || len(f.done) != 2 || remote.ClassOf(f.done[0].Err) != remote.Refused || f.done[1].UID != 9 {
		t.Errorf("%v, %+v", err, f)
	}
	if _, err := s.Status(t.Context(), "INBOX"); err != nil {
		t.Error(err)
	}
}

func TestContinuationThatNobodyWaitsFor(t *testing.T) {
	s := preauth(t, plus, Config{}, func(p *script) {
		p.say("+ early")
		p.expect(`APPEND "INBOX" {3+}`)
		p.say("+ idle")
		p.literal(3)
		p.line()
		p.say("+ late", "$1 OK done")
	})
	var f fates
	if err := f.append(t.Context(), s, upload("one", mail.Flags{}, time.Time{})); err != nil || len(f.done) != 1 || f.done[0].Err != nil {
		t.Errorf("%v, %+v", err, f)
	}
}

func TestMessagesThatAreTooLargeAreNotSent(t *testing.T) {
	s := preauth(t, "IMAP4rev1 LITERAL+ APPENDLIMIT=10", Config{}, func(p *script) {
		p.expect(`APPEND "INBOX" {10+}`)
		p.literal(10)
		p.line()
		p.say("$1 OK done")
	})
	if got := s.Capabilities().AppendLimit; got != 10 {
		t.Errorf("APPENDLIMIT %d", got)
	}
	var f fates
	if err := f.append(t.Context(), s, upload("eleven byte", mail.Flags{}, time.Time{}), upload("ten  bytes", mail.Flags{}, time.Time{})); err != nil {
		t.Fatal(err)
	}
	if e, ok := errors.AsType[*remote.Error](f.done[0].Err); !ok || e.Code != "TOOBIG" || f.done[1].Err != nil || fmt.Sprint(f.sent) != "[1]" {
		t.Errorf("%+v", f)
	}
}

func TestAppendUID(t *testing.T) {
	for code, uid := range map[string]mail.UID{
		"[APPENDUID 7 9]": 9, "[appenduid 7 9 ]": 9, "": 0, "[APPENDUID]": 0, "[APPENDUID 7]": 0, "[APPENDUID 7 0]": 0, "[APPENDUID 7 4294967296]": 0,
		"[APPENDUID 7 4:5]": 0, "[APPENDUID 7 *]": 0, "[APPENDUID x 9]": 0, "[COPYUID 7 1 9]": 0, "[APPENDUID 7 4294967295]": 4294967295,
	} {
		st, ok := parseStatus([]byte("OK " + code + " done"))
		validity, uids := appendUIDs(st, 1)
		if !ok || (uid != 0) != (len(uids) == 1 && uids[0] == uid && validity == 7) || (uid == 0) != (len(uids) == 0) {
			t.Errorf("%s: %d %d", code, validity, uids)
		}
	}
}

func TestAppendUIDInTheWrongPlaceIsIgnored(t *testing.T) {
	s := preauth(t, plus, Config{}, func(p *script) {
		p.expect(`APPEND "INBOX" {3+}`)
		p.literal(3)
		p.line()
		p.say("* OK [APPENDUID 7 66] untagged", "S99 OK [APPENDUID 7 67] for nobody", "$1 OK done")
		p.openBox(2, 3)
		p.expect(`UID STORE 1 +FLAGS.SILENT (\Seen)`)
		p.say("* OK [COPYUID 7 1 9] what", "$1 OK [APPENDUID 7 66] what")
	})
	var f fates
	if err := f.append(t.Context(), s, upload("one", mail.Flags{}, time.Time{})); err != nil || f.done[0].UID != 0 {
		t.Errorf("%v, %+v", err, f)
	}
	if _, refused, err := s.Store(t.Context(), box7(), uidSet(1), true, mail.SystemFlags(mail.Seen)); err != nil || len(refused) != 0 {
		t.Errorf("%v, %v", refused, err)
	}
}

func TestAppendReadsWhileItWrites(t *testing.T) {
	// The pipe between the two holds nothing: a client that only wrote would never get further than the first answer.
	const n = 300
	s := preauth(t, plus, Config{Trace: func(byte, string) {}}, func(p *script) {
		for i := range n {
			p.expect(`APPEND "INBOX" {3+}`)
			p.literal(3)
			p.line()
			p.say(fmt.Sprintf("$1 OK [APPENDUID 7 %d] done", i+1))
		}
	})
	var uploads []remote.Upload
	for range n {
		uploads = append(uploads, upload("one", mail.Flags{}, time.Time{}))
	}
	var f fates
	if err := f.append(t.Context(), s, uploads...); err != nil || len(f.done) != n || f.done[n-1].UID != n {
		t.Errorf("%v, %d done", err, len(f.done))
	}
}

func TestWindowOfAppends(t *testing.T) {
	for _, tc := range []struct{ size, want int }{{10, appendsUnderWay}, {appendBytesUnderWay / 4, 4}, {appendBytesUnderWay * 2, 1}} {
		t.Run(fmt.Sprint(tc.size), func(t *testing.T) {
			text := strings.Repeat("x", tc.size)
			s := preauth(t, plus, Config{}, func(p *script) {
				var tags []string
				for range tc.want {
					p.expect(fmt.Sprintf(`APPEND "INBOX" {%d+}`, tc.size))
					tags = append(tags, p.tags...)
					p.literal(tc.size)
					p.line()
				}
				_ = p.c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
				if more := p.line(); more != "" {
					t.Errorf("%q is sent on top", more)
				}
				_ = p.c.SetReadDeadline(time.Time{})
				for _, tag := range tags {
					p.say(tag + " OK done")
				}
				p.expect(fmt.Sprintf(`APPEND "INBOX" {%d+}`, tc.size))
				p.literal(tc.size)
				p.line()
				p.say("$1 OK done")
			})
			var uploads []remote.Upload
			for range tc.want + 1 {
				uploads = append(uploads, upload(text, mail.Flags{}, time.Time{}))
			}
			var f fates
			if err := f.append(t.Context(), s, uploads...); err != nil || len(f.done) != tc.want+1 {
				t.Errorf("%v, %d done", err, len(f.done))
			}
		})
	}
}

func TestSessionThatDiesDuringAppend(t *testing.T) {
	s := preauth(t, plus, Config{}, func(p *script) {
		p.expect(`APPEND "INBOX" {3+}`)
		p.literal(3)
		p.line()
		p.say("$1 OK [APPENDUID 7 1] done")
		p.expect(`APPEND "INBOX" {3+}`)
		_ = p.c.Close()
		_, _ = io.Copy(io.Discard, p.r)
	})
	var f fates
	one := upload("one", mail.Flags{}, time.Time{})
	err := f.append(t.Context(), s, one, one, one)
	if remote.ClassOf(err) != remote.Lost || len(f.done) != 1 || len(f.sent) < 2 {
		t.Errorf("%v, %+v", err, f)
	}
}
