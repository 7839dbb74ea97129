package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
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
	dir    folderDir
	entry  Entry
	date   time.Time
	tmp    string
	dev    uint64
	survey *mail.Surveyor

	file File // nil once it is closed
	buf  []byte
	size int64 // bytes in the file, without buf
	lfs  int64 // LFs in file and buf
	lf   bool  // lines end in LF so far
	cr   bool  // a CR was read and not written: what follows decides
	crcr bool  // before it came another

	done      bool // all bytes are written
	byPoint   bool // durable by the sync point
	committed bool
	err       error
}

const writeBuffer = 64 << 10

// Write takes the next bytes of the message, as they came over the wire.
func (d *Delivery) Write(p []byte) (int, error) {
	if d.err == nil && d.done {
		d.err = errors.New("the message is already complete")
	}
	if d.err != nil {
		return 0, d.err
	}
	d.survey.Write(p)
	if d.err = d.write(p); d.err != nil {
		d.err = fmt.Errorf("writing a message to %s: %w", d.dir.name, d.err)
		return 0, d.err
	}
	return len(p), nil
}

func (d *Delivery) write(p []byte) error {
	for len(p) > 0 {
		if !d.lf {
			return d.put(p)
		}
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			i = len(p)
		}
		if i > 0 {
			if err := d.releaseCR(); err != nil {
				return err
			}
			if err := d.put(p[:i]); err != nil {
				return err
			}
			p = p[i:]
			continue
		}
		switch {
		case p[0] == '\r':
			before := d.cr
			if err := d.releaseCR(); err != nil {
				return err
			}
			d.cr, d.crcr = true, before
		case !d.cr || d.crcr:
			// A bare LF, or CR CR LF: the LF form would not lead back.
			if err := d.toServerForm(); err != nil {
				return err
			}
			continue // the LF itself is still to be written
		default:
			d.cr, d.crcr = false, false
			d.lfs++
			if err := d.put(p[:1]); err != nil {
				return err
			}
		}
		p = p[1:]
	}
	return nil
}

// releaseCR writes a CR that turned out to stand alone.
func (d *Delivery) releaseCR() error {
	if !d.cr {
		return nil
	}
	d.cr, d.crcr = false, false
	return d.put([]byte{'\r'})
}

func (d *Delivery) put(p []byte) error {
	if d.buf == nil {
		// Messages are mostly written one after the other: they share a buffer.
		if d.buf = d.batch.spare; d.buf == nil {
			d.buf = make([]byte, 0, writeBuffer)
		}
		d.batch.spare = nil
	}
	if len(d.buf)+len(p) > writeBuffer {
		if err := d.flush(); err != nil {
			return err
		}
	}
	if len(p) >= writeBuffer {
		return d.writeOut(p)
	}
	d.buf = append(d.buf, p...)
	return nil
}

func (d *Delivery) flush() error {
	if len(d.buf) == 0 {
		return nil
	}
	err := d.writeOut(d.buf)
	d.buf = d.buf[:0]
	return err
}

func (d *Delivery) writeOut(p []byte) error {
	n, err := d.file.WriteAt(p, d.size)
	d.size += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return err
}

// toServerForm turns every LF written so far back into CRLF, from the end to the beginning, so that
// nothing is overwritten before it was read. From then on bytes are written as they come.
func (d *Delivery) toServerForm() error {
	if err := d.flush(); err != nil {
		return err
	}
	size := min(d.size, writeBuffer)
	chunk, out := make([]byte, size), make([]byte, 0, 2*size)
	end, left := d.size, d.lfs // of what is still to be turned
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
	d.size += d.lfs
	d.lf = false
	return d.releaseCR()
}

// Close ends the message. If it fails, the delivery is out of the batch, as after Abort.
func (d *Delivery) Close() (Delivered, error) {
	if d.done {
		return Delivered{}, errors.New("the message is already complete")
	}
	out, err := d.close()
	if err != nil {
		return Delivered{}, errors.Join(fmt.Errorf("writing a message to %s: %w", d.dir.name, err), d.Abort())
	}
	return out, nil
}

func (d *Delivery) close() (Delivered, error) {
	if d.err != nil {
		return Delivered{}, d.err
	}
	if err := d.releaseCR(); err != nil {
		return Delivered{}, err
	}
	if err := d.flush(); err != nil {
		return Delivered{}, err
	}
	d.batch.spare, d.buf = d.buf, nil
	info, err := d.file.Stat()
	if err != nil {
		return Delivered{}, err
	}
	if info.Size != d.size {
		return Delivered{}, fmt.Errorf("%d bytes were written and %d are there: %w", d.size, info.Size, ErrChanged)
	}
	content := d.survey.Content()
	modTime := mail.ArrivalDate(d.date, content.Date, d.batch.s.now())
	if err := d.batch.s.fs.SetModTime(d.tmp, modTime); err != nil {
		return Delivered{}, err
	}
	d.done = true
	if err := d.batch.written(d); err != nil {
		return Delivered{}, err
	}
	return Delivered{
		Base: d.Base, Content: content, FileSize: d.size, Inode: info.Inode, Raw: content.NeedsRawMark(),
		Flags: d.entry.Flags, New: d.entry.New, ModTime: modTime,
	}, nil
}

// sync makes the file's data durable and closes it.
func (d *Delivery) sync() error {
	if err := d.file.Sync(); err != nil {
		return fmt.Errorf("making a message in %s durable: %w", d.dir.name, err)
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
		return fmt.Errorf("closing a message in %s: %w", d.dir.name, err)
	}
	return nil
}

// Abort takes the delivery out of the batch and removes its file. After Close it does so too, until
// the batch is committed.
func (d *Delivery) Abort() error {
	if d.committed {
		return nil
	}
	d.batch.deliveries = slices.DeleteFunc(d.batch.deliveries, func(o *Delivery) bool { return o == d })
	return d.discard()
}

func (d *Delivery) discard() error {
	if d.err == nil {
		d.err = errors.New("the delivery was aborted")
	}
	d.done = true
	if d.file != nil {
		// What is thrown away may fail to be written.
		_ = d.file.Close()
		d.file = nil
	}
	return ignoreMissing(d.batch.s.fs.Remove(d.tmp))
}
