package remote

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxText bounds what of a server's words is kept.
const MaxText = 500

// CleanText makes the server's words fit to be shown: no control characters (a terminal would obey them),
// valid UTF-8, of bounded length.
func CleanText(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.TrimSpace(s)
	if len(s) > MaxText {
		cut := MaxText
		for !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return s
}
