package imap

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestDatesAreReadAsTimeReadsThem: what is read faster is read the same.
func TestDatesAreReadAsTimeReadsThem(t *testing.T) {
	check := func(text string) (usual bool) {
		t.Helper()
		want, err := time.Parse(dateLayout, text)
		if err != nil {
			want = time.Time{}
		}
		if got := parseDate([]byte(text)); !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
		_, usual = usualDate([]byte(text))
		return usual
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		at := time.Unix(rnd.Int64N(4_000_000_000)-500_000_000, 0).In(time.FixedZone("", 60*(rnd.IntN(24*60*2-1)-24*60+1)))
		text := at.Format(dateLayout)
		if !check(text) || !check(at.Format("02-Jan-2006 15:04:05 -0700")) {
			t.Errorf("%q is not usual", text)
		}
		b := []byte(text)
		b[rnd.IntN(len(b))] = "0123456789 -+:aJN"[rnd.IntN(17)]
		check(string(b))
	}
	for _, text := range []string{"31-Feb-2020 00:00:00 +0000", "29-Feb-2019 00:00:00 +0000", "29-Feb-2020 00:00:00 +0000", " 0-Jan-2020 00:00:00 +0000",
		"01-jan-2020 00:00:00 +0000", "1-Jan-2020 00:00:00 +0000", "01-Jan-2020 24:00:00 +0000", "01-Jan-2020 00:00:60 +0000", "01-Jan-2020 00:00:00 +2400",
		"01-Jan-2020 00:00:00 +0060", "01-Jan-2020 00:00:00 00000", "01-Jan-0000 00:00:00 +0000", "31-Dec-9999 23:59:59 -2359", ""} {
		check(text)
	}
}

// FuzzDate: whatever a server calls a date, it is read as package time reads it, and what can be sent comes back.
func FuzzDate(f *testing.F) {
	for _, text := range []string{"02-Jun-2025 10:00:00 +0000", " 2-Jan-2006 15:04:05 -0700", "31-Feb-2025 10:00:00 +0000", "00-Foo-0000 99:99:99 +9999", "", "29-Feb-0000 00:00:00 +0000", "01-Jan-9999 23:59:59 -1200"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, err := time.Parse(dateLayout, text)
		if err != nil {
			want = time.Time{}
		}
		got := parseDate([]byte(text))
		if !got.Equal(want) {
			t.Fatalf("%q is %v, want %v", text, got, want)
		}
		if canFormat(got) && !parseDate([]byte(formatDate(got))).Equal(got) {
			t.Fatalf("%v is sent as %q", got, formatDate(got))
		}
	})
}
