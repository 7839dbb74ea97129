package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// MaxDelete is the mass-deletion guard's limit: a share, a count, or none. The zero value is a count of zero.
type MaxDelete struct {
	Off     bool
	IsShare bool
	Percent int // 0 to 100, if IsShare
	Count   int // if neither Off nor IsShare
}

// String spells the limit as the configuration does.
func (m MaxDelete) String() string {
	switch {
	case m.Off:
		return "off"
	case m.IsShare:
		return fmt.Sprintf("%d%%", m.Percent)
	}
	return strconv.Itoa(m.Count)
}

const maxDeleteAllowed = `a share such as "50%", a count such as "100", or "off"`

func parseMaxDelete(s string) (MaxDelete, bool) {
	if s == "off" {
		return MaxDelete{Off: true}, true
	}
	if share, ok := strings.CutSuffix(s, "%"); ok {
		n, ok := parseCount(share)
		return MaxDelete{IsShare: true, Percent: n}, ok && n <= 100
	}
	n, ok := parseCount(s)
	return MaxDelete{Count: n}, ok
}

// parseCount reads digits, up to a thousand million.
func parseCount(s string) (int, bool) {
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n <= 1_000_000_000
}

// Since says from when on messages are transferred: a number of days ago, a date, or always (the zero value).
// Values can be compared.
type Since struct {
	days int
	date civil
}

// civil is a day of the calendar, wherever one is.
type civil struct {
	year  int
	month time.Month
	day   int
}

// IsZero reports whether there is no limit.
func (s Since) IsZero() bool { return s == Since{} }

// Cut returns the moment before which messages are not transferred, zero if there is no limit. It is the
// beginning of a day in now's place, so that it stays the same during a day.
func (s Since) Cut(now time.Time) time.Time {
	switch {
	case s.IsZero():
		return time.Time{}
	case s.days > 0:
		y, m, d := now.Date()
		return time.Date(y, m, d-s.days, 0, 0, 0, 0, now.Location())
	}
	return time.Date(s.date.year, s.date.month, s.date.day, 0, 0, 0, 0, now.Location())
}

// String spells the limit as the configuration does.
func (s Since) String() string {
	switch {
	case s.IsZero():
		return ""
	case s.days > 0:
		return strconv.Itoa(s.days) + "d"
	}
	return fmt.Sprintf("%04d-%02d-%02d", s.date.year, s.date.month, s.date.day)
}

const (
	sinceAllowed = `a number of days such as "365d", a date such as "2024-01-01", or "" for all messages`

	// maxDays is a hundred years.
	maxDays = 36500
)

func parseSince(s string) (Since, bool) {
	if s == "" {
		return Since{}, true
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, ok := parseCount(days)
		return Since{days: n}, ok && n >= 1 && n <= maxDays
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || t.Year() < 1970 {
		return Since{}, false
	}
	y, m, d := t.Date()
	return Since{date: civil{y, m, d}}, true
}

const spanAllowed = `a time such as "30d", "4w" or "12h", or "0" for off`

// parseSpan reads a number of hours, days or weeks.
func parseSpan(s string) (time.Duration, bool) {
	if s == "0" {
		return 0, true
	}
	if s == "" {
		return 0, false
	}
	unit := map[byte]time.Duration{'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[s[len(s)-1]]
	n, ok := parseCount(s[:len(s)-1])
	// Compared before multiplying, which could overflow.
	if !ok || unit == 0 || time.Duration(n) > maxDays*24*time.Hour/unit {
		return 0, false
	}
	return time.Duration(n) * unit, true
}

// momentAllowed says what ParseMoment takes.
const momentAllowed = `a time ago such as "2h", "3d" or "4w", or a date such as "2024-01-31", "2024-01-31 15:04" or "2024-01-31T15:04:05Z"`

// ParseMoment reads a moment in the past as people name it: how long ago it was, as in the configuration, or when, in now's place
// unless it says which.
func ParseMoment(s string, now time.Time) (time.Time, error) {
	if span, ok := parseSpan(s); ok && span > 0 {
		return now.Add(-span), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly, "2006-01-02 15:04", "2006-01-02T15:04", time.DateTime, "2006-01-02T15:04:05"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s is not allowed; allowed is %s", quote(s), momentAllowed)
}

const sizeAllowed = `a size such as "50MB", "1GiB" or a number of bytes, or "0" for no limit`

const budgetAllowed = `a size such as "2500MB", "1GiB" or a number of bytes, or "0" for no limit`

// parseSize reads a number of bytes with or without a unit, decimal (kB) or binary (KiB).
func parseSize(s string) (int64, bool) {
	digits := strings.TrimRight(s, "BbKkMmGgTtIi ")
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, false
	}
	factor, ok := map[string]uint64{
		"": 1, "b": 1,
		"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
		"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	}[strings.ToLower(strings.TrimSpace(s[len(digits):]))]
	if !ok || n > (1<<63-1)/factor {
		return 0, false
	}
	return int64(n * factor), true
}

// expandPath turns a path from the file into an absolute, clean one. Only a "~" for the home
// directory is expanded. The error says what is allowed.
func expandPath(path, home string) (string, error) {
	rest, isHome := strings.CutPrefix(path, "~")
	switch {
	case strings.ContainsRune(path, 0):
		return "", errors.New("a path can't hold a NUL character")
	case strings.HasPrefix(path, "$"):
		return "", fmt.Errorf("%s is not allowed: environment variables are not expanded; allowed is an absolute path, or one that begins with ~/", quote(path))
	case isHome && rest != "" && !strings.HasPrefix(rest, "/"):
		return "", fmt.Errorf("%s is not allowed: other people's ~ is not expanded; allowed is an absolute path, or one that begins with ~/", quote(path))
	case isHome && home == "":
		return "", fmt.Errorf("%s can't be expanded, because HOME is not set; allowed is an absolute path", quote(path))
	case isHome:
		path = filepath.Join(home, rest)
	}
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%s is not allowed: it would depend on where Satchel is started; allowed is an absolute path, or one that begins with ~/", quote(path))
	}
	return filepath.Clean(path), nil
}

// real is where a path really lies, by which two are compared.
func (s source) real(path string) string {
	if s.follow == nil || path == "" {
		return path
	}
	return s.follow(path)
}

// followLinks follows the symbolic links in an absolute path as far as it exists.
func followLinks(path string) string {
	for dir, below := path, ""; ; {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, below)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return path
		}
		dir, below = parent, filepath.Join(filepath.Base(dir), below)
	}
}

// within reports whether the clean path inner is outer or lies below it.
func within(outer, inner string) bool {
	rel, err := filepath.Rel(outer, inner)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

const folderAllowed = `a local folder name such as "Trash" or "Archive/2024"`

// isFolder reports whether s is a local folder name as it would stand in a Maildir.
func isFolder(s string) bool {
	path := mail.FolderName(s).Path()
	f, err := mail.NewFolderName(path)
	return err == nil && string(f) == s
}

// specialUses are the folders that can be named by their use (RFC 6154, RFC 8457).
func specialUses() []string {
	return []string{`\All`, `\Archive`, `\Drafts`, `\Flagged`, `\Important`, `\Junk`, `\Sent`, `\Trash`}
}

// checkPattern returns what is wrong with a folder pattern, empty if nothing is.
func checkPattern(p string) string {
	switch {
	case p == "":
		return "an empty pattern is not allowed"
	case strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return quote(p) + " is not allowed: it holds a control character"
	case strings.HasPrefix(p, `\`):
		for _, use := range specialUses() {
			if strings.EqualFold(use, p) {
				return ""
			}
		}
		return p + " is no special use"
	}
	return ""
}
