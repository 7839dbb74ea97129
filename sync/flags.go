package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// change is a flag change that the same command can make on many messages.
type change struct {
	add   bool
	flags mail.Flags
}

// setFlags brings flag changes over in one folder and records what both sides have then.
func (r *run) setFlags(ctx context.Context, f *folder, ops []plan.Op) error {
	var remotes, locals []plan.Op
	for _, op := range ops {
		if op.Side == plan.Server {
			remotes = append(remotes, op)
		} else {
			locals = append(locals, op)
		}
	}
	made := map[int64]stored{}
	for chunk := range slices.Chunk(remotes, remoteFlags) {
		if err := r.setRemoteFlags(ctx, f, chunk, made); err != nil {
			return fmt.Errorf("changing flags on the server: %w", err)
		}
	}
	for chunk := range slices.Chunk(locals, localFlags) {
		if err := r.setLocalFlags(ctx, f, chunk, made); err != nil {
			return fmt.Errorf("changing flags in the Maildir: %w", err)
		}
	}
	return nil
}

// So many messages get other flags on either side before that is recorded. On the server it is one command for those that
// change alike.
const (
	localFlags  = 10_000
	remoteFlags = 10_000
)

// stored is what became of a row's flag change on the server: what the server does not have though it was
// added, and has though it was removed.
type stored struct {
	failed       bool
	lacks, keeps mail.Flags
}

func (r *run) setRemoteFlags(ctx context.Context, f *folder, ops []plan.Op, made map[int64]stored) error {
	rows, err := r.rows(ctx, ops)
	if err != nil {
		return err
	}
	failed := map[mail.UID]error{}
	var acted mail.UIDSet
	now := map[mail.UID]mail.Flags{}
	groups := map[change]*mail.UIDSet{}
	var keys []change
	// A flag that the mailbox can't keep is not asked for; the state remembers that the server lacks it.
	keeps := func(fl mail.Flags) mail.Flags { return fl }
	for _, op := range ops {
		if !op.Add.IsZero() || !op.Remove.IsZero() {
			sel, err := r.selectedOf(ctx, f)
			if err != nil {
				return err
			}
			keeps = sel.Keeps
			break
		}
	}
	for i, op := range ops {
		uid := rows[i].UID
		if uid == 0 {
			continue
		}
		for _, c := range [...]change{{true, keeps(op.Add)}, {false, op.Remove}} {
			if c.flags.IsZero() {
				continue
			}
			if groups[c] == nil {
				groups[c] = &mail.UIDSet{}
				keys = append(keys, c)
			}
			groups[c].Add(uid)
			acted.Add(uid)
		}
	}
	if !acted.IsEmpty() {
		err := r.pool.with(ctx, func(s remote.Session) error {
			box := remote.Box{Name: f.mailbox, UIDValidity: f.validity()}
			for _, c := range keys {
				seen, refused, err := s.Store(ctx, box, *groups[c], c.add, c.flags)
				if err != nil {
					return err
				}
				for u := range groups[c].All() {
					delete(now, u) // what was seen after another change is not so any more
				}
				for _, m := range seen {
					now[m.UID] = m.Flags
				}
				for uid, why := range refused {
					if uid != 0 {
						failed[uid] = why
						continue
					}
					for u := range groups[c].All() {
						failed[u] = why
					}
				}
			}
			// What the server kept decides what the state records: a flag that it dropped must never be
			// read back as one that somebody removed.
			var unseen mail.UIDSet
			for u := range acted.All() {
				if _, ok := now[u]; !ok {
					unseen.Add(u)
				}
			}
			if unseen.IsEmpty() {
				return nil
			}
			ms, err := s.Fetch(ctx, box, unseen, remote.FetchItems{})
			for _, m := range ms {
				now[m.UID] = m.Flags
			}
			return err
		})
		if err != nil {
			r.soil(f)
			return err
		}
	}
	if len(failed) > 0 {
		r.soil(f)
		why := failed[sortedUIDs(failed)[0]]
		r.fail(f.name, fmt.Errorf("changing flags of %d messages on the server: %w", len(failed), why))
	}
	n := 0
	err = r.update(ctx, func(tx *state.Tx) error {
		for i, op := range ops {
			if rows[i].ID == 0 {
				made[op.Row] = stored{failed: true} // nor may its other half be recorded
				continue
			}
			m, err := tx.Message(rows[i].ID)
			if err != nil {
				return err
			}
			was := stored{lacks: op.Add}
			if acted.Contains(m.UID) {
				have, ok := now[m.UID]
				if !ok {
					r.doubt(f) // gone meanwhile
				}
				was = stored{failed: !ok || failed[m.UID] != nil, lacks: op.Add.Minus(have), keeps: op.Remove.And(have)}
			}
			made[m.ID] = was
			if was.failed {
				continue
			}
			if acted.Contains(m.UID) {
				n++
			}
			m.RemoteFlags, m.LocalFlags = op.RemoteSeen.Minus(was.lacks).Plus(was.keeps), op.LocalSeen
			if err := tx.PutMessage(&m); err != nil {
				return err
			}
		}
		return nil
	})
	r.count(func(res *Result) { res.ToServer.Flags += n })
	return err
}

func (r *run) setLocalFlags(ctx context.Context, f *folder, ops []plan.Op, made map[int64]stored) error {
	rows, err := r.rows(ctx, ops)
	if err != nil {
		return err
	}
	type outcome struct {
		op    *plan.Op
		id    int64
		seen  mail.Flags
		acted bool
	}
	outcomes := make([]outcome, 0, len(ops))
	changes := make([]maildir.FlagChange, 0, len(ops))
	changed := make([]outcome, 0, len(ops)) // of each of the changes
	for i := range ops {
		op := &ops[i]
		// What failed on the server left the row without the merge base that this change counts on.
		if rows[i].ID == 0 || made[rows[i].ID].failed {
			continue
		}
		o := outcome{op, rows[i].ID, op.LocalSeen, false}
		if op.Add.IsZero() && op.Remove.IsZero() {
			outcomes = append(outcomes, o)
		} else if rows[i].Name != "" {
			changes = append(changes, maildir.FlagChange{Seen: lastSeen(&rows[i]), Add: op.Add, Remove: op.Remove})
			changed = append(changed, o)
		}
	}
	for i, out := range r.md.SetFlagsAll(f.name, changes) {
		if errors.Is(out.Err, maildir.ErrNotFound) {
			r.doubt(f)
			continue
		}
		if out.Err != nil {
			r.soil(f)
			r.fail(f.name, fmt.Errorf("changing flags of message file %s: %w", changes[i].Base, out.Err))
			continue
		}
		o, has := changed[i], out.Entry.Flags
		o.seen, o.acted = o.op.LocalSeen.Minus(o.op.Add.Minus(has)).Plus(o.op.Remove.And(has)), true
		if !o.seen.Equal(has) {
			r.surprise(f)
		}
		outcomes = append(outcomes, o)
	}
	if err := r.md.Flush(); err != nil {
		return fmt.Errorf("making them durable: %w", err)
	}
	n := 0
	err = r.update(ctx, func(tx *state.Tx) error {
		for _, o := range outcomes {
			m, err := tx.Message(o.id)
			if err != nil {
				return err
			}
			was := made[m.ID]
			m.LocalFlags, m.RemoteFlags = o.seen, o.op.RemoteSeen.Minus(was.lacks).Plus(was.keeps)
			if err := tx.PutMessage(&m); err != nil {
				return err
			}
			if o.acted {
				n++
			}
		}
		return nil
	})
	r.count(func(res *Result) { res.ToMaildir.Flags += n })
	return err
}

// lastSeen is what the state says of a message's file.
func lastSeen(row *state.Message) maildir.Seen {
	return maildir.Seen{Base: row.Name, Flags: row.LocalFlags}
}

// rows returns the present rows of operations, in their order. A row that is not in the operation's folder
// comes back empty: what should have brought it there failed, and what follows is left out.
func (r *run) rows(ctx context.Context, ops []plan.Op) ([]state.Message, error) {
	rows := make([]state.Message, len(ops))
	ids := make([]int64, len(ops))
	for i := range ops {
		ids[i] = ops[i].Row
	}
	err := r.view(ctx, func(tx *state.Tx) error {
		found, err := tx.Messages(ids)
		if err != nil {
			return err
		}
		rows = found
		for i := range ops {
			f := r.byName[ops[i].Folder]
			var err error
			if ops[i].Row == 0 {
				rows[i], err = rowFor(tx, f, ops[i])
			} else if rows[i].ID == 0 {
				err = state.ErrNotFound
			}
			if errors.Is(err, state.ErrNotFound) || (err == nil && rows[i].Folder != f.base.ID) {
				r.doubt(f)
				rows[i] = state.Message{}
				continue
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return rows, err
}

// rowFor finds the row of an operation. One without a row names a message that became one earlier in this run.
func rowFor(tx *state.Tx, f *folder, op plan.Op) (state.Message, error) {
	switch {
	case op.Row != 0:
		return tx.Message(op.Row)
	case op.UID != 0:
		ms, err := tx.ByUIDs(f.base.ID, mail.NewUIDSet(op.UID))
		if err == nil && len(ms) == 0 {
			err = state.ErrNotFound
		}
		if err != nil {
			return state.Message{}, err
		}
		return ms[0], nil
	default:
		m, ok, err := tx.ByName(f.base.ID, op.Name)
		if err == nil && !ok {
			err = state.ErrNotFound
		}
		return m, err
	}
}
