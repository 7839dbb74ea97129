package maildir

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	"github.com/satchel-mail/satchel/internal/mail"
)

// maxListings bounds how many folders' names are remembered. A folder that falls out is read again.
const maxListings = 8

// listing is what a Scan of one folder gave, and what this Store changed since. It only saves
// work: every use of it is checked against the directory.
type listing struct {
	stamp stamp
	quiet bool
	sep   byte
	// entries are sorted by Base and shared with the caller of Scan.
	entries []Entry
	// others has the names that are not among entries, because the caller of Scan knew them. nil: there are none.
	others *nameHashes

	mu      sync.Mutex
	letters letterSet
	changed map[string]*Entry // by base; nil: gone
}

// verdict is what a listing knows of a base name.
type verdict int

const (
	absent   verdict = iota // it was not there
	listed                  // it was there, as the Entry says
	unlisted                // it was there under a name that is not remembered
)

func (l *listing) find(base string) (Entry, verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.changed[base]; ok {
		if e == nil {
			return Entry{}, absent
		}
		return *e, listed
	}
	if e, ok := search(l.entries, base); ok {
		return e, listed
	}
	if l.others != nil && l.others.has(base) {
		return Entry{}, unlisted
	}
	return Entry{}, absent
}

// search finds a base name among entries that are sorted.
func search(entries []Entry, base string) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(entries, base, func(e Entry, b string) int { return strings.Compare(e.Base, b) })
	if !ok {
		return Entry{}, false
	}
	return entries[i], true
}

// size is about how many names the folder had.
func (l *listing) size() int {
	n := len(l.entries)
	if l.others != nil {
		n += l.others.n
	}
	return n
}

func (l *listing) set(base string, e *Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = map[string]*Entry{}
	}
	l.changed[base] = e
	if e != nil {
		l.letters |= keywordLetters(parseFileName(e.File).letters)
	}
}

// entry is find for who makes do with an Entry that is remembered.
func (l *listing) entry(base string) (Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.remembered(base)
}

func (l *listing) remembered(base string) (Entry, bool) {
	if e, ok := l.changed[base]; ok {
		if e == nil {
			return Entry{}, false
		}
		return *e, true
	}
	return search(l.entries, base)
}

// fewChanges of a folder whose names are only hashed are remembered all the same.
const fewChanges = 1000

// reflagged notes that a message has other flags. Where names are only hashes and there are many changes, the new name is not
// remembered either: nobody needs it soon, and it can be guessed.
func (l *listing) reflagged(e Entry) {
	if l.others == nil || !l.stayHashed(e) {
		changed := e
		l.set(e.Base, &changed)
	}
}

// stayHashed reports whether the new name is not remembered.
func (l *listing) stayHashed(e Entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.changed) < fewChanges {
		return false
	}
	if _, known := l.changed[e.Base]; known { // also as gone, if somebody brought it back
		return false
	}
	if _, known := search(l.entries, e.Base); known {
		return false
	}
	l.others.arrived(e.Base)
	l.letters |= keywordLetters(parseFileName(e.File).letters)
	return true
}

// arrived notes a new message. Where names are only hashes so is this one: nobody needs it soon, and a first
// sync delivers all there are.
func (l *listing) arrived(e *Entry) {
	if l.others == nil {
		l.set(e.Base, e)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.others.arrived(e.Base)
	l.letters |= keywordLetters(parseFileName(e.File).letters)
}

func (l *listing) used() letterSet {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.letters
}

// nameHashes are the base names of one folder, in eight bytes each. Two names may have one hash: that makes a
// name seem to be there, which is looked up, never one to be gone.
type nameHashes struct {
	seed   maphash.Seed
	n      int
	blocks [][]uint64 // as they were read
	sorted []uint64   // in place of blocks, once many were asked for
	asked  int
	later  map[uint64]bool
}

// fewQuestions are answered faster by going through all hashes than by sorting them first.
const fewQuestions = 64

// hashBlock is how many hashes are allocated at once, at most: 64 KB. The first one of a folder is smaller.
const hashBlock = 8 << 10

func (h *nameHashes) add(hash uint64) {
	last := len(h.blocks) - 1
	if last < 0 || len(h.blocks[last]) == cap(h.blocks[last]) {
		h.blocks = append(h.blocks, make([]uint64, 0, min(max(256, 15*h.n), hashBlock)))
		last++
	}
	h.blocks[last] = append(h.blocks[last], hash)
	h.n++
}

func (h *nameHashes) arrived(base string) {
	if h.later == nil {
		h.later = map[uint64]bool{}
	}
	h.later[maphash.String(h.seed, base)] = true
}

func (h *nameHashes) has(base string) bool {
	hash := maphash.String(h.seed, base)
	if h.later[hash] {
		return true
	}
	if h.asked++; h.asked <= fewQuestions {
		return slices.ContainsFunc(h.blocks, func(b []uint64) bool { return slices.Contains(b, hash) })
	}
	if h.blocks != nil {
		h.sorted = slices.Concat(h.blocks...)
		h.blocks = nil
		slices.Sort(h.sorted)
	}
	_, ok := slices.BinarySearch(h.sorted, hash)
	return ok
}

// listings remembers the last folders that were read.
type listings struct {
	mu     sync.Mutex
	byName map[mail.FolderName]*listing
	order  []mail.FolderName // oldest first
	missed map[mail.FolderName]int
	seps   map[mail.FolderName]byte // what separator found out where no listing tells
	// spares are those of each folder as it was read last. They are few, and stay when its listing falls out: a name that is left
	// behind would be another message.
	spares map[mail.FolderName]spares
}

// spares are the names of files that have several, by base.
type spares map[string][]Entry

// put remembers what a reading gave.
func (c *listings) put(f mail.FolderName, l *listing, further spares) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if delete(c.spares, f); further != nil {
		if c.spares == nil {
			c.spares = map[mail.FolderName]spares{}
		}
		c.spares[f] = further
	}
	if c.byName == nil {
		c.byName = map[mail.FolderName]*listing{}
	}
	c.order = append(slices.DeleteFunc(c.order, func(g mail.FolderName) bool { return g == f }), f)
	c.byName[f] = l
	delete(c.missed, f)
	if len(c.order) > maxListings {
		delete(c.byName, c.order[0])
		c.order = c.order[1:]
	}
}

func (c *listings) takeSpares(f mail.FolderName, base string) []Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	further := c.spares[f][base]
	delete(c.spares[f], base)
	return further
}

func (c *listings) get(f mail.FolderName) *listing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byName[f]
}

// entry returns what is remembered of a message. It was true a moment ago, no more.
func (c *listings) entry(f mail.FolderName, base string) (Entry, bool) {
	l := c.get(f)
	if l == nil {
		return Entry{}, false
	}
	return l.entry(base)
}

// miss counts look-ups that no listing answered, since the folder was read last, and says how many there were.
func (c *listings) miss(f mail.FolderName) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.missed == nil {
		c.missed = map[mail.FolderName]int{}
	}
	c.missed[f]++
	return c.missed[f]
}

func (c *listings) sep(f mail.FolderName) byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.byName[f]; l != nil && l.sep != 0 {
		return l.sep
	}
	return c.seps[f]
}

func (c *listings) setSep(f mail.FolderName, sep byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seps == nil {
		c.seps = map[mail.FolderName]byte{}
	}
	c.seps[f] = sep
}

func (c *listings) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byName, c.order, c.missed, c.seps, c.spares = nil, nil, nil, nil, nil
}

// set records a change of this Store's own.
func (c *listings) set(f mail.FolderName, base string, e *Entry) {
	if l := c.get(f); l != nil {
		l.set(base, e)
	}
}

// reflagged records that a message has other flags now.
func (c *listings) reflagged(f mail.FolderName, e Entry) {
	if l := c.get(f); l != nil {
		l.reflagged(e)
	}
}

// arrived records a delivery.
func (c *listings) arrived(f mail.FolderName, e *Entry) {
	if l := c.get(f); l != nil {
		l.arrived(e)
	}
}
