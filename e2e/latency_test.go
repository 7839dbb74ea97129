package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// BenchmarkWatch measures how long a change takes from one side to the other on each server: go test ./e2e -run '^$' -bench Watch -benchtime
// 60x. bench/watch does it on Dovecot alone, at a distance too.
func BenchmarkWatch(b *testing.B) {
	for _, s := range []struct {
		name  string
		start func(testing.TB, servers.Options) *servers.Server
	}{{"Dovecot", servers.Dovecot}, {"Cyrus", servers.Cyrus}, {"Courier", servers.Courier}} {
		b.Run(s.name, func(b *testing.B) { measureWatch(b, newAccount(b, s.start(b, servers.Options{}))) })
	}
}

func measureWatch(b *testing.B, a *account) {
	bin, err := quickProgram()
	a.check(err)
	a.Program = bin
	if a.Server.TLSPort != 0 {
		a.overTLS()
	}
	a.send("INBOX", flags(), "first")
	w := a.watch()
	eventually(b, "the first sync", func() bool { return a.has("INBOX", "first") })
	eventually(b, "the server tells of changes", func() bool { s := a.watchState(); return s != nil && s.State == "waiting" && s.Listening != "poll" })
	count := func() int {
		entries, err := os.ReadDir(filepath.Join(a.dir("INBOX"), "new"))
		a.check(err)
		return len(entries)
	}
	var there, back []time.Duration
	for range b.N {
		before := count()
		a.send("INBOX", flags(), "more")
		there = append(there, until(b, func() bool { return count() > before }))
	}
	c := a.client()
	seen := func() (n int) {
		for _, m := range c.Index("INBOX") {
			if letters(m.Flags) == "S" {
				n++
			}
		}
		return n
	}
	for _, f := range a.files("INBOX")[:b.N] {
		before := seen()
		a.check(os.Rename(f.Path, filepath.Join(a.dir("INBOX"), "cur", f.Base+":2,S")))
		back = append(back, until(b, func() bool { return seen() > before }))
	}
	for what, all := range map[string][]time.Duration{"to-maildir": there, "to-server": back} {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, what+"-median-ms")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, what+"-p99-ms")
	}
	w.interrupt()
}

// until returns how long it took until something held, and then waits a little, so that each change is by itself.
func until(b *testing.B, holds func() bool) time.Duration {
	from := time.Now()
	for !holds() {
		if time.Since(from) > watchPatience {
			b.Fatal("a change did not come")
		}
		time.Sleep(100 * time.Microsecond)
	}
	took := time.Since(from)
	time.Sleep(100 * time.Millisecond)
	return took
}
