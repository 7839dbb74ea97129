package maildir

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// folderWorld is a Maildir with so many folders besides.
func folderWorld(b *testing.B, folders int) *world {
	w := newWorld(b, Nested)
	for i := range folders {
		w.mkdirs(mail.FolderName(fmt.Sprintf("F%04d", i)))
	}
	return w
}

func benchWatch(b *testing.B, w *world) *Events {
	e, err := WatchEvents(w.root, w.layout)
	if err != nil {
		b.Fatal(err)
	}
	return e
}

// BenchmarkEventsBegin is what watching a thousand folders takes to begin, and what it holds.
func BenchmarkEventsBegin(b *testing.B) {
	w := folderWorld(b, 1000)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, held := heap(), uint64(0)
	for b.Loop() {
		e := benchWatch(b, w)
		b.StopTimer()
		if held == 0 {
			held = heap() - before
		}
		e.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(held)/1024, "KB-held")
}

// BenchmarkEventsLatency is from a rename to the Notice of it, one at a time and farther apart than what is gathered.
func BenchmarkEventsLatency(b *testing.B) {
	w := folderWorld(b, 1000)
	names := [...]string{w.dir(mail.Inbox, "cur/b:2,S"), w.dir(mail.Inbox, "cur/b:2,FS")}
	e := benchWatch(b, w)
	defer e.Close()
	var took []time.Duration
	for b.Loop() {
		time.Sleep(2 * gather)
		start := time.Now()
		if err := os.Rename(names[len(took)%2], names[(len(took)+1)%2]); err != nil {
			b.Fatal(err)
		}
		<-e.C()
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-median")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
}

// BenchmarkEventsRename is a rename with nobody watching, and with somebody who does, in CPU time.
func BenchmarkEventsRename(b *testing.B) {
	for _, watched := range []bool{false, true} {
		b.Run(fmt.Sprintf("watched=%v", watched), func(b *testing.B) {
			w := newWorld(b, Nested)
			names := [...]string{w.dir(mail.Inbox, "cur/b:2,S"), w.dir(mail.Inbox, "cur/b:2,FS")}
			if watched {
				e := benchWatch(b, w)
				defer e.Close()
				go func() {
					for range e.C() {
					}
				}()
			}
			defer reportCPU(b, 1)()
			for i := 0; b.Loop(); i++ {
				if err := os.Rename(names[i%2], names[(i+1)%2]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEventsPoll is one look at a thousand folders where the system does not tell.
func BenchmarkEventsPoll(b *testing.B) {
	w := folderWorld(b, 1000)
	s, err := newSession(&Events{root: w.root, layout: w.layout, means: pollMeans()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.close()
	defer reportCPU(b, 1)()
	for b.Loop() {
		s.poll()
	}
}
