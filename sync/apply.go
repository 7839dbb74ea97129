package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// apply carries a plan out, kind by kind: what adds comes before what removes. An operation that fails is
// reported, keeps its folder's marks from being committed and leaves the others alone.
func (r *run) apply(ctx context.Context, p plan.Plan) error {
	record := recordNow
	if !r.w.Serial && len(p.Ops) >= manyFlags && !slices.ContainsFunc(p.Ops, func(op plan.Op) bool { return op.Kind != plan.SetFlags || op.Side != plan.Maildir }) {
		record = r.recordLater // the next portion, which has to do with other messages, need not wait
	} else if err := r.catchUp(ctx); err != nil {
		return err
	}
	byKind := map[plan.Kind][]plan.Op{}
	for piece := range pieces(p.Ops, func(op plan.Op) plan.Kind { return op.Kind }) {
		byKind[piece[0].Kind] = joined(byKind[piece[0].Kind], piece)
	}
	r.dropBroken(byKind)
	var bytes int64
	for i := range byKind[plan.Download] {
		bytes += r.sizeOf(&byKind[plan.Download][i])
	}
	messages := int64(len(byKind[plan.Download]) + len(byKind[plan.Upload]))
	r.tell(func(p *Progress) {
		p.Phase, p.MessagesAll, p.BytesAll = "transferring", p.MessagesAll+messages, p.BytesAll+bytes
	})

	r.prepareNames(byKind[plan.Download], byKind[plan.Upload])

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
		func(ctx context.Context) error {
			return r.perFolder(ctx, byKind[plan.SetFlags], func(ctx context.Context, f *folder, ops []plan.Op) error {
				return r.setFlags(ctx, f, ops, record)
			})
		},
		func(ctx context.Context) error {
			return r.known(ctx, slices.Concat(byKind[plan.Park], byKind[plan.Forget], byKind[plan.Hold]))
		},
		func(ctx context.Context) error {
			if r.isMaildrop() {
				return r.removeFromMaildrop(ctx, byKind[plan.Delete])
			}
			return r.removals(ctx, byKind[plan.Delete])
		},
		func(ctx context.Context) error { return r.removeFolders(ctx, byKind[plan.DeleteFolder]) },
	}
	for _, step := range steps {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return err
		}
		r.dropBroken(byKind)
	}
	return nil
}

// dropBroken takes out what else is planned for folders in which the program made a mistake.
func (r *run) dropBroken(byKind map[plan.Kind][]plan.Op) {
	if len(r.broken) == 0 {
		return
	}
	for kind, ops := range byKind {
		byKind[kind] = slices.DeleteFunc(slices.Clone(ops), func(op plan.Op) bool { return r.isBroken(op.Folder) || r.isBroken(op.From) })
	}
}

// manyFlags in the Maildir, and nothing else, are recorded while those that follow are set.
const manyFlags = 2000

// manyNames are so many new rows of a folder that it pays to prepare the state for them.
const manyNames = 4

// prepareNames prepares the state for the rows of messages that are to be transferred, while they are.
func (r *run) prepareNames(transfers ...[]plan.Op) {
	if r.w.Serial {
		return
	}
	n := map[mail.FolderName]int{}
	for _, ops := range transfers {
		for i := range ops {
			n[ops[i].Folder]++
		}
	}
	for name, n := range n {
		if f := r.byName[name]; f != nil && f.base.ID != 0 && n >= manyNames {
			r.early.Go(func() { // what fails here fails again when it is needed
				_ = defect.Contain(func() error {
					return r.view(context.Background(), func(tx *state.Tx) error { return tx.PrepareNames(f.base.ID) })
				})
			})
		}
	}
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

// known carries out the operations that only the state takes part in.
func (r *run) known(ctx context.Context, ops []plan.Op) error {
	const batch = 1000
	for chunk := range slices.Chunk(ops, batch) {
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
			if f.remote.Status != nil {
				base.MailboxID = f.remote.Status.MailboxID
			}
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
		differ := !m.RemoteFlags.Equal(op.RemoteSeen) || !m.LocalFlags.Equal(op.LocalSeen)
		m.ID, m.RemoteFlags, m.LocalFlags = op.Row, op.RemoteSeen, op.LocalSeen
		if r.isMaildrop() {
			m.Date = r.now() // when it was downloaded is not known for sure, but it was before
		}
		if err := clearParked(tx, f.base.ID, op.UID, op.Name, m.ID); err != nil {
			return err
		}
		if err := tx.PutMessage(&m); err != nil || !differ || op.Row == 0 {
			return err
		}
		return unmark(tx, m.ID) // one of the two was parked, and its flags are older than the folder's marks
	case plan.Forget:
		if err := r.departForgotten(tx, op); err != nil {
			return err
		}
		if op.Folder == "" {
			if err := unmark(tx, op.Row); err != nil {
				return err
			}
		}
		if err := tx.DeleteMessage(op.Row); !errors.Is(err, state.ErrNotFound) {
			return err
		}
		return nil
	case plan.Rebind:
		m, err := tx.Message(op.Row)
		if err != nil {
			return err
		}
		// Flags that waited for a read-only mailbox are noted no more, and must be seen again should this run stop here.
		unnoted := !op.LocalSeen.Equal(m.LocalFlags)
		// A half whose name is not known at present is empty.
		m.Folder, m.UID, m.Name, m.Why = f.base.ID, op.UID, op.Name, string(op.Why)
		r.asShown(f, &m)
		if file := f.newLocalMessage(op.Name); file != nil && file.Inode != 0 {
			m.Inode, m.FileSize = file.Inode, file.FileSize
		}
		m.RemoteFlags, m.LocalFlags = op.RemoteSeen, op.LocalSeen
		// The Hold that follows may have to wait, and without its UID or name the row would not be looked for again.
		m.RemoteHeld, m.LocalHeld, m.Guarded = op.Gone == plan.Server, op.Gone == plan.Maildir, op.Guarded
		if err := clearParked(tx, f.base.ID, op.UID, op.Name, m.ID); err != nil {
			return err
		}
		if err := tx.PutMessage(&m); err != nil || !unnoted {
			return err
		}
		return unmark(tx, m.ID)
	case plan.Hold:
		m, err := tx.Message(op.Row)
		if err != nil {
			return err
		}
		m.Guarded = op.Why == "" || m.Guarded && op.Why != plan.NoFolder // which says that it is somewhere else
		if op.Why == "" && !op.Expunge && m.Why == string(plan.ReadOnly) {
			m.Why, m.Text = "", "" // it waits for a person now
		}
		if op.Expunge {
			return tx.PutMessage(&m)
		}
		// Flags that changed where the message still is are no business of the other side's as long as it is held, and must be seen again
		// once it is not.
		if op.Why == "" && (op.Side == plan.Maildir && !op.LocalSeen.Equal(m.LocalFlags) || op.Side == plan.Server && !op.RemoteSeen.Equal(m.RemoteFlags)) {
			r.soil(f)
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

// unmark has a row's folder read whole: should this run stop before what follows from the row is done, nothing else tells of it.
func unmark(tx *state.Tx, row int64) error {
	m, err := tx.Message(row)
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	base, err := tx.Folder(m.Folder)
	if err != nil {
		return err
	}
	base.HighestModSeq, base.LocalMark, base.Filter = 0, nil, ""
	return tx.PutFolder(&base)
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
	m.RemoteHeld, m.LocalHeld, m.Guarded = false, false, op.Guarded
	if op.Side == plan.Server {
		m.Name = ""
		m.RemoteFlags, m.LocalFlags = op.RemoteSeen, op.LocalSeen
		if op.UID != 0 {
			m.UID = op.UID
		}
	} else {
		m.UID, m.RemoteFlags = 0, mail.Flags{}
		m.LocalFlags = op.LocalSeen
		if op.Name != "" {
			m.Name = op.Name
		}
	}
	m.Folder, m.Why, m.Text = f.base.ID, string(op.Why), op.Reason
	if err := clearParked(tx, f.base.ID, m.UID, m.Name, m.ID); err != nil {
		return err
	}
	return tx.PutMessage(&m)
}

// clearParked removes rows that stood for one half of what is one message now.
func clearParked(tx *state.Tx, folder int64, uid mail.UID, name string, keep int64) error {
	var rows []state.Message
	if uid != 0 {
		ms, err := tx.ByUIDs(folder, mail.NewUIDSet(uid))
		if err != nil {
			return err
		}
		rows = append(rows, ms...)
	}
	if name != "" {
		m, ok, err := tx.ByName(folder, name)
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
	if rm := r.shown(f, uid); rm != nil {
		m.RemoteFlags, m.RemoteSize, m.EmailID, m.Date = rm.Flags, rm.Size, rm.EmailID, rm.Date
		if rm.Header != nil {
			m.Header, m.HasMessageID = rm.Header.Digest, rm.Header.HasMessageID
		}
		if rm.Digest != nil {
			m.Digest = *rm.Digest
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

// shown is what the server showed for a UID of a folder in this pass, nil if nothing.
func (r *run) shown(f *folder, uid mail.UID) *plan.RemoteMessage {
	if r.drop != nil {
		f = r.drop.f // whatever the folder
	}
	return f.newRemoteMessage(uid)
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
