package mail

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const top = ^UID(0) // 2^32-1

// uids generates UIDs close together at either end of what there is.
func uids() *rapid.Generator[UID] {
	return rapid.Custom(func(t *rapid.T) UID {
		d := UID(rapid.IntRange(0, 30).Draw(t, "from the end"))
		if rapid.Bool().Draw(t, "upper") {
			return top - d
		}
		return d
	})
}

type uidModel map[UID]bool

// members of a and b, which are at the same end.
func (m uidModel) addRange(a, b UID) {
	for u := uint64(min(a, b)); u <= uint64(max(a, b)); u++ {
		if u > 0 {
			m[UID(u)] = true
		}
	}
}

func (m uidModel) where(keep func(UID) bool) uidModel {
	out := uidModel{}
	for u := range m {
		if keep(u) {
			out[u] = true
		}
	}
	return out
}

func (m uidModel) check(t *rapid.T, what string, s UIDSet) {
	checkRanges(t, what, s)
	want := slices.Sorted(maps.Keys(m))
	if got := s.Slice(); !slices.Equal(got, want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
	if s.Len() != int64(len(m)) || s.IsEmpty() != (len(m) == 0) {
		t.Fatalf("%s: Len %d, IsEmpty %v, want %d members", what, s.Len(), s.IsEmpty(), len(m))
	}
	for d := range UID(32) {
		for _, u := range []UID{d, top - d} {
			if s.Contains(u) != m[u] {
				t.Fatalf("%s: Contains(%d) = %v", what, u, !m[u])
			}
		}
	}
	if len(m) > 0 {
		back, err := ParseUIDSet(s.String())
		if err != nil || !slices.Equal(back.Ranges(), s.Ranges()) {
			t.Fatalf("%s: %q is read back as %q, %v", what, s, back, err)
		}
	} else if s.String() != "" {
		t.Fatalf("%s: the empty set is spelled %q", what, s)
	}
}

// checkRanges fails unless the ranges are in order, apart, and without 0.
func checkRanges(t interface{ Fatalf(string, ...any) }, what string, s UIDSet) {
	for i, r := range s.Ranges() {
		if r.First == 0 || r.First > r.Last || (i > 0 && uint64(s.Ranges()[i-1].Last)+1 >= uint64(r.First)) {
			t.Fatalf("%s: bad ranges %v", what, s.Ranges())
		}
	}
}

// drawSet builds a set and its model by ranges in any order.
func drawSet(t *rapid.T, what string) (UIDSet, uidModel) {
	var s UIDSet
	m := uidModel{}
	for i := range rapid.IntRange(0, 10).Draw(t, what+" ranges") {
		a := uids().Draw(t, fmt.Sprint(what, i))
		b := a
		if rapid.Bool().Draw(t, "range") {
			if b = a + UID(rapid.IntRange(0, 6).Draw(t, "length")); b < a {
				b = top
			}
		}
		if rapid.Bool().Draw(t, "backwards") {
			a, b = b, a
		}
		if a == b && rapid.Bool().Draw(t, "single") {
			s.Add(a)
		} else {
			s.AddRange(a, b)
		}
		m.addRange(a, b)
		checkRanges(t, "AddRange", s)
	}
	return s, m
}

func TestUIDSetProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, ma := drawSet(t, "a")
		b, mb := drawSet(t, "b")
		ma.check(t, "AddRange", a)
		both := maps.Clone(ma)
		maps.Copy(both, mb)
		both.check(t, "Union", a.Union(b))
		ma.where(func(u UID) bool { return !mb[u] }).check(t, "Minus", a.Minus(b))
		first, last := uids().Draw(t, "first"), uids().Draw(t, "last")
		ma.where(func(u UID) bool { return first <= u && u <= last }).check(t, "Clamp", a.Clamp(first, last))
		members := slices.Collect(maps.Keys(ma))
		slices.Sort(members)
		shuffled := rapid.Permutation(append(members, 0)).Draw(t, "shuffled")
		kept := slices.Clone(shuffled)
		ma.check(t, "NewUIDSet", NewUIDSet(shuffled...))
		if !slices.Equal(kept, shuffled) {
			t.Fatal("NewUIDSet changed its arguments")
		}
		// Results are sets of their own.
		for what, s := range map[string]UIDSet{
			"Union": a.Union(b), "Union with nothing": a.Union(UIDSet{}), "nothing's union": UIDSet{}.Union(a), "Minus": a.Minus(b), "Clamp": a.Clamp(0, top),
		} {
			s.AddRange(1, top)
			ma.check(t, "a after adding to "+what, a)
			mb.check(t, "b after adding to "+what, b)
		}
	})
}

func TestChunks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawSet(t, "set")
		maxBytes := rapid.IntRange(-1, 60).Draw(t, "bytes")
		maxLen := int64(rapid.IntRange(-1, 9).Draw(t, "members"))
		var all UIDSet
		chunks := s.Chunks(maxBytes, maxLen)
		for i, c := range chunks {
			checkRanges(t, "chunk", c)
			switch {
			case c.IsEmpty():
				t.Fatal("an empty chunk")
			case maxLen > 0 && c.Len() > maxLen:
				t.Fatalf("chunk %q has %d members, more than %d", c, c.Len(), maxLen)
			case maxBytes > 0 && len(c.String()) > maxBytes && len(c.Ranges()) > 1:
				t.Fatalf("chunk %q has more than %d bytes", c, maxBytes)
			case maxBytes >= 21 && len(c.String()) > maxBytes:
				t.Fatalf("chunk %q has more than %d bytes", c, maxBytes)
			}
			if i > 0 {
				if before := chunks[i-1].Ranges(); before[len(before)-1].Last >= c.Ranges()[0].First {
					t.Fatalf("chunk %q comes after %q", c, chunks[i-1])
				}
				// No more commands than there must be.
				next := c.Ranges()[0]
				next.Last = next.First
				if more := chunks[i-1].Union(UIDSet{[]UIDRange{next}}); (maxLen <= 0 || more.Len() <= maxLen) && (maxBytes <= 0 || len(chunks[i-1].String())+len(",4294967295:4294967295") <= maxBytes) {
					t.Fatalf("chunk %q has room for %q", chunks[i-1], c)
				}
			}
			all = all.Union(c)
		}
		m.check(t, "all chunks", all)
		if maxBytes <= 0 && maxLen <= 0 && len(chunks) > 1 {
			t.Fatalf("%d chunks without a limit", len(chunks))
		}
	})
}

func TestChunksTable(t *testing.T) {
	tests := []struct {
		set      string
		maxBytes int
		maxLen   int64
		want     string
	}{
		{"1:10", 0, 4, "1:4 5:8 9:10"},
		{"1:10", 0, 5, "1:5 6:10"},
		{"1,3,5,7", 0, 3, "1,3,5 7"},
		{"1,3:9", 0, 3, "1,3:4 5:7 8:9"},
		{"1,3,5,7", 3, 0, "1,3 5,7"},
		{"1,3,5,7", 4, 0, "1,3 5,7"},
		{"1,3,5,7", 5, 0, "1,3,5 7"},
		{"1,3,5,7", 1, 0, "1 3 5 7"},
		{"10:20,30", 1, 0, "10:20 30"},
		{"1:4294967295", 0, 0, "1:4294967295"},
		{"1:4294967295", 0, 1 << 31, "1:2147483648 2147483649:4294967295"},
		{"1:4294967295", 21, 1<<63 - 1, "1:4294967295"},
		{"4294967294:4294967295", 0, 1, "4294967294 4294967295"},
		{"1,3,5,7,9", 5, 2, "1,3 5,7 9"},
	}
	for _, tt := range tests {
		s, err := ParseUIDSet(tt.set)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range s.Chunks(tt.maxBytes, tt.maxLen) {
			got = append(got, c.String())
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s in chunks of %d bytes, %d members: %q, want %q", tt.set, tt.maxBytes, tt.maxLen, got, tt.want)
		}
	}
	if got := (UIDSet{}).Chunks(10, 10); len(got) != 0 {
		t.Errorf("the empty set has chunks %v", got)
	}
}

func TestUIDSetEnds(t *testing.T) {
	whole := func() UIDSet {
		var s UIDSet
		s.AddRange(top, 0)
		return s
	}()
	if whole.String() != "1:4294967295" || whole.Len() != 1<<32-1 || !whole.Contains(1) || !whole.Contains(top) || whole.Contains(0) {
		t.Errorf("all UIDs: %q, %d", whole, whole.Len())
	}
	tests := []struct {
		name string
		got  UIDSet
		want string
	}{
		{"0 is none", NewUIDSet(0, 0), ""},
		{"0 next to 1", NewUIDSet(0, 1), "1"},
		{"the top alone", NewUIDSet(top), "4294967295"},
		{"the top twice", NewUIDSet(top, top), "4294967295"},
		{"both ends", NewUIDSet(top, 1, top-1), "1,4294967294:4294967295"},
		{"nothing less all", UIDSet{}.Minus(whole), ""},
		{"all less all", whole.Minus(whole), ""},
		{"all less nothing", whole.Minus(UIDSet{}), "1:4294967295"},
		{"all less the ends", whole.Minus(NewUIDSet(1, top)), "2:4294967294"},
		{"all less the middle", whole.Minus(NewUIDSet(5, 7)), "1:4,6,8:4294967295"},
		{"the ends less all", NewUIDSet(1, top).Minus(whole), ""},
		{"all and nothing", whole.Union(UIDSet{}), "1:4294967295"},
		{"nothing and all", UIDSet{}.Union(whole), "1:4294967295"},
		{"all and all", whole.Union(whole), "1:4294967295"},
		{"all, clamped to all", whole.Clamp(0, top), "1:4294967295"},
		{"all, clamped to the top", whole.Clamp(top, top), "4294967295"},
		{"all, clamped to 0", whole.Clamp(0, 0), ""},
		{"all, clamped the wrong way", whole.Clamp(9, 3), ""},
		{"two, clamped between them", NewUIDSet(3, 9).Clamp(4, 8), ""},
		{"two, clamped the wrong way round one", NewUIDSet(3, 9).Clamp(9, 3), ""},
	}
	for _, tt := range tests {
		if got := tt.got.String(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	// Ranges that touch become one, at the ends too.
	for _, tt := range []struct {
		ranges []UIDRange
		want   string
	}{
		{[]UIDRange{{1, 3}, {4, 6}}, "1:6"},
		{[]UIDRange{{4, 6}, {1, 3}}, "1:6"},
		{[]UIDRange{{1, 2}, {5, 6}, {3, 4}}, "1:6"},
		{[]UIDRange{{1, 1}, {9, 9}, {5, 5}, {3, 7}}, "1,3:7,9"},
		{[]UIDRange{{1, 1}, {9, 9}, {5, 5}, {2, 8}}, "1:9"},
		{[]UIDRange{{top, top}, {top - 1, top - 1}}, "4294967294:4294967295"},
		{[]UIDRange{{5, top}, {1, 3}, {4, 4}}, "1:4294967295"},
		{[]UIDRange{{5, 6}, {top, 7}}, "5:4294967295"},
		{[]UIDRange{{5, 6}, {0, 0}, {0, 1}}, "1,5:6"},
		{[]UIDRange{{2, top}, {0, top}}, "1:4294967295"},
	} {
		var s UIDSet
		for _, r := range tt.ranges {
			s.AddRange(r.First, r.Last)
		}
		if s.String() != tt.want {
			t.Errorf("%v: %q, want %q", tt.ranges, s, tt.want)
		}
	}
	// Reading may stop, and ends at the top.
	var got []UID
	for u := range whole.All() {
		if got = append(got, u); u == 3 {
			break
		}
	}
	for u := range whole.Clamp(top-1, top).All() {
		got = append(got, u)
	}
	if !slices.Equal(got, []UID{1, 2, 3, top - 1, top}) {
		t.Errorf("All gives %v", got)
	}
}

func TestParseUIDSet(t *testing.T) {
	for _, tt := range []struct{ text, ranges, set string }{
		{"1", "[{1 1}]", "1"},
		{"1:3,7", "[{1 3} {7 7}]", "1:3,7"},
		{"7,3:1", "[{7 7} {1 3}]", "1:3,7"},
		{"3,1,2,2", "[{3 3} {1 1} {2 2} {2 2}]", "1:3"},
		{"1:10,2:3,5", "[{1 10} {2 3} {5 5}]", "1:10"},
		{"4294967295:1", "[{1 4294967295}]", "1:4294967295"},
		{"4294967295,4294967295,4294967294", "[{4294967295 4294967295} {4294967295 4294967295} {4294967294 4294967294}]", "4294967294:4294967295"},
		{"007", "[{7 7}]", "7"},
	} {
		ranges, err := ParseUIDRanges(tt.text)
		set, err2 := ParseUIDSet(tt.text)
		if err != nil || err2 != nil || fmt.Sprint(ranges) != tt.ranges || set.String() != tt.set {
			t.Errorf("%q: %v, %q (%v, %v)", tt.text, ranges, set, err, err2)
		}
	}
	for _, bad := range []string{
		"", ",", "1,", ",1", "0", "0:1", "1:0", "*", "1:*", "a", "-1", "+1", "1 ", " 1", "1:2:3", ":", "1:", ":1", "4294967296", "99999999999999999999", "1_0", "0x1", "１",
		"1\n", "1,,2", "1;2",
	} {
		if got, err := ParseUIDSet(bad); !errors.Is(err, errUIDSet) || !got.IsEmpty() {
			t.Errorf("ParseUIDSet(%q) = %q, %v", bad, got, err)
		}
	}
	if _, err := ParseUIDRanges(strings.Repeat("x", 1<<20)); err == nil || len(err.Error()) > 100 {
		t.Errorf("a long text makes an error of %d bytes", len(err.Error()))
	}
}

func FuzzParseUIDSet(f *testing.F) {
	for _, s := range []string{"", "1", "1:3,7", "3:1,2", "1:4294967295", "4294967295", "4294967294,4294967295", "0", "*", "1:*", "9,8,7,6", "1,3,5,7:9,2", "00000000001:2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ranges, err := ParseUIDRanges(text)
		set, err2 := ParseUIDSet(text)
		if (err == nil) != (err2 == nil) || (err != nil) != set.IsEmpty() {
			t.Fatalf("%q: %v, %v, %q", text, err, err2, set)
		}
		if err != nil {
			return
		}
		checkRanges(t, text, set)
		var one UIDSet
		for _, r := range ranges {
			if r.First == 0 || r.First > r.Last {
				t.Fatalf("%q has the range %v", text, r)
			}
			if !set.Contains(r.First) || !set.Contains(r.Last) || !slices.Equal(set.Clamp(r.First, r.Last).Ranges(), []UIDRange{r}) {
				t.Fatalf("%q lacks a part of %v: %q", text, r, set)
			}
			one.AddRange(r.First, r.Last)
		}
		if !slices.Equal(one.Ranges(), set.Ranges()) {
			t.Fatalf("%q: in order %q, sorted %q", text, one, set)
		}
		if back, err := ParseUIDSet(set.String()); err != nil || !slices.Equal(back.Ranges(), set.Ranges()) {
			t.Fatalf("%q is read back as %q, %v", set, back, err)
		}
		if !set.Minus(set).IsEmpty() || !slices.Equal(set.Union(set).Ranges(), set.Ranges()) {
			t.Fatalf("%q less itself, and with itself", set)
		}
		var all UIDSet
		for _, c := range set.Chunks(40, 0) {
			if len(c.String()) > 40 {
				t.Fatalf("chunk %q of %q", c, set)
			}
			all = all.Union(c)
		}
		if !slices.Equal(all.Ranges(), set.Ranges()) {
			t.Fatalf("the chunks of %q make %q", set, all)
		}
	})
}

// BenchmarkUIDSet works on sets whose every range is a single UID: what costs most.
func BenchmarkUIDSet(b *testing.B) {
	const n = 100_000
	var even, odd UIDSet
	for u := UID(1); u <= n; u++ {
		even.Add(2 * u)
		odd.Add(2*u + 1)
	}
	// Descending and shuffled, as a hostile server may spell it.
	var down strings.Builder
	for u := UID(n); u >= 1; u-- {
		fmt.Fprintf(&down, "%d,", 2*u)
	}
	hostile := strings.TrimSuffix(down.String(), ",")
	for name, do := range map[string]func(){
		"Union":    func() { even.Union(odd) },
		"Minus":    func() { even.Minus(odd) },
		"Clamp":    func() { even.Clamp(n, n+100) },
		"Contains": func() { even.Contains(n) },
		"Chunks":   func() { even.Chunks(8000, 0) },
		"String":   func() { _ = even.String() },
		"Parse":    func() { ParseUIDSet(hostile) },
		"Add": func() {
			var s UIDSet
			for u := UID(1); u <= n; u++ {
				s.Add(u)
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				do()
			}
		})
	}
}
