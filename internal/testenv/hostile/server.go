// Package hostile is an IMAP server that keeps to the protocol until it is told otherwise: an act sees every answer before it is
// sent, and may change it, hold it back, say something else for as long as it likes, or hang up. What it
// speaks are bytes on loopback, so that all of the program's own client is in the way of them.
package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Capabilities that a server can be given.
const (
	Able = "IMAP4rev1 LITERAL+ ID ENABLE NAMESPACE UIDPLUS MOVE ESEARCH CONDSTORE QRESYNC LIST-EXTENDED LIST-STATUS SPECIAL-USE UNSELECT"
	Mid  = "IMAP4rev1 LITERAL+ ENABLE NAMESPACE UIDPLUS CONDSTORE UNSELECT"
	Bare = "IMAP4rev1"
)

// Server is one account on a server.
type Server struct {
	Host string
	Port int
	caps string

	acting sync.Mutex // held while an act is called

	mu    sync.Mutex
	boxes map[string]*Mailbox // by the name's bytes
	act   Act
	n     int  // exchanges since the act began
	acted bool // the act changed an answer
	conns map[net.Conn]bool
	ended bool
}

// Mailbox is a folder on the server.
type Mailbox struct {
	Name        string
	UIDValidity uint64
	UIDNext     uint32
	ModSeq      uint64
	Messages    []*Message // in ascending order of UID
	gone        []vanished
}

// Message is one message on the server.
type Message struct {
	UID    uint32
	Flags  []string
	Date   string
	Raw    string
	ModSeq uint64
}

type vanished struct {
	uid    uint32
	modSeq uint64
}

// Act changes what the server is about to answer. It is called by one connection at a time.
type Act func(x *Exchange)

// Exchange is a command, and the answer that an honest server gives.
type Exchange struct {
	N    int    // the number of exchanges before it since the act began
	Verb string // "GREETING", "LIST", "UID FETCH", …
	Args string // what follows, without literals
	Box  string // the mailbox that is selected, or is being selected
	Tag  string
	// Untagged are the lines before the outcome, without their ends; a literal is part of its line.
	Untagged []string
	Result   string // "OK done"; empty sends none
	End      End    // what happens after that

	w     io.Writer
	wrote bool
}

// End is how an exchange ends.
type End int

const (
	GoOn    End = iota
	HangUp      // the connection is closed
	Silence     // nothing is said any more; the connection stays open until the client closes it
)

// Write sends bytes before the answer. It fails once the client has had enough.
func (x *Exchange) Write(p []byte) (int, error) {
	x.wrote = true
	return x.w.Write(p)
}

// Say replaces the untagged lines.
func (x *Exchange) Say(lines ...string) { x.Untagged = lines }

// Edit replaces one text by another in all untagged lines.
func (x *Exchange) Edit(old, replacement string) {
	for i := range x.Untagged {
		x.Untagged[i] = strings.ReplaceAll(x.Untagged[i], old, replacement)
	}
}

// Is reports whether the command is one of these.
func (x *Exchange) Is(verbs ...string) bool { return slices.Contains(verbs, x.Verb) }

// New starts a server with an empty INBOX. It ends with the test.
func New(t testing.TB, caps string) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, caps: caps, boxes: map[string]*Mailbox{}, conns: map[net.Conn]bool{}}
	s.Create("INBOX")
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if s.admit(c) {
				serving.Go(func() {
					defer s.dismiss(c)
					(&conn{s: s, c: c, r: bufio.NewReader(c)}).serve()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		s.ended = true
		for c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		serving.Wait()
	})
	return s
}

// has reports whether the server has a capability.
func (s *Server) has(name string) bool { return slices.Contains(strings.Fields(s.caps), name) }

func (s *Server) admit(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		_ = c.Close()
		return false
	}
	s.conns[c] = true
	return true
}

func (s *Server) dismiss(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// Play begins an act; nil ends it. It returns how many exchanges there were in the act before.
func (s *Server) Play(act Act) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.n
	s.act, s.n, s.acted = act, 0, false
	return n
}

// Acted reports whether the act has changed any answer since it began.
func (s *Server) Acted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acted
}

// Create makes a mailbox.
func (s *Server) Create(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.create(name)
}

func (s *Server) create(name string) *Mailbox {
	b := &Mailbox{Name: name, UIDValidity: 1000 + uint64(len(s.boxes)), UIDNext: 1, ModSeq: 1}
	s.boxes[name] = b
	return b
}

// Discard removes a mailbox.
func (s *Server) Discard(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.boxes, name)
}

// Append stores a message.
func (s *Server) Append(box, raw string, flags ...string) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.boxes[box].add(raw, "02-Jun-2025 10:00:00 +0000", flags)
}

// Remove expunges a message.
func (s *Server) Remove(box string, uid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.boxes[box].remove(func(m *Message) bool { return m.UID == uid })
}

// Change works on a mailbox behind everybody's back.
func (s *Server) Change(box string, f func(*Mailbox)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.boxes[box])
}

// Contents returns the messages of every mailbox, their texts only, in order.
func (s *Server) Contents() map[string][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]string{}
	for name, b := range s.boxes {
		out[name] = []string{}
		for _, m := range b.Messages {
			out[name] = append(out[name], m.Raw)
		}
	}
	return out
}

func (b *Mailbox) add(raw, date string, flags []string) uint32 {
	b.ModSeq++
	m := &Message{UID: b.UIDNext, Flags: flags, Date: date, Raw: raw, ModSeq: b.ModSeq}
	b.UIDNext++
	b.Messages = append(b.Messages, m)
	return m.UID
}

func (b *Mailbox) remove(is func(*Message) bool) {
	b.Messages = slices.DeleteFunc(b.Messages, func(m *Message) bool {
		if !is(m) {
			return false
		}
		b.ModSeq++
		b.gone = append(b.gone, vanished{m.UID, b.ModSeq})
		return true
	})
}

func (b *Mailbox) uids() []uint32 {
	var out []uint32
	for _, m := range b.Messages {
		out = append(out, m.UID)
	}
	return out
}

// conn is one connection.
type conn struct {
	s        *Server
	c        net.Conn
	r        *bufio.Reader
	box      *Mailbox // selected
	seen     []uint32 // the UIDs that the client knows of
	condOn   bool
	qresync  bool
	untagged []string
}

func (c *conn) serve() {
	if !c.answer(&Exchange{Verb: "GREETING", Untagged: []string{"* OK [CAPABILITY " + c.s.caps + "] ready"}}) {
		return
	}
	for {
		line, literals, err := c.command()
		if err != nil {
			return
		}
		tag, rest, _ := strings.Cut(line, " ")
		verb, args, _ := strings.Cut(rest, " ")
		if verb = strings.ToUpper(verb); verb == "UID" {
			second, more, _ := strings.Cut(args, " ")
			verb, args = "UID "+strings.ToUpper(second), more
		}
		x := &Exchange{Verb: verb, Tag: tag, Args: args}
		c.s.mu.Lock()
		c.untagged = nil
		x.Result = c.do(verb, &words{text: args, literals: literals})
		c.catchUp()
		x.Untagged = c.untagged
		if c.box != nil {
			x.Box = c.box.Name
		}
		c.s.mu.Unlock()
		if !c.answer(x) || verb == "LOGOUT" {
			return
		}
	}
}

// answer sends an answer, as the act will have it.
func (c *conn) answer(x *Exchange) bool {
	w := bufio.NewWriter(c.c)
	x.w = c.c
	c.s.mu.Lock()
	act := c.s.act
	x.N = c.s.n
	c.s.n++
	c.s.mu.Unlock()
	if act != nil && x.Verb != "LOGOUT" {
		honest := Exchange{Untagged: slices.Clone(x.Untagged), Result: x.Result, End: x.End}
		c.s.acting.Lock()
		act(x)
		c.s.acting.Unlock()
		if x.wrote || x.Result != honest.Result || x.End != honest.End || !slices.Equal(x.Untagged, honest.Untagged) {
			c.s.mu.Lock()
			c.s.acted = true
			c.s.mu.Unlock()
		}
	}
	for _, line := range x.Untagged {
		_, _ = w.WriteString(line + "\r\n")
	}
	if x.Tag != "" && x.Result != "" {
		_, _ = w.WriteString(x.Tag + " " + x.Result + "\r\n")
	}
	if w.Flush() != nil {
		return false
	}
	switch x.End {
	case HangUp:
		return false
	case Silence:
		_, _ = io.Copy(io.Discard, c.r)
		return false
	}
	return true
}

// command reads a command with its literals, which stand as \x00 and their number in the line.
func (c *conn) command() (line string, literals []string, err error) {
	var b strings.Builder
	for {
		part, err := c.r.ReadString('\n')
		if err != nil {
			return "", nil, err
		}
		part = strings.TrimRight(part, "\r\n")
		at := strings.LastIndexByte(part, '{')
		if at < 0 || !strings.HasSuffix(part, "}") {
			b.WriteString(part)
			return b.String(), literals, nil
		}
		size := strings.TrimSuffix(part[at+1:], "}")
		waits := !strings.HasSuffix(size, "+")
		n, err := strconv.Atoi(strings.TrimSuffix(size, "+"))
		if err != nil {
			return "", nil, err
		}
		if waits {
			if _, err := io.WriteString(c.c, "+ go on\r\n"); err != nil {
				return "", nil, err
			}
		}
		text := make([]byte, n)
		if _, err := io.ReadFull(c.r, text); err != nil {
			return "", nil, err
		}
		fmt.Fprintf(&b, "%s\x00%d", part[:at], len(literals))
		literals = append(literals, string(text))
	}
}

func (c *conn) say(format string, args ...any) {
	c.untagged = append(c.untagged, "* "+fmt.Sprintf(format, args...))
}

// catchUp tells what became of the selected mailbox since the client heard of it.
func (c *conn) catchUp() {
	if c.box == nil {
		return
	}
	now := c.box.uids()
	for i := len(c.seen) - 1; i >= 0; i-- {
		switch {
		case slices.Contains(now, c.seen[i]):
		case c.qresync:
			c.say("VANISHED %d", c.seen[i])
		default:
			c.say("%d EXPUNGE", i+1)
		}
	}
	if len(now) > 0 && (len(c.seen) == 0 || now[len(now)-1] > c.seen[len(c.seen)-1]) {
		c.say("%d EXISTS", len(now))
	}
	c.seen = now
}
