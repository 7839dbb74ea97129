package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"

	"github.com/satchel-mail/satchel/internal/mail"
)

// The methods here do to many messages of one folder what SetFlags, Move and Remove do to one, with the same errors for
// each of them, and look up together what is not where it was.

// Seen is a message, and the flags that it was last seen with: if it still has them it is found without looking.
type Seen struct {
	Base  string
	Flags mail.Flags
}

// FlagChange is what SetFlagsAll does to one message.
type FlagChange struct {
	Seen
	Add, Remove mail.Flags
}

// Outcome is what became of one message: the Entry that it is now and the one that it was, or why nothing was done.
type Outcome struct {
	Entry, Was Entry
	Err        error
}

// SetFlagsAll is SetFlags for many messages of one folder. The outcomes are in the order of the changes. Durable
// after Flush.
func (s *Store) SetFlagsAll(f mail.FolderName, changes []FlagChange) []Outcome {
	b := s.bulk(f, len(changes), func(i int) Seen { return changes[i].Seen })
	b.do = func(i int, e Entry) (Entry, error) {
		return s.setFlags(b.dir, e, changes[i].Add, changes[i].Remove.Minus(changes[i].Add))
	}
	if b.err == nil && s.real && len(changes) >= manyRenames {
		b.ahead = func() []int { return b.setFlags(changes) }
	}
	return b.run(func(base string, err error) error { return fmt.Errorf("changing flags of %s in %s: %w", base, f, err) })
}

// MoveAll is Move for many messages of one folder. The outcomes are in the order of the messages. Durable after Flush.
func (s *Store) MoveAll(f mail.FolderName, messages []Seen, to mail.FolderName) []Outcome {
	b := s.bulk(f, len(messages), func(i int) Seen { return messages[i] })
	var target folderDir
	if b.err == nil {
		target, b.err = s.targetFor(to, len(messages))
	}
	b.do = func(_ int, e Entry) (Entry, error) { return s.move(b.dir, e, target) }
	return b.run(func(base string, err error) error { return fmt.Errorf("moving %s from %s to %s: %w", base, f, to, err) })
}

// targetFor is a folder that n messages are to be moved to. For many of them it is read, to know which names are taken.
func (s *Store) targetFor(f mail.FolderName, n int) (folderDir, error) {
	d, err := s.locate(f)
	if err != nil {
		return d, err
	}
	if _, err := s.stamp(d); err != nil {
		return d, err
	}
	if n > maxGuesses && s.listings.get(f) == nil {
		_, err = s.scan(context.Background(), d, nil)
	}
	return d, err
}

// RemoveAll is Remove for many messages of one folder. The outcomes are in the order of the messages; the Entry is what
// was removed. Durable after Flush.
func (s *Store) RemoveAll(f mail.FolderName, messages []Seen, keep *Undo) []Outcome {
	b := s.bulk(f, len(messages), func(i int) Seen { return messages[i] })
	var dir string
	if keep != nil && b.err == nil {
		dir, b.err = s.undoDir(f, keep)
	}
	b.do = func(_ int, e Entry) (Entry, error) { return e, s.remove(b.dir, e, dir) }
	return b.run(func(base string, err error) error { return fmt.Errorf("removing %s from %s: %w", base, f, err) })
}

// bulk does something with many files of one folder.
type bulk struct {
	s    *Store
	dir  folderDir
	seen func(int) Seen
	do   func(int, Entry) (Entry, error)
	out  []Outcome
	// ahead is atOnce for all, and says which were missing; nil: there is no such short cut.
	ahead func() []int
	sep   byte        // of the infos
	cur   atomic.Bool // the last message without flags lay in cur
	err   error       // why nothing can be done at all
}

func (s *Store) bulk(f mail.FolderName, n int, seen func(int) Seen) *bulk {
	b := &bulk{s: s, seen: seen, out: make([]Outcome, n)}
	if b.err = s.writable(); b.err == nil {
		b.dir, b.err = s.locate(f)
	}
	if b.sep = s.listings.sep(f); b.sep == 0 {
		b.sep = ':'
	}
	return b
}

func (b *bulk) base(i int) string { return b.seen(i).Base }

func (b *bulk) run(wrap func(base string, err error) error) []Outcome {
	if b.err == nil {
		b.each()
	}
	for i := range b.out {
		o := &b.out[i]
		if o.Err == nil {
			o.Err = b.err
		}
		if o.Err != nil {
			*o = Outcome{Err: wrap(b.base(i), o.Err)}
		}
	}
	return b.out
}

// each takes what is listed, or was seen last, to be there, without a look. What is not, or not any more, is looked for
// together: few by their likely names; many, and those that can't be guessed, by one reading of the folder.
func (b *bulk) each() {
	var missing []int
	if b.ahead != nil {
		missing = b.ahead()
	} else {
		for i := range b.out {
			if !b.atOnce(i) {
				missing = append(missing, i)
			}
		}
	}
	if len(missing) <= b.guessable() {
		missing = slices.DeleteFunc(missing, b.guess)
	}
	if len(missing) > 0 {
		b.read(missing)
	}
}

// atOnce does it to a file that is where it was, and reports whether there is nothing more to do.
func (b *bulk) atOnce(i int) bool {
	if !validBase(b.base(i)) {
		b.out[i].Err = fmt.Errorf("%s: %w", where(b.dir, b.base(i)), ErrNotFound)
		return true
	}
	return b.tryListed(i) || b.tryLast(i)
}

func (b *bulk) tryListed(i int) bool {
	e, ok := b.s.listings.entry(b.dir.name, b.base(i))
	return ok && b.try(i, e)
}

// tryLast tries the names that a message with the flags that were seen last has. Which letter a keyword has is not known here.
func (b *bulk) tryLast(i int) bool {
	m := b.seen(i)
	if m.Flags.HasKeywords() {
		return false
	}
	inCur := func() bool {
		e := b.lastInCur(m)
		// A base name may itself look like one with flags.
		return parseFileName(e.File).base == m.Base && b.try(i, e)
	}
	if !m.Flags.IsZero() {
		return inCur()
	}
	inNew := func() bool {
		return parseFileName(m.Base).base == m.Base && b.try(i, Entry{Base: m.Base, New: true, File: m.Base})
	}
	// Those that nobody has looked at lie in new. Most lie where the last one did.
	if b.cur.Load() {
		return inCur() || inNew() && b.lies(false)
	}
	return inNew() || inCur() && b.lies(true)
}

func (b *bulk) lies(inCur bool) bool {
	b.cur.Store(inCur)
	return true
}

// lastInCur is a message with the flags that were seen last, in cur.
func (b *bulk) lastInCur(m Seen) Entry {
	return Entry{Base: m.Base, Flags: m.Flags, File: fileName{base: m.Base, sep: b.sep, letters: lettersOf(m.Flags.System())}.String()}
}

// try does it to a file, and reports whether that was the right one: not renamed, nor in the way of another.
func (b *bulk) try(i int, e Entry) bool {
	now, err := b.do(i, e)
	b.out[i] = Outcome{now, e, err}
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) && !isNameTooLong(err)
}

// guessable is how many files of the folder are found faster by guessing than by reading all names.
func (b *bulk) guessable() int {
	const namesPerGuess = 64
	if l := b.s.listings.get(b.dir.name); l != nil {
		return max(maxGuesses, l.size()/namesPerGuess)
	}
	return maxGuesses
}

func (b *bulk) guess(i int) bool {
	e, err := b.s.guess(b.dir, b.base(i), Entry{})
	if err != nil {
		b.out[i].Err = err
		return !errors.Is(err, ErrNotFound)
	}
	return b.try(i, e)
}

func (b *bulk) read(missing []int) {
	scan, err := b.s.scan(context.Background(), b.dir, nil)
	if err != nil {
		for _, i := range missing {
			b.out[i].Err = err
		}
		return
	}
	for _, i := range missing {
		e, ok := search(scan.Entries, b.base(i))
		if !ok {
			b.out[i].Err = notIn(scan, b.dir, b.base(i))
		} else if !b.try(i, e) {
			// Somebody is as quick as we are: it is looked up on its own.
			b.out[i].Err = b.s.onFileIn(b.dir, b.base(i), func(_ folderDir, e Entry) (err error) {
				b.out[i].Was = e
				b.out[i].Entry, err = b.do(i, e)
				return err
			})
		}
	}
}
