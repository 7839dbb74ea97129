package pop3

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/popserver"
)

// TestBodyEndsInBareLF: where the server puts no CRLF behind a message whose last line ends in a lone LF, the dot ends it if all that was
// announced is there; else it is the message's.
func TestBodyEndsInBareLF(t *testing.T) {
	for _, tt := range []struct {
		wire string
		size int64
		want string
	}{
		{"a\r\nb\n.\r\n+OK next", 5, "a\r\nb\n"},
		{"a\r\nb\n.\r\n-ERR next", 5, "a\r\nb\n"},
		{"a\r\nb\n.\r\n", 5, "a\r\nb\n"},
		{"a\r\nb\n.\r\n+OK next", 3, "a\r\nb\n"},
		{"a\r\nb\n.\r\nc\r\n.\r\n+OK next", 5, "a\r\nb\n.\r\nc\r\n"},
		{"a\r\nb\n.\r\n+c\r\n.\r\n+OK next", 12, "a\r\nb\n.\r\n+c\r\n"},
		{"a\r\nb\n.\r\n.\r\n+OK next", -1, "a\r\nb\n.\r\n"},
	} {
		for _, size := range []int{1, 2, 3, 100} {
			if size < 100 && strings.HasSuffix(tt.want, "c\r\n") {
				continue // what follows has not come: it is not known
			}
			w := newWire(&chunks{data: []byte(tt.wire), size: size}, time.Minute)
			b := newBody(w)
			b.size = tt.size
			if got, err := io.ReadAll(b); err != nil || string(got) != tt.want {
				t.Errorf("%q of %d bytes in pieces of %d: got %q, %v", tt.wire, tt.size, size, got, err)
			}
		}
	}
}

// TestEndlessBody: of a message that does not end no more is read than makes sense, and the others are not held up.
func TestEndlessBody(t *testing.T) {
	srv := popserver.New(t, popserver.Message{ID: "a", Body: letter(1)}, popserver.Message{ID: "b", Body: letter(2)}, popserver.Message{ID: "c", Body: letter(3)})
	srv.Set(popserver.Quirks{Endless: "b"})
	d := dialer(srv)
	d.cfg.MaxMessage = 1000
	s, uids := openNamed(t, d)
	got, missing, err := bodies(t, s, uids)
	if remote.ClassOf(err) != remote.Lost || !errors.Is(missing[102], remote.ErrTooLarge) || got[103] != letter(3) || len(got) != 1 {
		t.Errorf("%v, %v, %v", got, missing, err)
	}
	if in := s.Traffic().BytesIn; in > maxDrain+(1<<20) {
		t.Errorf("%d bytes were read", in)
	}
}

// TestBodyMuchLarger: a message that turns out to be larger than anybody wants is left out, and the session goes on.
func TestBodyMuchLarger(t *testing.T) {
	large := popserver.Message{ID: "b", Body: letter(2) + strings.Repeat("more\r\n", 10_000)}
	srv := popserver.New(t, popserver.Message{ID: "a", Body: letter(1)}, large, popserver.Message{ID: "c", Body: letter(3)})
	srv.Set(popserver.Quirks{Size: func(popserver.Message) int { return 100 }})
	d := dialer(srv)
	d.cfg.MaxMessage = 1000
	s, uids := openNamed(t, d)
	got, missing, err := bodies(t, s, uids)
	if err != nil || !errors.Is(missing[102], remote.ErrTooLarge) || remote.ClassOf(missing[102]) != remote.Refused || len(got) != 2 {
		t.Errorf("%v, %v, %v", got, missing, err)
	}
	heads, err := s.Fetch(t.Context(), remote.Box{}, uids, remote.FetchItems{Header: true})
	if err != nil || len(heads) != 3 {
		t.Errorf("%v, %v", heads, err)
	}
}

// TestListingRefused: a server that won't list for once says nothing about what it has.
func TestListingRefused(t *testing.T) {
	for _, tt := range []struct {
		command, answer string
		noCapa          bool
		class           remote.Class
	}{
		{"STAT", "-ERR [SYS/TEMP] later", false, remote.Unavailable},
		{"STAT", "-ERR [SYS/PERM] never", false, remote.Protocol},
		{"LIST", "-ERR no", false, remote.Unavailable},
		{"UIDL", "-ERR no", false, remote.Unavailable}, // it offers it
		{"UIDL", "-ERR [SYS/TEMP] later", true, remote.Unavailable},
		{"UIDL", "-ERR unknown command", true, 0},
	} {
		srv := popserver.New(t, popserver.Message{ID: "a", Body: letter(1)})
		srv.Set(popserver.Quirks{NoCapa: tt.noCapa, Deny: func(c string) string {
			if c == tt.command {
				return tt.answer
			}
			return ""
		}})
		if _, err := open(t, dialer(srv)).Listing(t.Context()); remote.ClassOf(err) != tt.class {
			t.Errorf("%s to %s: %v", tt.answer, tt.command, err)
		}
	}
}
