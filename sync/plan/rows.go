package plan

import (
	"fmt"

	"github.com/satchel-mail/satchel/internal/mail"
)

func (m *maker) planRow(x *row) {
	target := m.folder(x.Folder).Target ||
		x.remote.found == have && m.folder(x.remote.folder).Target ||
		x.local.found == have && m.folder(x.local.folder).Target
	switch {
	case !target || x.adopted:
	case x.Why != Agreed:
		m.planParked(x)
	case m.doubtful(x):
	case m.policy.Maildrop:
		m.planInMaildrop(x)
	default:
		m.planAgreed(x)
	}
}

// planAgreed is the table of who wins, for a message that was on both sides.
func (m *maker) planAgreed(x *row) {
	r, l := x.remote, x.local
	mode := m.policy.Mode
	switch {
	case r.found != have && l.found != have:
		m.forgetRow(x, "gone on both sides")
	case r.found == have && l.found == have:
		m.planBoth(x)
	case mode == TwoWay && r.found == have:
		switch {
		case l.found == none && x.LocalHeld && m.policy.RestoreHeld && !m.readOnly(r.folder):
			m.remove(x, Server, "deleted in the Maildir with its folder") // counted as when it was held, or what was held for it would go
		case l.found == none:
			m.download(x, "missing in the Maildir, but nobody deleted it")
		case r.folder != x.Folder:
			m.download(x, "deleted in the Maildir, but moved on the server: it lives on")
		case x.Remote == Gone && r.msg >= 0: // it may as well be another one that is alike
			m.download(x, "deleted in the Maildir, but put there again on the server: it lives on")
		default:
			m.remove(x, Server, "deleted in the Maildir")
		}
	case mode == TwoWay:
		switch {
		case r.found == none && x.RemoteHeld && m.policy.RestoreHeld:
			m.remove(x, Maildir, "deleted on the server with its folder")
		case r.found == none:
			m.upload(x, "missing on the server, but nobody deleted it")
		case l.folder != x.Folder:
			m.upload(x, "deleted on the server, but moved in the Maildir: it lives on")
		case x.Local == Gone && l.msg >= 0 && m.local[l.msg].Inode != x.Inode: // not its file under another name
			m.upload(x, "deleted on the server, but put there again in the Maildir: it lives on")
		default:
			m.remove(x, Maildir, "deleted on the server")
		}
	case mode == Pull && r.found == have:
		m.download(x, "the server has it: in pull mode what was deleted in the Maildir is delivered again")
	case mode == Pull && r.found == none:
		m.parkInMaildir(x, OneWay, "missing on the server, but nobody deleted it")
	case mode == Pull:
		m.remove(x, Maildir, "deleted on the server")
	case mode == Push && l.found == have:
		m.upload(x, "the Maildir has it: in push mode what was deleted on the server is stored again")
	case mode == Push && l.found == none:
		m.parkOnServer(x, OneWay, "missing in the Maildir, but nobody deleted it")
	case mode == Push:
		m.remove(x, Server, "deleted in the Maildir")
	case l.found == have:
		m.parkInMaildir(x, OneWay, "gone on the server: an archive keeps it")
	case l.found == none:
		m.download(x, "missing in the Maildir, but nobody deleted it")
	default:
		m.parkOnServer(x, Dismissed, "deleted in the Maildir: an archive does not deliver it again")
	}
}

// planBoth brings a message that both sides still have into one folder, with its flags merged.
func (m *maker) planBoth(x *row) {
	if m.isMarked(x) {
		if !m.readOnly(x.remote.folder) {
			m.deletions = append(m.deletions, deletion{row: x, expunge: true})
			return
		}
		switch { // until the mailbox takes changes again, and then until a person decides
		case !x.Guarded || m.policy.AllowDeletes && !m.policy.RestoreHeld:
		case m.policy.RestoreHeld:
			x.unmark = true
		default:
			x.held = true
			m.plan.Held[x.Folder]++
			m.because(stillHeld)
		}
	}
	m.bringTogether(x)
}

func (m *maker) bringTogether(x *row) {
	r, l := x.remote, x.local
	switch mode := m.policy.Mode; {
	case r.folder == l.folder:
		if r.msg >= 0 || l.msg >= 0 || x.RemoteHeld || x.LocalHeld || x.Back || x.Guarded && !x.held && !x.unmark {
			m.rebind(x, r.folder, "found again")
		}
		m.setFlags(Op{Folder: r.folder, Row: x.ID, UID: r.uid, Name: l.name}, m.mergeFlags(x))
	case mode == Archive && l.folder != x.Folder:
		m.separate(x, Dismissed, "moved in the Maildir: an archive does not deliver it again")
	case mode == Push || mode == TwoWay && r.folder == x.Folder:
		m.moveOnServer(x)
	default:
		m.moveInMaildir(x)
	}
}

func (m *maker) moveOnServer(x *row) {
	r, l := x.remote, x.local
	switch {
	case m.readOnly(r.folder) || m.readOnly(l.folder):
		m.separate(x, ReadOnly, "moved in the Maildir, but the mailbox is read-only on the server")
	case !m.canHave(l.folder, Server):
		m.cannotFollow(x, Server)
	default:
		reason := "moved in the Maildir"
		if r.folder != x.Folder {
			reason = "moved on the server: in push mode it is moved back"
		}
		m.add(Op{Kind: Move, Side: Server, Folder: l.folder, From: r.folder, Row: x.ID, UID: r.uid, Name: l.name,
			RemoteSeen: x.RemoteFlags, LocalSeen: x.LocalFlags, Guarded: x.held || x.unmark && x.Guarded, Reason: reason})
		m.setFlags(Op{Folder: l.folder, Row: x.ID, Name: l.name}, m.mergeFlags(x))
	}
}

func (m *maker) moveInMaildir(x *row) {
	r, l := x.remote, x.local
	if !m.canHave(r.folder, Maildir) {
		m.cannotFollow(x, Maildir)
		return
	}
	reason := "moved on the server"
	switch {
	case r.folder == x.Folder:
		reason = fmt.Sprintf("moved in the Maildir: in %s mode it is moved back", m.policy.Mode)
	case l.folder != x.Folder:
		reason = "moved on both sides: the server's folder counts"
	}
	m.add(Op{Kind: Move, Side: Maildir, Folder: r.folder, From: l.folder, Row: x.ID, UID: r.uid, Name: l.name,
		RemoteSeen: x.RemoteFlags, LocalSeen: x.LocalFlags, Guarded: x.held || x.unmark && x.Guarded, Reason: reason})
	m.setFlags(Op{Folder: r.folder, Row: x.ID, UID: r.uid, Name: l.name}, m.mergeFlags(x))
}

// separate makes two messages of one that can't be brought together again: the row stays with the server's,
// the Maildir's goes on as a new message. If it is the server's that has moved, it is the other way round.
func (m *maker) separate(x *row, why Why, reason string) {
	if k := x.local.msg; k >= 0 {
		m.local[k].row = -1
		x.local = place{found: gone, folder: x.Folder, msg: -1}
		m.parkOnServer(x, why, reason)
		return
	}
	m.remote[x.remote.msg].row = -1
	x.remote = place{found: gone, folder: x.Folder, msg: -1}
	m.upload(x, reason)
}

// cannotFollow leaves a moved message as it is where the side that should follow has no such folder and
// may not get one. The row is held, so that it comes again, together with the message that is parked.
func (m *maker) cannotFollow(x *row, side Side) {
	k, sideName := x.local.msg, "the server"
	if side == Maildir {
		k, sideName = x.remote.msg, "the Maildir"
	}
	if k < 0 { // the side that counts did not move; the other one can't be moved back
		m.separate(x, NoFolder, sideName+" has no such folder and may not get one")
		return
	}
	to := x.local.folder
	if side == Maildir {
		to = x.remote.folder
		m.remote[k].row = -1
		x.remote = place{found: gone, folder: x.Folder, uid: x.UID, msg: -1}
	} else {
		m.local[k].row = -1
		x.local = place{found: gone, folder: x.Folder, name: x.Name, msg: -1}
	}
	folder := x.Folder
	if x.remote.msg >= 0 || x.local.msg >= 0 {
		folder = m.rebindRest(x)
	}
	m.add(Op{Kind: Hold, Side: side, Folder: folder, Row: x.ID, UID: x.remote.uid, Name: x.local.name, Why: NoFolder,
		Reason: fmt.Sprintf("moved to %q, but %s has no such folder and may not get one", to, sideName)})
}

// doubtful handles rows that would count as removed, or as missing, if a message that nobody can look into just now were not perhaps it: what
// is missing is left as it is, and a removal is held. Their folders are to be read again.
func (m *maker) doubtful(x *row) bool {
	r, l := &x.remote, &x.local
	if !r.unsure && !l.unsure || r.found == have && l.found == have {
		return false
	}
	m.plan.ReadAgain = append(m.plan.ReadAgain, x.Folder)
	moved := false
	for _, at := range []*place{r, l} {
		if at.found == have && at.folder != x.Folder {
			m.plan.ReadAgain = append(m.plan.ReadAgain, at.folder)
			moved = true
		}
	}
	folder := x.Folder
	switch {
	case r.found == have && l.found == none, r.found == none && l.found == have:
		return true
	case moved && m.folder(x.Folder).OnServer && m.folder(x.Folder).InMaildir:
		return true // what was moved on one side is not removed for what happened on the other one, which is seen again when it can be told
	case r.found == none: // its UID means nothing any more; and the Hold may have to wait
		r.uid = 0
		m.rebindWithout(x, whereGone(Maildir, l), folder, "its UID is not known at present")
	case l.found == none:
		l.name = ""
		m.rebindWithout(x, whereGone(Server, r), folder, "its file is not known at present")
	case r.msg >= 0 || l.msg >= 0:
		folder = m.rebindRest(x)
	}
	op := Op{Kind: Hold, Folder: folder, Row: x.ID, UID: r.uid, Name: l.name, Why: Unreadable}
	if r.found == gone {
		op.Side, op.Reason = Maildir, "gone on the server, but it may be a message that can't be read just now"
		m.add(op)
	}
	if l.found == gone {
		op.Side, op.Reason = Server, "gone in the Maildir, but it may be a message that can't be read just now"
		m.add(op)
	}
	return true
}

// whereGone is side if the message is gone from there.
func whereGone(side Side, at *place) Side {
	if at.found == gone {
		return side
	}
	return ""
}

// rebind tells the state where both halves of a row are.
func (m *maker) rebind(x *row, folder mail.FolderName, reason string) {
	m.rebindWithout(x, "", folder, reason)
}

// rebindWithout is rebind for a row whose message is gone on a side.
func (m *maker) rebindWithout(x *row, gone Side, folder mail.FolderName, reason string) {
	m.release(x)
	guarded := x.Guarded && (x.held || x.unmark || x.Why == Agreed && (x.remote.found != have || x.local.found != have))
	local := x.LocalFlags
	if x.keepsNoted(folder) {
		local = x.Noted
	}
	m.add(Op{Kind: Rebind, Gone: gone, Guarded: guarded, Folder: folder, Row: x.ID, UID: x.remote.uid, Name: x.local.name, Why: x.Why,
		RemoteSeen: x.RemoteFlags, LocalSeen: local, Reason: reason})
}

// keepsNoted reports whether flags that wait for a read-only mailbox wait on, for the message is where it was.
func (x *row) keepsNoted(folder mail.FolderName) bool { return x.Withheld && folder == x.Folder }

// rebindRest tells the state where the only half that is left of a row is. In another folder than before the name
// of the other half means nothing.
func (m *maker) rebindRest(x *row) mail.FolderName {
	at, other, side := x.remote, x.local, Maildir
	if at.found != have {
		at, other, side = x.local, x.remote, Server
	}
	// In its folder it is missed again by the name of its other half, if it has one and that is not held already.
	missed := side == Maildir && x.local.name != "" && !x.LocalHeld || side == Server && x.remote.uid != 0 && !x.RemoteHeld
	if at.folder == x.Folder && missed || other.found != gone {
		side = ""
	}
	if at.folder != x.Folder {
		x.remote.uid, x.local.name = at.uid, at.name
	}
	m.rebindWithout(x, side, at.folder, "found again")
	return at.folder
}

// release forgets the parked rows that the messages of x had of their own.
func (m *maker) release(x *row) {
	for _, id := range m.ownRows(x) {
		m.add(Op{Kind: Forget, Row: id, Reason: "its message is known under another row"})
	}
}

func (m *maker) ownRows(x *row) []int64 {
	var ids []int64
	if k := x.remote.msg; k >= 0 && m.remote[k].Row != 0 && m.remote[k].Row != x.ID {
		ids = append(ids, m.remote[k].Row)
	}
	if k := x.local.msg; k >= 0 && m.local[k].Row != 0 && m.local[k].Row != x.ID {
		ids = append(ids, m.local[k].Row)
	}
	return ids
}

// download brings a row's message to the Maildir again.
func (m *maker) download(x *row, reason string) {
	r := x.remote
	if !m.canHave(r.folder, Maildir) {
		m.parkOnServer(x, NoFolder, "the Maildir has no such folder and may not get one")
		return
	}
	flags := mail.Merge(x.LocalFlags, x.RemoteFlags, r.flags) // with what only the Maildir could keep
	want := x.unmarked(flags)
	m.bring(transfer{x: x, cost: cost{date: x.Date, size: x.RemoteSize}, op: Op{Kind: Download, Side: Maildir, Folder: r.folder, Row: x.ID, UID: r.uid,
		Add: want, RemoteSeen: r.flags, LocalSeen: want, Reason: reason}})
	wantRemote := x.unmarked(r.flags)
	if !wantRemote.Equal(r.flags) && m.readOnly(r.folder) {
		wantRemote = r.flags
	}
	m.setFlags(Op{Folder: r.folder, Row: x.ID, UID: r.uid}, flagChange{remoteBase: r.flags, remoteNow: r.flags, wantRemote: wantRemote,
		localBase: want, localNow: want, wantLocal: want})
}

// upload brings a row's message to the server again.
func (m *maker) upload(x *row, reason string) {
	l := x.local
	switch {
	case m.readOnly(l.folder):
		m.parkInMaildir(x, ReadOnly, "the mailbox is read-only on the server")
	case !m.canHave(l.folder, Server):
		m.parkInMaildir(x, NoFolder, "the server has no such folder and may not get one")
	default:
		flags := mail.Merge(x.RemoteFlags, x.LocalFlags, l.flags) // with what only the server could keep
		want := x.unmarked(flags)
		m.bring(transfer{x: x, cost: cost{date: x.Date, size: x.FileSize}, op: Op{Kind: Upload, Side: Server, Folder: l.folder, Row: x.ID, Name: l.name,
			Add: want, RemoteSeen: want, LocalSeen: l.flags, Reason: reason}})
		m.setFlags(Op{Folder: l.folder, Row: x.ID, Name: l.name}, flagChange{remoteBase: want, remoteNow: want, wantRemote: want,
			localBase: l.flags, localNow: l.flags, wantLocal: x.unmarked(l.flags)})
	}
}

// unmarked are flags of the row's message without its mark as deleted, if that is taken back.
func (x *row) unmarked(f mail.Flags) mail.Flags {
	if x.unmark {
		return f.Minus(mail.SystemFlags(mail.Deleted))
	}
	return f
}

func (m *maker) parkOnServer(x *row, why Why, reason string) {
	if why == ReadOnly {
		m.parkWaiting(x, reason)
		return
	}
	m.release(x)
	m.add(Op{Kind: Park, Side: Server, Folder: x.remote.folder, Row: x.ID, UID: x.remote.uid, Why: why, Guarded: x.Guarded && why == Pending,
		RemoteSeen: x.remote.flags, Reason: reason})
}

// parkWaiting parks a row that waits for a mailbox to take changes. What both sides agreed on stays the base of what is decided then, so that
// changes since then must be seen again.
func (m *maker) parkWaiting(x *row, reason string) {
	if !x.remote.flags.Equal(x.RemoteFlags) {
		m.plan.ReadAgain = append(m.plan.ReadAgain, x.remote.folder)
	}
	if x.Waits && x.remote.msg < 0 && x.Guarded == x.held {
		return // it does already
	}
	m.release(x)
	m.add(Op{Kind: Park, Side: Server, Folder: x.remote.folder, Row: x.ID, UID: x.remote.uid, Why: ReadOnly,
		RemoteSeen: x.RemoteFlags, LocalSeen: x.LocalFlags, Guarded: x.held, Reason: reason})
}

func (m *maker) parkInMaildir(x *row, why Why, reason string) {
	m.release(x)
	m.add(Op{Kind: Park, Side: Maildir, Folder: x.local.folder, Row: x.ID, Name: x.local.name, Why: why,
		LocalSeen: x.local.flags, Reason: reason})
}

func (m *maker) forgetRow(x *row, reason string) {
	m.add(Op{Kind: Forget, Folder: x.Folder, Row: x.ID, UID: x.UID, Name: x.Name, Reason: reason})
}

// planParked handles a row that was on one side only.
func (m *maker) planParked(x *row) {
	at, side := x.remote, Server
	if x.inMaildirOnly() {
		at, side = x.local, Maildir
	}
	switch {
	case at.found == gone && at.unsure: // a dismissed message must not come back because of it
		m.add(Op{Kind: Hold, Side: otherSide(side), Folder: x.Folder, Row: x.ID, UID: x.UID, Name: x.Name, Why: Unreadable,
			Reason: "gone, but it may be a message that can't be read just now"})
	case m.planDeletedBefore(x):
	case at.found == none && at.unsure: // nor by what it was called
		m.plan.ReadAgain = append(m.plan.ReadAgain, x.Folder)
	case at.found != have:
		m.forgetRow(x, "gone")
	default:
		if at.msg >= 0 || x.RemoteHeld || x.LocalHeld || x.Guarded {
			m.rebind(x, at.folder, "found again")
		}
		if x.Why == Pending && m.planPending(x) {
			return
		}
		f := flagChange{remoteBase: x.RemoteFlags, localBase: x.LocalFlags, remoteNow: x.RemoteFlags, localNow: x.LocalFlags}
		if side == Server {
			f.remoteNow = at.flags
		} else {
			f.localNow = at.flags
		}
		f.wantRemote, f.wantLocal = f.remoteNow, f.localNow
		m.setFlags(Op{Folder: at.folder, Row: x.ID, UID: x.remote.uid, Name: x.local.name}, f)
	}
}

// planPending tries again to remove what could only be marked, unless somebody took the mark back.
func (m *maker) planPending(x *row) bool {
	r := x.remote
	marked := r.flags.Has(mail.Deleted)
	switch mode := m.policy.Mode; {
	case mode == Archive || m.readOnly(r.folder):
		return false
	case mode == Push || mode == TwoWay && marked:
		op := Op{Kind: Delete, Side: Server, Folder: r.folder, Row: x.ID, UID: r.uid,
			Reason: "deleted in the Maildir; so far only marked on the server"}
		if mode == TwoWay {
			op.RemoteSeen = r.flags
		}
		m.add(op)
	default:
		m.download(x, "deleted in the Maildir, but its \\Deleted mark on the server was taken back")
	}
	return true
}

func otherSide(s Side) Side {
	if s == Server {
		return Maildir
	}
	return Server
}
