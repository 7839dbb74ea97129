package mail

import (
	netmail "net/mail"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestArrivalDate(t *testing.T) {
	now := time.Date(2025, 6, 2, 10, 0, 0, 0, time.UTC)
	good := time.Date(2020, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600))
	other := time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC)
	epoch := time.Unix(0, 0)
	last := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	tests := []struct {
		name                       string
		arrived, header, now, want time.Time
	}{
		{"as it came", good, other, now, good},
		{"the epoch", epoch, other, now, epoch},
		{"a day ahead", now.Add(24 * time.Hour), other, now, now.Add(24 * time.Hour)},
		{"more than a day ahead", now.Add(24*time.Hour + 1), other, now, other},
		{"before 1970", epoch.Add(-1), other, now, other},
		{"before 1970 in UTC only", time.Date(1970, 1, 1, 0, 30, 0, 0, time.FixedZone("", 3600)), other, now, other},
		{"none", time.Time{}, other, now, other},
		{"none at all", time.Time{}, time.Time{}, now, now},
		{"a bad header too", time.Time{}, now.AddDate(0, 0, 2), now, now},
		{"an old header too", epoch.Add(-time.Second), epoch.Add(-time.Second), now, now},
		{"the last second", last, other, last, last},
		{"the year 10000", last.Add(time.Second), other, last, other},
		{"the year 10000 in UTC only", time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600)), other, last, other},
		{"far away", time.Unix(1<<60, 0), time.Unix(-1<<60, 0), now, now},
	}
	for _, tt := range tests {
		if got := ArrivalDate(tt.arrived, tt.header, tt.now); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestCommonDate: the short way gives what the long one gives, or leaves it to that.
func TestCommonDate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := func(name string, likely ...string) string {
			odd := []string{"", "0", "00", "31", "99", "12345", "+", " ", "Foo", "mon", "JAN", "anF", "é"}
			return rapid.SampledFrom(append(append(append(likely, likely...), likely...), odd[rapid.IntRange(0, len(odd)-1).Draw(t, name+" odd")])).Draw(t, name)
		}
		field := part("weekday", "Mon", "Sun") + part("comma", ", ", ", ", ",  ") + part("day", "1", "09", "29", "30") + part("space", " ") +
			part("month", "Jan", "Feb", "Dec") + " " + part("year", "2006", "0000", "9999") + " " + part("hour", "00", "23", "24") + ":" +
			part("minute", "00", "59", "60") + ":" + part("second", "00", "59", "60") + " " + part("sign", "+", "-") + part("zone", "0000", "0530", "2359", "2400", "0060")
		got, ok := commonDate([]byte(field))
		want, err := netmail.ParseDate(plainDate(field))
		if ok && (err != nil || got != want.UTC()) {
			t.Fatalf("%q: %v, and ParseDate says %v, %v", field, got, want, err)
		}
	})
	if _, ok := commonDate([]byte("Mon, 2 Jan 2006 15:04:05 -0700")); !ok {
		t.Error("the usual date is not read the short way")
	}
	if _, ok := commonDate([]byte("Mon, 12 Jan 2006 15:04:05 +0000")); !ok {
		t.Error("the usual date is not read the short way")
	}
}
