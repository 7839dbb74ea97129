package sync

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// What is here tells the message of an unanswered command from an equal one that somebody moved to the same mailbox meanwhile.

// twins are the rows of messages that are on the server, by the bytes that they share with unanswered intents.
type twins struct {
	rows map[mail.Digest][]int64
	// moved are those that somebody moved on the server, by where the state has them: a move without an answer began where they are now.
	moved map[place]place
}

// place is where a message is on the server.
type place struct {
	folder int64
	uid    mail.UID
}

func (r *run) twinsOf(ctx context.Context, intents []*state.Intent) (twins, error) {
	found := twins{rows: map[mail.Digest][]int64{}, moved: map[place]place{}}
	for _, in := range intents {
		if !in.Settled {
			found.rows[in.Message.Digest] = nil
		}
	}
	if len(found.rows) == 0 {
		return found, nil
	}
	var all mail.UIDSet
	all.AddRange(1, ^mail.UID(0))
	onServer := func(row state.Front) bool { return !row.RemoteHeld && row.Why != string(plan.Pending) }
	return found, r.view(ctx, func(tx *state.Tx) error {
		folders, err := tx.Folders()
		for _, f := range folders {
			err = errors.Join(err, tx.Sift(f.ID, all, onServer, func(m *state.Message) {
				if ids, wanted := found.rows[m.Digest]; wanted {
					found.rows[m.Digest] = append(ids, m.ID)
				}
			}))
		}
		if err != nil {
			return err
		}
		return found.follow(tx)
	})
}

// follow notes where moves without an answer began that the state has elsewhere.
func (t twins) follow(tx *state.Tx) error {
	intents, err := tx.Intents()
	if err != nil {
		return err
	}
	for _, in := range intents {
		if _, wanted := t.rows[in.Message.Digest]; !wanted || in.Kind != state.MoveRemote || in.Settled {
			continue
		}
		row, err := tx.Message(in.Message.ID)
		switch {
		case errors.Is(err, state.ErrNotFound):
		case err != nil:
			return err
		default:
			t.moved[place{row.Folder, row.UID}] = place{in.Message.Folder, in.Message.UID}
		}
	}
	return nil
}

// takeOurs is take for what is to be adopted, and whose original may be removed: as many messages as may be others are left to the comparison
// that follows.
func (c *candidates) takeOurs(ctx context.Context, in *state.Intent) (remote.Message, bool, error) {
	m, found, err := c.take(ctx, in)
	if err != nil || !found || taken(*in) {
		return m, found, err
	}
	away, err := c.twinsAway(ctx, in)
	var spared []remote.Message
	for err == nil && found {
		i := slices.IndexFunc(away, func(row state.Message) bool {
			return mayShareDate(row, m.Date)
		})
		if i < 0 {
			break
		}
		away, spared = slices.Delete(away, i, i+1), append(spared, m)
		m, found, err = c.take(ctx, in)
	}
	for _, m := range spared {
		c.free[m.UID] = m
	}
	return m, found && err == nil, err
}

// mayShareDate reports whether a message may have that INTERNALDATE, which a copy keeps (RFC 9051, section 6.4.7).
func mayShareDate(m state.Message, date time.Time) bool {
	return m.Date.IsZero() || date.IsZero() || m.Date.Unix() == date.Unix()
}

// twinsAway are the messages with the bytes of an unanswered intent, but for its own, that are not where the state has them. Where the original of
// a move has left its place, nothing is removed for what is found, and nobody asks for them.
func (c *candidates) twinsAway(ctx context.Context, in *state.Intent) (away []state.Message, err error) {
	var rows []state.Message
	uids, boxes := map[int64]mail.UIDSet{}, map[int64]remote.Box{}
	err = c.r.view(ctx, func(tx *state.Tx) error {
		for _, id := range c.twins.rows[in.Message.Digest] {
			m, err := tx.Message(id)
			switch {
			case errors.Is(err, state.ErrNotFound), err == nil && (m.UID == 0 || m.ID == in.Message.ID):
				continue
			case err != nil:
				return err
			}
			if now, ok := c.twins.moved[place{m.Folder, m.UID}]; ok {
				m.Folder, m.UID = now.folder, now.uid
			}
			set := uids[m.Folder]
			set.Add(m.UID)
			uids[m.Folder], rows = set, append(rows, m)
		}
		folders, err := tx.Folders()
		for _, f := range folders {
			boxes[f.ID] = remote.Box{Name: f.Mailbox, UIDValidity: f.UIDValidity}
		}
		return err
	})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	if in.Kind == state.MoveRemote {
		left, err := goneFrom(ctx, c.s, boxes[in.Message.Folder], mail.NewUIDSet(in.Message.UID))
		if err != nil || !left.IsEmpty() {
			return nil, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(uids)) {
		gone, err := goneFrom(ctx, c.s, boxes[id], uids[id])
		switch {
		case remote.ClassOf(err) == remote.Refused && c.r.isOver(in):
			continue // it was asked for long enough
		case err != nil:
			return nil, err
		}
		for _, m := range rows {
			if m.Folder == id && gone.Contains(m.UID) {
				away = append(away, m)
			}
		}
	}
	return away, nil
}
