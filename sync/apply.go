package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// apply carries a plan out, kind by kind: what adds comes before what removes. An operation that fails is
// reported, keeps its folder's marks from being committed and leaves the others alone.
func (r *run) apply(ctx context.Context, p plan.Plan) error {
	byKind := map[plan.Kind][]plan.Op{}
	for piece := range pieces(p.Ops, func(op plan.Op) plan.Kind { return op.Kind }) {
		byKind[piece[0].Kind] = joined(byKind[piece[0].Kind], piece)
	}
	var bytes int64
	for i := range byKind[plan.Download] {
		bytes += r.sizeOf(&byKind[plan.Download][i])
	}
	messages := int64(len(byKind[plan.Download]) + len(byKind[plan.Upload]))
	r.tell(func(p *Progress) {
		p.Phase, p.MessagesAll, p.BytesAll = "transferring", p.MessagesAll+messages, p.BytesAll+bytes
	})

	// Rows that make room for another come first of all; they name no folder.
	room := func(op plan.Op) bool { return op.Folder == "" }
	early := slices.DeleteFunc(slices.Clone(byKind[plan.Forget]), func(op plan.Op) bool { return !room(op) })
	byKind[plan.Forget] = slices.DeleteFunc(byKind[plan.Forget], room)
	steps := []func(context.Context) error{
		func(ctx context.Context) error {
			return r.known(ctx, slices.Concat(early, byKind[plan.Pairing], byKind[plan.Rebind]))
		},
		func(ctx context.Context) error { return r.downloads(ctx, byKind[plan.Download]) },
		func(ctx context.Context) error { return r.perFolder(ctx, byKind[plan.Upload], r.upload) },
		func(ctx context.Context) error { return r.moves(ctx, byKind[plan.Move]) },
		func(ctx context.Context) error { return r.perFolder(ctx, byKind[plan.SetFlags], r.setFlags) },
		func(ctx context.Context) error {
			return r.known(ctx, slices.Concat(byKind[plan.Park], byKind[plan.Forget], byKind[plan.Hold]))
		},
		func(ctx context.Context) error { return r.perFolder(ctx, byKind[plan.Delete], r.remove) },
		func(ctx context.Context) error { return r.removeFolders(ctx, byKind[plan.DeleteFolder]) },
	}
	for _, step := range steps {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pieces yields the runs of s of elements with the same key. A plan is sorted, so that they are few and long.
func pieces[T any, K comparable](s []T, key func(T) K) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for len(s) > 0 {
			k, n := key(s[0]), 1
			for n < len(s) && key(s[n]) == k {
				n++
			}
			if !yield(s[:n:n]) {
				return
			}
			s = s[n:]
		}
	}
}

// joined appends more to s, without copying where s is empty.
func joined[T any](s, more []T) []T {
	if len(s) == 0 {
		return more
	}
	return append(s, more...)
}

// presumes reports whether a plan does anything because a message is missing somewhere: takes it away on the other
// side, transfers it again, or leaves it on that side alone, though it may have moved there.
func (r *run) presumes(p plan.Plan) bool { return slices.ContainsFunc(p.Ops, r.presumed) }

// dropPresumed leaves out of a plan what presumes that a missing message is nowhere. Rows are not forgotten either: those
// that would have to make room do so when they are in the way.
func (r *run) dropPresumed(p *plan.Plan) {
	p.Ops = slices.DeleteFunc(p.Ops, func(op plan.Op) bool { return r.presumed(op) || op.Kind == plan.Forget })
}

func (r *run) presumed(op plan.Op) bool {
	missing := op.Kind == plan.Upload || op.Kind == plan.Download || op.Kind == plan.Park
	if isRemoval(op) || op.Row == 0 || !missing {
		return isRemoval(op)
	}
	for _, f := range r.folders {
		if p := f.pairs[op.Row]; p != nil {
			return p.Why == plan.Agreed && (op.Kind != plan.Download && p.Remote == plan.Gone || op.Kind != plan.Upload && p.Local == plan.Gone)
		}
	}
	return false
}

func isRemoval(op plan.Op) bool {
	return op.Kind == plan.Delete || op.Kind == plan.DeleteFolder || op.Kind == plan.Hold || op.Trash ||
		(op.Kind == plan.Park && op.Why == plan.Dismissed)
}

// perFolder hands each folder's operations to f, several folders at a time.
func (r *run) perFolder(ctx context.Context, ops []plan.Op, f func(context.Context, *folder, []plan.Op) error) error {
	grouped := map[mail.FolderName][]plan.Op{}
	for piece := range pieces(ops, func(op plan.Op) mail.FolderName { return op.Folder }) {
		grouped[piece[0].Folder] = joined(grouped[piece[0].Folder], piece)
	}
	var folders []*folder
	for _, fo := range r.folders {
		if len(grouped[fo.name]) > 0 {
			folders = append(folders, fo)
		}
	}
	return r.workers(ctx, folders, func(ctx context.Context, fo *folder) error { return f(ctx, fo, grouped[fo.name]) })
}

// stable looks at both sides once more and reports whether the places of messages are still those that the
// plan was made on: a message that is missing here and did not turn up there is then really gone.
func (r *run) stable(ctx context.Context) (bool, error) {
	t, err := r.readTrees(ctx, false)
	if err != nil {
		return false, err
	}
	if same, err := r.sameLocals(ctx, t.local); !same || err != nil {
		return false, err
	}
	byName := map[string]*remote.Mailbox{}
	for i := range t.boxes {
		byName[t.boxes[i].Name] = &t.boxes[i]
	}
	for _, f := range r.folders {
		if f.failed != nil {
			continue
		}
		now := byName[f.mailbox]
		if now != nil && !now.Selectable {
			now = nil
		}
		if (now == nil) != (f.remote == nil) {
			return false, nil
		}
		if now == nil || now.Status == nil || f.remote.Status == nil {
			continue
		}
		if a, b := now.Status, f.remote.Status; a.UIDNext != b.UIDNext || a.Messages != b.Messages || a.UIDValidity != b.UIDValidity {
			return false, nil
		}
	}
	return true, nil
}

// sameLocals reports whether the Maildir's directories are still as they were read.
func (r *run) sameLocals(ctx context.Context, local []maildir.Folder) (bool, error) {
	locals := make(map[mail.FolderName]*maildir.Folder, len(local))
	for i := range local {
		locals[local[i].Name] = &local[i]
	}
	for _, f := range r.folders {
		if f.failed != nil {
			continue
		}
		now := locals[f.name]
		if (now == nil) != (f.local == nil) || (now != nil && !now.Mark.Equal(f.local.Mark)) {
			return false, nil
		}
		if now != nil && f.scanned != nil && f.scanned.Mark.Racy {
			// Its times are too young to show a change: compare the names.
			scan, err := r.md.Scan(ctx, f.name, nil)
			if err != nil {
				r.log.Debug("a folder can't be read again", "folder", f.name, "error", err)
				return false, context.Cause(ctx)
			}
			if scan.Names != f.scanned.Names {
				return false, nil
			}
		}
	}
	return true, nil
}

// dropUnsureUploads leaves new files out of a plan if the Maildir changed while it was read: a file that is new in one
// folder may have come from another that was read before it went. If it never rests, they are uploaded all the same.
func (r *run) dropUnsureUploads(ctx context.Context, p *plan.Plan) error {
	isNew := func(op plan.Op) bool { return op.Kind == plan.Upload && op.Row == 0 }
	if r.passes == maxPasses || !slices.ContainsFunc(p.Ops, isNew) {
		return nil
	}
	local, _, err := r.md.Folders()
	if err != nil {
		return fmt.Errorf("reading the Maildir: %w", err)
	}
	if same, err := r.sameLocals(ctx, local); same || err != nil {
		return err
	}
	r.log.Debug("the Maildir changed while it was read: uploads wait for another look")
	p.Ops = slices.DeleteFunc(p.Ops, isNew)
	r.again = true
	for _, f := range r.folders {
		f.dirty = true
	}
	return nil
}

// dropUnsure leaves new messages out of a plan when a folder or a message can't be read: it may be what one of the new ones was
// before, which would then be there twice. Often it can be read a moment later; what can't be then either is waited for no more.
func (r *run) dropUnsure(ctx context.Context, p *plan.Plan) {
	isUnreadable := func(op plan.Op) bool { return op.Kind == plan.Park && op.Row == 0 && op.Why.Retried() }
	isNew := func(op plan.Op) bool {
		switch op.Kind {
		case plan.Upload, plan.Download, plan.Pairing:
			return op.Row == 0
		case plan.Park:
			return op.Row == 0 && !op.Why.Retried()
		}
		return false
	}
	if r.passes > 1 || !slices.ContainsFunc(p.Ops, isNew) || r.unread(ctx) == "" && !slices.ContainsFunc(p.Ops, isUnreadable) {
		return
	}
	r.log.Debug("something can't be read: new messages wait for another look")
	p.Ops = slices.DeleteFunc(p.Ops, isNew)
	r.again = true
	for _, f := range r.folders {
		f.dirty = true
	}
}

// endLateMoves finds messages that left a mailbox after that was read, and came to another one before that was: they were delivered as
// new, and are missing where they were. If the file was moved meanwhile it is not stored once more, but goes: the server's folder counts.
// A file that stayed in its folder is stored again for another reason, and is kept.
func (r *run) endLateMoves(p *plan.Plan) {
	if r.set.Policy.Mode != plan.TwoWay {
		return
	}
	for i := range p.Ops {
		op := &p.Ops[i]
		if op.Kind != plan.Upload || !r.presumed(*op) {
			continue
		}
		for _, f := range r.folders {
			if row := f.pairs[op.Row]; row != nil && f.name != op.Folder && r.came[row.Digest] > 0 {
				r.came[row.Digest]--
				*op = plan.Op{Kind: plan.Delete, Side: plan.Maildir, Folder: op.Folder, Row: op.Row, Name: op.Name, Reason: "moved on both sides: it came from the server's folder"}
			}
		}
	}
}

// unread returns a folder that could not be read in this pass and may have messages, empty if there is none. What is missing
// elsewhere may have moved there.
func (r *run) unread(ctx context.Context) mail.FolderName {
	for _, f := range r.folders {
		if f.failed == nil {
			continue
		}
		if f.base.UIDNext != 0 || len(f.base.LocalMark) > 0 || r.holdsMail(f) || f.local != nil && r.holdsFiles(ctx, f) {
			return f.name
		}
	}
	return r.hidden
}

// holdsMail reports whether there is any message in a mailbox. One of which the server says nothing may have some at the first look;
// if it stays silent, as it does about mailboxes that the person has no right to read, it does not hold up everything for good.
func (r *run) holdsMail(f *folder) bool {
	if f.remote != nil && f.remote.Status != nil {
		return f.remote.Status.Messages > 0
	}
	return f.remote != nil && r.passes == 1
}

// holdsFiles reports whether there is any message in a folder of the Maildir, as far as anybody can tell.
func (r *run) holdsFiles(ctx context.Context, f *folder) bool {
	scan, err := r.md.Scan(ctx, f.local.Name, nil)
	return err != nil || scan.Count > 0
}

// known carries out the operations that only the state takes part in.
func (r *run) known(ctx context.Context, ops []plan.Op) error {
	const batch = 1000
	for chunk := range slices.Chunk(ops, batch) {
		if err := r.syncFound(chunk); err != nil {
			return err
		}
		err := r.update(ctx, func(tx *state.Tx) error {
			for _, op := range chunk {
				if err := r.learn(tx, op); err != nil {
					return fmt.Errorf("%s in folder %s: %w", op.Kind, op.Folder, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// syncFound makes the files durable that both sides turn out to have, for the reason that syncSources has.
func (r *run) syncFound(ops []plan.Op) error {
	names := map[mail.FolderName][]string{}
	for _, op := range ops {
		if f := r.byName[op.Folder]; op.Name != "" && (op.Kind == plan.Pairing || op.Kind == plan.Rebind) && f != nil && f.local != nil {
			names[op.Folder] = append(names[op.Folder], op.Name)
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(names)) {
		if err := r.md.SyncMessages(folder, names[folder]); err != nil {
			return fmt.Errorf("folder %s: %w", folder, err)
		}
	}
	return nil
}

// unname takes the UIDs from the rows of mailboxes that were replaced: they mean nothing any more, and the
// new ones may be the same numbers.
func (r *run) unname(ctx context.Context) error {
	for _, f := range r.folders {
		if !f.lostRemote || !f.readRemote || f.failed != nil {
			continue
		}
		err := r.update(ctx, func(tx *state.Tx) error {
			if err := dropUIDs(tx, f.base.ID, false); err != nil {
				return err
			}
			base, err := tx.Folder(f.base.ID)
			if err != nil {
				return err
			}
			// What gets a UID from here on gets one of the new mailbox; until all is read anew there is no mark.
			base.UIDValidity, base.UIDNext, base.HighestModSeq, base.Exists = f.validity(), 0, 0, 0
			return tx.PutFolder(&base)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dropUIDs takes the UIDs from all rows of a folder. gone says that the messages were deleted with their mailbox, which
// would be forgotten with the UIDs otherwise.
func dropUIDs(tx *state.Tx, folder int64, gone bool) error {
	rows, err := tx.InFolder(folder)
	if err != nil {
		return err
	}
	for _, m := range rows {
		if m.UID == 0 {
			continue
		}
		m.UID = 0
		m.RemoteHeld = m.RemoteHeld || gone && m.Why == ""
		if err := tx.PutMessage(&m); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) learn(tx *state.Tx, op plan.Op) error {
	f := r.byName[op.Folder]
	switch op.Kind {
	case plan.Pairing:
		m := r.rowOf(f, op.UID, op.Name)
		m.ID, m.RemoteFlags, m.LocalFlags = op.Row, op.RemoteSeen, op.LocalSeen
		if err := clearParked(tx, f, op.UID, op.Name, m.ID); err != nil {
			return err
		}
		return tx.PutMessage(&m)
	case plan.Forget:
		if err := tx.DeleteMessage(op.Row); !errors.Is(err, state.ErrNotFound) {
			return err
		}
		return nil
	case plan.Rebind:
		m, err := tx.Message(op.Row)
		if err != nil {
			return err
		}
		fresh := r.rowOf(f, op.UID, op.Name)
		if fresh.RemoteSize >= 0 {
			m.RemoteSize, m.EmailID = fresh.RemoteSize, fresh.EmailID
		}
		if fresh.Inode != 0 {
			m.Inode, m.FileSize = fresh.Inode, fresh.FileSize
		}
		// A half whose name is not known at present is empty.
		m.Folder, m.UID, m.Name, m.Why = f.base.ID, op.UID, op.Name, string(op.Why)
		m.RemoteFlags, m.LocalFlags = op.RemoteSeen, op.LocalSeen
		m.RemoteHeld, m.LocalHeld = false, false
		if err := clearParked(tx, f, op.UID, op.Name, m.ID); err != nil {
			return err
		}
		return tx.PutMessage(&m)
	case plan.Hold:
		m, err := tx.Message(op.Row)
		if err != nil {
			return err
		}
		// The deletion on one side is held because the other side's message is gone.
		m.RemoteHeld = m.RemoteHeld || op.Side == plan.Maildir
		m.LocalHeld = m.LocalHeld || op.Side == plan.Server
		return tx.PutMessage(&m)
	case plan.Park:
		return r.learnParked(tx, f, op)
	}
	return fmt.Errorf("unexpected operation %q", op.Kind)
}

// learnParked keeps a message that one side has and the other does not get.
func (r *run) learnParked(tx *state.Tx, f *folder, op plan.Op) error {
	var m state.Message
	if op.Row != 0 {
		var err error
		if m, err = tx.Message(op.Row); err != nil {
			return err
		}
	} else {
		m = r.rowOf(f, 0, op.Name)
		if op.Side == plan.Server {
			m = r.rowOf(f, op.UID, "")
		}
	}
	if op.Side == plan.Server {
		m.Name, m.LocalFlags, m.LocalHeld = "", mail.Flags{}, false
		m.RemoteFlags = op.RemoteSeen
		if op.UID != 0 {
			m.UID = op.UID
		}
	} else {
		m.UID, m.RemoteFlags, m.RemoteHeld = 0, mail.Flags{}, false
		m.LocalFlags = op.LocalSeen
		if op.Name != "" {
			m.Name = op.Name
		}
	}
	m.Folder, m.Why, m.Text = f.base.ID, string(op.Why), op.Reason
	if err := clearParked(tx, f, m.UID, m.Name, m.ID); err != nil {
		return err
	}
	return tx.PutMessage(&m)
}

// clearParked removes rows that stood for one half of what is one message now.
func clearParked(tx *state.Tx, f *folder, uid mail.UID, name string, keep int64) error {
	var rows []state.Message
	if uid != 0 {
		ms, err := tx.ByUIDs(f.base.ID, mail.NewUIDSet(uid))
		if err != nil {
			return err
		}
		rows = append(rows, ms...)
	}
	if name != "" {
		m, ok, err := tx.ByName(f.base.ID, name)
		if err != nil {
			return err
		}
		if ok {
			rows = append(rows, m)
		}
	}
	for _, m := range rows {
		if m.ID != keep && m.Why != "" {
			if err := tx.DeleteMessage(m.ID); err != nil && !errors.Is(err, state.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}

// rowOf makes a row from what was gathered of a message on each side.
func (r *run) rowOf(f *folder, uid mail.UID, name string) state.Message {
	m := state.Message{Folder: f.base.ID, UID: uid, Name: name, RemoteSize: -1}
	if rm := f.newRemoteMessage(uid); rm != nil {
		m.RemoteFlags, m.RemoteSize, m.EmailID, m.Date = rm.Flags, rm.Size, rm.EmailID, rm.Date
		if rm.Header != nil {
			m.Header, m.HasMessageID = rm.Header.Digest, rm.Header.HasMessageID
		}
	}
	if lm := f.newLocalMessage(name); lm != nil {
		m.LocalFlags, m.FileSize, m.Inode = lm.Flags, lm.FileSize, lm.Inode
		if m.Date.IsZero() {
			m.Date = lm.Date
		}
		if c := lm.Content; c != nil {
			m.Digest, m.Header, m.HasMessageID = c.Digest, c.Header, c.HasMessageID
			m.Raw = uid != 0 && c.NeedsRawMark() && m.RemoteSize == c.Size
		}
	}
	return m
}

// newRemoteMessage finds a message that was gathered, nil if there is none.
func (f *folder) newRemoteMessage(uid mail.UID) *plan.RemoteMessage {
	if uid == 0 {
		return nil
	}
	i, ok := slices.BinarySearchFunc(f.remoteNew, uid, func(m plan.RemoteMessage, uid mail.UID) int {
		return cmp.Compare(m.UID, uid)
	})
	if !ok {
		return nil
	}
	return &f.remoteNew[i]
}

func (f *folder) newLocalMessage(name string) *plan.LocalMessage {
	if name == "" {
		return nil
	}
	if i, ok := f.localIndex()[name]; ok {
		return &f.localNew[i]
	}
	return nil
}

func (r *run) sizeOf(op *plan.Op) int64 {
	if f := r.byName[op.Folder]; f != nil {
		if m := f.newRemoteMessage(op.UID); m != nil {
			return m.Size
		}
	}
	return 0
}

// manyChanges of one folder take longer to watch than reading its names in the next run does.
const manyChanges = 2000

// witness has the Maildir watch the folders that operations are about to change.
func (r *run) witness(ops []plan.Op) {
	changes := map[mail.FolderName]int{}
	for i := range ops {
		if ops[i].Side == plan.Maildir {
			changes[ops[i].Folder]++
			changes[ops[i].From]++
		}
	}
	for _, f := range r.folders {
		if f.local == nil || f.changing || changes[f.name] == 0 {
			continue
		}
		f.changing = true
		if changes[f.name] > manyChanges {
			continue
		}
		mark := f.local.Mark
		if f.scanned != nil {
			mark = maildir.Mark{}
			if f.scanned.Quiet {
				mark = f.scanned.Mark
			}
		}
		f.witnessed = r.md.Witness(f.name, mark)
	}
}

// manyRows: it takes longer to read the names of a folder with more than so many messages in the next run than to wait, in this
// one, until its times are telling.
const manyRows = 5000

// vouched returns the marks of folders that nobody but this run changed, as they are now.
func (r *run) vouched(ctx context.Context) (map[*folder]maildir.Mark, error) {
	marks := map[*folder]maildir.Mark{}
	for _, f := range r.folders {
		if !f.witnessed || f.failed != nil || f.dirty || f.surprised {
			continue
		}
		var c state.Counts
		err := r.view(ctx, func(tx *state.Tx) (err error) { c, err = tx.Counts(f.base.ID); return err })
		if err != nil {
			return nil, err
		}
		if m, ok := r.md.Vouch(ctx, f.name, c.Agreed > manyRows); ok {
			marks[f] = m
		}
	}
	return marks, nil
}

// commitMarks records up to where each folder was read, if all that was read has been dealt with.
func (r *run) commitMarks(ctx context.Context) error {
	filter := r.filter()
	vouched, err := r.vouched(ctx)
	if err != nil {
		return err
	}
	return r.update(ctx, func(tx *state.Tx) error {
		for _, f := range r.folders {
			if f.failed != nil || f.base.ID == 0 {
				continue
			}
			base, err := tx.Folder(f.base.ID)
			if errors.Is(err, state.ErrNotFound) {
				continue // it was deleted in this run
			}
			if err != nil {
				return err
			}
			if f.local == nil && f.remote == nil && !f.dirty && f.target {
				rows, err := tx.InFolder(base.ID)
				if err == nil && len(rows) == 0 {
					err = tx.DeleteFolder(base.ID) // gone on both sides
				}
				if err != nil {
					return err
				}
				continue
			}
			was := base
			if f.local != nil {
				base.OnDisk = true
				// A directory that was replaced is known as the folder's only once it was compared.
				if base.Inode == 0 || f.target && f.readLocal && !f.dirty {
					base.Inode = f.local.Inode
				}
			}
			if f.doubted {
				base.HighestModSeq, base.LocalMark, base.Filter = 0, nil, ""
			}
			// A folder that was only looked into for the sake of others keeps its marks: nothing was done about
			// what was found in it.
			if !f.dirty && f.target {
				if f.readRemote {
					s := f.selected
					base.UIDValidity, base.UIDNext, base.HighestModSeq, base.Exists = s.UIDValidity, s.UIDNext, s.HighestModSeq, s.Messages
				}
				if s := f.selected; s != nil {
					base.ReadOnly, base.Permanent, base.AnyKeyword, base.PermanentKnown = s.ReadOnly, s.Permanent, s.AnyKeyword, s.PermanentKnown
				}
				if base.LocalMark, err = f.localMark(base.LocalMark, vouched); err != nil {
					return err
				}
				base.Filter = filter
			}
			base.LastSync = r.now()
			if equalFolders(was, base) {
				continue
			}
			if err := tx.PutFolder(&base); err != nil {
				return err
			}
			f.base = base
		}
		return nil
	})
}

// localMark is what the folder's mark becomes: with no reading it stays as it was, and with one it is of the time before that, unless
// somebody vouches for a later one.
func (f *folder) localMark(was []byte, vouched map[*folder]maildir.Mark) ([]byte, error) {
	if m, ok := vouched[f]; ok {
		return m.MarshalBinary()
	}
	if !f.readLocal {
		return was, nil
	}
	if f.scanned.Mark.Racy {
		return nil, nil
	}
	return f.scanned.Mark.MarshalBinary()
}

// equalFolders compares all but the time, so that an idle run writes nothing.
func equalFolders(a, b state.Folder) bool {
	return a.Name == b.Name && a.Mailbox == b.Mailbox && a.OnDisk == b.OnDisk && a.UIDValidity == b.UIDValidity &&
		a.MailboxID == b.MailboxID && a.Inode == b.Inode && a.UIDNext == b.UIDNext && a.HighestModSeq == b.HighestModSeq &&
		a.Exists == b.Exists && slices.Equal(a.LocalMark, b.LocalMark) && a.Filter == b.Filter && a.ReadOnly == b.ReadOnly &&
		a.Permanent.Equal(b.Permanent) && a.AnyKeyword == b.AnyKeyword && a.PermanentKnown == b.PermanentKnown
}

// localIndex finds what was gathered; it is made when first needed.
func (f *folder) localIndex() map[string]int {
	if f.localAt == nil {
		f.localAt = make(map[string]int, len(f.localNew))
		for i, m := range f.localNew {
			f.localAt[m.Name] = i
		}
	}
	return f.localAt
}
