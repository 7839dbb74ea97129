package imap

import (
	"context"
	"errors"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// maxRetries bounds the commands by which the messages are found that spoil a refused command.
const maxRetries = 1000

// Store adds or removes flags on messages. With CONDSTORE the server tells each message's new mod-sequence on a line of
// its own, whether it was asked to be silent or not (RFC 7162, section 3.1.3): it may as well tell the flags, which
// saves the caller from asking for them. Other servers are asked to be silent.
func (s *Session) Store(ctx context.Context, box remote.Box, uids mail.UIDSet, add bool, flags mail.Flags) (seen []remote.Message, refused map[mail.UID]error, err error) {
	names := flags.Names()
	if uids.IsEmpty() || len(names) == 0 {
		return nil, map[mail.UID]error{}, nil
	}
	if err := s.enterToWrite(ctx, box, uids); err != nil {
		return nil, nil, err
	}
	told := aftermath{uids: uids, add: add, flags: flags}
	change, hear := "FLAGS.SILENT (", func(*command) {}
	if s.caps.has(goimap.CapCondStore) && s.sel.info.HighestModSeq > 0 {
		change, hear = "FLAGS (", func(c *command) { c.fetch = told.hear }
	}
	sign := " -"
	if add {
		sign = " +"
	}
	// Never FLAGS without a sign: others may have changed other flags meanwhile.
	change = sign + change + strings.Join(names, " ") + ")"
	refused, err = s.store(ctx, "setting flags in "+readName(box.Name), box, uids, change, hear)
	if err != nil {
		return nil, nil, err
	}
	return told.seen(), refused, nil
}

// aftermath is what the server tells of messages while their flags are changed.
type aftermath struct {
	uids  mail.UIDSet
	add   bool
	flags mail.Flags
	obs   observations
}

// hear takes what is told of a message. It may be about another client's change: the last word counts.
func (a *aftermath) hear(f *fetched) {
	if !a.uids.Contains(f.msg.UID) {
		return
	}
	a.obs.add(f)
	if f.hasFlags || f.msg.ModSeq == 0 {
		return
	}
	if m := a.obs.at(f.msg.UID); m != nil {
		m.hasFlags = false // they have changed once more, and it is not told to what
	}
}

// seen returns the messages whose flags were told after the change: of what was told before it came into force, or by
// a server that does not obey, nothing is concluded.
func (a *aftermath) seen() []remote.Message {
	return a.obs.messages(func(m *observation) bool { return m.hasFlags && a.shows(m.flags) })
}

func (a *aftermath) shows(now mail.Flags) bool {
	if a.add {
		return a.flags.Minus(now).IsZero()
	}
	return a.flags.And(now).IsZero()
}

// store runs UID STORE and narrows refusals down to single messages. Data that comes meanwhile goes to what hear sets.
func (s *Session) store(ctx context.Context, op string, box remote.Box, uids mail.UIDSet, change string, hear func(*command)) (map[mail.UID]error, error) {
	refused := map[mail.UID]error{}
	budget := maxRetries
	for sets := uids.Chunks(maxCommand, 0); len(sets) > 0; {
		f := &flight{most: singles}
		for _, set := range sets {
			c := newCommand(op, "UID STORE "+set.String()+change)
			hear(c)
			f.cmds = append(f.cmds, c)
		}
		if err := s.check(box); err != nil {
			return nil, err
		}
		if err := s.fly(ctx, op, f); err != nil {
			return nil, err
		}
		var again []mail.UIDSet
		for i, c := range f.cmds {
			err := c.refused()
			if err == nil {
				continue
			}
			if concernsAll(c.result) {
				return map[mail.UID]error{0: err}, nil
			}
			set, sure, lost := s.thoseThere(ctx, op, box, sets[i])
			switch {
			case lost != nil:
				return nil, lost
			case !sure:
				return map[mail.UID]error{0: err}, nil
			case set.IsEmpty(): // it was about nothing
				continue
			}
			budget -= 2
			if set.Len() > 1 && budget > 0 {
				again = append(again, halves(set)...)
				continue
			}
			for u := range set.All() {
				refused[u] = err
			}
		}
		sets = again
	}
	if int64(len(refused)) == uids.Len() && len(refused) > 1 {
		for _, err := range refused {
			return map[mail.UID]error{0: err}, nil
		}
	}
	return refused, nil
}

// concernsAll reports whether a refusal has nothing to do with single messages.
func concernsAll(st status) bool {
	switch goimap.ResponseCode(st.code) {
	case goimap.ResponseCodeNoPerm, goimap.ResponseCodeCannot, goimap.ResponseCodeLimit, goimap.ResponseCodeOverQuota,
		goimap.ResponseCodeInUse, goimap.ResponseCodeContactAdmin, "READ-ONLY":
		return true
	}
	return st.kind == goimap.StatusResponseTypeBad
}

// halves splits a set of several.
func halves(set mail.UIDSet) []mail.UIDSet { return set.Chunks(0, (set.Len()+1)/2) }

var errNotListed = errors.New("the server does not say which messages there are")

// Move moves messages by MOVE, else copies them by COPY. Messages that are missing from the result were
// not moved: they are gone, or a later part of a long list was refused (see Warnings).
func (s *Session) Move(ctx context.Context, box remote.Box, uids mail.UIDSet, to string) (remote.Moved, error) {
	moved := remote.Moved{UIDs: map[mail.UID]mail.UID{}}
	if uids.IsEmpty() {
		return moved, nil
	}
	if err := s.enterToCopy(ctx, box, uids); err != nil {
		return moved, err
	}
	to = canonical(to)
	verb := "COPY"
	if s.caps.has(goimap.CapMove) {
		verb = "MOVE"
	}
	op := strings.ToLower(verb[:3]) + "ing messages from " + readName(box.Name) + " to " + readName(to)
	if verb == "COPY" {
		op = "copying messages from " + readName(box.Name) + " to " + readName(to)
	}
	there, sure, err := s.thoseThere(ctx, op, box, uids)
	switch {
	case err != nil:
		return moved, err
	case !sure:
		return moved, &remote.Error{Class: remote.Refused, Op: op, Err: errNotListed}
	}
	for i, set := range there.Chunks(maxCommand, maxMoved) {
		c := newCommand(op, "UID "+verb+" "+set.String()).str(to, s.caps)
		var told status
		c.code = func(st status) { // RFC 6851, section 4.3: before the EXPUNGEs
			if st.code == "COPYUID" {
				told = st
			}
		}
		if err := s.check(box); err != nil {
			if i == 0 {
				return moved, err
			}
			s.warn("%v", err)
			return moved, nil // what was moved is known
		}
		if err := s.run(ctx, op, c); err != nil {
			return moved, err
		}
		if c.result.code == "COPYUID" && c.result.ok() {
			told = c.result
		}
		if verb == "COPY" && !c.result.ok() {
			told = status{} // RFC 3501, section 6.4.7: a COPY that failed copied nothing
		}
		if !s.caps.has(goimap.CapUIDPlus) {
			told = status{}
		}
		pairs, ok := copyUID(told, set, &moved)
		switch refused := c.refused(); {
		case refused != nil && !ok:
			if verb == "MOVE" && c.result.kind == goimap.StatusResponseTypeBad {
				s.caps.known[goimap.CapMove] = false // it can't, after all: the next time by COPY
			}
			if i == 0 {
				return moved, refused
			}
			s.warn("%v", refused)
			return moved, nil
		case ok:
			for from, u := range pairs {
				moved.UIDs[from] = u
			}
		default:
			for u := range set.All() {
				moved.UIDs[u] = 0
			}
		}
	}
	return moved, nil
}

// maxMoved bounds how many messages one MOVE or COPY names.
const maxMoved = 100_000

// enterToCopy is enterToWrite where MOVE takes the originals away; COPY reads only.
func (s *Session) enterToCopy(ctx context.Context, box remote.Box, uids mail.UIDSet) error {
	if s.caps.has(goimap.CapMove) {
		return s.enterToWrite(ctx, box, uids)
	}
	return s.enter(ctx, box, uids)
}

// copyUID reads "COPYUID uidvalidity from to" (RFC 4315, section 3): the n-th of one set became the n-th of the
// other, in the order they are spelled. It reports false if what the server says can't be so.
func copyUID(st status, asked mail.UIDSet, moved *remote.Moved) (map[mail.UID]mail.UID, bool) {
	words := strings.Fields(st.arg)
	if st.code != "COPYUID" || len(words) != 3 {
		return nil, false
	}
	validity, ok := parseNumber([]byte(words[0]))
	if !ok {
		return nil, false
	}
	from, err1 := mail.ParseUIDRanges(words[1])
	to, err2 := mail.ParseUIDRanges(words[2])
	n := spelled(from)
	if err1 != nil || err2 != nil || n != spelled(to) || n > asked.Len() {
		return nil, false
	}
	pairs := make(map[mail.UID]mail.UID, n)
	next := walk(to)
	for _, r := range from {
		for u := uint64(r.First); u <= uint64(r.Last); u++ {
			if !asked.Contains(mail.UID(u)) {
				return nil, false
			}
			pairs[mail.UID(u)] = next()
		}
	}
	moved.UIDValidity = validity
	return pairs, int64(len(pairs)) == n
}

func spelled(ranges []mail.UIDRange) int64 {
	var n int64
	for _, r := range ranges {
		n += int64(r.Last-r.First) + 1
	}
	return n
}

// walk returns a function that gives one member after the other. There must be enough.
func walk(ranges []mail.UIDRange) func() mail.UID {
	i, at := 0, uint64(0)
	return func() mail.UID {
		if at == 0 {
			at = uint64(ranges[i].First)
		}
		u := mail.UID(at)
		if at++; at > uint64(ranges[i].Last) {
			i, at = i+1, 0
		}
		return u
	}
}
