package maildir

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/satchel-mail/satchel/internal/defect"
)

// maxAtOnce bounds how many calls wait for the disk at the same time.
const maxAtOnce = 16

// atOnce calls f for each of n things that may become durable in any order, and returns an error if one failed. Journaling file
// systems and disks work off many syncs that come together in the time of one or two. Where somebody else's FS is below, they come one
// after the other, so that it sees the same order each time.
func (s *Store) atOnce(n int, f func(i int) error) error {
	if n < 2 || !s.real {
		for i := range n {
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	}
	var g errgroup.Group
	g.SetLimit(maxAtOnce)
	for i := range n {
		g.Go(func() error { return defect.Contain(func() error { return f(i) }) })
	}
	return g.Wait()
}

// syncDirsAtOnce makes the names in dirs durable, in any order.
func (s *Store) syncDirsAtOnce(dirs []string) error {
	return s.atOnce(len(dirs), func(i int) error { return s.syncDir(dirs[i]) })
}

// syncDirs makes the names in dirs durable, in their order.
func (s *Store) syncDirs(dirs ...string) error {
	for _, dir := range dirs {
		if err := s.syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) syncDir(dir string) error {
	if err := s.fs.SyncDir(dir); err != nil {
		return fmt.Errorf("making changes in %s durable: %w", filepath.Join(s.root, dir), err)
	}
	return nil
}
