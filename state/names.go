package state

// nameTable finds ids by the hash of a name. It is a hash table with open addressing. A slot holds an id and the
// upper bits of the hash, so that it takes 8 bytes; the row says whether it is really the one.
type nameTable struct {
	slots []uint64 // as many as a power of two; 0 is free
	// taken counts slots that are not free, those that were given up included.
	taken int
}

const (
	slotIDBits = 47
	slotID     = 1<<slotIDBits - 1
	// slotGone marks a slot that was given up: looking goes on behind it. No id is 0.
	slotGone = ^uint64(slotID)

	// namesByScan is how many names are looked for among all entries before a table is made: that takes
	// as long as this many scans.
	namesByScan = 8
)

func (t *nameTable) add(hash uint64, id int64) {
	mask := uint64(len(t.slots) - 1)
	i := hash & mask
	for t.slots[i] != 0 && t.slots[i] != slotGone {
		i = (i + 1) & mask
	}
	if t.slots[i] == 0 {
		t.taken++
	}
	t.slots[i] = slotOf(hash, id)
}

func slotOf(hash uint64, id int64) uint64 { return hash>>slotIDBits<<slotIDBits | uint64(id) }

func (t *nameTable) remove(hash uint64, id int64) {
	mask, slot := uint64(len(t.slots)-1), slotOf(hash, id)
	for i := hash & mask; t.slots[i] != 0; i = (i + 1) & mask {
		if t.slots[i] == slot {
			t.slots[i] = slotGone
			return
		}
	}
}

// find appends the ids whose hash may be the given one.
func (t *nameTable) find(hash uint64, ids []int64) []int64 {
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; t.slots[i] != 0; i = (i + 1) & mask {
		if s := t.slots[i]; s^hash>>slotIDBits<<slotIDBits <= slotID && s != slotGone {
			ids = append(ids, int64(s&slotID))
		}
	}
	return ids
}

// full reports whether the table has to be made anew before something is added: three quarters are taken.
func (t *nameTable) full() bool { return (t.taken+1)*4 > len(t.slots)*3 }

// named appends the ids of rows whose name may have the hash.
func (ix *index) named(hash uint64, ids []int64) []int64 {
	if ix.names == nil && ix.lookups < namesByScan {
		ix.lookups++
		for _, pt := range ix.parts {
			for i := range pt.entries {
				if pt.entries[i].name == hash {
					ids = append(ids, pt.entries[i].id())
				}
			}
		}
		return ids
	}
	if ix.names == nil {
		ix.makeNames()
	}
	return ix.names.find(hash, ids)
}

func (ix *index) makeNames() {
	size := 64
	for size*3 < ix.n*4+ix.n/2 { // some room to grow
		size *= 2
	}
	ix.names = &nameTable{slots: make([]uint64, size)}
	for _, pt := range ix.parts {
		for _, e := range pt.entries {
			if e.name != 0 {
				ix.names.add(e.name, e.id())
			}
		}
	}
}

// addName adds an entry that is in the index already to the table.
func (ix *index) addName(e entry) {
	if e.name == 0 {
		return
	}
	if ix.names.full() {
		ix.makeNames()
		return
	}
	ix.names.add(e.name, e.id())
}

func (ix *index) dropName(e entry) {
	if ix.names != nil && e.name != 0 {
		ix.names.remove(e.name, e.id())
	}
}
