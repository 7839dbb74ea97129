package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/satchel-mail/satchel/maildir"
)

// view implements maildir.FS.
type view struct {
	d       *Disk
	program bool
}

var _ maildir.FS = (*view)(nil)

// do is one step: the hook before, the act with the disk locked, the hook after.
func (v *view) do(op, name string, act func(*Disk) error) error {
	s := Step{Op: op, Name: name}
	if v.program {
		if err := v.d.ask(s); err != nil {
			return &fs.PathError{Op: op, Path: name, Err: err}
		}
	}
	v.d.mu.Lock()
	err := act(v.d)
	v.d.mu.Unlock()
	if s.After = true; v.program && err == nil {
		if err := v.d.ask(s); err != nil {
			return &fs.PathError{Op: op, Path: name, Err: err}
		}
	}
	return err
}

func missing(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist} }

func (v *view) Create(name string, perm fs.FileMode) (maildir.File, error) {
	var f *file
	err := v.do("create", name, func(d *Disk) error {
		dir, base, err := d.parent("create", name)
		if err != nil {
			return err
		}
		if d.nodes[dir].entries[base] != 0 {
			return &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
		}
		inode, n := d.add(place{dir, base}, false, perm)
		f = &file{v: v, name: name, inode: inode, n: n}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (v *view) Open(name string) (maildir.File, error) {
	var f *file
	err := v.do("open", name, func(d *Disk) error {
		inode, n := d.find(name)
		if n == nil {
			return missing("open", name)
		}
		switch {
		case !n.mode.IsRegular() || n.dir:
			return &fs.PathError{Op: "open", Path: name, Err: maildir.ErrNotRegular}
		case v.program && n.mode&0o400 == 0:
			return &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
		}
		f = &file{v: v, name: name, inode: inode, n: n}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (v *view) Stat(name string) (info maildir.FileInfo, err error) {
	err = v.do("stat", name, func(d *Disk) error {
		inode, n := d.find(name)
		if n == nil {
			return missing("stat", name)
		}
		info = d.info(n, inode)
		return nil
	})
	return info, err
}

func (d *Disk) info(n *node, inode uint64) maildir.FileInfo {
	mode := n.mode
	if n.dir {
		mode |= fs.ModeDir
	}
	return maildir.FileInfo{Mode: mode, Size: int64(len(n.data)), ModTime: time.Unix(0, n.mtime), CTime: time.Unix(0, n.ctime), Dev: 1, Inode: inode,
		Links: d.links(inode)}
}

// links is how many names a file has.
func (d *Disk) links(inode uint64) uint64 {
	if !d.byLink {
		return 1
	}
	var links uint64
	for _, dir := range d.nodes {
		for _, child := range dir.entries {
			if child == inode {
				links++
			}
		}
	}
	return links
}

func (v *view) List(dir string, each func(string, fs.FileMode) bool) error {
	type entry struct {
		name string
		mode fs.FileMode
	}
	var all []entry
	err := v.do("list", dir, func(d *Disk) error {
		_, n := d.find(dir)
		if n == nil || !n.dir {
			return missing("list", dir)
		}
		for _, name := range slices.Sorted(maps.Keys(n.entries)) {
			child := d.nodes[n.entries[name]]
			e := entry{name, child.mode.Type()}
			if child.dir {
				e.mode = fs.ModeDir
			}
			all = append(all, e)
		}
		return nil
	})
	for _, e := range all {
		if err == nil && !each(e.name, e.mode) {
			break
		}
	}
	return err
}

func (v *view) Names(dir string, each func(string, fs.FileMode) bool) error { return v.List(dir, each) }

func (v *view) Mkdir(name string, perm fs.FileMode) error {
	return v.do("mkdir", name, func(d *Disk) error {
		dir, base, err := d.parent("mkdir", name)
		if err != nil {
			return err
		}
		if d.nodes[dir].entries[base] != 0 {
			return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
		}
		d.add(place{dir, base}, true, perm)
		return nil
	})
}

func (v *view) Rename(from, to string) error { return v.rename(from, to, true) }

func (v *view) RenameNew(from, to string) error {
	if !v.d.byLink || !v.program {
		return v.rename(from, to, false)
	}
	isFile := false
	err := v.do("link", from+" -> "+to, func(d *Disk) error {
		inode, n := d.find(from)
		if n == nil {
			return missing("link", from)
		}
		if isFile = !n.dir; !isFile {
			return nil
		}
		dir, base, err := d.parent("link", to)
		if err != nil {
			return err
		}
		if d.nodes[dir].entries[base] != 0 {
			return &fs.PathError{Op: "link", Path: to, Err: fs.ErrExist}
		}
		d.apply(change{inode: inode, to: place{dir, base}})
		return nil
	})
	switch {
	case err != nil:
		return err
	case isFile:
		return v.Remove(from)
	}
	return v.rename(from, to, false)
}

func (v *view) rename(from, to string, replace bool) error {
	return v.do("rename", from+" -> "+to, func(d *Disk) error {
		src, srcBase, err := d.parent("rename", from)
		if err != nil {
			return err
		}
		inode := d.nodes[src].entries[srcBase]
		if inode == 0 {
			return missing("rename", from)
		}
		dst, dstBase, err := d.parent("rename", to)
		if err != nil {
			return err
		}
		if there := d.nodes[dst].entries[dstBase]; there != 0 {
			if !replace || d.nodes[there].dir {
				return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
			}
		}
		d.apply(change{inode: inode, from: place{src, srcBase}, to: place{dst, dstBase}})
		return nil
	})
}

func (v *view) Remove(name string) error {
	return v.do("remove", name, func(d *Disk) error {
		dir, base, err := d.parent("remove", name)
		if err != nil {
			return err
		}
		inode := d.nodes[dir].entries[base]
		switch {
		case inode == 0:
			return missing("remove", name)
		case len(d.nodes[inode].entries) > 0:
			return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
		}
		d.apply(change{inode: inode, from: place{dir, base}})
		return nil
	})
}

func (v *view) Touch(name string) (now time.Time, err error) {
	err = v.do("touch", name, func(d *Disk) error {
		_, n := d.find(name)
		if n == nil {
			dir, base, err := d.parent("touch", name)
			if err != nil {
				return err
			}
			_, n = d.add(place{dir, base}, false, 0o600)
		}
		n.mtime = d.tick()
		n.ctime, now = n.mtime, time.Unix(0, n.mtime)
		return nil
	})
	return now, err
}

func (v *view) SyncDir(dir string) error {
	return v.do("syncdir", dir, func(d *Disk) error {
		inode, n := d.find(dir)
		if n == nil || !n.dir {
			return missing("sync", dir)
		}
		d.syncDir(inode)
		return nil
	})
}

func (v *view) SyncPoint(string) (maildir.SyncPoint, error) { return syncPoint{v}, nil }

// syncPoint is of the data alone: that syncfs writes names too is not relied on.
type syncPoint struct{ v *view }

func (p syncPoint) Sync() error {
	err := p.v.do("syncall", ".", func(d *Disk) error {
		for _, n := range d.nodes {
			n.sync()
		}
		return nil
	})
	if errors.Is(err, ErrSync) {
		p.v.d.mu.Lock()
		defer p.v.d.mu.Unlock()
		for _, n := range p.v.d.nodes {
			n.lost = n.lost || n.dirty
		}
	}
	return err
}

func (p syncPoint) Close() error { return nil }

func (n *node) sync() {
	if !n.dir && n.dirty && !n.lost {
		n.synced, n.dirty = slices.Clone(n.data), false
	}
}

func (v *view) Watch() (maildir.Watch, error) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	w := &watch{d: v.d, dirs: map[uint64]string{}}
	v.d.watches = append(v.d.watches, w)
	return w, nil
}

func (v *view) Lock(name string) (io.Closer, error) {
	err := v.do("lock", name, func(d *Disk) error {
		if d.locked[name] {
			return &maildir.LockedError{}
		}
		d.locked[name] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return lock{v.d, name}, nil
}

type lock struct {
	d    *Disk
	name string
}

func (l lock) Close() error {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	delete(l.d.locked, l.name)
	return nil
}

func (*view) Kind() maildir.Kind { return maildir.Kind{Name: "simulated", Local: true, Exact: true} }
func (*view) Close() error       { return nil }

// file implements maildir.File.
type file struct {
	v      *view
	name   string
	inode  uint64
	n      *node
	offset int64
}

func (f *file) Read(p []byte) (n int, err error) {
	n, err = f.read(p, f.offset)
	if errors.Is(err, ErrShort) {
		f.v.d.mu.Lock()
		left := max(0, int64(len(f.n.data))-f.offset)
		f.v.d.mu.Unlock()
		if left > 0 {
			p = p[:(min(left, int64(len(p)))+1)/2]
		}
		n, err = f.read(p, f.offset)
	}
	f.offset += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// ReadAt goes on after a short read, as package os does.
func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	if n, err = f.read(p, off); errors.Is(err, ErrShort) {
		return f.read(p, off)
	}
	return n, err
}

func (f *file) read(p []byte, off int64) (n int, err error) {
	err = f.v.do("read", f.name, func(*Disk) error {
		if off < int64(len(f.n.data)) {
			n = copy(p, f.n.data[off:])
		}
		if n < len(p) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.v.do("write", f.name, func(d *Disk) error {
		if grown := int(off) + len(p); grown > len(f.n.data) {
			f.n.data = append(f.n.data, make([]byte, grown-len(f.n.data))...)
		}
		n = copy(f.n.data[off:], p)
		f.n.dirty = true
		f.n.mtime = d.tick()
		f.n.ctime = f.n.mtime
		return nil
	})
	return n, err
}

func (f *file) Seek(offset int64, whence int) (int64, error) {
	f.v.d.mu.Lock()
	defer f.v.d.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += f.offset
	case io.SeekEnd:
		offset += int64(len(f.n.data))
	}
	if offset < 0 {
		return 0, fmt.Errorf("seeking in %s: %w", f.name, fs.ErrInvalid)
	}
	f.offset = offset
	return offset, nil
}

func (f *file) Sync() error {
	err := f.v.do("sync", f.name, func(*Disk) error { f.n.sync(); return nil })
	if errors.Is(err, ErrSync) {
		f.v.d.mu.Lock()
		f.n.lost = f.n.lost || f.n.dirty
		f.v.d.mu.Unlock()
	}
	return err
}

func (f *file) SetModTime(t time.Time) error {
	return f.v.do("times", f.name, func(d *Disk) error {
		f.n.mtime, f.n.ctime = t.UnixNano(), d.tick()
		return nil
	})
}

func (f *file) Stat() (info maildir.FileInfo, err error) {
	err = f.v.do("stat", f.name, func(d *Disk) error { info = d.info(f.n, f.inode); return nil })
	return info, err
}

func (*file) Close() error { return nil }

// String lists all files, for people.
func (d *Disk) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	var walk func(inode uint64, name string)
	walk = func(inode uint64, name string) {
		n := d.nodes[inode]
		for _, child := range slices.Sorted(maps.Keys(n.entries)) {
			c := d.nodes[n.entries[child]]
			if c.dir {
				walk(n.entries[child], name+child+"/")
			} else {
				fmt.Fprintf(&b, "%s%s (%d bytes)\n", name, child, len(c.data))
			}
		}
	}
	walk(d.root, "")
	return b.String()
}
