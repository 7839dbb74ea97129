package pop3

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	gopop3 "github.com/knadh/go-pop3"

	"github.com/satchel-mail/satchel/internal/remote"
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

// talk is chunks that also takes what is written.
type talk struct{ chunks }

func (t *talk) Write(p []byte) (int, error)      { return len(p), nil }
func (t *talk) SetWriteDeadline(time.Time) error { return nil }
