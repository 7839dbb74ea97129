package maildir

import (
	"errors"
	"hash/maphash"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"
)

// look is what was seen of a directory, or of dovecot-keywords, that is polled.
type look struct {
	there   bool
	dev     uint64
	inode   uint64
	modTime time.Time
	size    int64

	seen time.Time // when it was found to be so, zero if that was so for long
	// racy: a change may follow that leaves all this as it is. It shows in the print.
	racy  bool
	print uint64 // of what is in it; 0 if it was not looked at
}

// aspect is what counts of something that is polled.
type aspect struct {
	print func(name string) uint64
	// only the print counts: a directory's time also tells of what is none of ours.
	only bool
}

// recent: a time not farther back may be of just now, by another machine's clock.
const recent = time.Minute

// polls reports whether there is anything to poll.
func (s *session) polls() bool {
	for _, p := range s.places {
		if p.polled {
			return true
		}
	}
	return false
}

// poll looks at all that is polled, and tells what changed.
func (s *session) poll() {
	if !s.polls() {
		return
	}
	shape := false
	// In order, so that what lies in one directory is looked at while that is held open.
	for _, name := range slices.Sorted(maps.Keys(s.places)) {
		p := s.places[name]
		if !p.polled {
			continue
		}
		var changed bool
		before := p.dir
		p.dir, changed = s.again(name, before, s.aspect(p))
		if p.messages {
			shape = shape || !p.dir.is(before)
			if changed {
				s.e.tell(p.folder)
			}
			continue
		}
		if shape = shape || changed; p.folder == "" {
			continue
		}
		if p.keywords, changed = s.again(path.Join(name, keywordsFile), p.keywords, s.keywordsAspect()); changed {
			s.e.tell(p.folder)
		}
	}
	if shape {
		s.e.lookAgain(false)
	}
}

// baseline takes the first look at a place.
func (s *session) baseline(name string, p *place) {
	p.dir = s.first(name, s.aspect(p))
	if p.folder != "" && !p.messages {
		p.keywords = s.first(path.Join(name, keywordsFile), s.keywordsAspect())
	}
}

func (s *session) aspect(p *place) aspect {
	if p.messages {
		return aspect{print: s.namesPrint}
	}
	return aspect{print: s.dirsPrint, only: true}
}

func (s *session) keywordsAspect() aspect { return aspect{print: s.contentPrint} }

func (s *session) first(name string, a aspect) look {
	at := time.Now()
	now := s.stat(name)
	if now.modTime.After(at.Add(-recent)) {
		now.seen = time.Now()
	}
	if now.racy = now.isRacy(at); now.racy || a.only {
		now.print = a.print(name)
	}
	return now
}

// again looks once more, and reports whether there was a change.
func (s *session) again(name string, last look, a aspect) (look, bool) {
	at := time.Now()
	now := s.stat(name)
	same := now.is(last) && now.modTime.Equal(last.modTime) && now.size == last.size
	if same && !last.racy {
		return last, false
	}
	if now.seen = last.seen; !same {
		now.seen = time.Now()
	}
	if now.racy = now.isRacy(at); now.racy || last.racy || a.only {
		now.print = a.print(name)
	}
	if same || a.only && now.is(last) {
		return now, now.print != last.print
	}
	return now, true
}

// is reports whether both are of one directory or file.
func (l look) is(m look) bool { return l.there == m.there && l.dev == m.dev && l.inode == m.inode }

// isRacy reports whether the time that was read after at could be that of a later change too.
func (l look) isRacy(at time.Time) bool {
	window := fineWindow
	if l.modTime.Nanosecond() == 0 {
		window = racyWindow
	}
	return l.there && at.Sub(l.seen) <= window
}

func (s *session) stat(name string) look {
	info, err := s.fs.Stat(name)
	if err != nil {
		return look{there: !errors.Is(err, fs.ErrNotExist)}
	}
	return look{there: true, dev: info.Dev, inode: info.Inode, modTime: info.ModTime, size: info.Size}
}

// What can't be read has the print 0: it gets another one when it can be.

// namesPrint is of all names in a directory, whatever their order.
func (s *session) namesPrint(dir string) (print uint64) {
	if s.fs.Names(dir, func(name string, _ fs.FileMode) bool {
		print += maphash.String(s.seed, name)
		return true
	}) != nil {
		return 0
	}
	return print
}

// dirsPrint is of the directories and links in a directory.
func (s *session) dirsPrint(dir string) (print uint64) {
	if s.fs.List(dir, func(name string, mode fs.FileMode) bool {
		if mode.IsDir() || mode&fs.ModeSymlink != 0 {
			print += maphash.String(s.seed, name+"/"+mode.Type().String())
		}
		return true
	}) != nil {
		return 0
	}
	return print
}

// contentPrint is of what a small file holds.
func (s *session) contentPrint(name string) uint64 {
	f, err := s.fs.Open(name)
	if err != nil {
		return 0
	}
	defer f.Close()
	var h maphash.Hash
	h.SetSeed(s.seed)
	if _, err := io.Copy(&h, io.LimitReader(f, maxKeywordsFile)); err != nil {
		return 0
	}
	return h.Sum64()
}
