package mail

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

// messages generates bytes dense in what matters, sometimes longer than a block of the Surveyor's.
func messages() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		words := rapid.SliceOfN(rapid.SampledFrom([]string{
			"\r", "\n", "\r\n", "\r\n", "\r\r\n", "\n\r", "a", "\x00", " ", "\t", ":", "é", "\xff",
			"Subject: x", "Message-ID: <a@b>", "Date: 2 Jan 2006 15:04:05 +0100", strings.Repeat("word ", 20),
		}), 0, 30).Draw(t, "words")
		b := []byte(strings.Join(words, ""))
		if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
			pad := surveyBlock - rapid.IntRange(0, min(len(b), surveyBlock)).Draw(t, "before the border")
			b = append(bytes.Repeat([]byte(rapid.SampledFrom([]string{"x", "\n", "\r"}).Draw(t, "padding")), pad), b...)
		}
		return b
	})
}

// cut writes b in pieces.
func cut(t *rapid.T, b []byte) Content {
	s := NewSurveyor()
	for len(b) > 0 {
		n := rapid.OneOf(rapid.Just(1), rapid.IntRange(0, len(b))).Draw(t, "piece")
		if got, err := s.Write(b[:n]); got != n || err != nil {
			t.Fatalf("Write = %d, %v for %d bytes", got, err, n)
		}
		b = b[n:]
	}
	return s.Content()
}

func survey(b []byte) Content {
	s := NewSurveyor()
	s.Write(b)
	return s.Content()
}

func lfOf(b []byte) []byte   { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) }
func crlfOf(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }

// headerOf is the header in LF form without the line ends after its last line.
func headerOf(b []byte) []byte {
	lf := lfOf(b)
	if bytes.HasPrefix(lf, []byte("\n")) {
		return nil
	}
	head, _, _ := bytes.Cut(lf, []byte("\n\n"))
	return bytes.TrimSuffix(head, []byte("\n"))
}

// checkContent compares all that can be said in one line each with what the Surveyor says.
func checkContent(t interface{ Errorf(string, ...any) }, b []byte, c Content) {
	count := func(s string) int64 { return int64(bytes.Count(b, []byte(s))) }
	head := headerOf(b)
	var header Digest
	if len(head) > 0 {
		header = sha256.Sum256(head)
	}
	if c.Size != int64(len(b)) || c.CRLF != count("\r\n") || c.BareLF != count("\n")-count("\r\n") ||
		c.CRCRLF != count("\r\r\n") || c.NUL != (count("\x00") > 0) {
		t.Errorf("%.200q is said to be %+v", b, c)
	}
	if want := bytes.ContainsFunc(head, func(r rune) bool { return r > 0x7f }); c.RawHeader != want {
		t.Errorf("%.200q: RawHeader = %v", b, c.RawHeader)
	}
	if c.Digest != sha256.Sum256(lfOf(b)) {
		t.Errorf("%.200q has another digest than its LF form", b)
	}
	if c.Header != header {
		t.Errorf("%.200q has another header digest than %.200q", b, head)
	}
}

// checkForms holds the contract's words about line ends against a message from the server.
func checkForms(t interface{ Fatalf(string, ...any) }, wire []byte) {
	c := survey(wire)
	lf := lfOf(wire)
	if want := bytes.Equal(crlfOf(lf), wire) && !bytes.Contains(lf, []byte("\r\n")); c.StoredAsLF() != want {
		t.Fatalf("StoredAsLF(%.200q) = %v", wire, c.StoredAsLF())
	}
	file := wire
	if c.StoredAsLF() {
		file = lf
	}
	onDisk := survey(file)
	if onDisk.Digest != c.Digest || onDisk.Header != c.Header || onDisk.HasMessageID != c.HasMessageID || onDisk.Date != c.Date {
		t.Fatalf("%.200q is another message on disk", wire)
	}
	// What would be sent of the file, if nobody knew where it comes from.
	sent := file
	if onDisk.CRLF == 0 {
		var err error
		if sent, err = io.ReadAll(WireReader(bytes.NewReader(file))); err != nil {
			t.Fatalf("WireReader: %v", err)
		}
	}
	if onDisk.WireSize() != int64(len(sent)) {
		t.Fatalf("WireSize of %.200q is %d, but %d bytes are sent", file, onDisk.WireSize(), len(sent))
	}
	if same := bytes.Equal(sent, wire); same == c.NeedsRawMark() {
		t.Fatalf("%.200q lies as %.200q and would be sent as %.200q, NeedsRawMark is %v", wire, file, sent, c.NeedsRawMark())
	}
	if c.StoredAsLF() && c.NeedsRawMark() {
		t.Fatalf("%.200q is stored with LFs and kept raw", wire)
	}
}

func TestSurveyorProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := messages().Draw(t, "message")
		c := cut(t, b)
		checkContent(t, b, c)
		if whole := survey(b); whole != c {
			t.Fatalf("in one piece %+v, cut up %+v", whole, c)
		}
		checkForms(t, b)
		checkAppend(t, b, c)
	})
}

// checkAppend: what Append gives is the LF form, and it finds the same as Write, in a Surveyor that was used before.
func checkAppend(t *rapid.T, b []byte, want Content) {
	s := NewSurveyor()
	s.Write([]byte("Date: x\r\n y\r\n\r\n\x00\xff\r"))
	s.Content()
	s.Reset()
	out := []byte("before")
	for rest := b; len(rest) > 0; {
		n := rapid.IntRange(0, len(rest)).Draw(t, "appended")
		was := len(out)
		if out = s.Append(out, rest[:n]); len(out) > was+n+1 {
			t.Fatalf("%d bytes became %d", n, len(out)-was)
		}
		rest = rest[n:]
	}
	if s.Held() {
		out = append(out, '\r')
	}
	if crlf, asLF := s.LineEnds(); crlf != want.CRLF || asLF != want.StoredAsLF() {
		t.Fatalf("LineEnds of %.200q: %d, %v", b, crlf, asLF)
	}
	if got := s.Content(); got != want {
		t.Fatalf("Append finds %+v, Write %+v", got, want)
	}
	if string(out) != "before"+string(lfOf(b)) {
		t.Fatalf("%.200q becomes %.200q", b, out)
	}
}

func FuzzSurvey(f *testing.F) {
	for _, s := range []string{
		"", "\n", "\r\n", "\r", "\r\r\n", "\n\r\n", "a\r\nb\nc\r\r\nd\r", "\x00", "A: b\r\n\r\nbody\r\n", "A: b\n c\n\nbody",
		"Message-ID:\r\n <x@y>\r\nDate: Mon,\r\n 2 Jan 2006 15:04:05 EST (x)\r\n\r\n", " lead\n\n", ":\n\n", "Date: \xff\n",
	} {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		s := NewSurveyor()
		for rest := b; len(rest) > 0; {
			n := max(1, min(piece, len(rest)))
			s.Write(rest[:n])
			rest = rest[n:]
		}
		c := s.Content()
		checkContent(t, b, c)
		if whole := survey(b); whole != c {
			t.Fatalf("in one piece %+v, in pieces of %d %+v", whole, piece, c)
		}
		checkForms(t, b)
	})
}

func TestLineEnds(t *testing.T) {
	type counts struct{ crlf, bareLF, crcrlf int64 }
	tests := []struct {
		wire        string
		want        counts
		asLF, raw   bool
		wireSize    int64
		description string
	}{
		{"", counts{}, true, false, 0, "empty"},
		{"a", counts{}, true, false, 1, "no line end"},
		{"a\r\n", counts{1, 0, 0}, true, false, 3, "as it should be"},
		{"a\n", counts{0, 1, 0}, false, true, 3, "bare LFs alone"},
		{"a\r\nb\n", counts{1, 1, 0}, false, false, 5, "mixed"},
		{"a\r\r\n", counts{1, 0, 1}, false, false, 4, "the LF form would hold a CRLF"},
		{"a\r\r\r\n", counts{1, 0, 1}, false, false, 5, "three CRs"},
		{"a\rb\r\n", counts{1, 0, 0}, true, false, 5, "a CR inside a line"},
		{"a\r", counts{}, true, false, 2, "a CR at the end"},
		{"\r\n\r\n", counts{2, 0, 0}, true, false, 4, "empty lines"},
		{"\n\r\n", counts{1, 1, 0}, false, false, 3, "an LF before a CRLF"},
		{"\r\n\n", counts{1, 1, 0}, false, false, 3, "an LF after a CRLF"},
		{"\r\n\r", counts{1, 0, 0}, true, false, 3, "a CR after a CRLF"},
		{"\r\x00\r\n", counts{1, 0, 0}, true, false, 4, "a NUL between CRs"},
	}
	for _, tt := range tests {
		for _, size := range []int{1, 2, 100} {
			s := NewSurveyor()
			io.CopyBuffer(s, onlyReader{strings.NewReader(tt.wire)}, make([]byte, size))
			c := s.Content()
			if got := (counts{c.CRLF, c.BareLF, c.CRCRLF}); got != tt.want {
				t.Errorf("%s, in pieces of %d: %+v, want %+v", tt.description, size, got, tt.want)
			}
			if c.StoredAsLF() != tt.asLF || c.NeedsRawMark() != tt.raw || c.WireSize() != tt.wireSize {
				t.Errorf("%s: StoredAsLF %v, NeedsRawMark %v, WireSize %d", tt.description, c.StoredAsLF(), c.NeedsRawMark(), c.WireSize())
			}
		}
	}
}

// onlyReader hides WriteTo.
type onlyReader struct{ io.Reader }

func TestDigest(t *testing.T) {
	var none Digest
	if !none.IsZero() || survey(nil).Digest.IsZero() {
		t.Error("only the zero Digest is none; that of no bytes is one")
	}
	if got, want := survey([]byte("a\r\n")).Digest.String(), "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7"; got != want {
		t.Errorf("Digest = %s, want %s", got, want)
	}
	if survey([]byte("a\r\n")).Digest != survey([]byte("a\n")).Digest {
		t.Error("the digest depends on the line ends")
	}
	for _, other := range []string{"a", "a\r", "a\r\r\n", "a\n\n", "\na"} {
		if survey([]byte(other)).Digest == survey([]byte("a\n")).Digest {
			t.Errorf("%q has the digest of another message", other)
		}
	}
}

func TestHeaderDigest(t *testing.T) {
	same := []string{
		"A: b\r\nC: d\r\n\r\nbody", "A: b\nC: d\n\nother body", "A: b\nC: d\n\n", "A: b\nC: d\n", "A: b\nC: d",
		"A: b\r\nC: d\r\n\r\n\r\n\r\n", "A: b\r\nC: d\r\n\nA: b",
	}
	want := sha256.Sum256([]byte("A: b\nC: d"))
	for _, m := range same {
		if got := survey([]byte(m)).Header; got != want {
			t.Errorf("%q has another header digest than the same header elsewhere", m)
		}
	}
	for _, m := range []string{"A: b\nC: d \n\n", "A: b\n\nC: d\n", "A: b\n C: d\n\n", "A: b\nC: d\r\r\n\r\n", "C: d\nA: b\n\n"} {
		if survey([]byte(m)).Header == want {
			t.Errorf("%q has the header digest of another header", m)
		}
	}
	for _, m := range []string{"", "\n", "\r\n", "\r\nA: b\r\n", "\n\n\n"} {
		if got := survey([]byte(m)).Header; !got.IsZero() {
			t.Errorf("%q has no header, but a digest of it", m)
		}
	}
}

func TestMessageID(t *testing.T) {
	tests := []struct {
		header string
		want   bool
	}{
		{"Message-ID: <a@b>", true},
		{"message-id:<a@b>", true},
		{"MESSAGE-ID : <a@b>", true},
		{"Message-ID:\n <a@b>", true},
		{"Message-ID:\r\n\t<a@b>\r\n", true},
		{"Subject: x\nMessage-ID: <a@b>\nTo: y", true},
		{"Message-ID:\nMessage-ID: <a@b>", true},
		{"X-Long: " + strings.Repeat("x", 5000) + "\nMessage-ID: <a@b>", true},
		{"", false},
		{"Message-ID:", false},
		{"Message-ID: \n  \nTo: y", false},
		{"Message-ID:\n\n<a@b>", false},
		{"Subject: x\n\nMessage-ID: <a@b>", false},
		{"Subject: x\n Message-ID: <a@b>", false},
		{"X-Message-ID: <a@b>", false},
		{"Message-ID", false},
		{"MESSAGE-İD: <a@b>", false},
		{"Meſſage-ID: <a@b>", false},
	}
	for _, tt := range tests {
		if got := survey([]byte(tt.header)).HasMessageID; got != tt.want {
			t.Errorf("%.100q: HasMessageID = %v", tt.header, got)
		}
	}
}

func TestDate(t *testing.T) {
	utc := func(y int, m time.Month, d, h, min, s int) time.Time {
		return time.Date(y, m, d, h, min, s, 0, time.UTC)
	}
	tests := []struct {
		field string
		want  time.Time
	}{
		{"Date: Mon, 2 Jan 2006 15:04:05 -0700", utc(2006, 1, 2, 22, 4, 5)},
		{"date:2 Jan 2006 15:04:05 +0100", utc(2006, 1, 2, 14, 4, 5)},
		{"Date: Mon,\r\n 2 Jan 2006\r\n\t15:04:05 +0000", utc(2006, 1, 2, 15, 4, 5)},
		{"Date: Mon, 2 Jan 2006 15:04:05 +0100 (CET)", utc(2006, 1, 2, 14, 4, 5)},
		{"Date: 2 Jan 06 15:04 +0000", utc(2006, 1, 2, 15, 4, 0)},
		// The zones of old (RFC 5322, 4.3) don't mean what they mean where this runs.
		{"Date: 2 Jan 2006 15:04:05 GMT", utc(2006, 1, 2, 15, 4, 5)},
		{"Date: 2 Jan 2006 15:04:05 UT", utc(2006, 1, 2, 15, 4, 5)},
		{"Date: 2 Jan 2006 15:04:05 Z", utc(2006, 1, 2, 15, 4, 5)},
		{"Date: 2 Jan 2006 15:04:05 EST", utc(2006, 1, 2, 20, 4, 5)},
		{"Date: 2 Jan 2006 15:04:05 est (Eastern)", utc(2006, 1, 2, 20, 4, 5)},
		{"Date: Tue, 2 Jul 2006 15:04:05 EDT", utc(2006, 7, 2, 19, 4, 5)},
		{"Date: 2 Jan 2006 15:04:05 CST", utc(2006, 1, 2, 21, 4, 5)},
		{"Date: 2 Jan 2006 15:04:05 MST", utc(2006, 1, 2, 22, 4, 5)},
		{"Date: 2 Jan 2006 15:04:05 PST", utc(2006, 1, 2, 23, 4, 5)},
		{"Date: 2 Jul 2006 15:04:05 PDT", utc(2006, 7, 2, 22, 4, 5)},
		{"Date: 2 Jan 2006 15:04:05 CET", utc(2006, 1, 2, 15, 4, 5)},
		{"Date: 2 Jan 2006 15:04:05 CST (China, which means +0800)", utc(2006, 1, 2, 21, 4, 5)},
		// The first one counts.
		{"Date: 2 Jan 2006 15:04:05 +0000\nDate: 3 Jan 2006 15:04:05 +0000", utc(2006, 1, 2, 15, 4, 5)},
		{"Date:\nDate: 3 Jan 2006 15:04:05 +0000", utc(2006, 1, 3, 15, 4, 5)},
		{"Date: yesterday\nDate: 3 Jan 2006 15:04:05 +0000", time.Time{}},
		{"Subject: x\n\nDate: 2 Jan 2006 15:04:05 +0000", time.Time{}},
		{"X-Date: 2 Jan 2006 15:04:05 +0000", time.Time{}},
		{"Date: 31 Feb 2006 15:04:05 +0000", time.Time{}},
		{"Date: 2 Jan 2006 15:04:05 PM", time.Time{}},
		{"Date: (", time.Time{}},
		{"Date: " + strings.Repeat("(", 2000), time.Time{}},
		{"Date:" + strings.Repeat(" ", 2000) + "2 Jan 2006 15:04:05 +0000", time.Time{}},
	}
	// What an abbreviation means must not depend on where this runs.
	shanghai := time.FixedZone("CST", 8*3600)
	defer func(l *time.Location) { time.Local = l }(time.Local)
	for _, local := range []*time.Location{time.UTC, shanghai, time.FixedZone("EST", 11*3600)} {
		time.Local = local
		for _, tt := range tests {
			if got := survey([]byte(tt.field)).Date; got != tt.want {
				t.Errorf("%.100q: Date = %v, want %v", tt.field, got, tt.want)
			}
		}
	}
}

func TestSurveyorMemory(t *testing.T) {
	s := NewSurveyor()
	s.Write(append(bytes.Repeat([]byte("0123456789\r\n"), 1<<20), strings.Repeat("X", 1<<20)...))
	if n := cap(s.buf) + cap(s.header.field); n > 2*surveyBlock {
		t.Errorf("a Surveyor of a large message holds %d bytes", n)
	}
	s = NewSurveyor()
	s.Write([]byte("A: b\r\n\r\n"))
	p := bytes.Repeat([]byte("some text\r\n"), 1000)
	if n := testing.AllocsPerRun(100, func() { s.Write(p) }); n > 0 {
		t.Errorf("Write allocates %v times", n)
	}
}

func TestSurvey(t *testing.T) {
	c, err := Survey(iotest.OneByteReader(strings.NewReader("A: b\r\n\r\nx\x00")))
	if err != nil || c != survey([]byte("A: b\r\n\r\nx\x00")) {
		t.Errorf("Survey = %+v, %v", c, err)
	}
	broken := errors.New("broken")
	if _, err := Survey(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("Survey of a broken reader: %v", err)
	}
}

func TestWireReader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		file := bytes.ReplaceAll(messages().Draw(t, "file"), []byte("\r\n"), []byte("\n"))
		var r io.Reader = bytes.NewReader(file)
		switch rapid.IntRange(0, 3).Draw(t, "reader") {
		case 1:
			r = iotest.OneByteReader(r)
		case 2:
			r = iotest.HalfReader(r)
		case 3:
			r = iotest.DataErrReader(r)
		}
		w := WireReader(r)
		var got []byte
		for {
			p := make([]byte, rapid.OneOf(rapid.IntRange(0, 3), rapid.Just(512)).Draw(t, "room"))
			n, err := w.Read(p)
			got = append(got, p[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil || (n == 0 && len(p) > 0) {
				t.Fatalf("Read = %d, %v with room for %d", n, err, len(p))
			}
		}
		if !bytes.Equal(got, crlfOf(file)) {
			t.Fatalf("%.200q goes out as %.200q", file, got)
		}
		if n, err := w.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatalf("after the end: %d, %v", n, err)
		}
	})
	if err := iotest.TestReader(WireReader(strings.NewReader("a\n\nb\n")), []byte("a\r\n\r\nb\r\n")); err != nil {
		t.Error(err)
	}
}

func TestWireReaderErrors(t *testing.T) {
	broken := errors.New("broken")
	got, err := io.ReadAll(WireReader(io.MultiReader(strings.NewReader("a\n"), iotest.ErrReader(broken))))
	if string(got) != "a\r\n" || !errors.Is(err, broken) {
		t.Errorf("a broken file gives %q, %v", got, err)
	}
	// A reader that never comes to a point does not hold us up.
	if _, err := io.ReadAll(WireReader(idleReader{})); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("an idle reader gives %v", err)
	}
}

type idleReader struct{}

func (idleReader) Read([]byte) (int, error) { return 0, nil }

func benchmarkTexts() map[string][]byte {
	line := "The quick brown fox jumps over the lazy dog, and then once more for luck.\n"
	lf := []byte("Subject: x\nDate: Mon, 2 Jan 2006 15:04:05 -0700\nMessage-ID: <a@b>\n\n" + strings.Repeat(line, 1<<20/len(line)))
	return map[string][]byte{
		"LF": lf, "CRLF": crlfOf(lf), "base64": bytes.Repeat([]byte("A"), 1<<20), "CRs": bytes.Repeat([]byte("\r"), 1<<20),
		"empty lines": append([]byte("A: b"), bytes.Repeat([]byte("\r\n"), 1<<19)...),
	}
}

// BenchmarkSurveyor measures the whole, BenchmarkLFForm the part that is not SHA-256.
func BenchmarkSurveyor(b *testing.B) {
	for name, text := range benchmarkTexts() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			s := NewSurveyor()
			for b.Loop() {
				for p := text; len(p) > 0; p = p[min(len(p), 32<<10):] {
					s.Write(p[:min(len(p), 32<<10)])
				}
			}
		})
	}
}

func BenchmarkLFForm(b *testing.B) {
	for name, text := range benchmarkTexts() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			s := NewSurveyor()
			for b.Loop() {
				for p := text; len(p) > 0; p = p[min(len(p), surveyBlock):] {
					s.begin(p[:min(len(p), surveyBlock)])
					s.buf = s.lfForm(s.buf[:0], p[:min(len(p), surveyBlock)])
				}
			}
		})
	}
}

// BenchmarkSmallMessage is what a message costs besides its bytes.
func BenchmarkSmallMessage(b *testing.B) {
	text := benchmarkTexts()["CRLF"][:3000]
	b.ReportAllocs()
	for b.Loop() {
		survey(text)
	}
}

func BenchmarkWireReader(b *testing.B) {
	text := benchmarkTexts()["LF"]
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		io.Copy(io.Discard, WireReader(bytes.NewReader(text)))
	}
}
