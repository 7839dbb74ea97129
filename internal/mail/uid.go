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
type UIDSet struct{ ranges []UIDRange }

// NewUIDSet makes a set from single UIDs in any order.
func NewUIDSet(uids ...UID) UIDSet {
	s := slices.Clone(uids)
	slices.Sort(s)
	var set UIDSet
	for _, u := range s {
		set.AddRange(u, u)
	}
	return set
}

// Add puts one UID into the set.
func (s *UIDSet) Add(u UID) { s.AddRange(u, u) }

// AddRange puts first to last, in either order, into the set; 0 is never a member.
func (s *UIDSet) AddRange(first, last UID) {
	if first > last {
		first, last = last, first
	}
	first = max(first, 1)
	if last == 0 {
		return
	}
	// The usual case, ascending order, only touches the end.
	if n := len(s.ranges); n == 0 || s.ranges[n-1].Last < first-1 {
		s.ranges = append(s.ranges, UIDRange{first, last})
		return
	}
	// i: the first range that touches or lies beyond [first, last]; j: the first wholly beyond.
	i, _ := slices.BinarySearchFunc(s.ranges, first-1, func(r UIDRange, u UID) int { return cmp.Compare(r.Last, u) })
	j := i
	for j < len(s.ranges) && (last == ^UID(0) || s.ranges[j].First <= last+1) {
		first, last = min(first, s.ranges[j].First), max(last, s.ranges[j].Last)
		j++
	}
	s.ranges = slices.Replace(s.ranges, i, j, UIDRange{first, last})
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
	i, _ := slices.BinarySearchFunc(s.ranges, u, func(r UIDRange, u UID) int { return cmp.Compare(r.Last, u) })
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
	for _, r := range s.ranges {
		if f, l := max(r.First, first), min(r.Last, last); f <= l {
			out.ranges = append(out.ranges, UIDRange{f, l})
		}
	}
	return out
}

// Union returns the members of both sets.
func (s UIDSet) Union(t UIDSet) UIDSet {
	out := UIDSet{slices.Clone(s.ranges)}
	for _, r := range t.ranges {
		out.AddRange(r.First, r.Last)
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
	var b strings.Builder
	for i, r := range s.ranges {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(uint64(r.First), 10))
		if r.Last != r.First {
			b.WriteByte(':')
			b.WriteString(strconv.FormatUint(uint64(r.Last), 10))
		}
	}
	return b.String()
}

// Chunks splits the set into sets of at most maxBytes spelled and maxLen members
// (0: no such limit), because servers refuse or cut long command lines.
func (s UIDSet) Chunks(maxBytes int, maxLen int64) []UIDSet {
	const rangeBytes = 22 // two ten-digit numbers, a colon, a comma
	var out []UIDSet
	var cur UIDSet
	var n int64
	for _, r := range s.ranges {
		for first := uint64(r.First); first <= uint64(r.Last); {
			last := uint64(r.Last)
			if maxLen > 0 {
				last = min(last, first+uint64(maxLen-n)-1)
			}
			cur.ranges = append(cur.ranges, UIDRange{UID(first), UID(last)})
			n += int64(last-first) + 1
			first = last + 1
			if (maxLen > 0 && n >= maxLen) || (maxBytes > 0 && (len(cur.ranges)+1)*rangeBytes > maxBytes) {
				out, cur, n = append(out, cur), UIDSet{}, 0
			}
		}
	}
	if !cur.IsEmpty() {
		out = append(out, cur)
	}
	return out
}

var errUIDSet = errors.New("not a set of UIDs")

// ParseUIDSet reads a sequence-set without "*": comma-separated numbers and ranges.
func ParseUIDSet(text string) (UIDSet, error) {
	var s UIDSet
	ranges, err := ParseUIDRanges(text)
	for _, r := range ranges {
		s.AddRange(r.First, r.Last)
	}
	return s, err
}

// ParseUIDRanges reads a sequence-set in the order it was spelled, which COPYUID gives a
// meaning (RFC 4315, section 3). Each range comes with First ≤ Last.
func ParseUIDRanges(text string) ([]UIDRange, error) {
	var out []UIDRange
	for part := range strings.SplitSeq(text, ",") {
		a, b, isRange := strings.Cut(part, ":")
		first, err := parseUID(a)
		if err != nil {
			return nil, fmt.Errorf("%w: %.40q", errUIDSet, text)
		}
		last := first
		if isRange {
			if last, err = parseUID(b); err != nil {
				return nil, fmt.Errorf("%w: %.40q", errUIDSet, text)
			}
		}
		out = append(out, UIDRange{min(first, last), max(first, last)})
	}
	return out, nil
}

func parseUID(s string) (UID, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && (n == 0 || s[0] == '+') {
		err = errUIDSet
	}
	return UID(n), err
}
