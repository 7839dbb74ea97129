package imap

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

const (
	// As many commands, or bytes of messages, are under way at a time: enough that a line of 100 Mbit/s with
	// 200 ms of delay is busy, few enough that a broken connection leaves few fates unknown.
	appendsUnderWay     = 50
	appendBytesUnderWay = 4 << 20
)

// Append stores messages in a mailbox, and looks at what is there from a UID on if that takes no exchange of its own. sent and done
// are called one at a time, not all from the caller's goroutine.
func (s *Session) Append(ctx context.Context, box remote.Box, from mail.UID, uploads []remote.Upload, sent func(i int), done func(i int, r remote.Appended)) ([]remote.Message, error) {
	op := "storing messages in " + readName(box.Name)
	a := &appending{s: s, mailbox: canonical(box.Name), uploads: uploads, uidPlus: s.caps.has(goimap.CapUIDPlus),
		fates: make([]fate, len(uploads)), sent: sent, done: done}
	a.look = look{s: s, box: box, from: from}
	if len(uploads) == 0 {
		return nil, nil
	}
	if err := a.newCommand().err; err != nil {
		return nil, unspeakable(op, err)
	}
	defer a.close()
	defer a.noticed()()
	defer a.tellAll()
	if err := s.fly(ctx, op, a.flight(append(s.reopenToWrite(a.mailbox), a.commands()...))); err != nil {
		return nil, err
	}
	if len(a.again) == 0 {
		return a.look.seen(), nil
	}
	if a.unknown {
		s.caps.known[goimap.CapMultiAppend] = false // promised and not kept
	}
	var cmds []*command
	slices.Sort(a.again)
	for _, i := range a.again {
		cmds = append(cmds, a.single(i))
	}
	if err := s.fly(ctx, op, a.flight(cmds)); err != nil {
		return nil, err
	}
	return a.look.seen(), nil
}

// appending is one call of Append.
type appending struct {
	s       *Session
	mailbox string
	uploads []remote.Upload
	uidPlus bool // else APPENDUID is not listened to
	look    look

	// Of groups that the server refused, see finishGroup; the reader's.
	again   []int
	unknown bool // refused as something that it does not know

	// The writer's.
	open   io.ReadCloser // the message that is being sent
	chunk  []byte
	text   bytes.Buffer // the messages of the group that is being sent
	header []byte

	mu    sync.Mutex // held while sent and done are called
	sent  func(int)
	done  func(int, remote.Appended)
	fates []fate
	told  int // done was called for those before it
}

// noticed returns what is to be called in the end: if the mailbox is open and the server told of as many messages more as it
// stored, it has noticed them, and need not be given the time to (see catchUp). Somebody else's may be among those; then one
// of ours is asked for once more.
func (a *appending) noticed() func() {
	s := a.s
	box := s.sel
	if box == nil || box.name != a.mailbox {
		return func() {}
	}
	before := box.exists
	return func() {
		stored, last := uint32(0), mail.UID(0)
		for _, f := range a.fates {
			if f.known && f.Err == nil {
				stored, last = stored+1, max(last, f.UID)
			}
		}
		if s.sel == box && box.exists >= before+stored {
			box.named = max(box.named, last)
		}
	}
}

// fate is what becomes of one upload.
type fate struct {
	remote.Appended
	sent, known bool
}

// flight makes commands a flight, with the look behind them if nothing else need be waited for.
func (a *appending) flight(cmds []*command) *flight {
	if a.uidPlus && !slices.ContainsFunc(cmds, (*command).waits) {
		cmds = append(cmds, a.look.commands(len(a.uploads))...)
	}
	return &flight{cmds: cmds, most: appendsUnderWay, mostWeight: appendBytesUnderWay}
}

// newCommand begins an APPEND.
func (a *appending) newCommand() *command {
	return newCommand("storing a message in "+readName(a.mailbox), "APPEND").str(a.mailbox, a.s.caps)
}

// options are what stands before a message's literal: its flags and its date.
func options(b []byte, u remote.Upload) []byte {
	if names := u.Flags.Names(); len(names) > 0 {
		b = append(b, " ("...)
		for i, name := range names {
			if i > 0 {
				b = append(b, ' ')
			}
			b = append(b, name...)
		}
		b = append(b, ')')
	}
	if canFormat(u.Date) {
		b = append(b, ` "`...)
		b = append(u.Date.AppendFormat(b, dateLayout), '"')
	}
	return b
}

// tooLarge is the refusal of a message that the server has said that it would not take (RFC 7889).
func (a *appending) tooLarge(i int) error {
	most, size := a.s.caps.maxBytes, a.uploads[i].Size
	if most <= 0 || size <= most {
		return nil
	}
	return refusal("storing a message in "+readName(a.mailbox), status{code: string(goimap.ResponseCodeTooBig),
		text: fmt.Sprintf("it takes messages of up to %d bytes, this one has %d", most, size)})
}

// announce says that messages are about to be sent. One that is sent again, because the server refused it together
// with others, was announced before.
func (a *appending) announce(messages ...int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, i := range messages {
		if !a.fates[i].sent {
			a.fates[i].sent = true
			a.sent(i)
		}
	}
}

// settle notes a fate, and tells it once those before it are told.
func (a *appending) settle(i int, is remote.Appended) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fates[i].Appended, a.fates[i].known = is, true
	for a.told < len(a.fates) && a.fates[a.told].known {
		a.done(a.told, a.fates[a.told].Appended)
		a.told++
	}
}

// tellAll tells the fates that are known behind one that is not, once no more will become known.
func (a *appending) tellAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for ; a.told < len(a.fates); a.told++ {
		if f := &a.fates[a.told]; f.known {
			a.done(a.told, f.Appended)
		}
	}
}

// stored settles messages that one command stored.
func (a *appending) stored(result status, messages ...int) {
	var validity uint64
	var uids []mail.UID
	if a.uidPlus {
		validity, uids = appendUIDs(result, len(messages))
	}
	for n, i := range messages {
		var is remote.Appended
		if uids != nil {
			is = remote.Appended{UID: uids[n], UIDValidity: validity}
		}
		a.settle(i, is)
	}
}

// appendUIDs reads "APPENDUID uidvalidity uids" (RFC 4315, section 3) of n messages, whose UIDs ascend in the order in
// which they were sent. It returns none if what the server says can't be so.
func appendUIDs(st status, n int) (validity uint64, uids []mail.UID) {
	words := strings.Fields(st.arg)
	if st.code != "APPENDUID" || len(words) != 2 {
		return 0, nil
	}
	validity, ok := parseNumber([]byte(words[0]))
	ranges, err := mail.ParseUIDRanges(words[1])
	if !ok || err != nil || spelled(ranges) != int64(n) {
		return 0, nil
	}
	next := walk(ranges)
	for range n {
		u := next()
		if len(uids) > 0 && u <= uids[len(uids)-1] {
			return 0, nil
		}
		uids = append(uids, u)
	}
	return validity, uids
}
