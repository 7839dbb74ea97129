// Package popserver is a POP3 server that does what real ones won't: it has no UIDL, gives a name twice, tells wrong sizes, breaks
// off, refuses. It holds its mail in memory and shares no code with internal/remote/pop3.
package popserver

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Message is one message, with CRLFs as it goes over the wire.
type Message struct{ ID, Body string }

// Quirks are what the server does otherwise than it should.
type Quirks struct {
	NoUIDL, NoTOP, NoCapa, NoPipelining bool
	// Size is what LIST tells of a message's size, nil for what is so.
	Size func(m Message) int
	// Stat is added to the number that STAT tells.
	Stat int
	// Listing, if set, has the listings leave messages out.
	Listing func(i int) bool
	// CutRetr hangs up after so many bytes of every message's text, if it is longer; 0 does not.
	CutRetr int
	// Shorten ends every message's text, if it is longer, after so many bytes as if it were whole; 0 does not. Only for the message
	// with the ID ShortenID, if that is set.
	Shorten   int
	ShortenID string
	// Endless is the ID of a message whose text has no end.
	Endless string
	// Refuse has RETR refused for messages with this ID.
	Refuse string
	// Deny, if set, is asked for every command after the sign-in; an answer that is not empty is given in place of what is so.
	Deny func(command string) string
	// SignIn is the answer to a sign-in, empty for what is so.
	SignIn string
	// RefuseDele has every DELE refused, IgnoreDele accepted and not done; Quit is the answer to QUIT, empty for what is so.
	RefuseDele, IgnoreDele bool
	Quit                   string
	// HangUpAtQuit closes the connection without an answer, and deletes nothing.
	HangUpAtQuit bool
	// Lose, if set, is asked for every command whether the session is lost at it.
	Lose func(command string) bool
	// DeletesRead has QUIT delete all that was asked for with RETR.
	DeletesRead bool
	// Act, if set, sees each answer before it is sent, and may change it. It is called by one session at a time.
	Act func(x *Exchange)
	// Stamp is the timestamp of the greeting, for APOP; Capabilities are more of them.
	Stamp        string
	Capabilities []string
}

// Exchange is a command, and the answer that is about to be given.
type Exchange struct {
	N       int    // the number of exchanges before it, over all sessions, since Set
	Command string // "RETR 1"; empty for the greeting
	Answer  []byte
	// HangUp closes the connection after the answer; Silence says nothing any more until the client closes it.
	HangUp, Silence bool

	c net.Conn
}

// Write sends bytes before the answer. It fails once the client has had enough.
func (x *Exchange) Write(p []byte) (int, error) { return x.c.Write(p) }

// Is reports whether the command is one of these; "" is the greeting.
func (x *Exchange) Is(verbs ...string) bool {
	verb, _, _ := strings.Cut(x.Command, " ")
	return slices.Contains(verbs, strings.ToUpper(verb))
}

// Server is a running server with one mailbox, whose user is "u" and whose password is "secret".
type Server struct {
	l net.Listener

	mu       sync.Mutex
	mail     []Message
	quirks   Quirks
	sessions int
	retrs    int // messages that were asked for
	commands []string
	acted    int // exchanges since Set
	conns    map[net.Conn]bool
	ended    bool

	acting sync.Mutex // held while Quirks.Act is called
}

// New starts a server, which ends with the test.
func New(t testing.TB, mail ...Message) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{l: l, mail: slices.Clone(mail), conns: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer s.dismiss(c)
				if s.admit(c) {
					s.serve(c)
				}
			})
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
		running.Wait()
	})
	return s
}

func (s *Server) admit(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = true
	return !s.ended
}

func (s *Server) dismiss(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// Port is where it listens, on 127.0.0.1.
func (s *Server) Port() int { return s.l.Addr().(*net.TCPAddr).Port }

// Set changes what the server does from the next session on.
func (s *Server) Set(q Quirks) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quirks, s.acted = q, 0
}

// Put replaces the mailbox.
func (s *Server) Put(mail ...Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mail = slices.Clone(mail)
}

// Mail is what is in the mailbox.
func (s *Server) Mail() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Message(nil), s.mail...)
}

// Retrieved is how many messages were asked for so far.
func (s *Server) Retrieved() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retrs
}

// Sessions is how many connections there were so far.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions
}

// Commands are the lines that clients sent so far.
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.commands...)
}

// session is one connection.
type session struct {
	*Server
	w       *bufio.Writer
	q       Quirks
	mail    []Message
	deleted map[int]bool
	in      bool
}

func (s *Server) serve(c net.Conn) {
	s.mu.Lock()
	x := &session{Server: s, w: bufio.NewWriter(c), q: s.quirks, mail: append([]Message(nil), s.mail...), deleted: map[int]bool{}}
	s.sessions++
	s.mu.Unlock()
	r := bufio.NewReader(c)
	if !x.turn(c, r, "", func() bool { x.say("+OK ready " + x.q.Stamp); return true }) {
		return
	}
	for {
		if r.Buffered() == 0 && x.w.Flush() != nil {
			return
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		s.mu.Lock()
		s.commands = append(s.commands, line)
		s.mu.Unlock()
		if !x.turn(c, r, line, func() bool { return x.do(line) }) {
			_ = x.w.Flush()
			return
		}
	}
}

// turn has a command obeyed, and its answer changed if somebody wants to. It reports whether the session goes on.
func (x *session) turn(c net.Conn, r *bufio.Reader, command string, obey func() bool) bool {
	if x.q.Act == nil {
		return obey()
	}
	if x.w.Flush() != nil { // what was said before
		return false
	}
	var answer bytes.Buffer
	w := x.w
	x.w = bufio.NewWriter(&answer)
	goesOn := obey()
	_ = x.w.Flush()
	x.w = w
	x.mu.Lock()
	e := &Exchange{N: x.acted, Command: command, Answer: answer.Bytes(), c: c}
	x.acted++
	x.mu.Unlock()
	x.acting.Lock()
	x.q.Act(e)
	x.acting.Unlock()
	if _, err := c.Write(e.Answer); err != nil || e.HangUp {
		return false
	}
	if e.Silence {
		_, _ = io.Copy(io.Discard, r)
		return false
	}
	return goesOn
}

func (x *session) say(lines ...string) {
	for _, l := range lines {
		fmt.Fprintf(x.w, "%s\r\n", l)
	}
}

// do obeys a command, and reports whether the session goes on.
func (x *session) do(line string) bool {
	verb, arg, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	if x.in {
		return x.transaction(verb, arg)
	}
	switch verb {
	case "CAPA":
		x.capa()
	case "USER":
		x.say("+OK")
	case "PASS":
		return x.signIn(arg == "secret")
	case "APOP":
		sum := md5.Sum([]byte(x.q.Stamp + "secret"))
		return x.signIn(x.q.Stamp != "" && arg == "u "+hex.EncodeToString(sum[:]))
	case "QUIT":
		x.say("+OK")
		return false
	default:
		x.say("-ERR unknown")
	}
	return true
}

func (x *session) capa() {
	if x.q.NoCapa {
		x.say("-ERR unknown")
		return
	}
	x.say("+OK", "USER")
	if !x.q.NoPipelining {
		x.say("PIPELINING")
	}
	if !x.q.NoUIDL {
		x.say("UIDL")
	}
	if !x.q.NoTOP {
		x.say("TOP")
	}
	x.say(x.q.Capabilities...)
	x.say(".")
}

func (x *session) signIn(right bool) bool {
	switch {
	case x.q.SignIn != "":
		x.say(x.q.SignIn)
	case !right:
		x.say("-ERR [AUTH] no")
	default:
		x.in = true
		x.say("+OK")
	}
	return true
}

func (x *session) transaction(verb, arg string) bool {
	words := strings.Fields(arg)
	n := 0
	if len(words) > 0 {
		n, _ = strconv.Atoi(words[0])
	}
	known := n >= 1 && n <= len(x.mail) && (!x.deleted[n] || x.q.DeletesRead)
	switch {
	case x.q.Deny != nil && x.q.Deny(strings.TrimSpace(verb+" "+arg)) != "":
		x.say(x.q.Deny(strings.TrimSpace(verb + " " + arg)))
	case x.q.Lose != nil && x.q.Lose(verb+" "+arg):
		return false
	case verb == "STAT":
		x.say(fmt.Sprintf("+OK %d %d", len(x.mail)+x.q.Stat, 1000*len(x.mail)))
	case verb == "LIST":
		x.list(func(m Message) string {
			if x.q.Size != nil {
				return strconv.Itoa(x.q.Size(m))
			}
			return strconv.Itoa(len(m.Body))
		})
	case verb == "UIDL" && !x.q.NoUIDL:
		x.list(func(m Message) string { return m.ID })
	case verb == "NOOP":
		x.say("+OK")
	case verb == "QUIT":
		return x.quit()
	case !known:
		x.say("-ERR no such message or command")
	case verb == "RETR" && x.mail[n-1].ID == x.q.Refuse:
		x.say("-ERR it is damaged")
	case verb == "RETR":
		x.mu.Lock()
		x.retrs++
		x.mu.Unlock()
		if x.q.DeletesRead {
			x.deleted[n] = true
		}
		m := x.mail[n-1]
		if x.q.Endless != "" && m.ID == x.q.Endless {
			return x.endless()
		}
		if x.q.Shorten > 0 && len(m.Body) > x.q.Shorten && (x.q.ShortenID == "" || m.ID == x.q.ShortenID) {
			m.Body = m.Body[:x.q.Shorten]
		}
		return x.text(m.Body, x.q.CutRetr)
	case verb == "TOP" && !x.q.NoTOP:
		head, _, _ := strings.Cut(x.mail[n-1].Body, "\r\n\r\n")
		return x.text(head+"\r\n\r\n", 0)
	case verb == "DELE" && x.q.RefuseDele:
		x.say("-ERR not allowed")
	case verb == "DELE":
		x.deleted[n] = true
		x.say("+OK")
	default:
		x.say("-ERR unknown")
	}
	return true
}

func (x *session) list(tell func(Message) string) {
	x.say("+OK")
	for i, m := range x.mail {
		if x.q.Listing == nil || x.q.Listing(i) {
			x.say(fmt.Sprintf("%d %s", i+1, tell(m)))
		}
	}
	x.say(".")
}

// text sends a message, of which every line that begins with a dot gets another one.
func (x *session) text(body string, cut int) bool {
	x.say("+OK")
	var b bytes.Buffer
	for line := range strings.SplitAfterSeq(body, "\r\n") {
		if strings.HasPrefix(line, ".") {
			b.WriteByte('.')
		}
		b.WriteString(line)
	}
	if !strings.HasSuffix(body, "\r\n") && body != "" {
		b.WriteString("\r\n")
	}
	if cut > 0 && b.Len() > cut {
		_, _ = x.w.Write(b.Bytes()[:cut])
		return false
	}
	_, _ = x.w.Write(b.Bytes())
	x.say(".")
	return true
}

// endless sends lines until nobody wants them any more.
func (x *session) endless() bool {
	x.say("+OK")
	line := bytes.Repeat([]byte("endless\r\n"), 1000)
	for {
		if _, err := x.w.Write(line); err != nil {
			return false
		}
	}
}

func (x *session) quit() bool {
	if x.q.HangUpAtQuit {
		return false
	}
	if x.q.Quit == "" && !x.q.IgnoreDele {
		x.mu.Lock()
		gone := map[Message]int{}
		for n := range x.deleted {
			gone[x.mail[n-1]]++
		}
		var left []Message
		for _, m := range x.Server.mail {
			if gone[m] > 0 {
				gone[m]--
				continue
			}
			left = append(left, m)
		}
		x.Server.mail = left
		x.mu.Unlock()
	}
	if x.q.Quit != "" {
		x.say(x.q.Quit)
	} else {
		x.say("+OK")
	}
	return false
}
