package maildir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Mark is a short proof that a folder did not change: device, inode, mtime and ctime of new, cur, the
// folder, the directories above it and dovecot-keywords. Two equal marks mean that nothing changed
// between them, provided that the first was not Racy. Of the root itself only
// device and inode count, because the state database lies in it.
type Mark struct {
	// Racy: a change may follow that leaves the mark as it is, because by the file system's own clock the last one was
	// just now, or because the file system is not local. Such a mark must not be kept.
	Racy bool
	data string
}

// Equal reports whether both marks tell of the same state.
func (m Mark) Equal(n Mark) bool { return m.data == n.data }

// IsZero reports whether m is no mark at all.
func (m Mark) IsZero() bool { return m.data == "" }

// MarshalBinary returns the bytes to keep. Racy is not among them.
func (m Mark) MarshalBinary() ([]byte, error) { return []byte(m.data), nil }

// UnmarshalBinary takes back what MarshalBinary gave; other bytes make a mark that equals none.
func (m *Mark) UnmarshalBinary(data []byte) error {
	*m = Mark{data: string(data)}
	return nil
}

// A directory's time tells of every change that is later than it by more than the step in which the file system
// keeps times.
const (
	// fineWindow is longer than the tick by which kernels stamp files (at most 10 ms).
	fineWindow = 12 * time.Millisecond
	// racyWindow is longer than the coarsest directory times there are (FAT: two seconds).
	racyWindow = 2 * time.Second
)

// Mark returns the folder's mark as of now. ErrNoFolder if there is no such folder.
func (s *Store) Mark(f mail.FolderName) (Mark, error) {
	d, err := s.locate(f)
	if err != nil {
		return Mark{}, err
	}
	st, err := s.stamp(d)
	if err != nil {
		return Mark{}, err
	}
	return s.mark(st)
}

func (s *Store) mark(st stamp) (Mark, error) {
	m := Mark{data: st.data, Racy: true}
	if !s.Local() {
		return m, nil
	}
	if s.exact(st) {
		m.Racy = false
		return m, nil
	}
	age, err := s.clock.since(st.youngest, st.window())
	m.Racy = age <= st.window()
	return m, err
}

// stamp is a folder's mark with what is needed to judge it.
type stamp struct {
	data     string
	around   string // data but for the times of new and cur
	inode    uint64 // of the folder
	youngest time.Time
	coarse   bool // a directory's times have no fraction of a second: its file system may not keep any
	foreign  bool // not all of it is on the root's file system
	missing  bool // new or cur is missing
}

func (st stamp) window() time.Duration {
	if st.coarse {
		return racyWindow
	}
	return fineWindow
}

// markVersion begins every mark: a later version that looks at more must not believe older marks.
const markVersion = 1

// stamp looks at the directories. ErrNoFolder if none of cur, new and tmp exists; ErrNotRegular if
// something on the way is no real directory.
func (s *Store) stamp(d folderDir) (stamp, error) {
	var st stamp
	data := []byte{markVersion}
	data = binary.BigEndian.AppendUint64(data, s.rootInfo.Dev)
	data = binary.BigEndian.AppendUint64(data, s.rootInfo.Inode)
	st.inode = s.rootInfo.Inode

	var around []byte
	add := func(name string, dir, timed bool) (bool, error) {
		info, err := s.fs.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			data = append(data, 0)
			around = append(around, 0)
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if dir && !info.Mode.IsDir() {
			return false, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%w: not a real directory", ErrNotRegular)}
		}
		start := len(data)
		data = append(data, 1)
		data = binary.BigEndian.AppendUint64(data, info.Dev)
		data = binary.BigEndian.AppendUint64(data, info.Inode)
		if !timed {
			around = append(around, data[start:]...)
		}
		data = binary.BigEndian.AppendUint64(data, uint64(info.ModTime.UnixNano()))
		data = binary.BigEndian.AppendUint64(data, uint64(info.CTime.UnixNano()))
		if timed {
			around = append(around, data[start:]...)
		}
		st.see(info)
		st.foreign = st.foreign || info.Dev != s.rootInfo.Dev
		return true, nil
	}
	if d.path != "." {
		for i := range len(d.path) + 1 {
			if i < len(d.path) && d.path[i] != '/' {
				continue
			}
			if ok, err := add(d.path[:i], true, true); err != nil {
				return stamp{}, err
			} else if !ok {
				return stamp{}, fmt.Errorf("%s: %w", d.name, ErrNoFolder)
			}
		}
	}
	inode := st.inode
	hasNew, err := add(d.sub(newDir), true, false)
	if err != nil {
		return stamp{}, err
	}
	hasCur, err := add(d.sub(curDir), true, false)
	if err != nil {
		return stamp{}, err
	}
	if _, err := add(d.sub(keywordsFile), false, true); err != nil {
		return stamp{}, err
	}
	st.inode, st.missing = inode, !hasNew || !hasCur
	if !hasNew && !hasCur {
		info, err := s.fs.Stat(d.sub(tmpDir))
		if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.Mode.IsDir()) {
			return stamp{}, fmt.Errorf("%s: %w", d.name, ErrNoFolder)
		}
		if err != nil {
			return stamp{}, err
		}
	}
	st.data, st.around = string(data), string(around)
	return st, nil
}

// see takes in the times of a directory or file, and its inode.
func (st *stamp) see(info FileInfo) {
	fraction := false
	for _, t := range [...]time.Time{info.ModTime, info.CTime} {
		if t.After(st.youngest) {
			st.youngest = t
		}
		fraction = fraction || t.Nanosecond() != 0
	}
	st.coarse = st.coarse || !fraction
	st.inode = info.Inode
}

// settled reports whether every change after the stamp was taken would show in a second stamp, and
// else for how long that will not be so.
func (s *Store) settled(st stamp) (bool, time.Duration, error) {
	if s.exact(st) {
		return true, 0, nil
	}
	window := st.window()
	age, err := s.clock.since(st.youngest, window)
	if err != nil {
		return false, 0, err
	}
	// A time in the future is as good: the next change will bring it back to the present.
	if age > window || age < -window {
		return true, 0, nil
	}
	return false, window - max(age, 0) + time.Millisecond, nil
}

// exact reports whether every change after the stamp was taken shows, whenever it was.
func (s *Store) exact(st stamp) bool { return s.fs.Kind().Exact && !st.foreign && !st.coarse }

// repair makes what is missing of cur, new and tmp in a folder that exists.
func (s *Store) repair(d folderDir) error {
	if _, err := s.stamp(d); err != nil {
		return err
	}
	for _, sub := range subdirs {
		if err := s.fs.Mkdir(d.sub(sub), 0o700); err == nil {
			s.touched.gain(d.path)
		} else if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// dir is the path of the directory that a message file lies in.
func (d folderDir) dir(e Entry) string {
	if e.New {
		return d.sub(newDir)
	}
	return d.sub(curDir)
}

// file is the path of a message file below the root.
func (d folderDir) file(e Entry) string {
	sub := "/" + curDir + "/"
	if e.New {
		sub = "/" + newDir + "/"
	}
	if d.path == "." {
		return sub[1:] + e.File
	}
	return d.path + sub + e.File
}

// where is how messages for people name a folder's file.
func where(d folderDir, base string) string {
	return strings.TrimPrefix(path.Join(string(d.name), base), "./")
}
