package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/satchel-mail/satchel/bench/letters"
)

// renamed are files that a floor renames: the first count of those in a directory, into another or the same one. The
// next run renames them back, which is the same work.
type renamed struct {
	From, To end
	Count    int
}

// end is a folder of the Maildir, and how names end there.
type end struct{ Folder, Suffix string }

func (e end) dir(root string) string { return filepath.Join(root, e.Folder, "cur") }

func (e end) name(n int) string { return fmt.Sprintf("%d.M%dP1.bench%s", 1_600_000_000+n, n, e.Suffix) }

// floorRename renames the files and makes that durable: one sync for each directory.
func floorRename(a account) error {
	from, to := a.Renamed.From, a.Renamed.To
	if _, err := os.Stat(filepath.Join(from.dir(a.Local), from.name(0))); errors.Is(err, fs.ErrNotExist) {
		from, to = to, from
	}
	source, err := os.Open(from.dir(a.Local))
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.Open(to.dir(a.Local))
	if err != nil {
		return err
	}
	defer target.Close()
	for n := range a.Renamed.Count {
		if err := renameAt(source, from.name(n), target, to.name(n)); err != nil {
			return err
		}
	}
	return errors.Join(target.Sync(), source.Sync())
}

// manyFiles returns the root of a Maildir with as many files as the mailbox's first folder has messages, for
// floorRename. It stays in the cache.
func (l *lab) manyFiles(ctx context.Context, m letters.Mailbox, label string, r renamed) (string, error) {
	root := l.cached("worlds", l.copyOf(m, label))
	stamp := filepath.Join(root, "complete")
	if _, err := os.Stat(stamp); err == nil {
		return root, nil
	}
	if err := errors.Join(os.RemoveAll(root), makeFolder(filepath.Join(root, r.From.Folder)), makeFolder(filepath.Join(root, r.To.Folder))); err != nil {
		return "", err
	}
	for n := range m.Folders[0].Count {
		name := filepath.Join(r.From.dir(root), r.From.name(n))
		if err := errors.Join(ctx.Err(), os.WriteFile(name, nil, 0o600)); err != nil {
			return "", err
		}
	}
	return root, os.WriteFile(stamp, nil, 0o644)
}
