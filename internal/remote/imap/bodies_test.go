package imap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

const askBodies = " (UID FLAGS INTERNALDATE BODY.PEEK[])"

// bodyLine spells a usual answer with a body.
func bodyLine(seq, u int, text string) string {
	return fmt.Sprintf("* %d FETCH (UID %d FLAGS (\\Seen) INTERNALDATE \"07-Aug-2019 06:05:04 +0000\" BODY[] {%d}\r\n%s)", seq, u, len(text), text)
}

func TestBodyThatBreaksOffIsNoMessage(t *testing.T) {
	s := preauth(t, "IMAP4rev1", Config{}, func(p *script) {
		p.openBoxWith("UID FETCH 5" + askBodies)
		p.raw("* 1 FETCH (UID 5 FLAGS () INTERNALDATE \"07-Aug-2019 06:05:04 +0000\" BODY[] {100}\r\n0123456789")
		_ = p.c.Close()
	})
	var read error
	_, err := s.Bodies(t.Context(), box7(), mail.NewUIDSet(5), func(m remote.Message, body io.Reader) error {
		var text []byte
		text, read = io.ReadAll(body)
		if string(text) != "0123456789" || m.Size != 100 {
			t.Errorf("got %q of %d bytes", text, m.Size)
		}
		return read
	})
	if !errors.Is(read, io.ErrUnexpectedEOF) {
		t.Errorf("the body ended with %v", read)
	}
	if remote.ClassOf(err) != remote.Lost {
		t.Errorf("Bodies: %v", err)
	}
}

// openBoxWith plays a SELECT with commands behind it in one flight.
func (p *script) openBoxWith(commands ...string) {
	p.expect(append([]string{`SELECT "INBOX"`}, commands...)...)
	p.say(selected(9, 10, 0)...)
	p.say("$1 OK [READ-WRITE] open")
}

// TestNewestBodiesComeFirst also holds that messages that the mailbox has room for are asked for without any question
// before: more than a set may span, and some that came after the mailbox was opened and were listed.
func TestNewestBodiesComeFirst(t *testing.T) {
	const n = 12_000
	var asked []string
	s := openInstant(t, "IMAP4rev1", n, func(out *bytes.Buffer, command string) {
		switch {
		case command == "UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)":
			out.WriteString("* 12002 EXISTS\r\n")
			describe(out, span(1, n+2), " INTERNALDATE "+aDate+" RFC822.SIZE 1")
		case strings.HasSuffix(command, askBodies):
			asked = append(asked, setOf(command).String())
			for u := range setOf(command).All() {
				out.WriteString(bodyLine(int(u), int(u), "x") + "\r\n")
			}
		default:
			asked = append(asked, command)
		}
	})
	asked = nil
	ch, err := s.Changes(t.Context(), box7(), remote.Since{})
	if err != nil || len(ch.New) != n+2 {
		t.Fatal(len(ch.New), err)
	}
	trips := s.Traffic().RoundTrips
	var got []mail.UID
	missing, err := s.Bodies(t.Context(), box7(), mail.NewUIDSet(uidsOf(ch.New)...), func(m remote.Message, body io.Reader) error {
		got = append(got, m.UID)
		_, err := io.Copy(io.Discard, body)
		return err
	})
	if err != nil || len(missing) != 0 || len(got) != n+2 || got[0] != n+2-24 || got[24] != n+2 || got[n+1] != 500 {
		t.Errorf("%d messages, %d missing, %v", len(got), len(missing), err)
	}
	want := []string{`SELECT "INBOX"`, "11978:12002", "11903:11977", "11503:11902"}
	if len(asked) != 28 || !slices.Equal(asked[:4], want) || asked[len(asked)-1] != "1:500" {
		t.Errorf("asked %d times: %q", len(asked), asked)
	}
	if trips = s.Traffic().RoundTrips - trips; trips > 29 {
		t.Errorf("%d round trips", trips)
	}
}

func TestUnsolicitedFetchDoesNotStandInForTheAnswer(t *testing.T) {
	s := preauth(t, "IMAP4rev1", Config{}, func(p *script) {
		p.openBoxWith("UID FETCH 5:6" + askBodies)
		p.say(`* 1 FETCH (UID 5 FLAGS (\Seen))`, bodyLine(1, 5, "five"), `* 2 FETCH (FLAGS (\Seen))`, bodyLine(2, 6, "six"),
			`* 1 FETCH (UID 5 FLAGS (\Answered))`, "$2 OK done")
	})
	got, missing := bodiesOf(t, s, box7(), 5, 6)
	if len(missing) != 0 || got[5] != "five" || got[6] != "six" {
		t.Errorf("got %v, missing %v", got, missing)
	}
}

func TestBodyBeforeItsUID(t *testing.T) {
	large := strings.Repeat("x", maxAside+1)
	s := preauth(t, "IMAP4rev1", Config{}, func(p *script) {
		p.openBoxWith("UID FETCH 5:7" + askBodies)
		p.say("* 1 FETCH (BODY[] {4}\r\nfive UID 5 FLAGS (\\Seen) INTERNALDATE \"07-Aug-2019 06:05:04 +0000\")",
			fmt.Sprintf("* 2 FETCH (BODY[] {%d}\r\n%s UID 6 FLAGS (\\Flagged) INTERNALDATE \"07-Aug-2019 06:05:04 +0000\")", len(large), large),
			bodyLine(3, 7, "seven"), "$2 OK done")
		p.sayWhatIsThere("6", "6")
		p.expect("UID FETCH 6" + askBodies)
		p.say(fmt.Sprintf("* 2 FETCH (BODY[] {%d}\r\n%s UID 6 FLAGS (\\Flagged) INTERNALDATE NIL)", len(large), large), "$1 OK done")
	})
	flags := map[mail.UID]mail.Flags{}
	sizes := map[mail.UID]int64{}
	missing, err := s.Bodies(t.Context(), box7(), mail.NewUIDSet(5, 6, 7), func(m remote.Message, body io.Reader) error {
		flags[m.UID] = m.Flags
		n, err := io.Copy(io.Discard, body)
		sizes[m.UID] = n
		return err
	})
	if err != nil || len(missing) != 0 || sizes[5] != 4 || sizes[6] != int64(len(large)) || sizes[7] != 5 {
		t.Errorf("sizes %v, missing %v, %v", sizes, missing, err)
	}
	if !flags[6].Has(mail.Flagged) || !flags[5].Has(mail.Seen) {
		t.Errorf("flags are %v", flags)
	}
}

func TestLargeBodyOfAnotherMessageIsNotTaken(t *testing.T) {
	large := strings.Repeat("x", maxAside+1)
	answer := func(u int) string {
		return fmt.Sprintf("* 2 FETCH (BODY[] {%d}\r\n%s UID %d FLAGS () INTERNALDATE NIL)", len(large), large, u)
	}
	s := preauth(t, "IMAP4rev1", Config{}, func(p *script) {
		p.openBoxWith("UID FETCH 6" + askBodies)
		p.say(answer(6), "$2 OK done")
		p.sayWhatIsThere("6", "6")
		p.expect("UID FETCH 6" + askBodies)
		p.say(answer(8), "$1 OK done")
	})
	_, err := s.Bodies(t.Context(), box7(), mail.NewUIDSet(6), func(_ remote.Message, body io.Reader) error {
		_, err := io.Copy(io.Discard, body)
		return err
	})
	if !errors.Is(err, errWrongMessage) {
		t.Errorf("another message's body was taken: %v", err)
	}
}

func TestNilBodyIsMissing(t *testing.T) {
	s := preauth(t, "IMAP4rev1", Config{}, func(p *script) {
		p.openBoxWith("UID FETCH 5" + askBodies)
		p.say("* 1 FETCH (UID 5 FLAGS () INTERNALDATE NIL BODY[] NIL)", "$2 OK done")
		p.sayWhatIsThere("5", "5")
		p.expect("UID FETCH 5" + askBodies)
		p.say("* 1 FETCH (UID 5 FLAGS () INTERNALDATE NIL BODY[] NIL)", "$1 OK done")
		p.sayWhatIsThere("5", "5")
	})
	got, missing := bodiesOf(t, s, box7(), 5)
	if len(got) != 0 || remote.ClassOf(missing[5]) != remote.Refused {
		t.Errorf("got %v, missing %v", got, missing)
	}
}

func TestEmptyAndQuotedBodiesAreBodies(t *testing.T) {
	s := preauth(t, "IMAP4rev1", Config{}, func(p *script) {
		p.openBoxWith("UID FETCH 5:8" + askBodies)
		p.say(bodyLine(1, 5, ""), `* 2 FETCH (UID 6 FLAGS () INTERNALDATE NIL BODY[] "")`,
			`* 3 FETCH (BODY[] "seven \"7\"" UID 7 FLAGS () INTERNALDATE NIL)`,
			"* 4 FETCH (UID 8 FLAGS () INTERNALDATE NIL BODY[] ~{3}\r\na\x00b)", "$2 OK done")
	})
	got, missing := bodiesOf(t, s, box7(), 5, 6, 7, 8)
	if len(missing) != 0 || len(got) != 4 || got[5] != "" || got[6] != "" || got[7] != `seven "7"` || got[8] != "a\x00b" {
		t.Errorf("got %q, missing %v", fmt.Sprint(got), missing)
	}
}

func TestBodyNobodyAskedForIsSkipped(t *testing.T) {
	s := preauth(t, "IMAP4rev1", Config{}, func(p *script) {
		p.openBoxWith("UID FETCH 5" + askBodies)
		p.say(bodyLine(3, 8, "not asked for"), bodyLine(1, 5, "five"), bodyLine(1, 5, "five again"), "$2 OK done")
	})
	got, missing := bodiesOf(t, s, box7(), 5)
	if len(missing) != 0 || len(got) != 1 || got[5] != "five" {
		t.Errorf("got %v, missing %v", got, missing)
	}
}

func TestMissingBodiesAreAskedForOnceMoreAndExplained(t *testing.T) {
	s := preauth(t, "IMAP4rev1", Config{}, func(p *script) {
		p.openBoxWith("UID FETCH 4:8" + askBodies)
		p.say(bodyLine(1, 4, "four"), "$2 NO [UNAVAILABLE] not all")
		p.sayWhatIsThere("5:8", "5 6 7")
		p.expect("UID FETCH 5"+askBodies, "UID FETCH 6"+askBodies, "UID FETCH 7"+askBodies)
		p.say("$1 NO [UNAVAILABLE] never", bodyLine(2, 6, "six"), "$2 OK done", "$3 OK done")
		p.sayWhatIsThere("5,7", "5")
	})
	got, missing := bodiesOf(t, s, box7(), 4, 5, 6, 7, 8)
	if got[4] != "four" || got[6] != "six" || len(missing) != 3 || !errors.Is(missing[8], remote.ErrGone) {
		t.Errorf("got %v, missing %v", got, missing)
	}
	if e, ok := errors.AsType[*remote.Error](missing[5]); !ok || e.Class != remote.Refused || e.Code != "UNAVAILABLE" {
		t.Errorf("message 5: %v", missing[5])
	}
	if !errors.Is(missing[7], remote.ErrGone) {
		t.Errorf("message 7: %v", missing[7])
	}
}

func TestGarbledSearchIsNoEvidenceThatAMessageIsGone(t *testing.T) {
	s := preauth(t, "IMAP4rev1", Config{}, func(p *script) {
		p.openBoxWith("UID FETCH 5" + askBodies)
		p.say("$2 OK done")
		p.sayWhatIsThere("5", "five")
		p.expect("UID FETCH 5" + askBodies)
		p.say("$1 OK done")
		p.sayWhatIsThere("5", "five")
	})
	_, missing := bodiesOf(t, s, box7(), 5)
	if errors.Is(missing[5], remote.ErrGone) || missing[5] == nil {
		t.Errorf("message 5: %v", missing[5])
	}
}

func TestErrorFromDeliverLeavesTheSessionInOrder(t *testing.T) {
	s := preauth(t, "IMAP4rev1", Config{}, func(p *script) {
		p.openBoxWith("UID FETCH 5:6" + askBodies)
		p.say(bodyLine(1, 5, strings.Repeat("five", 100_000)), bodyLine(2, 6, "six"), "$2 OK done")
		p.expect("UID FETCH 6" + askBodies)
		p.say(bodyLine(2, 6, "six"), "$1 OK done")
	})
	full := errors.New("disk full")
	calls := 0
	_, err := s.Bodies(t.Context(), box7(), mail.NewUIDSet(5, 6), func(remote.Message, io.Reader) error { calls++; return full })
	if !errors.Is(err, full) || calls != 1 {
		t.Errorf("Bodies: %v after %d calls", err, calls)
	}
	if got, _ := bodiesOf(t, s, box7(), 6); got[6] != "six" {
		t.Errorf("afterwards: %v", got)
	}
}

func TestSizeThatTheServerGetsWrongIsOnlyAHint(t *testing.T) {
	s := preauth(t, "IMAP4rev1", Config{}, func(p *script) {
		p.openBoxWith("UID FETCH 5" + askBodies)
		p.say("* 1 FETCH (UID 5 RFC822.SIZE 6298 FLAGS () INTERNALDATE NIL BODY[] {4}\r\nfive)", "$2 OK done")
	})
	if got, _ := bodiesOf(t, s, box7(), 5); got[5] != "five" {
		t.Errorf("got %v", got)
	}
}

func TestLiteralSizes(t *testing.T) {
	for _, tc := range []struct {
		size string
		ok   bool
	}{
		{"2147483648", true}, {"4294967296", true}, {fmt.Sprint(int64(maxBody)), true}, {fmt.Sprint(int64(maxBody) + 1), false}, {fmt.Sprint(int64(math.MaxInt64 - 1)), false},
		{"9223372036854775807", false}, {"9223372036854775808", false}, {"99999999999999999999999", false},
	} {
		t.Run(tc.size, func(t *testing.T) {
			s := preauth(t, "IMAP4rev1", Config{}, func(p *script) {
				p.openBoxWith("UID FETCH 5" + askBodies)
				p.raw("* 1 FETCH (UID 5 FLAGS () INTERNALDATE NIL BODY[] {" + tc.size + "}\r\nonly this")
				_ = p.c.Close()
			})
			var size int64
			_, err := s.Bodies(t.Context(), box7(), mail.NewUIDSet(5), func(m remote.Message, body io.Reader) error {
				size = m.Size
				_, err := io.Copy(io.Discard, body)
				return err
			})
			want := remote.Lost
			if !tc.ok {
				want = remote.Protocol
			}
			if remote.ClassOf(err) != want || tc.ok != (fmt.Sprint(size) == tc.size) {
				t.Errorf("size %d, %v", size, err)
			}
		})
	}
}

func TestLargeBodyNeedsNoMemory(t *testing.T) {
	const size = 300 << 20
	s := preauth(t, "IMAP4rev1", Config{Trace: func(byte, string) {}}, func(p *script) {
		p.openBoxWith("UID FETCH 5" + askBodies)
		p.raw(fmt.Sprintf("* 1 FETCH (UID 5 FLAGS () INTERNALDATE NIL BODY[] {%d}\r\n", size))
		block := make([]byte, 1<<20)
		for range size / len(block) {
			_, _ = p.c.Write(block)
		}
		p.say(")", "$2 OK done")
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var n int64
	missing, err := s.Bodies(t.Context(), box7(), mail.NewUIDSet(5), func(_ remote.Message, body io.Reader) (err error) {
		n, err = io.Copy(io.Discard, body)
		return err
	})
	runtime.ReadMemStats(&after)
	if err != nil || len(missing) != 0 || n != size {
		t.Errorf("%d bytes, missing %v, %v", n, missing, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
}

func TestCancelWhileABodyComes(t *testing.T) {
	s := preauth(t, "IMAP4rev1", Config{}, func(p *script) {
		p.openBoxWith("UID FETCH 5" + askBodies)
		p.raw("* 1 FETCH (UID 5 FLAGS () INTERNALDATE NIL BODY[] {1000}\r\nsome")
	})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Bodies(ctx, box7(), mail.NewUIDSet(5), func(_ remote.Message, body io.Reader) error {
		var some [4]byte
		if _, err := io.ReadFull(body, some[:]); err != nil {
			t.Error(err)
		}
		cancel()
		_, err := io.Copy(io.Discard, body)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the body ended with %v", err)
		}
		return err
	})
	if remote.ClassOf(err) != remote.Lost || !errors.Is(err, context.Canceled) {
		t.Errorf("Bodies: %v", err)
	}
	if _, err := s.Status(t.Context(), "INBOX"); remote.ClassOf(err) != remote.Lost {
		t.Errorf("afterwards: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
