package servers

import (
	"crypto/tls"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/satchel-mail/satchel/internal/mail"
)

const letter = "From: a@example.org\r\nSubject: x\r\n\r\nbody\r\n"

// exercise does everything a Client can do and looks at the outcome.
func exercise(t *testing.T, s *Server) {
	t.Helper()
	c := s.Client(t)
	date := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	seen := mail.SystemFlags(mail.Seen)
	if got := len(c.Messages("INBOX")); got != 0 {
		t.Fatalf("a new account has %d messages", got)
	}
	for range 3 {
		c.Append("INBOX", letter, seen, date)
	}
	work := s.Prefix + "Work"
	c.Create(work)
	index := c.Index("INBOX")
	if len(index) != 3 || !index[0].Flags.Equal(seen) || !index[0].Date.Equal(date) || index[0].Size != int64(len(letter)) {
		t.Fatalf("appended 3 messages, got %+v", index)
	}
	c.Store("INBOX", true, mail.NewFlags("$Label1", `\Flagged`), index[0].UID)
	c.Store("INBOX", false, seen, index[0].UID)
	c.Move("INBOX", work, index[0].UID)
	c.Expunge("INBOX", index[1].UID)
	c.Copy("INBOX", work, index[2].UID)
	if got := c.Index("INBOX"); len(got) != 1 || got[0].UID != index[2].UID || c.Count("INBOX") != 1 {
		t.Errorf("INBOX holds %+v, want one message", got)
	}
	moved := c.Messages(work)
	if len(moved) != 2 || !moved[0].Flags.Equal(mail.NewFlags(`\Flagged`, "$label1")) || string(moved[0].Body) != letter {
		t.Errorf("%s holds %+v, want the moved and the copied message", work, moved)
	}
	validity := c.UIDValidity(work)
	c.Rename(work, s.Prefix+"Play")
	c.Subscribe(s.Prefix + "Play")
	c.Unsubscribe(s.Prefix + "Play")
	if got := c.Folders(); !slices.Contains(got, s.Prefix+"Play") || slices.Contains(got, work) || validity == 0 {
		t.Errorf("after a rename the folders are %q, UIDVALIDITY %d", got, validity)
	}
	c.Delete(s.Prefix + "Play")
	if got := c.Folders(); slices.Contains(got, s.Prefix+"Play") {
		t.Errorf("after a deletion the folders are %q", got)
	}
}

func TestDovecot(t *testing.T) {
	for _, format := range []string{"sdbox", "mdbox", "maildir"} {
		t.Run(format, func(t *testing.T) { exercise(t, Dovecot(t, Options{Format: format})) })
	}
}

func TestDovecotTunnel(t *testing.T) {
	s := Dovecot(t, Options{Separator: ".", Prefix: "INBOX."})
	exercise(t, s)
	want := s.Client(t).Messages("INBOX")
	s.Port = 0 // an observer without a port takes the tunnel
	if got := s.Client(t).Messages("INBOX"); len(got) != 1 || !cmp.Equal(got, want, cmp.Comparer(mail.Flags.Equal)) {
		t.Errorf("the tunnel shows %v, the port shows %v: not the same account", got, want)
	}
	exercise(t, &Server{Name: s.Name, Tunnel: Dovecot(t, Options{}).Tunnel})
}

func TestDovecotWithout(t *testing.T) {
	full := Dovecot(t, Options{}).Client(t).Capabilities()
	for _, without := range [][]string{{"UIDPLUS"}, {"QRESYNC", "CONDSTORE"}, {"SPECIAL-USE"}, {"*"}} {
		s := Dovecot(t, Options{Without: without})
		got := s.Client(t).Capabilities()
		s.Port = 0
		piped := s.Client(t).Capabilities()
		if !slices.Equal(got, piped) {
			t.Errorf("without %q: port has %q, tunnel has %q", without, got, piped)
		}
		if want := mask(full, without); !slices.Equal(got, want) {
			t.Errorf("without %q: got %q, want %q", without, got, want)
		}
		for _, c := range without {
			if c != "*" && !slices.Contains(full, c) {
				t.Errorf("the full server lacks %s, so there is nothing to take away", c)
			}
		}
	}
}

func TestDovecotTLS(t *testing.T) {
	s := Dovecot(t, Options{})
	config, err := s.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", s.TLSAddr(), config)
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(t, conn)
	c.Login(s.User, s.Password)
	if got := c.Folders(); !slices.Equal(got, []string{"INBOX"}) {
		t.Errorf("folders by TLS: %q", got)
	}
}

func TestDovecotQuota(t *testing.T) {
	s := Dovecot(t, Options{Quota: "*:messages=2", ACL: true})
	c := s.Client(t)
	for _, want := range []string{"QUOTA", "ACL"} {
		if !slices.Contains(c.Capabilities(), want) {
			t.Errorf("no %s in %q", want, c.Capabilities())
		}
	}
	c.Append("INBOX", letter, mail.Flags{}, time.Time{})
	c.Append("INBOX", letter, mail.Flags{}, time.Time{})
	if err := c.TryAppend("INBOX", letter); err == nil {
		t.Error("a third message was taken in spite of a quota of two")
	}
}

func TestCyrus(t *testing.T) {
	exercise(t, Cyrus(t, Options{}))
	exercise(t, Cyrus(t, Options{Separator: ".", Prefix: "INBOX."}))
	without := Cyrus(t, Options{Without: []string{"UIDPLUS", "MOVE"}})
	if got := without.Client(t).Capabilities(); slices.Contains(got, "UIDPLUS") || slices.Contains(got, "MOVE") {
		t.Errorf("UIDPLUS and MOVE were to be hidden: %q", got)
	}
	exercise(t, without)
}

func TestCourier(t *testing.T) {
	exercise(t, Courier(t, Options{}))
	if got := Courier(t, Options{Without: []string{"UIDPLUS"}}).Client(t).Capabilities(); slices.Contains(got, "UIDPLUS") {
		t.Errorf("UIDPLUS was to be hidden: %q", got)
	}
}
