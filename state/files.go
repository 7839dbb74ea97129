package state

import (
	"math/bits"
	"slices"
)

// Files compares a directory with the rows of a folder, as they were when Tx.Files made it: names and flags by their
// hashes, so that no row is read. It stays valid, and what it says stays the same, when the transaction is over and whatever
// is written then. The zero value knows no file. One goroutine uses it at a time.
type Files struct {
	key  hashKey
	rows []file
	// slots is a hash table with open addressing of places in rows, from 1 on.
	slots []uint32
	taken []uint64 // one bit for each row
}

// file is a row with a name.
type file struct {
	name  uint64
	id    int64
	flags uint32
	held  bool
}

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
	f := &Files{key: key, rows: make([]file, 0, ix.n)}
	for _, pt := range ix.parts {
		for _, e := range pt.entries {
			if e.name != 0 {
				f.rows = append(f.rows, file{e.name, e.id(), e.flags, e.has(entryLocalHeld)})
			}
		}
	}
	f.slots = make([]uint32, 1<<bits.Len(uint(2*len(f.rows))))
	f.taken = make([]uint64, (len(f.rows)+63)/64)
	mask := uint64(len(f.slots) - 1)
	for n := range f.rows {
		i := f.rows[n].name & mask
		for f.slots[i] != 0 {
			i = (i + 1) & mask
		}
		f.slots[i] = uint32(n) + 1
	}
	return f, nil
}

// Len counts the rows that have a name.
func (f *Files) Len() int { return len(f.rows) }

// Reset begins a reading: nothing was taken.
func (f *Files) Reset() { clear(f.taken) }

// Take reports whether there is a row with that base name and flags with that hash (mail.Flags.Hash) whose deletion
// is not held for want of the file, and notes that the file is there. The second time it is false.
func (f *Files) Take(base string, flags uint32) bool {
	n := f.find(base)
	if n < 0 || f.rows[n].flags != flags || f.rows[n].held || f.isTaken(n) {
		return false
	}
	f.taken[n/64] |= 1 << (n % 64)
	return true
}

// Taken reports whether Take said yes to that name since Reset.
func (f *Files) Taken(base string) bool {
	n := f.find(base)
	return n >= 0 && f.isTaken(n)
}

func (f *Files) isTaken(n int) bool { return f.taken[n/64]&(1<<(n%64)) != 0 }

// find returns the place of a name in rows, -1 if it is not there.
func (f *Files) find(base string) int {
	if len(f.rows) == 0 {
		return -1
	}
	name, mask := f.key.name(base), uint64(len(f.slots)-1)
	for i := name & mask; f.slots[i] != 0; i = (i + 1) & mask {
		if n := int(f.slots[i]) - 1; f.rows[n].name == name {
			return n
		}
	}
	return -1
}

// Missing returns the ids, sorted, of the rows with a name that were not taken: the file is gone, or has other flags, or
// its deletion is held.
func (f *Files) Missing() []int64 {
	var ids []int64
	for n := range f.rows {
		if !f.isTaken(n) {
			ids = append(ids, f.rows[n].id)
		}
	}
	slices.Sort(ids)
	return ids
}
