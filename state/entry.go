package state

import (
	"cmp"
	"encoding/binary"
	"math/bits"

	"github.com/satchel-mail/satchel/internal/mail"
)

// entry is what a folder's index knows of one row.
type entry struct {
	// key is the row's id, then 8 bits that tell reasons apart, then the bits below.
	key uint64
	// name is the keyed hash of the Maildir base name, 0 without one.
	name uint64
	uid  mail.UID
	// flags is the hash of the flags in the Maildir.
	flags uint32
}

// The bits of a key.
const (
	entryRemoteHeld = 1 << iota
	entryLocalHeld
	entryDeleted // \Deleted on either side
	entryGuarded

	whyShift = 8
	idShift  = 16

	// maxID is the largest id of a row or folder: it leaves room for the above, in tables of names, and in partIDs.
	maxID = 1<<42 - 1
)

func (e entry) id() int64       { return int64(e.key >> idShift) }
func (e entry) why() byte       { return byte(e.key >> whyShift) }
func (e entry) has(b byte) bool { return byte(e.key)&b != 0 }
func (e entry) none() bool      { return e.key == 0 } // ids begin with 1

// newEntry makes the entry of a row. name is the hash of its name.
func newEntry(id int64, h *head, name uint64) entry {
	e := entry{key: uint64(id)<<idShift | uint64(whyByte(h.why))<<whyShift, uid: h.uid, name: name, flags: h.local.Hash()}
	if h.mask&isRemoteHeld != 0 {
		e.key |= entryRemoteHeld
	}
	if h.mask&isLocalHeld != 0 {
		e.key |= entryLocalHeld
	}
	if h.mask&isGuarded != 0 {
		e.key |= entryGuarded
	}
	if h.remote.Has(mail.Deleted) || h.local.Has(mail.Deleted) {
		e.key |= entryDeleted
	}
	return e
}

// whyByte tells reasons apart, mostly; only "" is 0.
func whyByte(why string) byte {
	if why == "" {
		return 0
	}
	h := uint32(1)
	for i := range len(why) {
		h = h*31 + uint32(why[i])
	}
	return byte(h%255) + 1
}

// compare is the order of an index: by UID, those without first, then by id.
func (e entry) compare(f entry) int {
	return cmp.Or(cmp.Compare(e.uid, f.uid), cmp.Compare(e.key>>idShift, f.key>>idShift))
}

// sum is what an entry adds to the sum of its index. The sums are added up, so that they can be kept without the
// index; it is the finalizer of MurmurHash3 over all bits.
func (e entry) sum() uint64 {
	if e.none() {
		return 0
	}
	h := e.key ^ bits.RotateLeft64(e.name*0x9e3779b97f4a7c15, 31) ^ bits.RotateLeft64((uint64(e.uid)<<32|uint64(e.flags))*0xc2b2ae3d27d4eb4f, 17)
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// entryBytes is the size of an entry on disk: its fields in this order, little endian.
const entryBytes = 24

func appendEntry(b []byte, e entry) []byte {
	b = binary.LittleEndian.AppendUint64(b, e.key)
	b = binary.LittleEndian.AppendUint64(b, e.name)
	b = binary.LittleEndian.AppendUint32(b, uint32(e.uid))
	return binary.LittleEndian.AppendUint32(b, e.flags)
}

func readEntry(b []byte) entry {
	_ = b[entryBytes-1]
	return entry{
		key:   binary.LittleEndian.Uint64(b),
		name:  binary.LittleEndian.Uint64(b[8:]),
		uid:   mail.UID(binary.LittleEndian.Uint32(b[16:])),
		flags: binary.LittleEndian.Uint32(b[20:]),
	}
}

// A part's body is its entries, in order.
func packPart(id int64, entries []entry) []byte {
	b := beginBlob(make([]byte, 0, blobHeader+len(entries)*entryBytes))
	for _, e := range entries {
		b = appendEntry(b, e)
	}
	return sealBlob(place{indexParts, id}, b)
}

func readPart(id int64, blob []byte) ([]entry, error) {
	body, err := openBlob(place{indexParts, id}, blob)
	if err != nil {
		return nil, err
	}
	if len(body)%entryBytes != 0 || len(body) == 0 {
		return nil, errFormat
	}
	entries := make([]entry, len(body)/entryBytes)
	for i := range entries {
		entries[i] = readEntry(body[i*entryBytes:])
		if entries[i].none() || i > 0 && entries[i-1].compare(entries[i]) >= 0 {
			return nil, errFormat
		}
	}
	return entries, nil
}

// change is one step of an index: an entry that was written, in place of one with the same UID and id if there is one, or
// one that is gone.
type change struct {
	entry
	gone bool
}

// A delta's body is its changes: a byte, 1 if the entry is gone, and the entry.
func packDelta(id int64, changes []change) []byte {
	b := beginBlob(make([]byte, 0, blobHeader+len(changes)*(1+entryBytes)))
	for _, ch := range changes {
		gone := byte(0)
		if ch.gone {
			gone = 1
		}
		b = appendEntry(append(b, gone), ch.entry)
	}
	return sealBlob(place{indexDeltas, id}, b)
}

// readDelta calls each with every change of a delta.
func readDelta(id int64, blob []byte, each func(change) error) error {
	body, err := openBlob(place{indexDeltas, id}, blob)
	if err != nil {
		return err
	}
	for ; len(body) >= 1+entryBytes; body = body[1+entryBytes:] {
		ch := change{readEntry(body[1:]), body[0] == 1}
		if body[0] > 1 || ch.none() {
			return errFormat
		}
		if err := each(ch); err != nil {
			return err
		}
	}
	if len(body) != 0 {
		return errFormat
	}
	return nil
}
