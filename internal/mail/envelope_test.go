package mail

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadEnvelope(t *testing.T) {
	for _, c := range []struct{ what, text, from, subject string }{
		{"plain", "From: Anna <anna@example.org>\nSubject: Lunch\n\nSubject: not this\n", "Anna", "Lunch"},
		{"CRLF, folded, other case", "SUBJECT: a\r\n b\r\n\tc\r\nfrom : b@example.org\r\n\r\n", "b@example.org", "a b c"},
		{"encoded", "From: =?utf-8?q?J=C3=B6rg?= <j@example.org>\nSubject: =?ISO-8859-1?Q?Gr=FC=DFe?=\n\n", "Jörg", "Grüße"},
		{"the first counts", "Subject: one\nSubject: two\nFrom: a@example.org, b@example.org\n", "a@example.org", "one"},
		{"no address", "From: nobody in particular <\nSubject:\n\n", "nobody in particular <", ""},
		{"a group without members", "From: undisclosed:;\n", "undisclosed:;", ""},
		{"unknown character set", "Subject: =?x-unknown?q?abc?=\n", "", "=?x-unknown?q?abc?="},
		{"no header", "\nSubject: x\n", "", ""},
		{"nothing", "", "", ""},
		{"a line that is no field", "From MAILER Mon Jan\nSubject: x\n", "", "x"},
		{"endless", "Subject: x\nX: " + strings.Repeat("y", maxEnvelope) + "\nFrom: late@example.org\n", "", "x"},
	} {
		t.Run(c.what, func(t *testing.T) {
			got, err := ReadEnvelope(strings.NewReader(c.text))
			if err != nil || got.From != c.from || got.Subject != c.subject {
				t.Errorf("%+v, %v; want %q and %q", got, err, c.from, c.subject)
			}
		})
	}
	if _, err := ReadEnvelope(iotest.ErrReader(errors.New("no disk"))); err == nil {
		t.Error("an error is not told")
	}
}

func FuzzReadEnvelope(f *testing.F) {
	f.Add("From: =?utf-8?q?J=C3=B6rg?= <j@example.org>\nSubject: a\n b\n\n")
	f.Add(" \n:\nFrom:,\n")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := ReadEnvelope(strings.NewReader(text)); err != nil {
			t.Error(err)
		}
	})
}
