package pop3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

const (
	// window is how many commands may be without an answer. All of them together are less than what any connection takes without
	// being read at the other end, so that sending them never waits.
	window = 400

	// maxDrain is how many bytes are read to bring a session into order after a failure of our own. Beyond them a new session is
	// cheaper.
	maxDrain = 4 << 20

	// maxExcess is how much a message may be larger than twice what the server says.
	maxExcess = 256 << 20

	// headerBytes bounds what is read of a header to find its date.
	headerBytes = 256 << 10
)

// wanted is a message that is asked for.
type wanted struct {
	uid    mail.UID
	number int
}

// numbersOf returns the messages that UIDs mean, by number, and the UIDs that mean none.
func (s *Session) numbersOf(ctx context.Context, uids mail.UIDSet) (found []wanted, gone []mail.UID, err error) {
	if err := s.resolve(ctx); err != nil {
		return nil, nil, err
	}
	if uids.Len() > maxMessages { // a range without end
		for uid, n := range s.numbers {
			if uids.Contains(uid) {
				found = append(found, wanted{uid, n})
			}
		}
	} else {
		for uid := range uids.All() {
			if n, ok := s.numbers[uid]; ok {
				found = append(found, wanted{uid, n})
			} else {
				gone = append(gone, uid)
			}
		}
	}
	slices.SortFunc(found, func(a, b wanted) int { return a.number - b.number })
	return found, gone, nil
}

// numbering makes the command for a message out of what is before its number.
func numbering(before string) func(wanted) string {
	return func(m wanted) string { return before + strconv.Itoa(m.number) }
}

// pipelined sends a command for each message, as many at a time as the server allows, and has take read each answer. After an error of
// take that leaves the connection whole the rest is read and thrown away, if it is not too much.
func (s *Session) pipelined(op string, messages []wanted, command func(wanted) string, take func(wanted, status) error) error {
	ahead := 1
	if s.has("PIPELINING") {
		ahead = window
	}
	s.wire.begin()
	sent := 0
	var batch []string
	var failed error
	for i, m := range messages {
		if sent-i <= ahead/2 && failed == nil {
			batch = batch[:0]
			for ; sent < len(messages) && sent-i < ahead; sent++ {
				batch = append(batch, command(messages[sent]))
				s.traceOut(batch[len(batch)-1])
			}
			if len(batch) > 0 {
				if err := s.pop.Send(strings.Join(batch, "\r\n")); err != nil {
					return during(op, err)
				}
			}
		}
		if i == sent {
			return failed // nothing more was asked for
		}
		st, err := s.answer(op)
		if err != nil {
			return errors.Join(failed, err)
		}
		if failed != nil {
			if st.ok && !newBody(s.wire).drain(maxDrain) {
				s.wire.Fail(transport.Lost(errors.New("given up")))
				return failed
			}
			continue
		}
		if err := take(m, st); err != nil {
			if s.wire.Failure() != nil {
				return err
			}
			failed = err
		}
	}
	return failed
}

// bound is how much may come of a message of which the server says how large it is. What it says is rough.
func (s *Session) bound(size int64) int64 {
	most := 2*max(size, 0) + maxExcess
	if wanted := s.cfg.MaxMessage; wanted > 0 {
		most = min(most, max(size, wanted)+wanted/4+maxLine)
	}
	return most
}

// Bodies implements remote.Session.
func (s *Session) Bodies(ctx context.Context, _ remote.Box, uids mail.UIDSet, deliver func(remote.Message, io.Reader) error) (map[mail.UID]error, error) {
	const op = "fetching messages"
	messages, gone, err := s.numbersOf(ctx, uids)
	if err != nil {
		return nil, err
	}
	defer s.wire.Watch(ctx)()
	missing := make(map[mail.UID]error, len(gone))
	for _, uid := range gone {
		missing[uid] = remote.ErrGone
	}
	slices.Reverse(messages) // the newest are waited for
	s.read = s.read || len(messages) > 0
	// What is being done, in words: numbers are others in the next session.
	what := func(m wanted) string {
		if id := s.list.Messages[m.number-1].ID; id != "" {
			return fmt.Sprintf("fetching the message with UIDL %q", id)
		}
		return fmt.Sprintf("fetching message %d", m.number)
	}
	b := newBody(s.wire)
	err = s.pipelined(op, messages, numbering("RETR "), func(m wanted, st status) error {
		if !st.ok {
			missing[m.uid] = refusal(what(m), st)
			return nil
		}
		size := s.list.Messages[m.number-1].Size
		*b = body{w: s.wire, size: size, bound: s.bound(size), start: true}
		if b.isEmpty() && size > 0 {
			// Half an answer: an empty file in its place would never be filled.
			missing[m.uid] = &remote.Error{Class: remote.Refused, Op: what(m),
				Err: fmt.Errorf("the server says that it has %d bytes, and sends none", size)}
			return nil
		}
		if err := deliver(remote.Message{UID: m.uid, Size: size}, b); err != nil {
			s.spilled = true
			tooLarge := errors.Is(b.err, remote.ErrTooLarge)
			if tooLarge {
				missing[m.uid] = during(what(m), b.err)
			}
			if !b.drain(maxDrain) {
				err = errors.Join(s.wire.Fail(transport.Lost(errors.New("given up"))), err)
			} else if tooLarge {
				return nil
			}
			return err
		}
		if !b.done {
			return s.wire.Fail(protocolError("message %d was not read to its end", m.number))
		}
		if s.cfg.Trace != nil {
			s.traceIn(fmt.Sprintf("(%d bytes)", b.n))
		}
		return nil
	})
	return missing, err
}

// Fetch implements remote.Session. A header is read by TOP or, from a server that does not have it, with the whole message.
func (s *Session) Fetch(ctx context.Context, _ remote.Box, uids mail.UIDSet, want remote.FetchItems) ([]remote.Message, error) {
	const op = "reading headers"
	messages, _, err := s.numbersOf(ctx, uids)
	if err != nil {
		return nil, err
	}
	out := make([]remote.Message, 0, len(messages))
	if !want.Header && !want.Date {
		for _, m := range messages {
			l := s.list.Messages[m.number-1]
			out = append(out, remote.Message{UID: m.uid, Size: l.Size, EmailID: l.ID})
		}
		return out, nil
	}
	defer s.wire.Watch(ctx)()
	read := func(m wanted, st status) error {
		l := s.list.Messages[m.number-1]
		b := newBody(s.wire)
		b.size, b.bound = l.Size, s.bound(l.Size)
		head := headReader{r: b}
		c, err := mail.SurveyMaildrop(&head)
		if errors.Is(err, remote.ErrTooLarge) {
			if !b.drain(maxDrain) {
				return s.wire.Fail(transport.Lost(err))
			}
			return nil // it is left out of the answer
		}
		if err != nil {
			return err
		}
		msg := remote.Message{UID: m.uid, Size: l.Size, EmailID: l.ID}
		if want.Header {
			msg.Header = &c
		}
		if want.Date {
			msg.Date = mail.ReceivedDate(head.kept)
		}
		out = append(out, msg)
		return nil
	}
	var refused []wanted
	err = s.pipelined(op, messages, func(m wanted) string { return fmt.Sprintf("TOP %d 0", m.number) }, func(m wanted, st status) error {
		if !st.ok {
			refused = append(refused, m)
			return nil
		}
		return read(m, st)
	})
	if err != nil || len(refused) == 0 {
		return out, err
	}
	s.read = true
	err = s.pipelined(op, refused, numbering("RETR "), func(m wanted, st status) error {
		if !st.ok {
			return nil // it is left out of the answer
		}
		return read(m, st)
	})
	return out, err
}

// headReader keeps the beginning of what is read through it.
type headReader struct {
	r    io.Reader
	kept []byte
}

func (h *headReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.kept = append(h.kept, p[:min(n, headerBytes-len(h.kept))]...)
	return n, err
}

// Expunge implements remote.Session: DELE for each message, then QUIT, which ends the session. Messages for which DELE was refused are
// returned as pending. If QUIT is not answered with +OK nothing counts as removed (RFC 1939, section 6).
func (s *Session) Expunge(ctx context.Context, _ remote.Box, uids mail.UIDSet) (pending mail.UIDSet, err error) {
	const op = "deleting messages"
	messages, _, err := s.numbersOf(ctx, uids)
	if err != nil {
		return pending, err
	}
	if s.list.Partial {
		return pending, &remote.Error{Class: remote.Refused, Op: op,
			Err: errors.New("the server's lists of messages contradict each other, so nothing is deleted in this run")}
	}
	if s.spilled && s.expires() {
		return pending, &remote.Error{Class: remote.Refused, Op: op, Hint: "the next sync tries again",
			Err: errors.New("the server would delete all that was read, and some of it could not be stored")}
	}
	if len(messages) == 0 {
		return pending, nil
	}
	defer s.wire.Watch(ctx)()
	err = s.pipelined(op, messages, numbering("DELE "), func(m wanted, st status) error {
		if !st.ok {
			pending.Add(m.uid)
		}
		return nil
	})
	if err != nil {
		return pending, err
	}
	st, err := s.exchange(op, "QUIT")
	if err != nil {
		return pending, err
	}
	s.wire.Fail(transport.Lost(errors.New("the session is over: deleting ended it")))
	if !st.ok {
		e := refusal(op, st)
		e.Hint = "some of the messages may still be there; the next run looks"
		return pending, e
	}
	return pending, nil
}
