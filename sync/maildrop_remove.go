package sync

import (
	"context"
	"errors"
	"fmt"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// removeFromMaildrop deletes messages on the server. It does so in one go, for all folders, because it ends the session. Each is looked
// at once more: what is to stay in the Maildir must be there, and what the person has deleted must be gone. Nothing counts as
// deleted before the server has confirmed all of it.
func (r *run) removeFromMaildrop(ctx context.Context, ops []plan.Op) error {
	d := r.drop
	if len(ops) == 0 || d == nil || d.f.failed != nil {
		return nil
	}
	var leaving []leaver
	var uids mail.UIDSet
	for _, op := range ops {
		f := r.byName[op.Folder]
		var m state.Message
		err := r.view(ctx, func(tx *state.Tx) (err error) {
			if m, err = rowFor(tx, f, op); errors.Is(err, state.ErrNotFound) {
				m, err = state.Message{}, nil
			}
			return err
		})
		if err != nil {
			return err
		}
		there, err := r.hasFile(ctx, f, m)
		if err != nil {
			return err
		}
		if m.ID == 0 || op.Kept != there {
			// It was not delivered after all, or the person deleted it meanwhile or brought it back: the next look decides.
			if m.ID != 0 || !op.Kept {
				r.doubt(f)
			}
			r.soil(d.f)
			continue
		}
		m.UID = op.UID
		leaving = append(leaving, leaver{m, op.Kept})
		uids.Add(op.UID)
	}
	if uids.IsEmpty() {
		return nil
	}
	var pending mail.UIDSet
	err := r.pool.with(ctx, func(s remote.Session) error {
		found, err := s.Fetch(ctx, r.dropBox(), uids, remote.FetchItems{})
		if err != nil {
			return err
		}
		var present mail.UIDSet
		for _, m := range found {
			present.Add(m.UID)
		}
		if !uids.Minus(present).IsEmpty() {
			r.soil(d.f)
		}
		others, err := r.impostors(ctx, s, leaving, present)
		if err != nil {
			return err
		}
		uids = present.Minus(others)
		pending, err = s.Expunge(ctx, r.dropBox(), uids)
		return err
	})
	if err != nil {
		r.doubt(d.f)
		if !r.ofFolder(ctx, err) {
			return err
		}
		r.fail(d.f.name, fmt.Errorf("deleting on the server: %w", err))
		return nil
	}
	if !pending.IsEmpty() {
		r.doubt(d.f)
		r.fail(d.f.name, fmt.Errorf("the server refused to delete %d of %d messages; the next sync tries again", pending.Len(), uids.Len()))
		uids = uids.Minus(pending)
	}
	if d.f.selected != nil {
		d.f.selected.HighestModSeq = 0 // if the next listing is the same, the server has deleted nothing
	}
	return r.recordRemoved(ctx, leaving, uids)
}

// impostors finds those of the messages that are not what their names say, because the server has given a name to another message of
// the same size: that one is new. Nobody deletes it, nor what can't be read now. What was read in this run needs no second look.
func (r *run) impostors(ctx context.Context, s remote.Session, leaving []leaver, uids mail.UIDSet) (mail.UIDSet, error) {
	d := r.drop
	var known, asked, same mail.UIDSet
	for i, k := range d.match.Known {
		if k >= 0 {
			known.Add(d.uids[i])
		}
	}
	rows := map[mail.UID]*state.Message{}
	for i := range leaving {
		if m := &leaving[i].Message; known.Contains(m.UID) && uids.Contains(m.UID) {
			rows[m.UID] = m
			asked.Add(m.UID)
		}
	}
	if asked.IsEmpty() {
		return asked, nil
	}
	heads, err := s.Fetch(ctx, r.dropBox(), asked, remote.FetchItems{Header: true})
	if err != nil {
		return asked, err
	}
	for _, h := range heads {
		if h.Header != nil && h.Header.Header == rows[h.UID].Header {
			same.Add(h.UID)
		}
	}
	// A server may show another header by itself than it sends with the message.
	unlike := asked.Minus(same)
	found, err := bodiesOf(ctx, s, r.dropBox(), unlike)
	if err != nil {
		return unlike, err
	}
	var others []*state.Message
	for uid := range unlike.All() {
		switch c, read := found[uid]; {
		case !read:
			r.soil(d.f)
		case c.Digest == rows[uid].Digest:
			same.Add(uid)
		default:
			others = append(others, rows[uid])
		}
	}
	return asked.Minus(same), r.unlink(ctx, others)
}

// unlink takes from rows what the server has under their names, which is another message's now: theirs are gone from there.
func (r *run) unlink(ctx context.Context, rows []*state.Message) error {
	if len(rows) == 0 {
		return nil
	}
	r.doubt(r.drop.f)
	r.lookAgain() // for the new messages
	return r.update(ctx, func(tx *state.Tx) error {
		for _, row := range rows {
			m := *row
			r.log.Info("the server gave the name of a message to another one", "uidl", m.EmailID)
			m.EmailID = "" // it may be there, under another name
			if err := putDeparted(tx, departure(m, r.now())); err != nil {
				return err
			}
			if m.Name == "" {
				if err := tx.DeleteMessage(m.ID); err != nil {
					return err
				}
				continue
			}
			m.UID, m.Why, m.Text = 0, string(plan.OneWay), "gone from the server"
			if err := tx.PutMessage(&m); err != nil {
				return err
			}
		}
		return nil
	})
}

// leaver is a message that is to leave the maildrop; kept says that it stays in the Maildir.
type leaver struct {
	state.Message
	kept bool
}

// hasFile reports whether the file of a row is in the Maildir.
func (r *run) hasFile(ctx context.Context, f *folder, m state.Message) (bool, error) {
	if m.Name == "" || f.local == nil {
		return false, nil
	}
	info, err := r.md.Stat(f.name, m.Name)
	if errors.Is(err, maildir.ErrNotFound) || errors.Is(err, maildir.ErrNoFolder) {
		return false, nil
	}
	if err == nil && info.Size != m.FileSize {
		r.fail(f.name, fmt.Errorf("message file %s has %d bytes, and was stored with %d: what the server has is not deleted", m.Name, info.Size, m.FileSize))
		return false, nil
	}
	return err == nil, err
}

// recordRemoved records that the server has deleted messages.
func (r *run) recordRemoved(ctx context.Context, leaving []leaver, removed mail.UIDSet) error {
	n := 0
	err := r.update(ctx, func(tx *state.Tx) error {
		for _, l := range leaving {
			m := l.Message
			if !removed.Contains(m.UID) {
				continue
			}
			n++
			if !l.kept {
				m.Name = ""
			}
			if err := putDeparted(tx, departure(m, r.now())); err != nil {
				return err
			}
			if !l.kept {
				if err := tx.DeleteMessage(m.ID); err != nil {
					return err
				}
				continue
			}
			m.UID, m.Why, m.Text = 0, string(plan.OneWay), "deleted on the server once it was here"
			m.RemoteFlags, m.RemoteHeld = mail.Flags{}, false
			if err := tx.PutMessage(&m); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		r.count(func(res *Result) { res.ToServer.Deleted += n })
	}
	return err
}
