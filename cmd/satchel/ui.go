package main

// Rules of the terminal:
//
//   - Results go to standard output, messages and errors to standard error. With --json standard output holds
//     JSON only, and results for people go to standard error.
//   - With --quiet only errors, what is as good as one (held-back deletions, differences) and JSON are printed.
//   - Errors begin with "satchel: ", then the account and folder, what failed and why, what to do.
//   - Everything passes through clean: names, error texts and answers of servers come from outside and must not
//     reach the terminal as commands to it.
//   - A progress display is drawn on a terminal only, and gives way to every other line.

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/term"
)

// ui prints.
type ui struct {
	out io.Writer
	msg *screen
	// json and quiet are flags on every command.
	json, quiet bool
	secrets     *redactor
	// terminal is standard error if it is a terminal that can move its cursor, else nil.
	terminal *os.File

	mu     sync.Mutex
	failed error // the first error of writing to out
}

func newUI(out, err io.Writer, env func(string) string) *ui {
	u := &ui{out: out, secrets: &redactor{}}
	u.msg = &screen{w: err, filter: u.secrets.text}
	if f, ok := err.(*os.File); ok && term.IsTerminal(int(f.Fd())) && env("TERM") != "dumb" {
		u.terminal = f
	}
	return u
}

// result prints a line that the person asked for.
func (u *ui) result(format string, args ...any) {
	if u.quiet {
		return
	}
	line := u.secrets.text(clean(fmt.Sprintf(format, args...))) + "\n"
	if u.json {
		_, _ = io.WriteString(u.msg, line)
		return
	}
	u.write([]byte(line))
}

// warn prints a result that the person must know of even with --quiet, where it is an error.
func (u *ui) warn(format string, args ...any) {
	if u.quiet {
		u.fail(format, args...)
		return
	}
	u.result(format, args...)
}

// say prints a message beside the results.
func (u *ui) say(format string, args ...any) {
	if !u.quiet {
		u.note("satchel: "+format, args...)
	}
}

// fail prints an error.
func (u *ui) fail(format string, args ...any) { u.note("satchel: "+format, args...) }

// note prints a line on standard error. If that can't be written there is nobody to tell.
func (u *ui) note(format string, args ...any) {
	_, _ = io.WriteString(u.msg, clean(fmt.Sprintf(format, args...))+"\n")
}

// object prints one line of JSON, if that was asked for.
func (u *ui) object(v any) {
	if !u.json {
		return
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		u.remember(err)
		return
	}
	line := b.String()
	// A secret that is a piece of JSON itself must not break the line.
	if redacted := u.secrets.text(line); json.Valid([]byte(redacted)) {
		line = redacted
	}
	u.write([]byte(line))
}

// raw prints what is neither a line nor JSON, as completion scripts are.
func (u *ui) raw(text string) { u.write([]byte(text)) }

// hungUp reports whether there was a terminal that nobody sits at any more.
func (u *ui) hungUp() bool {
	return u.terminal != nil && !term.IsTerminal(int(u.terminal.Fd()))
}

// write writes to standard output, which may be the terminal that the display is on.
func (u *ui) write(p []byte) {
	u.msg.above(func() {
		_, err := u.out.Write(p)
		u.remember(err)
	})
}

func (u *ui) remember(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failed == nil {
		u.failed = err
	}
}

func (u *ui) writeErr() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.failed
}

// screen is standard error with, at the bottom, the lines of a progress display. Safe for concurrent use.
type screen struct {
	mu    sync.Mutex
	w     io.Writer
	lines []string // drawn now
	// filter is applied to whatever is written.
	filter func(string) string
}

// Write prints above the display.
func (s *screen) Write(p []byte) (_ int, err error) {
	s.above(func() { _, err = io.WriteString(s.w, s.filter(string(p))) })
	return len(p), err
}

// above takes the display away, calls f, and draws it again.
func (s *screen) above(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines
	s.replace(nil)
	f()
	s.replace(lines)
}

// draw shows lines in place of those drawn before; none takes the display away. The lines are
// clean and fit the width.
func (s *screen) draw(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(lines, s.lines) {
		s.replace(lines)
	}
}

func (s *screen) replace(lines []string) {
	if len(s.lines) == 0 && len(lines) == 0 {
		return
	}
	var b strings.Builder
	if n := len(s.lines); n > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", n) // up n lines, and clear from there
	}
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
	_, _ = io.WriteString(s.w, b.String()) // only decoration
	s.lines = lines
}

// clean takes out of a text what could command the terminal or turn the order of the letters: control
// and formatting characters but line ends. What is no UTF-8 shows as U+FFFD.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029') {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// cleanLine is clean for text that must not begin a new line.
func cleanLine(s string) string {
	return clean(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), " "))
}
