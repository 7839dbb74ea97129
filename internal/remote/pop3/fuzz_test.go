package pop3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	gopop3 "github.com/knadh/go-pop3"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

// FuzzBody: stuffed and read in pieces of any size, a message is what it was.
func FuzzBody(f *testing.F) {
	for _, s := range []string{"", "a", ".\r\n", "a\r\n.\r\n", "\r\n..\r\n", "a\n.\r\nb", "\r.\r\n"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, text string, size int) {
		if text != "" && !strings.HasSuffix(text, "\r\n") {
			text += "\r\n"
		}
		wire := strings.ReplaceAll("\r\n"+text, "\r\n.", "\r\n..")[2:] + ".\r\n"
		w := newWire(&chunks{data: []byte(wire), size: 1 + size&0xff}, time.Minute)
		got, err := io.ReadAll(newBody(w))
		if err != nil || string(got) != text {
			t.Fatalf("%q, %v; want %q", got, err, text)
		}
	})
}

// FuzzListing: whatever a server answers, the listing is bounded, and what it says is consistent with itself.
func FuzzListing(f *testing.F) {
	f.Add("+OK 2 200\r\n+OK\r\n1 100\r\n2 100\r\n.\r\n+OK\r\n1 a\r\n2 b\r\n.\r\n")
	f.Add("+OK 1 x\r\n+OK\r\n1 100\r\n1 7\r\n.\r\n-ERR\r\n")
	f.Add("+OK 3\r\n+OK\r\n9 9\r\nx\r\n.\r\n+OK\r\n3 c\r\n3 d\r\n..1 x\r\n.\r\n")
	f.Add("-ERR [SYS/TEMP] no\r\n")
	f.Fuzz(func(t *testing.T, answers string) {
		w := newWire(&talk{chunks{data: []byte(answers), size: 1 << 10}}, time.Minute)
		w.greeting = []byte("+OK\r\n")
		pop, err := gopop3.New(gopop3.Opt{Dialer: given{w}}).NewConn()
		if err != nil {
			t.Fatal(err)
		}
		s := &Session{wire: w, pop: pop, caps: []string{"PIPELINING"}}
		l, err := s.readListing()
		if err != nil {
			if _, ok := errors.AsType[*remote.Error](err); !ok {
				t.Fatalf("an error without a class: %v", err)
			}
			return
		}
		times := map[string]int{}
		for _, m := range l.Messages {
			times[m.ID]++
			if m.ID != "" && !isID([]byte(m.ID)) || m.Size < -1 {
				t.Fatalf("%+v", m)
			}
		}
		for i, m := range l.Messages {
			if l.unique[i] != (m.ID != "" && times[m.ID] == 1) {
				t.Fatalf("%+v is unique: %v", m, l.unique[i])
			}
			if !l.Partial && m.Size < 0 {
				t.Fatalf("a whole listing without sizes: %+v", l)
			}
		}
		if l.Mark != 0 && (l.Partial || times[""] > 0) {
			t.Fatalf("a mark of what is not whole: %+v", l)
		}
	})
}

// FuzzSession feeds arbitrary bytes to a connection from the greeting on, to STLS and to each way of signing in, and to all that follows: nothing
// panics or hangs, every failure has a class, only what was asked for is delivered, once, and nothing secret is traced or said before TLS.
func FuzzSession(f *testing.F) {
	const secret = "s3cret!"
	methods := auth.Methods()
	for _, seed := range []string{
		"+OK hello <1.2@h>\r\n+OK\r\nUSER\r\nUIDL\r\nTOP\r\nPIPELINING\r\n.\r\n+OK\r\n+OK\r\n+OK 2 9\r\n+OK\r\n1 3\r\n2 6\r\n.\r\n+OK\r\n1 a\r\n2 b\r\n.\r\n+OK\r\na: b\r\n.\r\n+OK\r\n..\r\n.\r\n-ERR\r\n+OK\r\n-ERR\r\n+OK\r\n",
		"+OK x\r\n+OK\r\nSASL PLAIN XOAUTH2 SCRAM-SHA-256\r\nLOGIN-DELAY 9\r\nEXPIRE 0\r\n.\r\n+ \r\n+OK\r\n+OK 1 5\r\n+OK\r\n1 5\r\n.\r\n-ERR\r\n+OK\r\n.\r\n",
		"+OK x\r\n+OK\r\nSASL SCRAM-SHA-256\r\n.\r\n+ cj14\r\n+ cj14\r\n-ERR [AUTH] no\r\n", "+OK x\r\n-ERR\r\n-ERR [SYS/TEMP] wait\r\n", "-ERR [IN-USE] x\r\n",
		"+OK\r\n+OK\r\n", "+OK x\r\n-ERR no TLS\r\n", "\r\n\r\n", "+ go\r\n", "+OK\n+OK\nUSER\n.\n+OK\n+OK\n+OK 1 2\n+OK\n1 2\n.\n+OK\n1 a\n.\n+OK\nx\n.\n+OK\nx\n.\n+OK\n+OK\n",
	} {
		for way := range byte(len(methods) + 1) {
			f.Add(way, seed)
		}
	}
	f.Fuzz(func(t *testing.T, way byte, said string) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		classed := func(err error) {
			if err != nil && remote.ClassOf(err) == 0 {
				t.Fatalf("an error without a class: %v", err)
			}
		}
		server := &heard{talk: talk{chunks{data: []byte(said), size: 1 << 10}}}
		if way %= byte(len(methods) + 1); way == 0 {
			server.size = 1 // as transport gives it
			if err := stls(ctx, server); server.text.String() != "STLS\r\n" && (err == nil || server.text.Len() > 0) {
				t.Errorf("before TLS it said %q: %v", server.text.String(), err)
			}
			return
		}
		d := NewDialer(Config{User: "me", Secret: auth.Literal(secret), Method: methods[way-1], Trace: func(dir byte, line string) {
			if dir == '>' && strings.Contains(line, secret) {
				t.Errorf("traced: %q", line)
			}
		}})
		s, err := d.open(ctx, transport.Conn{Conn: server, Secure: true, TLS: true})
		if err != nil {
			classed(err)
			return
		}
		l, err := s.Listing(ctx)
		if err != nil {
			classed(err)
			return
		}
		var uids []mail.UID
		var asked mail.UIDSet
		for i := range min(len(l.Messages), 3) {
			uids = append(uids, mail.UID(101+i))
			asked.Add(mail.UID(101 + i))
		}
		s.Name(uids)
		headers, err := s.Fetch(ctx, remote.Box{}, asked, remote.FetchItems{Header: true, Date: true})
		classed(err)
		for _, m := range headers {
			if !asked.Contains(m.UID) {
				t.Errorf("told: %+v", m)
			}
		}
		var got mail.UIDSet
		missing, err := s.Bodies(ctx, remote.Box{}, asked, func(m remote.Message, body io.Reader) error {
			if !asked.Contains(m.UID) || got.Contains(m.UID) {
				t.Errorf("delivered: %+v", m)
			}
			_, err := io.Copy(io.Discard, body)
			if err == nil {
				got.Add(m.UID)
			}
			return err
		})
		classed(err)
		for uid, why := range missing {
			if classed(why); got.Contains(uid) {
				t.Errorf("%d is missing and was delivered: %v", uid, why)
			}
		}
		pending, err := s.Expunge(ctx, remote.Box{}, asked)
		if classed(err); err == nil && pending.Len() > asked.Len() {
			t.Errorf("pending: %v", pending)
		}
		_ = s.Close()
	})
}

// heard is talk that keeps what it is told.
type heard struct {
	talk
	text bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) { return h.text.Write(p) }

// talk is chunks that also takes what is written.
type talk struct{ chunks }

func (t *talk) Write(p []byte) (int, error)      { return len(p), nil }
func (t *talk) SetWriteDeadline(time.Time) error { return nil }
