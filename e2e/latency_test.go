package e2e

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// TestMeasureWatch prints how long a change takes from one side to the other, on each server, for SATCHEL_LATENCY changes each way.
// bench/watch does it on Dovecot alone, at a distance too.
func TestMeasureWatch(t *testing.T) {
	n := amount(t, "SATCHEL_LATENCY", 0)
	if n == 0 {
		t.Skip("SATCHEL_LATENCY says how many changes are to be measured")
	}
	for _, s := range []struct {
		name  string
		start func() *servers.Server
	}{
		{"Dovecot", func() *servers.Server { return servers.Dovecot(t, servers.Options{}) }},
		{"Cyrus", func() *servers.Server { return servers.Cyrus(t, servers.Options{}) }},
		{"Courier", func() *servers.Server { return servers.Courier(t, servers.Options{}) }},
	} {
		t.Run(s.name, func(t *testing.T) { measureWatch(t, newAccount(t, s.start()), n) })
	}
}

func measureWatch(t *testing.T, a *account, n int) {
	bin, err := quickProgram()
	a.check(err)
	a.Program = bin
	if a.Server.TLSPort != 0 {
		a.overTLS()
	}
	a.send("INBOX", flags(), "first")
	w := a.watch()
	eventually(t, "the first sync", func() bool { return a.has("INBOX", "first") })
	eventually(t, "the server tells of changes", func() bool { s := a.watchState(); return s != nil && s.State == "waiting" && s.Listening != "poll" })
	count := func() int {
		entries, err := os.ReadDir(a.dir("INBOX") + "/new")
		a.check(err)
		return len(entries)
	}
	var there, back []time.Duration
	for range n {
		before := count()
		a.send("INBOX", flags(), "more")
		at := time.Now()
		for count() == before {
			if time.Since(at) > 2*time.Minute {
				t.Fatal("a message did not come")
			}
			time.Sleep(100 * time.Microsecond)
		}
		there = append(there, time.Since(at))
		time.Sleep(100 * time.Millisecond) // each change by itself
	}
	c := a.client()
	for _, f := range a.files("INBOX")[:min(n, count())] {
		seen := func() (n int) {
			for _, m := range c.Index("INBOX") {
				if letters(m.Flags) == "S" {
					n++
				}
			}
			return n
		}
		before := seen()
		a.check(os.Rename(f.Path, a.dir("INBOX")+"/cur/"+f.Base+":2,S"))
		at := time.Now()
		for seen() == before {
			if time.Since(at) > 2*time.Minute {
				t.Fatal("a flag did not come")
			}
		}
		back = append(back, time.Since(at))
		time.Sleep(100 * time.Millisecond)
	}
	for what, all := range map[string][]time.Duration{"server to Maildir": there, "Maildir to server": back} {
		slices.Sort(all)
		t.Logf("%s, %d times: median %v, 99th percentile %v, most %v", what, len(all), all[len(all)/2], all[len(all)*99/100], all[len(all)-1])
	}
	w.interrupt()
}
