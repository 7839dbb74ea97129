//go:build unix

package maildir

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// reportCPU adds to a benchmark what processors it took, the kernel's work included: the clock also tells how busy the
// machine and its disk are. It is called twice, before and after.
func reportCPU(b *testing.B, perOp int) func() {
	before := cpuTime(b)
	return func() {
		b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N*perOp), "cpu-ns/each")
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
