package sim

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/maildir"
)

func (w *World) plusPlus() bool { return w.Set.Layout == maildir.PlusPlus }

// dir is the directory of a folder.
func (w *World) dir(folder string) string {
	switch {
	case !w.plusPlus():
		return folder
	case folder == "INBOX":
		return "."
	}
	return "." + strings.ReplaceAll(folder, "/", ".")
}

// renameFolder renames a folder of the Maildir with all below it.
func (w *World) renameFolder(from, to string) {
	if !w.plusPlus() {
		check(w.Disk.Person().Rename(from, to))
		return
	}
	for _, f := range w.Folders() {
		if f == from || below(f, from) {
			check(w.Disk.Person().Rename(w.dir(f), w.dir(to+f[len(from):])))
		}
	}
}

func (w *World) plusPlusFolders() (all []string) {
	check(w.Disk.Person().List(".", func(name string, mode fs.FileMode) bool {
		if _, err := w.Disk.Person().Stat(path.Join(name, "cur")); mode.IsDir() && name[0] == '.' && err == nil {
			all = append(all, strings.ReplaceAll(name[1:], ".", "/"))
		}
		return true
	}))
	all = append(all, "INBOX")
	slices.Sort(all)
	return all
}
