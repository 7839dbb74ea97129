package mail

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// names generates few flags in many spellings, and what is no flag. "_" and "^" sort between
// upper and lower case.
func names() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{`\Draft`, `\Flagged`, `$Forwarded`, `\Answered`, `\Seen`, `\Deleted`, `\SEEN`, `\deleted`, `$FORWARDED`}),
		rapid.SampledFrom([]string{"a", "A", "b", "B", "ab", "aB", "AB", "a_", "a^", "A_", "$Junk", "$junk", "NonJunk", "~", "]"}),
		rapid.StringMatching(`[a-cA-C_\[]{1,3}`),
		rapid.SampledFrom([]string{`\Recent`, `\*`, `\Odd`, "", " ", "a b", "é", "\\ſeen", "x\r\ny", "ſ", "\u212A"}),
	)
}

// model is what a set holds: names in lower case.
type model map[string]bool

// accepted says by its own words which names a set takes.
func accepted(name string) bool {
	if slices.ContainsFunc(systemNames[:], func(s string) bool { return strings.EqualFold(s, name) && len(s) == len(name) }) {
		return true
	}
	return name != "" && len(name) < 256 && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&'+,-./:;<=>?@[]^_`|}~") == ""
}

func modelOf(names []string) model {
	m := model{}
	for _, n := range names {
		if accepted(n) {
			m[strings.ToLower(n)] = true
		}
	}
	return m
}

func (m model) combine(o model, keep func(a, b bool) bool) model {
	out := model{}
	for _, k := range slices.Concat(slices.Collect(maps.Keys(m)), slices.Collect(maps.Keys(o))) {
		if keep(m[k], o[k]) {
			out[k] = true
		}
	}
	return out
}

// check fails unless f holds what m holds, in order, each once.
func (m model) check(t *rapid.T, what string, f Flags) {
	if got := modelOf(f.Names()); !maps.Equal(got, m) || len(f.Names()) != len(m) {
		t.Fatalf("%s: %q, want %v", what, f, slices.Sorted(maps.Keys(m)))
	}
	kw := f.Keywords()
	if !slices.IsSortedFunc(kw, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }) {
		t.Fatalf("%s: %q is not in order", what, kw)
	}
	if f.IsZero() != (len(m) == 0) {
		t.Fatalf("%s: IsZero = %v with %d flags", what, f.IsZero(), len(m))
	}
	if back := ParseFlags(f.String()); back != f {
		t.Fatalf("%s: %q is read back as %q", what, f, back)
	}
	if strings.Join(f.Names(), " ") != f.String() {
		t.Fatalf("%s: Names %q, String %q", what, f.Names(), f)
	}
}

func TestFlagsProperties(t *testing.T) {
	list := rapid.SliceOfN(names(), 0, 8)
	rapid.Check(t, func(t *rapid.T) {
		an, bn := list.Draw(t, "a"), list.Draw(t, "b")
		a, b, ma, mb := NewFlags(an...), NewFlags(bn...), modelOf(an), modelOf(bn)
		ma.check(t, "NewFlags", a)
		union := ma.combine(mb, func(a, b bool) bool { return a || b })
		union.check(t, "Plus", a.Plus(b))
		ma.combine(mb, func(a, b bool) bool { return a && !b }).check(t, "Minus", a.Minus(b))
		ma.combine(mb, func(a, b bool) bool { return a && b }).check(t, "And", a.And(b))
		if a.Equal(b) != maps.Equal(ma, mb) || a.Equal(b) != b.Equal(a) {
			t.Fatalf("Equal(%q, %q) = %v", a, b, a.Equal(b))
		}
		for k := range union {
			if strings.HasPrefix(k, `\`) || k == "$forwarded" {
				continue
			}
			if a.HasKeyword(k) != ma[k] || a.HasKeyword(strings.ToUpper(k)) != ma[k] {
				t.Fatalf("%q.HasKeyword(%q) = %v", a, k, a.HasKeyword(k))
			}
		}
		// The order in which names come says nothing.
		if again := NewFlags(rapid.Permutation(an).Draw(t, "shuffled")...); again != a {
			t.Fatalf("%q in another order is %q", a, again)
		}
		// The left set's spelling stays.
		for what, f := range map[string]Flags{"Plus": a.Plus(b), "And": a.And(b), "Minus": a.Minus(b)} {
			for _, k := range f.Keywords() {
				if a.HasKeyword(k) && !slices.Contains(a.Keywords(), k) {
					t.Fatalf("%s: %q and %q give %q", what, a, b, f)
				}
			}
		}
		// What is taken apart fits together again, to the letter.
		if back := a.Minus(b).Plus(a.And(b)); back != a {
			t.Fatalf("%q without %q and what both have: %q", a, b, back)
		}
	})
}

func TestMergeLaws(t *testing.T) {
	list := rapid.SliceOfN(names(), 0, 6)
	rapid.Check(t, func(t *rapid.T) {
		draw := func(what string) Flags { return NewFlags(list.Draw(t, what)...) }
		base, a, b := draw("base"), draw("a"), draw("b")
		ab, ba := Merge(a, base, b), Merge(b, base, a)
		if !ab.Equal(ba) {
			t.Fatalf("from %q, %q takes %q's changes: %q; the other way round: %q", base, a, b, ab, ba)
		}
		// Flag by flag: who changed it has its way.
		want := model{}
		mBase, ma, mb := modelOf(base.Names()), modelOf(a.Names()), modelOf(b.Names())
		for _, k := range slices.Concat(base.Names(), a.Names(), b.Names()) {
			k = strings.ToLower(k)
			if now := mb[k]; (now != mBase[k] && now) || (now == mBase[k] && ma[k]) {
				want[k] = true
			}
		}
		want.check(t, "Merge", ab)
		// Who changed nothing gets the other's; who is alone in changing keeps its own.
		if got := Merge(base, base, b); !got.Equal(b) {
			t.Fatalf("unchanged %q takes %q: %q", base, b, got)
		}
		if got := Merge(a, base, base); got != a {
			t.Fatalf("%q takes nothing from unchanged %q: %q", a, base, got)
		}
		if got := Merge(a, base, a); got != a {
			t.Fatalf("%q and the same: %q", a, got)
		}
		// Having merged, both agree: with the result as the new base nothing is left to do, and
		// to hear of the same change again does nothing.
		if got := Merge(ab, ab, ba); got != ab {
			t.Fatalf("a second merge makes %q of %q", got, ab)
		}
		if got := Merge(ab, base, b); got != ab {
			t.Fatalf("the same change again makes %q of %q", got, ab)
		}
		// Sides with their own bases, as when one can't store a flag: what the other lacks but never
		// had is no removal.
		if keeps := draw("what the other can store"); !Merge(a, b.And(keeps), b.And(keeps)).Equal(a) {
			t.Fatal("what a side can't store is read back as a removal")
		}
	})
}

func TestNewFlags(t *testing.T) {
	long := strings.Repeat("k", 255)
	tests := []struct {
		names []string
		want  string
	}{
		{nil, ""},
		{[]string{`\Seen`, `\Draft`, `\Deleted`, `\Answered`, `\Flagged`, `$Forwarded`}, `\Draft \Flagged $Forwarded \Answered \Seen \Deleted`},
		{[]string{`\SEEN`, `\seen`, `$forwarded`}, `$Forwarded \Seen`},
		{[]string{`\Recent`, `\*`, `\Custom`, `\`}, ""},
		{[]string{"b", "C", "a"}, "a b C"},
		{[]string{"work", "Work", "WORK"}, "WORK"},
		{[]string{"a_", "AB", "ab"}, "a_ AB"},
		{[]string{"a b", "", "(", ")", "{", "%", "*", `"`, "é", "\x7f", "\t", "x\r\n", "\x00"}, ""},
		{[]string{"a]", "[b", "$c", "}", "'"}, "$c ' [b a] }"},
		{[]string{long, long + "k"}, long},
		{[]string{"\\\u017Feen", "\u212A", "$\uFF26orwarded"}, ""}, // letters that fold to ASCII elsewhere
	}
	for _, tt := range tests {
		f := NewFlags(tt.names...)
		if f.String() != tt.want {
			t.Errorf("NewFlags(%.100q) = %q, want %q", tt.names, f, tt.want)
		}
	}
}

func TestHas(t *testing.T) {
	f := NewFlags(`\Seen`, `\Flagged`, "Work")
	for _, tt := range []struct {
		s    System
		want bool
	}{{Seen, true}, {Seen | Flagged, true}, {Seen | Draft, false}, {Deleted, false}, {0, true}} {
		if f.Has(tt.s) != tt.want {
			t.Errorf("%q.Has(%b) = %v", f, tt.s, !tt.want)
		}
	}
	if f.System() != Seen|Flagged || SystemFlags(f.System()).String() != `\Flagged \Seen` {
		t.Errorf("System = %b", f.System())
	}
	if got := SystemFlags(0xff); got.String() != `\Draft \Flagged $Forwarded \Answered \Seen \Deleted` || !got.Equal(ParseFlags(got.String())) {
		t.Errorf("all bits: %q", got)
	}
	for name, want := range map[string]bool{"work": true, "WORK": true, "wor": false, "works": false, "": false, " ": false, `\Seen`: false, "Wor\u212A": false} {
		if f.HasKeyword(name) != want {
			t.Errorf("HasKeyword(%q) = %v", name, !want)
		}
	}
	if (Flags{}).Keywords() != nil || len((Flags{}).Names()) != 0 {
		t.Error("the empty set names something")
	}
}

func TestMergeTable(t *testing.T) {
	// In both directions: what either side changed is changed.
	tests := []struct{ base, a, b, want string }{
		{"", "", "", ""},
		{"", `\Seen`, `\Flagged`, `\Flagged \Seen`},
		{`\Seen`, "", `\Seen \Flagged`, `\Flagged`},
		{`\Seen k`, `\Seen`, "k", ""},
		{"Work", "", "WORK", ""},
		{"Work", "work x", "WORK y", "work x y"},
		{`\Seen`, `\Seen`, `\Seen`, `\Seen`},
		{"a b", "b c", "a d", "c d"},
		{`\Deleted`, "", "", ""},
	}
	for _, tt := range tests {
		base, a, b, want := ParseFlags(tt.base), ParseFlags(tt.a), ParseFlags(tt.b), ParseFlags(tt.want)
		if got := Merge(a, base, b); !got.Equal(want) {
			t.Errorf("from %q: %q takes on %q: %q, want %q", base, a, b, got, want)
		}
		if got := Merge(b, base, a); !got.Equal(want) {
			t.Errorf("from %q: %q takes on %q: %q, want %q", base, b, a, got, want)
		}
	}
}

func FuzzParseFlags(f *testing.F) {
	for _, s := range []string{"", `\Seen \Recent \*`, "a A b", "x\r\ny z]", "  ", "\\ſeen", `$Forwarded $forwarded ~ { }`, strings.Repeat("k", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set := ParseFlags(s)
		if back := ParseFlags(set.String()); back != set {
			t.Fatalf("%q is read back as %q", set, back)
		}
		for _, name := range set.Names() {
			if !accepted(name) {
				t.Fatalf("%q came in with %q", name, s)
			}
		}
		for _, k := range set.Keywords() {
			if !set.HasKeyword(strings.ToUpper(k)) || !ValidKeyword(k) {
				t.Fatalf("keyword %q of %q", k, s)
			}
		}
	})
}

func BenchmarkFlags(b *testing.B) {
	for name, sets := range map[string][2]Flags{
		"system":   {NewFlags(`\Seen`), NewFlags(`\Seen`, `\Flagged`)},
		"keywords": {NewFlags(`\Seen`, "$Junk", "Work", "todo"), NewFlags("$junk", "Later", "zzz")},
	} {
		x, y := sets[0], sets[1]
		for op, do := range map[string]func(){
			"Plus": func() { x.Plus(y) }, "Minus": func() { x.Minus(y) }, "And": func() { x.And(y) }, "Equal": func() { x.Equal(y) },
			"Merge": func() { Merge(x, y, x) }, "HasKeyword": func() { x.HasKeyword("TODO") }, "String": func() { _ = x.String() },
			"NewFlags": func() { NewFlags(`\Seen`, "Work", "todo") },
		} {
			b.Run(name+"/"+op, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					do()
				}
			})
		}
	}
}

// TestHash: equal sets have equal hashes, and those that are on disk stay what they are.
func TestHash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, g := NewFlags(rapid.SliceOf(names()).Draw(t, "f")...), NewFlags(rapid.SliceOf(names()).Draw(t, "g")...)
		if f.Equal(g) != (f.Hash() == g.Hash()) {
			t.Fatalf("%q %x, %q %x", f, f.Hash(), g, g.Hash())
		}
		if again := ParseFlags(string(f.AppendKeywords(nil))).Plus(SystemFlags(f.System())); !again.Equal(f) || f.HasKeywords() != (len(f.Keywords()) > 0) {
			t.Fatalf("%q: keywords %q", f, f.AppendKeywords(nil))
		}
	})
	for _, tc := range []struct {
		flags Flags
		want  uint32
	}{
		{Flags{}, 0x050c5d1f},
		{NewFlags(`\Seen`), 0x150c764f},
		{NewFlags(`\Seen`, "$Junk", "Work"), 0xb9b61720},
		{NewFlags("WORK", `\seen`, "$junk"), 0xb9b61720},
	} {
		if got := tc.flags.Hash(); got != tc.want {
			t.Errorf("%q: %#x instead of %#x", tc.flags, got, tc.want)
		}
	}
}
