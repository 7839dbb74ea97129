package config

import (
	"net"
	"strconv"
	"time"
)

// Watch is what concerns `satchel watch` as a whole.
type Watch struct {
	// Metrics is the address, HOST:PORT, at which metrics are served, empty for none.
	Metrics string
}

func (r *reader) watch(root *table) Watch {
	t := root.table("watch", "a table [watch]")
	if t == nil {
		return Watch{}
	}
	defer t.unknown()
	return Watch{Metrics: parsed(t, "metrics", "", metricsAllowed, parseAddress)}
}

const metricsAllowed = `an address such as "127.0.0.1:9464", or "" for none`

// parseAddress reads the address of a service. Without a host it is this machine's alone.
func parseAddress(s string) (string, bool) {
	if s == "" {
		return "", true
	}
	host, port, err := net.SplitHostPort(s)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 {
		return "", false
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), true
}

const pollAllowed = `a time from "10s" to "24h", such as "30s", "5m" or "1h"`

// parsePoll reads how often is polled.
func parsePoll(s string) (time.Duration, bool) {
	if s == "" {
		return 0, false
	}
	unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour}[s[len(s)-1]]
	n, ok := parseCount(s[:len(s)-1])
	if !ok || unit == 0 || n > 24*60*60 {
		return 0, false
	}
	d := time.Duration(n) * unit
	return d, d >= 10*time.Second && d <= 24*time.Hour
}
