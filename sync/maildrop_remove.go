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
	var leaving, short []leaver
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
		if op.Kept && m.ID != 0 && m.Name == "" && m.Why != "" {
			continue // the server did not give it, and the state knows
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
		if op.Kept {
			less, err := r.isShort(ctx, f, &m)
			if err != nil {
				return err
			}
			if less {
				short = append(short, leaver{m, true})
				continue
			}
		}
		leaving = append(leaving, leaver{m, op.Kept})
		uids.Add(op.UID)
	}
	if uids.IsEmpty() && len(short) == 0 {
		return nil
	}
	var pending mail.UIDSet
	err := r.pool.with(ctx, func(s remote.Session) error {
		if err := r.readShort(ctx, s, short); err != nil || uids.IsEmpty() {
			return err
		}
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
	if uids.IsEmpty() {
		return nil
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
	known := d.knownUIDs()
	var asked, same mail.UIDSet
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
	return asked.Minus(same), r.unlink(ctx, others, true)
}

// knownUIDs are the messages that were known by their names.
func (d *drop) knownUIDs() mail.UIDSet {
	var known mail.UIDSet
	for i, k := range d.match.Known {
		if k >= 0 {
			known.Add(d.uids[i])
		}
	}
	return known
}

// Of a message that is smaller than the server says some may be missing, though it came with an end: something on the way has cut it, or
// the server counts otherwise. A few bytes are the server's own notes.
const (
	shortBytes = 1 << 10
	shortShare = 4 // that part of it, if it is less
)

func isShort(got, told int64) bool { return got+min(shortBytes, told/shortShare) < told }

// isShort reports whether the file of a row is much smaller than the server said of its message.
func (r *run) isShort(ctx context.Context, f *folder, m *state.Message) (bool, error) {
	if !isShort(m.FileSize, m.RemoteSize) {
		return false, nil
	}
	c, _, err := r.md.Survey(ctx, f.name, m.Name) // its lines may end in LF
	if errors.Is(err, maildir.ErrNotFound) || errors.Is(err, maildir.ErrChanged) {
		return true, nil // the next run looks
	}
	return isShort(c.WireSize(), m.RemoteSize), err
}

// readAgain is in the row of a message that is shorter than the server says, and was read a second time.
const readAgain = "read twice, and shorter than the server says"

// readShort reads messages that are shorter than the server says once more, in a later run than the first time, because they may come
// whole this time: then they are new. None is deleted there, whatever comes: the server may have more of it than it sends.
func (r *run) readShort(ctx context.Context, s remote.Session, short []leaver) error {
	if len(short) == 0 {
		return nil
	}
	first := short[0]
	r.fail(r.drop.f.name, fmt.Errorf("%d messages came shorter than the server says, and are not deleted there: of that with UIDL %q, file %s, it says that it has %d bytes; "+
		"if they are whole, delete them on the server by other means", len(short), first.EmailID, first.Name, first.RemoteSize))
	known := r.drop.knownUIDs()
	rows := map[mail.UID]*state.Message{}
	var uids mail.UIDSet
	for i := range short {
		if m := &short[i].Message; known.Contains(m.UID) && m.Text != readAgain {
			rows[m.UID] = m
			uids.Add(m.UID)
		}
	}
	if uids.IsEmpty() {
		return nil
	}
	found, err := bodiesOf(ctx, s, r.dropBox(), uids)
	if err != nil {
		return err
	}
	var others []*state.Message
	err = r.update(ctx, func(tx *state.Tx) error {
		for uid, c := range found {
			m := rows[uid]
			if c.Digest != m.Digest {
				others = append(others, m)
				continue
			}
			m.Text = readAgain
			if err := tx.PutMessage(m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.unlink(ctx, others, false) // the new one is to come, and not to be taken for it
}

// unlink takes from rows what the server has under their names, which is another message's now: theirs are gone from there.
// moved says that the server may have theirs under other names.
func (r *run) unlink(ctx context.Context, rows []*state.Message, moved bool) error {
	if len(rows) == 0 {
		return nil
	}
	r.doubt(r.drop.f)
	r.lookAgain() // for the new messages
	return r.update(ctx, func(tx *state.Tx) error {
		for _, row := range rows {
			m := *row
			r.log.Info("the server has another message under that name now", "uidl", m.EmailID)
			m.EmailID = ""
			if moved {
				if err := putDeparted(tx, departure(m, r.now())); err != nil {
					return err
				}
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
				if err := putDeparted(tx, r.deletedFile(m)); err != nil {
					return err
				}
				if err := tx.DeleteMessage(m.ID); err != nil {
					return err
				}
				continue
			}
			if err := putDeparted(tx, departure(m, r.now())); err != nil {
				return err
			}
			m.UID, m.Why, m.Text = 0, string(plan.OneWay), "deleted on the server once it was here"
			m.RemoteFlags, m.RemoteHeld, m.Guarded = mail.Flags{}, false, false
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

// cameTooSoon reports whether a server did not let us in for another pass because it had only just done so: deleting had ended the
// session (RFC 2449, section 8.1).
func (r *run) cameTooSoon(err error) bool {
	e, ok := errors.AsType[*remote.Error](err)
	return ok && r.isMaildrop() && e.Class == remote.Unavailable && (e.Code == "LOGIN-DELAY" || e.Code == "IN-USE")
}
