package mail

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func surveyDrop(pieces ...string) Content {
	s := NewMaildropSurveyor()
	s.Write([]byte("Status: of another\n"))
	s.Content()
	s.Reset()
	for _, p := range pieces {
		s.Write([]byte(p))
	}
	return s.Content()
}

func TestMaildropNotes(t *testing.T) {
	const plain = "From: a\r\nMessage-ID: <x@y>\r\n\r\nStatus: of the body\r\n"
	want := survey([]byte(plain))
	for _, m := range []string{
		plain,
		"Status: RO\r\n" + plain,
		"From: a\r\nSTATUS: O\r\nx-status: \r\nX-UIDL: 12 34\r\nMessage-ID: <x@y>\r\n\r\nStatus: of the body\r\n",
		"From: a\r\nMessage-ID: <x@y>\r\nX-UIDL: a\r\n folded\r\n\tStatus: too\r\n\r\nStatus: of the body\r\n",
	} {
		if c := surveyDrop(m); c.Digest != want.Digest || c.Header != want.Header || !c.HasMessageID || c.Size != int64(len(m)) {
			t.Errorf("%q: %+v", m, c)
		}
	}
	for _, m := range []string{
		"From: a\r\nMessage-ID: <x@y>\r\n\r\nStatus: another body\r\n",
		"From: a\r\nMessage-ID: <x@y>\r\nStatuses: 1\r\n\r\nStatus: of the body\r\n",
		"From: a\r\nMessage-ID: <x@y>\r\nX-Stat\r\n\r\nStatus: of the body\r\n",
		"From: a\r\nMessage-ID: <x@y>\r\n Status: folded\r\n\r\nStatus: of the body\r\n",
	} {
		if c := surveyDrop(m); c.Digest == want.Digest || c.Header == want.Header && !strings.Contains(m, "another") || c.Digest != survey([]byte(m)).Digest {
			t.Errorf("%q is taken for the other", m)
		}
	}
	for _, m := range []string{"", "Stat", "X-", "Status:", "s", "\r"} {
		want := survey([]byte(m))
		if m == "Status:" {
			want.Digest, want.Header = survey(nil).Digest, survey(nil).Header
		}
		if c := surveyDrop(m); c.Digest != want.Digest || c.Header != want.Header {
			t.Errorf("%q: %+v, want %+v", m, c, want)
		}
	}
}

// TestMaildropNotesInPieces: notes don't matter, and how the message is cut up does not either.
func TestMaildropNotesInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var with, without strings.Builder
		line := rapid.SampledFrom([]string{"Subject: s", "Status", "X-Stat: 1", "X-UID: 3", "Message-ID: <a@b>", "x", "To: Status: a"})
		note := rapid.SampledFrom([]string{"Status: RO", "X-Status:", "X-UIDL: a b", "status: \n  more"})
		end := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "line end")
		for range rapid.IntRange(0, 6).Draw(t, "lines") {
			if rapid.Bool().Draw(t, "note") {
				with.WriteString(note.Draw(t, "which") + end)
				continue
			}
			l := line.Draw(t, "line") + end
			with.WriteString(l)
			without.WriteString(l)
		}
		body := end + rapid.SampledFrom([]string{"", "Status: x", "body\r\n\nStatus: y\n"}).Draw(t, "body")
		text := with.String() + body
		want := survey([]byte(without.String() + body))
		var pieces []string
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		got := surveyDrop(pieces...)
		if got.Digest != want.Digest || got.Header != want.Header || got.HasMessageID != want.HasMessageID || got.Size != int64(len(text)) {
			t.Fatalf("%q in pieces %q: %+v, want %+v", text, pieces, got, want)
		}
	})
}
