package maildir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"iter"
	"math/bits"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

const (
	maxReadings = 8               // of a folder that changes while it is read
	maxSettling = 4 * time.Second // waited in one Scan for directory times to become telling
)

// Scan reads the names in the folder, without looking at the files. known may be nil. Two files with one base name are
// told apart: links to one file are one message, a copy of the other is put aside for undo, else the newer one gets a fresh base name,
// so that no program takes one for the other.
func (s *Store) Scan(ctx context.Context, f mail.FolderName, known Known) (Scan, error) {
	d, err := s.locate(f)
	if err != nil {
		return Scan{}, err
	}
	scan, err := s.scan(ctx, d, known)
	if err != nil {
		return Scan{}, fmt.Errorf("reading the folder %s: %w", f, err)
	}
	return scan, nil
}

func (s *Store) scan(ctx context.Context, d folderDir, known Known) (Scan, error) {
	r, err := s.readUntilQuiet(ctx, d, known)
	if err == nil && known != nil && r.twice() {
		known.Reset()
		r, err = s.readUntilQuiet(ctx, d, nil)
	}
	aside := 0
	if err == nil && r.known == nil {
		aside, err = s.setAsideCopies(ctx, d, &r, known)
	}
	if err != nil {
		return Scan{}, err
	}
	l := &listing{stamp: r.stamp, quiet: r.quiet, letters: r.letters, sep: r.sep, entries: r.entries, others: r.others}
	var further spares
	if r.known == nil {
		if l.entries, further, err = s.tellApart(d, &r, known); err != nil {
			return Scan{}, err
		}
		r.names = Names{}
		for i := range l.entries {
			s.addName(&r.names, l.entries[i].Base)
		}
	}
	s.listings.put(d.name, l, further)
	return Scan{
		Mark: r.mark, Entries: l.entries, All: r.known == nil, Count: r.names.n, Names: r.names,
		Problems: r.problems, Quiet: r.quiet, Aside: aside,
	}, nil
}

// addName adds a base name to a fingerprint, and returns its hash.
func (s *Store) addName(n *Names, base string) uint64 {
	h := maphash.String(s.seed, base)
	n.n++
	n.sum[0] += h
	n.sum[1] += bits.RotateLeft64(h*0x9e3779b97f4a7c15, 29) * 0xc2b2ae3d27d4eb4f
	return h
}

// readUntilQuiet reads the folder until nothing changed during a reading. If it never is quiet, what
// an earlier reading saw is looked for once more.
func (s *Store) readUntilQuiet(ctx context.Context, d folderDir, known Known) (reading, error) {
	seen := map[string]Entry{} // what earlier, restless readings saw and Known did not take
	var waited time.Duration
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return reading{}, err
		}
		before, err := s.stamp(d)
		if err != nil {
			return reading{}, err
		}
		// The clock is read before the directory is: a change after that shows.
		settled, wait, err := s.settled(before)
		if err != nil {
			return reading{}, err
		}
		mark, err := s.mark(before)
		if err != nil {
			return reading{}, err
		}
		if !settled && waited+wait <= maxSettling {
			waited += wait
			if err := sleep(ctx, wait); err != nil {
				return reading{}, err
			}
			if n == 1 {
				continue // usually it was a change just before, and nothing follows
			}
		}
		r, err := s.read(d, known)
		if err != nil {
			return reading{}, err
		}
		after, err := s.stamp(d)
		if err != nil {
			return reading{}, err
		}
		r.stamp, r.mark = before, mark
		r.quiet = settled && after.data == before.data
		if r.quiet || n >= maxReadings {
			if !r.quiet {
				s.lastLook(d, &r, seen)
			}
			return r, nil
		}
		for _, e := range r.entries {
			seen[e.Base] = e
		}
	}
}

func sleep(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lastLook adds what earlier readings saw, the last one did not, and is there all the same. What is known and was not
// taken in the last reading the caller looks up, as it does whenever a reading is not quiet.
func (s *Store) lastLook(d folderDir, r *reading, seen map[string]Entry) {
	for _, e := range r.entries {
		delete(seen, e.Base)
	}
	for base, e := range seen {
		if r.known != nil && r.known.Taken(base) {
			continue
		}
		got, err := s.guess(d, base, e)
		if err != nil {
			continue
		}
		hash := s.addName(&r.names, base)
		if r.others != nil {
			r.others.add(hash)
		}
		if r.known == nil || got.Unexplained || !r.known.Take(base, got.Flags.Hash()) {
			r.entries = append(r.entries, got)
		}
	}
	slices.SortFunc(r.entries, compareEntries)
}

func compareEntries(a, b Entry) int {
	if c := strings.Compare(a.Base, b.Base); c != 0 {
		return c
	}
	switch {
	case a.New == b.New:
		return cmp.Compare(a.File, b.File)
	case b.New:
		return -1
	}
	return 1
}

var errTwice = errors.New("another message has the same base name; a sync will rename this one")

// tellApart makes every base name one message. The names of a file that has several are returned as well, so that what is done to
// one of them is done to all. known may be nil, and has taken nothing afterwards.
func (s *Store) tellApart(d folderDir, r *reading, known Known) ([]Entry, spares, error) {
	twice := false
	for i := 1; i < len(r.entries) && !twice; i++ {
		twice = r.entries[i].Base == r.entries[i-1].Base
	}
	if !twice {
		return r.entries, nil, nil
	}
	if known != nil {
		defer known.Reset()
	}
	var out, renamed []Entry
	further := spares{}
	for group := range byBase(r.entries) {
		if len(group) == 1 {
			out = append(out, group...)
			continue
		}
		kept, fresh, err := s.tellApartGroup(d, r, group, known, further)
		if err != nil {
			return nil, nil, err
		}
		out, renamed = append(out, kept...), append(renamed, fresh...)
	}
	out = append(out, renamed...)
	slices.SortFunc(out, compareEntries)
	return out, further, nil
}

// byBase goes through sorted entries, those of one base name at a time.
func byBase(entries []Entry) iter.Seq[[]Entry] {
	return func(yield func([]Entry) bool) {
		for i, j := 0, 0; i < len(entries); i = j {
			for j = i + 1; j < len(entries) && entries[j].Base == entries[i].Base; j++ {
			}
			if !yield(entries[i:j]) {
				return
			}
		}
	}
}

type statted struct {
	Entry
	info FileInfo
}

// statAll looks at the files of one base name.
func (s *Store) statAll(d folderDir, group []Entry) ([]statted, error) {
	var files []statted
	for _, e := range group {
		info, err := s.fs.Stat(d.file(e))
		if errors.Is(err, fs.ErrNotExist) {
			continue // renamed while we read: its other name is in the group
		}
		if err != nil {
			return nil, err
		}
		files = append(files, statted{e, info})
	}
	return files, nil
}

func (s *Store) tellApartGroup(d folderDir, r *reading, group []Entry, known Known, further spares) (kept, renamed []Entry, err error) {
	all, err := s.statAll(d, group)
	if err != nil {
		return nil, nil, err
	}
	var files []statted
	for _, f := range all {
		same := slices.IndexFunc(files, func(g statted) bool { return sameInode(f.info, g.info) })
		if same < 0 {
			files = append(files, f)
			continue
		}
		one, left := older(files[same].Entry, f.Entry, known)
		files[same].Entry = one
		if !s.dropLeft(d, one, left, f.info.CTime) {
			further[left.Base] = append(further[left.Base], one, left)
		}
	}
	// The inode that changed last is the copy; stable, so that cur comes before new.
	slices.SortStableFunc(files, func(a, b statted) int { return a.info.CTime.Compare(b.info.CTime) })
	for i, f := range files {
		if i == 0 {
			kept = append(kept, f.Entry)
			continue
		}
		if s.readOnly {
			r.problems = append(r.problems, Problem{Folder: d.name, File: d.file(f.Entry), Err: errTwice})
			continue
		}
		e, err := s.renameFresh(d, f.Entry)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("two messages are called %s: %w", f.Base, err)
		}
		renamed = append(renamed, e)
	}
	return kept, renamed, nil
}

// older tells which of a file's two names was there before somebody began to rename it, and stopped: the one that is known, since
// nobody knows the other yet. Whoever renames it anew by that name does what was left undone. From new to cur is the only way there
// is, so that what lies in cur counts.
func older(a, b Entry, known Known) (first, second Entry) {
	if known == nil || a.New != b.New {
		return a, b
	}
	is := func(e Entry) bool { return !e.Unexplained && known.Take(e.Base, e.Flags.Hash()) }
	if !is(a) && is(b) {
		return b, a
	}
	return a, b
}

// dropLeft removes one of a file's two names if whoever renamed it is surely not about to remove the other, and reports whether it did.
func (s *Store) dropLeft(d folderDir, now, left Entry, changed time.Time) bool {
	if s.readOnly {
		return false
	}
	if now.New == left.New { // else it is what a rename from new to cur removes
		if age, err := s.clock.since(changed, litterAge); err != nil || age <= litterAge {
			return false
		}
	}
	if !s.twoNames(d.file(left), d.file(now)) || s.syncDir(d.dir(now)) != nil || s.fs.Remove(d.file(left)) != nil {
		return false
	}
	s.touched.lose(d.dir(left))
	return true
}

// renameFresh gives a file a new base name where it lies.
func (s *Store) renameFresh(d folderDir, e Entry) (Entry, error) {
	base, err := s.names.base()
	if err != nil {
		return Entry{}, err
	}
	n := parseFileName(e.File)
	n.base = base
	fresh := Entry{Base: base, Flags: e.Flags, New: e.New, File: n.String()}
	if err := s.fs.RenameNew(d.file(e), d.file(fresh)); err != nil {
		return Entry{}, err
	}
	s.touched.gain(path.Dir(d.file(fresh)))
	return fresh, nil
}
