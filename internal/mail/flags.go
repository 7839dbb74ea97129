package mail

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// System is one of the six flags that a Maildir file name has a letter for.
type System uint8

const (
	Draft     System = 1 << iota // \Draft, letter D
	Flagged                      // \Flagged, letter F
	Forwarded                    // $Forwarded, letter P (passed)
	Answered                     // \Answered, letter R (replied)
	Seen                         // \Seen, letter S
	Deleted                      // \Deleted, letter T (trashed)
)

// systemNames is in the order of the bits, which is the order of the Maildir letters.
var systemNames = [...]string{`\Draft`, `\Flagged`, `$Forwarded`, `\Answered`, `\Seen`, `\Deleted`}

// Flags is the set of flags and keywords on one message. The zero value is the
// empty set. Keywords are equal without regard to case and keep the spelling
// they came with (RFC 9051, section 2.3.2); compare sets with Equal, not ==.
type Flags struct {
	system System
	// keywords is sorted by folded spelling and joined by single spaces, which
	// no keyword can hold (RFC 9051, flag-keyword is an atom).
	keywords string
}

// allSystem are the flags that there are.
const allSystem = Draft | Flagged | Forwarded | Answered | Seen | Deleted

// NewFlags makes a set from names as IMAP spells them. \Recent, \* and system flags
// that RFC 9051 does not know are left out: nobody but the server can set them. So is what is no
// ValidKeyword. Of one keyword in several spellings the first in byte order stays.
func NewFlags(names ...string) Flags {
	var f Flags
	var kw []string
	for _, name := range names {
		if bit, ok := systemFlag(name); ok {
			f.system |= bit
		} else if ValidKeyword(name) {
			kw = append(kw, name)
		}
	}
	f.keywords = joinKeywords(kw)
	return f
}

// SystemFlags makes a set of system flags alone.
func SystemFlags(s System) Flags { return Flags{system: s & allSystem} }

func systemFlag(name string) (System, bool) {
	for i, n := range systemNames {
		if compareFold(n, name) == 0 {
			return 1 << i, true
		}
	}
	return 0, false
}

// ValidKeyword reports whether name can be sent as a flag-keyword: a non-empty
// atom (RFC 9051, section 9) of at most 255 bytes. Names from outside that
// are not are never stored or sent on.
// deviation: "]" is allowed, because Fastmail has keywords with it and servers take them.
func ValidKeyword(name string) bool {
	if name == "" || len(name) > 255 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\`, c) >= 0 {
			return false
		}
	}
	return true
}

func joinKeywords(kw []string) string {
	switch len(kw) {
	case 0:
		return ""
	case 1:
		return kw[0]
	}
	slices.SortFunc(kw, func(a, b string) int { return cmp.Or(compareFold(a, b), strings.Compare(a, b)) })
	kw = slices.CompactFunc(kw, func(a, b string) bool { return compareFold(a, b) == 0 })
	return strings.Join(kw, " ")
}

// compareFold compares without regard to the case of ASCII letters, and of no others: to IMAP
// and to header field names, others are not letters.
func compareFold[S, T []byte | string](a S, b T) int {
	for i := range min(len(a), len(b)) {
		if c := cmp.Compare(lower(a[i]), lower(b[i])); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// System returns the system flags of the set.
func (f Flags) System() System { return f.system }

// Has reports whether all of s are set.
func (f Flags) Has(s System) bool { return f.system&s == s }

// Keywords returns the keywords, sorted.
func (f Flags) Keywords() []string {
	if f.keywords == "" {
		return nil
	}
	return strings.Split(f.keywords, " ")
}

// HasKeyword reports whether the keyword is set, in any spelling.
func (f Flags) HasKeyword(name string) bool {
	for k := range eachKeyword(f.keywords) {
		if compareFold(k, name) == 0 {
			return true
		}
	}
	return false
}

func eachKeyword(joined string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for joined != "" {
			var k string
			if k, joined, _ = strings.Cut(joined, " "); !yield(k) {
				return
			}
		}
	}
}

// IsZero reports whether nothing is set.
func (f Flags) IsZero() bool { return f.system == 0 && f.keywords == "" }

// Equal reports whether both sets hold the same flags.
func (f Flags) Equal(g Flags) bool {
	return f.system == g.system && compareFold(f.keywords, g.keywords) == 0
}

// Hash returns a number that is the same for Equal sets and almost never for others. The state keeps it on disk, so it
// can't change.
func (f Flags) Hash() uint32 {
	const offset, prime = 2166136261, 16777619 // FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/
	h := (uint32(offset) ^ uint32(f.system)) * prime
	for i := range len(f.keywords) {
		h = (h ^ uint32(lower(f.keywords[i]))) * prime
	}
	return h
}

// AppendKeywords appends the keywords, sorted and joined by spaces, to b. ParseFlags reads them back.
func (f Flags) AppendKeywords(b []byte) []byte { return append(b, f.keywords...) }

// KeywordsOnly returns f without its system flags.
func (f Flags) KeywordsOnly() Flags { return Flags{keywords: f.keywords} }

// HasKeywords reports whether any keyword is set.
func (f Flags) HasKeywords() bool { return f.keywords != "" }

// Plus returns the union. Where both spell a keyword differently, f's spelling stays.
func (f Flags) Plus(g Flags) Flags {
	return Flags{f.system | g.system, selectKeywords(f.keywords, g.keywords, true, true, true)}
}

// Minus returns what f has and g has not.
func (f Flags) Minus(g Flags) Flags {
	return Flags{f.system &^ g.system, selectKeywords(f.keywords, g.keywords, true, false, false)}
}

// And returns what both have, in f's spelling.
func (f Flags) And(g Flags) Flags {
	return Flags{f.system & g.system, selectKeywords(f.keywords, g.keywords, false, true, false)}
}

// selectKeywords walks two joined lists side by side and keeps what only the first has, both
// have (as the first spells it), or only the second has.
func selectKeywords(f, g string, onlyF, both, onlyG bool) string {
	whole := func(s string, wanted bool) string {
		if wanted {
			return s
		}
		return ""
	}
	switch {
	case f == g:
		return whole(f, both)
	case f == "":
		return whole(g, onlyG)
	case g == "":
		return whole(f, onlyF)
	}
	var b strings.Builder
	keep := func(k string, wanted bool) {
		if !wanted {
			return
		}
		if b.Len() == 0 {
			b.Grow(len(f) + len(g) + 1)
		} else {
			b.WriteByte(' ')
		}
		b.WriteString(k)
	}
	for f != "" && g != "" {
		kf, restF, _ := strings.Cut(f, " ")
		kg, restG, _ := strings.Cut(g, " ")
		switch c := compareFold(kf, kg); {
		case c < 0:
			keep(kf, onlyF)
			f = restF
		case c > 0:
			keep(kg, onlyG)
			g = restG
		default:
			keep(kf, both)
			f, g = restF, restG
		}
	}
	if f != "" {
		keep(f, onlyF)
	}
	if g != "" {
		keep(g, onlyG)
	}
	return b.String()
}

// Names returns the set as IMAP spells it, system flags first.
func (f Flags) Names() []string {
	var names []string
	for i, n := range systemNames {
		if f.system&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return append(names, f.Keywords()...)
}

// String returns the names joined by spaces; ParseFlags reads it back.
func (f Flags) String() string { return strings.Join(f.Names(), " ") }

// ParseFlags reads what String wrote.
func ParseFlags(s string) Flags { return NewFlags(strings.Fields(s)...) }

// Merge is the three-way merge of one message's flags (every flag on its own): what
// other added since its base is added to own, what it removed is removed. A flag has two
// values only, so two changes from one base never contradict each other.
func Merge(own, otherBase, other Flags) Flags {
	return own.Plus(other.Minus(otherBase)).Minus(otherBase.Minus(other))
}
