package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Make plans what is to be done. What Questions still asks for counts as unknowable.
func Make(in Input) Plan {
	m := &maker{resolver: resolveFully(in), plan: Plan{Held: map[mail.FolderName]int{}}, budgets: budgets{in.Download, in.Upload}}
	m.plan.Ops = make([]Op, 0, len(m.rows)+len(m.remote)+len(m.local))
	for _, id := range m.forget {
		m.add(Op{Kind: Forget, Row: id, Reason: "its message is known under another row"})
	}
	for i := range m.rows {
		m.planRow(&m.rows[i])
	}
	m.planDeletions(in)
	m.planNew()
	m.planTransfers()
	m.planFolderDeletions(in)
	sortLarge(m.plan.Ops, compareOps)
	return m.plan
}

type maker struct {
	*resolver
	plan Plan
	// deletions are decided together, when the guard can count them.
	deletions []deletion
	reasons   []string // to hold them back
	// transfers are decided together where there is a budget for them.
	transfers []transfer
	budgets   budgets
}

func (m *maker) add(op Op) { m.plan.Ops = append(m.plan.Ops, op) }

// stage is the place of a kind of operation in the plan: additions first, removals last.
func stage(op Op) int {
	switch op.Kind {
	case Forget:
		if op.Folder == "" {
			return 0 // makes room for the row that takes the message over
		}
		return 6
	case Pairing, Rebind:
		return 1
	case Download:
		return 2
	case Upload:
		return 3
	case Move:
		return 4
	case SetFlags:
		return 5
	case Park:
		return 6
	case Delete:
		return 7
	case Hold:
		return 8
	default:
		return 9
	}
}

func compareOps(a, b Op) int {
	if c := cmp.Compare(stage(a), stage(b)); c != 0 {
		return c
	}
	switch a.Kind {
	case DeleteFolder: // children before parents
		return cmp.Or(compareFolders(b.Folder, a.Folder), strings.Compare(string(a.Side), string(b.Side)))
	case SetFlags, Delete: // where a row has both, the server's comes first
		if a.Side != b.Side {
			return compareBool(a.Side != Server, b.Side != Server)
		}
	}
	return cmp.Or(
		compareFolders(a.Folder, b.Folder),
		cmp.Compare(a.UID, b.UID),
		strings.Compare(a.Name, b.Name),
		cmp.Compare(a.Row, b.Row),
		strings.Compare(string(a.Side), string(b.Side)),
	)
}

// compareFolders puts INBOX first, because that is where people wait for mail.
func compareFolders(a, b mail.FolderName) int {
	return cmp.Or(compareBool(a != mail.Inbox, b != mail.Inbox), strings.Compare(string(a), string(b)))
}

// canHave reports whether a folder is on a side or may be created there.
func (m *maker) canHave(name mail.FolderName, side Side) bool {
	f := m.folder(name)
	if side == Server {
		return f.OnServer || name == mail.Inbox ||
			f.CanCreate && (m.policy.Create == CreateBoth || m.policy.Create == CreateServer)
	}
	return f.InMaildir || f.CanCreate && (m.policy.Create == CreateBoth || m.policy.Create == CreateMaildir)
}

// readOnly reports whether what is to be done in a mailbox has to wait.
func (m *maker) readOnly(name mail.FolderName) bool {
	if !m.folder(name).RemoteReadOnly {
		return false
	}
	if !slices.Contains(m.plan.ReadOnly, name) {
		m.plan.ReadOnly = append(m.plan.ReadOnly, name)
	}
	return true
}

// --- New messages ---

func (m *maker) planNew() {
	for i := range m.remote {
		x := &m.remote[i]
		if !m.folder(x.Folder).Target || x.row >= 0 {
			continue
		}
		if x.pair >= 0 {
			m.planPair(x, &m.local[x.pair])
			continue
		}
		m.planNewOnServer(x)
	}
	for i := range m.local {
		if x := &m.local[i]; m.folder(x.Folder).Target && x.row < 0 && x.pair < 0 {
			m.planNewInMaildir(x)
		}
	}
}

func (m *maker) planNewOnServer(x *remoteMessage) {
	op := Op{Side: Server, Folder: x.Folder, Row: x.Row, UID: x.UID, RemoteSeen: x.Flags}
	if x.unsure {
		m.park(op, Unreadable, "it may be a file that can't be read just now")
		return
	}
	if why, reason := m.keptFromMaildir(x.RemoteMessage); why != Agreed {
		m.park(op, why, reason)
		return
	}
	op.Kind, op.Side, op.Add, op.LocalSeen = Download, Maildir, x.Flags, x.Flags
	op.Reason = "new on the server"
	m.bring(transfer{op: op, due: x.Due, cost: costOf(x.RemoteMessage)})
}

// keptFromMaildir says why a new message stays on the server, Agreed if it is to be delivered.
func (m *maker) keptFromMaildir(x *RemoteMessage) (why Why, reason string) {
	switch {
	case x.Unknowable: // also in push mode, so that it is compared another time
		return Refused, "the server does not give the message"
	case m.policy.Mode == Push:
		return OneWay, "in push mode the server's messages stay on the server"
	case x.Park == OverDownload:
		return x.Park, tomorrow
	case x.Park == Dismissed:
		return x.Park, "deleted in the Maildir: it is not delivered again"
	case x.Park == Pending:
		return x.Park, "deleted in the Maildir, and the server lists it again: the next sync deletes it there"
	case x.Park != Agreed:
		return x.Park, "outside the configured limits"
	case !m.canHave(x.Folder, Maildir):
		return NoFolder, "the Maildir has no such folder and may not get one"
	}
	return Agreed, ""
}

func (m *maker) planNewInMaildir(x *localMessage) {
	op := Op{Side: Maildir, Folder: x.Folder, Row: x.Row, Name: x.Name, LocalSeen: x.Flags}
	switch {
	case x.Unknowable:
		m.park(op, Unreadable, "the file can't be read")
	case x.unsure:
		m.park(op, Refused, "it may be a message that the server does not give just now")
	case m.policy.Mode == Pull || m.policy.Mode == Archive:
		m.park(op, OneWay, fmt.Sprintf("in %s mode the Maildir's own messages stay in the Maildir", m.policy.Mode))
	case m.readOnly(x.Folder):
		m.park(op, ReadOnly, "the mailbox is read-only on the server")
	case x.Park != Agreed:
		m.park(op, x.Park, "outside the configured limits")
	case !m.canHave(x.Folder, Server):
		m.park(op, NoFolder, "the server has no such folder and may not get one")
	default:
		op.Kind, op.Side, op.Add, op.RemoteSeen = Upload, Server, x.Flags, x.Flags
		op.Reason = "new in the Maildir"
		m.bring(transfer{op: op, cost: cost{date: x.Date, size: x.FileSize}})
	}
}

// park remembers a message as known on one side only. If it is so remembered already, nothing is to be done.
func (m *maker) park(op Op, why Why, reason string) {
	if known, ok := m.parkedWhy[op.Row]; ok && op.Row != 0 && known == why {
		return
	}
	op.Kind, op.Why, op.Reason = Park, why, reason
	m.add(op)
}

// planPair makes one message of two that are the same, with the flags of both as far as the mode lets each side
// have them.
func (m *maker) planPair(r *remoteMessage, l *localMessage) {
	row := r.Row
	if row == 0 {
		row = l.Row
	} else if l.Row != 0 && l.Row != row {
		m.add(Op{Kind: Forget, Row: l.Row, Reason: "it is the same message as another row's"})
	}
	wantRemote, wantLocal := r.Flags.Plus(l.Flags), l.Flags.Plus(r.Flags)
	switch m.policy.Mode {
	case Pull:
		wantRemote, wantLocal = r.Flags, r.Flags
	case Push:
		wantRemote, wantLocal = l.Flags, l.Flags
	case Archive:
		wantRemote = r.Flags
	}
	if !wantRemote.Equal(r.Flags) && m.readOnly(r.Folder) {
		wantRemote = r.Flags
	}
	folder := r.Folder
	if m.policy.Maildrop {
		folder = l.Folder
	}
	op := Op{Kind: Pairing, Folder: folder, Row: row, UID: r.UID, Name: l.Name,
		RemoteSeen: r.Flags, LocalSeen: l.Flags, Reason: "both sides have the same message"}
	f := flagChange{remoteNow: r.Flags, localNow: l.Flags, remoteBase: r.Flags, localBase: l.Flags,
		wantRemote: wantRemote, wantLocal: wantLocal}
	if f.any() {
		// Until the flags are set, only what both have is agreed: a run that is stopped in between
		// must still know that the rest is missing on the other side.
		both := r.Flags.And(l.Flags)
		op.RemoteSeen, op.LocalSeen, f.remoteBase, f.localBase = both, both, both, both
	}
	m.add(op)
	m.setFlags(Op{Folder: op.Folder, Row: row, UID: op.UID, Name: op.Name}, f)
	if r.Due {
		m.leaveMaildrop(op)
	}
}

// --- Flags ---

// flagChange is a row's flags in the state, now, and as they are to be.
type flagChange struct {
	remoteBase, localBase mail.Flags
	remoteNow, localNow   mail.Flags
	wantRemote, wantLocal mail.Flags
	// withheld are keywords that are removed from the Maildir only, because the mailbox is read-only.
	withheld mail.Flags
	// noted are those that the state has in place of localBase, if isNoted.
	isNoted bool
	noted   mail.Flags
}

// any reports whether a side must be changed.
func (f flagChange) any() bool {
	return !f.wantRemote.Equal(f.remoteNow) || !f.wantLocal.Equal(f.localNow)
}

// mergeFlags says what flags a row is to have, by mode. Every flag is merged on its own, against
// each side's own base.
func (m *maker) mergeFlags(x *row) flagChange {
	f := flagChange{
		remoteBase: x.RemoteFlags, localBase: x.LocalFlags,
		remoteNow: x.remote.flags, localNow: x.local.flags, isNoted: x.keepsNoted(x.remote.folder) && x.local.folder == x.Folder, noted: x.Noted,
	}
	f.wantRemote, f.wantLocal = f.remoteNow, f.localNow
	switch m.policy.Mode {
	case TwoWay:
		f.wantRemote = mail.Merge(f.remoteNow, f.localBase, f.localNow)
		f.wantLocal = mail.Merge(f.localNow, f.remoteBase, f.remoteNow)
	case Pull: // from the base on, so that what was changed locally is taken back
		f.wantLocal = mail.Merge(f.localBase, f.remoteBase, f.remoteNow)
	case Push:
		f.wantRemote = mail.Merge(f.remoteBase, f.localBase, f.localNow)
	case Archive:
		f.wantLocal = mail.Merge(f.localNow, f.remoteBase, f.remoteNow)
	}
	f.wantRemote, f.wantLocal = x.unmarked(f.wantRemote), x.unmarked(f.wantLocal)
	if !f.wantRemote.Equal(f.remoteNow) && m.readOnly(x.remote.folder) {
		// What the Maildir lacks may be taken for a keyword that has no letter there, which nobody removed. So one that somebody removed is
		// not learnt, and seen again.
		if f.withheld = f.remoteNow.And(f.localBase.Minus(f.localNow)).KeywordsOnly(); !f.withheld.IsZero() {
			m.plan.ListAgain = append(m.plan.ListAgain, x.local.folder, x.remote.folder) // if it moves, it is there
		}
		f.wantRemote = f.remoteNow
	}
	return f
}

// setFlags plans what f asks for on the message that op names.
func (m *maker) setFlags(op Op, f flagChange) {
	op.Kind = SetFlags
	remote, local := op, op
	remote.Side, remote.Reason = Server, "flags changed in the Maildir"
	remote.Add, remote.Remove = f.wantRemote.Minus(f.remoteNow), f.remoteNow.Minus(f.wantRemote)
	remote.RemoteSeen, remote.LocalSeen = f.wantRemote, f.localNow
	local.Side, local.Reason = Maildir, "flags changed on the server"
	local.Add, local.Remove = f.wantLocal.Minus(f.localNow), f.localNow.Minus(f.wantLocal)
	local.RemoteSeen, local.LocalSeen = f.wantRemote, f.wantLocal.Plus(f.withheld)

	atServer, inMaildir := !f.wantRemote.Equal(f.remoteNow), !f.wantLocal.Equal(f.localNow)
	if m.policy.Mode == Pull {
		local.Reason = "flags as on the server"
	}
	if m.policy.Mode == Push {
		remote.Reason = "flags as in the Maildir"
	}
	if atServer && inMaildir {
		// When only the server's half is done, the Maildir still lacks what the server changed: to the
		// state that change must look as if nobody had seen it yet.
		remote.RemoteSeen = mail.Merge(f.remoteBase, f.localBase, f.localNow)
	}
	if atServer {
		m.add(remote)
	}
	known := f.localBase
	if f.isNoted {
		known = f.noted
	}
	if inMaildir || !atServer && !(f.remoteNow.Equal(f.remoteBase) && f.localNow.Plus(f.withheld).Equal(known)) {
		if !inMaildir {
			local.Reason = "flags as found"
		}
		m.add(local)
	}
}
