package plan

import (
	"cmp"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
)

// sameFolder is the share of a folder's messages that a candidate must hold to be taken for it.
const sameFolder = 0.9

// FolderQuestions returns which missing folders must be compared with which unknown ones before Folders
// can tell renames. It is empty when nothing more must be known.
func FolderQuestions(in FolderInput) []FolderQuestion {
	f := matchFolders(in)
	slices.SortFunc(f.questions, compareFolderQuestions)
	return f.questions
}

// Folders plans what is to be done about folders before any message is looked at. What FolderQuestions
// still asks for counts as no.
func Folders(in FolderInput) []FolderOp {
	f := matchFolders(in)
	f.chooseNames()
	return append(f.renames(), f.creations()...)
}

// known is a base folder and what became of it.
type known struct {
	BaseFolder
	remote *RemoteFolder // nil: not on the server now
	local  *LocalFolder  // nil: not in the Maildir now
	// want is its name after this run, side the side that must be renamed, empty for none.
	want    mail.FolderName
	side    Side
	mailbox string // the server's name then
	follow  bool   // only the state must learn its name
}

// localName is the folder's present name in the Maildir, or the one that the state knows.
func (k *known) localName() mail.FolderName {
	if k.local != nil {
		return k.local.Name
	}
	return k.Name
}

// remoteName is the folder's present name on the server, or the one that the state knows.
func (k *known) remoteName() mail.FolderName {
	if k.remote != nil {
		return k.remote.Name
	}
	return k.Name
}

// movedOnServer reports whether the server calls it otherwise now, or the configuration does.
func (k *known) movedOnServer() bool { return k.remote != nil && k.remote.Name != k.Name }

func (k *known) movedInMaildir() bool { return k.local != nil && k.local.Name != k.Name }

// mapped reports whether only the configuration gives it another name.
func (k *known) mapped() bool { return k.movedOnServer() && k.remote.Mailbox == k.Mailbox }

// isInbox reports whether it is the mailbox that the server never renames.
func (k *known) isInbox() bool { return strings.EqualFold(k.Mailbox, string(mail.Inbox)) }

type folderMatch struct {
	FolderInput
	folders   []known // by name
	questions []FolderQuestion
	// usedRemote and usedLocal tell which present folders are base folders.
	usedRemote, usedLocal map[mail.FolderName]bool
	// takenAlong are the folders without a base that a rename of a folder above them has moved.
	takenAlong map[folderOn]bool
}

func matchFolders(in FolderInput) *folderMatch {
	f := &folderMatch{FolderInput: in, usedRemote: make(map[mail.FolderName]bool, len(in.Remote)),
		usedLocal: make(map[mail.FolderName]bool, len(in.Local))}
	f.Remote, f.Local = slices.Clone(in.Remote), slices.Clone(in.Local)
	slices.SortFunc(f.Remote, func(a, b RemoteFolder) int { return strings.Compare(string(a.Name), string(b.Name)) })
	slices.SortFunc(f.Local, func(a, b LocalFolder) int { return strings.Compare(string(a.Name), string(b.Name)) })
	f.folders = make([]known, 0, len(in.Base))
	for _, b := range in.Base {
		f.folders = append(f.folders, known{BaseFolder: b})
	}
	slices.SortFunc(f.folders, func(a, b known) int {
		return cmp.Or(strings.Compare(string(a.Name), string(b.Name)), cmp.Compare(a.ID, b.ID))
	})
	f.matchMailboxIDs()
	f.matchRemoteNames()
	f.matchLocalNames()
	f.matchRemoteContents()
	f.matchLocalContents()
	return f
}

func (f *folderMatch) onServer(k *known, r *RemoteFolder) {
	k.remote = r
	f.usedRemote[r.Name] = true
}

func (f *folderMatch) inMaildir(k *known, l *LocalFolder) {
	k.local = l
	f.usedLocal[l.Name] = true
}

// matchMailboxIDs follows the identity that some servers give a mailbox. One that occurs twice is none.
func (f *folderMatch) matchMailboxIDs() {
	byID := map[string]*RemoteFolder{}
	times := map[string]int{}
	for i := range f.Remote {
		if id := f.Remote[i].MailboxID; id != "" {
			byID[id] = &f.Remote[i]
			times[id]++
		}
	}
	bases := map[string]int{}
	for i := range f.folders {
		bases[f.folders[i].MailboxID]++
	}
	for i := range f.folders {
		k := &f.folders[i]
		if k.MailboxID == "" || k.Mailbox == "" || bases[k.MailboxID] > 1 || times[k.MailboxID] != 1 {
			continue
		}
		f.onServer(k, byID[k.MailboxID])
	}
}

func (f *folderMatch) matchRemoteNames() {
	byMailbox := map[string]*RemoteFolder{}
	for i := range f.Remote {
		byMailbox[f.Remote[i].Mailbox] = &f.Remote[i]
	}
	for i := range f.folders {
		k := &f.folders[i]
		if r := byMailbox[k.Mailbox]; k.remote == nil && k.Mailbox != "" && r != nil && !f.usedRemote[r.Name] {
			f.onServer(k, r)
		}
	}
}

func (f *folderMatch) matchLocalNames() {
	byName := map[mail.FolderName]*LocalFolder{}
	for i := range f.Local {
		byName[f.Local[i].Name] = &f.Local[i]
	}
	for i := range f.folders {
		k := &f.folders[i]
		if l := byName[k.Name]; k.OnDisk && l != nil && !f.usedLocal[l.Name] {
			f.inMaildir(k, l)
		}
	}
}

// candidate is a folder that may be a missing base folder, and how much of its messages it holds.
type candidate struct {
	base, at int
	share    float64
}

// takeBest matches candidates, the best share first, each folder once.
func takeBest(candidates []candidate, take func(candidate)) {
	slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Compare(b.share, a.share) })
	bases, at := map[int]bool{}, map[int]bool{}
	for _, c := range candidates {
		if c.share >= sameFolder && !bases[c.base] && !at[c.at] {
			bases[c.base], at[c.at] = true, true
			take(c)
		}
	}
}

// matchRemoteContents finds renamed mailboxes on servers without mailbox identities: the same UIDVALIDITY
// nominates, the UIDs decide.
func (f *folderMatch) matchRemoteContents() {
	byValidity := map[uint64][]int{}
	for i := range f.Remote {
		if r := &f.Remote[i]; !f.usedRemote[r.Name] && r.UIDValidity != 0 {
			byValidity[r.UIDValidity] = append(byValidity[r.UIDValidity], i)
		}
	}
	var found []candidate
	for i := range f.folders {
		k := &f.folders[i]
		if k.remote != nil || k.Mailbox == "" || k.Messages == 0 || k.isInbox() {
			continue
		}
		for _, j := range byValidity[k.UIDValidity] {
			r := &f.Remote[j]
			if k.MailboxID != "" && r.MailboxID != "" {
				continue // both have an identity, and it is not the same
			}
			q := FolderQuestion{Side: Server, Base: k.ID, Candidate: r.Name}
			if share, ok := f.RemoteSame[q]; ok {
				found = append(found, candidate{i, j, share})
			} else {
				f.questions = append(f.questions, q)
			}
		}
	}
	takeBest(found, func(c candidate) { f.onServer(&f.folders[c.base], &f.Remote[c.at]) })
}

// matchLocalContents finds renamed directories: the inode, which file systems give away again, nominates, the
// file names decide.
func (f *folderMatch) matchLocalContents() {
	byInode := map[uint64][]int{}
	for i := range f.Local {
		if l := &f.Local[i]; !f.usedLocal[l.Name] && l.Inode != 0 {
			byInode[l.Inode] = append(byInode[l.Inode], i)
		}
	}
	var found []candidate
	for i := range f.folders {
		k := &f.folders[i]
		if k.local != nil || !k.OnDisk {
			continue
		}
		for _, j := range byInode[k.Inode] {
			q := FolderQuestion{Side: Maildir, Base: k.ID, Candidate: f.Local[j].Name}
			share, ok := f.LocalSame[q]
			switch {
			case k.Messages == 0:
				found = append(found, candidate{i, j, 1})
			case ok:
				found = append(found, candidate{i, j, share})
			default:
				f.questions = append(f.questions, q)
			}
		}
	}
	takeBest(found, func(c candidate) { f.inMaildir(&f.folders[c.base], &f.Local[c.at]) })
}

// chooseNames decides for every base folder what it is to be called, and which side must be renamed.
func (f *folderMatch) chooseNames() {
	for i := range f.folders {
		k := &f.folders[i]
		k.want, k.mailbox = k.Name, k.Mailbox
		if k.remote != nil {
			k.mailbox = k.remote.Mailbox
		}
		f.chooseName(k)
	}
}

func (f *folderMatch) chooseName(k *known) {
	mode := f.Policy.Mode
	onServer, inMaildir := k.movedOnServer(), k.movedInMaildir()
	switch {
	case k.remote == nil && inMaildir || k.local == nil && k.OnDisk && onServer:
		// Deleted on one side and renamed on the other: it lives on under its new name, as a new folder into
		// which the messages have moved.
	case k.local == nil && !k.OnDisk || k.remote == nil && k.Mailbox == "": // only one side has it
		k.want = k.Name
		if onServer {
			k.want = k.remote.Name
		}
		if inMaildir {
			k.want, k.mailbox = k.local.Name, ""
		}
		k.follow = k.want != k.Name || k.remote != nil && k.remote.Mailbox != k.Mailbox
	case onServer && inMaildir && k.remote.Name == k.local.Name:
		k.want, k.follow = k.remote.Name, true
	case k.mapped() || onServer && (mode == TwoWay || mode == Pull || mode == Archive && !inMaildir):
		k.want, k.side = k.remote.Name, Maildir
	case inMaildir && !onServer && mode == Pull:
		k.want, k.side = k.Name, Maildir
	case (inMaildir && (mode == TwoWay || mode == Push) || onServer && mode == Push) && !k.isInbox():
		k.want, k.side = k.localName(), Server
		if inMaildir {
			k.mailbox = k.local.Mailbox
		} else {
			k.mailbox = k.Mailbox
		}
		if k.mailbox == "" { // the server can't have such a name
			k.want, k.side = k.Name, ""
		}
	case k.remote != nil && k.local != nil && k.remote.Mailbox != k.Mailbox && !onServer:
		k.follow = true // the configuration gives the server's new name the same local one
	}
}

// from is what the folder is called on the side that must be renamed.
func (k *known) from() mail.FolderName {
	if k.side == Server {
		return k.remoteName()
	}
	return k.localName()
}

// dropConflicts gives up renames onto names that are taken and not given up themselves: such folders
// count as gone and new, and their messages as moved.
func (f *folderMatch) dropConflicts() {
	for {
		again := false
		for i := range f.folders {
			k := &f.folders[i]
			if (k.side != "" || k.follow && k.want != k.Name) && f.taken(k) {
				k.giveUp()
				again = true
			}
		}
		if !again {
			return
		}
	}
}

// giveUp leaves a folder's names as they are.
func (k *known) giveUp() { k.want, k.mailbox, k.side, k.follow = k.Name, k.Mailbox, "", false }

// taken reports whether k can't be called what it is to be called. The Maildir's INBOX always has that name.
func (f *folderMatch) taken(k *known) bool {
	from := k.Name
	if k.side != "" {
		from = k.from()
	}
	if k.want.Under(from) || from.Under(k.want) || k.side == Maildir && (from == mail.Inbox || k.want == mail.Inbox) {
		return true
	}
	for i := range f.folders { // names in the state
		o := &f.folders[i]
		if o.ID != k.ID && o.want == k.want {
			return true
		}
		if o.ID != k.ID && o.want.Under(k.want) && !o.Name.Under(k.Name) {
			return true
		}
	}
	leaves := func(name mail.FolderName, side Side) bool { // a present folder that is renamed away
		for i := range f.folders {
			o := &f.folders[i]
			if o.side == side && o.from() == name && o.want != name {
				return true
			}
		}
		return false
	}
	if k.side == Maildir {
		for _, l := range f.Local {
			if (l.Name == k.want || l.Name.Under(k.want)) && !leaves(l.Name, Maildir) {
				return true
			}
		}
	}
	if k.side == Server {
		for _, r := range f.Remote {
			if (r.Name == k.want || r.Name.Under(k.want)) && !leaves(r.Name, Server) {
				return true
			}
		}
	}
	return false
}

func compareFolderQuestions(a, b FolderQuestion) int {
	return cmp.Or(strings.Compare(string(a.Side), string(b.Side)), cmp.Compare(a.Base, b.Base),
		strings.Compare(string(a.Candidate), string(b.Candidate)))
}
