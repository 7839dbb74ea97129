package sync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// A batch of moves is written down, done and recorded together.
const (
	localMoves  = 1000
	remoteMoves = 5000
)

// route is a pair of folders between which messages move.
type route struct {
	side     plan.Side
	from, to mail.FolderName
}

// moves carries moves out, those of one pair of folders together.
func (r *run) moves(ctx context.Context, ops []plan.Op) error {
	grouped := map[route][]plan.Op{}
	var routes []route
	for _, op := range ops {
		k := route{op.Side, op.From, op.Folder}
		if grouped[k] == nil {
			routes = append(routes, k)
		}
		grouped[k] = append(grouped[k], op)
	}
	// The Maildir's first: what fails there says more about the rest.
	slices.SortStableFunc(routes, func(a, b route) int { return strings.Compare(string(a.side), string(b.side)) })
	for _, k := range routes {
		if r.isBroken(k.from) || r.isBroken(k.to) {
			continue
		}
		err := defect.Contain(func() error {
			if k.side == plan.Maildir {
				return r.moveLocal(ctx, k, grouped[k])
			}
			return r.moveRemote(ctx, k, grouped[k])
		})
		if defect.Of(err) != nil && r.ofFolder(ctx, err) {
			r.failRoute(k, err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// failRoute takes two folders out of this run, because the program made a mistake between them.
func (r *run) failRoute(k route, err error) {
	for _, name := range []mail.FolderName{k.from, k.to} {
		if f := r.byName[name]; f != nil {
			r.leaveOut(f, err)
		}
	}
	r.fail(k.from, fmt.Errorf("moving messages to %s: %w", k.to, err))
}

// newFolder adds a folder that this run knows nothing of: the trash, if it does not exist yet or is left out by the
// configuration.
func (r *run) newFolder(ctx context.Context, name mail.FolderName) (*folder, error) {
	f, err := r.outside(state.Folder{Name: name})
	if err != nil {
		return nil, err
	}
	err = r.update(ctx, func(tx *state.Tx) error {
		known, ok, err := tx.FolderByName(name)
		if ok {
			f.base = known
			return nil
		}
		if err != nil {
			return err
		}
		return tx.PutFolder(&f.base)
	})
	if err != nil {
		return nil, err
	}
	r.byName[name] = f
	r.folders = append(r.folders, f)
	return f, nil
}

// outside makes a folder that is none of this run's.
func (r *run) outside(base state.Folder) (*folder, error) {
	box, err := r.names.mailbox(base.Name)
	if err != nil {
		return nil, err
	}
	return &folder{name: base.Name, target: true, mailbox: box, remote: r.listedBox(box), pairs: map[int64]*plan.Pair{}, base: base}, nil
}

// listedBox is a mailbox that this pass's listing has and that can be selected, nil if there is none.
func (r *run) listedBox(name string) *remote.Mailbox {
	if i := slices.IndexFunc(r.boxes, func(b remote.Mailbox) bool { return b.Name == name && b.Selectable }); i >= 0 {
		return &r.boxes[i]
	}
	return nil
}

// moveLocal renames files into another folder. Their names stay the same, so that a stop in between shows.
func (r *run) moveLocal(ctx context.Context, k route, ops []plan.Op) error {
	to := r.byName[k.to]
	for chunk := range slices.Chunk(ops, localMoves) {
		err := r.ensureLocal(ctx, to)
		if err == nil {
			err = r.moveLocalBatch(ctx, to, k, chunk)
		}
		if err != nil {
			if !r.ofFolder(ctx, err) {
				return err
			}
			r.soil(to)
			r.fail(k.to, fmt.Errorf("moving messages here from %s: %w", k.from, err))
		}
	}
	return nil
}

// localMove is one file on its way.
type localMove struct {
	op     plan.Op
	moved  state.Message // the row as it will be
	intent *state.Intent
	done   bool
	gone   bool // there was no file
}

func (r *run) moveLocalBatch(ctx context.Context, to *folder, k route, ops []plan.Op) error {
	batch, err := r.prepareLocalMoves(ctx, to, ops)
	if err != nil {
		return err
	}
	intents, files := make([]*state.Intent, len(batch)), make([]maildir.Seen, len(batch))
	for i := range batch {
		intents[i], files[i] = batch[i].intent, lastSeen(&batch[i].intent.Message)
	}
	if err := r.update(ctx, func(tx *state.Tx) error { return tx.PutIntents(intents) }); err != nil {
		return err
	}
	for i, out := range r.md.MoveAll(k.from, files, k.to) {
		b := &batch[i]
		switch {
		case errors.Is(out.Err, maildir.ErrNotFound):
			// It moved on or was deleted while we looked.
			b.gone = true
			r.doubt(to)
			if from := r.byName[k.from]; from != nil {
				r.doubt(from)
			}
		case out.Err != nil: // its intent stays: the next run finds out where it is
			r.soil(to)
			r.fail(k.to, fmt.Errorf("moving message file %s here from %s: %w", files[i].Base, k.from, out.Err))
		default:
			b.arrived(out.Entry, out.Was)
			planned := r.plannedFlags(k.from, b)
			if !b.moved.LocalFlags.Equal(out.Entry.Flags) || !planned.Equal(out.Was.Flags) {
				r.surprise(to)
			}
		}
	}
	if err := r.md.Flush(); err != nil {
		return fmt.Errorf("making the moves durable: %w", err)
	}
	n := 0
	err = r.update(ctx, func(tx *state.Tx) error {
		n = 0
		for i := range batch {
			b := &batch[i]
			if !b.done && !b.gone {
				continue
			}
			if b.done {
				n++
				if err := clearParked(tx, to.base.ID, b.moved.UID, b.moved.Name, b.moved.ID); err != nil {
					return err
				}
				was := &b.intent.Message
				if err := clearParked(tx, was.Folder, 0, was.Name, was.ID); err != nil {
					return err
				}
				if err := tx.PutMessage(&b.moved); err != nil {
					return err
				}
			}
			if err := tx.DeleteIntent(b.intent.ID); err != nil {
				return err
			}
		}
		return nil
	})
	r.count(func(res *Result) { res.ToMaildir.Moved += n })
	return err
}

// plannedFlags are those that the file of a move had when it was planned.
func (r *run) plannedFlags(from mail.FolderName, b *localMove) mail.Flags {
	if f := r.byName[from]; f != nil {
		if m := f.newLocalMessage(b.intent.Message.Name); m != nil {
			return m.Flags // the person had moved it there
		}
	}
	if p := r.pairOf(b.op.Row); p != nil && p.Local == plan.Present {
		return p.LocalNow
	}
	return b.intent.Message.LocalFlags
}

// prepareLocalMoves makes the intents of moves and the rows that they lead to.
func (r *run) prepareLocalMoves(ctx context.Context, to *folder, ops []plan.Op) ([]localMove, error) {
	batch := make([]localMove, 0, len(ops))
	err := r.view(ctx, func(tx *state.Tx) error {
		for _, op := range ops {
			row, err := tx.Message(op.Row)
			if err != nil {
				return err
			}
			moved := row
			moved.Folder = to.base.ID
			if op.UID != 0 && (op.UID != row.UID || row.Folder != to.base.ID) {
				moved.UID, moved.RemoteSize, moved.EmailID = op.UID, -1, ""
				r.asShown(to, &moved)
			}
			moved.RemoteFlags, moved.LocalFlags = op.RemoteSeen, op.LocalSeen
			moved.RemoteHeld, moved.LocalHeld = false, false // both halves are there
			moved.Why, moved.Text, moved.Guarded = "", "", op.Guarded
			in := &state.Intent{Kind: state.MoveLocal, Message: moved, To: to.base.ID, Started: r.now()}
			in.Message.Folder = row.Folder
			if from := r.byName[op.From]; from != nil { // where the person had moved it
				in.Message.Folder = from.base.ID
			}
			if op.Name != "" {
				in.Message.Name = op.Name
			}
			batch = append(batch, localMove{op: op, moved: moved, intent: in})
		}
		return nil
	})
	return batch, err
}

// arrived takes in what became of the file.
func (b *localMove) arrived(entry, was maildir.Entry) {
	b.done = true
	b.moved.Name = entry.Base
	// A keyword may have no letter there. Another flag that is missing was removed by somebody, which is still to be carried over.
	lost := b.op.LocalSeen.Minus(entry.Flags)
	if !was.Unexplained {
		lost = lost.And(was.Flags)
	}
	b.moved.LocalFlags = b.op.LocalSeen.Minus(lost.KeywordsOnly())
}

// moveRemote moves messages between two mailboxes. Without MOVE the originals are removed once the copies
// are known.
func (r *run) moveRemote(ctx context.Context, k route, ops []plan.Op) error {
	from, to := r.byName[k.from], r.byName[k.to]
	if to == nil {
		var err error
		if to, err = r.newFolder(ctx, k.to); err != nil {
			r.soil(from)
			r.fail(k.from, fmt.Errorf("moving messages to %s: %w", k.to, err))
			return nil
		}
	}
	err := r.moveRemoteAll(ctx, from, to, ops)
	if err == nil || !r.ofFolder(ctx, err) {
		return err
	}
	if r.overtaken(from, err) {
		r.soil(to)
		return nil
	}
	r.soil(from)
	r.soil(to)
	r.fail(k.from, fmt.Errorf("moving messages to %s on the server: %w", k.to, err))
	return nil
}

func (r *run) moveRemoteAll(ctx context.Context, from, to *folder, ops []plan.Op) error {
	if err := r.ensureMailbox(ctx, to); err != nil {
		return err
	}
	dest, err := r.selectedOf(ctx, to)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(ops, remoteMoves) {
		if err := r.moveBatch(ctx, from, to, dest, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) moveBatch(ctx context.Context, from, to *folder, dest remote.Selected, ops []plan.Op) error {
	var uids mail.UIDSet
	known := map[mail.UID]*state.Message{}
	byUID := map[mail.UID]*state.Intent{}
	opOf := map[mail.UID]plan.Op{}
	nameOf := map[mail.UID]string{}
	var intents []*state.Intent
	err := r.view(ctx, func(tx *state.Tx) error {
		for _, op := range ops {
			row, err := tx.Message(op.Row)
			if err != nil {
				return err
			}
			row.Folder, row.UID = from.base.ID, op.UID
			r.asShown(from, &row)
			row.RemoteFlags, row.Guarded = op.RemoteSeen, op.Guarded
			if op.Name != "" {
				row.Name, row.LocalFlags = op.Name, op.LocalSeen
			}
			in := &state.Intent{
				Kind: state.MoveRemote, Message: row, To: to.base.ID,
				UIDValidity: dest.UIDValidity, UIDNext: dest.UIDNext, Started: r.now(),
			}
			if op.Trash {
				in.Message.Name = "" // the file is gone: the copy in the trash comes down as a new message
			}
			uids.Add(op.UID)
			known[op.UID] = &in.Message
			byUID[op.UID], opOf[op.UID], nameOf[op.UID] = in, op, row.Name
			intents = append(intents, in)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.pool.with(ctx, func(s remote.Session) error {
		box := remote.Box{Name: from.mailbox, UIDValidity: from.validity()}
		seen, err := r.stillThere(ctx, s, from.name, box, known)
		if err != nil {
			return err
		}
		if !seen.doubtful.IsEmpty() {
			r.soil(from)
		}
		if !uids.Minus(seen.present).Minus(seen.doubtful).IsEmpty() {
			r.doubt(from)
			r.lookAgain() // somebody was quicker: while it is known what came in this run
		}
		if !seen.others.IsEmpty() {
			return r.renumbered(ctx, from) // the next pass moves them under the UIDs that they have
		}
		if uids = seen.present; uids.IsEmpty() {
			return nil
		}
		var real []*state.Intent
		for u := range uids.All() {
			if opOf[u].Trash && r.fileIsBack(from, nameOf[u]) {
				r.doubt(from)
				uids = uids.Minus(mail.NewUIDSet(u))
				continue
			}
			real = append(real, byUID[u])
		}
		if uids.IsEmpty() {
			return nil
		}
		if err := r.update(ctx, func(tx *state.Tx) error { return tx.PutIntents(real) }); err != nil {
			return err
		}
		moved, err := s.Move(ctx, box, uids, to.mailbox)
		if remote.ClassOf(err) == remote.Refused && !r.caps.Move { // a refused MOVE may have copied: the next run looks
			uerr := r.update(ctx, func(tx *state.Tx) error {
				for _, in := range real {
					if err := tx.DeleteIntent(in.ID); err != nil {
						return err
					}
				}
				return nil
			})
			return errors.Join(err, uerr)
		}
		if err != nil {
			if remote.ClassOf(err) != remote.Refused { // which it would be again
				r.lookAgain()
			}
			return err
		}
		return r.recordMoves(ctx, s, from, to, box, dest, moved, real, opOf)
	})
}

// recordMoves finds the copies, removes the originals where the server did not, and commits.
func (r *run) recordMoves(ctx context.Context, s remote.Session, from, to *folder, box remote.Box, dest remote.Selected,
	moved remote.Moved, intents []*state.Intent, opOf map[mail.UID]plan.Op) error {
	now := map[int64]mail.UID{}
	var unnamed []*state.Intent // of messages that are in the destination, who knows where
	for _, in := range intents {
		switch uid, was := moved.UIDs[in.Message.UID]; {
		case !was: // it stayed: the next pass finds that out
		case moved.UIDValidity != dest.UIDValidity || uid < dest.UIDNext:
			unnamed = append(unnamed, in)
		default:
			now[in.ID] = uid
		}
	}
	toBox := remote.Box{Name: to.mailbox, UIDValidity: dest.UIDValidity}
	if !r.caps.Move && len(now) > 0 {
		wrong, err := wronglyTold(ctx, s, toBox, to.nextUID(dest), intents, now)
		if err != nil {
			return err
		}
		for _, in := range wrong {
			delete(now, in.ID)
			unnamed = append(unnamed, in)
		}
	}
	if len(unnamed) > 0 {
		cand, err := r.candidates(ctx, s, to, toBox, max(dest.UIDNext, 1))
		if err != nil {
			return err
		}
		for _, uid := range now {
			delete(cand.free, uid) // another's
		}
		for _, in := range unnamed {
			m, ok, err := cand.take(ctx, in)
			if err != nil {
				return err
			}
			if ok {
				now[in.ID] = m.UID
			}
		}
	}
	var originals, pending mail.UIDSet
	messages := make([]state.Message, 0, len(intents))
	for _, in := range intents {
		messages = append(messages, in.Message)
		if uid := now[in.ID]; uid != 0 {
			originals.Add(in.Message.UID)
			to.stored = max(to.stored, uid)
		}
	}
	if !r.caps.Move && !originals.IsEmpty() {
		var err error
		if pending, err = s.Expunge(ctx, box, originals); err != nil {
			return err
		}
	}
	done := 0
	var deleted int
	err := r.update(ctx, func(tx *state.Tx) error {
		for _, in := range intents {
			uid := now[in.ID]
			if uid == 0 {
				r.doubt(from)
				r.doubt(to)
				r.lookAgain() // the next pass settles it
				continue
			}
			if opOf[in.Message.UID].Trash {
				deleted++
				if err := tx.DeleteMessage(in.Message.ID); err != nil {
					return err
				}
			} else {
				done++
				if err := clearParked(tx, from.base.ID, in.Message.UID, "", in.Message.ID); err != nil {
					return err
				}
				if err := finishMove(tx, in, uid); err != nil {
					return err
				}
			}
			if err := tx.DeleteIntent(in.ID); err != nil {
				return err
			}
		}
		return parkPending(tx, from.base.ID, pending, messages...)
	})
	if deleted > 0 {
		r.lookAgain() // the trash has new messages for the Maildir
	}
	r.count(func(res *Result) { res.ToServer.Moved += done; res.ToServer.Deleted += deleted })
	r.removed(plan.Server, from.name, deleted)
	return err
}

// wronglyTold returns the moves of which the server told for the copy a UID that no message has, or another one, as Courier does if somebody
// else stores something in the mailbox at the same moment. The copies have the UIDs now, by intent, and from is the lowest that they can have.
func wronglyTold(ctx context.Context, s remote.Session, box remote.Box, from mail.UID, intents []*state.Intent, now map[int64]mail.UID) ([]*state.Intent, error) {
	told := mail.NewUIDSet(slices.Sorted(maps.Values(now))...)
	ms, err := s.Fetch(ctx, box, onwards(from, told), remote.FetchItems{Once: true})
	if err != nil && (remote.ClassOf(err) != remote.Refused || !strangerIn(ms, told)) {
		return nil, err
	}
	absent := told.Minus(named(ms))
	if !absent.IsEmpty() { // the originals are removed next: one that was only withheld is told from one that is not there
		again, err := s.Fetch(ctx, box, absent, remote.FetchItems{Listed: true})
		if err != nil {
			return nil, err
		}
		absent = absent.Minus(named(again))
	}
	wrong := func(in *state.Intent) bool { return absent.Contains(now[in.ID]) }
	if strangerIn(ms, told) {
		bodies, err := bodiesOf(ctx, s, box, told)
		if err != nil {
			return nil, err
		}
		wrong = func(in *state.Intent) bool {
			c, ok := bodies[now[in.ID]]
			return absent.Contains(now[in.ID]) || ok && c.Digest != in.Message.Digest && c.Digest != in.Message.RemoteDigest
		}
	}
	return slices.DeleteFunc(slices.Clone(intents), func(in *state.Intent) bool { return !wrong(in) }), nil
}

func named(ms []remote.Message) mail.UIDSet {
	uids := make([]mail.UID, len(ms))
	for i, m := range ms {
		uids[i] = m.UID
	}
	return mail.NewUIDSet(uids...)
}

// finishMove gives a row its new place.
func finishMove(tx *state.Tx, in *state.Intent, uid mail.UID) error {
	old, err := tx.Message(in.Message.ID)
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if in.Message.Name == "" {
		return tx.DeleteMessage(old.ID) // on its way to the trash
	}
	row := in.Message
	row.Folder, row.UID = in.To, uid
	row.LocalHeld, row.RemoteHeld = false, false
	row.Why, row.Text = "", "" // it may have been parked before
	if err := clearParked(tx, in.To, uid, row.Name, row.ID); err != nil {
		return err
	}
	return tx.PutMessage(&row)
}

// parkPending keeps messages that are only marked \Deleted, because removing them could take others' along. known are those of them, under
// the UIDs that they have, of which the folder may have no row: their row went where their copy is.
func parkPending(tx *state.Tx, folder int64, uids mail.UIDSet, known ...state.Message) error {
	for u := range uids.All() {
		rows, err := tx.ByUIDs(folder, mail.NewUIDSet(u))
		if err != nil {
			return err
		}
		m := state.Message{UID: u, RemoteSize: -1}
		if i := slices.IndexFunc(known, func(k state.Message) bool { return k.UID == u }); i >= 0 {
			m = known[i]
		}
		m.ID, m.Folder = 0, folder
		if len(rows) > 0 {
			m = rows[0]
		}
		m.Name = ""
		m.LocalHeld, m.RemoteHeld, m.Guarded = false, false, false
		m.RemoteFlags = m.RemoteFlags.Plus(mail.SystemFlags(mail.Deleted))
		m.Why, m.Text = string(plan.Pending), `marked \Deleted; the server has no UIDPLUS, and removing it could take along what others marked`
		if err := tx.PutMessage(&m); err != nil {
			return err
		}
	}
	return nil
}
