package maildir

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
)

// reading is what one reading of new and cur gave.
type reading struct {
	stamp    stamp
	mark     Mark
	quiet    bool
	known    Known       // nil: all entries are here
	entries  []Entry     // those that known did not take, sorted by Base, then cur before new; a Base may come twice
	others   *nameHashes // of all names, if there is known
	names    Names
	problems []Problem
	letters  letterSet // keyword letters in use
	sep      byte      // of the infos, 0 if there are none
}

// twice reports whether two files have one base name.
func (r *reading) twice() bool {
	for i := range r.entries {
		if i > 0 && r.entries[i].Base == r.entries[i-1].Base || r.known != nil && r.known.Taken(r.entries[i].Base) {
			return true
		}
	}
	return false
}

// read reads both directories once: new first, because messages go from there to cur.
func (s *Store) read(d folderDir, known Known) (reading, error) {
	m, err := s.meanings(d)
	if err != nil {
		return reading{}, err
	}
	r := reading{known: known}
	if known != nil {
		known.Reset()
		r.others = &nameHashes{seed: s.seed}
	}
	var seps [len(separators)]int // how many files have each
	// What is known may still be loading. The names in new, of which there are few, wait for it, so that cur is being read meanwhile.
	var early []earlyName
	takeEarly := func() {
		for i := range early {
			e := &early[i]
			s.take(&r, e.name, e.name[:e.base], true, &e.meaning)
		}
		early = nil
	}
	for _, isNew := range []bool{true, false} {
		dir := d.sub(curDir)
		if isNew {
			dir = d.sub(newDir)
		}
		var failed error
		err := s.fs.Names(dir, func(name string, mode fs.FileMode) bool {
			if name[0] == '.' {
				return true
			}
			if !mode.IsRegular() {
				r.problems = append(r.problems, Problem{Folder: d.name, File: path.Join(dir, name), Base: parseFileName(name).base, Err: ErrNotRegular})
				return true
			}
			n := parseFileName(name)
			if n.sep != 0 {
				seps[strings.IndexByte(separators, n.sep)]++
			}
			failed = m.look(n.letters)
			r.letters |= m.now.letters
			if isNew && known != nil && len(early) < maxEarly {
				early = append(early, earlyName{strings.Clone(name), len(n.base), m.now})
				return failed == nil
			}
			takeEarly()
			s.take(&r, name, n.base, isNew, &m.now)
			return failed == nil
		})
		if err := errors.Join(failed, ignoreMissing(err)); err != nil {
			return reading{}, err
		}
	}
	takeEarly()
	for i, n := range seps {
		if n > 0 && r.sep == 0 {
			r.sep = separators[i]
		}
	}
	slices.SortFunc(r.entries, compareEntries)
	return r, nil
}

// maxEarly bounds how many names of new wait.
const maxEarly = 1000

// earlyName is a file in new that was not taken in yet.
type earlyName struct {
	name string
	base int // how long the base name is, which the name begins with
	meaning
}

// take takes in one file. Of what is known it keeps eight bytes.
func (s *Store) take(r *reading, name, base string, isNew bool, m *meaning) {
	hash := s.addName(&r.names, base)
	if r.known != nil {
		r.others.add(hash)
		if !m.unexplained && r.known.Take(base, m.hash) {
			return
		}
	}
	file := strings.Clone(name)
	r.entries = append(r.entries, Entry{
		Base: file[:len(base)], Flags: m.flags, New: isNew, File: file, Unexplained: m.unexplained,
	})
}

// meanings says what the letters of a folder's files stand for. Each spelling is worked out once.
type meanings struct {
	s     *Store
	d     folderDir
	k     *keywords
	known map[string]meaning
	now   meaning // of the letters that were looked at last: most files have those of the one before
}

type meaning struct {
	spelled     string
	flags       mail.Flags
	hash        uint32 // of flags
	letters     letterSet
	unexplained bool
}

func (s *Store) meanings(d folderDir) (*meanings, error) {
	k, err := s.keywords.load(d)
	// The zero meaning is that of no letters but for the hash.
	return &meanings{s: s, d: d, k: k, known: map[string]meaning{}, now: meaning{hash: mail.Flags{}.Hash()}}, err
}

// look works out what letters mean, into now.
func (m *meanings) look(letters string) error {
	if letters == m.now.spelled {
		return nil
	}
	means, ok := m.known[letters]
	if !ok {
		if !m.k.explains(letters) {
			// A letter is listed before it is used: it may have been added since the list was read.
			k, err := m.s.keywords.load(m.d)
			if err != nil {
				return err
			}
			m.k = k
		}
		flags := m.k.flags(letters)
		means = meaning{strings.Clone(letters), flags, flags.Hash(), keywordLetters(letters), !m.k.explains(letters)}
		m.known[means.spelled] = means
	}
	m.now = means
	return nil
}
