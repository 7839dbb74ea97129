package mail

import (
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

// NewFlags makes a set from names as IMAP spells them. \Recent, \* and system flags
// that RFC 9051 does not know are left out: nobody but the server can set them.
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
func SystemFlags(s System) Flags { return Flags{system: s} }

func systemFlag(name string) (System, bool) {
	for i, n := range systemNames {
		if strings.EqualFold(n, name) {
			return 1 << i, true
		}
	}
	return 0, false
}

// ValidKeyword reports whether name can be sent as a flag-keyword: a non-empty
// atom (RFC 9051, section 9) of at most 255 bytes. Names from outside that
// are not are never stored or sent on.
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
	slices.SortFunc(kw, compareKeywords)
	kw = slices.CompactFunc(kw, strings.EqualFold)
	return strings.Join(kw, " ")
}

func compareKeywords(a, b string) int {
	if c := strings.Compare(strings.ToLower(a), strings.ToLower(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
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
	return slices.ContainsFunc(f.Keywords(), func(k string) bool { return strings.EqualFold(k, name) })
}

// IsZero reports whether nothing is set.
func (f Flags) IsZero() bool { return f.system == 0 && f.keywords == "" }

// Equal reports whether both sets hold the same flags.
func (f Flags) Equal(g Flags) bool {
	return f.system == g.system && (f.keywords == g.keywords || strings.EqualFold(f.keywords, g.keywords))
}

// Plus returns the union. Where both spell a keyword differently, f's spelling stays.
func (f Flags) Plus(g Flags) Flags {
	if g.keywords == "" {
		return Flags{f.system | g.system, f.keywords}
	}
	kw := f.Keywords()
	for _, k := range g.Keywords() {
		if !f.HasKeyword(k) {
			kw = append(kw, k)
		}
	}
	return Flags{f.system | g.system, joinKeywords(kw)}
}

// Minus returns what f has and g has not.
func (f Flags) Minus(g Flags) Flags {
	return Flags{f.system &^ g.system, f.keep(func(k string) bool { return !g.HasKeyword(k) })}
}

// And returns what both have, in f's spelling.
func (f Flags) And(g Flags) Flags {
	return Flags{f.system & g.system, f.keep(g.HasKeyword)}
}

func (f Flags) keep(want func(string) bool) string {
	if f.keywords == "" {
		return ""
	}
	return joinKeywords(slices.DeleteFunc(f.Keywords(), func(k string) bool { return !want(k) }))
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
