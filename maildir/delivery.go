package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Delivery is one message being written: an io.Writer that takes the server's bytes.
//
// On disk its lines end in LF, unless turning LF back into CRLF would not give the server's bytes
// again. That shows only when an LF without a CR or a CR before a CRLF comes along; then what was
// written is turned back in place. Memory does not depend on the message's size.
type Delivery struct {
	// Base is the base name that the message will have.
	Base string

	batch  *Batch
	index  int // among the batch's deliveries
	folder *batchFolder
	entry  Entry
	date   time.Time
	tmp    string

	file    File     // nil once it is closed
	scratch *scratch // nil once all bytes are written
	size    int64    // bytes in the file, without the buffer
	lf      bool     // lines end in LF so far

	done      bool // all bytes are written
	byPoint   bool // durable by the sync point
	committed bool
	err       error
}

const (
	// writeBuffer is the size up to which a message is written at once.
	writeBuffer = 64 << 10
	// writeBlock is how much is looked at before it is known whether it can lie on disk in LF form.
	writeBlock = 16 << 10
	readBuffer = 32 << 10
)

// scratch is what writing a message needs and the next one can use again.
type scratch struct {
	survey *mail.Surveyor
	buf    []byte // to be written; never longer than its capacity at the beginning
	in     []byte // for ReadFrom, nil until it is needed
}

func newScratch(survey *mail.Surveyor) *scratch {
	// One byte more: a CR held back before a block.
	return &scratch{survey: survey, buf: make([]byte, 0, writeBuffer+writeBlock+1)}
}

func (s *Store) takeScratch() *scratch {
	if w, ok := s.scratches.Get().(*scratch); ok {
		return w
	}
	return newScratch(s.surveyor())
}

func (s *Store) giveBack(w *scratch) {
	w.survey.Reset()
	w.buf = w.buf[:0]
	s.scratches.Put(w)
}

// Write takes the next bytes of the message, as they came over the wire.
func (d *Delivery) Write(p []byte) (int, error) {
	if d.err == nil && d.done {
		d.err = errors.New("the message is already complete")
	}
	if d.err != nil {
		return 0, d.err
	}
	for rest := p; len(rest) > 0; {
		block := rest[:min(len(rest), writeBlock)]
		rest = rest[len(block):]
		if err := d.write(block); err != nil {
			d.err = fmt.Errorf("writing a message to %s: %w", d.folder.dir.name, err)
			return 0, d.err
		}
	}
	return len(p), nil
}

// ReadFrom takes all bytes that r gives. io.Copy uses it, and makes no buffer then.
func (d *Delivery) ReadFrom(r io.Reader) (n int64, err error) {
	if d.scratch == nil {
		_, err := d.Write(nil)
		return 0, err
	}
	if d.scratch.in == nil {
		d.scratch.in = make([]byte, readBuffer)
	}
	for {
		m, err := r.Read(d.scratch.in)
		if m > 0 {
			if _, err := d.Write(d.scratch.in[:m]); err != nil {
				return n, err
			}
			n += int64(m)
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// write takes at most writeBlock bytes. In the ordinary case what the Surveyor hashes is what is written.
func (d *Delivery) write(p []byte) error {
	w := d.scratch
	if len(w.buf)+len(p)+1 > cap(w.buf) {
		if err := d.flush(); err != nil {
			return err
		}
	}
	if !d.lf {
		w.survey.Write(p)
		w.buf = append(w.buf, p...)
		return nil
	}
	before, held := len(w.buf), w.survey.Held()
	lfs, _ := w.survey.LineEnds()
	w.buf = w.survey.Append(w.buf, p)
	if _, asLF := w.survey.LineEnds(); asLF {
		return nil
	}
	// A bare LF, or CR CR LF: the LF form would not lead back.
	w.buf = w.buf[:before]
	if err := d.toServerForm(lfs); err != nil {
		return err
	}
	if held {
		w.buf = append(w.buf, '\r')
	}
	w.buf = append(w.buf, p...)
	return nil
}

// finish writes what is still held back.
func (d *Delivery) finish() error {
	if d.lf && d.scratch.survey.Held() {
		d.scratch.buf = append(d.scratch.buf, '\r')
	}
	return d.flush()
}

func (d *Delivery) flush() error {
	p := d.scratch.buf
	if len(p) == 0 {
		return nil
	}
	n, err := d.file.WriteAt(p, d.size)
	d.size += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	d.scratch.buf = p[:0]
	return err
}

// toServerForm turns the LFs written so far, so many of them, back into CRLFs. From then on bytes are written as
// they come.
func (d *Delivery) toServerForm(lfs int64) error {
	d.lf = false
	w := d.scratch
	if d.size == 0 && int64(len(w.buf))+lfs+writeBlock+1 <= int64(cap(w.buf)) {
		w.buf = insertCRs(w.buf, int(lfs))
		return nil
	}
	if err := d.flush(); err != nil {
		return err
	}
	return d.insertCRs(lfs)
}

// insertCRs puts a CR before each LF, of which there are so many, in the buffer's own room.
func insertCRs(p []byte, lfs int) []byte {
	from := len(p)
	p = p[:from+lfs]
	for to := len(p); to > from; {
		from, to = from-1, to-1
		if p[to] = p[from]; p[to] == '\n' {
			to--
			p[to] = '\r'
		}
	}
	return p
}

// insertCRs puts a CR before each LF in the file, of which there are so many, from the end to the beginning, so that
// nothing is overwritten before it was read.
func (d *Delivery) insertCRs(lfs int64) error {
	size := min(d.size, writeBuffer)
	chunk, out := make([]byte, size), make([]byte, 0, 2*size)
	end, left := d.size, lfs // of what is still to be turned
	for left > 0 {
		n := min(end, size)
		part := chunk[:n]
		if _, err := d.file.ReadAt(part, end-n); err != nil {
			return fmt.Errorf("reading back what was written: %w", err)
		}
		out = out[:0]
		for len(part) > 0 {
			i := bytes.IndexByte(part, '\n')
			if i < 0 {
				out = append(out, part...)
				break
			}
			out = append(append(out, part[:i]...), '\r', '\n')
			part = part[i+1:]
		}
		end, left = end-n, left-(int64(len(out))-n)
		if _, err := d.file.WriteAt(out, end+left); err != nil {
			return err
		}
	}
	d.size += lfs
	return nil
}

// Close ends the message. If it fails, the delivery is out of the batch, as after Abort.
func (d *Delivery) Close() (Delivered, error) {
	if d.done {
		return Delivered{}, errors.New("the message is already complete")
	}
	out, err := d.close()
	if err != nil {
		return Delivered{}, errors.Join(fmt.Errorf("writing a message to %s: %w", d.folder.dir.name, err), d.Abort())
	}
	return out, nil
}

func (d *Delivery) close() (Delivered, error) {
	if d.err != nil {
		return Delivered{}, d.err
	}
	if err := d.finish(); err != nil {
		return Delivered{}, err
	}
	content := d.scratch.survey.Content()
	d.dropScratch()
	modTime := mail.ArrivalDate(d.date, content.Date, d.batch.s.now())
	if err := d.file.SetModTime(modTime); err != nil {
		return Delivered{}, err
	}
	info, err := d.file.Stat()
	if err != nil {
		return Delivered{}, err
	}
	if info.Size != d.size {
		return Delivered{}, fmt.Errorf("%d bytes were written and %d are there: %w", d.size, info.Size, ErrChanged)
	}
	d.done = true
	if err := d.batch.written(d, info.Dev); err != nil {
		return Delivered{}, err
	}
	return Delivered{
		Base: d.Base, Content: content, FileSize: d.size, Inode: info.Inode, Raw: content.NeedsRawMark(),
		Flags: d.entry.Flags, New: d.entry.New, ModTime: modTime,
	}, nil
}

func (d *Delivery) dropScratch() {
	if d.scratch != nil {
		d.batch.s.giveBack(d.scratch)
		d.scratch = nil
	}
}

// sync makes the file's data durable and closes it.
func (d *Delivery) sync() error {
	if err := d.file.Sync(); err != nil {
		return fmt.Errorf("making a message in %s durable: %w", d.folder.dir.name, err)
	}
	return d.closeFile()
}

// closeFile closes the file, if it is open: some systems report only now that writing failed.
func (d *Delivery) closeFile() error {
	if d.file == nil {
		return nil
	}
	f := d.file
	d.file = nil
	if err := f.Close(); err != nil {
		return fmt.Errorf("closing a message in %s: %w", d.folder.dir.name, err)
	}
	return nil
}

// Abort takes the delivery out of the batch and removes its file. After Close it does so too, until
// the batch is committed.
func (d *Delivery) Abort() error {
	if d.committed {
		return nil
	}
	if d.index < len(d.batch.deliveries) { // else the batch was aborted
		d.batch.deliveries[d.index] = nil
	}
	return d.discard()
}

func (d *Delivery) discard() error {
	if d.err == nil {
		d.err = errors.New("the delivery was aborted")
	}
	d.done = true
	d.dropScratch()
	if d.file != nil {
		// What is thrown away may fail to be written.
		_ = d.file.Close()
		d.file = nil
	}
	return ignoreMissing(d.batch.s.fs.Remove(d.tmp))
}
