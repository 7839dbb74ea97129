package plan

import (
	"github.com/satchel-mail/satchel/internal/mail"
)

// A maildrop is a server that has one mailbox, without folders and flags, and calls its messages by names of its own (POP3). The rules
// for it, beside those of the mode Archive:
//
//   - A message is delivered once. Wherever its file is moved, the row goes along, and still means the message on the server.
//   - Flags are the Maildir's alone.
//   - That the server does not have a message any more says nothing about the Maildir.
//   - A message leaves the server when its time is over (Due) and the Maildir has it, or when the person deletes it and UntilDeleted
//     says so. Only the second is a deletion to the guard, and what was due and is not in the Maildir either: then nobody has it.

// overdue is why a message is deleted on the server that the person has deleted in the Maildir without meaning the server.
const overdue = "deleted in the Maildir, and its time on the server is over"

// Listed is a message that a maildrop lists.
type Listed struct {
	ID   string // empty: the server has no name for it
	Size int64  // -1: it does not say
}

// Numbered is a row whose message a maildrop had.
type Numbered struct {
	Row  int64
	UID  mail.UID
	ID   string
	Size int64
}

// ListingMatch says which listed messages are known.
type ListingMatch struct {
	// Known has, for every listed message, the index of the known one that it is, -1 if there is none.
	Known []int
	// Untold marks listed messages of which the server did not say all; they are left for later.
	Untold []bool
	// Doubtful marks listed messages whose names don't tell whether they are known. Only their content can.
	Doubtful []bool
	// Remote says what became of every known message: Present, Gone or, if it may be one of the doubtful ones, Lost.
	Remote []Presence
	// Renamed: the server has mail, and none under a name that is known. It may have given new ones to all, and counts the sizes
	// anew perhaps: every message that had a name is Lost, and any that is listed may be it.
	Renamed bool
}

// MatchListing finds known messages in a maildrop's listing by their names. A name is believed if it is one message's only, in the
// listing and among the known ones, and if the size is the same: servers give names twice, or to another message later. partial
// says that the listing is not whole: what it leaves out is not gone, and a message without the name that it should have, where
// named says so, or without a size is not looked at: it may be a known one.
func MatchListing(listed []Listed, known []Numbered, named, partial bool) ListingMatch {
	m := ListingMatch{
		Known: make([]int, len(listed)), Untold: make([]bool, len(listed)), Doubtful: make([]bool, len(listed)), Remote: make([]Presence, len(known)),
	}
	type row struct{ times, at int }
	byID := make(map[string]row, len(known))
	for i := range known {
		byID[known[i].ID] = row{byID[known[i].ID].times + 1, i}
	}
	times := make(map[string]int, len(listed))
	for i := range listed {
		times[listed[i].ID]++
	}
	for i := range known {
		switch {
		case known[i].ID == "" && !(named && partial) || known[i].ID != "" && times[known[i].ID] > 0:
			m.Remote[i] = Lost // until it is found
		case !partial:
			m.Remote[i] = Gone
		}
	}
	if m.Renamed = isRenamed(listed, known, times); m.Renamed {
		for i := range m.Remote {
			m.Remote[i] = Lost
		}
	}
	for i, l := range listed {
		m.Known[i] = -1
		k, isKnown := byID[l.ID]
		switch {
		case partial && l.ID == "" && (named || l.Size < 0):
			m.Untold[i] = true
		case l.ID != "" && !isKnown:
			m.Doubtful[i] = times[l.ID] > 1
		case l.ID == "" || times[l.ID] > 1 || k.times > 1 || !sameSize(l.Size, known[k.at].Size):
			m.Doubtful[i] = true
		default:
			m.Known[i], m.Remote[k.at] = k.at, Present
		}
	}
	return m
}

// isRenamed reports whether there were names, something is listed, and none of them is; times counts the listed names.
func isRenamed(listed []Listed, known []Numbered, times map[string]int) bool {
	had := false
	for i := range known {
		had = had || known[i].ID != ""
		if known[i].ID != "" && times[known[i].ID] > 0 {
			return false
		}
	}
	return had && len(listed) > 0
}

// sameSize compares sizes as a server told them, if it told both.
func sameSize(a, b int64) bool { return a == b || a < 0 || b < 0 }

// planInMaildrop is planAgreed for a maildrop.
func (m *maker) planInMaildrop(x *row) {
	r, l := &x.remote, x.local
	switch {
	case r.found == none && l.found == have:
		// Its name does not tell whether the server still has it, and nothing there is the same: it may be again.
		if l.folder != x.Folder || l.msg >= 0 {
			m.rebind(x, l.folder, "found again")
		}
	case r.found == none && l.found == gone && m.policy.UntilDeleted:
		m.parkOnServer(x, Pending, "deleted in the Maildir, and not found on the server: it is deleted there should it be listed again")
	case r.found == none && l.found == gone:
		m.parkOnServer(x, Dismissed, "deleted in the Maildir: it is not delivered again")
	case r.found != have && l.found != have:
		m.forgetRow(x, "gone on both sides")
	case r.found != have:
		m.parkInMaildir(x, OneWay, "gone from the server: it stays in the Maildir")
	case l.found == have:
		if l.folder != x.Folder || r.msg >= 0 || l.msg >= 0 || x.RemoteHeld || x.LocalHeld || x.Guarded {
			m.rebind(x, l.folder, "found again")
		}
		op := Op{Folder: l.folder, Row: x.ID, UID: r.uid, Name: l.name}
		m.setFlags(op, m.mergeFlags(x))
		if x.Due {
			m.leaveMaildrop(op)
		}
	case l.found == none:
		m.download(x, "missing in the Maildir, but nobody deleted it")
	case m.policy.UntilDeleted:
		m.remove(x, Server, "deleted in the Maildir")
	case x.Due:
		m.remove(x, Server, overdue)
	default:
		m.parkOnServer(x, Dismissed, "deleted in the Maildir: it is not delivered again")
	}
}

// planDeletedBefore is planParked for a message that is in the maildrop, and that the person has deleted from the Maildir. It reports whether there is
// no more to plan.
func (m *maker) planDeletedBefore(x *row) bool {
	if !m.policy.Maildrop || x.Why != Dismissed && x.Why != Pending {
		return false
	}
	switch {
	case x.remote.found == none:
		// As in planInMaildrop it may be listed again, and must not be new then.
	case x.remote.found == have && x.Due:
		m.remove(x, Server, overdue)
	case x.remote.found == have && x.Why == Pending && m.policy.UntilDeleted:
		m.remove(x, Server, "deleted in the Maildir, and on the server, which lists it again")
	default:
		return false
	}
	return true
}

// leaveMaildrop deletes the message of op on the server once the Maildir has it.
func (m *maker) leaveMaildrop(op Op) {
	m.add(Op{Kind: Delete, Side: Server, Folder: op.Folder, Row: op.Row, UID: op.UID, Name: op.Name, Kept: true,
		Reason: "the Maildir has it, and its time on the server is over"})
}

// pairMaildrop finds new messages that the Maildir has already, in whatever folder.
func (r *resolver) pairMaildrop() {
	all := func(n int) []int { return span{next: n}.indices() }
	r.pairFolder(all(len(r.remote)), all(len(r.local)))
}
