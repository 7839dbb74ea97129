package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// A listing may leave messages out that come again. What has left a maildrop is remembered, so that nothing is delivered twice.

// rememberDeparted is how long a message that the server no longer lists is known by its name.
const rememberDeparted = 90 * 24 * time.Hour

// returned is a message that the server lists again.
type returned struct {
	uid mail.UID
	row state.Message // of its file; ID 0: the Maildir does not have it, as far as is known
	was state.Departed
}

// recallDeparted finds the new messages that had been gone: the listing had left them out, was of another mind about a deletion, or
// gives them other names. One is nominated by its name or its size; whether it is the same is decided by the header, as with moves.
// Nothing that the person has deleted is delivered again.
func (r *run) recallDeparted(ctx context.Context, s remote.Maildrop, fresh []remote.Message) error {
	d := r.drop
	d.back = nil
	if len(fresh) == 0 {
		return nil
	}
	byID, bySize := map[string]state.Departed{}, map[int64][]state.Departed{}
	err := r.view(ctx, func(tx *state.Tx) error {
		return tx.EachDeparted(func(m state.Departed) error {
			if m.Header.IsZero() {
				return nil
			}
			byID[m.ID] = m
			bySize[m.Size] = append(bySize[m.Size], m)
			return nil
		})
	})
	if err != nil || len(byID) == 0 {
		return err
	}
	var unread mail.UIDSet
	nominated := slices.DeleteFunc(slices.Clone(fresh), func(m remote.Message) bool {
		_, named := byID[m.EmailID]
		return !named && len(bySize[m.Size]) == 0
	})
	for _, m := range nominated {
		if d.f.newRemoteMessage(m.UID).Header == nil {
			unread.Add(m.UID)
		}
	}
	if !unread.IsEmpty() {
		ms, err := s.Fetch(ctx, r.dropBox(), unread, remote.FetchItems{Header: true})
		if err != nil {
			return err
		}
		for _, m := range ms {
			if h := m.Header; h != nil {
				d.f.newRemoteMessage(m.UID).Header = &plan.Header{Digest: h.Header, HasMessageID: h.HasMessageID}
			}
		}
	}
	taken := map[string]bool{}
	return r.view(ctx, func(tx *state.Tx) error {
		for _, m := range nominated {
			h := d.f.newRemoteMessage(m.UID).Header
			if h == nil {
				continue
			}
			candidates := bySize[m.Size]
			if was, named := byID[m.EmailID]; named {
				candidates = slices.Concat([]state.Departed{was}, candidates)
			}
			for _, was := range candidates {
				if taken[was.ID] || was.Header != h.Digest {
					continue
				}
				back, is, err := isBack(tx, m, h, was)
				if err != nil {
					return err
				}
				if is {
					d.back, taken[was.ID] = append(d.back, back), true
					break
				}
			}
		}
		return nil
	})
}

// isBack reports whether a new message may be one that departed, whose header is the same. Its file will tell; where there is none the
// name and size must be the same, or the header one that is no other message's.
func isBack(tx *state.Tx, m remote.Message, h *plan.Header, was state.Departed) (back returned, is bool, err error) {
	back = returned{uid: m.UID, was: was}
	if was.Row > 0 {
		switch back.row, err = tx.Message(was.Row); {
		case errors.Is(err, state.ErrNotFound):
			back.row = state.Message{}
		case err != nil:
			return back, false, err
		case back.row.UID != 0 || back.row.Name == "":
			return back, false, nil // it is known as another one by now
		case back.row.Why == string(plan.OneWay):
			return back, true, nil
		default:
			back.row = state.Message{}
		}
	}
	sameSize := was.Size == m.Size || was.Size < 0 || m.Size < 0
	return back, sameSize && (was.ID == m.EmailID || h.HasMessageID), nil
}

// returnFiles puts the files of returned messages beside them, so that the planner pairs them again.
func (r *run) returnFiles() {
	byID := make(map[int64]*folder, len(r.folders))
	for _, f := range r.folders {
		byID[f.base.ID] = f
	}
	for _, b := range r.drop.back {
		m := r.drop.f.newRemoteMessage(b.uid)
		f := byID[b.row.Folder]
		p := (*plan.Pair)(nil)
		if f != nil {
			p = f.pairs[b.row.ID]
		}
		// Where nobody can look the file is still there, perhaps: as a deletion this waits until somebody can.
		if b.row.ID == 0 || f == nil || f.failed != nil || f.local == nil || p != nil && p.Local != plan.Present {
			m.Park, m.Date = plan.Dismissed, r.now() // its time begins anew
			if deleted := b.was.Row == state.DeletedFile || p != nil && p.Local == plan.Gone; deleted && r.set.Policy.UntilDeleted {
				m.Park = plan.Pending
			}
			continue
		}
		if p != nil {
			b.row.LocalFlags = p.LocalNow
			delete(f.pairs, b.row.ID)
		}
		if f.newLocalMessage(b.row.Name) != nil {
			continue // it is looked at anyway
		}
		c := mail.Content{Digest: b.row.Digest, Header: b.row.Header, HasMessageID: b.row.HasMessageID, Size: b.row.RemoteSize, CRLF: 1}
		if b.row.Raw {
			c.CRLF, c.BareLF = 0, 1
		}
		f.localNew = append(f.localNew, plan.LocalMessage{
			Row: b.row.ID, Folder: f.name, Name: b.row.Name, Flags: b.row.LocalFlags, FileSize: b.row.FileSize, Inode: b.row.Inode,
			Date: b.row.Date, Content: &c,
		})
		f.localAt = nil
	}
}

// departure is what is kept of a message that leaves the maildrop. One without a name is known by its content and row: no name
// has a NUL.
func departure(m state.Message, at time.Time) state.Departed {
	out := state.Departed{ID: m.EmailID, Size: m.RemoteSize, Header: m.Header, At: at}
	switch {
	case m.Name != "":
		out.Row = m.ID
	case m.Why == string(plan.Pending):
		out.Row = state.DeletedFile
	}
	if out.ID == "" {
		out.ID = fmt.Sprintf("\x00%x %d", m.Digest, m.ID)
	}
	return out
}

// deletedFile is the departure of a message whose file the person has deleted.
func (r *run) deletedFile(m state.Message) state.Departed {
	d := departure(m, r.now())
	if d.Row = 0; r.set.Policy.UntilDeleted {
		d.Row = state.DeletedFile
	}
	return d
}

// departForgotten notes of a message that is listed no more, when the person has deleted its file after all, that the server is to follow should it be
// listed again.
func (r *run) departForgotten(tx *state.Tx, op plan.Op) error {
	p := r.pairOf(op.Row)
	if !r.set.Policy.UntilDeleted || p == nil || p.Local != plan.Gone {
		return nil
	}
	m, err := tx.Message(op.Row)
	if err != nil {
		return err
	}
	was, ok, err := tx.Departed(departure(m, r.now()).ID)
	if err != nil || !ok || was.Row != m.ID {
		return err
	}
	was.Row = state.DeletedFile
	return tx.PutDeparted(was)
}

// putDeparted writes a departure down. Where the server gave the name to another message before, that one stays known by its size
// and header.
func putDeparted(tx *state.Tx, m state.Departed) error {
	was, ok, err := tx.Departed(m.ID)
	if err != nil {
		return err
	}
	if ok && was.Header != m.Header {
		was.ID = fmt.Sprintf("\x00%s %x", was.ID, was.Header)
		if err := tx.PutDeparted(was); err != nil {
			return err
		}
	}
	return tx.PutDeparted(m)
}
