package plan

import (
	"cmp"
	"iter"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
)

// The most messages in a portion, and of one folder in it: several folders can be transferred side by side.
const (
	portionMessages = 10_000
	portionOfFolder = 2_500
)

// Portions yields what Make plans in pieces, to be carried out one after the other. There is more than one only if all that
// is to be done is to take over many messages that are new on the server, as in a first sync, or flags of many: then no message
// has to do with another, and the operations need not all be in memory at once. The newest messages of
// every folder come first, as far as UIDs tell.
func Portions(in Input) iter.Seq[Plan] {
	return func(yield func(Plan) bool) {
		if len(in.Remote)+len(in.Pairs) <= portionMessages || !Independent(in) {
			yield(Make(in))
			return
		}
		pairs := byUID(in.Pairs)
		in.Pairs = nil
		in = ration(in)
		left := newestFirst(in.Remote)
		for len(left) > 0 {
			in.Remote = make([]RemoteMessage, 0, portionMessages)
			for i, list := range left {
				n := min(len(list), portionOfFolder, portionMessages-len(in.Remote))
				for _, m := range list[:n] {
					in.Remote = append(in.Remote, *m)
				}
				left[i] = list[n:]
			}
			left = slices.DeleteFunc(left, func(list []*RemoteMessage) bool { return len(list) == 0 })
			if !yield(Make(in)) {
				return
			}
		}
		in.Remote = nil
		for in.Pairs = range slices.Chunk(pairs, portionMessages) {
			if !yield(Make(in)) {
				return
			}
		}
	}
}

// Independent reports whether every message of the input is planned for by itself: there is nothing but new ones on the
// server and known ones where they were before, and nothing is removed.
func Independent(in Input) bool {
	if len(in.Local) > 0 || slices.ContainsFunc(in.Pairs, func(p *Pair) bool { return !p.onlyFlags(in.Policy) }) {
		return false
	}
	if in.Policy.Maildrop && slices.ContainsFunc(in.Remote, func(m RemoteMessage) bool { return m.Due }) {
		return false // all deletions are one: they end the session
	}
	m := maker{resolver: &resolver{policy: in.Policy}}
	return !slices.ContainsFunc(in.Folders, func(f Folder) bool {
		f.RemoteReadOnly = false // it may be no more
		_, doomed := m.deletedFolder(f)
		return doomed
	})
}

// onlyFlags reports whether a pair's message is where it was, on both sides, and can be no reason to remove it.
func (p *Pair) onlyFlags(policy Policy) bool {
	if p.Why != Agreed || p.Remote != Present || p.Local != Present || p.RemoteHeld || p.LocalHeld || p.Due {
		return false
	}
	return !policy.Expunge || !p.RemoteNow.Has(mail.Deleted) && !p.LocalNow.Has(mail.Deleted)
}

// byUID returns the pairs of each folder in ascending order of UID, so that a portion's UIDs lie close together.
func byUID(pairs []*Pair) []*Pair {
	byUID := func(a, b *Pair) int {
		return cmp.Or(compareFolders(a.Folder, b.Folder), cmp.Compare(a.UID, b.UID), cmp.Compare(a.ID, b.ID))
	}
	if slices.IsSortedFunc(pairs, byUID) {
		return pairs
	}
	pairs = slices.Clone(pairs)
	slices.SortFunc(pairs, byUID)
	return pairs
}

// newestFirst returns the messages of each folder in descending order of UID.
func newestFirst(remote []RemoteMessage) [][]*RemoteMessage {
	all := make([]*RemoteMessage, len(remote))
	for i := range remote {
		all[i] = &remote[i]
	}
	slices.SortFunc(all, func(a, b *RemoteMessage) int {
		return cmp.Or(compareFolders(a.Folder, b.Folder), cmp.Compare(b.UID, a.UID))
	})
	var lists [][]*RemoteMessage
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Folder == all[0].Folder {
			n++
		}
		lists, all = append(lists, all[:n:n]), all[n:]
	}
	return lists
}
