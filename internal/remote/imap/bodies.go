package imap

import (
	"context"
	"errors"
	"io"
	"slices"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

const (
	// Bodies are asked for in portions, so that giving up does not mean to read on for long. With so many under way
	// there are always hundreds of messages to come when an answer ends, and the stream does not run dry before the
	// next command has arrived.
	bodiesPerCommand = 500
	bodyCommands     = 4
	// maxAside is the largest body that is kept in memory, because the server sent it before what belongs to it.
	maxAside = 1 << 20
	// maxAbsent bounds how many UIDs that are not there are named one by one.
	maxAbsent = 100_000
)

// firstBodies are the first portions: a person may wait for these, and a slow link shows in them.
var firstBodies = [...]int64{25, 75, 400}

// Bodies streams whole messages, the portion with the highest UIDs first. The Message that deliver is given has UID, Flags, Date, and as Size
// the exact size of the body. Of a set that spans more than a hundred thousand UIDs that are not there, these are not
// in the map.
func (s *Session) Bodies(ctx context.Context, box remote.Box, uids mail.UIDSet, deliver func(m remote.Message, body io.Reader) error) (map[mail.UID]error, error) {
	if uids.IsEmpty() {
		return map[mail.UID]error{}, nil
	}
	d := &delivery{s: s, op: "fetching messages from " + readName(box.Name), box: box, deliver: deliver,
		aside: map[mail.UID]remote.Message{}, refused: map[mail.UID]error{}, unsure: map[mail.UID]remote.Message{}}
	if err := s.catchUp(ctx, d.op, box, uids); err != nil {
		return nil, err
	}
	there, sure, err := s.thoseThere(ctx, d.op, box, uids)
	switch {
	case err != nil:
		return nil, err
	case !sure:
		return nil, &remote.Error{Class: remote.Refused, Op: d.op, Err: errNotListed}
	}
	d.open, d.gone = newChecklist(there), uids.Minus(there)
	if d.gone.Len() > maxAbsent {
		d.gone = mail.UIDSet{}
	}
	if err := d.round(ctx, newestFirst(there), bodyCommands); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{d.sift, d.oneByOne, d.sift, d.believe} {
		if d.left().IsEmpty() {
			break
		}
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return d.why(), nil
}

// delivery is one call of Bodies.
type delivery struct {
	s       *Session
	op      string
	box     remote.Box
	open    *checklist  // of what was asked for
	gone    mail.UIDSet // the server said that they are not there
	deliver func(m remote.Message, body io.Reader) error
	failed  error // what deliver returned

	// aside holds what is known of messages whose body was too large to wait for the rest of the response.
	aside map[mail.UID]remote.Message
	// only is the one message that is under way, 0 if there are several: its body is known for its own before its
	// UID is seen.
	only    mail.UID
	refused map[mail.UID]error
	// unsure holds those that came last as the text that may stand for a message that is gone.
	unsure map[mail.UID]remote.Message
}

// newestFirst splits a set into portions for one command each, the highest UIDs first.
func newestFirst(set mail.UIDSet) []mail.UIDSet {
	var out []mail.UIDSet
	for _, n := range firstBodies {
		if set.IsEmpty() {
			return out
		}
		from := highest(set, n)
		out = append(out, set.Clamp(from, lastUID))
		set = set.Clamp(1, from-1)
	}
	older := set.Chunks(maxCommand, bodiesPerCommand)
	slices.Reverse(older)
	return append(out, older...)
}

// highest returns the lowest of the n highest members of a set that is not empty.
func highest(set mail.UIDSet, n int64) mail.UID {
	ranges := set.Ranges()
	for i := len(ranges) - 1; i >= 0; i-- {
		r := ranges[i]
		if size := int64(r.Last-r.First) + 1; size >= n {
			return r.First + mail.UID(size-n)
		}
		n -= int64(r.Last-r.First) + 1
	}
	return ranges[0].First
}

// left returns what was asked for and has not come.
func (d *delivery) left() mail.UIDSet { return d.open.left().Minus(d.gone) }

// round asks for messages and delivers what comes.
func (d *delivery) round(ctx context.Context, sets []mail.UIDSet, most int) error {
	f := &flight{most: most}
	for _, set := range sets {
		f.cmds = append(f.cmds, d.command(set, f))
	}
	return d.fly(ctx, f)
}

func (d *delivery) command(set mail.UIDSet, f *flight) *command {
	c := newCommand(d.op, "UID FETCH "+set.String()+" (UID FLAGS INTERNALDATE BODY.PEEK[])")
	c.body = func(got *fetched, r *bodyReader) error { return d.take(f, got, r) }
	c.fetch = func(got *fetched) { d.takeLate(f, got) }
	return c
}

func (d *delivery) fly(ctx context.Context, f *flight) error {
	if err := d.s.runIn(ctx, d.op, d.box, f); err != nil {
		return errors.Join(d.failed, err)
	}
	return d.failed
}

// take decides what to do with a body that comes now.
func (d *delivery) take(f *flight, got *fetched, r *bodyReader) error {
	u := got.msg.UID
	switch {
	case d.failed != nil, u != 0 && !d.open.open(u), d.s.check(d.box) != nil:
		return nil // left to be skipped
	case u != 0 && got.hasFlags && got.hasDate:
		return d.hand(f, got.msg, r)
	case r.size <= maxAside:
		// Its UID, or its flags, come after it.
		body, err := r.buffer()
		got.late, got.hasBody = body, true
		return err
	case u == 0 && d.only != 0:
		known, ok := d.aside[d.only]
		if !ok {
			return nil
		}
		r.verify = func() error {
			if got.msg.UID != d.only {
				return errWrongMessage
			}
			return nil
		}
		return d.hand(f, known, r)
	case u != 0:
		if known, ok := d.aside[u]; ok {
			return d.hand(f, known, r)
		}
	}
	got.hasBody = true // and is skipped: it comes again once the rest is known
	return nil
}

// takeLate handles a response that is complete.
func (d *delivery) takeLate(f *flight, got *fetched) {
	u := got.msg.UID
	if !got.hasBody || d.failed != nil || !d.open.open(u) {
		return
	}
	if got.late == nil {
		d.aside[u] = got.msg
		return
	}
	_ = d.hand(f, got.msg, &bodyReader{text: got.late, size: int64(len(got.late))}) // from memory: can't break off
}

// hand gives a message to deliver. The error is the connection's.
func (d *delivery) hand(f *flight, m remote.Message, r *bodyReader) error {
	m.Size = r.size
	if r.size == int64(len(unavailable)) {
		text, err := r.buffer()
		if err != nil {
			return err
		}
		if string(text) == unavailable {
			d.unsure[m.UID] = m
			return nil
		}
		r = &bodyReader{text: text, size: r.size}
	}
	err := d.deliver(m, r)
	if lost := r.drain(); lost != nil {
		if remote.ClassOf(err) == 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			d.failed = err // that is why it was not read to its end
		}
		return lost
	}
	if r.verify != nil && !r.verified {
		// Whether it was the right one has not been looked at, or it was not.
		if err == nil {
			err = r.end()
		}
		if err == io.EOF {
			err = nil
		}
		if r.lost != nil {
			return r.lost
		}
	}
	if err != nil {
		d.failed = err
		f.halt()
		return nil
	}
	d.open.tick(m.UID)
	return nil
}

// oneByOne asks once more for what did not come, each with a command of its own: one bad
// message spoils only its own, and nobody else's data can stand in for the answer.
func (d *delivery) oneByOne(ctx context.Context) error {
	clear(d.unsure)
	var late []mail.UID
	for _, part := range d.left().Chunks(0, portion) {
		f := &flight{most: singles}
		for u := range part.All() {
			if _, ok := d.aside[u]; ok {
				late = append(late, u)
				continue
			}
			c := d.command(mail.NewUIDSet(u), f)
			c.finish = func() {
				if err := c.refused(); err != nil {
					d.refused[u] = err
				}
			}
			f.cmds = append(f.cmds, c)
		}
		if len(f.cmds) > 0 {
			if err := d.fly(ctx, f); err != nil {
				return err
			}
		}
	}
	for u := range d.aside {
		if d.open.open(u) && !slices.Contains(late, u) {
			late = append(late, u)
		}
	}
	slices.Sort(late)
	// These with nothing else under way.
	for _, u := range late {
		d.only = u
		if err := d.round(ctx, []mail.UIDSet{mail.NewUIDSet(u)}, 1); err != nil {
			return err
		}
	}
	return nil
}

// sift finds out which of those that did not come are gone.
func (d *delivery) sift(ctx context.Context) error {
	left := d.left()
	there, sure, err := d.s.presentNow(ctx, d.op, d.box, left)
	if err != nil || !sure {
		clear(d.unsure) // without knowing that they are there they are not believed
		return err
	}
	d.gone = d.gone.Union(left.Minus(there))
	return nil
}

// believe delivers messages that are there and came again as the text that may stand for a message that is gone: it
// is what they say.
func (d *delivery) believe(context.Context) error {
	for u := range d.left().All() {
		m, ok := d.unsure[u]
		if !ok {
			continue
		}
		if err := d.deliver(m, &bodyReader{text: []byte(unavailable), size: m.Size}); err != nil {
			return err
		}
		d.open.tick(u)
	}
	return nil
}

// why tells messages that are gone from those that the server keeps to itself.
func (d *delivery) why() map[mail.UID]error {
	out := map[mail.UID]error{}
	for u := range d.gone.All() {
		out[u] = remote.ErrGone
	}
	for u := range d.left().All() {
		if out[u] = d.refused[u]; out[u] == nil {
			out[u] = refusal("fetching message "+uid(u), status{kind: goimap.StatusResponseTypeOK, text: "nothing: it lists the message and does not send it"})
		}
	}
	return out
}
