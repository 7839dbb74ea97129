package pop3

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/satchel-mail/satchel/internal/remote"
)

const (
	// maxMessages bounds a listing.
	maxMessages = 1_000_000
	// maxID bounds the server's name for a message. RFC 1939 allows 70 bytes.
	maxID = 512
)

// listing is what STAT, LIST and UIDL say together.
type listing struct {
	remote.Listing
	// unique tells for each message whether its ID is there and no other's.
	unique []bool
}

// readListing asks for the whole listing, in one go where the server allows it.
func (s *Session) readListing() (*listing, error) {
	const op = "listing the messages"
	commands := []string{"STAT", "LIST"}
	if !s.disabled("UIDL") {
		commands = append(commands, "UIDL") // whether it was offered or not: old servers have it and say nothing
	}
	if err := s.sendAll(commands); err != nil {
		return nil, during(op, err)
	}
	next := func(i int) (status, error) { return s.answerTo(op, commands, i) }

	st, err := next(0)
	if err != nil {
		return nil, err
	}
	if !st.ok {
		return nil, refusalForNow(op, st)
	}
	count, err := parseStat(st.text)
	if err != nil {
		return nil, s.wire.Fail(err)
	}
	if st, err = next(1); err != nil {
		return nil, err
	}
	if !st.ok {
		return nil, refusalForNow(op, st)
	}
	l := &listing{Listing: remote.Listing{Messages: make([]remote.Listed, min(count, 1<<16))}}
	for i := range l.Messages {
		l.Messages[i].Size = -1
	}
	sum := sha256.New()
	sized, err := s.readLines(op, func(line []byte) error {
		sum.Write(line)
		sum.Write([]byte{'\n'})
		n, rest, ok := numbered(line)
		size, err := strconv.ParseInt(string(firstWord(rest)), 10, 64)
		if !ok || err != nil || size < 0 {
			l.Partial = true
			return nil
		}
		m, err := l.at(n, count)
		if err != nil || m == nil {
			return err
		}
		l.Partial = l.Partial || m.Size >= 0 // told twice
		m.Size = size
		return nil
	})
	if err != nil {
		return nil, err
	}
	named := 0
	if len(commands) > 2 {
		if st, err = next(2); err != nil {
			return nil, err
		}
		if s.hasUIDL = st.ok; !st.ok && (s.has("UIDL") || isForNow(st)) {
			return nil, refusalForNow("listing the messages' names (UIDL)", st) // that it fails once does not mean that there are none
		}
		if st.ok {
			sum.Write([]byte("UIDL\n"))
			named, err = s.readLines(op, func(line []byte) error {
				sum.Write(line)
				sum.Write([]byte{'\n'})
				n, rest, ok := numbered(line)
				if !ok || len(rest) == 0 {
					l.Partial = true
					return nil
				}
				m, err := l.at(n, count)
				if err != nil || m == nil {
					return err
				}
				l.Partial = l.Partial || m.ID != ""
				m.ID = idOf(rest)
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	l.Named = s.hasUIDL
	l.Partial = l.Partial || sized != count || s.hasUIDL && named != count || len(l.Messages) != count
	l.finish(sum.Sum(nil), s.hasUIDL)
	s.traceIn(fmt.Sprintf("(%d messages)", len(l.Messages)))
	return l, nil
}

// at returns the message with a number. One beyond the count is none: the server contradicts itself.
func (l *listing) at(n, count int) (*remote.Listed, error) {
	if n > count {
		l.Partial = true
		return nil, nil
	}
	for len(l.Messages) < n {
		l.Messages = append(l.Messages, remote.Listed{Size: -1})
	}
	return &l.Messages[n-1], nil
}

// finish works out what the listing is worth.
func (l *listing) finish(sum []byte, hasUIDL bool) {
	l.unique = make([]bool, len(l.Messages))
	times := make(map[string]int, len(l.Messages))
	for i := range l.Messages {
		times[l.Messages[i].ID]++
	}
	whole := true
	for i := range l.Messages {
		id := l.Messages[i].ID
		l.unique[i] = id != "" && times[id] == 1
		whole = whole && id != ""
	}
	if hasUIDL && whole && !l.Partial {
		l.Mark = max(1, binary.BigEndian.Uint64(sum))
	}
}

// parseStat reads the number of messages (RFC 1939, section 5).
func parseStat(text string) (int, error) {
	n, err := strconv.Atoi(string(firstWord([]byte(text))))
	switch {
	case err != nil || n < 0:
		return 0, protocolError("STAT does not say how many messages there are")
	case n > maxMessages:
		return 0, protocolError("STAT says that there are %d messages; more than %d are not believed", n, maxMessages)
	}
	return n, nil
}

// numbered takes a line of LIST or UIDL apart into the message's number and what follows.
func numbered(line []byte) (n int, rest []byte, ok bool) {
	number, rest, ok := bytes.Cut(bytes.TrimLeft(line, " "), []byte{' '})
	if !ok {
		return 0, nil, false
	}
	v, err := strconv.ParseUint(string(number), 10, 31)
	if err != nil || v == 0 || v > maxMessages {
		return 0, nil, false
	}
	return int(v), bytes.Trim(rest, " \t"), true
}

func firstWord(b []byte) []byte {
	b = bytes.TrimLeft(b, " \t")
	if i := bytes.IndexAny(b, " \t"); i >= 0 {
		return b[:i]
	}
	return b
}

// idOf is the server's name for a message or, where that can't be one, what it can be told by all the same.
func idOf(name []byte) string {
	if isID(name) {
		return string(name)
	}
	sum := sha256.Sum256(name)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// isID reports whether a server's name for a message can be one: printable ASCII without spaces (RFC 1939, section 7). Longer ones
// than it allows are in use.
func isID(id []byte) bool {
	if len(id) == 0 || len(id) > maxID {
		return false
	}
	for _, c := range id {
		if c < 0x21 || c > 0x7e {
			return false
		}
	}
	return true
}

var errEndless = errors.New("the list does not end")

// readLines hands out the lines of a multi-line answer and counts them.
func (s *Session) readLines(op string, take func(line []byte) error) (int, error) {
	for n := 0; ; n++ {
		line, err := s.wire.readLine()
		if err != nil {
			return n, during(op, err)
		}
		if string(line) == "." {
			return n, nil
		}
		if n == maxMessages {
			return n, s.wire.Fail(protocolAt(op, errEndless, ""))
		}
		if err := take(bytes.TrimPrefix(line, []byte{'.'})); err != nil {
			return n, s.wire.Fail(err)
		}
	}
}
