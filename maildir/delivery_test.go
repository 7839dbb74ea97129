package maildir

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/satchel-mail/satchel/internal/mail"
)

// memFile is a file that is only bytes.
type memFile struct{ data []byte }

func (m *memFile) WriteAt(p []byte, off int64) (int, error) {
	if grow := int(off) + len(p) - len(m.data); grow > 0 {
		m.data = append(m.data, make([]byte, grow)...)
	}
	return copy(m.data[off:], p), nil
}
func (m *memFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.data).ReadAt(p, off)
}
func (m *memFile) Read([]byte) (int, error)       { return 0, io.EOF }
func (m *memFile) Seek(int64, int) (int64, error) { return 0, nil }
func (m *memFile) Sync() error                    { return nil }
func (m *memFile) SetModTime(time.Time) error     { return nil }
func (m *memFile) Close() error                   { return nil }
func (m *memFile) Stat() (FileInfo, error)        { return FileInfo{Size: int64(len(m.data))}, nil }

// stored writes chunks through a Delivery and returns what lies on disk and what was found in it.
func stored(t interface{ Fatal(...any) }, chunks ...[]byte) ([]byte, mail.Content) {
	m := &memFile{}
	d := &Delivery{folder: &batchFolder{}, scratch: newScratch(mail.NewSurveyor()), file: m, lf: true}
	for _, c := range chunks {
		keep := bytes.Clone(c)
		if n, err := d.Write(c); err != nil || n != len(c) {
			t.Fatal("Write:", n, err)
		}
		if !bytes.Equal(keep, c) {
			t.Fatal("Write changed its argument")
		}
	}
	if err := d.finish(); err != nil {
		t.Fatal(err)
	}
	if d.size != int64(len(m.data)) {
		t.Fatal("size", d.size, "and", len(m.data), "bytes are there")
	}
	return m.data, d.scratch.survey.Content()
}

// fromDisk is the contract's rule, written down independently: what goes over the wire.
func fromDisk(disk []byte, raw bool) []byte {
	if raw || bytes.Contains(disk, []byte("\r\n")) {
		return disk
	}
	return bytes.ReplaceAll(disk, []byte("\n"), []byte("\r\n"))
}

// asStored is the contract's rule the other way: what lies on disk.
func asStored(wire []byte) []byte {
	lf := bytes.ReplaceAll(wire, []byte("\r\n"), []byte("\n"))
	if bytes.Equal(bytes.ReplaceAll(lf, []byte("\n"), []byte("\r\n")), wire) && !bytes.Contains(lf, []byte("\r\n")) {
		return lf
	}
	return wire
}

func checkStored(t interface{ Fatal(...any) }, wire []byte, chunks ...[]byte) {
	disk, content := stored(t, chunks...)
	if want := asStored(wire); !bytes.Equal(disk, want) {
		t.Fatal("wire", quote(wire), "lies on disk as", quote(disk), "want", quote(want))
	}
	if got := fromDisk(disk, content.NeedsRawMark()); !bytes.Equal(got, wire) {
		t.Fatal("wire", quote(wire), "comes back as", quote(got))
	}
	if content.StoredAsLF() != bytes.Equal(disk, bytes.ReplaceAll(wire, []byte("\r\n"), []byte("\n"))) && bytes.Contains(wire, []byte("\r\n")) {
		t.Fatal("StoredAsLF", content.StoredAsLF(), "but", quote(wire), "lies as", quote(disk))
	}
	if want, _ := mail.Survey(bytes.NewReader(wire)); want != content {
		t.Fatal("content", content, "want", want)
	}
}

func quote(b []byte) string {
	if len(b) > 60 {
		return string(b[:60]) + "…"
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '\r':
			return 'R'
		case '\n':
			return 'N'
		}
		return r
	}, string(b))
}

// TestLineEndings: all strings of CR, LF and a letter up to seven long, whole and cut at every place.
func TestLineEndings(t *testing.T) {
	const alphabet, longest = "\r\na", 7
	var all func(prefix []byte)
	all = func(prefix []byte) {
		checkStored(t, prefix, prefix)
		for cut := 1; cut < len(prefix); cut++ {
			checkStored(t, prefix, prefix[:cut], prefix[cut:])
		}
		if len(prefix) == longest {
			return
		}
		for i := range len(alphabet) {
			all(append(bytes.Clone(prefix), alphabet[i]))
		}
	}
	all(nil)
}

// TestLineEndingsLate: what decides comes after the buffers are full, near their borders.
func TestLineEndingsLate(t *testing.T) {
	for _, line := range []string{"\r\n", "x\r\n", "12345678901234567890123456789012345678901234567890\r\n", "x\r"} {
		for _, size := range []int{writeBuffer - 1, writeBuffer, 2*writeBuffer + 1, 3*writeBuffer + 17} {
			for _, end := range []string{"", "\r", "\n", "\r\r\n", "a\nb\r\nc", "\r\n\r"} {
				wire := append(bytes.Repeat([]byte(line), size/len(line)+1)[:size], end...)
				checkStored(t, wire, wire)
				checkStored(t, wire, wire[:size], wire[size:])
				checkStored(t, wire, wire[:size/2], wire[size/2:size-1], wire[size-1:])
			}
		}
	}
}

func TestLineEndingsProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.SampledFrom([]string{"\r\n", "\n", "\r", "\r\r\n", "a", "\x00", "Subject: x\r\n", "\r\n\r\n", strings.Repeat("y", 70000), strings.Repeat("z\r\n", 30000)})
		wire := []byte(strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), ""))
		var chunks [][]byte
		for rest := wire; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "chunk")
			chunks, rest = append(chunks, rest[:n]), rest[n:]
			if len(chunks) == 20 {
				chunks, rest = append(chunks, rest), nil
			}
		}
		checkStored(t, wire, chunks...)
	})
}

// TestBytesThroughTheDisk: the same through real files, read back by OpenWire.
func TestBytesThroughTheDisk(t *testing.T) {
	s, _ := testStore(t, Nested, mail.Inbox)
	rnd := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"\r\n", "\n", "\r", "\r\r\n", "a", "\x00", "Subject: x\r\n", "\xff", strings.Repeat("line of text\r\n", 12000)}
	for range 150 {
		var b strings.Builder
		for range rnd.IntN(6) {
			b.WriteString(pieces[rnd.IntN(len(pieces))])
		}
		wire := b.String()
		got := deliver(t, s, mail.Inbox, mail.Flags{}, wire)
		if back := readWire(t, s, mail.Inbox, got.Base, got.Raw); back != wire {
			t.Fatalf("%s came back as %s", quote([]byte(wire)), quote([]byte(back)))
		}
		content, info, err := s.Survey(t.Context(), mail.Inbox, got.Base)
		if err != nil || content.Digest != got.Content.Digest || info.Size != got.FileSize || content.Size != got.FileSize {
			t.Fatalf("Survey = %+v %+v, %v, delivered %+v", content, info, err, got)
		}
		if !got.Raw && content.WireSize() != int64(len(wire)) {
			t.Fatalf("WireSize = %d, want %d", content.WireSize(), len(wire))
		}
	}
}

func TestDateRule(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s := &Store{now: func() time.Time { return now }}
	header := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	ok := time.Date(2010, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600))
	tests := []struct{ internal, header, want time.Time }{
		{ok, header, ok},
		{time.Unix(0, 0), header, time.Unix(0, 0)},
		{time.Unix(-1, 0), header, header},
		{time.Time{}, header, header},
		{now.Add(24 * time.Hour), header, now.Add(24 * time.Hour)},
		{now.Add(24*time.Hour + 1), header, header},
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), header, header},
		{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(-1, 0), now},
		{time.Time{}, time.Time{}, now},
		{time.Time{}, now.Add(48 * time.Hour), now},
	}
	for _, tt := range tests {
		if got := mail.ArrivalDate(tt.internal, tt.header, s.now()); !got.Equal(tt.want) {
			t.Errorf("INTERNALDATE %v, Date %v: %v, want %v", tt.internal, tt.header, got, tt.want)
		}
	}
}

func TestDateComesFromTheHeader(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	b := s.NewBatch()
	d, err := b.Add(mail.Inbox, mail.Flags{}, time.Unix(-5, 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(d, "Date: Sat, 3 Feb 2001 04:05:06 +0000\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := d.Close()
	if err := errors.Join(err, b.Sync(), b.Commit()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(root, "INBOX", "new", got.Base))
	want := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	if err != nil || !info.ModTime().Equal(want) || !got.ModTime.Equal(want) || info.Mode().Perm() != 0o600 {
		t.Errorf("file %v %v, delivered %v, want %v", info.ModTime(), err, got.ModTime, want)
	}
}
