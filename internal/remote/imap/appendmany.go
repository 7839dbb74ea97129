package imap

import (
	"io"
	"strconv"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/remote"
)

// A command stores so many messages, or bytes of them, which are held in memory until they are sent.
const (
	groupMessages = 100
	groupBytes    = 1 << 20
)

// commands makes the commands that store all messages: several with each where the server can do that.
func (a *appending) commands() []*command {
	var cmds []*command
	for from := 0; from < len(a.uploads); {
		to := from + 1
		if a.groups() && a.fits(from) {
			for size := a.uploads[from].Size; to < len(a.uploads) && to-from < groupMessages && a.fits(to); to++ {
				if size += a.uploads[to].Size; size > groupBytes {
					break
				}
			}
		}
		if to == from+1 {
			cmds = append(cmds, a.single(from))
		} else {
			cmds = append(cmds, a.group(from, to))
		}
		from = to
	}
	return cmds
}

// groups reports whether one command may store several messages: if the server can do that (RFC 3502), tells which
// UIDs they get, and does not make us wait before each of them.
func (a *appending) groups() bool {
	caps := a.s.caps
	return caps.has(goimap.CapMultiAppend) && a.s.keepsGroupsWhole() && a.uidPlus && (caps.has(goimap.CapLiteralPlus) || caps.has(goimap.CapLiteralMinus))
}

// keepsGroupsWhole: Dovecot and Cyrus store all messages of a command or none, as RFC 3502 demands (section 6.3.11). Stalwart
// stores those before the one that it refuses, and whoever then sends them again doubles them. Others are not known.
func (s *Session) keepsGroupsWhole() bool { return s.isMade("dovecot") || s.isMade("cyrus") }

// fits reports whether a message may be sent together with others.
func (a *appending) fits(i int) bool {
	most := int64(groupBytes)
	if !a.s.caps.has(goimap.CapLiteralPlus) {
		most = shortLiteral
	}
	return a.uploads[i].Size <= most
}

// group is the APPEND of several messages. They are read before the command begins: one that can't be, or has another
// size than it was said to have, is left out and spoils nothing.
func (a *appending) group(from, to int) *command {
	c := a.newCommand()
	verb := c.parts[0].text
	var members []int
	for i := from; i < to; i++ {
		c.weight += a.uploads[i].Size
	}
	c.parts = append(c.parts, part{stream: func(w io.Writer) error {
		_, err := w.Write(a.text.Bytes())
		return err
	}})
	c.prepare = func() error {
		a.text.Reset()
		var failed error
		for i := from; i < to; i++ {
			if err := a.read(i); err != nil {
				failed = err
				a.settle(i, remote.Appended{Err: err})
				continue
			}
			members = append(members, i)
		}
		if len(members) == 0 {
			return failed
		}
		c.show = verb + " {" + itoa(len(members)) + " messages, " + itoa(a.text.Len()) + " bytes}"
		a.announce(members...)
		return nil
	}
	c.finish = func() { a.finishGroup(c, members) }
	return c
}

// read adds a message to the group.
func (a *appending) read(i int) error {
	if err := a.tooLarge(i); err != nil {
		return err
	}
	u := a.uploads[i]
	body, err := u.Open()
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was only read
	start := a.text.Len()
	a.header = options(a.header[:0], u)
	a.header = append(strconv.AppendInt(append(a.header, " {"...), u.Size, 10), "+}\r\n"...)
	a.text.Write(a.header)
	n, err := a.text.ReadFrom(io.LimitReader(body, u.Size+1))
	if err == nil && n != u.Size {
		err = changedWhileSent(u.Size, n)
	}
	if err != nil {
		a.text.Truncate(start)
	}
	return err
}

// finishGroup settles the messages of a group. A refusal of several means that none was stored (RFC 3502, section 6.3.11:
// the command is atomic), and may have been about one: they are sent again one by one.
func (a *appending) finishGroup(c *command, members []int) {
	err := c.refused()
	switch {
	case c.unsent != nil: // each has its fate
	case err == nil:
		a.stored(c.result, members...)
	case len(members) == 1 || c.result.code == string(goimap.ResponseCodeTryCreate): // about the mailbox
		for _, i := range members {
			a.settle(i, remote.Appended{Err: err})
		}
	default:
		a.again = append(a.again, members...)
		a.unknown = a.unknown || c.result.kind == goimap.StatusResponseTypeBad
	}
}
