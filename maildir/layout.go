package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/satchel-mail/satchel/internal/mail"
)

const (
	newDir, curDir, tmpDir = "new", "cur", "tmp"

	keywordsFile = "dovecot-keywords"
	subfolder    = "maildirfolder" // Maildir++: marks a directory as a folder for delivery agents

	maxNameBytes = 255
	maxDepth     = 200 // directories below directories; deeper ones are reported
)

// subdirs in the order in which they are made: a folder without cur is not taken for one by most readers.
var subdirs = [...]string{tmpDir, newDir, curDir}

// folderDir is where a folder lies.
type folderDir struct {
	name mail.FolderName
	path string // below the root; "." for the inbox of Maildir++
}

func (d folderDir) sub(s string) string { return path.Join(d.path, s) }

// locate says where a folder lies, or would lie. A directory that somebody made under the literal name
// (with a "%" that is no escape) is used as it is.
func (s *Store) locate(f mail.FolderName) (folderDir, error) {
	comps := f.Path()
	for _, c := range comps {
		if c == "" || !utf8.ValidString(c) {
			return folderDir{}, fmt.Errorf("folder name %q: not a name that a directory can have", f)
		}
	}
	if len(comps) > maxDepth {
		return folderDir{}, fmt.Errorf("folder name %.60q…: more than %d levels", f, maxDepth)
	}
	d := folderDir{name: f}
	var err error
	if s.layout == PlusPlus {
		d.path, err = s.locatePlusPlus(comps)
	} else {
		d.path, err = s.locateNested(comps)
	}
	if err != nil {
		return folderDir{}, err
	}
	for c := range strings.SplitSeq(d.path, "/") {
		if len(c) > maxNameBytes {
			return folderDir{}, fmt.Errorf("folder name %.60q…: longer than a directory name can be (%d bytes)", f, maxNameBytes)
		}
	}
	return d, nil
}

func (s *Store) locateNested(comps []string) (string, error) {
	dir := "."
	for _, c := range comps {
		canonical := path.Join(dir, mail.EscapeComponent(c, ""))
		next := canonical
		if literal, ok := literalName(c, ""); ok {
			var err error
			if next, err = s.existing(canonical, path.Join(dir, literal)); err != nil {
				return "", err
			}
		}
		dir = next
	}
	return dir, nil
}

func (s *Store) locatePlusPlus(comps []string) (string, error) {
	if len(comps) == 1 && comps[0] == string(mail.Inbox) {
		return ".", nil
	}
	canonical, odd := plusPlusName(comps), false
	for _, c := range comps {
		if _, ok := literalName(c, "."); ok {
			odd = true
		}
	}
	if !odd {
		return canonical, nil
	}
	if _, err := s.fs.Stat(canonical); !errors.Is(err, fs.ErrNotExist) {
		return canonical, err
	}
	// Each component may be spelled either way: rare enough to read the root for it.
	found := canonical
	err := s.fs.List(".", func(name string, mode fs.FileMode) bool {
		if got, ok := plusPlusPath(name); ok && mode.IsDir() && slices.Equal(got, comps) {
			found = name
		}
		return true
	})
	return found, err
}

// existing returns literal if only that exists, else canonical.
func (s *Store) existing(canonical, literal string) (string, error) {
	if _, err := s.fs.Stat(canonical); !errors.Is(err, fs.ErrNotExist) {
		return canonical, err
	}
	if _, err := s.fs.Stat(literal); err == nil {
		return literal, nil
	} else if !errors.Is(err, fs.ErrNotExist) && !isNameTooLong(err) {
		return "", err
	}
	return canonical, nil
}

// literalName returns the component itself, if a directory can have it as its name, if it is not
// what escaping gives, and if it would be read back as meant literally.
func literalName(c, also string) (string, bool) {
	if strings.ContainsAny(c, "/\x00"+also) || strings.HasPrefix(c, ".") || len(c) > maxNameBytes {
		return "", false
	}
	if also == "" && (c == curDir || c == newDir || c == tmpDir) {
		return "", false
	}
	return c, mail.EscapeComponent(c, also) != c && mail.UnescapeComponent(c, also) == c
}

func plusPlusName(comps []string) string {
	var b strings.Builder
	for _, c := range comps {
		b.WriteByte('.')
		b.WriteString(mail.EscapeComponent(c, "."))
	}
	return b.String()
}

// plusPlusPath reads ".Archive.2024".
func plusPlusPath(dir string) ([]string, bool) {
	rest, ok := strings.CutPrefix(dir, ".")
	if !ok {
		return nil, false
	}
	comps := strings.Split(rest, ".")
	for i, c := range comps {
		if c == "" || !utf8.ValidString(c) {
			return nil, false
		}
		comps[i] = mail.UnescapeComponent(c, ".")
	}
	return comps, true
}

// Folders returns all folders, INBOX first, then by name, and what looks like a folder but can't
// be used. A folder that a Problem names is not gone, nor is any below it: nobody could look.
func (s *Store) Folders() ([]Folder, []Problem, error) {
	w := &walker{s: s, seen: map[mail.FolderName]string{}}
	if err := w.all(); err != nil {
		return nil, nil, fmt.Errorf("reading the folders of %s: %w", s.root, err)
	}
	slices.SortFunc(w.folders, func(a, b Folder) int { return compareFolders(a.Name, b.Name) })
	return w.folders, w.problems, nil
}

func compareFolders(a, b mail.FolderName) int {
	switch {
	case a == b:
		return 0
	case a == mail.Inbox:
		return -1
	case b == mail.Inbox:
		return 1
	}
	return strings.Compare(string(a), string(b))
}

// walker finds the folders.
type walker struct {
	s        *Store
	folders  []Folder
	problems []Problem
	seen     map[mail.FolderName]string // the directory that is the folder
}

func (w *walker) all() error {
	if w.s.layout == PlusPlus {
		return w.plusPlus()
	}
	return w.nested(".", nil)
}

func (w *walker) problem(f mail.FolderName, dir string, err error) {
	w.problems = append(w.problems, Problem{Folder: f, File: dir, Err: err})
}

var (
	errLink     = errors.New("a symbolic link, which is not followed: use a real directory or a mount")
	errSame     = errors.New("stands for the same folder as another directory: rename one of them")
	errBadName  = errors.New("the name is not UTF-8 or has an empty part: rename the directory")
	errTooDeep  = fmt.Errorf("more than %d directories deep", maxDepth)
	errDotInbox = errors.New("stands for INBOX, which is the Maildir itself: rename the directory")
	errOthers   = errors.New("another account's Maildir lies here: move it elsewhere, or, if it is none any more, remove .satchel.db and .satchel.lock in it")
	errDotDir   = errors.New(`a Maildir whose name begins with "." is no folder of the nested layout: rename it, or move it elsewhere`)
)

type dirEntry struct {
	name string
	mode fs.FileMode
}

// list returns the directories and links in dir, canonical spellings first, then sorted. Below the root, one that is a Maildir of Satchel's itself is
// an error: what it holds is another server's.
func (w *walker) list(dir string) ([]dirEntry, error) {
	var out []dirEntry
	others := false
	err := w.s.fs.List(dir, func(name string, mode fs.FileMode) bool {
		others = others || dir != "." && (name == lockFile || name == stateFile)
		if mode.IsDir() || mode&fs.ModeSymlink != 0 {
			out = append(out, dirEntry{name, mode})
		}
		return true
	})
	if err == nil && others {
		err = errOthers
	}
	slices.SortFunc(out, func(a, b dirEntry) int { return strings.Compare(a.name, b.name) })
	return out, err
}

// nested looks into one directory; comps is what it is called.
func (w *walker) nested(dir string, comps []string) error {
	entries, err := w.list(dir)
	if err != nil {
		return err
	}
	if len(comps) > 0 {
		name, err := mail.NewFolderName(comps)
		if err != nil {
			w.problem("", dir, err)
			return nil
		}
		w.add(name, dir, entries)
	}
	byName := map[string]string{} // what a directory stands for, to the one that is used
	for _, e := range entries {
		c := mail.UnescapeComponent(e.name, "")
		if have, ok := byName[c]; !ok || have != mail.EscapeComponent(c, "") {
			byName[c] = e.name
		}
	}
	for _, e := range entries {
		child := path.Join(dir, e.name)
		if isSubdir(e.name) {
			continue
		}
		if strings.HasPrefix(e.name, ".") {
			if len(comps) == 0 && !strings.HasPrefix(e.name, ownDir) && w.s.isMaildir(child) {
				w.problem("", child, errDotDir)
			}
			continue
		}
		c := mail.UnescapeComponent(e.name, "")
		path := append(slices.Clip(comps), c)
		name, err := mail.NewFolderName(path)
		switch {
		case err != nil:
			w.problem("", child, errBadName)
		case byName[c] != e.name:
			w.problem(name, child, errSame)
		case e.mode&fs.ModeSymlink != 0:
			w.problem(name, child, errLink)
		case len(path) > maxDepth:
			w.problem(name, child, errTooDeep)
		default:
			if err := w.nested(child, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				w.problem(name, child, err)
			}
		}
	}
	return nil
}

func (w *walker) plusPlus() error {
	entries, err := w.list(".")
	if err != nil {
		return err
	}
	w.add(mail.Inbox, ".", entries)
	for _, e := range entries {
		if !strings.HasPrefix(e.name, ".") {
			continue
		}
		inside, err := w.list(e.name)
		link := e.mode&fs.ModeSymlink != 0
		if !link && errors.Is(err, fs.ErrNotExist) {
			continue // gone by now
		}
		if !link && err == nil && !slices.ContainsFunc(inside, func(i dirEntry) bool { return isSubdir(i.name) }) {
			continue // not a folder
		}
		comps, ok := plusPlusPath(e.name)
		if !ok {
			w.problem("", e.name, errBadName)
			continue
		}
		name, nameErr := mail.NewFolderName(comps)
		switch {
		case nameErr != nil:
			w.problem("", e.name, errBadName)
		case name == mail.Inbox:
			w.problem(name, e.name, errDotInbox)
		case link:
			w.problem(name, e.name, errLink)
		case err != nil:
			w.problem(name, e.name, err)
		default:
			w.add(name, e.name, inside)
		}
	}
	return nil
}

// add takes dir for the folder if it has cur, new or tmp.
func (w *walker) add(name mail.FolderName, dir string, entries []dirEntry) {
	any := false
	for _, e := range entries {
		if !isSubdir(e.name) {
			continue
		}
		if e.mode&fs.ModeSymlink != 0 {
			w.problem(name, path.Join(dir, e.name), errLink)
			return
		}
		any = true
	}
	if !any {
		return
	}
	if other, ok := w.seen[name]; ok {
		// Two spellings in Maildir++; the canonical one is the folder.
		if other == plusPlusName(name.Path()) {
			w.problem(name, dir, errSame)
			return
		}
		w.problem(name, other, errSame)
		w.folders = slices.DeleteFunc(w.folders, func(f Folder) bool { return f.Name == name })
	}
	w.seen[name] = dir
	st, err := w.s.stamp(folderDir{name, dir})
	if errors.Is(err, ErrNoFolder) {
		return
	}
	if err != nil {
		w.problem(name, dir, err)
		return
	}
	mark, err := w.s.mark(st)
	if err != nil {
		w.problem(name, dir, err)
		return
	}
	w.folders = append(w.folders, Folder{Name: name, Inode: w.s.lasting(st.inode), Mark: mark, Incomplete: st.missing})
}

func isSubdir(name string) bool { return name == newDir || name == curDir || name == tmpDir }

// isMaildir reports whether dir has all of cur, new and tmp.
func (s *Store) isMaildir(dir string) bool {
	for _, sub := range subdirs {
		if info, err := s.fs.Stat(path.Join(dir, sub)); err != nil || !info.Mode.IsDir() {
			return false
		}
	}
	return true
}

// checkLayout refuses a root whose directories show the other layout.
func (s *Store) checkLayout() error {
	rootIsFolder := s.isMaildir(".")
	if rootIsFolder && s.layout == PlusPlus {
		return nil
	}
	var plain, dotted string
	err := s.fs.List(".", func(name string, mode fs.FileMode) bool {
		own := name == undoPlusPlus || (s.layout == Nested && strings.HasPrefix(name, ownDir))
		if !mode.IsDir() || isSubdir(name) || own {
			return true
		}
		switch isDotted := strings.HasPrefix(name, "."); {
		case isDotted && dotted == "" && s.isMaildir(name):
			dotted = name
		case !isDotted && plain == "" && s.isMaildir(name):
			plain = name
		}
		// One folder of the right layout settles it.
		return (s.layout == Nested && plain == "") || (s.layout == PlusPlus && dotted == "")
	})
	if err != nil {
		return err
	}
	switch {
	case s.layout == PlusPlus && plain != "" && dotted == "":
		return fmt.Errorf(`%w: %s is a folder, as in the nested layout; set layout = "nested"`, ErrLayout, path.Join(s.root, plain))
	case s.layout == Nested && rootIsFolder:
		return fmt.Errorf(`%w: %s itself has cur, new and tmp, as in Maildir++; set layout = "maildir++"`, ErrLayout, s.root)
	case s.layout == Nested && dotted != "" && plain == "":
		return fmt.Errorf(`%w: %s is a folder, as in Maildir++; set layout = "maildir++"`, ErrLayout, path.Join(s.root, dotted))
	}
	return nil
}
