package imap

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

// script plays a server, line by line.
type script struct {
	t    *testing.T
	c    net.Conn
	r    *bufio.Reader
	tags []string // of the commands that were expected last
}

// allCaps is what a capable server offers.
const allCaps = "IMAP4rev1 LITERAL+ ID ENABLE NAMESPACE UIDPLUS MOVE ESEARCH CONDSTORE QRESYNC LIST-EXTENDED LIST-STATUS SPECIAL-USE UNSELECT"

// preauth opens a session with a server that has the given capabilities and then plays the script. No
// test of it goes wrong silently: what the client sends and the script does not expect fails the test.
func preauth(t *testing.T, caps string, cfg Config, play func(*script)) *Session {
	t.Helper()
	return preauthBy(t, "ready", caps, cfg, play)
}

// preauthBy is preauth with a server that says who it is.
func preauthBy(t *testing.T, welcome, caps string, cfg Config, play func(*script)) *Session {
	t.Helper()
	s, err := converse(t, cfg, tunnelled(), func(p *script) {
		p.say("* PREAUTH [CAPABILITY " + caps + "] " + welcome)
		p.settle(caps)
		play(p)
	})
	if err != nil {
		t.Fatalf("opening the session: %v", err)
	}
	return s
}

// converse opens a session with a scripted server and lets it look around.
func converse(t *testing.T, cfg Config, as transport.Conn, play func(*script)) (*Session, error) {
	t.Helper()
	return connect(t, scripted(t, cfg), as, true, play)
}

// begin opens a session with a scripted server whose first flight is yet to come.
func begin(t *testing.T, d *Dialer, play func(*script)) *Session {
	t.Helper()
	s, err := connect(t, d, tunnelled(), false, play)
	if err != nil {
		t.Fatalf("opening the session: %v", err)
	}
	return s
}

// scripted is a Dialer for scripted servers.
func scripted(t *testing.T, cfg Config) *Dialer {
	if cfg.Patience == 0 {
		cfg.Patience = 10 * time.Second
	}
	if cfg.Trace == nil {
		cfg.Trace = func(dir byte, line string) { t.Logf("%c %s", dir, line) }
	}
	return NewDialer(cfg)
}

func connect(t *testing.T, d *Dialer, as transport.Conn, settled bool, play func(*script)) (*Session, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	p := &script{t: t, c: theirs, r: bufio.NewReader(theirs)}
	over := make(chan struct{})
	go func() {
		defer close(over)
		play(p)
		p.rest()
	}()
	as.Conn = ours
	s, err := d.open(t.Context(), as)
	if err == nil && settled {
		s.settleNow(t.Context())
		if broken := s.conn.Failure(); broken != nil {
			err = transport.NotLost(broken)
		}
	}
	t.Cleanup(func() {
		if s != nil {
			_ = s.Close()
		}
		_ = ours.Close()
		<-over
	})
	return s, err
}

// settle answers what a session begins with.
func (p *script) settle(caps string) {
	has := func(name string) bool { return isSet(strings.Fields(caps), name) }
	if has("ID") {
		p.expect(`ID ("name" "satchel")`)
		p.say(`* ID ("name" "Script")`, "$1 OK done")
	}
	if has("NAMESPACE") {
		p.expect("NAMESPACE")
		p.say(`* NAMESPACE (("" "/")) NIL NIL`, "$1 OK done")
	} else {
		p.expect(`LIST "" ""`)
		p.say(`* LIST (\Noselect) "/" ""`, "$1 OK done")
	}
	switch {
	case has("ENABLE") && has("QRESYNC"):
		p.expect("ENABLE QRESYNC")
		p.say("* ENABLED QRESYNC", "$1 OK done")
	case has("ENABLE") && has("CONDSTORE"):
		p.expect("ENABLE CONDSTORE")
		p.say("* ENABLED CONDSTORE", "$1 OK done")
	}
}

// line reads a line from the client; "" is the end.
func (p *script) line() string {
	line, err := p.r.ReadString('\n')
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(line, "\r\n")
}

// expect reads commands and keeps their tags.
func (p *script) expect(commands ...string) {
	p.tags = nil
	for _, want := range commands {
		got := p.line()
		tag, text, _ := strings.Cut(got, " ")
		if text != want {
			p.t.Errorf("the client sent %q, want %q", got, want)
			_ = p.c.Close()
			return
		}
		p.tags = append(p.tags, tag)
	}
}

// say sends lines; $1 stands for the tag of the first command that was expected last, and so on.
func (p *script) say(lines ...string) {
	for _, line := range lines {
		p.raw(line + "\r\n")
	}
}

// raw sends text as it is, but for the tags.
func (p *script) raw(text string) {
	for i, tag := range p.tags {
		text = strings.ReplaceAll(text, fmt.Sprintf("$%d", i+1), tag)
	}
	_, _ = io.WriteString(p.c, text) // the client may be gone
}

// literal reads n bytes.
func (p *script) literal(n int) string {
	b := make([]byte, n)
	if _, err := io.ReadFull(p.r, b); err != nil {
		return ""
	}
	return string(b)
}

// rest sees the client off.
func (p *script) rest() {
	for {
		line := p.line()
		tag, text, _ := strings.Cut(line, " ")
		switch {
		case line == "":
			_ = p.c.Close()
			return
		case text == "LOGOUT":
			p.raw("* BYE bye\r\n" + tag + " OK done\r\n")
		default:
			p.t.Errorf("the client sent %q, which no one expected", line)
			_ = p.c.Close()
			return
		}
	}
}

// selected is what a server says of a mailbox with UIDVALIDITY 7.
func selected(exists, next, modseq int) []string {
	return []string{`* FLAGS (\Seen)`, `* OK [PERMANENTFLAGS (\Seen \Deleted \*)] yes`, fmt.Sprintf("* %d EXISTS", exists), "* 0 RECENT",
		"* OK [UIDVALIDITY 7] yes", fmt.Sprintf("* OK [UIDNEXT %d] yes", next), fmt.Sprintf("* OK [HIGHESTMODSEQ %d] yes", modseq)}
}

// box7 is the mailbox that scripts open.
func box7() remote.Box { return remote.Box{Name: "INBOX", UIDValidity: 7} }

// openBox plays a SELECT without CONDSTORE.
func (p *script) openBox(exists, next int) {
	p.expect(`SELECT "INBOX"`)
	p.say(selected(exists, next, 0)...)
	p.say("$1 OK [READ-WRITE] open")
}

// sayWhatIsThere answers the question which of some UIDs are there.
func (p *script) sayWhatIsThere(asked, there string) {
	p.expect("NOOP")
	p.say("$1 OK done")
	p.expect("UID SEARCH UID " + asked)
	p.say("* SEARCH "+there, "$1 OK done")
}

// knownUIDs makes a mark with these UIDs known.
func knownUIDs(modseq uint64, next mail.UID, uids ...mail.UID) remote.Since {
	set := mail.NewUIDSet(uids...)
	return remote.Since{ModSeq: modseq, UIDNext: next, KnownCount: func() uint32 { return uint32(set.Len()) }, Known: func() mail.UIDSet { return set }}
}

func tunnelled() transport.Conn { return transport.Conn{Secure: true, Tunnel: true} }

func uidSet(uids ...mail.UID) mail.UIDSet { return mail.NewUIDSet(uids...) }
