package plan

import (
	"cmp"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
)

// parkingSuffix names a folder for the moment in which several folders swap their names.
const parkingSuffix = "-satchel-renaming"

// renamer plays renames through, because a folder takes with it all that is below.
type renamer struct {
	folders []known
	// now are the present names of the base folders on each side, state and mailbox what the
	// state calls them; others are the names of the folders that have no base.
	server, maildir, state []mail.FolderName
	mailbox                []string
	others                 map[Side][]mail.FolderName
	carried                map[folderOn]bool // names, as they were, of the folders without a base that were taken along
	ops                    []FolderOp
}

// renames returns the renames in an order that works. One that can't be carried out after all is given up.
func (f *folderMatch) renames() []FolderOp {
	for {
		f.dropConflicts()
		r := f.newRenamer()
		stuck := r.play()
		if stuck < 0 {
			f.takenAlong = r.carried
			return r.ops
		}
		f.folders[stuck].giveUp()
	}
}

// play carries out all renames in the model. It returns a folder that can't get its name, -1 if there is none.
func (r *renamer) play() int {
	var waiting []int
	for i := range r.folders {
		if r.folders[i].side != "" {
			waiting = append(waiting, i)
		}
	}
	slices.SortStableFunc(waiting, func(a, b int) int { return cmp.Compare(depth(r.at(a)), depth(r.at(b))) })
	parked := map[int]bool{}
	for len(waiting) > 0 {
		n := slices.IndexFunc(waiting, func(i int) bool {
			return r.at(i) == r.folders[i].want || !r.occupied(i) && !r.below(i, waiting)
		})
		if n < 0 && r.followOne() {
			continue
		}
		if n < 0 { // they swap names: one of them makes room
			n = slices.IndexFunc(waiting, func(i int) bool { return !parked[i] && !r.below(i, waiting) })
			if n < 0 {
				return waiting[0]
			}
			i := waiting[n]
			parked[i] = true
			r.rename(i, r.folders[i].side, r.at(i)+parkingSuffix, "names are swapped")
			continue
		}
		i := waiting[n]
		waiting = slices.Delete(waiting, n, n+1)
		if r.at(i) != r.folders[i].want {
			r.rename(i, r.folders[i].side, r.folders[i].want, r.folders[i].reason())
		}
	}
	r.bringBack()
	return r.follow()
}

func depth(name mail.FolderName) int { return strings.Count(string(name), "/") }

func (k *known) reason() string {
	switch {
	case k.mapped():
		return "the configuration gives it another name"
	case k.side == Server && k.movedInMaildir():
		return "renamed in the Maildir"
	case k.side == Server:
		return "renamed on the server: in push mode it is renamed back"
	case k.movedOnServer():
		return "renamed on the server"
	default:
		return "renamed in the Maildir: in pull mode it is renamed back"
	}
}

func (f *folderMatch) newRenamer() *renamer {
	r := &renamer{folders: f.folders, others: map[Side][]mail.FolderName{}, carried: map[folderOn]bool{}}
	n := len(f.folders)
	r.server, r.maildir, r.state = make([]mail.FolderName, 0, n), make([]mail.FolderName, 0, n), make([]mail.FolderName, 0, n)
	r.mailbox = make([]string, 0, n)
	for i := range f.folders {
		k := &f.folders[i]
		r.server = append(r.server, k.remoteName())
		r.maildir = append(r.maildir, k.localName())
		r.state = append(r.state, k.Name)
		r.mailbox = append(r.mailbox, k.Mailbox)
	}
	for _, x := range f.Remote {
		if !f.usedRemote[x.Name] {
			r.others[Server] = append(r.others[Server], x.Name)
		}
	}
	for _, x := range f.Local {
		if !f.usedLocal[x.Name] {
			r.others[Maildir] = append(r.others[Maildir], x.Name)
		}
	}
	return r
}

func (r *renamer) names(side Side) []mail.FolderName {
	if side == Server {
		return r.server
	}
	return r.maildir
}

// at is what a folder is called now on the side that is to be renamed.
func (r *renamer) at(i int) mail.FolderName { return r.names(r.folders[i].side)[i] }

func (r *renamer) present(i int, side Side) bool {
	if side == Server {
		return r.folders[i].remote != nil
	}
	return r.folders[i].local != nil
}

// occupied reports whether another folder has the name that i is to get.
func (r *renamer) occupied(i int) bool {
	k := &r.folders[i]
	names := r.names(k.side)
	for j := range names {
		if j != i && (r.present(j, k.side) && within(names[j], k.want) || r.state[j] == k.want) {
			return true
		}
	}
	return slices.ContainsFunc(r.others[k.side], func(n mail.FolderName) bool { return within(n, k.want) })
}

// below reports whether folder i lies below one that waits to be renamed, which may take it along.
func (r *renamer) below(i int, waiting []int) bool {
	return slices.ContainsFunc(waiting, func(j int) bool {
		return r.folders[j].side == r.folders[i].side && r.at(i).Under(r.at(j))
	})
}

// within reports whether a folder is another one or lies below it.
func within(name, top mail.FolderName) bool { return name == top || name.Under(top) }

// rename gives folder i, with all below it, another name on a side and in the state.
func (r *renamer) rename(i int, side Side, to mail.FolderName, reason string) {
	names := r.names(side)
	from, fromState, fromMailbox, mailbox := names[i], r.state[i], r.mailbox[i], r.folders[i].mailbox
	if strings.HasSuffix(string(to), parkingSuffix) && side == Server {
		mailbox = r.folders[i].remote.Mailbox + parkingSuffix
	}
	for j := range names {
		if within(names[j], from) {
			names[j] = to + names[j][len(from):]
		}
		if within(r.state[j], fromState) {
			r.state[j] = to + r.state[j][len(fromState):]
			r.mailbox[j] = replacePrefix(r.mailbox[j], fromMailbox, mailbox)
		}
	}
	for j, n := range r.others[side] {
		if within(n, from) {
			r.carried[folderOn{n, side}] = true
			r.others[side][j] = to + n[len(from):]
		}
	}
	r.ops = append(r.ops, FolderOp{Kind: RenameFolder, Side: side, Folder: to, From: from,
		Base: r.folders[i].ID, Mailbox: mailbox, Reason: reason})
}

// bringBack renames what was taken along with a folder above it and should have stayed, or has another
// name to get. A folder that only one side has stays where it was taken.
func (r *renamer) bringBack() {
	for i := range r.folders {
		k := &r.folders[i]
		if k.local == nil || k.remote == nil {
			continue
		}
		if r.maildir[i] != k.want && r.maildir[i] != k.localName() {
			r.rename(i, Maildir, k.want, "it is not renamed with the folder above it")
		}
		if r.server[i] != k.want && r.server[i] != k.remoteName() {
			r.rename(i, Server, k.want, "it is not renamed with the folder above it")
		}
	}
}

// follow tells the state the names that no rename told it. It returns a folder that can't get its name, -1 if there is none.
func (r *renamer) follow() int {
	begun, told := map[int]bool{}, map[int]bool{}
	var tell func(i int)
	tell = func(i int) {
		if _, news := r.news(i); !news || begun[i] {
			return
		}
		begun[i] = true
		for j, name := range r.state { // a folder above takes it along
			if r.state[i].Under(name) {
				tell(j)
			}
		}
		to, _ := r.news(i)
		for _, j := range r.holders(i, to) {
			if tell(j); begun[j] && !told[j] { // they swap names
				r.tell(j, r.state[j]+parkingSuffix)
			}
		}
		if len(r.holders(i, to)) == 0 {
			told[i] = true
			r.tell(i, to)
		}
	}
	for i := range r.folders {
		tell(i)
	}
	for i := range r.folders {
		if begun[i] && !told[i] {
			return i
		}
	}
	return -1
}

// holders are the folders that have, in the state, the name that i would get, or one that what it takes along would.
func (r *renamer) holders(i int, to mail.FolderName) []int {
	from := r.state[i]
	var there []int
	for j, n := range r.state {
		if within(n, to) && !within(n, from) {
			there = append(there, j)
		}
	}
	if len(there) == 0 {
		return nil
	}
	wanted := map[mail.FolderName]bool{}
	for _, n := range r.state {
		if within(n, from) {
			wanted[to+n[len(from):]] = true
		}
	}
	return slices.DeleteFunc(there, func(j int) bool { return !wanted[r.state[j]] })
}

// news is the name that the state has to learn for folder i, which may be the one that it knows, with another mailbox. It reports whether there is
// anything to learn.
func (r *renamer) news(i int) (to mail.FolderName, news bool) {
	k := &r.folders[i]
	carriedOnServer := k.remote != nil && r.server[i] != k.remoteName()
	newMailbox := k.remote != nil && k.local != nil && !carriedOnServer && k.side != Server &&
		(k.follow || k.side != "" || r.state[i] != k.Name) && r.mailbox[i] != k.remote.Mailbox
	if k.follow {
		return k.want, newMailbox || r.state[i] != k.want || r.mailbox[i] != k.mailbox
	}
	return r.state[i], newMailbox
}

// tell has the state call folder i, with all below it, otherwise.
func (r *renamer) tell(i int, to mail.FolderName) {
	k := &r.folders[i]
	r.ops = append(r.ops, FolderOp{Kind: FollowFolder, Folder: to, From: r.state[i], Base: k.ID, Mailbox: k.mailbox,
		Reason: "renamed on every side that has it"})
	from, fromMailbox := r.state[i], r.mailbox[i]
	for j := range r.state {
		if within(r.state[j], from) {
			r.state[j] = to + r.state[j][len(from):]
			r.mailbox[j] = replacePrefix(r.mailbox[j], fromMailbox, k.mailbox)
		}
	}
}

// followOne tells the state a name that a folder has already, so that it no longer holds the name that another one is to get: a swap of names
// was stopped in its middle. It reports whether there was one.
func (r *renamer) followOne() bool {
	for i := range r.folders {
		k := &r.folders[i]
		if k.follow && k.side == "" && r.state[i] != k.want && len(r.holders(i, k.want)) == 0 && r.maildir[i] == k.localName() && r.server[i] == k.remoteName() {
			r.tell(i, k.want)
			return true
		}
	}
	return false
}

// replacePrefix is what a server's name becomes when a folder above is called otherwise.
func replacePrefix(mailbox, from, to string) string {
	if rest, ok := strings.CutPrefix(mailbox, from); ok && from != "" {
		return to + rest
	}
	return mailbox
}

// --- New folders ---

// creations are the folders that a side has and the other one is to get.
func (f *folderMatch) creations() []FolderOp {
	onServer, inMaildir := map[mail.FolderName]bool{}, map[mail.FolderName]bool{}
	for i := range f.folders {
		k := &f.folders[i]
		if k.side != "" { // neither is new under the name that it has now: a rename brings them together
			onServer[k.localName()], inMaildir[k.remoteName()] = true, true
			onServer[k.want], inMaildir[k.want] = true, true
		}
	}
	for _, r := range f.Remote {
		onServer[r.Name] = true
	}
	for _, l := range f.Local {
		inMaildir[l.Name] = true
	}
	base := map[mail.FolderName]*known{}
	for i := range f.folders {
		base[f.folders[i].Name] = &f.folders[i]
	}

	var ops []FolderOp
	for i := range f.Remote {
		r := &f.Remote[i]
		k := base[r.Name]
		if k != nil && k.remote != r {
			k = nil // the base folder of this name is another one
		}
		if !inMaildir[r.Name] && !f.takenAlong[folderOn{r.Name, Server}] && f.mayCreateInMaildir(k) {
			ops = append(ops, createFolder(Maildir, r.Name, r.Mailbox, k))
		}
	}
	for i := range f.Local {
		l := &f.Local[i]
		k := base[l.Name]
		if k != nil && k.local != l && k.OnDisk {
			k = nil
		}
		if !onServer[l.Name] && !f.takenAlong[folderOn{l.Name, Maildir}] && f.mayCreateOnServer(l, k) {
			ops = append(ops, createFolder(Server, l.Name, l.Mailbox, k))
		}
	}
	slices.SortFunc(ops, func(a, b FolderOp) int {
		return cmp.Or(compareFolders(a.Folder, b.Folder), strings.Compare(string(a.Side), string(b.Side)))
	})
	return ops
}

func createFolder(side Side, name mail.FolderName, mailbox string, k *known) FolderOp {
	op := FolderOp{Kind: CreateFolder, Side: side, Folder: name, Mailbox: mailbox, Reason: "new on the server"}
	if side == Server {
		op.Reason = "new in the Maildir"
	}
	if k != nil {
		op.Base = k.ID
	}
	return op
}

// mayCreateInMaildir: k is the base folder, nil if there is none. A folder that the Maildir had and has no more
// was deleted there; only pull takes that back.
func (f *folderMatch) mayCreateInMaildir(k *known) bool {
	return f.Policy.CreatesFolders(Maildir) && (k == nil || !k.OnDisk || f.Policy.Mode == Pull || f.Keep)
}

// mayCreateOnServer is the same for the server. A folder that was never known to be in the Maildir, but is there now, is new there, whatever
// became of the server's.
func (f *folderMatch) mayCreateOnServer(l *LocalFolder, k *known) bool {
	if !f.Policy.CreatesFolders(Server) || l.Problem != "" || l.Mailbox == "" || l.Name == mail.Inbox || strings.EqualFold(l.Mailbox, string(mail.Inbox)) {
		return false
	}
	return k == nil || k.Mailbox == "" || !k.OnDisk || f.Policy.Mode == Push || f.Keep
}
