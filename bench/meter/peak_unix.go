//go:build unix

package meter

import (
	"os"
	"runtime"
	"syscall"
)

// peak is the most memory that the process, or the largest of its children, had resident, in bytes.
func peak(s *os.ProcessState) int64 {
	usage, ok := s.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return int64(usage.Maxrss) // in bytes there, in kB elsewhere
	}
	return int64(usage.Maxrss) << 10
}
