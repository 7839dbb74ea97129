package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Batch is a set of deliveries that become durable together: Add and write each, Sync, commit the
// intents to the state, Commit. Whatever fails: Abort.
type Batch struct {
	s          *Store
	deliveries []*Delivery // nil: aborted
	folders    map[mail.FolderName]*batchFolder
	// points are taken before anything is written, one for each file system. nil: it has none.
	points  map[uint64]SyncPoint
	waiting []*Delivery // written, and open until they are durable; fewer than maxOpen
	synced  bool
	failed  error // what made the batch unusable
}

// batchFolder is a folder that was seen to exist, without links on the way.
type batchFolder struct {
	dir           folderDir
	new, cur, tmp string // paths below the root
	sep           byte   // before the info, 0: not needed yet
	dev           uint64 // that tmp is on
	hasDev        bool
}

// maxOpen is how many written files wait open for an fsync each; more become durable by one
// sync of the whole file system.
const maxOpen = 16

// NewBatch begins a batch. While one is made durable and committed, another one may already be written.
func (s *Store) NewBatch() *Batch {
	return &Batch{s: s, points: map[uint64]SyncPoint{}, folders: map[mail.FolderName]*batchFolder{}}
}

// Add begins a delivery into an existing folder. date is the INTERNALDATE, which the file's
// modification time is set from.
func (b *Batch) Add(f mail.FolderName, flags mail.Flags, date time.Time) (*Delivery, error) {
	if err := b.s.writable(); err != nil {
		return nil, err
	}
	if b.failed != nil {
		return nil, b.failed
	}
	d, err := b.add(f, flags, date)
	if err != nil {
		return nil, fmt.Errorf("delivering to %s: %w", f, err)
	}
	d.index = len(b.deliveries)
	b.deliveries = append(b.deliveries, d)
	b.synced = false
	return d, nil
}

func (b *Batch) add(f mail.FolderName, flags mail.Flags, date time.Time) (*Delivery, error) {
	folder, err := b.folder(f)
	if err != nil {
		return nil, err
	}
	base, err := b.s.names.base()
	if err != nil {
		return nil, err
	}
	d := &Delivery{Base: base, batch: b, folder: folder, date: date, lf: true, tmp: folder.tmp + "/" + ownPrefix + base}
	if d.file, err = b.s.fs.Create(d.tmp, 0o600); errors.Is(err, fs.ErrNotExist) {
		if err := b.s.repair(folder.dir); err != nil {
			return nil, err
		}
		d.file, err = b.s.fs.Create(d.tmp, 0o600)
	}
	if err != nil {
		return nil, err
	}
	d.scratch = b.s.takeScratch()
	if err := d.prepare(flags); err != nil {
		return nil, errors.Join(err, d.discard())
	}
	return d, nil
}

func (b *Batch) folder(f mail.FolderName) (*batchFolder, error) {
	if folder := b.folders[f]; folder != nil {
		return folder, nil
	}
	dir, err := b.s.locate(f)
	if err != nil {
		return nil, err
	}
	if _, err := b.s.stamp(dir); err != nil {
		return nil, err
	}
	b.folders[f] = &batchFolder{dir: dir, new: dir.sub(newDir), cur: dir.sub(curDir), tmp: dir.sub(tmpDir)}
	return b.folders[f], nil
}

// prepare decides the final name, and takes the file system's sync point before anything is written.
func (d *Delivery) prepare(flags mail.Flags) error {
	s, folder := d.batch.s, d.folder
	d.entry = Entry{Base: d.Base, New: true, File: d.Base}
	if !flags.IsZero() {
		letters, kept, err := s.spell(folder.dir, flags)
		if err != nil {
			return err
		}
		if folder.sep == 0 {
			if folder.sep, err = s.separator(folder.dir); err != nil {
				return err
			}
		}
		n := fileName{base: d.Base, sep: folder.sep, letters: letters}
		d.entry = Entry{Base: d.Base, Flags: kept, File: n.String()}
	}
	if folder.hasDev {
		return nil
	}
	info, err := d.file.Stat()
	if err != nil {
		return err
	}
	if _, known := d.batch.points[info.Dev]; !known {
		point, err := s.fs.SyncPoint(folder.tmp)
		if err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		d.batch.points[info.Dev] = point
	}
	folder.dev, folder.hasDev = info.Dev, true
	return nil
}

// written takes in a delivery whose bytes are all written, to the file system dev.
func (b *Batch) written(d *Delivery, dev uint64) error {
	// Somebody may have put tmp elsewhere meanwhile, for which no sync point was taken.
	if b.points[d.folder.dev] == nil || dev != d.folder.dev {
		if err := d.sync(); err != nil {
			b.failed = err
			return err
		}
		return nil
	}
	if b.waiting = append(b.waiting, d); len(b.waiting) < maxOpen {
		return nil
	}
	for _, d := range b.waiting {
		// One that was aborted is closed.
		if err := d.closeFile(); err != nil {
			b.failed = err
			return err
		}
		d.byPoint = true
	}
	b.waiting = b.waiting[:0]
	return nil
}

// Sync makes the data of all deliveries durable. After an error the whole batch must be
// aborted and everything in it fetched again.
func (b *Batch) Sync() error {
	if b.failed == nil {
		b.failed = b.sync()
	}
	b.synced = b.failed == nil
	return b.failed
}

func (b *Batch) sync() error {
	whole := map[uint64]bool{}
	for _, d := range b.deliveries {
		switch {
		case d == nil || d.committed:
		case !d.done:
			return fmt.Errorf("delivering to %s: a message is not written to its end", d.folder.dir.name)
		case d.byPoint:
			whole[d.folder.dev] = true
		}
	}
	err := b.s.atOnce(len(b.waiting), func(i int) error {
		d := b.waiting[i]
		if d.file == nil || whole[d.folder.dev] {
			return nil
		}
		return d.sync()
	})
	if err != nil {
		return err
	}
	for dev := range whole {
		if err := b.points[dev].Sync(); err != nil {
			return fmt.Errorf("making new messages durable: %w", err)
		}
	}
	for _, d := range b.waiting {
		if err := d.closeFile(); err != nil {
			return err
		}
	}
	b.waiting = nil
	return nil
}

// Commit gives all messages their final names, and makes those durable. After an error some may
// have theirs (the state's intents tell), the others are removed by Abort.
func (b *Batch) Commit() error {
	if b.failed != nil {
		return b.failed
	}
	if !b.synced {
		return errors.New("delivering: the batch was not made durable first")
	}
	if err := b.commit(); err != nil {
		b.failed = err
		return err
	}
	return b.closePoints()
}

func (b *Batch) commit() error {
	var targets, tmps []string
	touched := map[string]bool{}
	touch := func(dirs *[]string, dir string) {
		if !touched[dir] {
			touched[dir] = true
			*dirs = append(*dirs, dir)
		}
	}
	for _, d := range b.deliveries {
		if d == nil || d.committed {
			continue
		}
		if err := d.commit(); err != nil {
			return fmt.Errorf("delivering to %s: %w", d.folder.dir.name, err)
		}
		touch(&targets, d.target())
		touch(&tmps, d.folder.tmp)
	}
	if err := b.s.syncDirsAtOnce(targets); err != nil {
		return err
	}
	// tmp too, afterwards: else a file could be back there after a power loss, besides its final name.
	return b.s.syncDirsAtOnce(tmps)
}

// target is the directory that the message will lie in.
func (d *Delivery) target() string {
	if d.entry.New {
		return d.folder.new
	}
	return d.folder.cur
}

func (d *Delivery) commit() error {
	s := d.batch.s
	to := d.target() + "/" + d.entry.File
	err := s.fs.RenameNew(d.tmp, to)
	if errors.Is(err, fs.ErrNotExist) {
		if repairErr := s.repair(d.folder.dir); repairErr != nil {
			return repairErr
		}
		err = s.fs.RenameNew(d.tmp, to)
	}
	if err != nil {
		return err
	}
	d.committed = true
	s.listings.arrived(d.folder.dir.name, &d.entry)
	return nil
}

// Abort removes what was not committed. It may follow Commit, and then does nothing.
func (b *Batch) Abort() error {
	var err error
	for _, d := range b.deliveries {
		if d != nil && !d.committed {
			err = errors.Join(err, d.discard())
		}
	}
	b.deliveries, b.waiting, b.synced = nil, nil, false
	if b.failed == nil {
		b.failed = errors.New("delivering: the batch was aborted")
	}
	return errors.Join(err, b.closePoints())
}

func (b *Batch) closePoints() error {
	var err error
	for dev, p := range b.points {
		if p != nil {
			err = errors.Join(err, p.Close())
		}
		delete(b.points, dev)
	}
	return err
}
