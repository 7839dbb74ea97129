package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
)

// deletion is a removal that is wanted and that the guard has not counted yet.
type deletion struct {
	row    *row
	side   Side
	reason string
	// expunge: both sides have the message, marked \Deleted; it goes on both or on none.
	expunge bool
}

// SmallDeletion is how many messages a guard by share always lets go.
const SmallDeletion = 10

// remove wants a row's message removed on side, which is the only one that still has it.
func (m *maker) remove(x *row, side Side, reason string) {
	if side == Server && x.Waits && !x.Guarded && m.readOnly(x.remote.folder) {
		m.parkDeletion(x) // it was counted when it was first seen deleted
		return
	}
	m.deletions = append(m.deletions, deletion{row: x, side: side, reason: reason})
}

// expunges reports whether messages are removed for their mark as deleted. Only two-way sync does that: with pull or push the side
// that counts is never changed, and if the message were removed on the other side alone the next run
// would bring it back; an archive never deletes.
func (m *maker) expunges() bool {
	return m.policy.Expunge && m.policy.Mode == TwoWay
}

// isMarked reports whether a message would be removed for its mark.
func (m *maker) isMarked(x *row) bool {
	if !m.expunges() {
		return false
	}
	f := m.mergeFlags(x)
	return f.wantRemote.Has(mail.Deleted) && f.wantLocal.Has(mail.Deleted)
}

// planDeletions carries out, holds back or takes back what is to be removed.
func (m *maker) planDeletions(in Input) {
	held := m.guard(in)
	for i, d := range m.deletions {
		x := d.row
		again := x.RemoteHeld && d.side == Maildir || x.LocalHeld && d.side == Server
		switch {
		case m.policy.RestoreHeld && (held[i] || again):
			m.restore(d)
		case held[i]:
			m.hold(d)
		case d.expunge:
			m.expunge(x)
		default:
			m.delete(d)
		}
	}
}

func (m *maker) delete(d deletion) {
	x := d.row
	at := x.remote
	if d.side == Maildir {
		at = x.local
	}
	if d.side == Server && m.readOnly(at.folder) {
		m.parkDeletion(x)
		return
	}
	op := Op{Kind: Delete, Side: d.side, Folder: at.folder, Row: x.ID, UID: at.uid, Name: at.name, Reason: d.reason}
	if d.side == Server && m.policy.Trash != "" && at.folder != m.policy.Trash && !at.folder.Under(m.policy.Trash) {
		trash, known := m.folders[m.policy.Trash]
		switch {
		case m.readOnly(m.policy.Trash):
			m.parkOnServer(x, ReadOnly, "deleted in the Maildir, but the trash folder is read-only on the server")
			return
		case known && !trash.OnServer && !trash.CanCreate:
			m.add(Op{Kind: Hold, Side: Server, Folder: x.Folder, Row: x.ID, UID: x.UID, Name: x.Name, Why: NoFolder,
				Reason: "deleted in the Maildir, but the server can't have the trash folder"})
			return
		}
		op.Kind, op.From, op.Folder, op.Trash = Move, at.folder, m.policy.Trash, true
		op.RemoteSeen, op.LocalSeen = at.flags, x.LocalFlags
	}
	switch {
	case at.msg >= 0 && at.folder == x.Folder:
		m.rebindRest(x) // its UID or name is new: should this run stop here, the row must not name another message
	default:
		m.release(x)
	}
	m.add(op)
}

func (m *maker) parkDeletion(x *row) {
	m.parkOnServer(x, ReadOnly, "deleted in the Maildir, but the mailbox is read-only on the server")
}

// expunge removes the server's half first: then the row is still there, and a run that was stopped in between
// finds it gone on the server.
func (m *maker) expunge(x *row) {
	if x.remote.msg >= 0 || x.local.msg >= 0 {
		m.release(x)
	}
	op := Op{Kind: Delete, Side: Server, Folder: x.remote.folder, Row: x.ID, UID: x.remote.uid, Name: x.local.name,
		RemoteSeen: x.remote.flags, LocalSeen: x.local.flags, Expunge: true, Reason: "marked \\Deleted"}
	m.add(op)
	op.Side, op.Folder, op.UID = Maildir, x.local.folder, 0
	m.add(op)
}

// MarkTakenBack reports whether somebody took the mark as deleted off a message that is to be removed for it. now are its flags on op's side.
func (op *Op) MarkTakenBack(now mail.Flags) bool {
	seen := op.RemoteSeen
	if op.Side == Maildir {
		seen = op.LocalSeen
	}
	return seen.Has(mail.Deleted) && !now.Has(mail.Deleted)
}

func (m *maker) hold(d deletion) {
	x := d.row
	m.plan.Held[x.Folder]++
	x.held = true
	if d.expunge {
		m.bringTogether(x)                                   // both sides keep it, with its mark
		if !x.Guarded || x.remote.folder != x.local.folder { // a move that can't be followed lifts it
			m.add(Op{Kind: Hold, Side: Server, Folder: x.Folder, Row: x.ID, UID: x.UID, Name: x.Name, Expunge: true, Reason: "marked \\Deleted"})
		}
		return
	}
	folder := x.Folder
	if x.remote.msg >= 0 || x.local.msg >= 0 {
		folder = m.rebindRest(x)
	}
	uid, name := x.remote.uid, x.local.name
	m.add(Op{Kind: Hold, Side: d.side, Folder: folder, Row: x.ID, UID: uid, Name: name,
		RemoteSeen: x.remote.flags, LocalSeen: x.local.flags, Reason: d.reason})
}

// restore brings back what the guard holds, without the mark for which it would be removed all the same. In pull mode nothing is ever stored
// on the server: the Maildir's copy stays where it is, and is no longer to be deleted.
func (m *maker) restore(d deletion) {
	x := d.row
	x.unmark = m.expunges()
	switch {
	case d.expunge:
		m.bringTogether(x)
	case d.side == Server:
		m.download(x, "its deletion in the Maildir is taken back")
	case m.policy.Mode == Pull:
		m.parkInMaildir(x, OneWay, "its deletion on the server is not carried out")
	default:
		m.upload(x, "its deletion on the server is taken back")
	}
}

// guard says which deletions are held back. Those of each side are counted on their own, per folder
// and over the account, together with what was removed before. What it held once waits for a person's word, however few they are by now.
func (m *maker) guard(in Input) []bool {
	held := make([]bool, len(m.deletions))
	g := m.policy.Guard
	if m.policy.AllowDeletes && !m.policy.RestoreHeld || !g.ByShare && !g.ByCount {
		return held
	}
	account := 0
	for _, f := range in.Folders {
		account += f.Agreed
	}
	for _, side := range []Side{Server, Maildir} {
		before, perFolderBefore := 0, map[mail.FolderName]int{}
		for _, r := range in.Removed {
			if r.Side == side {
				before += r.Messages
				perFolderBefore[r.Folder] += r.Messages
			}
		}
		var counted []int
		perFolder := map[mail.FolderName]int{}
		for i, d := range m.deletions {
			if d.side == side || d.expunge {
				counted = append(counted, i)
				perFolder[d.row.Folder]++
			}
		}
		n, of := before+len(counted), before+account
		all := g.tooMany(n, of)
		if all {
			m.heldWhy(g, n, of, "the account", side)
		}
		for _, i := range counted {
			f := m.deletions[i].row.Folder
			n, of := perFolderBefore[f]+perFolder[f], perFolderBefore[f]+m.folder(f).Agreed
			if !all && g.tooMany(n, of) {
				m.heldWhy(g, n, of, string(f), side)
				held[i] = true
			}
			held[i] = held[i] || all
		}
	}
	for i, d := range m.deletions {
		if d.row.Guarded && !held[i] {
			held[i] = true
			m.because(stillHeld)
		}
	}
	return held
}

const stillHeld = "an earlier sync met more of them than the limit allows"

// tooMany reports whether n deletions out of total are more than the guard lets pass.
func (g Guard) tooMany(n, total int) bool {
	return g.ByShare && n > SmallDeletion && float64(n) > g.Share*float64(total) || g.ByCount && n > g.Count
}

func (m *maker) heldWhy(g Guard, n, total int, where string, side Side) {
	place := "on the server"
	if side == Maildir {
		place = "in the Maildir"
	}
	limit := fmt.Sprintf("%d", g.Count)
	if g.ByShare && n > SmallDeletion && float64(n) > g.Share*float64(total) {
		limit = fmt.Sprintf("%g%%", 100*g.Share)
	}
	m.because(fmt.Sprintf("%d of the %d messages in %s would be deleted %s; the limit is %s", n, max(n, total), where, place, limit)) // what waits is no longer agreed
}

// because keeps the first reasons.
func (m *maker) because(why string) {
	const most = 3
	if m.policy.RestoreHeld || slices.Contains(m.reasons, why) || len(m.reasons) == most {
		return
	}
	m.reasons = append(m.reasons, why)
	m.plan.HeldWhy = strings.Join(m.reasons, "; also ")
}
