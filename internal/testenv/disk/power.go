package disk

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
)

// Odds says how much of what was not durable survives a power failure.
type Odds int

const (
	// Nothing of it does.
	Nothing Odds = iota
	// Some of it does, by chance.
	Some
	// All names do, and none of the data.
	Names
	// Everything does.
	Everything
	// Chosen are those that a number names: the lowest bit the first change to a directory, and after those the files whose data is not
	// durable. Unsynced says how many there are.
	Chosen
)

// Unsynced is how many changes to directories and files with data are not durable.
func (d *Disk) Unsynced() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.journal) + len(d.dirty())
}

// dirty are the files whose data is not durable, by inode. d.mu is held.
func (d *Disk) dirty() (all []*node) {
	for _, inode := range slices.Sorted(maps.Keys(d.nodes)) {
		if n := d.nodes[inode]; n.dirty && !bytes.Equal(n.data, n.synced) {
			all = append(all, n)
		}
	}
	return all
}

// PowerFailure ends the program, and takes away what was not durable. By seed is drawn what survives, if it is Some, and it names what
// does, if that is Chosen.
func (d *Disk) PowerFailure(odds Odds, seed uint64) {
	d.Die()
	d.mu.Lock()
	defer d.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, 3))
	if odds == Chosen {
		for i, n := range d.dirty() {
			if seed>>(len(d.journal)+i)&1 == 1 && !n.lost {
				n.synced = n.data
			}
		}
	}
	undone := map[uint64]bool{}
	for i, c := range d.journal {
		if odds == Names || odds == Everything || odds == Some && rng.IntN(2) == 0 || odds == Chosen && seed>>i&1 == 1 {
			d.endure(c)
		} else {
			undone[c.from.dir], undone[c.to.dir] = true, true
		}
	}
	d.journal = nil
	// A directory that lost changes has lost the times of those too.
	for dir := range undone {
		if n := d.nodes[dir]; n != nil {
			n.mtime, n.ctime = n.mtime-1, n.ctime-1
		}
	}
	kept := map[uint64]*node{}
	d.keep(d.root, kept)
	for inode := range d.durable {
		if kept[inode] == nil {
			delete(d.durable, inode)
		}
	}
	d.nodes = kept
	for _, inode := range slices.Sorted(maps.Keys(kept)) {
		if n := kept[inode]; !n.dir {
			n.settle(odds, rng)
		}
	}
}

// endure makes a change durable, if it makes sense by what is.
func (d *Disk) endure(c change) {
	if c.from.dir != 0 && d.durable[c.from.dir][c.from.name] != c.inode || c.to.dir != 0 && d.durable[c.to.dir] == nil {
		return
	}
	if c.from.dir != 0 {
		delete(d.durable[c.from.dir], c.from.name)
	}
	if c.to.dir != 0 {
		d.durable[c.to.dir][c.to.name] = c.inode
	}
}

// keep takes over what can be reached by durable names.
func (d *Disk) keep(inode uint64, kept map[uint64]*node) {
	n := d.nodes[inode]
	if n == nil {
		return
	}
	kept[inode] = n
	if !n.dir {
		return
	}
	n.entries = map[string]uint64{}
	for name, child := range d.durable[inode] {
		if d.nodes[child] != nil {
			n.entries[name] = child
			d.keep(child, kept)
		}
	}
	d.durable[inode] = cloneEntries(n.entries)
}

// settle says what of a file's data is there after a power failure.
func (n *node) settle(odds Odds, rng *rand.Rand) {
	if n.dirty {
		switch {
		case odds == Everything && !n.lost:
			n.synced = n.data
		case odds == Some:
			switch rng.IntN(4) {
			case 0:
				n.synced = n.data[:rng.IntN(len(n.data)+1)]
			case 1:
				n.synced = bytes.Repeat([]byte{0}, len(n.data))
			case 2:
				if !n.lost {
					n.synced = n.data
				}
			}
		}
	}
	n.synced = slices.Clone(n.synced)
	n.data, n.dirty, n.lost = slices.Clone(n.synced), false, false
}

// syncDir makes the names in a directory durable, and with each what it rests on.
func (d *Disk) syncDir(dir uint64) {
	due := make([]bool, len(d.journal))
	files := map[uint64]bool{}
	names := map[place]bool{}
	for i := len(d.journal) - 1; i >= 0; i-- {
		c := d.journal[i]
		if c.from.dir == dir || c.to.dir == dir || files[c.inode] || c.from.dir != 0 && names[c.from] || c.to.dir != 0 && names[c.to] {
			due[i], files[c.inode] = true, true
			for _, p := range [...]place{c.from, c.to} {
				if p.dir != 0 {
					names[p] = true
				}
			}
		}
	}
	var left []change
	for i, c := range d.journal {
		if due[i] {
			d.endure(c)
		} else {
			left = append(left, c)
		}
	}
	d.journal = left
}
