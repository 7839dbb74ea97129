package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

const (
	undoNested   = ".satchel/undo" // readers of nested Maildirs pass over hidden directories
	undoPlusPlus = "satchel-undo"  // and those of Maildir++ over all others

	runFormat = "20060102T150405Z"
)

// Undo says where removed messages are kept: below .satchel/undo (nested) or satchel-undo (Maildir++), in
// a directory for each run, in that a directory for each folder, named after
// it with its "/" escaped.
type Undo struct {
	// Run names the run that removes, a UTC time: see RunName.
	Run string
}

// RunName is the name under which Undo keeps what a run that began at t removes.
func RunName(t time.Time) string { return t.UTC().Format(runFormat) }

func (s *Store) undoRoot() string {
	if s.layout == PlusPlus {
		return undoPlusPlus
	}
	return undoNested
}

// undoPart is how much of an escaped folder name goes into one directory name.
const undoPart = 240

// undoDir makes the directory for what the run removes from a folder.
func (s *Store) undoDir(f mail.FolderName, keep *Undo) (string, error) {
	if _, err := time.Parse(runFormat, keep.Run); err != nil {
		return "", fmt.Errorf("undo run %q: not a time such as %s", keep.Run, runFormat)
	}
	dir := path.Join(s.undoRoot(), keep.Run)
	name := mail.EscapeComponent(string(f), "")
	for len(name) > undoPart {
		// Ends in a "%" that is no escape: more follows.
		dir, name = path.Join(dir, name[:undoPart]+"%"), name[undoPart:]
	}
	dir = path.Join(dir, name)
	if _, err := s.fs.Stat(dir); err == nil {
		return dir, nil
	}
	if err := s.mkdirAll(dir, s.touched.gain); err != nil {
		return "", fmt.Errorf("making the directory for undo: %w", err)
	}
	return dir, nil
}

// mkdirAll makes a directory and those above it, and tells made the ones in which it did.
func (s *Store) mkdirAll(dir string, made func(string)) error {
	for i := 1; i <= len(dir); i++ {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		if err := s.fs.Mkdir(dir[:i], 0o700); err == nil {
			made(path.Dir(dir[:i]))
		} else if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// moveAside puts a file into the undo directory, under its own name if that is free.
func (s *Store) moveAside(file, dir string, e Entry) error {
	n := parseFileName(e.File)
	for {
		to := path.Join(dir, n.String())
		err := s.fs.RenameNew(file, to)
		if isCrossDevice(err) {
			err = s.copyAcross(file, to, folderDir{})
		}
		if err == nil {
			s.touched.gain(dir)
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if n.base, err = s.names.base(); err != nil {
			return err
		}
	}
}

// PurgeUndo removes what runs that began before olderThan left for undo.
func (s *Store) PurgeUndo(olderThan time.Time) error {
	if err := s.writable(); err != nil {
		return err
	}
	var runs []string
	err := s.fs.List(s.undoRoot(), func(name string, mode fs.FileMode) bool {
		if t, err := time.Parse(runFormat, name); err == nil && mode.IsDir() && t.Before(olderThan) {
			runs = append(runs, name)
		}
		return true
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, run := range runs {
		err = errors.Join(err, s.removeAll(path.Join(s.undoRoot(), run), 0))
	}
	if err != nil {
		return fmt.Errorf("removing what was kept for undo: %w", err)
	}
	return nil
}

// removeAll removes a directory of ours with all that is in it. Links are removed, not followed.
func (s *Store) removeAll(dir string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: %w", dir, errTooDeep)
	}
	var files, dirs []string
	err := s.fs.List(dir, func(name string, mode fs.FileMode) bool {
		if mode.IsDir() {
			dirs = append(dirs, name)
		} else {
			files = append(files, name)
		}
		return true
	})
	for _, name := range dirs {
		err = errors.Join(err, s.removeAll(path.Join(dir, name), depth+1))
	}
	for _, name := range files {
		err = errors.Join(err, ignoreMissing(s.fs.Remove(path.Join(dir, name))))
	}
	if err != nil {
		return err
	}
	return ignoreMissing(s.fs.Remove(dir))
}
