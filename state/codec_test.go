package state

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

// TestSipHash: the first of the reference implementation's vectors for SipHash-1-3, and what CPython, which hashes bytes with
// it under the key 0 when PYTHONHASHSEED is 0, says of others.
func TestSipHash(t *testing.T) {
	reference := hashKey{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	for _, tc := range []struct {
		key  hashKey
		text string
		want uint64
	}{
		{reference, "", 0xabac0158050fc4dc},
		{hashKey{}, "a", 0x407448d2b89b1813},
		{hashKey{}, "12345678", 0x3489982430560a87},
		{hashKey{}, "1700000000.M1P1.host", 0x4c066160b9855595},
	} {
		if got := tc.key.hash(tc.text); got != tc.want {
			t.Errorf("%q: %#x instead of %#x", tc.text, got, tc.want)
		}
	}
	if (hashKey{}).name("") != 0 || (hashKey{}).name("a") == 0 {
		t.Error("0 means that there is no name")
	}
}

func TestHashKeyRoundTrip(t *testing.T) {
	k := newHashKey()
	got, err := readHashKey(k.pack())
	must(t, err)
	same(t, "key", got, k)
	if newHashKey() == k {
		t.Error("two keys are the same")
	}
}

func TestWhyByteTellsTheReasonsApart(t *testing.T) {
	seen := map[byte]string{0: ""}
	for _, why := range []string{"refused", "unreadable", "pending", "too-large", "too-old", "read-only", "no-folder", "one-way", "dismissed"} {
		b := whyByte(why)
		if other, ok := seen[b]; ok {
			t.Errorf("%q and %q are both %d", why, other, b)
		}
		seen[b] = why
	}
}

// TestPackedRowsBound: a row that is longer than expected is put elsewhere, and one that fits does not move.
func TestPackedRowsBound(t *testing.T) {
	c := &conn{limits: defaultLimits()}
	c.forget()
	var long []string
	for n := range 300 {
		long = append(long, fmt.Sprintf("keyword-%d", n))
	}
	var rows [][]byte
	var want []Message
	for n := range 50 {
		m := fullMessage(3, n+1)
		if n%10 == 0 {
			m.LocalFlags = mail.NewFlags(long[:n+1]...)
		}
		rows = append(rows, c.pager.packed(appendMessage(c.pager.pack(packedSize(&m)), &m)))
		want = append(want, m)
	}
	for n, row := range rows {
		var got Message
		must(t, c.words.message(row, &got))
		same(t, "row", got, want[n])
	}
}

func samplePage() *page {
	p := &page{key: pageKey{messagePages, 7}}
	for _, slot := range []int{0, 3, 31} {
		m := fullMessage(2, slot+1)
		p.rows[slot] = appendMessage(nil, &m)
	}
	return p
}

func TestPageRoundTrip(t *testing.T) {
	p := samplePage()
	blob := p.pack()
	got, err := readPage(p.key, slices.Clone(blob))
	must(t, err)
	same(t, "rows", got.rows, p.rows)
	if _, err := readPage(pageKey{intentPages, 7}, blob); !errors.Is(err, errSum) {
		t.Errorf("a page of another kind: %v", err)
	}
	if _, err := readPage(pageKey{messagePages, 8}, blob); !errors.Is(err, errSum) {
		t.Errorf("another page: %v", err)
	}
	same(t, "an empty page", (&page{}).pack(), []byte(nil))
}

// reseal makes the sum of what a fuzzer wrote right, or else it would never get behind it.
func reseal(at place, b []byte) []byte {
	b = slices.Clone(b)
	if len(b) >= blobHeader {
		b[0] = blobVersion
		sealBlob(at, b)
	}
	return b
}

// FuzzPage: whatever a page says, reading it and its rows takes no more memory than it has bytes, and a row that comes out is
// the same when it was written and read again.
func FuzzPage(f *testing.F) {
	p := samplePage()
	f.Add(p.pack())
	i := &page{key: pageKey{intentPages, 7}}
	i.rows[5] = appendIntent(nil, &Intent{Kind: Upload, Message: fullMessage(2, 3), Sends: 2, Settled: true})
	f.Add(i.pack())
	f.Add([]byte{1, 0, 0, 0, 0, 255, 255, 255, 255, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, blob []byte) {
		w := newWords()
		for _, kind := range []byte{messagePages, intentPages} {
			key := pageKey{kind, 7}
			p, err := readPage(key, reseal(key.place(), blob))
			if err != nil {
				continue
			}
			total := 0
			for _, row := range p.rows {
				total += len(row)
				var m, again Message
				if row == nil || kind == intentPages && w.intent(row, &Intent{}) != nil || w.message(row, &m) != nil {
					continue
				}
				must(t, w.message(appendMessage(nil, &m), &again))
				same(t, "row", again, m)
			}
			if total > len(blob) {
				t.Errorf("%d bytes of rows in %d", total, len(blob))
			}
		}
	})
}

// FuzzIndex: likewise parts, deltas and summaries.
func FuzzIndex(f *testing.F) {
	entries := []entry{{key: 1 << idShift, uid: 1}, {key: 2<<idShift | entryDeleted, uid: 7, name: 5, flags: 9}}
	f.Add(packPart(4, entries))
	f.Add(packDelta(4, []change{{entries[0], true}, {entries[1], false}}))
	f.Add((&summary{counts: [summaryCounts]int64{1: 300}, why: map[string]int64{"refused": 2}}).pack(4))
	f.Fuzz(func(t *testing.T, blob []byte) {
		if es, err := readPart(4, reseal(place{indexParts, 4}, blob)); err == nil {
			if !bytes.Equal(packPart(4, es)[blobHeader:], blob[blobHeader:]) {
				t.Error("a part changed")
			}
		}
		ix := &index{partMax: 3}
		n := 0
		_ = readDelta(4, reseal(place{indexDeltas, 4}, blob), func(ch change) error {
			n++
			return ix.apply(ch)
		})
		if n*(1+entryBytes) > len(blob) {
			t.Errorf("%d changes in %d bytes", n, len(blob))
		}
		checkIndex(t, ix)
		if s, err := readSummary(4, reseal(place{summaries, 4}, blob)); err == nil {
			again, err := readSummary(4, s.pack(4))
			must(t, err)
			same(t, "summary", again, s)
		}
	})
}

// checkIndex holds what must be true of an index after every change.
func checkIndex(t *testing.T, ix *index) {
	t.Helper()
	n, sum := 0, uint64(0)
	var before entry
	for _, pt := range ix.parts {
		if len(pt.entries) == 0 || len(pt.entries) > ix.partMax {
			t.Fatalf("a part of %d entries", len(pt.entries))
		}
		for _, e := range pt.entries {
			if n > 0 && before.compare(e) >= 0 {
				t.Fatalf("%+v after %+v", e, before)
			}
			before = e
			sum += e.sum()
			n++
		}
	}
	if n != ix.n || sum != ix.sum {
		t.Fatalf("%d entries, counted %d; sum %x, counted %x", n, ix.n, sum, ix.sum)
	}
}

// TestIndexAgainstAMap makes random changes and looks everything up.
func TestIndexAgainstAMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	ix := &index{partMax: 4}
	model := map[int64]entry{}
	for step := range 5000 {
		id := int64(rng.IntN(60) + 1)
		old := model[id]
		e := entry{key: uint64(id)<<idShift | uint64(rng.IntN(4)), uid: mail.UID(rng.IntN(3) * int(id)), name: rng.Uint64() * uint64(rng.IntN(2))}
		var err error
		switch {
		case old.none():
			err = ix.insert(e)
		case rng.IntN(3) == 0:
			e, err = entry{}, ix.remove(old)
		default:
			err = ix.replace(old, e)
		}
		must(t, err)
		if model[id] = e; e.none() {
			delete(model, id)
		}
		if step%100 == 0 {
			ix.tidy()
		}
		checkIndex(t, ix)
		same(t, "entries", ix.n, len(model))
		for id, e := range model {
			if e.name != 0 && !slices.Contains(ix.named(e.name, nil), id) {
				t.Fatalf("row %d is not found by its name", id)
			}
			if got := ix.byUID(e.uid); e.uid != 0 && (got.uid != e.uid) {
				t.Fatalf("UID %d is not found", e.uid)
			}
		}
	}
	for _, err := range []error{ix.remove(entry{key: 99 << idShift}), ix.replace(entry{key: 99 << idShift}, entry{key: 99 << idShift, name: 1}), ix.apply(change{entry{key: 99 << idShift}, true})} {
		if !errors.Is(err, errMismatch) {
			t.Errorf("an entry that is not there: %v", err)
		}
	}
}
