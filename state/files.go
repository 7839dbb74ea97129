package state

import (
	"math/bits"
	"slices"
)

// Files compares a directory with the rows of a folder, as they were when Tx.Files made it: names and flags by their
// hashes, so that no row is read. It stays valid, and what it says stays the same, when the transaction is over and whatever
// is written then. The zero value knows no file. One goroutine uses it at a time.
type Files struct {
	key     hashKey
	folder  int64
	c       *conn // that it was made on, and how many changes there were then
	changes uint64
	// slots is a hash table with open addressing; what is looked at for every name lies together.
	slots []slot
	ids   []int64  // of the rows with a name
	taken []uint64 // one bit for each of them
}

// slot is a row with a name.
type slot struct {
	name  uint64
	flags uint32
	// row is its place in ids, from 1 on, or 0, and whether it is held.
	row uint32
}

const slotHeld = 1 << 31

func (s slot) place() int { return int(s.row&^slotHeld) - 1 }

// Files returns what a directory is compared with.
func (tx *Tx) Files(folder int64) (*Files, error) {
	ix, err := tx.index(folder)
	if err != nil {
		return nil, err
	}
	key, err := tx.c.hashes()
	if err != nil {
		return nil, err
	}
	// A fifth of the slots at least is free.
	f := &Files{key: key, folder: folder, c: tx.c, changes: tx.c.changes, ids: make([]int64, 0, ix.n), slots: make([]slot, 1<<bits.Len(uint(ix.n+ix.n/4)))}
	mask := uint64(len(f.slots) - 1)
	for _, pt := range ix.parts {
		for n := range pt.entries {
			e := &pt.entries[n]
			if e.name == 0 {
				continue
			}
			f.ids = append(f.ids, e.id())
			row := uint32(len(f.ids))
			if e.has(entryLocalHeld) {
				row |= slotHeld
			}
			i := e.name & mask
			for f.slots[i].row != 0 {
				i = (i + 1) & mask
			}
			f.slots[i] = slot{e.name, e.flags, row}
		}
	}
	f.taken = make([]uint64, (len(f.ids)+63)/64)
	return f, nil
}

// Len counts the rows that have a name.
func (f *Files) Len() int { return len(f.ids) }

// Reset begins a reading: nothing was taken.
func (f *Files) Reset() { clear(f.taken) }

// Take reports whether there is a row with that base name and flags with that hash (mail.Flags.Hash) whose deletion
// is not held for want of the file, and notes that the file is there. The second time it is false.
func (f *Files) Take(base string, flags uint32) bool {
	s := f.find(base)
	n := s.place()
	if n < 0 || s.flags != flags || s.row&slotHeld != 0 || f.isTaken(n) {
		return false
	}
	f.taken[n/64] |= 1 << (n % 64)
	return true
}

// Taken reports whether Take said yes to that name since Reset.
func (f *Files) Taken(base string) bool {
	n := f.find(base).place()
	return n >= 0 && f.isTaken(n)
}

func (f *Files) isTaken(n int) bool { return f.taken[n/64]&(1<<(n%64)) != 0 }

// find returns the slot of a name, an empty one if it is not there.
func (f *Files) find(base string) slot {
	if len(f.ids) == 0 {
		return slot{}
	}
	name, mask := f.key.name(base), uint64(len(f.slots)-1)
	i := name & mask
	for f.slots[i].row != 0 && f.slots[i].name != name {
		i = (i + 1) & mask
	}
	return f.slots[i]
}

// Missing returns the ids, sorted, of the rows with a name that were not taken: the file is gone, or has other flags, or
// its deletion is held.
func (f *Files) Missing() []int64 {
	var ids []int64
	for n, id := range f.ids {
		if !f.isTaken(n) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
