package state

import (
	"errors"
	"slices"
	"sort"

	"github.com/satchel-mail/satchel/internal/mail"
)

// errMismatch: an index and the rows contradict each other.
var errMismatch = errors.New("an index and a row contradict each other")

// index is the index of one folder in memory: an entry for every row, in order, in parts of limited size, so
// that a change moves and writes little.
type index struct {
	parts []*part // none is empty
	n     int     // entries
	sum   uint64  // of all entries
	names *nameTable
	// lookups counts those by name that went through all entries, see named.
	lookups int
	// dead are the ids of parts that the database has and that are no more; lastID is the largest that was given out.
	dead   []int64
	lastID int64
	// used orders indexes by when they were used last.
	used uint64
	// partMax is how many entries a part holds at most.
	partMax int
}

// part is a run of entries, which the database keeps as one blob.
type part struct {
	id      int64 // its id there, 0 if it was not written yet
	entries []entry
	dirty   bool // the database has it otherwise, or not at all
}

// search returns where e is or would be: a part and a place in it. With parts there is always a part.
func (ix *index) search(e entry) (p, i int, found bool) {
	if n := len(ix.parts); n == 0 {
		return 0, 0, false
	} else if last := ix.parts[n-1].entries; e.compare(last[len(last)-1]) > 0 {
		return n - 1, len(last), false // most rows are added at the end
	}
	p = sort.Search(len(ix.parts), func(p int) bool {
		es := ix.parts[p].entries
		return es[len(es)-1].compare(e) >= 0
	})
	i, found = slices.BinarySearchFunc(ix.parts[p].entries, e, entry.compare)
	return p, i, found
}

// insert adds an entry that is not there yet.
func (ix *index) insert(e entry) error {
	p, i, found := ix.search(e)
	if found {
		return errMismatch
	}
	if len(ix.parts) == 0 {
		ix.parts = append(ix.parts, &part{})
	}
	if len(ix.parts[p].entries) >= ix.partMax {
		p, i = ix.split(p, i)
	}
	pt := ix.parts[p]
	pt.entries = slices.Insert(pt.entries, i, e)
	pt.dirty = true
	ix.n++
	ix.sum += e.sum()
	if ix.names != nil {
		ix.addName(e)
	}
	return nil
}

// split makes room at place i of a full part and returns where that is then. At the end of all a new part is
// begun, so that those before it stay full.
func (ix *index) split(p, i int) (int, int) {
	pt := ix.parts[p]
	if i == len(pt.entries) && p == len(ix.parts)-1 {
		ix.parts = append(ix.parts, &part{entries: make([]entry, 0, ix.partMax)})
		return p + 1, 0
	}
	half := len(pt.entries) / 2
	upper := &part{entries: slices.Clone(pt.entries[half:]), dirty: true}
	pt.entries, pt.dirty = pt.entries[:half:half], true
	ix.parts = slices.Insert(ix.parts, p+1, upper)
	if i > half {
		return p + 1, i - half
	}
	return p, i
}

// remove takes out an entry, which must be there as it is given.
func (ix *index) remove(e entry) error {
	p, i, found := ix.search(e)
	if !found || ix.parts[p].entries[i] != e {
		return errMismatch
	}
	ix.removeAt(p, i)
	return nil
}

func (ix *index) removeAt(p, i int) {
	pt := ix.parts[p]
	e := pt.entries[i]
	pt.entries = slices.Delete(pt.entries, i, i+1)
	pt.dirty = true
	if len(pt.entries) == 0 {
		ix.bury(p)
	}
	ix.n--
	ix.sum -= e.sum()
	ix.dropName(e)
}

func (ix *index) bury(p int) {
	if id := ix.parts[p].id; id != 0 {
		ix.dead = append(ix.dead, id)
	}
	ix.parts = slices.Delete(ix.parts, p, p+1)
}

// replace puts one entry in the place of another, which must be there as it is given.
func (ix *index) replace(old, e entry) error {
	if old.compare(e) != 0 {
		if err := ix.remove(old); err != nil {
			return err
		}
		return ix.insert(e)
	}
	p, i, found := ix.search(old)
	if !found || ix.parts[p].entries[i] != old {
		return errMismatch
	}
	ix.replaceAt(p, i, e)
	return nil
}

func (ix *index) replaceAt(p, i int, e entry) {
	pt := ix.parts[p]
	old := pt.entries[i]
	pt.entries[i], pt.dirty = e, true
	ix.sum += e.sum() - old.sum()
	if old.name != e.name {
		ix.dropName(old)
		if ix.names != nil {
			ix.addName(e)
		}
	}
}

// apply does a change that was written down.
func (ix *index) apply(ch change) error {
	p, i, found := ix.search(ch.entry)
	switch {
	case ch.gone && !found:
		return errMismatch
	case ch.gone:
		ix.removeAt(p, i)
	case found:
		ix.replaceAt(p, i, ch.entry)
	default:
		return ix.insert(ch.entry)
	}
	return nil
}

// byUID returns the entry with that UID, or none.
func (ix *index) byUID(uid mail.UID) entry {
	p, i, _ := ix.search(entry{uid: uid})
	if p < len(ix.parts) && i < len(ix.parts[p].entries) {
		if e := ix.parts[p].entries[i]; e.uid == uid {
			return e
		}
	}
	return entry{}
}

// from calls f with the entries whose UID is at least first, in order, until it returns false.
func (ix *index) from(first mail.UID, f func(e entry) bool) {
	p, i, _ := ix.search(entry{uid: first})
	for ; p < len(ix.parts); p, i = p+1, 0 {
		for _, e := range ix.parts[p].entries[i:] {
			if !f(e) {
				return
			}
		}
	}
}

// where returns the ids of the entries for which want holds, sorted.
func (ix *index) where(want func(e entry) bool) []int64 {
	var ids []int64
	for _, pt := range ix.parts {
		for _, e := range pt.entries {
			if want(e) {
				ids = append(ids, e.id())
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// dirtyEntries counts the entries of parts that are dirty.
func (ix *index) dirtyEntries() int {
	n := 0
	for _, pt := range ix.parts {
		if pt.dirty {
			n += len(pt.entries)
		}
	}
	return n
}

// newPartID gives out an id for a part, first those of parts that are no more, so that they never run out.
func (ix *index) newPartID() int64 {
	if n := len(ix.dead); n > 0 {
		id := ix.dead[n-1]
		ix.dead = ix.dead[:n-1]
		return id
	}
	ix.lastID++
	return ix.lastID
}

// tidy joins parts that became small with the one before, where one of the two is written anyway.
func (ix *index) tidy() {
	for p := len(ix.parts) - 1; p > 0; p-- {
		a, b := ix.parts[p-1], ix.parts[p]
		if (a.dirty || b.dirty) && len(a.entries)+len(b.entries) <= ix.partMax/2 {
			a.entries, a.dirty = append(a.entries, b.entries...), true
			ix.bury(p)
		}
	}
}
