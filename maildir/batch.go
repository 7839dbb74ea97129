package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Batch is a set of deliveries that become durable together: Add and write each, Sync, commit the
// intents to the state, Commit. Whatever fails: Abort.
type Batch struct {
	s          *Store
	deliveries []*Delivery
	// points are taken before anything is written, one for each file system. nil: it has none.
	points map[uint64]SyncPoint
	// looked: folders that were seen to exist, without links on the way.
	looked map[mail.FolderName]bool
	open   int    // files written and waiting open
	spare  []byte // write buffer that no delivery uses
	synced bool
	failed error // what made the batch unusable
}

// maxOpen is how many written files wait open for an fsync each; more become durable by one
// sync of the whole file system.
const maxOpen = 16

// NewBatch begins a batch.
func (s *Store) NewBatch() *Batch {
	return &Batch{s: s, points: map[uint64]SyncPoint{}, looked: map[mail.FolderName]bool{}}
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
	b.deliveries = append(b.deliveries, d)
	b.synced = false
	return d, nil
}

func (b *Batch) add(f mail.FolderName, flags mail.Flags, date time.Time) (*Delivery, error) {
	dir, err := b.s.locate(f)
	if err != nil {
		return nil, err
	}
	if !b.looked[f] {
		if _, err := b.s.stamp(dir); err != nil {
			return nil, err
		}
		b.looked[f] = true
	}
	base, err := b.s.names.base()
	if err != nil {
		return nil, err
	}
	d := &Delivery{Base: base, batch: b, dir: dir, date: date, survey: mail.NewSurveyor(), lf: true}
	d.tmp = dir.sub(path.Join(tmpDir, ownPrefix+base))
	if d.file, err = b.s.fs.Create(d.tmp, 0o600); errors.Is(err, fs.ErrNotExist) {
		if err := b.s.repair(dir); err != nil {
			return nil, err
		}
		d.file, err = b.s.fs.Create(d.tmp, 0o600)
	}
	if err != nil {
		return nil, err
	}
	if err := d.prepare(flags); err != nil {
		return nil, errors.Join(err, d.discard())
	}
	return d, nil
}

// prepare decides the final name, and takes the file system's sync point before anything is written.
func (d *Delivery) prepare(flags mail.Flags) error {
	s := d.batch.s
	letters, err := s.lettersFor(d.dir, flags)
	if err != nil {
		return err
	}
	n := fileName{base: d.Base}
	if !flags.IsZero() {
		if n.sep, err = s.separator(d.dir); err != nil {
			return err
		}
		n.letters = withLetters("", letters, "")
	}
	k, err := s.keywords.load(d.dir)
	if err != nil {
		return err
	}
	d.entry = Entry{Base: d.Base, Flags: k.flags(n.letters), New: flags.IsZero(), File: n.String()}
	info, err := d.file.Stat()
	if err != nil {
		return err
	}
	d.dev = info.Dev
	if _, known := d.batch.points[d.dev]; known {
		return nil
	}
	point, err := s.fs.SyncPoint(d.dir.sub(tmpDir))
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	d.batch.points[d.dev] = point
	return nil
}

// written takes in a delivery whose bytes are all written.
func (b *Batch) written(d *Delivery) error {
	if b.points[d.dev] == nil {
		if err := d.sync(); err != nil {
			b.failed = err
			return err
		}
		return nil
	}
	if b.open++; b.open < maxOpen {
		return nil
	}
	b.open = 0
	for _, other := range b.deliveries {
		if other.done && other.file != nil {
			if err := other.closeFile(); err != nil {
				b.failed = err
				return err
			}
			other.byPoint = true
		}
	}
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
		if !d.done {
			return fmt.Errorf("delivering to %s: a message is not written to its end", d.dir.name)
		}
		if d.byPoint {
			whole[d.dev] = true
		}
	}
	for _, d := range b.deliveries {
		if d.file == nil || whole[d.dev] {
			continue
		}
		if err := d.sync(); err != nil {
			return err
		}
	}
	for dev := range whole {
		if err := b.points[dev].Sync(); err != nil {
			return fmt.Errorf("making new messages durable: %w", err)
		}
	}
	for _, d := range b.deliveries {
		if err := d.closeFile(); err != nil {
			return err
		}
	}
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
	var dirs []string
	for _, d := range b.deliveries {
		if d.committed {
			continue
		}
		if err := d.commit(); err != nil {
			return fmt.Errorf("delivering to %s: %w", d.dir.name, err)
		}
		// tmp too: else a file could be back there after a power loss, besides its final name.
		for _, dir := range []string{path.Dir(d.dir.file(d.entry)), d.dir.sub(tmpDir)} {
			if !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	return b.s.syncDirs(dirs...)
}

func (d *Delivery) commit() error {
	s := d.batch.s
	to := d.dir.file(d.entry)
	err := s.fs.RenameNew(d.tmp, to)
	if errors.Is(err, fs.ErrNotExist) {
		if repairErr := s.repair(d.dir); repairErr != nil {
			return repairErr
		}
		err = s.fs.RenameNew(d.tmp, to)
	}
	if err != nil {
		return err
	}
	d.committed = true
	e := d.entry
	s.listings.set(d.dir.name, d.Base, &e)
	return nil
}

// Abort removes what was not committed. It may follow Commit, and then does nothing.
func (b *Batch) Abort() error {
	var err error
	for _, d := range b.deliveries {
		if !d.committed {
			err = errors.Join(err, d.discard())
		}
	}
	b.deliveries, b.synced = nil, false
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
