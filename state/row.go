package state

import (
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// A row of a table other than the packed ones is encoded to, and decoded from, plain driver values in the order of its columns. The last
// value is always the checksum of those before it.

const folderColumns = `id, name, mailbox, on_disk, uid_validity, mailbox_id, inode, uid_next, modseq, "exists", local_mark, filter, ` +
	`read_only, permanent, permanent_words, any_keyword, permanent_known, last_sync, last_error, sum`

func encodeFolder(w *writer, f *Folder) {
	w.int(f.ID)
	w.text(string(f.Name))
	w.text(f.Mailbox)
	w.bool(f.OnDisk)
	w.int(int64(f.UIDValidity))
	w.text(f.MailboxID)
	w.int(int64(f.Inode))
	w.int(int64(f.UIDNext))
	w.int(int64(f.HighestModSeq))
	w.int(int64(f.Exists))
	w.blobOrNull(f.LocalMark)
	w.text(f.Filter)
	w.bool(f.ReadOnly)
	w.flags(f.Permanent)
	w.bool(f.AnyKeyword)
	w.bool(f.PermanentKnown)
	w.time(f.LastSync)
	w.text(f.LastError)
}

func decodeFolder(r *reader) Folder {
	return Folder{
		ID:             r.int(),
		Name:           mail.FolderName(r.text()),
		Mailbox:        r.text(),
		OnDisk:         r.bool(),
		UIDValidity:    uint64(r.int()),
		MailboxID:      r.text(),
		Inode:          uint64(r.int()),
		UIDNext:        r.uid(),
		HighestModSeq:  uint64(r.int()),
		Exists:         uint32(r.uid()),
		LocalMark:      r.blob(),
		Filter:         r.text(),
		ReadOnly:       r.bool(),
		Permanent:      r.flags(),
		AnyKeyword:     r.bool(),
		PermanentKnown: r.bool(),
		LastSync:       r.time(),
		LastError:      r.text(),
	}
}

func (w *writer) reset() { w.values = w.values[:0] }

// sum ends the row with its checksum and returns it.
func (w *writer) sum() []driver.Value {
	w.values = append(w.values, checksum(w.values))
	return w.values
}

func (w *writer) int(n int64)   { w.values = append(w.values, n) }
func (w *writer) text(s string) { w.values = append(w.values, s) }
func (w *writer) null()         { w.values = append(w.values, nil) }

func (w *writer) bool(b bool) {
	if b {
		w.int(1)
	} else {
		w.int(0)
	}
}

func (w *writer) blobOrNull(b []byte) {
	if len(b) == 0 {
		w.null()
	} else {
		w.values = append(w.values, b)
	}
}

func (w *writer) time(t time.Time) {
	if t.IsZero() {
		w.null()
	} else {
		w.int(t.Unix())
	}
}

func (w *writer) flags(f mail.Flags) {
	w.int(int64(f.System()))
	w.text(strings.Join(f.Keywords(), " "))
}

// reader takes the values of one row apart. It remembers the first value that can't be.
type reader struct {
	values []driver.Value
	at     int
	err    error
}

// rowReader begins a row after checking its sum.
func rowReader(values []driver.Value) *reader {
	r := &reader{values: values}
	last := len(values) - 1
	if sum, ok := values[last].(int64); !ok || sum != checksum(values[:last]) {
		r.err = errors.New("the checksum of a row is wrong")
	}
	return r
}

func (r *reader) next() driver.Value {
	v := r.values[r.at]
	r.at++
	return v
}

func (r *reader) wrong(v driver.Value) {
	if r.err == nil {
		r.err = fmt.Errorf("column %d holds an unexpected %T", r.at, v)
	}
}

func (r *reader) int() int64 {
	v := r.next()
	n, ok := v.(int64)
	if !ok {
		r.wrong(v)
	}
	return n
}

func (r *reader) bool() bool { return r.int() != 0 }

// uid reads a UID, or any number of its size; NULL is 0.
func (r *reader) uid() mail.UID {
	switch v := r.next().(type) {
	case nil:
		return 0
	case int64:
		if u := mail.UID(v); int64(u) == v {
			return u
		}
		r.wrong(v)
	default:
		r.wrong(v)
	}
	return 0
}

// text reads a text; NULL is empty.
func (r *reader) text() string {
	v := r.next()
	s, ok := v.(string)
	if !ok && v != nil {
		r.wrong(v)
	}
	return s
}

func (r *reader) blob() []byte {
	v := r.next()
	b, ok := v.([]byte)
	if !ok && v != nil {
		r.wrong(v)
	}
	return b
}

func (r *reader) digest() (d mail.Digest) {
	if b := r.blob(); len(b) == len(d) {
		copy(d[:], b)
	} else if b != nil {
		r.wrong(b)
	}
	return d
}

func (r *reader) time() time.Time {
	v := r.next()
	if v == nil {
		return time.Time{}
	}
	n, ok := v.(int64)
	if !ok {
		r.wrong(v)
	}
	return time.Unix(n, 0).UTC()
}

func (r *reader) flags() mail.Flags {
	f := mail.SystemFlags(mail.System(r.int()))
	if words := r.text(); words != "" {
		f = f.Plus(mail.ParseFlags(words))
	}
	return f
}

// checksum is the CRC-32 (IEEE) of the values, each told apart by its type and length, as a signed number because
// SQLite keeps that in four bytes.
func checksum(values []driver.Value) int64 {
	var room [512]byte
	b := room[:0]
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			b = append(b, 'n')
		case int64:
			b = binary.LittleEndian.AppendUint64(append(b, 'i'), uint64(v))
		case string:
			b = binary.LittleEndian.AppendUint32(append(b, 't'), uint32(len(v)))
			b = append(b, v...)
		case []byte:
			b = binary.LittleEndian.AppendUint32(append(b, 'b'), uint32(len(v)))
			b = append(b, v...)
		default: // STRICT tables hold nothing else
			b = append(b, '?')
		}
	}
	return int64(int32(crc32.ChecksumIEEE(b)))
}
