package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	mailsync "github.com/satchel-mail/satchel/sync"
)

const (
	// drawEvery is often enough to look alive.
	drawEvery = 100 * time.Millisecond
	// rateWindow is what the rate is measured over: long enough to be calm, short enough to be of now.
	rateWindow = 5 * time.Second
	// maxWidth keeps lines readable on wide terminals.
	maxWidth = 120
)

// display shows how far the accounts are, a line for each, on a terminal. All its methods may be called from
// several goroutines; on anything but a terminal they do nothing.
type display struct {
	screen *screen
	size   func() (width, height int)
	now    func() time.Time

	mu     sync.Mutex
	tracks []*track                                      // in the order in which the accounts began
	idle   func(busy func(account string) bool) []string // see rest

	quit, gone chan struct{} // nil where nothing is drawn
}

// track is one account on the display.
type track struct {
	mailsync.Progress
	samples []sample // of the last rateWindow, oldest first
}

// sample is how far an account was at one time.
type sample struct {
	at              time.Time
	messages, bytes int64
}

// progress starts the display, if there is somebody to look at it.
func (a *app) progress() *display {
	d := &display{screen: a.ui.msg, now: time.Now}
	if a.ui.terminal == nil || a.ui.quiet || a.ui.json {
		return d
	}
	d.size = func() (int, int) {
		w, h, err := term.GetSize(int(a.ui.terminal.Fd()))
		if err != nil || w <= 0 || h <= 0 {
			return 80, 24
		}
		return w, h
	}
	d.quit, d.gone = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(d.gone)
		tick := time.NewTicker(drawEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				d.draw()
			case <-d.quit:
				d.screen.draw(nil)
				return
			}
		}
	}()
	return d
}

// stop takes the display away.
func (d *display) stop() {
	if d.quit != nil {
		close(d.quit)
		<-d.gone
	}
}

// update takes news of one account.
func (d *display) update(p mailsync.Progress) {
	if d.quit == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.tracks {
		if t.Account == p.Account {
			t.Progress = p
			return
		}
	}
	d.tracks = append(d.tracks, &track{Progress: p})
}

// rest shows lines of accounts that nothing is going on in below the others.
func (d *display) rest(lines func(busy func(account string) bool) []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.idle = lines
}

// done takes an account off the display.
func (d *display) done(account string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, t := range d.tracks {
		if t.Account == account {
			d.tracks = append(d.tracks[:i], d.tracks[i+1:]...)
			return
		}
	}
}

func (d *display) draw() {
	width, height := d.size()
	now := d.now()
	d.mu.Lock()
	var lines []string
	for _, t := range d.tracks {
		t.sample(now)
		if len(lines) < height-1 {
			lines = append(lines, t.line(min(width-1, maxWidth)))
		}
	}
	idle, tracks := d.idle, slices.Clone(d.tracks)
	d.mu.Unlock()
	if idle != nil {
		for _, l := range idle(func(account string) bool {
			return slices.ContainsFunc(tracks, func(t *track) bool { return t.Account == account })
		}) {
			if len(lines) < height-1 {
				lines = append(lines, fit(l, min(width-1, maxWidth)))
			}
		}
	}
	d.screen.draw(lines)
}

// sample remembers where the account is, and forgets what is older than the window but for one.
func (t *track) sample(now time.Time) {
	t.samples = append(t.samples, sample{now, t.Messages, t.Bytes})
	for len(t.samples) > 2 && now.Sub(t.samples[1].at) >= rateWindow {
		t.samples = t.samples[1:]
	}
}

// rate is what moves in a second, 0 if nothing can be said yet.
func (t *track) rate() (messages, bytes float64) {
	if len(t.samples) < 2 {
		return 0, 0
	}
	first, last := t.samples[0], t.samples[len(t.samples)-1]
	seconds := last.at.Sub(first.at).Seconds()
	if seconds <= 0 {
		return 0, 0
	}
	return float64(last.messages-first.messages) / seconds, float64(last.bytes-first.bytes) / seconds
}

// line is what is shown of the account, in at most width columns. Where they are too few, what says least goes first; the
// rate and the time left stay.
func (t *track) line(width int) string {
	var folders, phase, volume, messages, tail string
	phase = t.Phase
	if t.Folders > 0 {
		folders = fmt.Sprintf("%s of %s", number(int64(min(t.FoldersDone, t.Folders))), count(t.Folders, "folder", "folders"))
	}
	if t.MessagesAll > 0 {
		messages = fmt.Sprintf("%s of %s", number(t.Messages), count(max(t.MessagesAll, t.Messages), "message", "messages"))
		if t.BytesAll > 0 {
			volume = fmt.Sprintf("%s of %s", size(t.Bytes), size(max(t.BytesAll, t.Bytes)))
		}
		tail = t.speed()
	}
	name := cleanLine(t.Account)
	parts := func() []string {
		return slices.DeleteFunc([]string{phase, folders, messages, volume, tail}, func(p string) bool { return p == "" })
	}
	rest := func() string { return ": " + cleanLine(strings.Join(parts(), ", ")) }
	for _, least := range []*string{&folders, &phase, &volume, &messages} {
		if text.StringWidth(name+rest()) <= width || len(parts()) == 1 {
			break
		}
		*least = ""
	}
	if tail != "" {
		name = fit(name, width-text.StringWidth(rest()))
	}
	return fit(name+rest(), width)
}

// speed is how fast the account moves and how long the rest takes, as far as that is known.
func (t *track) speed() string {
	var parts []string
	messages, bytes := t.rate()
	if bytes > 0 {
		parts = append(parts, size(int64(bytes))+"/s")
	}
	if left, ok := remaining(t.Progress, messages, bytes); ok {
		parts = append(parts, clock(left)+" left")
	}
	return strings.Join(parts, ", ")
}

// remaining is how long the rest takes at the given rates, false if that can't be said.
func remaining(p mailsync.Progress, messages, bytes float64) (time.Duration, bool) {
	const most = 100 * time.Hour // more than that is no information
	var seconds float64
	switch {
	case p.BytesAll > p.Bytes && bytes > 0:
		seconds = float64(p.BytesAll-p.Bytes) / bytes
	case p.BytesAll <= p.Bytes && p.MessagesAll > p.Messages && messages > 0:
		seconds = float64(p.MessagesAll-p.Messages) / messages
	default:
		return 0, false
	}
	if seconds > most.Seconds() {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// fit cuts a line to the terminal's width, so that it stays one line.
func fit(line string, width int) string {
	if text.StringWidth(line) <= width {
		return line
	}
	return text.Trim(line, max(width, 0))
}
