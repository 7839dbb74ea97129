package imap

import (
	"sync/atomic"
	"time"
)

const (
	// Below so many bytes a second a link is slow: 20 Mbit/s. Dovecot compresses 6 MB a second on a small machine, so
	// that above all it is the link that mail waits for.
	slowLink = 2_500_000
	// gaugeWindow is what the speed is measured over.
	gaugeWindow = 256 << 10
)

// link is what the connections of one Dialer know of the way to the server.
type link struct{ slow atomic.Bool }

func (l *link) isSlow() bool { return l.slow.Load() }

// gauge measures how fast one connection receives, by the time that its reader was blocked in the middle of an answer:
// then the bytes are what is waited for. It does not count what we do with them, nor how long the server, or the
// round trip, takes before an answer begins.
type gauge struct {
	link *link

	idle    bool // the next wait is one for an answer to begin
	bytes   int64
	waited  time.Duration
	before  float64 // bytes a second in the window before this
	windows int     // that were full
}

// pause says that nothing is under way that the server has begun to send, as far as we know.
func (g *gauge) pause() { g.idle = true }

// begin forgets a window that is not full: what belongs to a window follows each other.
func (g *gauge) begin() { g.idle, g.bytes, g.waited = true, 0, 0 }

// read counts what one Read brought, and how long it took.
func (g *gauge) read(n int, took time.Duration) {
	if g.idle {
		g.idle = false
		return
	}
	g.bytes += int64(n)
	g.waited += took
	if g.bytes < gaugeWindow {
		return
	}
	rate := float64(g.bytes) / max(g.waited, time.Nanosecond).Seconds()
	// A link is slow if two windows in a row are, and the second is not much faster: TCP begins slowly on any link that
	// is long, and doubles its speed with each round trip.
	if g.windows > 0 && g.before < slowLink && rate < slowLink && rate < 1.25*g.before {
		g.link.slow.Store(true)
	}
	g.before, g.bytes, g.waited = rate, 0, 0
	g.windows++
}
