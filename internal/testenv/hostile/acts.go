package hostile

import (
	"fmt"
	"io"
)

// On is an act that only touches the answers to some commands.
func On(do Act, verbs ...string) Act {
	return func(x *Exchange) {
		if x.Is(verbs...) {
			do(x)
		}
	}
}

// Endless says something for as long as anybody listens, or up to a bound that no client should reach.
func Endless(begin string, piece func(n int) string) Act {
	return func(x *Exchange) {
		Flood(x, begin, piece)
		x.Untagged, x.Result, x.End = nil, "", HangUp
	}
}

// Flood writes what Endless says.
func Flood(w io.Writer, begin string, piece func(n int) string) {
	const block = 64 << 10
	const most int64 = 4 << 30
	_, err := w.Write([]byte(begin))
	var b []byte
	for n, sent := 1, int64(0); err == nil && sent < most; sent += int64(len(b)) {
		for b = b[:0]; len(b) < block; n++ {
			b = append(b, piece(n)...)
		}
		_, err = w.Write(b)
	}
}

// Repeated gives Endless the same text again and again.
func Repeated(text string) func(int) string { return func(int) string { return text } }

// Numbered gives Endless a text with another number each time.
func Numbered(format string) func(int) string {
	return func(n int) string { return fmt.Sprintf(format, n) }
}
