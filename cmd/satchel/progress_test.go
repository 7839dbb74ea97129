package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	mailsync "github.com/satchel-mail/satchel/sync"
)

func TestProgressLine(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := mailsync.Progress{Account: "personal", Phase: "looking"}
	tr := &track{Progress: p}
	expect := func(want string) {
		t.Helper()
		if got := tr.line(1000); got != want {
			t.Errorf("%q\nwant %q", got, want)
		}
	}
	expect("personal: looking")
	tr.Phase, tr.Folders, tr.FoldersDone = "comparing", 50, 12
	expect("personal: comparing, 12 of 50 folders")
	tr.Phase, tr.MessagesAll, tr.BytesAll = "transferring", 5000, 120_000_000
	tr.sample(start)
	expect("personal: transferring, 12 of 50 folders, 0 of 5,000 messages, 0 bytes of 120 MB")
	tr.Messages, tr.Bytes = 1234, 30_000_000
	tr.sample(start.Add(10 * time.Second))
	expect("personal: transferring, 12 of 50 folders, 1,234 of 5,000 messages, 30 MB of 120 MB, 3.0 MB/s, 0:30 left")
	// The rate is that of the last seconds.
	tr.sample(start.Add(20 * time.Second))
	expect("personal: transferring, 12 of 50 folders, 1,234 of 5,000 messages, 30 MB of 120 MB")
	// Where bytes are not known, messages tell the time left.
	tr = &track{Progress: mailsync.Progress{Account: "x", Phase: "p", MessagesAll: 100}}
	tr.sample(start)
	tr.Messages = 50
	tr.sample(start.Add(5 * time.Second))
	expect("x: p, 50 of 100 messages, 0:05 left")
	// More than was announced is not more than all.
	tr = &track{Progress: mailsync.Progress{Account: "x\x1b[2J", Phase: "p", Messages: 7, MessagesAll: 5, Bytes: 9, BytesAll: 8, Folders: 1, FoldersDone: 2}}
	expect("x[2J: p, 1 of 1 folder, 7 of 7 messages, 9 bytes of 9 bytes")
}

// On a narrow terminal what says least goes first; the rate and the time left stay.
func TestProgressLineFits(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tr := &track{Progress: mailsync.Progress{Account: "personal", Phase: "transferring", Folders: 50, FoldersDone: 12, MessagesAll: 5000, BytesAll: 120_000_000}}
	tr.sample(start)
	tr.Messages, tr.Bytes = 1234, 30_000_000
	tr.sample(start.Add(10 * time.Second))
	for width, want := range map[int]string{
		103: "personal: transferring, 12 of 50 folders, 1,234 of 5,000 messages, 30 MB of 120 MB, 3.0 MB/s, 0:30 left",
		86:  "personal: transferring, 1,234 of 5,000 messages, 30 MB of 120 MB, 3.0 MB/s, 0:30 left",
		79:  "personal: 1,234 of 5,000 messages, 30 MB of 120 MB, 3.0 MB/s, 0:30 left",
		60:  "personal: 1,234 of 5,000 messages, 3.0 MB/s, 0:30 left",
		40:  "personal: 3.0 MB/s, 0:30 left",
		25:  "pers: 3.0 MB/s, 0:30 left",
	} {
		if got := tr.line(width); got != want {
			t.Errorf("in %d columns: %q\nwant %q", width, got, want)
		}
	}
	calm := &track{Progress: tr.Progress} // nothing known of its rate
	if got, want := calm.line(79), "personal: transferring, 1,234 of 5,000 messages, 30 MB of 120 MB"; got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
	for width := range 120 {
		if got := tr.line(width); len(got) > width {
			t.Errorf("%q has more than %d columns", got, width)
		}
	}
}

func TestRemaining(t *testing.T) {
	p := mailsync.Progress{BytesAll: 1 << 60, MessagesAll: 2, Messages: 1}
	if _, ok := remaining(p, 1, 1); ok {
		t.Error("an age is no time left")
	}
	if _, ok := remaining(mailsync.Progress{BytesAll: 5, Bytes: 1}, 0, 0); ok {
		t.Error("nothing moves, and yet it ends")
	}
}

func TestSamplesAreBounded(t *testing.T) {
	tr := &track{}
	at := time.Now()
	for range 100_000 {
		at = at.Add(drawEvery)
		tr.sample(at)
	}
	if most := int(rateWindow/drawEvery) + 2; len(tr.samples) > most {
		t.Errorf("%d samples, want at most %d", len(tr.samples), most)
	}
}

// terminal is what a terminal would show, as far as the display's escape sequences go.
type terminal struct{ lines []string }

func show(written string) string {
	term := terminal{lines: []string{""}}
	for written != "" {
		if n := 0; strings.HasPrefix(written, "\x1b[") {
			if _, err := fmt.Sscanf(written, "\x1b[%dA\x1b[J", &n); err != nil {
				return "unknown sequence: " + written
			}
			written = written[strings.Index(written, "\x1b[J")+3:]
			term.lines = append(term.lines[:len(term.lines)-1-n], "")
			continue
		}
		if written[0] == '\n' {
			term.lines = append(term.lines, "")
		} else {
			term.lines[len(term.lines)-1] += written[:1]
		}
		written = written[1:]
	}
	return strings.Join(term.lines, "\n")
}

// The display stays below everything else and leaves nothing behind.
func TestScreen(t *testing.T) {
	var out bytes.Buffer
	s := &screen{w: &out, filter: func(s string) string { return s }}
	expect := func(want string) {
		t.Helper()
		if got := show(out.String()); got != want {
			t.Errorf("%q\nwant %q", got, want)
		}
	}
	s.draw([]string{"a 1", "b 1"})
	expect("a 1\nb 1\n")
	fmt.Fprintln(s, "hello")
	expect("hello\na 1\nb 1\n")
	s.draw([]string{"b 2"})
	expect("hello\nb 2\n")
	s.above(func() { fmt.Fprintln(&out, "a: done") })
	expect("hello\na: done\nb 2\n")
	s.draw(nil)
	expect("hello\na: done\n")
	fmt.Fprintln(s, "bye")
	expect("hello\na: done\nbye\n")
}

// Lines never wrap: a wrapped one would not be taken away again.
func TestDisplayFits(t *testing.T) {
	var out bytes.Buffer
	d := &display{
		screen: &screen{w: &out, filter: func(s string) string { return s }}, now: time.Now,
		size: func() (int, int) { return 20, 4 }, quit: make(chan struct{}),
	}
	for i := range 6 {
		d.update(mailsync.Progress{Account: fmt.Sprintf("a very long name %d", i), Phase: "日本日本日本日本日本日本日本"})
	}
	d.draw()
	lines := strings.Split(strings.TrimSuffix(show(out.String()), "\n"), "\n")
	if len(lines) != 3 {
		t.Errorf("%d lines on a terminal of 4:\n%s", len(lines), out.String())
	}
	for _, l := range lines {
		if len([]rune(l)) > 19 {
			t.Errorf("%q is too wide", l)
		}
	}
	for i := range 6 {
		d.done(fmt.Sprintf("a very long name %d", i))
	}
	d.draw()
	if got := show(out.String()); got != "" {
		t.Errorf("left behind: %q", got)
	}
}

// Without a terminal nothing is ever drawn.
func TestNoDisplayWithoutTerminal(t *testing.T) {
	var out, msg bytes.Buffer
	a := newApp(streams{out: &out, err: &msg, env: func(string) string { return "" }})
	d := a.progress()
	d.update(mailsync.Progress{Account: "x", Phase: "y"})
	d.done("x")
	d.stop()
	if out.Len()+msg.Len() > 0 {
		t.Errorf("%q %q", out.String(), msg.String())
	}
}
