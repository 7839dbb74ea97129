//go:build unix

package state

import (
	"context"
	"fmt"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// limitFileSize makes every write beyond 300 kB fail in this process.
func limitFileSize() {
	signal.Ignore(syscall.SIGXFSZ)
	limit := syscall.Rlimit{Cur: 300_000, Max: 300_000}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		fmt.Println("failed", err)
	}
}

// TestWriteError: the system refuses a write in the middle of an update. That update did not happen, and since nobody knows
// what reached the disk, nothing more is written.
func TestWriteError(t *testing.T) {
	for _, local := range []bool{true, false} {
		path := statePath(t)
		cmd, out := helper(t, "write-to-a-limit", path, local)
		committed, failed, latched := 0, "", ""
		for out.Scan() {
			switch word, rest, _ := strings.Cut(out.Text(), " "); word {
			case "committed":
				committed, _ = strconv.Atoi(rest)
			case "failed":
				failed = rest
			case "latched":
				latched = rest
			}
		}
		_ = cmd.Wait() // it ends with 1
		if committed == 0 || !strings.Contains(failed, path) {
			t.Fatalf("local %v: after batch %d: %q", local, committed, failed)
		}
		if !strings.Contains(failed, "disk is full") && latched != failed {
			t.Errorf("local %v: wrote on after %q: %q", local, failed, latched)
		}
		batch := checkBatches(t, path, local, committed)
		same(t, "batch", batch, committed)
		db := openWith(t, path, Options{Owner: testOwner, LocalFS: local})
		must(t, db.Update(context.Background(), func(tx *Tx) error { return writeBatch(tx, batch+1) }))
		must(t, db.Close())
	}
}
