package sim

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/testenv/disk"
	"github.com/satchel-mail/satchel/maildir"
)

// usePlusPlus gives an account that nothing was done to yet a Maildir in the layout maildir++.
func (w *World) usePlusPlus() {
	w.Set.Layout = maildir.PlusPlus
	w.Disk = disk.New()
	w.Disk.SetPeople(func(real maildir.FS) maildir.FS { return plusPlus{real} })
	w.MakeFolder("INBOX")
	w.Disk.Settle()
}

// plusPlus shows people a Maildir in the layout maildir++ as if it were nested: .A.Below is A/Below, and the root INBOX.
type plusPlus struct{ maildir.FS }

// inFolder are what a folder has directly.
var inFolder = []string{"cur", "new", "tmp", "dovecot-keywords", "maildirfolder"}

// ours reports whether a name is in the program's own directory.
func (p plusPlus) ours(name string) bool {
	top, _, _ := strings.Cut(name, "/")
	return top == "satchel-undo" || top == ".satchel"
}

// real is what a name is on the disk.
func (p plusPlus) real(name string) string {
	if p.ours(name) {
		return name
	}
	parts := strings.Split(name, "/")
	n := slices.IndexFunc(parts, func(part string) bool { return slices.Contains(inFolder, part) })
	if n < 0 {
		n = len(parts)
	}
	folder := "." + strings.Join(parts[:n], ".")
	if folder == ".INBOX" || folder == ".." {
		folder = "."
	}
	return path.Join(append([]string{folder}, parts[n:]...)...)
}

func (p plusPlus) isFolder(name string) bool { return !slices.Contains(inFolder, path.Base(name)) }

func (p plusPlus) Create(name string, perm fs.FileMode) (maildir.File, error) {
	return p.FS.Create(p.real(name), perm)
}
func (p plusPlus) Open(name string) (maildir.File, error)     { return p.FS.Open(p.real(name)) }
func (p plusPlus) Stat(name string) (maildir.FileInfo, error) { return p.FS.Stat(p.real(name)) }
func (p plusPlus) Remove(name string) error                   { return p.FS.Remove(p.real(name)) }

// Mkdir makes a folder with the first directory in it: one that is only above others is not there.
func (p plusPlus) Mkdir(name string, perm fs.FileMode) error {
	if p.isFolder(name) {
		return nil
	}
	if dir := path.Dir(p.real(name)); dir != "." {
		if err := p.FS.Mkdir(dir, perm); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return p.FS.Mkdir(p.real(name), perm)
}

// Rename of a folder takes those below it along.
func (p plusPlus) Rename(from, to string) error {
	if path.Base(path.Dir(from)) != "cur" && path.Base(path.Dir(from)) != "new" {
		var below []string
		if err := p.below(from, func(name string) { below = append(below, name) }); err != nil {
			return err
		}
		for _, name := range below {
			if err := p.FS.Rename(p.real(path.Join(from, name)), p.real(path.Join(to, name))); err != nil {
				return err
			}
		}
	}
	return p.FS.Rename(p.real(from), p.real(to))
}

// below calls each with the folders below one, by their names from there on.
func (p plusPlus) below(dir string, each func(string)) error {
	prefix := "."
	if dir != "." {
		prefix = p.real(dir) + "."
	}
	return p.FS.List(".", func(name string, mode fs.FileMode) bool {
		if rest, ok := strings.CutPrefix(name, prefix); ok && mode.IsDir() && name != ".satchel" {
			each(strings.ReplaceAll(rest, ".", "/"))
		}
		return true
	})
}

func (p plusPlus) List(dir string, each func(string, fs.FileMode) bool) error {
	if p.ours(dir) || !p.isFolder(dir) {
		return p.FS.List(p.real(dir), each)
	}
	names := map[string]fs.FileMode{}
	if dir == "." {
		names["INBOX"] = fs.ModeDir
	} else {
		err := p.FS.List(p.real(dir), func(name string, mode fs.FileMode) bool {
			if slices.Contains(inFolder, name) {
				names[name] = mode
			}
			return true
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may only be above others
			return err
		}
	}
	if dir != "INBOX" {
		if err := p.below(dir, func(name string) { top, _, _ := strings.Cut(name, "/"); names[top] = fs.ModeDir }); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !each(name, names[name]) {
			break
		}
	}
	return nil
}
