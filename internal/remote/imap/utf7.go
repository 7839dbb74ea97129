package imap

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// base64Name is the alphabet of modified UTF-7 (RFC 3501, section 5.1.3).
var base64Name = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// encodeName spells UTF-8 text in modified UTF-7.
func encodeName(text string) string {
	var b strings.Builder
	var units []uint16 // to be encoded
	flush := func() {
		if len(units) == 0 {
			return
		}
		raw := make([]byte, 0, 2*len(units))
		for _, u := range units {
			raw = append(raw, byte(u>>8), byte(u))
		}
		b.WriteString("&" + base64Name.EncodeToString(raw) + "-")
		units = units[:0]
	}
	for _, r := range text {
		switch {
		case r == '&':
			flush()
			b.WriteString("&-")
		case r >= ' ' && r <= '~':
			flush()
			b.WriteRune(r)
		default:
			units = utf16.AppendRune(units, r)
		}
	}
	flush()
	return b.String()
}

// decodeName reads modified UTF-7. It reports false for anything that encodeName would not have
// written, so that no two names read the same.
func decodeName(name string) (string, bool) {
	var b strings.Builder
	for rest := name; rest != ""; {
		plain, after, shifted := strings.Cut(rest, "&")
		b.WriteString(plain)
		if !shifted {
			break
		}
		code, tail, closed := strings.Cut(after, "-")
		if !closed {
			return "", false
		}
		rest = tail
		if code == "" {
			b.WriteByte('&')
			continue
		}
		raw, err := base64Name.DecodeString(code)
		if err != nil || len(raw)%2 != 0 {
			return "", false
		}
		units := make([]uint16, len(raw)/2)
		for i := range units {
			units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
		}
		for _, r := range utf16.Decode(units) {
			b.WriteRune(r)
		}
	}
	text := b.String()
	return text, utf8.ValidString(text) && encodeName(text) == name
}

// readName decodes a name for people and paths; one that is no modified UTF-7 is shown as the bytes that it
// is, those outside of UTF-8 as %XX.
func readName(name string) string {
	if text, ok := decodeName(name); ok {
		return text
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		if r == utf8.RuneError && n == 1 {
			b.WriteString("%" + string(hex[name[i]>>4]) + string(hex[name[i]&15]))
		} else {
			b.WriteString(name[i : i+n])
		}
		i += n
	}
	return b.String()
}
