package maildir

import (
	"slices"

	"github.com/satchel-mail/satchel/internal/defect"
)

// On a local file system nearly all of the time of a flag change is the system's, and one directory takes one change at a time. So for
// many messages a change's names are worked out before its turn, and what follows from it is noted afterwards, both beside the renaming
// of others.

const (
	// renamesAtOnce is how many are worked out, and noted, together.
	renamesAtOnce = 256
	// manyRenames are worth it.
	manyRenames = 4 * renamesAtOnce
	// renamesAhead is how many times renamesAtOnce may wait.
	renamesAhead = 4
)

// rename is a file as it was seen last, and the one that it is to be. No src: that is not known.
type rename struct {
	e, out   Entry
	src, dst string
	done     bool
}

// renames are the changes of some messages in a row, from first on.
type renames struct {
	first int
	each  []rename
}

// setFlags is atOnce for all changes, and returns which messages were not where they were.
func (b *bulk) setFlags(changes []FlagChange) (missing []int) {
	atOnce := func(i int) {
		if !b.atOnce(i) {
			missing = append(missing, i)
		}
	}
	// Where those without flags lie shows with the first.
	sample := slices.IndexFunc(changes, func(c FlagChange) bool { return c.Flags.IsZero() })
	if sample >= 0 {
		atOnce(sample)
	}
	free, ready, done := make(chan []rename, renamesAhead), make(chan renames, renamesAhead), make(chan renames, renamesAhead)
	for range renamesAhead {
		free <- make([]rename, renamesAtOnce)
	}
	var mistakes [2]error // of the two beside
	go func() {
		defer close(ready)
		defer defect.Catch(&mistakes[0])
		for first := 0; first < len(changes); first += renamesAtOnce {
			r := renames{first, <-free}
			r.each = r.each[:min(renamesAtOnce, len(changes)-first)]
			for i := range r.each {
				r.each[i] = b.foretell(&changes[first+i])
			}
			ready <- r
		}
	}()
	noted := make(chan struct{})
	go func() {
		defer close(noted)
		for r := range done {
			if mistakes[1] == nil {
				mistakes[1] = defect.Contain(func() error { b.note(r); return nil })
			}
			free <- r.each[:renamesAtOnce]
		}
	}()
	for r := range ready {
		for i := range r.each {
			if r.first+i == sample {
				r.each[i].done = false
				continue
			}
			c := &r.each[i]
			if c.done = c.src != "" && b.s.fs.RenameNew(c.src, c.dst) == nil; !c.done {
				atOnce(r.first + i)
			}
		}
		done <- r
	}
	close(done)
	<-noted
	for _, err := range mistakes {
		if err != nil {
			panic(err) // of those that are left nothing is known
		}
	}
	return missing
}

// note takes in what became of files.
func (b *bulk) note(r renames) {
	for i := range r.each {
		if c := &r.each[i]; c.done {
			b.out[r.first+i] = Outcome{c.out, c.e, b.s.renamed(b.dir, c.e, b.dir, c.out)}
		}
	}
}

// foretell works out how a file is called that is where it was, and how it will be called.
func (b *bulk) foretell(c *FlagChange) rename {
	if c.Flags.HasKeywords() || c.Add.HasKeywords() || c.Flags.IsZero() && !b.cur.Load() || !validBase(c.Base) {
		return rename{}
	}
	e, ok := b.s.listings.entry(b.dir.name, c.Base)
	if !ok {
		e = b.lastInCur(c.Seen)
	}
	n := parseFileName(e.File)
	if n.base != c.Base || n.sep == 0 || keywordLetters(n.letters) != 0 {
		return rename{}
	}
	out, err := b.s.withFlags(b.dir, e, c.Add, c.Remove.Minus(c.Add))
	if err != nil || out.File == e.File && out.New == e.New {
		return rename{}
	}
	return rename{e: e, out: out, src: b.dir.file(e), dst: b.dir.file(out)}
}
