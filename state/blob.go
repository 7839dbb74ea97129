package state

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Whatever is packed into one value of the database, such as a page of rows, is a blob:
//
//	version  1 byte
//	sum      4 bytes, little endian: CRC-32C of the blob's place, its version and its body
//	body     the rest
//
// The place is part of the sum, so that a blob that turns up somewhere else is noticed.
const (
	blobVersion = 1
	blobHeader  = 5 // bytes before the body
)

// What blobs there are. The letters are part of their sums.
const (
	messagePages = 'm'
	intentPages  = 'i'
	indexParts   = 'p'
	indexDeltas  = 'd'
	summaries    = 's'
	indexKeys    = 'k'
)

// place says where a blob lies: its kind and the integer key of its row.
type place struct {
	kind byte
	key  int64
}

var (
	errSum    = errors.New("a checksum is wrong")
	errFormat = errors.New("a value is not what it should be")
)

// castagnoli is never changed.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// beginBlob makes room for the header at the front of b, which the body follows.
func beginBlob(b []byte) []byte {
	return append(b[:0], blobVersion, 0, 0, 0, 0)
}

// sealBlob writes the sum into a blob that beginBlob began.
func sealBlob(at place, b []byte) []byte {
	binary.LittleEndian.PutUint32(b[1:], blobSum(at, b))
	return b
}

// openBlob returns the body of a blob whose sum is right.
func openBlob(at place, b []byte) ([]byte, error) {
	if len(b) < blobHeader || b[0] != blobVersion {
		return nil, errFormat
	}
	if binary.LittleEndian.Uint32(b[1:]) != blobSum(at, b) {
		return nil, errSum
	}
	return b[blobHeader:], nil
}

func blobSum(at place, b []byte) uint32 {
	var front [10]byte
	front[0] = at.kind
	binary.LittleEndian.PutUint64(front[1:], uint64(at.key))
	front[9] = b[0]
	return crc32.Update(crc32.Checksum(front[:], castagnoli), castagnoli, b[blobHeader:])
}

// cursor takes the body of a blob apart. It remembers whether anything was missing, and gives zeros from then on.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) fail() {
	c.b, c.bad = nil, true
}

// end reports an error if something was missing, or is left over.
func (c *cursor) end() error {
	if c.bad || len(c.b) != 0 {
		return errFormat
	}
	return nil
}

func (c *cursor) byte() byte {
	if len(c.b) == 0 {
		c.fail()
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) uvarint() uint64 {
	if len(c.b) > 0 && c.b[0] < 0x80 {
		v := c.b[0]
		c.b = c.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) varint() int64 {
	u := c.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// take returns the next n bytes. They are the blob's own.
func (c *cursor) take(n int) []byte {
	if n < 0 || len(c.b) < n {
		c.fail()
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// text returns the bytes that appendText wrote.
func (c *cursor) text() []byte {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.fail()
		return nil
	}
	return c.take(int(n))
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
