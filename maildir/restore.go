package maildir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Kept is a message file that a run removed from a folder and put aside.
type Kept struct {
	Folder  mail.FolderName
	Removed time.Time // in whole seconds
	Base    string
	// Flags are those that its name carries, with the keywords that its letters stood for then.
	Flags   mail.Flags
	Size    int64
	ModTime time.Time

	file     string // below the root
	keywords *keywords
}

// Kept lists the messages that are kept for undo, those that were removed last first, and what lies among them and is no message.
func (s *Store) Kept() ([]Kept, []Problem, error) {
	runs, err := s.undoRuns()
	if err != nil {
		return nil, nil, fmt.Errorf("reading what is kept for undo: %w", err)
	}
	w := &keptWalker{s: s}
	for _, run := range runs {
		w.removed = run.began
		from := len(w.kept)
		w.dir(run.dir, "", false)
		slices.SortFunc(w.kept[from:], func(a, b Kept) int {
			return cmp.Or(compareFolders(a.Folder, b.Folder), strings.Compare(a.file, b.file))
		})
	}
	return w.kept, w.problems, nil
}

// keptWalker finds kept messages.
type keptWalker struct {
	s        *Store
	removed  time.Time
	kept     []Kept
	problems []Problem
}

func (w *keptWalker) problem(f mail.FolderName, file string, err error) {
	w.problems = append(w.problems, Problem{Folder: f, File: file, Err: err})
}

var (
	errNoKept     = errors.New("no message that Satchel put there: move it elsewhere")
	errKeptFolder = errors.New("its name is none that Satchel gives to a folder's directory: move it elsewhere")
)

// dir looks into a directory of a run: one that holds a folder's messages, or a part of a long folder name.
func (w *keptWalker) dir(dir, escaped string, leaf bool) {
	var f mail.FolderName
	if leaf {
		var ok bool
		if f, ok = keptFolder(escaped); !ok {
			w.problem("", dir, errKeptFolder)
			return
		}
	}
	var files, dirs []string
	err := w.s.fs.List(dir, func(name string, mode fs.FileMode) bool {
		switch child := path.Join(dir, name); {
		case mode.IsRegular() && (strings.HasPrefix(name, "."+ownPrefix) || leaf && name == keptKeywords): // ours, and no message
		case leaf && mode.IsRegular():
			files = append(files, name)
		case !leaf && mode.IsDir():
			dirs = append(dirs, name)
		default: // links too: what they lead to is none of ours
			w.problem(f, child, errNoKept)
		}
		return true
	})
	if ignoreMissing(err) != nil {
		w.problem(f, dir, err)
	}
	for _, name := range dirs {
		part, more := strings.CutSuffix(name, "%")
		w.dir(path.Join(dir, name), escaped+part, !more)
	}
	if len(files) == 0 {
		return
	}
	k, err := w.s.keptKeywords(dir)
	if err != nil {
		w.problem(f, path.Join(dir, keptKeywords), err)
	}
	for _, name := range files {
		w.file(f, path.Join(dir, name), k)
	}
}

func (w *keptWalker) file(f mail.FolderName, file string, k *keywords) {
	n := parseFileName(path.Base(file))
	if !validBase(n.base) {
		w.problem(f, file, errNoKept)
		return
	}
	info, err := w.s.fs.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist): // brought back or purged by now
	case err != nil:
		w.problem(f, file, err)
	case !info.Mode.IsRegular():
		w.problem(f, file, ErrNotRegular)
	default:
		w.kept = append(w.kept, Kept{
			Folder: f, Removed: w.removed, Base: n.base, Flags: k.flags(n.letters), Size: info.Size, ModTime: info.ModTime,
			file: file, keywords: k,
		})
	}
}

// keptFolder reads what undoDir made of a folder's name, its parts joined.
func keptFolder(escaped string) (mail.FolderName, bool) {
	f := mail.FolderName(mail.UnescapeComponent(escaped, ""))
	again, err := mail.NewFolderName(f.Path())
	return f, err == nil && again == f && mail.EscapeComponent(string(f), "") == escaped
}

// keptKeywords reads what letters of the files in an undo directory mean. Without that they mean nothing: the folder may be
// another one by now.
func (s *Store) keptKeywords(dir string) (*keywords, error) {
	raw, err := s.readSmall(path.Join(dir, keptKeywords), maxKeywordsFile)
	if err != nil {
		return parseKeywords(nil), ignoreMissing(err)
	}
	return parseKeywords(raw), nil
}

// OpenKept opens a kept message for reading.
func (s *Store) OpenKept(k Kept) (io.ReadCloser, error) {
	f, err := s.fs.Open(k.file)
	if err != nil {
		return nil, fmt.Errorf("reading %s, which is kept for undo: %w", k.file, err)
	}
	return f, nil
}

// SurveyKept reads a whole kept message once.
func (s *Store) SurveyKept(ctx context.Context, k Kept) (mail.Content, error) {
	f, err := s.OpenKept(k)
	if err != nil {
		return mail.Content{}, err
	}
	defer f.Close()
	content, err := s.survey(contextReader{ctx, f})
	if err != nil {
		return mail.Content{}, fmt.Errorf("reading %s, which is kept for undo: %w", k.file, err)
	}
	return content, nil
}

// Restore moves kept messages of one folder back into it, as new messages, less the system flags drop; the folder is made if it is
// missing. A message keeps its time, and its base name unless that is taken. The outcomes are in the order of the messages. Durable
// after Flush.
func (s *Store) Restore(f mail.FolderName, kept []Kept, drop mail.System) []Outcome {
	out := make([]Outcome, len(kept))
	d, err := s.restoreTo(f)
	for i, k := range kept {
		o := &out[i]
		if o.Err = err; o.Err == nil {
			o.Entry, o.Err = s.restore(k, d, drop)
		}
		if o.Err != nil {
			*o = Outcome{Err: fmt.Errorf("bringing %s back to %s: %w", k.Base, f, o.Err)}
		}
	}
	return out
}

// restoreTo makes a folder ready to take messages.
func (s *Store) restoreTo(f mail.FolderName) (folderDir, error) {
	if err := s.writable(); err != nil {
		return folderDir{}, err
	}
	d, err := s.locate(f)
	if err != nil {
		return d, err
	}
	_, err = s.stamp(d)
	if errors.Is(err, ErrNoFolder) || err == nil && !s.isMaildir(d.path) {
		err = s.createFolder(d)
	}
	if err == nil && s.listings.get(f) == nil {
		_, err = s.scan(context.Background(), d, nil) // which tells the names that are taken
	}
	return d, err
}

func (s *Store) restore(k Kept, to folderDir, drop mail.System) (Entry, error) {
	// A rename would move a link as well.
	if info, err := s.fs.Stat(k.file); err != nil {
		return Entry{}, err
	} else if !info.Mode.IsRegular() {
		return Entry{}, ErrNotRegular
	}
	n := parseFileName(path.Base(k.file))
	inNew := n.sep == 0
	letters, flags, err := s.respell(k.keywords, withLetters(n.letters, "", lettersOf(drop)), to)
	if err != nil {
		return Entry{}, err
	}
	n.letters = letters
	taken := s.taken(to, n.base)
	for {
		if taken {
			if n.base, err = s.names.base(); err != nil {
				return Entry{}, err
			}
		}
		e := Entry{Base: n.base, Flags: flags, New: inNew, File: n.String()}
		file := to.file(e)
		err := s.fs.RenameNew(k.file, file)
		if isCrossDevice(err) {
			err = s.copyAcross(k.file, file, to)
		}
		if taken = errors.Is(err, fs.ErrExist); taken {
			continue
		}
		if err != nil {
			return Entry{}, err
		}
		s.touched.gain(path.Dir(file))
		s.touched.lose(path.Dir(k.file))
		s.listings.set(to.name, e.Base, &e)
		return e, nil
	}
}

// TidyUndo removes the directories for undo that hold no message any more. Call it after Flush, so that no name goes before
// its new one is durable.
func (s *Store) TidyUndo() error {
	if err := s.writable(); err != nil {
		return err
	}
	runs, err := s.undoRuns()
	for _, run := range runs {
		err = errors.Join(err, s.tidy(run.dir, 0))
	}
	if err != nil {
		return fmt.Errorf("removing emptied directories for undo: %w", err)
	}
	return nil
}

func (s *Store) tidy(dir string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: %w", dir, errTooDeep)
	}
	var own, dirs []string
	empty := true
	list := func(name string, mode fs.FileMode) bool {
		switch {
		case mode.IsDir():
			dirs = append(dirs, name)
		case mode.IsRegular() && (name == keptKeywords || strings.HasPrefix(name, "."+ownPrefix)):
			own = append(own, name)
		default:
			empty = false
		}
		return true
	}
	if err := s.fs.List(dir, list); err != nil {
		return ignoreMissing(err)
	}
	for _, name := range dirs {
		child := path.Join(dir, name)
		if err := s.tidy(child, depth+1); err != nil {
			return err
		}
		if _, err := s.fs.Stat(child); err == nil {
			empty = false
		}
	}
	if !empty {
		return nil
	}
	for _, name := range own {
		if err := ignoreMissing(s.fs.Remove(path.Join(dir, name))); err != nil {
			return err
		}
	}
	return ignoreMissing(s.fs.Remove(dir))
}
