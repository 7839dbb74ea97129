package sync

import (
	"slices"

	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// oneWay reports whether the mode leaves what only one side has there, and brings nothing of it across. An archive is another matter: it has all
// that came, each by itself.
func (r *run) oneWay() bool { return r.set.Policy.Mode == plan.Pull || r.set.Policy.Mode == plan.Push }

// mayHaveCome returns those of the messages that only one side has which may have come to the other one by themselves now, going by sizes: in a file the
// lines may have shorter ends.
func (f *folder) mayHaveCome(own []state.Message) []state.Message {
	var files, remote []int64
	unsized := false // the server does not tell the size of a new one
	for i := range f.localNew {
		files = append(files, f.localNew[i].FileSize)
	}
	for i := range f.remoteNew {
		remote = append(remote, f.remoteNew[i].Size)
		unsized = unsized || f.remoteNew[i].Size < 0
	}
	slices.Sort(files)
	slices.Sort(remote)
	return slices.DeleteFunc(own, func(m state.Message) bool {
		if m.UID != 0 {
			return !anyBetween(files, (m.RemoteSize+1)/2, m.RemoteSize) && (m.RemoteSize >= 0 || len(files) == 0)
		}
		return !anyBetween(remote, m.FileSize, 2*m.FileSize) && !unsized
	})
}

// anyBetween reports whether one of the sorted numbers is neither below the first nor above the last.
func anyBetween(sorted []int64, first, last int64) bool {
	i, _ := slices.BinarySearch(sorted, first)
	return i < len(sorted) && sorted[i] <= last
}
