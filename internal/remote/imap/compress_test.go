package imap

import (
	"bufio"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

const (
	compressCaps = "IMAP4rev1 LITERAL+ NAMESPACE UIDPLUS COMPRESS=DEFLATE"
	compressIt   = "COMPRESS DEFLATE"
)

// deflated is a server's connection once it is compressed, by the standard library: a second opinion.
type deflated struct {
	net.Conn
	wire *bufio.Writer
	w    *flate.Writer
}

func (d deflated) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	if err := errors.Join(err, d.w.Flush(), d.wire.Flush()); err != nil {
		return 0, err
	}
	return n, nil
}

// compress agrees to compression and does it from then on. What it says together with that goes out in the same write
// as the OK.
func (p *script) compress(andSay ...string) {
	p.expect(compressIt)
	p.deflate(andSay...)
}

func (p *script) deflate(andSay ...string) {
	wire := bufio.NewWriter(p.c)
	_, _ = wire.WriteString(p.tagged("$1 OK compressing\r\n")) // to memory
	w, err := flate.NewWriter(wire, 9)
	if err != nil {
		p.t.Error(err)
	}
	p.r = bufio.NewReader(flate.NewReader(p.r))
	p.c = deflated{p.c, wire, w}
	p.say(strings.Join(append(andSay, "* OK compressed"), "\r\n"))
}

// tagged puts the tags of what was expected last into text.
func (p *script) tagged(text string) string {
	for i, tag := range p.tags {
		text = strings.ReplaceAll(text, fmt.Sprintf("$%d", i+1), tag)
	}
	return text
}

func TestCompressOn(t *testing.T) {
	cfg := account(auth.Auto)
	cfg.Compress = CompressOn
	s, err := connect(t, scripted(t, cfg), secureConn(), false, func(p *script) {
		p.say("* OK [CAPABILITY " + compressCaps + " SASL-IR AUTH=PLAIN] hello") // not before the sign-in
		if line := p.line(); !strings.Contains(line, "AUTHENTICATE PLAIN") {
			p.t.Errorf("the client said %q", line)
		} else {
			p.tags = []string{strings.Fields(line)[0]}
		}
		p.say("$1 OK [CAPABILITY " + compressCaps + "] fine")
		p.compress("* OK I come with the answer")
		p.expect("NAMESPACE", `STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY)`)
		p.say(`* NAMESPACE (("" "/")) NIL NIL`, "$1 OK done", "* STATUS INBOX (MESSAGES 3)", "$2 OK done")
		p.expect(`APPEND "INBOX" {200000+}`)
		if got := p.literal(200_000); got != strings.Repeat("a", 200_000) {
			p.t.Error("another message arrived")
		}
		p.line()
		p.say("$1 OK [APPENDUID 7 4] stored")
		p.openBox(4, 5)
		p.expect("UID FETCH 4" + askBodies)
		p.say("* 4 FETCH (UID 4 FLAGS () INTERNALDATE NIL BODY[] {100000}\r\n"+strings.Repeat("b", 100_000)+")", "$1 OK done")
	})
	if err != nil {
		t.Fatal(err)
	}
	before := s.Traffic()
	if before.RoundTrips != 2 {
		t.Errorf("signing in and the switch took %d round trips", before.RoundTrips)
	}
	if st, err := s.Status(t.Context(), "INBOX"); err != nil || st.Messages != 3 {
		t.Errorf("%+v, %v", st, err)
	}
	if fates := appendAll(t, s, "INBOX", upload(strings.Repeat("a", 200_000), mail.Flags{}, time.Time{})); fates[0].UID != 4 {
		t.Errorf("stored: %+v", fates)
	}
	if got, _ := bodiesOf(t, s, box7(), 4); got[4] != strings.Repeat("b", 100_000) {
		t.Errorf("%d bytes came", len(got[4]))
	}
	after := s.Traffic()
	if in, out := after.BytesIn-before.BytesIn, after.BytesOut-before.BytesOut; in > 3000 || out > 3000 {
		t.Errorf("%d bytes came and %d went: these are not those on the wire", in, out)
	}
	if n := after.RoundTrips - before.RoundTrips; n != 3 {
		t.Errorf("three calls took %d round trips", n)
	}
}

func TestCompressionRefused(t *testing.T) {
	for _, answer := range []string{"NO [COMPRESSIONACTIVE] TLS does it", "NO not today", "BAD what?"} {
		t.Run(answer, func(t *testing.T) {
			d := scripted(t, Config{Compress: CompressOn})
			play := func(p *script) {
				p.expect("NAMESPACE", "NOOP")
				p.say(`* NAMESPACE (("" "/")) NIL NIL`, "$1 OK done", "$2 OK done")
			}
			s := begin(t, d, func(p *script) {
				p.preauthWith(compressCaps)
				p.expect(compressIt)
				p.say("$1 " + answer)
				play(p)
			})
			if err := s.run(t.Context(), "", newCommand("", "NOOP")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCompressOff(t *testing.T) {
	d := scripted(t, Config{Compress: CompressOff})
	d.link.slow.Store(true)
	s := begin(t, d, func(p *script) {
		p.preauthWith(compressCaps)
		p.settle(compressCaps)
	})
	if used := s.Capabilities().Used; strings.Contains(strings.Join(used, " "), "COMPRESS") {
		t.Errorf("used: %v", used)
	}
}

// bitWriter writes deflate blocks as zlib does that flushes partially: the last bits of a flush wait for the next
// block. (RFC 1951, section 3.2.6: fixed codes.)
type bitWriter struct {
	out  []byte
	acc  uint64
	have int
}

func (b *bitWriter) put(v uint64, n int) {
	b.acc |= v << b.have
	for b.have += n; b.have >= 8; b.have -= 8 {
		b.out = append(b.out, byte(b.acc))
		b.acc >>= 8
	}
}

func (b *bitWriter) code(v uint16, n int) { b.put(uint64(bits.Reverse16(v)>>(16-n)), n) }

// flushed returns the bytes of a block that holds text, and of the empty one of Z_PARTIAL_FLUSH.
func (b *bitWriter) flushed(text string) []byte {
	b.put(0b010, 3)
	for i := range len(text) {
		if c := uint16(text[i]); c < 144 {
			b.code(0x30+c, 8)
		} else {
			b.code(0x190+c-144, 9)
		}
	}
	b.code(0, 7)
	b.put(0b010, 3)
	b.code(0, 7)
	out := b.out
	b.out = nil
	return out
}

func TestPartialFlush(t *testing.T) {
	for _, piece := range []int{1, 7, 1 << 20} {
		t.Run(fmt.Sprintf("%d bytes at a time", piece), func(t *testing.T) {
			s := begin(t, scripted(t, Config{Compress: CompressOn}), func(p *script) {
				p.preauthWith(compressCaps)
				p.expect(compressIt)
				p.say("$1 OK compressing")
				plain, b := p.c, &bitWriter{}
				p.r = bufio.NewReader(flate.NewReader(p.r))

				say := func(text string) {
					for out := b.flushed(p.tagged(text)); len(out) > 0; {
						n, _ := plain.Write(out[:min(piece, len(out))])
						out = out[n:]
						if n == 0 {
							return
						}
					}
				}
				p.expect("NAMESPACE", "NOOP")
				say(`* NAMESPACE (("" "/")) NIL NIL` + "\r\n$1 OK done\r\n")
				say("$2 OK done\r\n")
				for range 20 { // each must be had before the next is asked for
					p.expect("NOOP")
					say("$1 OK " + strings.Repeat("é", 3) + "\r\n")
				}
				p.line()
				_ = plain.Close()
			})
			for range 21 {
				if err := s.run(t.Context(), "", newCommand("", "NOOP")); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestDamagedCompression(t *testing.T) {
	for name, tc := range map[string]struct {
		wire  string
		class remote.Class
	}{
		"garbage":          {"\xff\xff\xff\xff * OK", remote.Protocol},
		"plain text":       {"* OK I don't do it after all\r\n", remote.Protocol},
		"the stream ended": {"\x03\x00", remote.Lost},
		"it breaks off":    {"\x4a", remote.Lost},
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t, scripted(t, Config{Compress: CompressOn}), func(p *script) {
				p.preauthWith(compressCaps)
				p.expect(compressIt)
				p.say("$1 OK compressing")
				_, _ = io.WriteString(p.c, tc.wire)
				_, _ = p.c.Read(make([]byte, 1000)) // the client may be gone
				_ = p.c.Close()
			})
			err := s.run(t.Context(), "trying", newCommand("", "NOOP"))
			if got := remote.ClassOf(err); got != tc.class {
				t.Errorf("class %v: %v", got, err)
			}
			if again := s.run(t.Context(), "trying", newCommand("", "NOOP")); again == nil {
				t.Error("the session goes on")
			}
		})
	}
}

// TestDeflateBomb: what swells is bounded as what comes in plain text is.
func TestDeflateBomb(t *testing.T) {
	s := begin(t, scripted(t, Config{Compress: CompressOn}), func(p *script) {
		p.preauthWith(compressCaps)
		p.compress()
		p.r = bufio.NewReader(p.c.(deflated).Conn)
		for zeros := strings.Repeat("0", 1<<20); ; {
			if _, err := io.WriteString(p.c, zeros); err != nil {
				return
			}
		}
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := s.run(t.Context(), "trying", newCommand("", "NOOP"))
	runtime.ReadMemStats(&after)
	if remote.ClassOf(err) != remote.Protocol {
		t.Errorf("got %v", err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 16*maxLine {
		t.Errorf("%d bytes were allocated", grown)
	}
}

// paced is a server's connection over which bytes take their time: perPiece for each that may be under way at once.
type paced struct {
	net.Conn
	piece    int
	perPiece time.Duration
}

func (c paced) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		time.Sleep(c.perPiece)
		n, err := c.Conn.Write(p[:min(c.piece, len(p))])
		written += n
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}

// atRate makes everything that the server says from now on take its time.
func (p *script) atRate(bytesPerSecond int) {
	const piece = 4 << 10
	p.c = paced{p.c, piece, piece * time.Second / time.Duration(bytesPerSecond)}
}

// mailServer is one that has messages and may compress.
type mailServer struct {
	size   int           // of a message
	think  time.Duration // before each answer
	refuse string        // what it says to compression, empty if it agrees

	asked atomic.Int32 // for compression
}

// serve plays the server from the first command for bodies on.
func (m *mailServer) serve(p *script) {
	for {
		tag, text, _ := strings.Cut(p.line(), " ")
		p.tags = []string{tag}
		var first, last int
		switch n, _ := fmt.Sscanf(text, "UID FETCH %d:%d"+askBodies, &first, &last); {
		case n == 2:
			time.Sleep(m.think)
			for u := first; u <= last; u++ {
				p.raw(fmt.Sprintf("* %d FETCH (UID %d FLAGS () INTERNALDATE NIL BODY[] {%d}\r\n%s)\r\n", u, u, m.size, strings.Repeat("m", m.size)))
			}
			p.raw("$1 OK done\r\n")
		case text == compressIt:
			m.asked.Add(1)
			if m.refuse != "" {
				p.say("$1 " + m.refuse)
			} else {
				p.deflate()
			}
		case text == "" || text == "LOGOUT":
			return
		default:
			p.t.Errorf("the client sent %q", text)
			_ = p.c.Close()
			return
		}
	}
}

// pull fetches messages and returns how many came.
func pull(t *testing.T, s *Session, from, to mail.UID) int {
	t.Helper()
	var uids mail.UIDSet
	uids.AddRange(from, to)
	n := 0
	missing, err := s.Bodies(t.Context(), box7(), uids, func(_ remote.Message, body io.Reader) error {
		n++
		_, err := io.Copy(io.Discard, body)
		return err
	})
	if err != nil || len(missing) > 0 {
		t.Errorf("missing %v, error %v", missing, err)
	}
	return n
}

func quietly(cfg Config) Config {
	cfg.Trace = func(byte, string) {}
	return cfg
}

func TestAutoOnASlowLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := scripted(t, quietly(Config{}))
		server := &mailServer{size: 4000}
		s := begin(t, d, func(p *script) {
			p.preauthWith(compressCaps)
			p.settleAndOpen()
			p.atRate(1_000_000)
			server.serve(p)
		})
		n := trips(s, func() {
			if n := pull(t, s, 1, 5000); n != 5000 {
				t.Errorf("%d messages came", n)
			}
		})
		if in := s.Traffic().BytesIn; in > 9_000_000 {
			t.Errorf("%d bytes came over the wire", in)
		}
		if n > 8 || server.asked.Load() != 1 {
			t.Errorf("what was under way, the switch and the rest took %d round trips; it was asked %d times", n, server.asked.Load())
		}

		// Another session of the Dialer knows.
		later := begin(t, d, func(p *script) {
			p.preauthWith(compressCaps)
			p.compress()
			p.expect("NOOP") // and what it need not ask
			p.say("$1 OK done")
		})
		if err := later.run(t.Context(), "", newCommand("", "NOOP")); err != nil {
			t.Error(err)
		}
	})
}

// settleAndOpen plays the beginning of a first flight that fetches bodies.
func (p *script) settleAndOpen() {
	p.expect("NAMESPACE", `SELECT "INBOX"`)
	p.say(`* NAMESPACE (("" "/")) NIL NIL`, "$1 OK done")
	p.say(selected(5000, 5001, 0)...)
	p.say("$2 OK [READ-WRITE] open")
}

// TestAutoElsewhere: neither a fast link, nor latency, nor a server that thinks, nor TCP that begins slowly, is a slow link.
func TestAutoElsewhere(t *testing.T) {
	for name, tc := range map[string]struct {
		link   func(p *script)
		server *mailServer
	}{
		"fast":                            {func(p *script) { p.atRate(20_000_000) }, &mailServer{size: 4000}},
		"100 ms away":                     {func(p *script) { p.atRate(50_000_000) }, &mailServer{size: 1250, think: 100 * time.Millisecond}},
		"once a second it stops to think": {func(p *script) { p.atRate(20_000_000) }, &mailServer{size: 4000, think: time.Second}},
		"TCP over 200 ms": {func(p *script) { p.c = &slowStart{Conn: p.c, rtt: 200 * time.Millisecond, window: 14 << 10} },
			&mailServer{size: 8000, think: 200 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := scripted(t, quietly(Config{}))
				s := begin(t, d, func(p *script) {
					p.preauthWith(compressCaps)
					p.settleAndOpen()
					tc.link(p)
					tc.server.serve(p)
				})
				if n := pull(t, s, 1, 5000); n != 5000 {
					t.Errorf("%d messages came", n)
				}
				if d.link.isSlow() || s.conn.compressed() {
					t.Error("it was taken for slow")
				}
			})
		})
	}
}

// slowStart is a connection on which the bytes of one round trip come together, and twice as many with the next.
type slowStart struct {
	net.Conn
	rtt          time.Duration
	window, left int
}

func (c *slowStart) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if c.left == 0 {
			time.Sleep(c.rtt)
			c.window *= 2
			c.left = c.window
		}
		n, err := c.Conn.Write(p[:min(c.left, len(p))])
		written += n
		c.left -= n
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}

// TestAutoRefused: the flight goes on, and the server is not asked again.
func TestAutoRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &mailServer{size: 4000, refuse: "NO [COMPRESSIONACTIVE] no need"}
		s := begin(t, scripted(t, quietly(Config{})), func(p *script) {
			p.preauthWith(compressCaps)
			p.settleAndOpen()
			p.atRate(1_000_000)
			server.serve(p)
		})
		for range 2 {
			if n := pull(t, s, 1, 5000); n != 5000 {
				t.Errorf("%d messages came", n)
			}
		}
		if n := server.asked.Load(); n != 1 {
			t.Errorf("it was asked %d times", n)
		}
	})
}

// TestCutFlightStops: what deliver returns ends a flight that was cut, too.
func TestCutFlightStops(t *testing.T) {
	for _, after := range []int{1, 3000} {
		synctest.Test(t, func(t *testing.T) {
			server := &mailServer{size: 4000}
			s := begin(t, scripted(t, quietly(Config{})), func(p *script) {
				p.preauthWith(compressCaps)
				p.settleAndOpen()
				p.atRate(1_000_000)
				server.serve(p)
			})
			var uids mail.UIDSet
			uids.AddRange(1, 5000)
			full := errors.New("the disk is full")
			n := 0
			_, err := s.Bodies(t.Context(), box7(), uids, func(_ remote.Message, body io.Reader) error {
				if n++; n == after {
					return full
				}
				_, err := io.Copy(io.Discard, body)
				return err
			})
			if !errors.Is(err, full) || s.conn.compressed() != (after > 1) {
				t.Errorf("after %d: %v; compressed: %v", after, err, s.conn.compressed())
			}
		})
	}
}

// TestCutUploads: another session's finding cuts a flight of uploads, between two messages.
func TestCutUploads(t *testing.T) {
	d := scripted(t, quietly(Config{}))
	s := begin(t, d, func(p *script) {
		p.preauthWith(compressCaps)
		p.settle(compressCaps)
		store := func(from, to int) {
			var answers strings.Builder
			for i := from; i <= to; i++ {
				p.expect(`APPEND "INBOX" {3+}`)
				p.literal(5)
				answers.WriteString(p.tagged(fmt.Sprintf("$1 OK [APPENDUID 7 %d] stored\r\n", i)))
			}
			d.link.slow.Store(true)
			p.raw(answers.String())
		}
		store(1, appendsUnderWay)
		p.compress()
		store(appendsUnderWay+1, appendsUnderWay+10)
	})
	s.settleNow(t.Context())
	var uploads []remote.Upload
	for range appendsUnderWay + 10 {
		uploads = append(uploads, upload("abc", mail.Flags{}, time.Time{}))
	}
	for i, is := range appendAll(t, s, "INBOX", uploads...) {
		if is.UID != mail.UID(i+1) {
			t.Errorf("message %d: %+v", i, is)
		}
	}
	if !s.conn.compressed() {
		t.Error("it is not compressed")
	}
}
