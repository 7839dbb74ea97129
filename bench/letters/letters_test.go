package letters

import (
	"bytes"
	"strings"
	"testing"
)

func TestSameSeedSameLetters(t *testing.T) {
	f := Folder{Name: "INBOX", Kind: Mixed, Count: 10, Read: 5}
	one, two, other := NewMaker(1), NewMaker(1), NewMaker(2)
	for i := range f.Count {
		a := one.Letter(f, i)
		two.Letter(f, f.Count-i) // what was made before must not matter
		if b := two.Letter(f, i); !bytes.Equal(a.Body, b.Body) || a.Flags != b.Flags || !a.Date.Equal(b.Date) {
			t.Errorf("letter %d differs between two makers with the same seed", i)
		}
		if c := other.Letter(f, i); bytes.Equal(a.Body, c.Body) {
			t.Errorf("letter %d is the same with another seed", i)
		}
	}
}

func TestSizes(t *testing.T) {
	m := NewMaker(1)
	for _, c := range []struct {
		kind        Kind
		least, most int // of the average
	}{{Tiny, 590, 620}, {Small, 2000, 2100}, {Mixed, 42000, 45500}, {Note, 430, 480}} {
		const n = 3000
		total := 0
		for i := range n {
			total += len(m.Letter(Folder{Name: "INBOX", Kind: c.kind, Count: n}, i).Body)
		}
		if average := total / n; average < c.least || average > c.most {
			t.Errorf("letters of kind %d have %d bytes on average, want %d to %d", c.kind, average, c.least, c.most)
		}
	}
}

func TestLettersAreMail(t *testing.T) {
	m := NewMaker(1)
	for i := range 200 {
		l := m.Letter(Folder{Name: "INBOX", Kind: Mixed, Count: 200, Read: 100}, i)
		if bare := strings.ReplaceAll(string(l.Body), "\r\n", ""); strings.ContainsAny(bare, "\r\n") {
			t.Fatalf("letter %d has a line end other than CRLF", i)
		}
		if !bytes.Contains(l.Body, []byte("\r\n\r\n")) {
			t.Fatalf("letter %d has no body", i)
		}
		if read := strings.Contains(l.Flags, `\Seen`); read != (i < 100) {
			t.Errorf("letter %d: read is %t", i, read)
		}
	}
}
