package state

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// hashKey is the secret that hashes of names are made with, so that nobody can make up names that are alike.
type hashKey struct{ k0, k1 uint64 }

// hash is SipHash-1-3 (https://www.aumasson.jp/siphash/siphash.pdf) of a name. It is on disk and can't change.
func (k hashKey) hash(s string) uint64 {
	v0, v1, v2, v3 := k.k0^0x736f6d6570736575, k.k1^0x646f72616e646f6d, k.k0^0x6c7967656e657261, k.k1^0x7465646279746573
	last := uint64(len(s)) << 56
	for len(s) >= 8 {
		m := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		v3 ^= m
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= m
		s = s[8:]
	}
	for i := range len(s) {
		last |= uint64(s[i]) << (8 * i)
	}
	v3 ^= last
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= last
	v2 ^= 0xff
	for range 3 {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	return v0 ^ v1 ^ v2 ^ v3
}

// name is hash, but never 0, which says that there is no name.
func (k hashKey) name(s string) uint64 {
	if s == "" {
		return 0
	}
	return max(k.hash(s), 1)
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v2 += v3
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v1
	v0 += v3
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}

func newHashKey() (k hashKey) {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hashKey{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])}
}

func (k hashKey) pack() []byte {
	b := binary.LittleEndian.AppendUint64(beginBlob(nil), k.k0)
	return sealBlob(place{indexKeys, 1}, binary.LittleEndian.AppendUint64(b, k.k1))
}

func readHashKey(blob []byte) (hashKey, error) {
	body, err := openBlob(place{indexKeys, 1}, blob)
	if err != nil {
		return hashKey{}, err
	}
	if len(body) != 16 {
		return hashKey{}, errFormat
	}
	return hashKey{binary.LittleEndian.Uint64(body), binary.LittleEndian.Uint64(body[8:])}, nil
}
