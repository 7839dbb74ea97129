package state

import (
	"encoding/binary"
	"math/bits"
)

// Rows lie in pages: those whose ids differ in the last five bits only share one. SQLite takes as long
// for a page as for a row, and neighbours are mostly read and written together.
const (
	pageShift = 5
	pageRows  = 1 << pageShift
)

// pageKey says which page: its kind, messagePages or intentPages, and the upper bits of its rows' ids.
type pageKey struct {
	kind byte
	no   int64
}

func pageOf(kind byte, id int64) (pageKey, int) {
	return pageKey{kind, id >> pageShift}, int(id & (pageRows - 1))
}

func (k pageKey) place() place { return place{k.kind, k.no} }

// page is a page in memory.
type page struct {
	key pageKey
	// rows are packed, nil where there is none. Their bytes are never changed: a new row is another slice.
	rows [pageRows][]byte
	// size is how many bytes the rows keep alive.
	size   int
	dirty  bool
	stored bool // the database has it, in this form or another
}

// readPage reads the blob of a page, which belongs to the page from then on. After the header it is
// a mask of the rows that there are, their lengths, and the rows.
func readPage(key pageKey, blob []byte) (*page, error) {
	body, err := openBlob(key.place(), blob)
	if err != nil {
		return nil, err
	}
	p := &page{key: key, size: len(blob), stored: true}
	c := cursor{b: body}
	front := c.take(4)
	if front == nil {
		return nil, errFormat
	}
	mask := binary.LittleEndian.Uint32(front)
	var lengths [pageRows]int
	for m := mask; m != 0; m &= m - 1 {
		n := c.uvarint()
		if n == 0 || n > uint64(len(body)) {
			return nil, errFormat
		}
		lengths[bits.TrailingZeros32(m)] = int(n)
	}
	for m := mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m)
		p.rows[i] = c.take(lengths[i])
	}
	if err := c.end(); err != nil {
		return nil, err
	}
	return p, nil
}

// pack makes the blob of the page, which the rows lie in from then on. It is nil if there are none.
func (p *page) pack() []byte {
	mask, size := uint32(0), 0
	for i, row := range p.rows {
		if row != nil {
			mask |= 1 << i
			size += len(row) + binary.MaxVarintLen32
		}
	}
	if mask == 0 {
		p.size = 0
		return nil
	}
	b := beginBlob(make([]byte, 0, blobHeader+4+size))
	b = binary.LittleEndian.AppendUint32(b, mask)
	for _, row := range p.rows {
		if row != nil {
			b = binary.AppendUvarint(b, uint64(len(row)))
		}
	}
	for i, row := range p.rows {
		if row != nil {
			start := len(b)
			b = append(b, row...)
			p.rows[i] = b[start:len(b):len(b)]
		}
	}
	p.size = cap(b)
	return sealBlob(p.key.place(), b)
}
