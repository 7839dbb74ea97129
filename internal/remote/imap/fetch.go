package imap

import (
	"context"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

const (
	// singles is how many commands for one message each are under way at a time.
	singles = 100
	// portion is how many such commands are made at a time.
	portion = 10_000
	// headers is how many headers one command asks for: all that comes before its answer is bounded by maxTalk.
	headers = 500
)

// Fetch returns what is known of single messages without their bodies, in ascending order of UID. If the server
// refuses some, the others come together with a *remote.Error of class Refused. uids may span anything: what
// it costs is what is there.
func (s *Session) Fetch(ctx context.Context, box remote.Box, uids mail.UIDSet, want remote.FetchItems) ([]remote.Message, error) {
	q := query{s: s, op: "fetching from mailbox " + readName(box.Name), box: box, items: fetchItemNames(s, want), want: want}
	if uids.IsEmpty() {
		return nil, nil
	}
	if err := s.catchUp(ctx, q.op, box, uids); err != nil {
		return nil, err
	}
	q.most = uids.Len()
	most := int64(0)
	if want.Header {
		most = headers
	}
	if err := q.ask(ctx, uids.Chunks(maxCommand, most)); err != nil {
		return nil, err
	}
	if !want.Once {
		if err := q.askAgain(ctx, uids.Minus(q.complete(uids))); err != nil {
			return nil, err
		}
	}
	gone, err := q.unavailable(ctx, uids)
	if err != nil {
		return nil, err
	}
	asked, listed := within(uids.Minus(gone)), within(q.listed)
	return q.obs.messages(func(m *observation) bool { return (m.hasFlags || listed(m.uid)) && asked(m.uid) }), q.refused
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
	box     remote.Box
	items   string
	want    remote.FetchItems
	most    int64 // that are asked for, whether they are there or not
	obs     observations
	refused error // the first of the last round
	// listed are those that are there and of which the server tells nothing, if that was asked.
	listed mail.UIDSet
}

func (q *query) hear(f *fetched) {
	if q.s.sel != nil {
		q.obs.reserve(min(q.most, int64(q.s.sel.exists)))
	}
	q.obs.add(f)
}

func (q *query) ask(ctx context.Context, sets []mail.UIDSet) error {
	f := &flight{most: singles}
	for _, set := range sets {
		c := newCommand(q.op, "UID FETCH "+set.String()+" "+q.items)
		c.fetch, c.header = q.hear, q.want.Header
		f.cmds = append(f.cmds, c)
	}
	cmds := f.cmds
	if err := q.s.runIn(ctx, q.op, q.box, f); err != nil {
		return err
	}
	q.refused = firstRefused(cmds)
	return nil
}

// askAgain asks one by one for messages that are gone, or withheld, or in a command that the server refused because
// of one of them.
func (q *query) askAgain(ctx context.Context, missing mail.UIDSet) error {
	if missing.IsEmpty() {
		return nil
	}
	there, sure, err := q.s.presentNow(ctx, q.op, q.box, missing)
	switch {
	case err != nil:
		return err
	case sure:
		missing = there
	case q.want.Listed:
		return &remote.Error{Class: remote.Refused, Op: q.op, Err: errNotListed}
	case missing.Len() > maxSpan:
		q.s.warn("%s: the server does not say which of %d UIDs there are; they are not asked for again", q.op, missing.Len())
		return nil
	}
	var refused error
	for _, part := range missing.Chunks(0, portion) {
		if err := q.ask(ctx, part.Chunks(0, 1)); err != nil {
			return err
		}
		if refused == nil {
			refused = q.refused
		}
	}
	q.refused = refused
	if q.want.Listed {
		q.listed = missing.Minus(q.complete(missing))
		for u := range q.listed.All() {
			q.obs.place(u)
		}
	}
	return nil
}

// unavailable returns the messages that the server has another text for because they are gone.
func (q *query) unavailable(ctx context.Context, uids mail.UIDSet) (mail.UIDSet, error) {
	digest, asked := unavailableHeader(), within(uids)
	suspects := q.obs.uids(func(m *observation) bool {
		like := m.hasHeader && q.obs.headers[m.header-1].Header == digest
		if !q.want.Header {
			like = m.hasSize && m.size == int64(len(unavailable))
		}
		return like && asked(m.uid)
	})
	if suspects.IsEmpty() {
		return suspects, nil
	}
	there, sure, err := q.s.presentNow(ctx, q.op, q.box, suspects)
	if err != nil || !sure {
		return mail.UIDSet{}, err
	}
	return suspects.Minus(there), nil
}

// complete returns the UIDs about which all came that was asked.
func (q *query) complete(uids mail.UIDSet) mail.UIDSet {
	asked := within(uids)
	return q.obs.uids(func(m *observation) bool {
		return m.hasFlags && (m.hasSize || !q.want.Size) && (m.hasDate || !q.want.Date) && (m.hasHeader || !q.want.Header) && asked(m.uid)
	})
}
