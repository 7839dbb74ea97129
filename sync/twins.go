package sync

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// What is here tells the message of an unanswered command from an equal one that somebody moved to the same mailbox meanwhile.

// twins are the rows of messages that are on the server, by the bytes that they share with unanswered intents.
type twins map[mail.Digest][]int64

func (r *run) twinsOf(ctx context.Context, intents []*state.Intent) (twins, error) {
	found := twins{}
	for _, in := range intents {
		if !in.Settled {
			found[in.Message.Digest] = nil
		}
	}
	if len(found) == 0 {
		return found, nil
	}
	var all mail.UIDSet
	all.AddRange(1, ^mail.UID(0))
	onServer := func(row state.Front) bool { return !row.RemoteHeld && row.Why != string(plan.Pending) }
	return found, r.view(ctx, func(tx *state.Tx) error {
		folders, err := tx.Folders()
		for _, f := range folders {
			err = errors.Join(err, tx.Sift(f.ID, all, onServer, func(m *state.Message) {
				if ids, wanted := found[m.Digest]; wanted {
					found[m.Digest] = append(ids, m.ID)
				}
			}))
		}
		return err
	})
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
			return row.Date.IsZero() || m.Date.IsZero() || row.Date.Unix() == m.Date.Unix()
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

// twinsAway are the messages with the bytes of an unanswered intent, but for its own, that are not where the state has them. Where the original of
// a move has left its place, nothing is removed for what is found, and nobody asks for them.
func (c *candidates) twinsAway(ctx context.Context, in *state.Intent) (away []state.Message, err error) {
	var rows []state.Message
	uids, boxes := map[int64]mail.UIDSet{}, map[int64]remote.Box{}
	err = c.r.view(ctx, func(tx *state.Tx) error {
		for _, id := range c.twins[in.Message.Digest] {
			m, err := tx.Message(id)
			switch {
			case errors.Is(err, state.ErrNotFound), err == nil && (m.UID == 0 || m.ID == in.Message.ID):
				continue
			case err != nil:
				return err
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
