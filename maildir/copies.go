package maildir

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

var errCopy = errors.New("the same message has this name with other flags; a sync will put this file aside for undo")

// setAsideCopies makes files of one base name and with the same bytes one message, as when a backup is put over a Maildir in which
// messages were marked since: no delivery gives two messages one name. One file stays, and the others go where undo finds them. It returns how
// many those are.
func (s *Store) setAsideCopies(ctx context.Context, d folderDir, r *reading, known Known) (int, error) {
	var kept, copies []Entry
	for group := range byBase(r.entries) {
		if len(group) == 1 {
			continue
		}
		if known != nil {
			known.Reset()
		}
		one, more, err := s.copies(ctx, d, group, known)
		if err != nil {
			return 0, fmt.Errorf("comparing the files called %s: %w", group[0].Base, err)
		}
		kept, copies = append(kept, one...), append(copies, more...)
	}
	if known != nil {
		known.Reset()
	}
	if len(copies) == 0 {
		return 0, nil
	}
	drop := make(map[Entry]bool, len(copies))
	for _, e := range copies {
		drop[e] = true
	}
	r.entries = slices.DeleteFunc(r.entries, func(e Entry) bool { return drop[e] })
	if s.readOnly {
		for _, e := range copies {
			r.problems = append(r.problems, Problem{Folder: d.name, File: d.file(e), Err: errCopy})
		}
		return 0, nil
	}
	// Whoever put a file there need not have made it durable.
	if err := s.syncEntries(d, kept); err != nil {
		return 0, fmt.Errorf("making files durable: %w", err)
	}
	dir, err := s.undoDir(d.name, &Undo{Run: RunName(s.now())})
	if err != nil {
		return 0, err
	}
	for _, e := range copies {
		err := s.moveAside(d, e, dir)
		if ignoreMissing(err) != nil {
			return 0, fmt.Errorf("putting %s aside: %w", d.file(e), err)
		}
		s.touched.lose(d.dir(e))
	}
	return len(copies), nil
}

// syncEntries makes files durable that somebody else put there, with their names.
func (s *Store) syncEntries(d folderDir, entries []Entry) error {
	done, err := s.syncAll(d, len(entries))
	for _, e := range entries {
		if done || err != nil {
			break
		}
		err = ignoreMissing(s.syncFile(d.file(e)))
	}
	return cmp.Or(err, ignoreMissing(s.syncDir(d.sub(newDir))), ignoreMissing(s.syncDir(d.sub(curDir))))
}

// copies tells which files of one base name are kept though others are their copies, and which those are.
func (s *Store) copies(ctx context.Context, d folderDir, group []Entry, known Known) (kept, copies []Entry, err error) {
	files, err := s.statAll(d, group)
	if err != nil {
		return nil, nil, err
	}
	taken := make(map[Entry]bool, len(files))
	for _, f := range files {
		taken[f.Entry] = known != nil && !f.Unexplained && known.Take(f.Base, f.Flags.Hash())
	}
	// From new to cur is the only way there is, so that what lies in cur counts. Then what is not known, or came last: what copies a Maildir from
	// elsewhere makes a renamed file anew, and removes the one of the old name later, which must not be the only one by then.
	slices.SortStableFunc(files, func(a, b statted) int {
		return cmp.Or(first(!a.New, !b.New), first(!taken[a.Entry], !taken[b.Entry]), b.info.CTime.Compare(a.info.CTime),
			cmp.Compare(len(parseFileName(b.File).letters), len(parseFileName(a.File).letters)))
	})
	for i, f := range files {
		for _, g := range files[:i] {
			if slices.Contains(copies, g.Entry) || f.info.Size != g.info.Size {
				continue
			}
			if d.file(f.Entry) == d.file(g.Entry) || sameInode(f.info, g.info) {
				break // two names of one file, see tellApart
			}
			same, err := s.sameBytes(ctx, d.file(f.Entry), d.file(g.Entry))
			if err != nil {
				return nil, nil, err
			}
			if same {
				kept, copies = append(kept, g.Entry), append(copies, f.Entry)
				break
			}
		}
	}
	return kept, copies, nil
}

// sameBytes compares two files. One that is gone by now is nobody's copy.
func (s *Store) sameBytes(ctx context.Context, a, b string) (bool, error) {
	x, err := s.fs.Open(a)
	if err != nil {
		return false, ignoreMissing(err)
	}
	defer x.Close()
	y, err := s.fs.Open(b)
	if err != nil {
		return false, ignoreMissing(err)
	}
	defer y.Close()
	const block = 64 << 10
	one, other := make([]byte, block), make([]byte, block)
	for {
		n, errX := io.ReadFull(contextReader{ctx, x}, one)
		m, errY := io.ReadFull(y, other)
		switch {
		case errX != nil && !isEnd(errX), errY != nil && !isEnd(errY):
			return false, errors.Join(errX, errY)
		case !bytes.Equal(one[:n], other[:m]):
			return false, nil
		case isEnd(errX) && isEnd(errY):
			return true, nil
		}
	}
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// first compares so that what is true comes first.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
