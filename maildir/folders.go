package maildir

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// CreateFolder makes the folder, or completes it if parts are missing. Durable when it returns.
func (s *Store) CreateFolder(f mail.FolderName) error {
	if err := s.writable(); err != nil {
		return err
	}
	d, err := s.locate(f)
	if err == nil {
		err = s.createFolder(d)
	}
	if err != nil {
		return fmt.Errorf("creating the folder %s: %w", f, err)
	}
	return nil
}

func (s *Store) createFolder(d folderDir) error {
	if d.path != "." {
		if err := s.mkdirAll(d.path, func(string) {}); err != nil {
			return err
		}
		if err := s.checkSpelling(d.path); err != nil {
			return err
		}
	}
	if s.layout == PlusPlus && d.path != "." {
		if f, err := s.fs.Create(d.sub(subfolder), 0o600); err == nil {
			if err := f.Close(); err != nil {
				return err
			}
		} else if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for _, sub := range subdirs {
		if err := s.fs.Mkdir(d.sub(sub), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	// What was there already may have been made by an attempt that failed before it was durable.
	return s.syncDirs(upwards(d.path)...)
}

// upwards are a directory and all above it, from the inside out: a name is durable only after what it names.
func upwards(dir string) (all []string) {
	for ; dir != "."; dir = path.Dir(dir) {
		all = append(all, dir)
	}
	return append(all, ".")
}

// SyncFolders makes folders themselves durable, whoever made them, not what is in them. One that is gone is passed over.
func (s *Store) SyncFolders(folders []mail.FolderName) error {
	var dirs []string
	known := map[string]bool{}
	for _, f := range folders {
		d, err := s.locate(f)
		if err != nil {
			return err
		}
		for _, dir := range upwards(d.path) {
			if !known[dir] {
				known[dir] = true
				dirs = append(dirs, dir)
			}
		}
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return cmp.Compare(strings.Count(b, "/"), strings.Count(a, "/")) })
	if i := slices.Index(dirs, "."); i >= 0 {
		dirs = append(slices.Delete(dirs, i, i+1), ".")
	}
	for _, dir := range dirs {
		if err := ignoreMissing(s.syncDir(dir)); err != nil {
			return err
		}
	}
	return nil
}

var errSpelling = errors.New("the file system takes its name for the same as another's, which differs in case or in composed letters only")

// checkSpelling fails if a directory on the way is listed under another name than the one it was
// made under: then it is another folder's.
func (s *Store) checkSpelling(dir string) error {
	for ; dir != "."; dir = path.Dir(dir) {
		found := false
		err := s.fs.List(path.Dir(dir), func(name string, _ fs.FileMode) bool {
			found = name == path.Base(dir)
			return !found
		})
		if err != nil {
			return err
		}
		if !found {
			return errSpelling
		}
		if info, err := s.fs.Stat(dir); err != nil {
			return err
		} else if !info.Mode.IsDir() {
			return fmt.Errorf("%s: %w", dir, errLink)
		}
	}
	return nil
}

// RenameFolder renames the folder with all folders below it; ErrFolderExists if the name is
// taken. Durable when it returns.
func (s *Store) RenameFolder(from, to mail.FolderName) error {
	if err := s.writable(); err != nil {
		return err
	}
	err := s.renameFolder(from, to)
	s.listings.forgetAll()
	if err != nil {
		return fmt.Errorf("renaming the folder %s to %s: %w", from, to, err)
	}
	return nil
}

func (s *Store) renameFolder(from, to mail.FolderName) error {
	if from == mail.Inbox || to == mail.Inbox {
		return errors.New("INBOX can't be renamed")
	}
	if to == from || to.Under(from) {
		return errors.New("a folder can't be moved into itself")
	}
	src, err := s.locate(from)
	if err != nil {
		return err
	}
	dst, err := s.locate(to)
	if err != nil {
		return err
	}
	// Directories are about to get other names: what waits to be made durable must not be missed.
	if err := s.Flush(); err != nil {
		return err
	}
	if s.layout == PlusPlus {
		return s.renamePlusPlus(from, to)
	}
	if info, err := s.fs.Stat(src.path); errors.Is(err, fs.ErrNotExist) {
		return ErrNoFolder
	} else if err != nil {
		return err
	} else if !info.Mode.IsDir() {
		return errLink
	}
	if parent := path.Dir(dst.path); parent != "." {
		if err := s.mkdirAll(parent, func(string) {}); err != nil {
			return err
		}
		if err := s.checkSpelling(parent); err != nil {
			return err
		}
		// Else the power could fail when the folder is no longer where it was, and what it is in now is not there.
		if err := s.syncDirs(upwards(path.Dir(parent))...); err != nil {
			return err
		}
	}
	if err := s.renameDir(src.path, dst.path); err != nil {
		return err
	}
	return s.syncDirs(append(upwards(path.Dir(dst.path)), path.Dir(src.path))...)
}

// renameDir renames a directory. An empty directory in the way, left of a folder that is gone, gives way.
func (s *Store) renameDir(from, to string) error {
	err := s.fs.RenameNew(from, to)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if s.fs.Remove(to) != nil {
		return ErrFolderExists
	}
	err = s.fs.RenameNew(from, to)
	if errors.Is(err, fs.ErrExist) {
		return ErrFolderExists
	}
	return err
}

func (s *Store) renamePlusPlus(from, to mail.FolderName) error {
	type pair struct{ from, to string }
	src, dst := from.Path(), to.Path()
	var pairs []pair
	exists := false
	err := s.fs.List(".", func(name string, mode fs.FileMode) bool {
		comps, ok := plusPlusPath(name)
		if !ok || !mode.IsDir() {
			return true
		}
		if len(comps) >= len(src) && slices.Equal(comps[:len(src)], src) {
			pairs = append(pairs, pair{name, plusPlusName(slices.Concat(dst, comps[len(src):]))})
		} else if len(comps) >= len(dst) && slices.Equal(comps[:len(dst)], dst) && s.isMaildir(name) {
			exists = true
		}
		return true
	})
	switch {
	case err != nil:
		return err
	case exists:
		return ErrFolderExists
	case len(pairs) == 0:
		return ErrNoFolder
	}
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.from, b.from) })
	for i, p := range pairs {
		if len(p.to) > maxNameBytes {
			return fmt.Errorf("%.60s…: longer than a directory name can be (%d bytes)", p.to, maxNameBytes)
		}
		if err := s.renameDir(p.from, p.to); err != nil {
			for _, done := range slices.Backward(pairs[:i]) {
				err = errors.Join(err, s.fs.RenameNew(done.to, done.from))
			}
			return err
		}
	}
	return s.syncDirs(".")
}

// RemoveFolder removes a folder that holds no message (else ErrNotEmpty, and nothing is touched). Folders
// below it stay; files of others stay in its directory and are an error. Durable when it returns.
func (s *Store) RemoveFolder(f mail.FolderName) error {
	if err := s.writable(); err != nil {
		return err
	}
	d, err := s.locate(f)
	if err == nil {
		err = s.removeFolder(d)
	}
	s.listings.forgetAll()
	if err != nil {
		return fmt.Errorf("removing the folder %s: %w", f, err)
	}
	return nil
}

func (s *Store) removeFolder(d folderDir) error {
	if d.name == mail.Inbox {
		return errors.New("INBOX can't be removed")
	}
	if _, err := s.stamp(d); err != nil {
		return err
	}
	if err := s.Flush(); err != nil {
		return err
	}
	if err := s.cleanTmp(d); err != nil {
		return err
	}
	for _, sub := range subdirs {
		empty := true
		err := s.fs.List(d.sub(sub), func(string, fs.FileMode) bool { empty = false; return false })
		if ignoreMissing(err) != nil {
			return err
		}
		if !empty {
			return fmt.Errorf("%w: there are files in %s", ErrNotEmpty, sub)
		}
	}
	// What arrives meanwhile makes the removal fail, and the directories come back.
	for _, sub := range []string{newDir, curDir, tmpDir} {
		if err := ignoreMissing(s.fs.Remove(d.sub(sub))); err != nil {
			return errors.Join(fmt.Errorf("%w: %w", ErrNotEmpty, err), s.createFolder(d))
		}
	}
	return s.removeDir(d)
}

// removeDir removes what is left of a folder without messages: files that only describe it, then the
// directory, unless folders lie below it.
func (s *Store) removeDir(d folderDir) error {
	if err := s.syncDirs(d.path); err != nil {
		return err
	}
	var own, foreign []string
	below := false
	err := s.fs.List(d.path, func(name string, mode fs.FileMode) bool {
		switch {
		case mode.IsDir():
			below = true
		case describesFolder(name):
			own = append(own, name)
		default:
			foreign = append(foreign, name)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, name := range own {
		if err := ignoreMissing(s.fs.Remove(d.sub(name))); err != nil {
			return err
		}
	}
	if len(foreign) > 0 {
		slices.Sort(foreign)
		return fmt.Errorf("%w: it is gone as a folder, but its directory holds %s, which is not Satchel's to delete", ErrNotEmpty, foreign[0])
	}
	if below {
		return s.syncDirs(d.path)
	}
	if err := s.fs.Remove(d.path); err != nil {
		return err
	}
	return s.syncDirs(path.Dir(d.path))
}

// describesFolder: files that mean nothing without the folder's messages.
func describesFolder(name string) bool {
	return name == keywordsFile || name == subfolder || name == "dovecot-uidlist" ||
		name == "dovecot.index" || strings.HasPrefix(name, "dovecot.index.")
}

// litterAge is when a file in tmp is nobody's any more, as the Maildir format has it.
const litterAge = 36 * time.Hour

// Clean removes what stopped deliveries of Satchel's left in the folders' tmp/: after 36 hours, or at once if this Store
// holds the lock and another process of this host made the file.
func (s *Store) Clean(folders []Folder) error {
	if err := s.writable(); err != nil {
		return err
	}
	var errs []error
	for _, f := range folders {
		d, err := s.locate(f.Name)
		if err == nil {
			err = s.cleanTmp(d)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cleaning %s: %w", f.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) cleanTmp(d folderDir) error {
	var own []string
	err := s.fs.List(d.sub(tmpDir), func(name string, mode fs.FileMode) bool {
		if strings.HasPrefix(name, ownPrefix) && mode.IsRegular() {
			own = append(own, name)
		}
		return true
	})
	if ignoreMissing(err) != nil {
		return err
	}
	for _, name := range own {
		file := d.sub(path.Join(tmpDir, name))
		if host, process := s.names.madeHere(name); !s.locked() || !host || process {
			info, err := s.fs.Stat(file)
			if err != nil {
				continue // gone
			}
			// ctime: the modification time is the message's.
			changed := info.CTime
			if changed.IsZero() {
				changed = info.ModTime
			}
			if age, err := s.clock.since(changed, litterAge); err != nil {
				return err
			} else if age <= litterAge {
				continue
			}
		}
		if err := ignoreMissing(s.fs.Remove(file)); err != nil {
			return err
		}
	}
	return nil
}
