package maildir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
)

// maxGuesses bounds how many names are guessed in one folder before it is read.
const maxGuesses = 64

// maxTries bounds how often a file is looked up again because it was renamed in between.
const maxTries = 10

// find looks a message up. The name was true a moment ago, no more. ErrNotFound only after a quiet reading.
func (s *Store) find(d folderDir, base string) (Entry, error) {
	if l := s.listings.get(d.name); l != nil {
		e, v := l.find(base)
		switch {
		case v == listed:
			if _, err := s.fs.Stat(d.file(e)); err == nil {
				return e, nil
			} else if !errors.Is(err, fs.ErrNotExist) {
				return Entry{}, err
			}
		case v == absent && l.quiet:
			// If the folder is as it was read then, the message is not there.
			st, err := s.stamp(d)
			if err != nil {
				return Entry{}, err
			}
			if settled, _, err := s.settled(st); err == nil && settled && st.data == l.stamp.data {
				return Entry{}, fmt.Errorf("%s: %w", where(d, base), ErrNotFound)
			}
		}
	}
	if s.listings.miss(d.name) > maxGuesses {
		return s.findByReading(d, base)
	}
	e, err := s.guess(d, base, Entry{})
	if err == nil {
		s.listings.set(d.name, base, &e)
	}
	if !errors.Is(err, ErrNotFound) {
		return e, err
	}
	return s.findByReading(d, base)
}

// findByReading reads the folder, again and again while it changes.
func (s *Store) findByReading(d folderDir, base string) (Entry, error) {
	scan, err := s.scan(context.Background(), d, nil)
	if err != nil {
		return Entry{}, err
	}
	if e, ok := search(scan.Entries, base); ok {
		return e, nil
	}
	return Entry{}, notIn(scan, d, base)
}

// notIn is the error for a message that a reading did not show.
func notIn(scan Scan, d folderDir, base string) error {
	if !scan.Quiet {
		return fmt.Errorf("%s: %w", where(d, base), ErrBusy)
	}
	return fmt.Errorf("%s: %w", where(d, base), ErrNotFound)
}

// commonLetters are the flags that most messages have, tried before a whole directory is read.
var commonLetters = [...]string{"S", "", "RS", "FS", "FRS", "PS", "T", "ST"}

// guess tries a few likely names, after that of before. ErrNotFound means that nothing was guessed.
func (s *Store) guess(d folderDir, base string, before Entry) (Entry, error) {
	tries := make([]Entry, 0, len(commonLetters)+2)
	if before.File != "" {
		tries = append(tries, before)
	}
	sep := s.listings.sep(d.name)
	if sep == 0 {
		sep = ':'
	}
	tries = append(tries, Entry{Base: base, New: true, File: base})
	for _, letters := range commonLetters {
		tries = append(tries, Entry{Base: base, File: fileName{base: base, sep: sep, letters: letters}.String()})
	}
	for _, e := range tries {
		if parseFileName(e.File).base != base {
			continue // the base name itself looks like one with flags
		}
		info, err := s.fs.Stat(d.file(e))
		if errors.Is(err, fs.ErrNotExist) || isNameTooLong(err) {
			continue
		}
		if err != nil {
			return Entry{}, err
		}
		if !info.Mode.IsRegular() {
			continue
		}
		k, err := s.keywords.load(d)
		if err != nil {
			return Entry{}, err
		}
		letters := parseFileName(e.File).letters
		e.Flags, e.Unexplained = k.flags(letters), !k.explains(letters)
		return e, nil
	}
	return Entry{}, fmt.Errorf("%s: %w", where(d, base), ErrNotFound)
}

// onFile does something with a message's file. What is listed is taken to be there, without a look; if do does not
// find it, it was renamed and is looked up: the base name is what counts.
func (s *Store) onFile(f mail.FolderName, base string, do func(folderDir, Entry) error) error {
	d, err := s.locate(f)
	if err != nil {
		return err
	}
	return s.onFileIn(d, base, do)
}

func (s *Store) onFileIn(d folderDir, base string, do func(folderDir, Entry) error) error {
	if !validBase(base) {
		return fmt.Errorf("%s: %w", where(d, base), ErrNotFound)
	}
	for try := range maxTries {
		e, ok := s.listings.entry(d.name, base)
		if !ok || try > 0 {
			var err error
			if e, err = s.find(d, base); err != nil {
				return err
			}
		}
		err := do(d, e)
		switch {
		case errors.Is(err, fs.ErrExist):
			// The folder has another file of that base name, which reading it will tell apart.
			if _, err := s.scan(context.Background(), d, nil); err != nil {
				return err
			}
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return fmt.Errorf("%s: %w", where(d, base), ErrBusy)
}

// validBase refuses what is no single file name.
func validBase(base string) bool {
	return base != "" && !strings.HasPrefix(base, ".") && !strings.ContainsAny(base, "/\x00") && len(base) <= maxNameBytes
}

// usedLetters says which keyword letters files in the folder carry, known or not.
func (s *Store) usedLetters(d folderDir) (letterSet, error) {
	if l := s.listings.get(d.name); l != nil {
		st, err := s.stamp(d)
		if err != nil {
			return 0, err
		}
		if settled, _, err := s.settled(st); err == nil && settled && st.data == l.stamp.data {
			return l.used(), nil
		}
	}
	var set letterSet
	for _, dir := range []string{newDir, curDir} {
		err := s.fs.Names(d.sub(dir), func(name string, _ fs.FileMode) bool {
			set |= keywordLetters(parseFileName(name).letters)
			return true
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	return set, nil
}

// separator is what stands before the info in the folder: what its files have, else a colon
// where the file system takes it. The folder is read for it once at most.
func (s *Store) separator(d folderDir) (byte, error) {
	if sep := s.listings.sep(d.name); sep != 0 {
		return sep, nil
	}
	var sep byte
	err := s.fs.Names(d.sub(curDir), func(name string, _ fs.FileMode) bool {
		sep = parseFileName(name).sep
		return sep == 0 // the first that has one will do
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	if sep == 0 {
		sep = s.usualSeparator(d)
	}
	s.listings.setSep(d.name, sep)
	return sep, nil
}

// usualSeparator is a colon where nothing tells otherwise.
func (s *Store) usualSeparator(d folderDir) byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sep == 0 {
		colon, err := s.probeSeparator(d)
		if err != nil {
			return ':'
		}
		s.sep = ';'
		if colon {
			s.sep = ':'
		}
	}
	return s.sep
}

// probeSeparator finds out whether a file name can hold a colon. Systems that take it for something
// else (NTFS streams) don't list the file under its name. An error says nothing about the colon.
func (s *Store) probeSeparator(d folderDir) (colon bool, err error) {
	base, err := s.names.base()
	if err != nil {
		return false, err
	}
	name := ownPrefix + base + ":2,"
	f, err := s.fs.Create(d.sub(path.Join(tmpDir, name)), 0o600)
	if refusesName(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	f.Close()
	there := false // under whatever name
	err = s.fs.List(d.sub(tmpDir), func(n string, _ fs.FileMode) bool {
		colon = n == name
		there = there || strings.HasPrefix(n, ownPrefix+base)
		return !colon
	})
	removing := s.fs.Remove(d.sub(path.Join(tmpDir, name)))
	switch {
	case refusesName(removing):
		return false, nil
	case err != nil:
		return false, err
	case !there: // somebody removed it, or the folder
		return false, cmp.Or(removing, fs.ErrNotExist)
	}
	return colon, nil
}

// FindAll looks for base names in all folders, each of which is read once, and says in which folders each of them is. An error
// means that there are folders which could not be read: what was not found may be there.
func (s *Store) FindAll(ctx context.Context, bases []string) (found map[string][]mail.FolderName, err error) {
	folders, problems, err := s.Folders()
	if err != nil {
		return nil, err
	}
	for _, p := range problems {
		if _, failed := errors.AsType[*fs.PathError](p.Err); failed { // else it is no folder, and somebody has to mend it first
			err = cmp.Or(err, error(p))
		}
	}
	wanted := allBut{}
	for _, base := range bases {
		wanted[base] = true
	}
	found = map[string][]mail.FolderName{}
	for _, f := range folders {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		scan, failed := s.Scan(ctx, f.Name, wanted)
		if errors.Is(failed, ErrNoFolder) {
			continue
		}
		for _, e := range scan.Entries {
			if wanted[e.Base] {
				found[e.Base] = append(found[e.Base], f.Name)
			}
		}
		if failed == nil && !scan.Quiet {
			failed = fmt.Errorf("reading the folder %s: %w", f.Name, ErrBusy)
		}
		err = cmp.Or(err, failed)
	}
	return found, err
}

// allBut are base names that a reading shall show, and no others.
type allBut map[string]bool

func (a allBut) Reset()                          {}
func (a allBut) Take(base string, _ uint32) bool { return !a[base] }
func (a allBut) Taken(string) bool               { return false }
