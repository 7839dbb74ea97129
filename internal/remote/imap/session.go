package imap

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

const (
	// maxWarnings bounds how many odd things are remembered.
	maxWarnings = 100
	// maxGarbage is how many lines may be no response at all before the stream counts as out of step.
	maxGarbage = 100
	// flagSets bounds the cache of flag lists seen.
	flagSets = 4096
	// maxFlagList is the longest of them.
	maxFlagList = 1000
	// existsWeight is for how many lines one counts that tells a number of messages, see maxLines.
	existsWeight = 50
	// closeTime is how long signing off may take.
	closeTime = time.Second
)

// Session is one signed-in connection. It implements remote.Session.
type Session struct {
	cfg    Config
	conn   *conn
	in     response
	secure bool
	secret *auth.Secret // that it signed in with, nil if it needed none

	lastTag int
	flight  *flight // under way, nil in between
	traceMu sync.Mutex

	memory  *atomic.Pointer[learnt] // the Dialer's
	link    *link                   // the Dialer's
	fresh   bool                    // signed in, and nothing was said since
	settled bool                    // what lead asks is known

	caps       *capSet
	before     *capSet // before the sign-in
	welcome    string  // the greeting's text
	serverName string  // of ID
	prefix     string  // of the personal namespace, the server's bytes
	delim      byte    // 0: none
	delimKnown bool
	foreign    []string
	qresync    bool // ENABLED was heard
	xguid      bool // STATUS knows X-GUID
	noChanges  bool // the server refused SELECT (QRESYNC …)
	noUIDNext  bool // SELECT does not tell UIDNEXT (Courier)

	sel      *selection // the mailbox that is selected, as far as we can rely on it
	opened   bool       // the server may have a mailbox selected
	open     string     // which, empty if that is uncertain
	bye      status
	caughtUp *capSet // from the last CAPABILITY data
	greeting *status // of the greeting, while it is awaited

	hideContinuations bool
	garbage           int // lines that were no response
	leftOut           int // responses that could not be understood
	warnings          []string
	flags             map[string]mail.Flags
	fetched           fetched // the FETCH response that is being read
	waiting           *wait   // for changes, nil otherwise
}

var _ remote.Waiter = (*Session)(nil)

// selection is an open mailbox.
type selection struct {
	name   string
	info   remote.Selected // as the SELECT said
	before remote.Status   // as STATUS said right before it, if it was asked
	exists uint32          // as of now
	unsure bool            // more was said to be gone than there was
	named  mail.UID        // the highest UID that the server named
}

// Warnings returns what was odd about the server so far: responses that could not be understood and
// were left out, and the like.
func (s *Session) Warnings() []string { return s.warnings }

func (s *Session) warn(format string, args ...any) {
	text := remote.CleanText(fmt.Sprintf(format, args...))
	if len(s.warnings) < maxWarnings {
		s.warnings = append(s.warnings, text)
	}
	if s.cfg.Log != nil {
		s.cfg.Log.Debug("odd answer from the server", "detail", text)
	}
}

// Traffic returns what went over the wire so far, without what TLS adds.
func (s *Session) Traffic() remote.Traffic { return s.conn.traffic() }

// Close signs off if the session is alive, and closes the connection. The server's farewell is not waited for: all
// that was asked of it has been answered.
func (s *Session) Close() error {
	if s.conn.Failure() == nil {
		c := newCommand("signing off", "LOGOUT")
		c.tag = tagOf(s.lastTag + 1)
		s.traceOut(c)
		s.conn.farewell([]byte(c.tag + " LOGOUT\r\n"))
	}
	s.conn.Fail(transport.Lost(errors.New("the session is closed")))
	return nil
}

// during words a failure of the connection as one of what was being done. nil stays nil.
func (s *Session) during(op string, err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*remote.Error](err)
	if !ok {
		return &remote.Error{Class: remote.Lost, Op: op, Err: err}
	}
	out := *e
	out.Op = op
	if e.Class == remote.Lost && s.bye.kind != "" && out.Text == "" {
		out.Code, out.Text, out.RetryAfter = s.bye.code, s.bye.text, retryAfter(s.bye.text)
		out.Hint = adviceFor(s.bye.code).hint
	}
	return &out
}

func unspeakable(op string, err error) error {
	return &remote.Error{Class: remote.Refused, Op: op, Err: err}
}

func (s *Session) traceOut(c *command) {
	if s.cfg.Trace != nil {
		s.trace('>', c.trace())
	}
}

func (s *Session) trace(dir byte, line string) {
	s.traceMu.Lock()
	defer s.traceMu.Unlock()
	s.cfg.Trace(dir, printable(line))
}

func (s *Session) traceIn(line string) {
	if s.hideContinuations && line != "" && line[0] == '+' {
		line = "+ ***"
	}
	s.trace('<', line)
}

// receive reads one response and gives its data to whoever wants it.
func (s *Session) receive() error {
	p := &s.in
	if err := p.begin(); err != nil {
		return err
	}
	err := s.dispatch(p)
	if isBadLine(err) {
		s.warn("left out %.120q: %v", p.text, err)
		s.leftOut++
		err = nil
	}
	if err != nil {
		return err
	}
	return p.skip()
}

func (s *Session) dispatch(p *response) error {
	if len(p.text) == 0 && p.lit < 0 {
		return bad("an empty line")
	}
	if p.text != nil && p.peek() == '+' {
		return s.continuation(p.text)
	}
	tag := p.word()
	if len(tag) == 1 && tag[0] == '*' {
		return s.untagged(p)
	}
	return s.tagged(p, tag)
}

// continuation handles a request to go on.
func (s *Session) continuation(line []byte) error {
	if s.flight == nil {
		return bad("a request to go on before anything was said")
	}
	if c := s.flight.unanswered(); c != nil && c.challenge != nil {
		reply := c.challenge(line)
		if reply == nil {
			return protocolError("the server does not stop asking for credentials")
		}
		if s.cfg.Trace != nil {
			s.trace('>', "***")
		}
		return s.conn.write(append(reply, "\r\n"...), true)
	}
	c := s.flight.grant()
	if c == nil {
		return bad("a request to go on that nobody waits for")
	}
	if c.confirmed != nil {
		c.confirmed()
	}
	return nil
}

// tagged handles the outcome of a command.
func (s *Session) tagged(p *response, tag []byte) error {
	p.spaces()
	result, ok := parseStatus(p.rest())
	var c *command
	if s.flight != nil {
		c = s.flight.byTag(tag)
	}
	if c == nil || !ok {
		if s.garbage++; s.garbage > maxGarbage {
			return protocolError("the server's answers are out of step: %.80q", p.text)
		}
		return bad("no answer to anything")
	}
	if !result.ok() && notConnected.MatchString(result.text) {
		return &remote.Error{Class: remote.Auth, Code: result.code, Text: result.text,
			Hint: adviceFor(string(goimap.ResponseCodeAuthenticationFailed)).hint}
	}
	if result.throttles() {
		e := refusal("", result)
		e.Class = remote.Unavailable
		return e
	}
	s.in.answered()
	s.note(result)
	s.settle(c, result)
	s.flight.answer(c, result)
	if l := s.in.in; l.r == l.w {
		s.conn.gauge.pause() // the server may have nothing more to say before it hears from us
	}
	return nil
}

// settle draws the conclusions from an outcome that concern the session.
func (s *Session) settle(c *command, result status) {
	switch {
	case c.opening != nil:
		s.sel, s.opened, s.open = nil, true, ""
		if result.ok() {
			s.open = c.opening.name
		}
		if result.ok() && !c.closing {
			s.sel = c.opening
			s.sel.info.ReadOnly = result.code == "READ-ONLY"
			s.sel.fill()
			s.noUIDNext = s.noUIDNext || s.sel.info.UIDNext == 0
		}
	case c.closing && result.ok():
		s.sel, s.opened, s.open = nil, false, ""
	}
}

// note takes from a status response what is not a matter of one command.
func (s *Session) note(st status) {
	switch st.code {
	case "CAPABILITY":
		s.caughtUp = parseCaps(st.arg, s.cfg.Disable)
	case string(goimap.ResponseCodeAlert):
		// Before the connection is secure this is anybody's text.
		if s.secure && s.cfg.Alert != nil {
			s.cfg.Alert(st.text)
		}
	}
}

// untagged handles data.
func (s *Session) untagged(p *response) error {
	if n, ok := p.smallNumber(); ok {
		return s.numbered(p, n)
	}
	word := p.word()
	if n, ok := parseNumber(word); ok {
		return s.numbered(p, n)
	}
	if st, ok := parseStatus(p.text[min(2, len(p.text)):]); ok && isStatus(p.text) {
		p.rest()
		return s.status(st)
	}
	switch {
	case equalFold(word, "LIST"), equalFold(word, "LSUB"):
		return s.listData(p)
	case equalFold(word, "STATUS"):
		return s.statusData(p)
	case equalFold(word, "SEARCH"):
		return s.searchData(p)
	case equalFold(word, "ESEARCH"):
		return s.esearchData(p)
	case equalFold(word, "VANISHED"):
		return s.vanishedData(p)
	case equalFold(word, "FLAGS"):
		return nil // PERMANENTFLAGS is what counts
	case equalFold(word, "CAPABILITY"):
		s.caughtUp = parseCaps(string(p.rest()), s.cfg.Disable)
		return nil
	case equalFold(word, "ENABLED"):
		for name := p.word(); len(name) > 0; name = p.word() {
			s.qresync = s.qresync || equalFold(name, string(goimap.CapQResync))
		}
		return nil
	case equalFold(word, "ID"):
		return s.idData(p)
	case equalFold(word, "NAMESPACE"):
		return s.namespaceData(p)
	case len(word) == 0:
		return bad("data without a name")
	}
	return nil // RFC 3501, section 2.2.2: a client must be prepared for any response
}

// status handles an untagged status response.
func (s *Session) status(st status) error {
	if s.greeting != nil && s.greeting.kind == "" {
		*s.greeting = st
	}
	s.note(st)
	if st.kind == goimap.StatusResponseTypeBye {
		s.bye = st
		if s.waiting != nil {
			return transport.Lost(errors.New("the server ended the session")) // it may be long in closing it
		}
		return nil
	}
	if s.waiting != nil {
		s.waiting.code(st)
	}
	if st.code == "" || s.flight == nil {
		return nil
	}
	c := s.flight.unanswered()
	if c == nil {
		return nil
	}
	if c.code != nil {
		c.code(st)
	}
	if c.opening != nil {
		return c.opening.code(st, s.caps)
	}
	if st.code == "UIDVALIDITY" && s.sel != nil {
		// Not outside SELECT, RFC 3501 says; if it is another one, nothing known of the mailbox holds.
		if n, ok := parseNumber([]byte(st.arg)); ok && n != s.sel.info.UIDValidity {
			s.sel = nil
		}
	}
	return nil
}

// code takes what SELECT says of the mailbox (RFC 3501, section 6.3.1; RFC 7162, section 3.1.2).
// What belongs to an extension that was not offered, or is hidden, counts as not said, as in STATUS, where it isn't asked for.
func (o *selection) code(st status, caps *capSet) error {
	switch st.code {
	case "CLOSED": // RFC 7162, section 3.2.11: all before was about the mailbox that was open
		*o = selection{name: o.name, before: o.before}
	case "PERMANENTFLAGS":
		names, err := flagNames(st.arg)
		if err != nil {
			return err
		}
		o.info.Permanent, o.info.PermanentKnown = mail.NewFlags(names...), true
		o.info.AnyKeyword = isSet(names, `\*`)
		if len(names) == 1 && o.info.AnyKeyword {
			// deviation: go-imap's server in memory names nothing but \* and keeps all. One that makes
			// new keywords and keeps none of the system flags is not known.
			o.info.Permanent = mail.SystemFlags(mail.Seen | mail.Answered | mail.Flagged | mail.Deleted | mail.Draft)
		}
	case "HIGHESTMODSEQ":
		if !caps.has(goimap.CapCondStore) {
			return nil
		}
		fallthrough
	case "UIDVALIDITY", "UIDNEXT":
		n, ok := parseNumber([]byte(st.arg))
		if !ok {
			return bad("%s is no number", st.code)
		}
		setNumber(&o.info.Status, st.code, n)
	case "NOMODSEQ":
		o.info.HighestModSeq = 0
	case "MAILBOXID": // RFC 8474, section 4
		if caps.has(goimap.CapObjectID) {
			o.info.MailboxID = trimParens(st.arg)
		}
	}
	return nil
}

// fill takes a UIDNEXT that SELECT did not tell from what STATUS said just before. It may be too low by now, which only
// means that messages count as new that are; never too high.
func (o *selection) fill() {
	if o.info.UIDNext == 0 && o.before.UIDValidity == o.info.UIDValidity {
		o.info.UIDNext = o.before.UIDNext
	}
}

// lose takes messages off the count.
func (o *selection) lose(n int64) {
	if n > int64(o.exists) {
		o.unsure, n = true, int64(o.exists)
	}
	o.exists -= uint32(n)
}

// setNumber sets a field of a mailbox's status by its IMAP name. Numbers that can't be right are unknown.
func setNumber(st *remote.Status, name string, n uint64) {
	switch name {
	case "MESSAGES":
		st.Messages = uint32(min(n, uint64(^uint32(0))))
	case "UIDVALIDITY":
		st.UIDValidity = n
	case "UIDNEXT":
		if n <= uint64(^mail.UID(0)) {
			st.UIDNext = mail.UID(n)
		}
	case "HIGHESTMODSEQ":
		st.HighestModSeq = n
	}
}

// mailbox returns what data about the open mailbox is about: the one that is being opened, else the
// open one; nil if there is none.
func (s *Session) mailbox() *selection {
	if s.flight != nil {
		if c := s.flight.unanswered(); c != nil && c.opening != nil {
			return c.opening
		}
	}
	return s.sel
}

// tolerated returns how many lines and bytes the server may say before it gives one of the answers that are waited for: a few lines
// for each message that it claims to have, as far as that can be believed.
func (s *Session) tolerated() (lines, bytes int64) {
	n := int64(0)
	if box := s.mailbox(); box != nil {
		n = min(int64(max(box.exists, box.info.Messages)), maxMessages)
	}
	return maxLines + 4*n, maxTalk + n<<10
}

// numbered handles data that begins with a number.
func (s *Session) numbered(p *response, n uint64) error {
	what := p.word()
	if equalFold(what, "FETCH") || equalFold(what, "UIDFETCH") {
		return s.fetchData(p)
	}
	if s.waiting != nil && (equalFold(what, "EXISTS") || equalFold(what, "EXPUNGE")) {
		s.waiting.changed()
	}
	box := s.mailbox()
	switch {
	case box == nil:
	case equalFold(what, "EXISTS"):
		// There is little reason to say it twice, and what it says is what more is tolerated for.
		if err := p.hear(existsWeight-1, 0); err != nil {
			return err
		}
		box.exists, box.unsure = uint32(min(n, uint64(^uint32(0)))), false
		if box != s.sel {
			box.info.Messages = box.exists
		}
	case equalFold(what, "EXPUNGE"):
		box.lose(1)
	}
	return nil
}

func itoa(n int) string { return strconv.Itoa(n) }
