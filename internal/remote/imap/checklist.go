package imap

import (
	"cmp"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
)

// checklist is a set of UIDs that are ticked off in any order. It takes one bit for each, and the time for one does
// not depend on how many were ticked off before: a set that grows from its upper end would have to be moved each time.
type checklist struct {
	set    mail.UIDSet
	before []int64 // how many members come before each range of set
	ticked []uint64
	last   int // the range that was looked at last: the next one to look at is mostly the same
}

// newChecklist makes room for every member of set.
func newChecklist(set mail.UIDSet) *checklist {
	l := &checklist{set: set, before: make([]int64, 0, len(set.Ranges()))}
	var n int64
	for _, r := range set.Ranges() {
		l.before = append(l.before, n)
		n += int64(r.Last-r.First) + 1
	}
	l.ticked = make([]uint64, (n+63)/64)
	return l
}

// find returns the number of a member in the set.
func (l *checklist) find(u mail.UID) (n int64, ok bool) {
	ranges := l.set.Ranges()
	if len(ranges) == 0 {
		return 0, false
	}
	if r := ranges[l.last]; u < r.First || u > r.Last {
		i, _ := slices.BinarySearchFunc(ranges, u, func(r mail.UIDRange, u mail.UID) int { return cmp.Compare(r.Last, u) })
		if i == len(ranges) || u < ranges[i].First {
			return 0, false
		}
		l.last = i
	}
	return l.before[l.last] + int64(u-ranges[l.last].First), true
}

// open reports whether u is a member that was not ticked off.
func (l *checklist) open(u mail.UID) bool {
	n, ok := l.find(u)
	return ok && l.ticked[n/64]&(1<<(n%64)) == 0
}

// tick ticks a member off.
func (l *checklist) tick(u mail.UID) {
	if n, ok := l.find(u); ok {
		l.ticked[n/64] |= 1 << (n % 64)
	}
}

// left returns the members that were not ticked off.
func (l *checklist) left() mail.UIDSet {
	var left mail.UIDSet
	n := int64(0)
	for u := range l.set.All() {
		if l.ticked[n/64]&(1<<(n%64)) == 0 {
			left.Add(u)
		}
		n++
	}
	return left
}
