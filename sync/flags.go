package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/satchel-mail/satchel/internal/defect"
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
// Those in the Maildir are recorded by record.
func (r *run) setFlags(ctx context.Context, f *folder, ops []plan.Op, record recorder) error {
	n := len(ops) // those on the server come first in a plan
	if i := slices.IndexFunc(ops, func(op plan.Op) bool { return op.Side != plan.Server }); i >= 0 {
		n = i
	}
	remotes, locals := ops[:n], ops[n:]
	made := map[int64]stored{}
	for chunk := range slices.Chunk(remotes, remoteFlags) {
		if err := r.setRemoteFlags(ctx, f, chunk, made); err != nil {
			return fmt.Errorf("changing flags on the server: %w", err)
		}
	}
	for chunk := range slices.Chunk(locals, localFlags) {
		if err := r.setLocalFlags(ctx, f, chunk, made, record); err != nil {
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
			if rows[i].UID == 0 { // it did not get there
				r.doubt(f)
				made[op.Row] = stored{failed: true} // nor may its other half be recorded
				continue
			}
			id, uid := rows[i].ID, rows[i].UID
			was := stored{lacks: op.Add}
			if acted.Contains(uid) {
				have, ok := now[uid]
				if !ok {
					r.doubt(f) // gone meanwhile
				}
				was = stored{failed: !ok || failed[uid] != nil, lacks: op.Add.Minus(have), keeps: op.Remove.And(have)}
			}
			made[id] = was
			if was.failed {
				continue
			}
			if acted.Contains(uid) {
				n++
			}
			if err := tx.SetFlags(id, op.RemoteSeen.Minus(was.lacks).Plus(was.keeps), op.LocalSeen); err != nil {
				return err
			}
		}
		return nil
	})
	r.count(func(res *Result) { res.ToServer.Flags += n })
	return err
}

func (r *run) setLocalFlags(ctx context.Context, f *folder, ops []plan.Op, made map[int64]stored, record recorder) error {
	type outcome struct {
		op    *plan.Op
		id    int64
		seen  mail.Flags
		acted bool
	}
	outcomes := make([]outcome, 0, len(ops))
	changes := make([]maildir.FlagChange, 0, len(ops))
	changed := make([]outcome, 0, len(ops)) // of each of the changes
	err := r.eachRowOf(ctx, ops, func(i int, row *state.Message) {
		// What failed on the server left the row without the merge base that this change counts on.
		if row.ID == 0 || made[row.ID].failed {
			return
		}
		op := &ops[i]
		o := outcome{op, row.ID, op.LocalSeen, false}
		if op.Add.IsZero() && op.Remove.IsZero() {
			outcomes = append(outcomes, o)
		} else if row.Name != "" {
			changes = append(changes, maildir.FlagChange{Seen: lastSeen(row), Add: op.Add, Remove: op.Remove})
			changed = append(changed, o)
		}
	})
	if err != nil {
		return err
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
	return record(ctx, f, func() error {
		if err := r.md.Flush(); err != nil {
			return fmt.Errorf("making them durable: %w", err)
		}
		n := 0
		err := r.update(ctx, func(tx *state.Tx) error {
			for _, o := range outcomes {
				was := made[o.id]
				if err := tx.SetFlags(o.id, o.op.RemoteSeen.Minus(was.lacks).Plus(was.keeps), o.seen); err != nil {
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
	})
}

// recorder does what makes changes in a folder durable and records them.
type recorder func(ctx context.Context, f *folder, do func() error) error

// recordNow does it at once.
func recordNow(_ context.Context, _ *folder, do func() error) error { return do() }

// recordLater does it while the run goes on, after what it was given before.
func (r *run) recordLater(ctx context.Context, f *folder, do func() error) error {
	for _, was := range r.behind.do(f, do) {
		if !r.ofFolder(ctx, was.err) {
			return was.err
		}
	}
	return nil
}

// catchUp waits for what is recorded later. What failed is its folder's failure.
func (r *run) catchUp(ctx context.Context) error {
	for _, was := range r.behind.wait() {
		if !r.ofFolder(ctx, was.err) {
			return was.err
		}
		r.failFolder(was.folder, was.err)
	}
	return nil
}

// behind does one thing after the other beside the run.
type behind struct {
	mu     sync.Mutex
	last   chan struct{} // closed when it is done; nil: there was none
	failed []failedBehind
}

type failedBehind struct {
	folder *folder
	err    error
}

// do waits for what was begun before, begins what is to be done in a folder, and returns what failed so far.
func (b *behind) do(f *folder, do func() error) []failedBehind {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := slices.Clone(b.done())
	last := make(chan struct{})
	b.last = last
	go func() {
		defer close(last)
		if err := defect.Contain(do); err != nil {
			b.failed = append(b.failed, failedBehind{f, fmt.Errorf("changing flags in the Maildir: %w", err)})
		}
	}()
	return before
}

// wait waits for what was begun, and returns what failed since it was called last.
func (b *behind) wait() []failedBehind {
	b.mu.Lock()
	defer b.mu.Unlock()
	failed := b.done()
	b.failed = nil
	return failed
}

func (b *behind) done() []failedBehind {
	if b.last != nil {
		<-b.last
	}
	return b.failed
}

// lastSeen is what the state says of a message's file.
func lastSeen(row *state.Message) maildir.Seen {
	return maildir.Seen{Base: row.Name, Flags: row.LocalFlags}
}

// rows returns the present rows of operations, in their order. A row that is not in the operation's folder
// comes back empty: what should have brought it there failed, and what follows is left out.
func (r *run) rows(ctx context.Context, ops []plan.Op) ([]state.Message, error) {
	rows := make([]state.Message, len(ops))
	err := r.eachRowOf(ctx, ops, func(i int, row *state.Message) { rows[i] = *row })
	return rows, err
}

// eachRowOf is rows one by one, not in the order of the operations.
func (r *run) eachRowOf(ctx context.Context, ops []plan.Op, do func(i int, row *state.Message)) error {
	ids := make([]int64, len(ops))
	for i := range ops {
		ids[i] = ops[i].Row
	}
	take := func(i int, row *state.Message) {
		if f := r.byName[ops[i].Folder]; row.ID == 0 || row.Folder != f.base.ID {
			r.doubt(f)
			row = &state.Message{}
		}
		do(i, row)
	}
	return r.view(ctx, func(tx *state.Tx) error {
		var without []int
		err := tx.EachMessage(ids, func(i int, row *state.Message) {
			if ops[i].Row == 0 {
				without = append(without, i)
				return
			}
			take(i, row)
		})
		if err != nil {
			return err
		}
		for _, i := range without {
			row, err := rowFor(tx, r.byName[ops[i].Folder], ops[i])
			if err != nil && !errors.Is(err, state.ErrNotFound) {
				return err
			}
			take(i, &row)
		}
		return nil
	})
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
