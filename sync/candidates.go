package sync

import (
	"context"
	"slices"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/state"
)

// candidates are the messages of a mailbox, from a UID on, that the state has no row for: what an unanswered
// command of ours may have made.
type candidates struct {
	r       *run
	s       remote.Session
	box     remote.Box
	free    map[mail.UID]remote.Message
	order   []mail.UID
	content map[mail.UID]mail.Content
	unread  map[mail.UID]bool              // the server did not give them
	sent    map[mail.Digest][]state.Intent // what was sent there and has no answer, by its bytes
	twins   twins                          // of the intents that are to be settled, see takeOurs
}

func (r *run) candidates(ctx context.Context, s remote.Session, f *folder, box remote.Box, from mail.UID) (*candidates, error) {
	var set mail.UIDSet
	set.AddRange(from, ^mail.UID(0))
	ms, err := s.Fetch(ctx, box, set, remote.FetchItems{Size: true, Date: true, EmailID: true})
	if err != nil {
		return nil, err
	}
	c := &candidates{r: r, s: s, box: box, free: map[mail.UID]remote.Message{}, content: map[mail.UID]mail.Content{}, unread: map[mail.UID]bool{},
		sent: map[mail.Digest][]state.Intent{}}
	var uids mail.UIDSet
	for _, m := range ms {
		uids.Add(m.UID)
	}
	known := map[mail.UID]bool{}
	err = r.view(ctx, func(tx *state.Tx) error {
		intents, err := tx.Intents()
		if err != nil {
			return err
		}
		for _, in := range intents {
			if (in.Kind == state.Upload || in.Kind == state.MoveRemote) && !in.Settled && destination(&in) == f.base.ID {
				c.sent[in.Message.Digest] = append(c.sent[in.Message.Digest], in)
			}
		}
		now, err := tx.Folder(f.base.ID)
		if err != nil || now.UIDValidity != box.UIDValidity {
			return err // the rows are of the mailbox that it replaced
		}
		rows, err := tx.ByUIDs(f.base.ID, uids)
		for _, row := range rows {
			known[row.UID] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var free mail.UIDSet
	for _, m := range ms {
		if m.UID >= from && !known[m.UID] {
			c.free[m.UID] = m
			free.Add(m.UID)
		}
	}
	if free.IsEmpty() {
		return c, nil
	}
	c.order = free.Slice()
	headers, err := s.Fetch(ctx, box, free, remote.FetchItems{Header: true})
	for _, h := range headers {
		if m, ok := c.free[h.UID]; ok {
			m.Header = h.Header
			c.free[h.UID] = m
		}
	}
	for uid, m := range c.free {
		if m.Header == nil {
			c.unread[uid] = true
		}
	}
	return c, err
}

// next is the first UID behind them.
func (c *candidates) next() mail.UID {
	if len(c.order) == 0 {
		return 1
	}
	last := c.order[len(c.order)-1]
	return max(last, last+1) // behind the last there is none
}

// take finds the message of an intent: equal header nominates, equal bytes decide. One that is as it was sent goes before one that
// somebody else may have brought. One that is as another intent sent it, which has no answer either, is that one's.
func (c *candidates) take(ctx context.Context, in *state.Intent) (remote.Message, bool, error) {
	if m, found, err := c.takeAsSent(ctx, in); found || err != nil {
		return m, found, err
	}
	return c.find(ctx, in, func(m remote.Message) bool {
		return !slices.ContainsFunc(c.sent[in.Message.Digest], func(o state.Intent) bool {
			return o.ID != in.ID && (taken(o) || !taken(*in)) && m.UID >= o.UIDNext && asSent(&o, m)
		})
	})
}

// give gives a message to the intent that it is of, which has its answer.
func (c *candidates) give(uid mail.UID, in *state.Intent) {
	delete(c.free, uid)
	c.sent[in.Message.Digest] = slices.DeleteFunc(c.sent[in.Message.Digest], func(o state.Intent) bool { return o.ID == in.ID })
}

// takeAsSent finds one that has the flags and the INTERNALDATE that we sent.
func (c *candidates) takeAsSent(ctx context.Context, in *state.Intent) (remote.Message, bool, error) {
	return c.find(ctx, in, func(m remote.Message) bool { return asSent(in, m) })
}

func asSent(in *state.Intent, m remote.Message) bool {
	return m.Date.Equal(in.Message.Date.Truncate(time.Second)) && sameButDeleted(m.Flags, in.Message.RemoteFlags)
}

// named is the message of an upload of which the server has told the UID, whatever became of it since, unless the one that has that UID
// looks like another: then the UID was told by mistake, or the server has changed it.
func (c *candidates) named(in *state.Intent) (remote.Message, bool) {
	uid := in.Message.UID
	if in.Kind != state.Upload || uid == 0 {
		return remote.Message{}, false
	}
	m, there := c.free[uid]
	switch {
	case !there:
		m = remote.Message{UID: uid, Size: in.Message.RemoteSize, Flags: in.Message.RemoteFlags, EmailID: in.Message.EmailID}
	case m.Header != nil && (m.Header.Header != in.Message.Header || !in.Message.HasMessageID):
		return remote.Message{}, false
	}
	c.give(uid, in)
	return m, true
}

// mayBeUnread reports whether the message of an intent may be one that the server does not give.
func (c *candidates) mayBeUnread(in *state.Intent) bool {
	for uid := range c.unread {
		m, free := c.free[uid]
		if !free || uid < in.UIDNext {
			continue
		}
		if m.Header != nil && m.Header.Header == in.Message.Header || m.Header == nil && (in.Message.RemoteSize < 0 || m.Size == in.Message.RemoteSize) {
			return true
		}
	}
	return false
}

// changed is the message that has the UID which the server told for an upload, if nothing else has the upload's bytes and it may be what the
// server made of them.
func (c *candidates) changed(in *state.Intent) (remote.Message, bool) {
	m, there := c.free[in.Message.UID]
	if in.Kind != state.Upload || !there || m.Header.HasMessageID != in.Message.HasMessageID || !m.Date.Equal(in.Message.Date.Truncate(time.Second)) {
		return remote.Message{}, false
	}
	c.give(m.UID, in)
	return m, true
}

// takeTwin finds a ghost, which is as it was sent. What shares an upload's EMAILID is somebody's copy: what we sent twice has two of them (RFC
// 8474, section 5.1).
func (c *candidates) takeTwin(ctx context.Context, in *state.Intent) (remote.Message, bool, error) {
	return c.find(ctx, in, func(m remote.Message) bool {
		copied := in.Kind == state.Upload && m.EmailID != "" && m.EmailID == in.Message.EmailID && !c.r.caps.EqualEmailIDs
		return asSent(in, m) && !copied
	})
}

// takeChanged finds the message that the server made of an upload which it took and did not keep as it was
// sent: the first between two UIDs with the INTERNALDATE that we gave it, and with the same Date.
func (c *candidates) takeChanged(in *state.Intent, sent mail.Content, after, before mail.UID) (remote.Message, bool) {
	for _, uid := range c.order {
		m, ok := c.free[uid]
		if !ok || uid < in.UIDNext || uid <= after || uid >= before || m.Header == nil {
			continue
		}
		if m.Header.HasMessageID == sent.HasMessageID && m.Header.Date.Equal(sent.Date) && m.Date.Equal(in.Message.Date.Truncate(time.Second)) {
			c.give(uid, in)
			return m, true
		}
	}
	return remote.Message{}, false
}

// sameButDeleted compares flags but for \Deleted, which a ghost has whose removal was cut off.
func sameButDeleted(a, b mail.Flags) bool {
	deleted := mail.SystemFlags(mail.Deleted)
	return a.Minus(deleted).Equal(b.Minus(deleted))
}

func (c *candidates) find(ctx context.Context, in *state.Intent, fits func(remote.Message) bool) (remote.Message, bool, error) {
	for _, uid := range c.order {
		m, ok := c.free[uid]
		if !ok || uid < in.UIDNext || m.Header == nil || m.Header.Header != in.Message.Header || !fits(m) {
			continue
		}
		content, ok := c.content[uid]
		if !ok {
			bodies, err := bodiesOf(ctx, c.s, c.box, mail.NewUIDSet(uid))
			if err != nil {
				return m, false, err
			}
			if content, ok = bodies[uid]; !ok {
				c.unread[uid] = true
				continue
			}
			c.content[uid] = content
		}
		if content.Digest != in.Message.Digest && content.Digest != in.Message.RemoteDigest {
			continue
		}
		c.give(uid, in)
		return m, true, nil
	}
	return remote.Message{}, false, nil
}
