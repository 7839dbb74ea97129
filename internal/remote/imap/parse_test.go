package imap

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

// TestOddFetchLines: what servers send that no grammar has, in answer to one FETCH of UIDs 1 and 2.
func TestOddFetchLines(t *testing.T) {
	for _, tc := range []struct {
		name, line string
		flags      string // of UID 1; "-": the line is left out
	}{
		{"bracket in a flag", `* 1 FETCH (UID 1 FLAGS (foo] \Seen))`, `\Seen foo]`},
		{"quoted flags", `* 1 FETCH (UID 1 FLAGS ("\\Seen" "kw"))`, `\Seen kw`},
		{"NIL flags", `* 1 FETCH (UID 1 FLAGS NIL)`, ""},
		{"space too many", `* 1 FETCH ( UID 1  FLAGS ( \Seen ) ) `, `\Seen`},
		{"flags unknown to all", `* 1 FETCH (UID 1 FLAGS (\Recent \EmailswithStickyNotes \Seen))`, `\Seen`},
		{"flags in any case", `* 1 FETCH (UID 1 FLAGS (\SEEN \deleted))`, `\Seen \Deleted`},
		{"flags that can't be sent back", "* 1 FETCH (UID 1 FLAGS (a\x01b \\Seen {))", `\Seen`},
		{"names in any case", `* 1 fetch (uid 1 flags (\Seen))`, `\Seen`},
		{"unknown items", `* 1 FETCH (X-GM-THRID 127 UID 1 PREVIEW NIL X-A (b ("c" {1}` + "\r\nd" + `) ) SAVEDATE "x" FLAGS (\Seen) BODY[HEADER.FIELDS (DATE FROM)]<0> "y")`, `\Seen`},
		{"malformed ENVELOPE", `* 1 FETCH (UID 1 FLAGS (\Seen) ENVELOPE (NIL NIL (("a" NIL "b") ("c" NIL))))`, `\Seen`},
		{"negative size", `* 1 FETCH (UID 1 RFC822.SIZE -1 FLAGS (\Seen))`, `\Seen`},
		{"size NIL", `* 1 FETCH (UID 1 RFC822.SIZE NIL FLAGS (\Seen))`, `\Seen`},
		{"bare LF", "* 1 FETCH (UID 1 FLAGS (\\Seen))\n* 3 EXISTS", `\Seen`},
		{"MODSEQ without parentheses", `* 1 FETCH (UID 1 MODSEQ 18446744073709551615 FLAGS (\Seen))`, `\Seen`},
		{"sequence number 0", `* 0 FETCH (UID 1 FLAGS (\Seen))`, `\Seen`},
		{"UIDFETCH", `* 1 UIDFETCH (UID 1 FLAGS (\Seen))`, `\Seen`},
		{"no end", `* 1 FETCH (UID 1 FLAGS (\Seen)`, "-"},
		{"no end of flags", `* 1 FETCH (UID 1 FLAGS (\Seen`, "-"},
		{"flags that are no list", `* 1 FETCH (UID 1 FLAGS \Seen)`, "-"},
		{"UID 0", `* 1 FETCH (UID 0 FLAGS (\Seen))`, "-"},
		{"UID too large", `* 1 FETCH (UID 4294967296 FLAGS (\Seen))`, "-"},
		{"no UID", `* 1 FETCH (FLAGS (\Seen))`, "-"},
		{"deep", `* 1 FETCH (UID 1 FLAGS (\Seen) X ` + strings.Repeat("(", 50) + strings.Repeat(")", 50) + `)`, "-"},
		{"parenthesis too many", `* 1 FETCH (UID 1 X ) FLAGS (\Seen))`, "-"},
		{"no items", `* 1 FETCH`, "-"},
		{"no item's value", `* 1 FETCH (UID 1 FLAGS (\Seen) X`, "-"},
		{"open quote", `* 1 FETCH (UID 1 FLAGS (\Seen) X "abc)`, "-"},
		{"escape at the end", `* 1 FETCH (UID 1 FLAGS (\Seen) X "abc\`, "-"},
		{"literal in the wrong place", "* 1 FETCH (UID {3}\r\nabc FLAGS (\\Seen))", "-"},
		{"brace", `* 1 FETCH (UID 1 FLAGS (\Seen) X {abc)`, `\Seen`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := preauth(t, bare, Config{}, func(p *script) {
				p.expect(`SELECT "INBOX"`, "UID FETCH 1:2 (UID FLAGS)")
				p.say(selected(2, 3, 0)...)
				p.say("$1 OK open", tc.line, "* 2 FETCH (UID 2 FLAGS (good))", "$2 OK done")
				if tc.flags == "-" {
					p.sayWhatIsThere("1", "1")
					p.expect("UID FETCH 1 (UID FLAGS)")
					p.say(tc.line, "$1 OK done")
				}
			})
			got, err := s.Fetch(t.Context(), box7(), uidSet(1, 2), remote.FetchItems{})
			if err != nil || len(got) == 0 {
				t.Fatalf("%+v, %v", got, err)
			}
			if last := got[len(got)-1]; last.UID != 2 || last.Flags.String() != "good" {
				t.Errorf("the next line is read as %+v", last)
			}
			switch {
			case tc.flags == "-" && len(got) != 1:
				t.Errorf("read as %+v", got)
			case tc.flags != "-" && (len(got) != 2 || got[0].Flags.String() != tc.flags):
				t.Errorf("read as %+v, want flags %q", got, tc.flags)
			}
		})
	}
}

func TestInternalDates(t *testing.T) {
	for text, want := range map[string]time.Time{
		"17-Jul-1996 02:44:25 -0700": time.Date(1996, 7, 17, 9, 44, 25, 0, time.UTC),
		" 1-jan-2020 00:00:00 +0000": time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		"1-Jan-2020 00:00:00 +0000":  time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		"01-Jan-1965 12:00:00 +0000": time.Date(1965, 1, 1, 12, 0, 0, 0, time.UTC),
		"00-Jan-2020 00:00:00 +0000": {}, "31-Feb-2020 00:00:00 +0000": {}, "01-Jan-0000 00:00:00 +9999": {}, "": {}, "NIL": {},
		"01-Mai-2020 00:00:00 +0000": {}, "01-Jan-20200 00:00:00 +0000": {}, "Mon, 1 Jan 2020 00:00:00": {},
	} {
		if got := parseDate([]byte(text)); !got.Equal(want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		if !want.IsZero() {
			if back := parseDate([]byte(formatDate(want))); !back.Equal(want) {
				t.Errorf("%v is written as %q", want, formatDate(want))
			}
		}
	}
}

func TestStatusResponses(t *testing.T) {
	for line, want := range map[string]status{
		"OK done":                       {kind: "OK", text: "done"},
		"ok [ReadOnly] x":               {kind: "OK", code: "READONLY", text: "x"},
		"NO [A b c] d":                  {kind: "NO", code: "A", arg: "b c", text: "d"},
		`OK [X "]" y] z`:                {kind: "OK", code: "X", arg: `"]" y`, text: "z"},
		`OK [X "a\"]" y] z`:             {kind: "OK", code: "X", arg: `"a\"]" y`, text: "z"},
		`OK [PERMANENTFLAGS (a] \*)] b`: {kind: "OK", code: "PERMANENTFLAGS", arg: `(a] \*)`, text: "b"},
		"OK [X ( ] z":                   {kind: "OK", code: "X", arg: "(", text: "z"},
		"OK [X z":                       {kind: "OK", text: "[X z"},
		"OK [] z":                       {kind: "OK", text: "z"},
		"BAD":                           {kind: "BAD"},
		"OK a\x1b[2Jb\x00c\xffd":        {kind: "OK", text: "a [2Jb c?d"},
		"NO ends in {5}":                {kind: "NO", text: "ends in {5}"},
		"BYE " + strings.Repeat("ä", remote.MaxText): {kind: "BYE", text: strings.Repeat("ä", remote.MaxText/2) + "…"},
	} {
		got, ok := parseStatus([]byte(line))
		if !ok || got != want {
			t.Errorf("%q: %+v, want %+v", line, got, want)
		}
	}
	for _, line := range []string{"", "OKAY", "MAYBE x", "* OK"} {
		if got, ok := parseStatus([]byte(line)); ok {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

func TestTextThatLooksLikeALiteralIsText(t *testing.T) {
	s := preauth(t, bare, Config{}, func(p *script) {
		p.expect(`STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY)`)
		p.say("* OK thinking about {7}", "* STATUS INBOX (MESSAGES 1)", "+ {3}", "$1 OK done {5}")
	})
	if st, err := s.Status(t.Context(), "INBOX"); err != nil || st.Messages != 1 {
		t.Errorf("%+v, %v", st, err)
	}
}

// drip is an endless answer.
type drip struct{ text string }

func (d drip) Read(p []byte) (int, error) {
	n := 0
	for n+len(d.text) <= len(p) {
		n += copy(p[n:], d.text)
	}
	if n == 0 {
		n = copy(p, d.text)
	}
	return n, nil
}

// TestBounds: an endless anything ends the session, with little memory.
func TestBounds(t *testing.T) {
	for name, text := range map[string]io.Reader{
		"line":                   drip{"x"},
		"line of data":           io.MultiReader(strings.NewReader("* LIST ("), drip{"x "}),
		"quoted string":          io.MultiReader(strings.NewReader("* LIST () \"/\" \""), drip{"x"}),
		"list of numbers":        io.MultiReader(strings.NewReader("* SEARCH "), drip{"1 "}),
		"literal of a name":      io.MultiReader(strings.NewReader("* LIST () \"/\" {1048577}\r\n"), drip{"x"}),
		"literals of a response": io.MultiReader(strings.NewReader("* ID ("), drip{"{1000000}\r\n" + strings.Repeat("x", 1000000)}),
		"lines of garbage":       drip{"garbage\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer ours.Close()
			go func() {
				_, _ = io.WriteString(theirs, "* PREAUTH [CAPABILITY IMAP4rev1] x\r\n")
				go func() { _, _ = io.Copy(io.Discard, theirs) }()
				_, _ = io.Copy(theirs, text)
			}()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			s, err := NewDialer(Config{Patience: 5 * time.Second}).open(t.Context(), transport.Conn{Conn: ours, Secure: true, Tunnel: true})
			if err == nil {
				_, err = s.Mailboxes(t.Context())
			}
			runtime.ReadMemStats(&after)
			if remote.ClassOf(err) != remote.Protocol {
				t.Errorf("got %v", err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 128<<20 {
				t.Errorf("%d bytes were allocated", used)
			}
		})
	}
}

func TestLongListsOfNumbersAreRead(t *testing.T) {
	const n = 200_000 // 1.4 MB
	var line strings.Builder
	line.WriteString("* SEARCH")
	for i := range n {
		line.WriteString(" " + itoa(1_000_000+2*i))
	}
	s := preauth(t, bare, Config{Trace: func(byte, string) {}}, func(p *script) {
		p.openBox(n, 2_000_000)
		p.expect("UID STORE 1000002 +FLAGS.SILENT (\\Deleted)")
		p.say("$1 OK done")
		p.expect("NOOP")
		p.say("$1 OK done")
		p.expect("UID SEARCH DELETED")
		p.say(line.String(), "$1 OK done")
	})
	pending, err := s.Expunge(t.Context(), box7(), uidSet(1_000_002))
	if err != nil || pending.String() != "1000002" {
		t.Errorf("%v, %v", pending, err)
	}
}

func TestLinesOfAnyLengthAndCut(t *testing.T) {
	var want []string
	var all bytes.Buffer
	for _, n := range []int{0, 1, 100, readBuffer - 2, readBuffer - 1, readBuffer, readBuffer + 1, 3 * readBuffer, maxLine, 5, 0} {
		line := strings.Repeat("y", n)
		want = append(want, line)
		all.WriteString(line + "\r\n")
	}
	for _, step := range []int{1 << 20, 4096, 7777} {
		l := newLineReader(&stepReader{bytes.NewReader(all.Bytes()), step})
		for i, line := range want {
			got, err := l.line()
			if err != nil || string(got) != line {
				t.Fatalf("steps of %d, line %d: %d bytes, %v, want %d", step, i, len(got), err, len(line))
			}
		}
		if _, err := l.line(); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	}
}

// stepReader gives at most n bytes at a time.
type stepReader struct {
	r io.Reader
	n int
}

func (s *stepReader) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.n)]) }

// canned is a connection to a server that says one thing whatever it is told.
type canned struct {
	net.Conn
	r io.Reader
}

func (c canned) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c canned) Write(p []byte) (int, error)      { return len(p), nil }
func (c canned) Close() error                     { return nil }
func (c canned) SetReadDeadline(time.Time) error  { return nil }
func (c canned) SetWriteDeadline(time.Time) error { return nil }

// FuzzResponses feeds arbitrary bytes to a session in all that it does: nothing may panic, hang, or be
// handed out that can't be.
func FuzzResponses(f *testing.F) {
	for _, seed := range []string{
		"S1 OK x\r\n* LIST () \"/\" INBOX\r\n* STATUS INBOX (MESSAGES 1 UIDNEXT 5 UIDVALIDITY 7)\r\nS2 OK x\r\n",
		"S1 OK x\r\n* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nS2 OK x\r\n* 1 FETCH (UID 1 FLAGS (\\Seen) BODY[] {3}\r\nabc)\r\nS3 OK x\r\n",
		"S1 OK x\r\n* VANISHED (EARLIER) 1:5\r\n* ESEARCH (TAG \"S3\") UID ALL 1:4294967295\r\n* SEARCH 1 2\r\nS2 OK [COPYUID 1 2 3] x\r\n",
		"* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\r\nS1 OK x\r\n* ID (\"name\" \"x\")\r\n+ go\r\n* BYE x\r\n",
		"S1 OK\r\n* 1 FETCH (BODY[] {4}\r\nbody UID 1 FLAGS () INTERNALDATE NIL)\r\n* 1 FETCH (BODY[HEADER] {4}\r\nA: b UID 1)\r\n",
		"S1 OK x\r\n* 3 EXISTS\r\nS2 OK x\r\n+ idle\r\n* 4 EXISTS\r\n* VANISHED 1:9\r\n* 1 FETCH (MODSEQ (5))\r\nS3 OK x\r\n+ x\r\n* 0 EXPUNGE\r\n* BYE x\r\n",
		"S1 OK x\r\n* STATUS a (MESSAGES 0 HIGHESTMODSEQ 5)\r\nS2 OK x\r\n+ idle\r\n* STATUS {3}\r\na\nb (UIDNEXT 1)\r\n* OK [NOTIFICATIONOVERFLOW] x\r\n* LIST () NIL a\r\n",
		"* LIST (\\Noselect) NIL {5}\r\nhello ((((\r\n\r\n* LIST () \"/\" \"a\\\"b\"\r\n",
	} {
		for call := range byte(10) {
			f.Add(call, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, call byte, said []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		nc := canned{r: io.MultiReader(strings.NewReader("* PREAUTH [CAPABILITY "+notifyCaps+"] x\r\n"), bytes.NewReader(said))}
		s, err := NewDialer(Config{Patience: time.Minute, Trace: func(byte, string) {}}).open(ctx, transport.Conn{Conn: nc, Secure: true, Tunnel: true})
		if err != nil {
			return
		}
		box := remote.Box{Name: "INBOX", UIDValidity: 7}
		switch call % 10 {
		case 0:
			list, _ := s.Mailboxes(ctx)
			for _, m := range list {
				if len(m.Path) == 0 || strings.ContainsAny(m.Name, "\r\n\x00") {
					t.Errorf("listed: %+v", m)
				}
			}
		case 1:
			ch, _ := s.Changes(ctx, box, knownUIDs(5, 4, 1, 2, 3))
			if ch.Vanished.Len() > 3 {
				t.Errorf("vanished: %v", ch.Vanished)
			}
		case 2:
			_, _ = s.Bodies(ctx, box, uidSet(1, 2), func(m remote.Message, body io.Reader) error {
				if m.UID != 1 && m.UID != 2 {
					t.Errorf("delivered: %+v", m)
				}
				_, err := io.Copy(io.Discard, body)
				return err
			})
		case 3:
			_, _ = s.Fetch(ctx, box, uidSet(1, 2), remote.FetchItems{Size: true, Date: true, EmailID: true, Header: true})
		case 4:
			_, _ = s.Append(ctx, remote.Box{Name: "INBOX"}, 1, []remote.Upload{upload("x", mail.Flags{}, time.Time{}), upload("yz", mail.Flags{}, time.Time{})}, func(int) {}, func(int, remote.Appended) {})
		case 5:
			moved, _ := s.Move(ctx, box, uidSet(1, 2), "x")
			if len(moved.UIDs) > 2 {
				t.Errorf("moved: %+v", moved)
			}
		case 6:
			pending, _ := s.Expunge(ctx, box, uidSet(1, 2))
			if pending.Len() > 2 {
				t.Errorf("pending: %v", pending)
			}
		case 7:
			_, _ = s.Status(ctx, "INBOX")
			_, _, _ = s.Store(ctx, box, uidSet(1, 2), true, mail.SystemFlags(mail.Seen))
		case 8, 9:
			mailbox := []string{"INBOX", ""}[call%10-8]
			ready := false
			_ = s.Wait(ctx, mailbox, func(n remote.Notice) {
				ready = ready || n.Ready
				if !ready || strings.ContainsAny(n.Mailbox, "\r\n\x00") || mailbox != "" && n.Mailbox != mailbox || n.Known && n.Status.HighestModSeq == 0 {
					t.Errorf("told: %+v", n)
				}
			})
		}
		sound(t, s.conn.Failure())
		_ = s.Close()
	})
}

// sound fails if an error is a panic that was contained.
func sound(t *testing.T, err error) {
	t.Helper()
	if d := defect.Of(err); d != nil {
		t.Fatalf("panic: %v\n%s", d.What, d.Stack)
	}
}

// FuzzSignIn feeds arbitrary bytes to a connection from the greeting on, to STARTTLS and to each way of signing in: a session comes of it, or
// an error; nothing panics or hangs, and before TLS nothing is said but that.
func FuzzSignIn(f *testing.F) {
	for _, seed := range []string{
		"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR LITERAL+] hello\r\nS1 OK [CAPABILITY IMAP4rev1 ID ENABLE QRESYNC] in\r\n",
		"* OK hello\r\n* CAPABILITY IMAP4rev1 AUTH=SCRAM-SHA-256 AUTH=XOAUTH2 LOGINDISABLED\r\nS1 OK done\r\n+ \r\n+ eyJzdGF0dXMiOiI0MDEifQ==\r\nS2 NO [AUTHENTICATIONFAILED] no\r\n",
		"* OK hello\r\n* CAPABILITY IMAP4rev1 STARTTLS\r\nS1 OK done\r\nS2 OK begin\r\n* injected\r\n",
		"* PREAUTH hello\r\n* CAPABILITY IMAP4rev1\r\nS1 OK done\r\n* NAMESPACE ((\"\" NIL)) NIL NIL\r\nS2 OK done\r\n",
		"* BYE [UNAVAILABLE] Suggested Backoff Time: 5000 milliseconds\r\n", "\r\n\r\n* OK [ALERT] x\x1b[2J\r\n", "+ go\r\n", "* OK [CAPABILITY {3}\r\nabc] x\r\n",
		"* OK [CAPABILITY IMAP4rev1 AUTH=OAUTHBEARER COMPRESS=DEFLATE] x\r\n+ {9999999999}\r\nS1 OK x\r\nS2 OK x\r\n",
		"* OK [CAPABILITY IMAP4rev1] x\r\nS1 NO [REFERRAL imap://other/] x\r\n* BYE x\r\nS1 OK again\r\n",
	} {
		for way := range byte(len(auth.Methods()) + 1) {
			f.Add(way, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, way byte, said []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		nc := &heard{canned: canned{r: bytes.NewReader(said)}}
		if way %= byte(len(auth.Methods()) + 1); way == 0 {
			if err := startTLS(ctx, nc); nc.text.String() != "S0 STARTTLS\r\n" && (err == nil || nc.text.Len() > 0) {
				t.Errorf("before TLS it said %q: %v", nc.text.String(), err)
			}
			return
		}
		method := auth.Methods()[way-1]
		s, err := NewDialer(Config{Patience: time.Minute, User: "me", Secret: auth.Literal("s3cret!"), Method: method, Compress: CompressOn,
			Trace: func(byte, string) {}, Alert: func(string) {}}).open(ctx, transport.Conn{Conn: nc, Secure: true, TLS: true})
		sound(t, err)
		if err != nil {
			return
		}
		s.settleNow(ctx)
		_, _ = s.Mailboxes(ctx)
		sound(t, s.conn.Failure())
		_ = s.Close()
	})
}

// heard keeps what a canned server was told.
type heard struct {
	canned
	text bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) { return h.text.Write(p) }
