package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// removals carries deletions over. The Maildir's half of a message that is marked \Deleted and was moved on one side goes last, and only if
// its half on the server, which is in another folder, could go: with it the row goes, and what is left on the server would be known to nobody.
func (r *run) removals(ctx context.Context, ops []plan.Op) error {
	onServer, files := map[int64]mail.FolderName{}, map[int64]*plan.Op{}
	for i := range ops {
		switch op := &ops[i]; {
		case !op.Expunge:
		case op.Side == plan.Server:
			onServer[op.Row] = op.Folder
		default:
			files[op.Row] = op
		}
	}
	remove := func(ctx context.Context, f *folder, ops []plan.Op) error { return r.remove(ctx, f, ops, files) }
	var first, last []plan.Op
	for _, op := range ops {
		if op.Expunge && op.Side == plan.Maildir && onServer[op.Row] != op.Folder {
			last = append(last, op)
		} else {
			first = append(first, op)
		}
	}
	if err := r.perFolder(ctx, first, remove); err != nil {
		return err
	}
	last = slices.DeleteFunc(last, func(op plan.Op) bool {
		f := r.byName[onServer[op.Row]]
		return f == nil || f.failed != nil || f.kept[op.Row]
	})
	return r.perFolder(ctx, last, remove)
}

// remove carries deletions over in one folder. Each message is looked at once more right before: it must be
// the one that was planned with, and still be gone on the other side, or marked on both. files are the Maildir's halves of those that are
// marked, by row.
func (r *run) remove(ctx context.Context, f *folder, ops []plan.Op, files map[int64]*plan.Op) error {
	var remotes, locals []plan.Op
	for _, op := range ops {
		if op.Side == plan.Server {
			remotes = append(remotes, op)
		} else {
			locals = append(locals, op)
		}
	}
	if err := r.removeRemote(ctx, f, remotes, files); err != nil {
		return fmt.Errorf("deleting on the server: %w", err)
	}
	locals = slices.DeleteFunc(locals, func(op plan.Op) bool { return op.Expunge && f.kept[op.Row] })
	if err := r.removeLocal(ctx, f, locals); err != nil {
		return fmt.Errorf("deleting in the Maildir: %w", err)
	}
	return nil
}

func (r *run) removeRemote(ctx context.Context, f *folder, ops []plan.Op, files map[int64]*plan.Op) error {
	if len(ops) == 0 {
		return nil
	}
	keep := func(row int64) {
		if f.kept == nil {
			f.kept = map[int64]bool{}
		}
		f.kept[row] = true
		r.soil(f)
	}
	rows, err := r.doomed(ctx, ops)
	if err != nil {
		return err
	}
	known := map[mail.UID]*state.Message{}
	var uids, again mail.UIDSet
	for i, op := range ops {
		m := &rows[i]
		if m.UID == 0 {
			continue
		}
		if m.Why == string(plan.Pending) {
			again.Add(m.UID)
		} else if !op.Expunge && m.Name != "" && r.fileIsBack(f, m.Name) {
			r.doubt(f) // it is in the Maildir after all
			continue
		} else if file := files[m.ID]; op.Expunge && (file == nil || r.fileUnmarked(file)) {
			keep(m.ID)
			r.doubt(f)
			continue
		}
		known[m.UID] = m
		uids.Add(m.UID)
	}
	var gone, pending mail.UIDSet
	err = r.pool.with(ctx, func(s remote.Session) error {
		box := remote.Box{Name: f.mailbox, UIDValidity: f.validity()}
		seen, err := r.stillThere(ctx, s, f.name, box, known)
		if err != nil {
			return err
		}
		if !seen.others.IsEmpty() {
			if err := r.renumbered(ctx, f); err != nil {
				return err
			}
		}
		for uid := range seen.others.Union(seen.doubtful).All() {
			keep(known[uid].ID)
		}
		var unmarked mail.UIDSet
		for i := range ops {
			if uid := rows[i].UID; seen.present.Contains(uid) && ops[i].MarkTakenBack(seen.flags[uid]) {
				keep(rows[i].ID)
				r.lookAgain()
				unmarked.Add(uid)
			}
		}
		gone = seen.present.Minus(unmarked)
		if !uids.Minus(gone).Minus(seen.doubtful).IsEmpty() {
			r.doubt(f) // gone already, unmarked, or another message under this UID: looked at again
		}
		if gone.IsEmpty() {
			return nil
		}
		pending, err = s.Expunge(ctx, box, gone)
		return err
	})
	if err != nil {
		r.soil(f)
		return err
	}
	gone = gone.Minus(pending)
	n := 0
	err = r.update(ctx, func(tx *state.Tx) error {
		for i, m := range rows {
			if m.UID == 0 || !gone.Contains(m.UID) {
				continue
			}
			if !again.Contains(m.UID) {
				n++
			}
			if ops[i].Expunge && m.Name != "" {
				// Its file goes next; until then the row says that it was deleted on the server, for a mark that both sides had. Else an equal message
				// that comes to light before that would be taken for it, and removed for its file's mark.
				if err := rememberMark(tx, m.ID); err != nil {
					return err
				}
				continue
			}
			if err := tx.DeleteMessage(m.ID); err != nil {
				return err
			}
		}
		n += int(pending.Minus(again).Len())
		return parkPending(tx, f.base.ID, pending)
	})
	r.count(func(res *Result) { res.ToServer.Deleted += n })
	r.removed(plan.Server, f.name, n)
	return err
}

// rememberMark has the state know that both halves of a message were marked \Deleted.
func rememberMark(tx *state.Tx, row int64) error {
	m, err := tx.Message(row)
	if err != nil {
		return err
	}
	mark := mail.SystemFlags(mail.Deleted)
	m.RemoteFlags, m.LocalFlags = m.RemoteFlags.Plus(mark), m.LocalFlags.Plus(mark)
	return tx.PutMessage(&m)
}

// doomed returns the rows of removals, with the UID and name that the message has in the operation's folder. A
// message marked \Deleted may have been moved on one side only: its halves are removed where they are.
func (r *run) doomed(ctx context.Context, ops []plan.Op) ([]state.Message, error) {
	rows := make([]state.Message, len(ops))
	err := r.view(ctx, func(tx *state.Tx) error {
		for i, op := range ops {
			f := r.byName[op.Folder]
			m, err := rowFor(tx, f, op)
			// One that was moved on the side that still has it is not in the row's folder.
			elsewhere := err == nil && m.Folder != f.base.ID
			otherUID := op.Side == plan.Server && op.UID != m.UID && (op.UID == 0 && elsewhere || op.UID != 0 && !elsewhere && !op.Expunge)
			if errors.Is(err, state.ErrNotFound) || (err == nil && otherUID) {
				r.doubt(f)
				continue
			}
			if err != nil {
				return err
			}
			switch {
			case op.Side == plan.Server && (op.Expunge || elsewhere):
				m.UID = op.UID
				r.asShown(f, &m)
				if !op.Expunge {
					m.Name = "" // which it had in the other folder
				}
			case op.Side == plan.Maildir && op.Name != "":
				m.Name = op.Name
				if elsewhere {
					m.UID = 0
				}
			}
			rows[i] = m
		}
		return nil
	})
	return rows, err
}

func (r *run) removeLocal(ctx context.Context, f *folder, ops []plan.Op) error {
	if len(ops) == 0 {
		return nil
	}
	rows, err := r.doomed(ctx, ops)
	if err != nil {
		return err
	}
	back, err := r.backOnServer(ctx, f, ops, rows)
	if err != nil {
		return err
	}
	var undo *maildir.Undo
	if r.set.Undo > 0 {
		undo = &maildir.Undo{Run: maildir.RunName(r.now())}
	}
	var doomed, gone []state.Message
	var files []maildir.Seen
	for i, op := range ops {
		m := rows[i]
		if m.ID == 0 || back.Contains(m.UID) && !op.Expunge {
			r.doubt(f)
			continue
		}
		doomed, files = append(doomed, m), append(files, lastSeen(&m))
	}
	for i, out := range r.md.RemoveAll(f.name, files, undo) {
		switch {
		case errors.Is(out.Err, maildir.ErrNotFound):
			r.doubt(f)
			r.lookAgain() // moved while we looked, or deleted: the next look tells
		case out.Err != nil:
			r.soil(f)
			r.fail(f.name, fmt.Errorf("removing message file %s: %w", files[i].Base, out.Err))
		default:
			gone = append(gone, doomed[i])
		}
	}
	if err := r.md.Flush(); err != nil {
		return fmt.Errorf("making it durable: %w", err)
	}
	err = r.update(ctx, func(tx *state.Tx) error {
		for _, m := range gone {
			if m.Why == string(plan.Pending) {
				continue // the server still has it, marked
			}
			if err := tx.DeleteMessage(m.ID); err != nil && !errors.Is(err, state.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	r.count(func(res *Result) { res.ToMaildir.Deleted += len(gone) })
	r.removed(plan.Maildir, f.name, len(gone))
	return err
}

// backOnServer returns those messages that the server has after all, though it did not show them before.
func (r *run) backOnServer(ctx context.Context, f *folder, ops []plan.Op, rows []state.Message) (mail.UIDSet, error) {
	var uids, back mail.UIDSet
	for i, m := range rows {
		if m.UID != 0 && !ops[i].Expunge {
			uids.Add(m.UID)
		}
	}
	if f.remote == nil || uids.IsEmpty() {
		return back, nil
	}
	err := r.pool.reading(ctx, func(s remote.Session) error {
		ms, err := s.Fetch(ctx, remote.Box{Name: f.mailbox, UIDValidity: f.validity()}, uids, remote.FetchItems{Listed: true})
		back = mail.UIDSet{}
		for _, m := range ms {
			back.Add(m.UID)
		}
		return err
	})
	return back, err
}

// removeFolders deletes folders that the person deleted on the other side, if they are empty by now.
func (r *run) removeFolders(ctx context.Context, ops []plan.Op) error {
	for _, op := range ops {
		f := r.byName[op.Folder]
		if f.failed != nil {
			continue
		}
		var err error
		// What it had may not have come to where it lives on: it is known by this folder's rows.
		if f.dirty || slices.ContainsFunc(f.linked, func(l *folder) bool { return l.dirty }) {
			r.lookAgain()
			continue
		}
		if op.Side == plan.Maildir {
			err = r.md.RemoveFolder(f.name)
			if errors.Is(err, maildir.ErrNoFolder) {
				err = nil
			}
		} else {
			err = r.deleteMailbox(ctx, f)
		}
		if err != nil {
			if !r.ofFolder(ctx, err) {
				return err
			}
			r.soil(f)
			r.fail(f.name, fmt.Errorf("deleting the folder on the %s: %w", sideWord(op.Side), err))
			continue
		}
		r.log.Info("folder deleted", "folder", f.name, "side", op.Side)
		r.count(func(res *Result) { res.folders(op.Side).Deleted++ })
		if err := r.update(ctx, func(tx *state.Tx) error { return forgetFolder(tx, f.base.ID) }); err != nil {
			return err
		}
	}
	return nil
}

func sideWord(s plan.Side) string {
	if s == plan.Maildir {
		return "local side"
	}
	return "server"
}

var errNotEmpty = errors.New("there are messages in it that this run did not see; the next one looks at them")

// parkedPrefix begins the names that a mailbox bears between the decision to delete it and the deletion.
const parkedPrefix = "satchel-deleting-"

// deleteMailbox deletes a mailbox if it is empty. Deleting can't be made conditional, so the mailbox is first
// taken out of everybody's way under a name of ours: what arrives until then is seen, and it gets its name back.
func (r *run) deleteMailbox(ctx context.Context, f *folder) error {
	if f.remote == nil {
		return nil
	}
	return r.pool.with(ctx, func(s remote.Session) error {
		empty := func(box string) error {
			st, err := s.Status(ctx, box)
			if err == nil && st.Messages > 0 {
				err = errNotEmpty
			}
			return err
		}
		if err := empty(f.mailbox); err != nil {
			return err
		}
		if r.hasChildren(f) {
			return s.Delete(ctx, f.mailbox) // a rename would take its children along
		}
		aside, err := s.MailboxName([]string{fmt.Sprintf("%s%d", parkedPrefix, f.base.ID)})
		if err != nil {
			return err
		}
		if err := r.update(ctx, func(tx *state.Tx) error { return tx.Set(asideKey(aside), f.mailbox) }); err != nil {
			return err
		}
		if err := s.Rename(ctx, f.mailbox, aside); err != nil {
			return err
		}
		err = empty(aside)
		if err == nil {
			err = s.Delete(ctx, aside)
		}
		if err != nil {
			if rerr := s.Rename(ctx, aside, f.mailbox); rerr != nil {
				return errors.Join(err, rerr)
			}
		}
		uerr := r.update(ctx, func(tx *state.Tx) error { return tx.Set(asideKey(aside), "") })
		return errors.Join(err, uerr)
	})
}

func asideKey(box string) string { return "aside:" + box }

// hasChildren reports whether the server has mailboxes below it, whether or not they are in scope: listed ones, and those that this run made.
func (r *run) hasChildren(f *folder) bool {
	d := r.caps.Delimiter
	below := func(box string) bool { return d != "" && strings.HasPrefix(box, f.mailbox+d) }
	return slices.ContainsFunc(r.boxes, func(b remote.Mailbox) bool { return below(b.Name) }) ||
		slices.ContainsFunc(r.folders, func(o *folder) bool { return o.remote != nil && below(o.mailbox) })
}

// restoreAside gives mailboxes their names back that a stopped run had taken aside to delete them.
func (r *run) restoreAside(ctx context.Context, boxes []remote.Mailbox) (renamed bool, err error) {
	for _, b := range boxes {
		if len(b.Path) == 0 || len(b.Path[0]) < len(parkedPrefix) || b.Path[0][:len(parkedPrefix)] != parkedPrefix {
			continue
		}
		var was string
		if err := r.view(ctx, func(tx *state.Tx) (err error) { was, _, err = tx.Get(asideKey(b.Name)); return err }); err != nil {
			return renamed, err
		}
		if was == "" {
			continue
		}
		if err := r.pool.with(ctx, func(s remote.Session) error { return s.Rename(ctx, b.Name, was) }); err != nil {
			err = fmt.Errorf("giving mailbox %s its name back, which it bore until it was to be deleted: %w", was, err)
			if remote.ClassOf(err) != remote.Refused {
				return renamed, err
			}
			r.fail("", err) // the name is taken: it goes on as a folder under the other one
			continue
		}
		if err := r.update(ctx, func(tx *state.Tx) error { return tx.Set(asideKey(b.Name), "") }); err != nil {
			return renamed, err
		}
		renamed = true
	}
	return renamed, nil
}
