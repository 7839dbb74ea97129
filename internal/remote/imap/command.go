package imap

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

const (
	// maxCommand bounds what a set of UIDs adds to a command line; servers cut or refuse lines of 8 kB
	// (RFC 7162, section 4, speaks of 8192 octets).
	maxCommand = 7500
	// shortLiteral is the most that LITERAL- lets through without waiting (RFC 7888, section 5).
	shortLiteral = 4096
)

// command is one command: what to send, who gets the data that the server answers with, and the outcome.
type command struct {
	op    string // in words, for errors
	parts []part
	err   error // it can't be spelled
	show  string
	tag   string

	// weight is what it counts for in a flight's limit of bytes.
	weight int64
	// prepare is called before the first byte is sent. With an error the command is not sent at all.
	prepare func() error
	// challenge answers a continuation request of AUTHENTICATE.
	challenge func(data []byte) []byte
	// finish is called when the outcome is known; not if the connection dies.
	finish func()

	// What the data is given to, nil to ignore it.
	opening  *selection // of SELECT: the mailbox that it opens
	closing  bool       // of what leaves the open mailbox
	fetch    func(*fetched)
	body     func(*fetched, *bodyReader) error
	header   bool // of FETCH: header fields are wanted
	search   func(mail.UIDSet)
	list     func(listed)
	root     func(delim byte)                                  // of LIST "" ""
	status   func(name string, st remote.Status, counted bool) // whether it said how many messages there are
	vanished func(set mail.UIDSet, earlier bool)
	code     func(status)

	// confirmed is called when the server asks for what waits.
	confirmed func()

	granted bool // the server asked for the literal
	done    bool
	unsent  error  // prepare failed
	result  status // if done and not unsent
}

// part is a piece of a command: text, or what a stream writes. If wait is set the server must ask for it first. If until is set
// it is held back until that ends, and the server may be silent.
type part struct {
	text   string
	stream func(w io.Writer) error
	size   int64
	wait   bool
	until  context.Context
}

// newCommand starts a command. Every piece of verb is ours.
func newCommand(op, verb string) *command {
	return &command{op: op, parts: []part{{text: verb}}}
}

// raw adds text of ours, or what was checked to be atoms.
func (c *command) raw(text ...string) *command {
	last := &c.parts[len(c.parts)-1]
	if last.stream != nil {
		c.parts = append(c.parts, part{})
		last = &c.parts[len(c.parts)-1]
	}
	for _, t := range text {
		last.text += t
	}
	return c
}

var errUnspeakable = errors.New("it holds a byte that can't be sent (CR, LF or NUL)")

// str adds a space and a string from anywhere: quoted if it can be, else as a literal.
func (c *command) str(s string, caps *capSet) *command {
	if strings.ContainsAny(s, "\r\n\x00") {
		c.err = errUnspeakable
		return c
	}
	if !quotable(s) {
		c.raw(" ").announce(int64(len(s)), caps)
		return c.raw(s)
	}
	return c.raw(` "`, quoteEscapes.Replace(s), `"`)
}

var quoteEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func quotable(s string) bool {
	if len(s) > 1000 {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// announce adds the announcement of a literal. What is added next is its content.
func (c *command) announce(n int64, caps *capSet) {
	size := strconv.FormatInt(n, 10)
	if caps.has(goimap.CapLiteralPlus) || (n <= shortLiteral && caps.has(goimap.CapLiteralMinus)) {
		c.raw("{", size, "+}\r\n")
		return
	}
	c.raw("{", size, "}\r\n")
	c.parts = append(c.parts, part{wait: true})
}

// content adds a literal of which stream writes exactly n bytes.
func (c *command) content(n int64, caps *capSet, stream func(w io.Writer) error) {
	c.raw(" ").announce(n, caps)
	if last := &c.parts[len(c.parts)-1]; last.wait {
		last.stream, last.size = stream, n
		return
	}
	c.parts = append(c.parts, part{stream: stream, size: n})
}

// trace is the command as it may be shown.
func (c *command) trace() string {
	if c.show != "" {
		return c.tag + " " + c.show
	}
	var b strings.Builder
	b.WriteString(c.tag + " ")
	for _, p := range c.parts {
		if p.stream != nil {
			b.WriteString("{" + strconv.FormatInt(p.size, 10) + " bytes}")
			continue
		}
		b.WriteString(strings.ReplaceAll(p.text, "\r\n", " "))
	}
	return clip([]byte(b.String()))
}

// switches reports whether the command changes which mailbox data is about: what comes before its answer is not
// for the commands after it.
func (c *command) switches() bool { return c.opening != nil || c.closing }

// waits reports whether something of the command is held back until the server asks for it.
func (c *command) waits() bool {
	return slices.ContainsFunc(c.parts, func(p part) bool { return p.wait })
}

// isLarge reports whether the command brings messages, or takes one.
func (c *command) isLarge() bool { return c.body != nil || c.weight > 0 }

// refused is the error for the command's NO or BAD, nil if it succeeded.
func (c *command) refused() error {
	if c.result.ok() {
		return nil
	}
	return refusal(c.op, c.result)
}
