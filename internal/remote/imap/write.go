package imap

import (
	"context"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// maxRetries bounds the commands by which the messages are found that spoil a refused command.
const maxRetries = 1000

// Store adds or removes flags on messages.
func (s *Session) Store(ctx context.Context, box remote.Box, uids mail.UIDSet, add bool, flags mail.Flags) (map[mail.UID]error, error) {
	names := flags.Names()
	if uids.IsEmpty() || len(names) == 0 {
		return map[mail.UID]error{}, nil
	}
	if err := s.enterToWrite(ctx, box); err != nil {
		return nil, err
	}
	sign := "-"
	if add {
		sign = "+"
	}
	// Never FLAGS alone: others may have changed other flags meanwhile.
	return s.store(ctx, "setting flags in "+readName(box.Name), uids, " "+sign+"FLAGS.SILENT ("+strings.Join(names, " ")+")")
}

// store runs UID STORE and narrows refusals down to single messages.
func (s *Session) store(ctx context.Context, op string, uids mail.UIDSet, change string) (map[mail.UID]error, error) {
	refused := map[mail.UID]error{}
	budget := maxRetries
	for sets := uids.Chunks(maxCommand, 0); len(sets) > 0; {
		f := &flight{most: singles}
		for _, set := range sets {
			f.cmds = append(f.cmds, newCommand(op, "UID STORE "+set.String()+change))
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
			budget -= 2
			if sets[i].Len() > 1 && budget > 0 {
				again = append(again, halves(sets[i])...)
				continue
			}
			for u := range sets[i].All() {
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

// Move moves messages by MOVE, else copies them by COPY. Messages that are missing from the result were
// not moved: they are gone, or a later part of a long list was refused (see Warnings).
func (s *Session) Move(ctx context.Context, box remote.Box, uids mail.UIDSet, to string) (remote.Moved, error) {
	moved := remote.Moved{UIDs: map[mail.UID]mail.UID{}}
	if uids.IsEmpty() {
		return moved, nil
	}
	if err := s.enterToCopy(ctx, box); err != nil {
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
	for i, set := range uids.Chunks(maxCommand, maxMoved) {
		c := newCommand(op, "UID "+verb+" "+set.String()).str(to, s.caps)
		var told status
		c.code = func(st status) { // RFC 6851, section 4.3: before the EXPUNGEs
			if st.code == "COPYUID" {
				told = st
			}
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
func (s *Session) enterToCopy(ctx context.Context, box remote.Box) error {
	if s.caps.has(goimap.CapMove) {
		return s.enterToWrite(ctx, box)
	}
	return s.enter(ctx, box)
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

// Expunge removes messages for good.
func (s *Session) Expunge(ctx context.Context, box remote.Box, uids mail.UIDSet) (pending mail.UIDSet, err error) {
	if uids.IsEmpty() {
		return mail.UIDSet{}, nil
	}
	if err := s.enterToWrite(ctx, box); err != nil {
		return mail.UIDSet{}, err
	}
	op := "removing messages from " + readName(box.Name)
	if s.caps.has(goimap.CapUIDPlus) {
		if done, err := s.expungeAtOnce(ctx, op, uids); done || err != nil {
			return mail.UIDSet{}, err
		}
	}
	refused, err := s.store(ctx, op, uids, markDeleted)
	if err != nil {
		return mail.UIDSet{}, err
	}
	if err := refused[0]; err != nil {
		return mail.UIDSet{}, err
	}
	var first error
	for u, err := range refused {
		uids, first = uids.Minus(mail.NewUIDSet(u)), err
	}
	if !uids.IsEmpty() {
		if pending, err = s.expunge(ctx, op, uids); err != nil {
			return pending, err
		}
	}
	return pending, first
}

const markDeleted = ` +FLAGS.SILENT (\Deleted)`

// expungeAtOnce marks and removes messages in one flight. A UID EXPUNGE after a STORE that was refused
// removes nothing that was not to be removed: only what of the same messages is marked.
func (s *Session) expungeAtOnce(ctx context.Context, op string, uids mail.UIDSet) (done bool, err error) {
	var cmds []*command
	for _, set := range uids.Chunks(maxCommand, 0) {
		cmds = append(cmds, newCommand(op, "UID STORE "+set.String()+markDeleted), newCommand(op, "UID EXPUNGE "+set.String()))
	}
	if err := s.run(ctx, op, cmds...); err != nil {
		return false, err
	}
	return firstRefused(cmds) == nil, nil
}

// expunge removes messages that are marked \Deleted.
func (s *Session) expunge(ctx context.Context, op string, uids mail.UIDSet) (pending mail.UIDSet, err error) {
	if s.caps.has(goimap.CapUIDPlus) {
		var cmds []*command
		for _, set := range uids.Chunks(maxCommand, 0) {
			cmds = append(cmds, newCommand(op, "UID EXPUNGE "+set.String()))
		}
		if err := s.run(ctx, op, cmds...); err != nil {
			return uids, err
		}
		refused := firstRefused(cmds)
		if refused == nil {
			return mail.UIDSet{}, nil
		}
		s.warn("%v", refused) // advertised and not there: go on as if it were not
	}
	search := newCommand(op, "UID SEARCH DELETED")
	var marked mail.UIDSet
	answers := 0
	search.search = func(set mail.UIDSet) { marked, answers = marked.Union(set), answers+1 }
	before := s.leftOut
	if err := s.run(ctx, op, search); err != nil {
		return uids, err
	}
	if err := search.refused(); err != nil || s.leftOut != before {
		return uids, err
	}
	ours := intersect(uids, marked)
	if answers != 1 || ours.IsEmpty() || !marked.Minus(ours).IsEmpty() {
		return ours, nil // somebody else's would go with them
	}
	c := newCommand(op, "EXPUNGE")
	if err := s.run(ctx, op, c); err != nil {
		return ours, err
	}
	if err := c.refused(); err != nil {
		return ours, err
	}
	return mail.UIDSet{}, nil
}
