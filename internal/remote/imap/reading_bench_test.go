package imap

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// instant is a server that takes next to no time: it answers each command through answer, once, and keeps the answer.
// SELECT is answered with a mailbox of exists messages, and what answer adds.
type instant struct {
	net.Conn // none: what is not here is not called
	answer   func(out *bytes.Buffer, command string)
	exists   int
	kept     map[string][]byte

	mu     sync.Mutex
	heard  sync.Cond
	partly []byte   // a command that is not whole yet
	out    [][]byte // to be read
	shut   bool
}

func (c *instant) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partly = append(c.partly, p...)
	for {
		line, rest, whole := strings.Cut(string(c.partly), "\r\n")
		if !whole {
			break
		}
		c.partly = []byte(rest)
		tag, command, _ := strings.Cut(line, " ")
		c.out = append(c.out, c.answerTo(command), []byte(tag+" OK done\r\n"))
	}
	c.heard.Signal()
	return len(p), nil
}

func (c *instant) answerTo(command string) []byte {
	if text, ok := c.kept[command]; ok {
		return text
	}
	var out bytes.Buffer
	switch {
	case strings.HasPrefix(command, "SELECT"):
		for _, line := range selected(c.exists, c.exists+1, 30) {
			out.WriteString(line + "\r\n")
		}
	case strings.HasPrefix(command, "ENABLE "):
		out.WriteString("* ENABLED" + strings.TrimPrefix(command, "ENABLE") + "\r\n")
	}
	c.answer(&out, command)
	c.kept[command] = out.Bytes()
	return out.Bytes()
}

func (c *instant) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) == 0 && !c.shut {
		c.heard.Wait()
	}
	if c.shut {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && len(c.out) > 0 {
		k := copy(p[n:], c.out[0])
		n += k
		if c.out[0] = c.out[0][k:]; len(c.out[0]) == 0 {
			c.out = c.out[1:]
		}
	}
	return n, nil
}

func (c *instant) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = true
	c.heard.Broadcast()
	return nil
}

func (c *instant) SetReadDeadline(time.Time) error  { return nil }
func (c *instant) SetWriteDeadline(time.Time) error { return nil }

// openInstant opens a session with an instant server that has the given capabilities.
func openInstant(tb testing.TB, caps string, exists int, answer func(out *bytes.Buffer, command string)) *Session {
	tb.Helper()
	server := &instant{answer: answer, exists: exists, kept: map[string][]byte{}}
	server.heard.L = &server.mu
	server.out = [][]byte{[]byte("* PREAUTH [CAPABILITY " + caps + "] ready\r\n")}
	as := tunnelled()
	as.Conn = server
	s, err := NewDialer(Config{Patience: time.Minute}).open(tb.Context(), as)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	s.settleNow(context.Background())
	return s
}

// setOf are the UIDs that a command names.
func setOf(command string) mail.UIDSet {
	set, _ := mail.ParseUIDSet(strings.Fields(command)[2]) // "n:*" is none
	return set
}

// span is the set of the UIDs from first to last.
func span(first, last mail.UID) (set mail.UIDSet) {
	set.AddRange(first, last)
	return set
}

// flagLists are what servers repeat.
var flagLists = [...]string{`\Seen`, ``, `\Seen \Answered`, `\Seen $Label1 NonJunk`}

const aDate = `"07-Aug-2019 06:05:04 +0200"`

func BenchmarkBodies(b *testing.B) {
	for _, bc := range []struct{ size, count int }{{1 << 10, 20_000}, {10 << 10, 5000}, {64 << 20, 4}} {
		b.Run(fmt.Sprintf("%d of %d bytes", bc.count, bc.size), func(b *testing.B) {
			text := bytes.Repeat([]byte("0123456789abcde\n"), bc.size/16)
			s := openInstant(b, "IMAP4rev1 LITERAL+ CONDSTORE", bc.count, func(out *bytes.Buffer, command string) {
				if !strings.HasPrefix(command, "UID FETCH") {
					return
				}
				for u := range setOf(command).All() {
					fmt.Fprintf(out, "* %d FETCH (UID %d FLAGS (%s) MODSEQ (12) INTERNALDATE %s BODY[] {%d}\r\n", u, u, flagLists[u%4], aDate, len(text))
					out.Write(text)
					out.WriteString(")\r\n")
				}
			})
			set := span(1, mail.UID(bc.count))
			buf := make([]byte, 32<<10)
			b.ReportAllocs()
			b.SetBytes(int64(bc.size) * int64(bc.count))
			for b.Loop() {
				n := 0
				missing, err := s.Bodies(b.Context(), box7(), set, func(_ remote.Message, body io.Reader) error {
					for {
						if _, err := body.Read(buf); err != nil {
							n++
							return nil
						}
					}
				})
				if err != nil || len(missing) != 0 || n != bc.count {
					b.Fatal(n, missing, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*bc.count), "ns/message")
		})
	}
}

// describe writes the lines of a listing.
func describe(out *bytes.Buffer, set mail.UIDSet, items string) {
	line := []byte(nil)
	for u := range set.All() {
		n := strconv.Itoa(int(u))
		line = append(append(append(append(line[:0], "* "...), n...), " FETCH (UID "...), n...)
		line = append(append(append(line, " FLAGS ("...), flagLists[u%4]...), ") MODSEQ (29)"...)
		line = append(append(line, items...), ")\r\n"...)
		out.Write(line)
	}
}

// BenchmarkListing is the first reading of a mailbox.
func BenchmarkListing(b *testing.B) {
	const n = 100_000
	for name, more := range map[string]string{"": "", "OBJECTID": " EMAILID (M6d99ac3275bb4e)"} {
		b.Run("100000 "+name, func(b *testing.B) {
			var lines bytes.Buffer
			describe(&lines, span(1, n), " INTERNALDATE "+aDate+" RFC822.SIZE 12345"+more)
			s := openInstant(b, "IMAP4rev1 LITERAL+ CONDSTORE "+name, n, func(out *bytes.Buffer, command string) {
				if strings.HasPrefix(command, "UID FETCH") {
					out.Write(lines.Bytes())
				}
			})
			b.ReportAllocs()
			for b.Loop() {
				got, err := s.Changes(b.Context(), box7(), remote.Since{})
				if err != nil || len(got.New) != n {
					b.Fatal(len(got.New), err)
				}
			}
		})
	}
}

// BenchmarkChanges is a reading in which all flags changed.
func BenchmarkChanges(b *testing.B) {
	const n, fresh = 50_000, 50
	known := span(1, n)
	for name, caps := range map[string]string{"QRESYNC": "ENABLE CONDSTORE QRESYNC UNSELECT", "CONDSTORE": "CONDSTORE", "without": ""} {
		b.Run(name, func(b *testing.B) {
			var flags, added bytes.Buffer
			describe(&flags, known, "")
			describe(&added, span(n+1, n+fresh), " INTERNALDATE "+aDate+" RFC822.SIZE 12345")
			s := openInstant(b, "IMAP4rev1 LITERAL+ "+caps, n+fresh, func(out *bytes.Buffer, command string) {
				switch {
				case strings.HasPrefix(command, "UID FETCH 1:"), strings.Contains(command, "(QRESYNC ("):
					out.Write(flags.Bytes())
				case strings.HasPrefix(command, "UID FETCH"):
					out.Write(added.Bytes())
				}
			})
			since := remote.Since{ModSeq: 20, UIDNext: n + 1, KnownCount: func() uint32 { return n }, Known: func() mail.UIDSet { return known }}
			b.ReportAllocs()
			for b.Loop() {
				got, err := s.Changes(b.Context(), box7(), since)
				if err != nil || len(got.New) != fresh || len(got.Flags) != n {
					b.Fatal(len(got.New), len(got.Flags), err)
				}
			}
		})
	}
}

// BenchmarkFetch asks for single messages, as the engine does that looks for a few among many.
func BenchmarkFetch(b *testing.B) {
	for _, n := range []int{10_000, 50_000} {
		for name, every := range map[string]mail.UID{"in a row": 1, "every third": 3} {
			b.Run(fmt.Sprintf("%d %s", n, name), func(b *testing.B) {
				var set mail.UIDSet
				for i := range n {
					set.Add(mail.UID(i)*every + 1)
				}
				s := openInstant(b, "IMAP4rev1 LITERAL+ CONDSTORE", n*int(every), func(out *bytes.Buffer, command string) {
					if strings.HasPrefix(command, "UID FETCH") {
						describe(out, setOf(command), " RFC822.SIZE 12345")
					}
				})
				b.ReportAllocs()
				for b.Loop() {
					got, err := s.Fetch(b.Context(), box7(), set, remote.FetchItems{Size: true})
					if err != nil || len(got) != n {
						b.Fatal(len(got), err)
					}
				}
			})
		}
	}
}
