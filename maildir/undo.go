package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

const (
	undoNested   = ".satchel/undo" // readers of nested Maildirs pass over hidden directories
	undoPlusPlus = "satchel-undo"  // and those of Maildir++ over all others

	runFormat = "20060102T150405Z"

	// keptKeywords says, beside kept files, what their keyword letters mean. No message file is called so, because readers
	// leave out names with a dot.
	keptKeywords = "." + keywordsFile
)

// Undo says where removed messages are kept: below .satchel/undo (nested) or satchel-undo (Maildir++), in
// a directory for each run, in that a directory for each folder, named after
// it with its "/" escaped. There the files lie, without cur or new, so that nobody takes it for a folder.
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
func (s *Store) moveAside(d folderDir, e Entry, dir string) error {
	n := parseFileName(e.File)
	if keywordLetters(n.letters) != 0 {
		if err := s.keepKeywords(d, dir); err != nil {
			return err
		}
	}
	file := d.file(e)
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

// keepKeywords writes beside kept files what their letters mean: when they are brought back, the folder may be gone and its
// list with it, or be another one by then.
func (s *Store) keepKeywords(d folderDir, dir string) error {
	k, err := s.keywords.load(d)
	if err != nil || len(k.raw) == 0 {
		return err
	}
	name := path.Join(dir, keptKeywords)
	if have, err := s.readSmall(name, maxKeywordsFile); err == nil && bytes.Equal(have, k.raw) {
		return nil
	}
	base, err := s.names.base()
	if err != nil {
		return err
	}
	tmp := path.Join(dir, "."+ownPrefix+base)
	if err := s.writeSmall(tmp, k.raw); err != nil {
		return err
	}
	if err := s.fs.Rename(tmp, name); err != nil {
		return errors.Join(err, ignoreMissing(s.fs.Remove(tmp)))
	}
	s.touched.gain(dir)
	return nil
}

// writeSmall makes a new file with its data durable; its name is not.
func (s *Store) writeSmall(name string, data []byte) error {
	f, err := s.fs.Create(name, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(data, 0); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, ignoreMissing(s.fs.Remove(name)))
	}
	return nil
}

// undoRun is what one run removed.
type undoRun struct {
	began time.Time
	dir   string
}

// undoRuns lists the runs of which something is kept, the last first. What else somebody put there is none of ours.
func (s *Store) undoRuns() ([]undoRun, error) {
	root := s.undoRoot()
	for dir := root; dir != "."; dir = path.Dir(dir) {
		info, err := s.fs.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err == nil && !info.Mode.IsDir() {
			err = fmt.Errorf("%s: %w: not a real directory", dir, ErrNotRegular)
		}
		if err != nil {
			return nil, err
		}
	}
	var runs []undoRun
	err := s.fs.List(root, func(name string, mode fs.FileMode) bool {
		if t, err := time.Parse(runFormat, name); err == nil && mode.IsDir() {
			runs = append(runs, undoRun{t, path.Join(root, name)})
		}
		return true
	})
	slices.SortFunc(runs, func(a, b undoRun) int { return b.began.Compare(a.began) })
	return runs, ignoreMissing(err)
}

// PurgeUndo removes what was put aside for undo before olderThan.
func (s *Store) PurgeUndo(olderThan time.Time) error {
	if err := s.writable(); err != nil {
		return err
	}
	runs, err := s.undoRuns()
	for _, run := range runs {
		if run.began.Before(olderThan) {
			err = errors.Join(err, s.removeAll(run.dir, 0))
		}
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
