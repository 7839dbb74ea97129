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

// mayBeGhost reports whether a message that came since the intents were settled looks like an upload of ours
// that had been sent before: it is not delivered until settling has compared its bytes.
func (f *folder) mayBeGhost(m remote.Message) bool {
	return !f.innocent.Contains(m.UID) && slices.ContainsFunc(f.sends, func(in *state.Intent) bool {
		return m.UID >= in.UIDNext && m.Size == in.Message.RemoteSize && m.Date.Equal(in.Message.Date.Truncate(time.Second))
	})
}

// dropSuspects leaves out of a plan new messages of a mailbox whose UIDs mean nothing that may be ghosts: once the others are found again,
// settling can tell. Neither its size nor its UID says anything yet.
func (r *run) dropSuspects(p *plan.Plan) {
	if !slices.ContainsFunc(r.folders, func(f *folder) bool { return f.lostRemote && len(f.sends) > 0 }) {
		return
	}
	p.Ops = slices.DeleteFunc(p.Ops, func(op plan.Op) bool {
		f := r.byName[op.Folder]
		if op.Kind != plan.Download || op.Row != 0 || f == nil || !f.lostRemote {
			return false
		}
		m := f.newRemoteMessage(op.UID)
		if m == nil || !slices.ContainsFunc(f.sends, func(in *state.Intent) bool { return m.Date.Equal(in.Message.Date.Truncate(time.Second)) }) {
			return false
		}
		f.suspects = true
		r.soil(f)
		r.lookAgain()
		return true
	})
}

// removeGhosts removes further copies of an upload, or of a move by COPY, that was sent more than once: the same bytes, INTERNALDATE and
// flags as were sent, from the recorded UIDNEXT on, no more than there were sends without an answer.
func (r *run) removeGhosts(ctx context.Context, s remote.Session, f *folder, box remote.Box, cand *candidates, in *state.Intent) error {
	var spared []remote.Message
	defer func() {
		for _, m := range spared {
			cand.free[m.UID] = m
		}
	}()
	for in.Settled && in.Sends > 1 {
		m, found, err := cand.takeTwin(ctx, in)
		if err != nil || !found {
			return err
		}
		known, err := r.whereabouts(ctx, s, box, in)
		if err != nil {
			return err
		}
		switch known {
		case unknown:
			return r.update(ctx, func(tx *state.Tx) error { return tx.DeleteIntent(in.ID) })
		case unclear:
			return nil // it is held until the next look
		case missing:
			// It may be one of those that are missing. It is never asked about again, because what is missing may turn up as somebody's copy.
			spared = append(spared, m)
			in.UIDNext = max(m.UID+1, m.UID) // behind the last there is none
			if err := r.update(ctx, func(tx *state.Tx) error { return tx.PutIntent(in) }); err != nil {
				return err
			}
			continue
		}
		r.log.Info("removing the ghost of what was sent twice", "folder", f.name, "uid", m.UID)
		pending, err := s.Expunge(ctx, box, mail.NewUIDSet(m.UID))
		if err != nil {
			return err
		}
		in.Sends--
		ghost := in.Message
		ghost.UID = m.UID
		err = r.update(ctx, func(tx *state.Tx) error {
			if err := parkPending(tx, f.base.ID, pending, ghost); err != nil {
				return err
			}
			if in.Sends <= 1 {
				return tx.DeleteIntent(in.ID)
			}
			return tx.PutIntent(in)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// whereabouts is what is known of the messages with the bytes of an upload.
type whereabouts int

const (
	unknown  whereabouts = iota // the state does not know the uploaded one any more
	unclear                     // the server does not say
	missing                     // one is not where the state has it
	complete                    // each is where the state has it
)

// whereabouts finds out where the messages with the bytes of a settled upload are that the state knows. If they are complete, one more
// can't be any of them, which a person may have moved away and back, and is a ghost.
func (r *run) whereabouts(ctx context.Context, s remote.Session, box remote.Box, in *state.Intent) (whereabouts, error) {
	places := map[int64]mail.UIDSet{}
	boxes := map[int64]remote.Box{}
	known, lost, alarm := false, false, false // lost: its UID meant nothing any more; alarm: its mailbox is to be paired anew
	err := r.view(ctx, func(tx *state.Tx) error {
		folders, err := tx.Folders()
		if err != nil {
			return err
		}
		for _, f := range folders {
			boxes[f.ID] = remote.Box{Name: f.Mailbox, UIDValidity: f.UIDValidity}
			rows, err := tx.ByDigest(f.ID, in.Message.Digest)
			if err != nil {
				return err
			}
			alarm = alarm || len(rows) > 0 && f.UIDValidity == noValidity
			for _, m := range rows {
				if m.UID == 0 && m.Why != "" {
					continue // it never was on the server
				}
				// Where a move came from says nothing of its copy, which has no row at first if it went to the trash.
				known = known || m.ID == in.Message.ID || in.Kind == state.Upload && m.Folder == in.Message.Folder && m.UID == in.Message.UID
				if lost = lost || m.UID == 0; lost {
					continue
				}
				set := places[f.ID]
				set.Add(m.UID)
				places[f.ID] = set
			}
		}
		return nil
	})
	switch {
	case err != nil || !known:
		return unknown, err
	case alarm:
		return unclear, nil
	case lost:
		return missing, nil
	}
	boxes[destination(in)] = box
	for _, id := range slices.Sorted(maps.Keys(places)) {
		gone, err := missingFrom(ctx, s, boxes[id], places[id])
		switch {
		case errors.Is(err, remote.ErrNoMailbox) && !r.mayBeRenamed(boxes[id].Name):
			return missing, nil
		case errors.Is(err, remote.ErrUIDValidity) || remote.ClassOf(err) == remote.Refused:
			return unclear, nil
		case err != nil:
			return unclear, err
		case !gone.IsEmpty():
			return missing, nil
		}
	}
	return complete, nil
}

// mayBeRenamed reports whether a mailbox that is not there may have another name that this run does not know of: it was listed by this pass, or the run
// leaves other folders alone.
func (r *run) mayBeRenamed(mailbox string) bool {
	return len(r.opt.Targets) > 0 || r.listedBox(mailbox) != nil
}
