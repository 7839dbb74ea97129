package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
)

// apply carries out one operation as an executor would: it checks what the operation takes for granted, acts,
// and records what it saw.
func (w *world) apply(op Op) error {
	var err error
	switch op.Kind {
	case Pairing:
		err = w.applyPairing(op)
	case Rebind:
		x := w.row(op.Row)
		if x == nil {
			return fmt.Errorf("no row: %+v", op)
		}
		w.ensureBase(op.Folder)
		x.Folder, x.UID, x.Name = op.Folder, op.UID, op.Name
		x.RemoteFlags, x.LocalFlags = op.RemoteSeen, op.LocalSeen
		x.remoteHeld, x.localHeld, x.guarded = op.Gone == Server, op.Gone == Maildir, op.Guarded
		w.learnFile(x)
	case Download:
		err = w.applyDownload(op)
	case Upload:
		err = w.applyUpload(op)
	case Move:
		err = w.applyMove(op)
	case SetFlags:
		err = w.applyFlags(op)
	case Park:
		err = w.applyPark(op)
	case Forget:
		w.rows = slices.DeleteFunc(w.rows, func(x stateRow) bool { return x.ID == op.Row })
	case Delete:
		err = w.applyDelete(op)
	case Hold:
		x := w.row(op.Row)
		if x == nil {
			return fmt.Errorf("no row: %+v", op)
		}
		x.guarded = x.guarded || op.Why == ""
		switch {
		case op.Expunge:
		case op.Side == Maildir:
			x.remoteHeld = true
		default:
			x.localHeld = true
		}
	case DeleteFolder:
		w.applyDeleteFolder(op)
	default:
		err = errors.New("unknown kind")
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, showOps([]Op{op}))
	}
	return nil
}

func (w *world) upsert(id int64) *stateRow {
	if id != 0 {
		if x := w.row(id); x != nil {
			return x
		}
	}
	w.rows = append(w.rows, stateRow{Base: Base{ID: int64(w.number())}})
	return &w.rows[len(w.rows)-1]
}

func (w *world) learn(x *stateRow, c int) {
	s := w.survey(c)
	x.Digest, x.Header, x.HasMessageID = s.Digest, s.Header, s.HasMessageID
	x.RemoteSize, x.FileSize, x.Date = s.Size, s.Size, dateOf(c)
}

func (w *world) learnFile(x *stateRow) {
	if d := w.dir(x.Folder); d != nil {
		if i := d.find(x.Name); i >= 0 {
			x.Inode = d.files[i].inode
		}
	}
}

func (w *world) remoteAt(folder mail.FolderName, uid mail.UID) (*serverMessage, error) {
	if f := w.mailbox(folder); f != nil {
		if i := f.find(uid); i >= 0 {
			return &f.messages[i], nil
		}
	}
	return nil, errors.New("no such message on the server")
}

func (w *world) localAt(folder mail.FolderName, name string) (*file, error) {
	if d := w.dir(folder); d != nil {
		if i := d.find(name); i >= 0 {
			return &d.files[i], nil
		}
	}
	return nil, errors.New("no such file")
}

func (w *world) applyPairing(op Op) error {
	r, err := w.remoteAt(op.Folder, op.UID)
	if err != nil {
		return err
	}
	l, err := w.localAt(op.Folder, op.Name)
	if err != nil {
		return err
	}
	if r.content != l.content {
		return errors.New("different messages are paired")
	}
	w.ensureBase(op.Folder)
	x := w.upsert(op.Row)
	*x = stateRow{Base: Base{ID: x.ID, Folder: op.Folder, UID: op.UID, Name: op.Name,
		RemoteFlags: op.RemoteSeen, LocalFlags: op.LocalSeen}}
	w.learn(x, r.content)
	w.learnFile(x)
	return nil
}

func (w *world) applyDownload(op Op) error {
	r, err := w.remoteAt(op.Folder, op.UID)
	if err != nil {
		return err
	}
	c, tag := r.content, r.tag
	flags := op.Add.Minus(w.maildirDrops)
	name := w.deliver(w.createDir(op.Folder), c, tag, flags)
	w.down = append(w.down, w.contents[c].size)
	w.ensureBase(op.Folder)
	x := w.upsert(op.Row)
	*x = stateRow{Base: Base{ID: x.ID, Folder: op.Folder, UID: op.UID, Name: name, RemoteFlags: op.RemoteSeen, LocalFlags: flags}}
	w.learn(x, c)
	w.learnFile(x)
	return nil
}

func (w *world) applyUpload(op Op) error {
	l, err := w.localAt(op.Folder, op.Name)
	if err != nil {
		return err
	}
	if op.Folder == w.readOnly {
		return errors.New("upload into a read-only mailbox")
	}
	flags := op.Add.Minus(w.serverDrops)
	uid := w.createMailbox(op.Folder).store(l.content, l.tag, flags)
	w.up = append(w.up, w.contents[l.content].size)
	w.ensureBase(op.Folder)
	x := w.upsert(op.Row)
	*x = stateRow{Base: Base{ID: x.ID, Folder: op.Folder, UID: uid, Name: op.Name, RemoteFlags: flags, LocalFlags: op.LocalSeen}}
	w.learn(x, l.content)
	w.learnFile(x)
	return nil
}

func (w *world) applyMove(op Op) error {
	x := w.row(op.Row)
	if x == nil {
		return errors.New("no row")
	}
	var uid mail.UID
	if op.Side == Server {
		r, err := w.remoteAt(op.From, op.UID)
		if err != nil {
			return err
		}
		if op.From == w.readOnly || op.Folder == w.readOnly {
			return errors.New("move in a read-only mailbox")
		}
		moved := *r
		f := w.mailbox(op.From)
		i := f.find(op.UID)
		f.messages = slices.Delete(f.messages, i, i+1)
		uid = w.createMailbox(op.Folder).store(moved.content, moved.tag, moved.flags)
		if op.Trash {
			w.rows = slices.DeleteFunc(w.rows, func(x stateRow) bool { return x.ID == op.Row })
			return nil
		}
		x.UID, x.Name = uid, op.Name
	} else {
		l, err := w.localAt(op.From, op.Name)
		if err != nil {
			return err
		}
		moved := *l
		d := w.dir(op.From)
		i := d.find(op.Name)
		d.files = slices.Delete(d.files, i, i+1)
		to := w.createDir(op.Folder)
		to.files = append(to.files, moved)
		x.UID, x.Name = op.UID, op.Name
		uid = op.UID
	}
	w.ensureBase(op.Folder)
	was := func(x stateRow) bool {
		return x.Folder == op.Folder && (x.Name != "" && x.Name == op.Name || x.UID != 0 && x.UID == uid) ||
			x.Folder == op.From && (op.Side == Server && x.UID == op.UID || op.Side == Maildir && x.Name == op.Name)
	}
	w.rows = slices.DeleteFunc(w.rows, func(x stateRow) bool { return x.ID != op.Row && x.Why != Agreed && was(x) })
	x = w.row(op.Row)
	x.Folder, x.RemoteFlags, x.LocalFlags = op.Folder, op.RemoteSeen, op.LocalSeen
	x.Why, x.remoteHeld, x.localHeld = Agreed, false, false
	w.learnFile(x)
	return nil
}

func (w *world) applyFlags(op Op) error {
	x := w.row(op.Row)
	if op.Row == 0 {
		for i := range w.rows {
			if w.rows[i].Folder == op.Folder && w.rows[i].UID == op.UID && w.rows[i].Name == op.Name {
				x = &w.rows[i]
			}
		}
	}
	if x == nil {
		return errors.New("no row")
	}
	// What was transferred just now has a UID or name that the plan could not know.
	if op.UID != 0 && op.UID != x.UID || op.Name != x.Name && (op.Name != "" || op.Row == 0) || op.Folder != x.Folder {
		return fmt.Errorf("the row is elsewhere: %+v", x.Base)
	}
	changes := !op.Add.IsZero() || !op.Remove.IsZero()
	if op.Side == Server && changes {
		if x.Folder == w.readOnly {
			return errors.New("flags in a read-only mailbox")
		}
		r, err := w.remoteAt(x.Folder, x.UID)
		if err != nil {
			return err
		}
		r.flags = r.flags.Plus(op.Add.Minus(w.serverDrops)).Minus(op.Remove)
	}
	if op.Side == Maildir && changes {
		l, err := w.localAt(x.Folder, x.Name)
		if err != nil {
			return err
		}
		l.flags = l.flags.Plus(op.Add.Minus(w.maildirDrops)).Minus(op.Remove)
	}
	x.RemoteFlags, x.LocalFlags = op.RemoteSeen, op.LocalSeen
	// What a side can't keep it does not have, whatever was asked for.
	if op.Side == Server {
		x.RemoteFlags = x.RemoteFlags.Minus(op.Add.And(w.serverDrops))
	} else {
		x.LocalFlags = x.LocalFlags.Minus(op.Add.And(w.maildirDrops))
	}
	return nil
}

func (w *world) applyPark(op Op) error {
	w.ensureBase(op.Folder)
	x := w.upsert(op.Row)
	*x = stateRow{Base: Base{ID: x.ID, Folder: op.Folder, UID: op.UID, Name: op.Name, Why: op.Why,
		RemoteFlags: op.RemoteSeen, LocalFlags: op.LocalSeen,
		Digest: x.Digest, Header: x.Header, HasMessageID: x.HasMessageID, RemoteSize: x.RemoteSize, FileSize: x.FileSize,
		Inode: x.Inode, Date: x.Date}, guarded: op.Guarded}
	if op.Side == Server {
		r, err := w.remoteAt(op.Folder, op.UID)
		if err != nil {
			return err
		}
		if op.Name != "" {
			return errors.New("a message parked on the server has a file name")
		}
		x.RemoteSize = w.contents[r.content].size
		return nil
	}
	l, err := w.localAt(op.Folder, op.Name)
	if err != nil {
		return err
	}
	if op.UID != 0 {
		return errors.New("a message parked in the Maildir has a UID")
	}
	if !w.unreadable[l.tag] {
		w.learn(x, l.content)
	}
	w.learnFile(x)
	return nil
}

func (w *world) applyDelete(op Op) error {
	x := w.row(op.Row)
	if x == nil {
		return errors.New("no row")
	}
	if op.Side == Server {
		if _, err := w.remoteAt(op.Folder, op.UID); err != nil {
			return err
		}
		if op.Folder == w.readOnly {
			return errors.New("delete in a read-only mailbox")
		}
		f := w.mailbox(op.Folder)
		i := f.find(op.UID)
		f.messages = slices.Delete(f.messages, i, i+1)
		if op.Name != "" {
			return nil // the Maildir still has it: the row goes with the last of both
		}
	} else {
		if _, err := w.localAt(op.Folder, op.Name); err != nil {
			return err
		}
		d := w.dir(op.Folder)
		i := d.find(op.Name)
		d.files = slices.Delete(d.files, i, i+1)
	}
	w.rows = slices.DeleteFunc(w.rows, func(x stateRow) bool { return x.ID == op.Row })
	return nil
}

func (w *world) applyDeleteFolder(op Op) {
	if op.Side == Server {
		w.server = slices.DeleteFunc(w.server, func(f *serverFolder) bool { return f.name == op.Folder && len(f.messages) == 0 })
		return
	}
	w.maildir = slices.DeleteFunc(w.maildir, func(d *directory) bool { return d.name == op.Folder && len(d.files) == 0 })
}

// --- Folders ---

func moved(name, from, to mail.FolderName) mail.FolderName {
	if name == from || name.Under(from) {
		return to + name[len(from):]
	}
	return name
}

func (w *world) renameMailbox(from, to mail.FolderName) {
	for _, f := range w.server {
		f.name = moved(f.name, from, to)
	}
}

func (w *world) renameDir(from, to mail.FolderName) {
	for _, d := range w.maildir {
		d.name = moved(d.name, from, to)
	}
}

func (w *world) applyFolder(op FolderOp) error {
	taken := func(side Side) bool {
		for _, f := range w.server {
			if side == Server && (f.name == op.Folder || f.name.Under(op.Folder)) {
				return true
			}
		}
		for _, d := range w.maildir {
			if side == Maildir && (d.name == op.Folder || d.name.Under(op.Folder)) {
				return true
			}
		}
		return false
	}
	switch op.Kind {
	case CreateFolder:
		if op.Side == Server {
			w.createMailbox(op.Folder)
		} else {
			w.createDir(op.Folder)
		}
		w.ensureBase(op.Folder)
		return nil
	case RenameFolder:
		if taken(op.Side) {
			return fmt.Errorf("renamed onto a folder that exists: %+v", op)
		}
		if op.Side == Server {
			if w.mailbox(op.From) == nil || op.From == mail.Inbox {
				return fmt.Errorf("can't be renamed: %+v", op)
			}
			w.renameMailbox(op.From, op.Folder)
		} else {
			if w.dir(op.From) == nil {
				return fmt.Errorf("not there: %+v", op)
			}
			w.renameDir(op.From, op.Folder)
		}
	}
	i := slices.IndexFunc(w.folders, func(b BaseFolder) bool { return b.ID == op.Base })
	if i < 0 {
		return fmt.Errorf("no base folder: %+v", op)
	}
	from, fromBox := w.folders[i].Name, w.folders[i].Mailbox
	for j := range w.rows {
		w.rows[j].Folder = moved(w.rows[j].Folder, from, op.Folder)
	}
	for j := range w.folders {
		b := &w.folders[j]
		if b.Name == from || b.Name.Under(from) {
			b.Name = moved(b.Name, from, op.Folder)
			if rest, ok := strings.CutPrefix(b.Mailbox, fromBox); ok && fromBox != "" {
				b.Mailbox = op.Mailbox + rest
			}
		}
	}
	for j := range w.folders {
		for k := range j {
			if w.folders[j].Name == w.folders[k].Name {
				return fmt.Errorf("two base folders are called %s after %+v", w.folders[j].Name, op)
			}
		}
	}
	return nil
}
