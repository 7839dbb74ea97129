package mail

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// UID is the number of a message in one mailbox under one UIDVALIDITY (RFC 9051, 2.3.1.1).
// Zero is none.
type UID uint32

// UIDRange is an inclusive range of UIDs.
type UIDRange struct{ First, Last UID }

// UIDSet is a set of UIDs, kept as sorted ranges that neither touch nor overlap, so
// that a set a server names costs what it spells, not what it spans. The zero value is empty.
// A copy shares its ranges with the original: after copying a set, add to neither, or
// to what Union makes of it.
type UIDSet struct{ ranges []UIDRange }

// NewUIDSet makes a set from single UIDs in any order.
func NewUIDSet(uids ...UID) UIDSet {
	if !slices.IsSorted(uids) {
		uids = slices.Clone(uids)
		slices.Sort(uids)
	}
	var set UIDSet
	for _, u := range uids {
		set.AddRange(u, u)
	}
	return set
}

// Add puts one UID into the set.
func (s *UIDSet) Add(u UID) { s.AddRange(u, u) }

// AddRange puts first to last, in either order, into the set; 0 is never a member. In ascending order
// it takes the same time however large the set is, in others as long as the set has ranges.
func (s *UIDSet) AddRange(first, last UID) {
	if first > last {
		first, last = last, first
	}
	if last == 0 {
		return
	}
	first = max(first, 1)
	if n := len(s.ranges); n == 0 || s.ranges[n-1].First <= first {
		s.extend(UIDRange{first, last})
		return
	}
	i := s.search(first - 1) // the first range that touches or lies beyond [first, last]
	j := i                   // the first that lies wholly beyond
	for j < len(s.ranges) && s.ranges[j].First-1 <= last {
		first, last = min(first, s.ranges[j].First), max(last, s.ranges[j].Last)
		j++
	}
	s.ranges = slices.Replace(s.ranges, i, j, UIDRange{first, last})
}

// extend adds a range that begins no earlier than the last one.
func (s *UIDSet) extend(r UIDRange) {
	if n := len(s.ranges); n > 0 && s.ranges[n-1].Last >= r.First-1 {
		s.ranges[n-1].Last = max(s.ranges[n-1].Last, r.Last)
		return
	}
	s.ranges = append(s.ranges, r)
}

// search returns the index of the first range that holds u or lies beyond it.
func (s UIDSet) search(u UID) int {
	i, _ := slices.BinarySearchFunc(s.ranges, u, func(r UIDRange, u UID) int { return cmp.Compare(r.Last, u) })
	return i
}

// Ranges returns the ranges, ascending. The caller must not change them.
func (s UIDSet) Ranges() []UIDRange { return s.ranges }

// IsEmpty reports whether the set has no member.
func (s UIDSet) IsEmpty() bool { return len(s.ranges) == 0 }

// Len counts the members.
func (s UIDSet) Len() int64 {
	var n int64
	for _, r := range s.ranges {
		n += int64(r.Last-r.First) + 1
	}
	return n
}

// Contains reports whether u is a member.
func (s UIDSet) Contains(u UID) bool {
	i := s.search(u)
	return i < len(s.ranges) && s.ranges[i].First <= u
}

// All yields the members in ascending order. A set from outside can span four thousand
// million: Clamp it first.
func (s UIDSet) All() iter.Seq[UID] {
	return func(yield func(UID) bool) {
		for _, r := range s.ranges {
			for u := uint64(r.First); u <= uint64(r.Last); u++ {
				if !yield(UID(u)) {
					return
				}
			}
		}
	}
}

// Slice returns the members in ascending order; see All for sets from outside.
func (s UIDSet) Slice() []UID { return slices.Collect(s.All()) }

// Clamp returns the members from first to last.
func (s UIDSet) Clamp(first, last UID) UIDSet {
	var out UIDSet
	for _, r := range s.ranges[s.search(first):] {
		f, l := max(r.First, first), min(r.Last, last)
		if f > l {
			break
		}
		out.ranges = append(out.ranges, UIDRange{f, l})
	}
	return out
}

// Union returns the members of both sets.
func (s UIDSet) Union(t UIDSet) UIDSet {
	a, b := s.ranges, t.ranges
	out := UIDSet{make([]UIDRange, 0, len(a)+len(b))}
	for len(a) > 0 && len(b) > 0 {
		if b[0].First < a[0].First {
			a, b = b, a
		}
		out.extend(a[0])
		a = a[1:]
	}
	for _, rest := range [][]UIDRange{a, b} { // one of them is empty
		for _, r := range rest {
			out.extend(r)
		}
	}
	return out
}

// Minus returns the members of s that are not in t.
func (s UIDSet) Minus(t UIDSet) UIDSet {
	var out UIDSet
	j := 0
	for _, r := range s.ranges {
		first := uint64(r.First)
		for j < len(t.ranges) && uint64(t.ranges[j].Last) < first {
			j++
		}
		for k := j; k < len(t.ranges) && t.ranges[k].First <= r.Last; k++ {
			if f := uint64(t.ranges[k].First); f > first {
				out.ranges = append(out.ranges, UIDRange{UID(first), UID(f - 1)})
			}
			first = uint64(t.ranges[k].Last) + 1
		}
		if first <= uint64(r.Last) {
			out.ranges = append(out.ranges, UIDRange{UID(first), r.Last})
		}
	}
	return out
}

// String spells the set as an IMAP sequence-set ("1:3,7"); empty for the empty set.
func (s UIDSet) String() string {
	var b []byte
	for i, r := range s.ranges {
		if i > 0 {
			b = append(b, ',')
		}
		b = r.append(b)
	}
	return string(b)
}

// append spells the range.
func (r UIDRange) append(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(r.First), 10)
	if r.Last != r.First {
		b = strconv.AppendUint(append(b, ':'), uint64(r.Last), 10)
	}
	return b
}

// Chunks splits the set, in ascending order, into sets of at most maxBytes spelled and maxLen members
// (0: no such limit), because servers refuse or cut long command lines. No range is split, nor left out,
// for the sake of maxBytes: below 21 bytes a chunk may be one range that is longer.
func (s UIDSet) Chunks(maxBytes int, maxLen int64) []UIDSet {
	var out []UIDSet
	var cur UIDSet
	var n int64 // members of cur
	size := 0   // bytes of cur, with a comma after each range
	var spelled [21]byte
	flush := func() {
		if !cur.IsEmpty() {
			out, cur, n, size = append(out, cur), UIDSet{}, 0, 0
		}
	}
	for _, r := range s.ranges {
		for first := uint64(r.First); first <= uint64(r.Last); {
			part := UIDRange{UID(first), r.Last}
			if maxLen > 0 {
				part.Last = UID(min(uint64(r.Last), first+uint64(maxLen-n)-1))
			}
			width := len(part.append(spelled[:0]))
			if maxBytes > 0 && n > 0 && size+width > maxBytes {
				flush()
				continue
			}
			cur.ranges = append(cur.ranges, part)
			n += int64(part.Last-part.First) + 1
			size += width + 1
			first = uint64(part.Last) + 1
			if maxLen > 0 && n >= maxLen {
				flush()
			}
		}
	}
	flush()
	return out
}

var errUIDSet = errors.New("not a set of UIDs")

// ParseUIDSet reads a sequence-set without "*": comma-separated numbers and ranges, in any order.
func ParseUIDSet(text string) (UIDSet, error) {
	ranges, err := ParseUIDRanges(text)
	slices.SortFunc(ranges, func(a, b UIDRange) int { return cmp.Compare(a.First, b.First) })
	var s UIDSet
	for _, r := range ranges {
		s.extend(r)
	}
	return s, err
}

// ParseUIDRanges reads a sequence-set in the order it was spelled, which COPYUID gives a
// meaning (RFC 4315, section 3). Each range comes with First ≤ Last.
func ParseUIDRanges(text string) ([]UIDRange, error) {
	out := make([]UIDRange, 0, strings.Count(text, ",")+1)
	for part := range strings.SplitSeq(text, ",") {
		a, b, isRange := strings.Cut(part, ":")
		first, ok := parseUID(a)
		last := first
		if ok && isRange {
			last, ok = parseUID(b)
		}
		if !ok {
			return nil, fmt.Errorf("%w: %.40q", errUIDSet, text)
		}
		out = append(out, UIDRange{min(first, last), max(first, last)})
	}
	return out, nil
}

// parseUID reads an nz-number (RFC 9051, section 9), with leading zeros if need be.
func parseUID(s string) (UID, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return UID(n), err == nil && n > 0
}
