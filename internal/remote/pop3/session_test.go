package pop3

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
	"github.com/satchel-mail/satchel/internal/testenv/popserver"
)

func letter(n int) string {
	return fmt.Sprintf("From: a@example.org\r\nMessage-ID: <%d@example.org>\r\n\r\nbody %d\r\n", n, n)
}

func dialer(s *popserver.Server) *Dialer {
	return NewDialer(Config{
		Transport: transport.Config{Host: "127.0.0.1", Port: s.Port(), TLS: transport.Off}, User: "u", Secret: auth.Literal("secret"),
		Patience: 10 * time.Second,
	})
}

func open(t *testing.T, d *Dialer) remote.Maildrop {
	t.Helper()
	s, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s.(remote.Maildrop)
}

// named is open with the messages called 101, 102, …
func openNamed(t *testing.T, d *Dialer) (remote.Maildrop, mail.UIDSet) {
	t.Helper()
	s := open(t, d)
	l, err := s.Listing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var uids []mail.UID
	var set mail.UIDSet
	for i := range l.Messages {
		uids = append(uids, mail.UID(101+i))
		set.Add(mail.UID(101 + i))
	}
	s.Name(uids)
	return s, set
}

func bodies(t *testing.T, s remote.Maildrop, uids mail.UIDSet) (map[mail.UID]string, map[mail.UID]error, error) {
	t.Helper()
	got := map[mail.UID]string{}
	missing, err := s.Bodies(t.Context(), remote.Box{}, uids, func(m remote.Message, body io.Reader) error {
		b, err := io.ReadAll(body)
		if err == nil {
			got[m.UID] = string(b)
		}
		return err
	})
	return got, missing, err
}

// TestDotStuffing: whatever lies at the beginnings of lines, and however the bytes arrive, the message is what was stored.
func TestDotStuffing(t *testing.T) {
	for _, want := range []string{
		"", "\r\n", ".\r\n", "..\r\n", ".\r\n.\r\n", "a\r\n.\r\n.b\r\n", "a\r\n..\r\n...\r\n", ".a", "a.\r\n", "a\n.\r\nb\r\n", "a\n.b\r\n", "\n.\r\n",
		"a\r.\r\n", "\r\r\n.x\r\n", "a\n", strings.Repeat(".", 70_000) + "\r\n.\r\n", strings.Repeat("x", readBuffer-1) + "\r\n.y\r\n",
		strings.Repeat("x", readBuffer-2) + "\r\n.y\r\n", strings.Repeat("x", readBuffer) + "\r\n.\r\n",
	} {
		wire := strings.ReplaceAll("\r\n"+want, "\r\n.", "\r\n..")[2:]
		if !strings.HasSuffix(want, "\r\n") && want != "" {
			wire, want = wire+"\r\n", want+"\r\n"
		}
		for _, size := range []int{1, 2, 3, 1 << 20} {
			if size < 4 && len(wire) > 1000 {
				size = 4093 * size
			}
			w := newWire(&chunks{data: []byte(wire + ".\r\n+OK next"), size: size}, time.Minute)
			got, err := io.ReadAll(newBody(w))
			if err != nil || string(got) != want {
				t.Errorf("%.60q in pieces of %d: got %.60q, %v", want, size, got, err)
			}
			if rest, _ := w.r.Peek(8); string(rest) != "+OK next" {
				t.Errorf("%.60q in pieces of %d: what follows is %q", want, size, rest)
			}
		}
	}
}

// TestBareLF: with a server that ends its own lines with LF alone, a message's lines end so too.
func TestBareLF(t *testing.T) {
	w := newWire(&chunks{data: []byte("a\n..b\n.\n+OK"), size: 3}, time.Minute)
	w.bare = true
	if got, err := io.ReadAll(newBody(w)); err != nil || string(got) != "a\n.b\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// chunks is a connection from which data comes in pieces.
type chunks struct {
	net.Conn
	data []byte
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.size)], c.data)
	c.data = c.data[n:]
	return n, nil
}

func (c *chunks) SetReadDeadline(time.Time) error { return nil }
func (c *chunks) Close() error                    { return nil }

// TestBodyBreaksOff: wherever the connection ends, what came is no message.
func TestBodyBreaksOff(t *testing.T) {
	whole := "a\r\n..b\r\nc\r\n.\r\n"
	for n := range len(whole) {
		_, err := io.ReadAll(newBody(newWire(&chunks{data: []byte(whole[:n]), size: 100}, time.Minute)))
		if remote.ClassOf(err) != remote.Lost || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %q: %v", whole[:n], err)
		}
	}
}

func TestBodies(t *testing.T) {
	for _, q := range []popserver.Quirks{{}, {NoPipelining: true}, {NoCapa: true}} {
		var all []popserver.Message
		for n := range 1000 {
			all = append(all, popserver.Message{ID: fmt.Sprint("id", n), Body: letter(n)})
		}
		server := popserver.New(t, all...)
		server.Set(q)
		s, uids := openNamed(t, dialer(server))
		got, missing, err := bodies(t, s, uids)
		if err != nil || len(missing) > 0 || len(got) != len(all) {
			t.Fatalf("%+v: %d, %v, %v", q, len(got), missing, err)
		}
		for n, m := range all {
			if got[mail.UID(101+n)] != m.Body {
				t.Fatalf("%+v: message %d is %q", q, n, got[mail.UID(101+n)])
			}
		}
		if trips := s.Traffic().RoundTrips; !q.NoPipelining && !q.NoCapa && trips > 40 {
			t.Errorf("%d round trips", trips)
		}
	}
}

// TestCutRetr: what was whole before the line broke was delivered, the rest was not.
func TestCutRetr(t *testing.T) {
	server := popserver.New(t, popserver.Message{ID: "a", Body: letter(1) + strings.Repeat("x\r\n", 100)}, popserver.Message{ID: "b", Body: letter(2)})
	server.Set(popserver.Quirks{CutRetr: 120})
	s, uids := openNamed(t, dialer(server))
	got, _, err := bodies(t, s, uids)
	if remote.ClassOf(err) != remote.Lost || len(got) != 1 || got[102] != letter(2) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := s.Listing(t.Context()); remote.ClassOf(err) != remote.Lost {
		t.Errorf("a dead session goes on: %v", err)
	}
}

// TestRefusedAndEmpty: a message that the server does not give, or gives half of, is no empty file.
func TestRefusedAndEmpty(t *testing.T) {
	server := popserver.New(t, popserver.Message{ID: "a", Body: letter(1)}, popserver.Message{ID: "b", Body: ""}, popserver.Message{ID: "c", Body: letter(3)})
	server.Set(popserver.Quirks{Refuse: "a", Size: func(popserver.Message) int { return 99999 }}) // sizes say nothing
	s, uids := openNamed(t, dialer(server))
	uids.Add(555)
	got, missing, err := bodies(t, s, uids)
	if err != nil || len(got) != 1 || got[103] != letter(3) {
		t.Fatalf("%v, %v", got, err)
	}
	if remote.ClassOf(missing[101]) != remote.Refused || remote.ClassOf(missing[102]) != remote.Refused || !errors.Is(missing[555], remote.ErrGone) {
		t.Errorf("%v", missing)
	}
}

// TestDeliverFails: an error of our own comes back as it is, and the session is in order.
func TestDeliverFails(t *testing.T) {
	var all []popserver.Message
	for n := range 50 {
		all = append(all, popserver.Message{ID: fmt.Sprint(n), Body: letter(n)})
	}
	s, uids := openNamed(t, dialer(popserver.New(t, all...)))
	full := errors.New("disk full")
	calls := 0
	_, err := s.Bodies(t.Context(), remote.Box{}, uids, func(_ remote.Message, body io.Reader) error {
		if calls++; calls == 3 {
			return full
		}
		_, err := io.Copy(io.Discard, body)
		return err
	})
	if !errors.Is(err, full) || calls != 3 {
		t.Fatalf("%d calls, %v", calls, err)
	}
	if got, _, err := bodies(t, s, uids); err != nil || len(got) != 50 {
		t.Errorf("afterwards: %d, %v", len(got), err)
	}
}

// TestReconnect: a later session knows the messages by their names, but for those whose names are not theirs alone, as long as only new
// ones came to what was listed.
func TestReconnect(t *testing.T) {
	a, b, twin, fresh := popserver.Message{ID: "a", Body: letter(1)}, popserver.Message{ID: "b", Body: letter(2)},
		popserver.Message{ID: "b", Body: letter(3)}, popserver.Message{ID: "new", Body: letter(9)}
	server := popserver.New(t, a, b, twin)
	d := dialer(server)
	s, _ := openNamed(t, d)
	_ = s.Close()
	for _, tt := range []struct {
		mail  []popserver.Message
		known int
	}{
		{[]popserver.Message{a, b, twin, fresh}, 1},
		{[]popserver.Message{fresh, a, b, twin}, 0},
		{[]popserver.Message{a, b}, 0},
	} {
		server.Put(tt.mail...)
		got, missing, err := bodies(t, open(t, d), mail.NewUIDSet(101, 102, 103))
		if err != nil || len(got) != tt.known || tt.known > 0 && got[101] != letter(1) || len(missing) != 3-tt.known {
			t.Errorf("%v, %v, %v", got, missing, err)
		}
	}
}

func TestListing(t *testing.T) {
	a, b := popserver.Message{ID: "a", Body: letter(1)}, popserver.Message{ID: "b", Body: letter(2)}
	first := func(i int) bool { return i == 0 }
	for _, tt := range []struct {
		name          string
		q             popserver.Quirks
		mail          []popserver.Message
		partial, mark bool
		ids           []string
	}{
		{"whole", popserver.Quirks{}, []popserver.Message{a, b}, false, true, []string{"a", "b"}},
		{"empty", popserver.Quirks{}, nil, false, true, nil},
		{"no UIDL", popserver.Quirks{NoUIDL: true}, []popserver.Message{a, b}, false, false, []string{"", ""}},
		{"STAT says more", popserver.Quirks{Stat: 1}, []popserver.Message{a, b}, true, false, []string{"a", "b", ""}},
		{"STAT says less", popserver.Quirks{Stat: -1}, []popserver.Message{a, b}, true, false, []string{"a"}},
		{"lists are cut short", popserver.Quirks{Listing: first}, []popserver.Message{a, b}, true, false, []string{"a", ""}},
		{"a name that can't be one", popserver.Quirks{}, []popserver.Message{{ID: "a b", Body: letter(1)}, b}, false, true,
			[]string{"sha256:c8687a08aa5d6ed2044328fa6a697ab8e96dc34291e8c2034ae8c38e6fcc6d65", "b"}},
		{"a name is missing", popserver.Quirks{}, []popserver.Message{{ID: " ", Body: letter(1)}, b}, true, false, []string{"", "b"}},
		{"sizes are nonsense", popserver.Quirks{Size: func(popserver.Message) int { return -7 }}, []popserver.Message{a}, true, false, []string{"a"}},
	} {
		server := popserver.New(t, tt.mail...)
		server.Set(tt.q)
		l, err := open(t, dialer(server)).Listing(t.Context())
		var ids []string
		for _, m := range l.Messages {
			ids = append(ids, m.ID)
		}
		if err != nil || l.Partial != tt.partial || (l.Mark != 0) != tt.mark || !slices.Equal(ids, tt.ids) {
			t.Errorf("%s: %+v, %v", tt.name, l, err)
		}
	}
}

// TestMark: the mark is another one whenever the listing is.
func TestMark(t *testing.T) {
	server := popserver.New(t)
	mark := func(mail ...popserver.Message) uint64 {
		server.Put(mail...)
		l, err := open(t, dialer(server)).Listing(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return l.Mark
	}
	a, b := popserver.Message{ID: "a", Body: "x"}, popserver.Message{ID: "b", Body: "x"}
	both := mark(a, b)
	marks := []uint64{mark(), mark(a), mark(b), both, mark(b, a), mark(popserver.Message{ID: "a", Body: "xy"})}
	slices.Sort(marks)
	if len(slices.Compact(marks)) != 6 || mark(a, b) != both {
		t.Errorf("%v", marks)
	}
}

func TestExpunge(t *testing.T) {
	two := []popserver.Message{{ID: "a", Body: letter(1)}, {ID: "b", Body: letter(2)}}
	for _, tt := range []struct {
		name    string
		q       popserver.Quirks
		left    int
		pending int64
		class   remote.Class
	}{
		{"done", popserver.Quirks{}, 1, 0, 0},
		{"one by one", popserver.Quirks{NoPipelining: true}, 1, 0, 0},
		{"DELE refused", popserver.Quirks{RefuseDele: true}, 2, 1, 0},
		{"QUIT refused", popserver.Quirks{Quit: "-ERR some deleted messages not removed"}, 2, 0, remote.Refused},
		{"QUIT not answered", popserver.Quirks{HangUpAtQuit: true}, 2, 0, remote.Lost},
		{"QUIT answered by an empty line", popserver.Quirks{Quit: "\r"}, 2, 0, remote.Protocol},
		{"lists that contradict each other", popserver.Quirks{Stat: 1}, 2, 0, remote.Refused},
	} {
		server := popserver.New(t, two...)
		server.Set(tt.q)
		s, _ := openNamed(t, dialer(server))
		pending, err := s.Expunge(t.Context(), remote.Box{}, mail.NewUIDSet(101))
		if remote.ClassOf(err) != tt.class || pending.Len() != tt.pending || len(server.Mail()) != tt.left {
			t.Errorf("%s: %v left, pending %v, %v", tt.name, len(server.Mail()), pending, err)
		}
		if _, _, err := bodies(t, s, mail.NewUIDSet(102)); err == nil && tt.class == 0 {
			t.Errorf("%s: the session goes on", tt.name)
		}
	}
}

// TestCloseDeletesNothing: neither does anything else than Expunge.
func TestCloseDeletesNothing(t *testing.T) {
	server := popserver.New(t, popserver.Message{ID: "a", Body: letter(1)})
	s, uids := openNamed(t, dialer(server))
	if _, _, err := bodies(t, s, uids); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	for _, c := range server.Commands() {
		if strings.HasPrefix(c, "DELE") {
			t.Error(c)
		}
	}
}

func TestHeaders(t *testing.T) {
	body := "Received: x;\r\n Tue, 3 Jan 2023 10:00:00 +0100\r\n" + letter(1)
	for _, q := range []popserver.Quirks{{}, {NoTOP: true}} {
		server := popserver.New(t, popserver.Message{ID: "a", Body: body})
		server.Set(q)
		s, uids := openNamed(t, dialer(server))
		ms, err := s.Fetch(t.Context(), remote.Box{}, uids, remote.FetchItems{Header: true, Date: true})
		want, _ := mail.Survey(strings.NewReader(body))
		if err != nil || len(ms) != 1 || ms[0].Header.Header != want.Header || !ms[0].Header.HasMessageID ||
			!ms[0].Date.Equal(time.Date(2023, 1, 3, 9, 0, 0, 0, time.UTC)) {
			t.Errorf("%+v: %+v, %v", q, ms, err)
		}
	}
}

// TestSilence: a server that falls silent is left.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		begin := time.Now()
		_, err := NewDialer(Config{Patience: 40 * time.Second}).open(t.Context(), transport.Conn{Conn: ours, Secure: true})
		if remote.ClassOf(err) != remote.Unavailable || time.Since(begin) != 40*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}
