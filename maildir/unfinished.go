package maildir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/satchel-mail/satchel/internal/mail"
)

// FinishMove does what was left undone of a Move that was cut off, and reports whether there was something: the message has its name in
// the new folder, and still the one in the old folder. Another file there, if a move needs no copy, is somebody's own, whatever it holds.
// Durable after Flush.
func (s *Store) FinishMove(ctx context.Context, f mail.FolderName, base string, to mail.FolderName) (bool, error) {
	if err := s.writable(); err != nil {
		return false, err
	}
	done := false
	err := s.onFile(f, base, func(d folderDir, e Entry) error {
		half, err := s.halfMoved(ctx, d, e, to)
		if err == nil && half {
			err = s.SyncMessages(to, []string{base})
		}
		if err != nil || !half {
			return err
		}
		err = s.remove(d, e, "")
		done = err == nil
		return err
	})
	if ignoreNotFound(err) != nil {
		return false, fmt.Errorf("moving %s from %s to %s: %w", base, f, to, err)
	}
	return done, nil
}

// halfMoved reports whether a message has the name of its old folder only because a move to another one was cut off.
func (s *Store) halfMoved(ctx context.Context, d folderDir, e Entry, to mail.FolderName) (bool, error) {
	target, err := s.locate(to)
	if err != nil {
		return false, err
	}
	there, err := s.find(target, e.Base)
	if err != nil {
		return false, err
	}
	src, dst := d.file(e), target.file(there)
	x, errX := s.fs.Stat(src)
	y, errY := s.fs.Stat(dst)
	if err := cmp.Or(errX, errY); err != nil {
		return false, err
	}
	if x.Size != y.Size || s.twoNames(src, dst) {
		return x.Size == y.Size, nil
	}
	was, _, err := s.Survey(ctx, d.name, e.Base)
	if err != nil {
		return false, err
	}
	now, _, err := s.Survey(ctx, to, e.Base)
	if err != nil || now.Digest != was.Digest {
		return false, err
	}
	return s.movesByCopy(d, target)
}

// movesByCopy reports whether what is moved from one folder to another is copied, because the system does not rename between the two. Two
// folders that are one, which a mount shows elsewhere, are no such pair: what is removed from one of them is gone from both.
func (s *Store) movesByCopy(from, to folderDir) (bool, error) {
	base, err := s.names.base()
	for _, d := range []folderDir{from, to} {
		if err == nil {
			err = s.repair(d) // the probe needs both tmp
		}
	}
	if err != nil {
		return false, err
	}
	probe, moved := from.sub(path.Join(tmpDir, ownPrefix+base)), to.sub(path.Join(tmpDir, ownPrefix+base))
	f, err := s.fs.Create(probe, 0o600)
	if err != nil {
		return false, err
	}
	if err := f.Close(); err != nil {
		return false, err
	}
	if _, err := s.fs.Stat(moved); err == nil {
		return false, s.fs.Remove(probe)
	}
	err = s.fs.RenameNew(probe, moved)
	if isCrossDevice(err) {
		return true, s.fs.Remove(probe)
	}
	if err == nil {
		err = s.fs.Remove(moved)
	}
	return false, err
}

func ignoreNotFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
