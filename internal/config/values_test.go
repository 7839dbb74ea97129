package config

import (
	"strings"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "1": 1, "50MB": 50e6, "50 MB": 50e6, "1  MB": 1e6, "50mb": 50e6, "1GiB": 1 << 30, "2kB": 2000, "2KiB": 2048, "3TB": 3e12, "1TiB": 1 << 40,
		"100B": 100, "9223372036854775807": 1<<63 - 1, "9223372036854775808": -1, "9223372036854775807kB": -1,
		"": -1, "MB": -1, "-1": -1, "+1": -1, "1.5GB": -1, "1M": -1, "1MBB": -1, "1i": -1, " 1": -1, "0x10": -1, "1_000": -1,
	} {
		got, ok := parseSize(s)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", s, got, want)
		}
	}
}

func TestParseSpan(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0": 0, "0d": 0, "30d": 720 * time.Hour, "4w": 672 * time.Hour, "12h": 12 * time.Hour, "36500d": maxDays * 24 * time.Hour,
		"": -1, "d": -1, "30": -1, "30m": -1, "-1d": -1, "36501d": -1, "99999999999999999999d": -1, "1.5d": -1, "1 d": -1, "1000000000w": -1,
	} {
		got, ok := parseSpan(s)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
}

func TestParseMoment(t *testing.T) {
	zone := time.FixedZone("east", 2*60*60)
	now := time.Date(2024, 3, 1, 13, 14, 15, 16, zone)
	for s, want := range map[string]time.Time{
		"2h": now.Add(-2 * time.Hour), "3d": now.Add(-72 * time.Hour), "1w": now.Add(-168 * time.Hour),
		"2024-01-31":                time.Date(2024, 1, 31, 0, 0, 0, 0, zone),
		"2024-01-31 15:04":          time.Date(2024, 1, 31, 15, 4, 0, 0, zone),
		"2024-01-31T15:04":          time.Date(2024, 1, 31, 15, 4, 0, 0, zone),
		"2024-01-31 15:04:05":       time.Date(2024, 1, 31, 15, 4, 5, 0, zone),
		"2024-01-31T15:04:05":       time.Date(2024, 1, 31, 15, 4, 5, 0, zone),
		"2024-01-31T15:04:05Z":      time.Date(2024, 1, 31, 15, 4, 5, 0, time.UTC),
		"2024-01-31T15:04:05+01:00": time.Date(2024, 1, 31, 14, 4, 5, 0, time.UTC),
	} {
		if got, err := ParseMoment(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "0d", "soon", "2", "-2h", "15:04", "2024-13-01", "2024-01-31 25:00", "36501d"} {
		if got, err := ParseMoment(s, now); err == nil || !strings.Contains(err.Error(), `"3d"`) {
			t.Errorf("%q: %v %v", s, got, err)
		}
	}
}

func TestParseMaxDelete(t *testing.T) {
	for _, s := range []string{"0%", "50%", "100%", "0", "1", "100", "off"} {
		m, ok := parseMaxDelete(s)
		if !ok || m.String() != s {
			t.Errorf("%q: %+v", s, m)
		}
	}
	for _, s := range []string{"", "%", "101%", "-1", "-1%", "1.5%", "on", "OFF", "50 %", "99999999999999999999"} {
		if m, ok := parseMaxDelete(s); ok {
			t.Errorf("%q: %+v", s, m)
		}
	}
}

func TestSince(t *testing.T) {
	zone := time.FixedZone("east", 2*60*60)
	now := time.Date(2024, 3, 1, 13, 14, 15, 16, zone)
	for s, want := range map[string]time.Time{
		"":           {},
		"1d":         time.Date(2024, 2, 29, 0, 0, 0, 0, zone),
		"365d":       time.Date(2023, 3, 2, 0, 0, 0, 0, zone),
		"2024-01-01": time.Date(2024, 1, 1, 0, 0, 0, 0, zone),
		"1970-01-01": time.Date(1970, 1, 1, 0, 0, 0, 0, zone),
	} {
		since, ok := parseSince(s)
		if !ok || !since.Cut(now).Equal(want) || since.String() != s || since.IsZero() != (s == "") {
			t.Errorf("%q: %+v cuts at %v, want %v", s, since, since.Cut(now), want)
		}
	}
	early := time.Date(2024, 3, 1, 0, 0, 1, 0, zone)
	if s, _ := parseSince("7d"); !s.Cut(early).Equal(s.Cut(now)) {
		t.Error("a relative limit moves within a day")
	}
	for _, s := range []string{"0d", "d", "-1d", "36501d", "2024-1-1", "2024-02-30", "1969-12-31", "yesterday", "2024-01-01T00:00:00Z", "30"} {
		if since, ok := parseSince(s); ok {
			t.Errorf("%q: %+v", s, since)
		}
	}
}

func TestWithin(t *testing.T) {
	for _, tt := range []struct {
		outer, inner string
		want         bool
	}{
		{"/a", "/a", true}, {"/a", "/a/b", true}, {"/a/b", "/a", false}, {"/a", "/ab", false}, {"/a", "/b", false}, {"/a", "/a/..b", true}, {"/", "/a", true},
	} {
		if got := within(tt.outer, tt.inner); got != tt.want {
			t.Errorf("within(%s, %s) is %v", tt.outer, tt.inner, got)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"mode", "map", "maildir", "max_delete", "password_command"}
	for name, want := range map[string]string{
		"mod": "mode", "Mode": "mode", "mdoe": "mode", "maildirs": "maildir", "max-delete": "max_delete", "maxdelete": "max_delete",
		"password_cmd": "password_command", "xyz": "", "": "", "a_very_long_name_that_is_none": "",
	} {
		if got := nearest(name, words); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
