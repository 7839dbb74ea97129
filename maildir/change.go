package maildir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
)

// SetFlags adds and removes flags, whatever others the message has by now. The Entry tells the flags
// that it really has afterwards: a keyword without a letter is not among them. Durable after Flush.
func (s *Store) SetFlags(f mail.FolderName, base string, add, remove mail.Flags) (Entry, error) {
	if err := s.writable(); err != nil {
		return Entry{}, err
	}
	var out Entry
	err := s.onFile(f, base, func(d folderDir, e Entry) error {
		var err error
		out, err = s.setFlags(d, e, add, remove.Minus(add))
		return err
	})
	if err != nil {
		return Entry{}, fmt.Errorf("changing flags of %s in %s: %w", base, f, err)
	}
	return out, nil
}

func (s *Store) setFlags(d folderDir, e Entry, add, remove mail.Flags) (Entry, error) {
	out, err := s.withFlags(d, e, add, remove)
	if err != nil {
		return Entry{}, err
	}
	if out.File == e.File && out.New == e.New {
		// It has them already, if it is still called so.
		if _, err := s.fs.Stat(d.file(e)); err != nil {
			return out, err
		}
		return out, s.dropSpares(d, e.Base, d.file(e))
	}
	return out, s.rename(d, e, d, out)
}

// withFlags names a message with flags added and removed. The keywords are only looked at where there are any.
func (s *Store) withFlags(d folderDir, e Entry, add, remove mail.Flags) (Entry, error) {
	n := parseFileName(e.File)
	var letters string
	out := Entry{Base: e.Base, File: e.File}
	if add.HasKeywords() || keywordLetters(n.letters) != 0 {
		addLetters, k, err := s.lettersFor(d, add)
		if err != nil {
			return Entry{}, err
		}
		letters = withLetters(n.letters, addLetters, k.all(remove))
		out.Flags = k.flags(letters)
	} else {
		letters = withLetters(n.letters, lettersOf(add.System()), lettersOf(remove.System()))
		out.Flags = mail.SystemFlags(systemFlags(letters))
	}
	out.New = e.New && letters == ""
	if letters == n.letters && out.New == e.New {
		return out, nil
	}
	if n.sep == 0 {
		var err error
		if n.sep, err = s.separator(d); err != nil {
			return Entry{}, err
		}
	}
	n.letters = letters
	out.File = n.String()
	return out, nil
}

// rename gives a message another file name or folder, and says so to everybody who must know.
func (s *Store) rename(from folderDir, e Entry, to folderDir, out Entry) error {
	src, dst := from.file(e), to.file(out)
	err := s.fs.RenameNew(src, dst)
	if errors.Is(err, fs.ErrNotExist) {
		// Perhaps it is the destination that is missing.
		if _, statErr := s.fs.Stat(path.Dir(dst)); errors.Is(statErr, fs.ErrNotExist) {
			if err := s.repair(to); err != nil {
				return err
			}
			err = s.fs.RenameNew(src, dst)
		}
	}
	if errors.Is(err, fs.ErrExist) && s.twoNames(src, dst) {
		err = s.fs.Remove(src) // the second half of a rename by link and unlink that was cut off
	}
	if isCrossDevice(err) {
		err = s.copyAcross(src, dst, to)
	}
	if err != nil {
		return err
	}
	return s.renamed(from, e, to, out)
}

// twoNames reports whether a file has both names, so that it stays if one of them goes: not only one name that is found in two ways,
// because the file system takes small letters for capitals, or shows one directory twice.
func (s *Store) twoNames(a, b string) bool {
	x, errX := s.fs.Stat(a)
	y, errY := s.fs.Stat(b)
	if errX != nil || errY != nil || !sameInode(x, y) || x.Links < 2 || !x.Mode.IsRegular() {
		return false
	}
	if path.Dir(a) == path.Dir(b) {
		return !strings.EqualFold(path.Base(a), path.Base(b))
	}
	x, errX = s.fs.Stat(path.Dir(a))
	y, errY = s.fs.Stat(path.Dir(b))
	return errX == nil && errY == nil && !sameInode(x, y)
}

func sameInode(a, b FileInfo) bool { return a.Inode != 0 && a.Inode == b.Inode && a.Dev == b.Dev }

// renamed says to everybody who must know that a message has another file name or folder.
func (s *Store) renamed(from folderDir, e Entry, to folderDir, out Entry) error {
	s.touched.gain(to.dir(out))
	if from.path != to.path || out.New != e.New {
		s.touched.lose(from.dir(e))
	}
	if from.path == to.path && out.Base == e.Base {
		s.listings.reflagged(to.name, out)
	} else {
		s.listings.set(from.name, e.Base, nil)
		s.listings.set(to.name, out.Base, &out)
	}
	if from.path != to.path {
		return s.dropSpares(from, e.Base, "")
	}
	return s.dropSpares(from, e.Base, to.file(out))
}

// dropSpares removes all names of a file but the one that it has now in the folder, empty if it is gone from there.
func (s *Store) dropSpares(d folderDir, base, now string) error {
	for _, e := range s.listings.takeSpares(d.name, base) {
		if now != "" && (d.file(e) == now || !s.twoNames(d.file(e), now)) {
			continue
		}
		if err := ignoreMissing(s.fs.Remove(d.file(e))); err != nil {
			return err
		}
		s.touched.lose(path.Dir(d.file(e)))
	}
	return nil
}

// copyAcross moves a file to another file system below the same root: a folder may be a mount point.
// The copy is durable and complete before the original goes.
func (s *Store) copyAcross(src, dst string, to folderDir) (err error) {
	base, err := s.names.base()
	if err != nil {
		return err
	}
	tmp := path.Join(path.Dir(dst), "."+ownPrefix+base) // readers leave out dot files
	if to.path != "" {
		tmp = to.sub(path.Join(tmpDir, ownPrefix+base))
	}
	in, err := s.fs.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := s.fs.Create(tmp, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(s.fs.Remove(tmp)))
		}
	}()
	n, err := io.Copy(io.NewOffsetWriter(out, 0), in)
	if err == nil && n != info.Size {
		err = ErrChanged
	}
	if err == nil {
		err = out.SetModTime(info.ModTime)
	}
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := s.fs.RenameNew(tmp, dst); err != nil {
		return err
	}
	if err := s.syncDirs(path.Dir(dst)); err != nil {
		return err
	}
	return s.fs.Remove(src)
}

// Move moves the message to another folder, under the same base name unless that is taken there. A
// keyword that has no letter there is lost; the Entry tells. Durable after Flush.
func (s *Store) Move(f mail.FolderName, base string, to mail.FolderName) (Entry, error) {
	if err := s.writable(); err != nil {
		return Entry{}, err
	}
	target, err := s.locate(to)
	if err != nil {
		return Entry{}, err
	}
	if _, err := s.stamp(target); err != nil {
		return Entry{}, fmt.Errorf("moving %s from %s to %s: %w", base, f, to, err)
	}
	var out Entry
	err = s.onFile(f, base, func(d folderDir, e Entry) error {
		var err error
		out, err = s.move(d, e, target)
		return err
	})
	if err != nil {
		return Entry{}, fmt.Errorf("moving %s from %s to %s: %w", base, f, to, err)
	}
	return out, nil
}

func (s *Store) move(d folderDir, e Entry, to folderDir) (Entry, error) {
	if d.path == to.path {
		_, err := s.fs.Stat(d.file(e))
		return e, err
	}
	n := parseFileName(e.File)
	letters, flags, err := s.translate(d, n.letters, to)
	if err != nil {
		return Entry{}, err
	}
	n.letters = letters
	if s.taken(to, n.base) {
		if n.base, err = s.names.base(); err != nil {
			return Entry{}, err
		}
	}
	for {
		out := Entry{Base: n.base, Flags: flags, New: e.New, File: n.String()}
		err := s.rename(d, e, to, out)
		if !errors.Is(err, fs.ErrExist) {
			return out, err
		}
		if n.base, err = s.names.base(); err != nil {
			return Entry{}, err
		}
	}
}

// translate spells the letters of a file in one folder for another. Letters that neither folder knows stay; one
// that only the destination knows goes, or the message would gain a keyword that it never had.
func (s *Store) translate(from folderDir, letters string, to folderDir) (string, mail.Flags, error) {
	set := keywordLetters(letters)
	if set == 0 {
		return letters, mail.SystemFlags(systemFlags(letters)), nil
	}
	src, err := s.keywords.load(from)
	if err != nil {
		return "", mail.Flags{}, err
	}
	return s.respell(src, letters, to)
}

// Translate spells the letters of a message that somebody moved here from another folder, under its name, as this folder does, and reports whether
// there was something to do. flags are those that it had there: if its letters mean others there, somebody has spelled them anew. Durable after Flush.
func (s *Store) Translate(f mail.FolderName, base string, from mail.FolderName, flags mail.Flags) (Entry, bool, error) {
	if err := s.writable(); err != nil {
		return Entry{}, false, err
	}
	done := false
	var out Entry
	src, err := s.locate(from)
	if err == nil {
		err = s.onFile(f, base, func(d folderDir, e Entry) error {
			out, err = s.respelled(src, d, e, flags)
			if done = err == nil && out.File != e.File; done {
				err = s.rename(d, e, d, out)
			}
			return err
		})
	}
	if err != nil {
		return Entry{}, false, fmt.Errorf("translating the keywords of %s in %s, which came from %s: %w", base, f, from, err)
	}
	return out, done, nil
}

func (s *Store) respelled(from, d folderDir, e Entry, flags mail.Flags) (Entry, error) {
	src, err := s.keywords.load(from)
	n := parseFileName(e.File)
	if err != nil || !carries(src, n.letters, flags) {
		return e, err
	}
	if n.letters, e.Flags, err = s.respell(src, n.letters, d); err != nil {
		return e, err
	}
	return Entry{Base: e.Base, Flags: e.Flags, New: e.New, File: n.String()}, nil
}

// carries reports whether letters, read as a folder does, are the keywords among flags.
func carries(src *keywords, letters string, flags mail.Flags) bool {
	return src.flags(letters).KeywordsOnly().Equal(flags.KeywordsOnly())
}

// Carries reports whether Translate would find the keywords of flags in the name of the message. It changes nothing.
func (s *Store) Carries(f mail.FolderName, base string, from mail.FolderName, flags mail.Flags) (bool, error) {
	src, err := s.locate(from)
	if err != nil {
		return false, err
	}
	k, err := s.keywords.load(src)
	if err != nil {
		return false, err
	}
	does := false
	err = s.onFile(f, base, func(_ folderDir, e Entry) error {
		does = carries(k, parseFileName(e.File).letters, flags)
		return nil
	})
	return does, err
}

// respell is translate for letters that have the meaning that src gives them.
func (s *Store) respell(src *keywords, letters string, to folderDir) (string, mail.Flags, error) {
	set := keywordLetters(letters)
	if set == 0 {
		return letters, mail.SystemFlags(systemFlags(letters)), nil
	}
	flags := src.flags(letters)
	add, dst, err := s.lettersFor(to, flags)
	if err != nil {
		return "", mail.Flags{}, err
	}
	var drop strings.Builder
	for i := range maxLetters {
		if set.has(i) && (src.names[i] != "" || dst.listed.has(i)) {
			drop.WriteByte('a' + byte(i))
		}
	}
	letters = withLetters(letters, add, drop.String())
	return letters, dst.flags(letters), nil
}

// taken reports whether the folder surely has the base name already. It reads the folder only when asked again and
// again: the rename itself refuses equal names, and Scan tells apart what slips through.
func (s *Store) taken(d folderDir, base string) bool {
	l := s.listings.get(d.name)
	if l == nil && s.listings.miss(d.name) > maxGuesses {
		// If it can't be read the rename will say so.
		if _, err := s.scan(context.Background(), d, nil); err == nil {
			l = s.listings.get(d.name)
		}
	}
	if l != nil {
		_, v := l.find(base)
		return v != absent
	}
	_, err := s.guess(d, base, Entry{})
	return err == nil
}

// Remove removes the message, into keep if that is not nil. Durable after Flush.
func (s *Store) Remove(f mail.FolderName, base string, keep *Undo) error {
	if err := s.writable(); err != nil {
		return err
	}
	var dir string
	if keep != nil {
		var err error
		if dir, err = s.undoDir(f, keep); err != nil {
			return err
		}
	}
	if err := s.onFile(f, base, func(d folderDir, e Entry) error { return s.remove(d, e, dir) }); err != nil {
		return fmt.Errorf("removing %s from %s: %w", base, f, err)
	}
	return nil
}

// remove removes a file, into the directory keep if that is not empty.
func (s *Store) remove(d folderDir, e Entry, keep string) error {
	file := d.file(e)
	if keep == "" {
		if err := s.fs.Remove(file); err != nil {
			return err
		}
	} else if err := s.moveAside(d, e, keep); err != nil {
		return err
	}
	s.touched.lose(path.Dir(file))
	s.listings.set(d.name, e.Base, nil)
	return s.dropSpares(d, e.Base, "")
}
