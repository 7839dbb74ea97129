package imap

import (
	"context"
	"io"
	"slices"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

const (
	// Bodies are asked for in portions, so that giving up does not mean to read on for long.
	bodiesPerCommand = 200
	bodyCommands     = 3
	// maxAside is the largest body that is kept in memory, because the server sent it before what belongs to it.
	maxAside = 1 << 20
	// maxAgain is how many UIDs without an answer are asked for again one by one. More are missing only from
	// sets that name what need not be there, such as everything from a UID on.
	maxAgain = 10_000
	// singles is how many commands for one message each are under way at a time.
	singles = 100
)

// Fetch returns what is known of single messages without their bodies, in ascending order of UID. If the server
// refuses some, the others come together with a *remote.Error of class Refused.
func (s *Session) Fetch(ctx context.Context, box remote.Box, uids mail.UIDSet, want remote.FetchItems) ([]remote.Message, error) {
	op := "fetching from mailbox " + readName(box.Name)
	q := query{s: s, op: op, items: fetchItemNames(s, want), want: want}
	if err := q.ask(ctx, box, uids.Chunks(maxCommand, 0)); err != nil {
		return nil, err
	}
	missing := uids.Minus(q.complete(uids))
	if n := missing.Len(); n > 0 && n <= maxAgain {
		// Gone, or withheld, or the server refused a whole command because of one of them.
		if err := q.ask(ctx, box, missing.Chunks(0, 1)); err != nil {
			return nil, err
		}
	}
	var out []remote.Message
	for _, m := range q.obs.sorted() {
		if uids.Contains(m.UID) && m.hasFlags {
			out = append(out, m.Message)
		}
	}
	return out, q.refused
}

func fetchItemNames(s *Session, want remote.FetchItems) string {
	items := "(UID FLAGS"
	if want.Size {
		items += " RFC822.SIZE"
	}
	if want.Date {
		items += " INTERNALDATE"
	}
	if want.EmailID {
		items += s.emailIDItem()
	}
	if want.Header {
		items += " BODY.PEEK[HEADER]"
	}
	return items + ")"
}

// query is one call of Fetch.
type query struct {
	s       *Session
	op      string
	items   string
	want    remote.FetchItems
	obs     observations
	refused error // of the last round
}

func (q *query) ask(ctx context.Context, box remote.Box, sets []mail.UIDSet) error {
	f := &flight{most: singles}
	for _, set := range sets {
		c := newCommand(q.op, "UID FETCH "+set.String()+" "+q.items)
		c.fetch, c.header = q.obs.add, q.want.Header
		f.cmds = append(f.cmds, c)
	}
	cmds := f.cmds
	if len(cmds) == 0 {
		return nil
	}
	if err := q.s.runIn(ctx, q.op, box, f); err != nil {
		return err
	}
	q.refused = firstRefused(cmds)
	return nil
}

// complete returns the UIDs about which all came that was asked.
func (q *query) complete(uids mail.UIDSet) mail.UIDSet {
	var set mail.UIDSet
	for _, m := range q.obs.sorted() {
		if uids.Contains(m.UID) && m.hasFlags && (m.hasSize || !q.want.Size) && (m.hasDate || !q.want.Date) && (m.hasHeader || !q.want.Header) {
			set.Add(m.UID)
		}
	}
	return set
}

// Bodies streams whole messages. The Message that deliver is given has UID, Flags, Date, and as Size
// the exact size of the body.
func (s *Session) Bodies(ctx context.Context, box remote.Box, uids mail.UIDSet, deliver func(m remote.Message, body io.Reader) error) (map[mail.UID]error, error) {
	if uids.IsEmpty() {
		return map[mail.UID]error{}, nil
	}
	d := &delivery{s: s, op: "fetching messages from " + readName(box.Name), box: box, asked: uids, deliver: deliver, aside: map[mail.UID]remote.Message{}}
	if err := d.round(ctx, uids.Chunks(maxCommand, bodiesPerCommand), bodyCommands); err != nil {
		return nil, err
	}
	if d.left().IsEmpty() {
		return map[mail.UID]error{}, nil
	}
	if err := d.oneByOne(ctx); err != nil {
		return nil, err
	}
	return d.why(ctx)
}

// delivery is one call of Bodies.
type delivery struct {
	s       *Session
	op      string
	box     remote.Box
	asked   mail.UIDSet
	came    mail.UIDSet
	deliver func(m remote.Message, body io.Reader) error
	failed  error // what deliver returned

	// aside holds what is known of messages whose body was too large to wait for the rest of the response.
	aside map[mail.UID]remote.Message
	// only is the one message that is under way, 0 if there are several: its body is known for its own before its
	// UID is seen.
	only    mail.UID
	refused map[mail.UID]error
}

// left returns what was asked for and has not come.
func (d *delivery) left() mail.UIDSet { return d.asked.Minus(d.came) }

// wants reports whether a message was asked for and has not come.
func (d *delivery) wants(u mail.UID) bool { return d.asked.Contains(u) && !d.came.Contains(u) }

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
		return err
	}
	return d.failed
}

// take decides what to do with a body that comes now.
func (d *delivery) take(f *flight, got *fetched, r *bodyReader) error {
	u := got.msg.UID
	switch {
	case d.failed != nil, u != 0 && !d.wants(u), d.s.check(d.box) != nil:
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
	if !got.hasBody || d.failed != nil || !d.wants(u) {
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
	err := d.deliver(m, r)
	if lost := r.drain(); lost != nil {
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
	d.came.Add(m.UID)
	return nil
}

// oneByOne asks once more for what did not come, each with a command of its own: one bad
// message spoils only its own, and nobody else's data can stand in for the answer.
func (d *delivery) oneByOne(ctx context.Context) error {
	d.refused = map[mail.UID]error{}
	var late []mail.UID
	f := &flight{most: singles}
	for u := range d.left().All() {
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
	for u := range d.aside {
		if d.wants(u) && !slices.Contains(late, u) {
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

// why tells messages that are gone from those that the server keeps to itself.
func (d *delivery) why(ctx context.Context) (map[mail.UID]error, error) {
	out := map[mail.UID]error{}
	if d.left().IsEmpty() {
		return out, nil
	}
	var present mail.UIDSet
	f := &flight{}
	for _, set := range d.left().Chunks(maxCommand, 0) {
		c := newCommand(d.op, "UID SEARCH UID "+set.String())
		c.search = func(found mail.UIDSet) { present = present.Union(found) }
		f.cmds = append(f.cmds, c)
	}
	cmds := f.cmds
	before := d.s.leftOut
	if err := d.s.runIn(ctx, d.op, d.box, f); err != nil {
		return nil, err
	}
	sure := firstRefused(cmds) == nil && d.s.leftOut == before
	for u := range d.left().All() {
		switch {
		case sure && !present.Contains(u):
			out[u] = remote.ErrGone
		case d.refused[u] != nil:
			out[u] = d.refused[u]
		default:
			out[u] = refusal("fetching message "+uid(u), status{kind: goimap.StatusResponseTypeOK, text: "nothing: it lists the message and does not send it"})
		}
	}
	return out, nil
}
