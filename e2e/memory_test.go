package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// TestMemory: a message of 100 MB comes and goes in less than 64 MB of memory.
func TestMemory(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a message of 100 MB takes a while")
	}
	const size, most = 100_000_000, 64 << 20
	a := newAccount(t, servers.Dovecot(t, servers.Options{Config: "mail_max_keyword_length = 50"})) // an instance of its own
	bin, err := quickProgram()                                                                      // the race detector needs memory of its own
	a.check(err)
	a.Program = bin
	a.mkdir("INBOX")
	path := filepath.Join(a.dir("INBOX"), "new", "1700000000.large.host")
	a.check(large(path, size))
	want, err := sum(path)
	a.check(err)

	fits := func(args ...string) {
		t.Helper()
		got := a.peak(args...)
		t.Logf("%v: %d MB", args, got>>20)
		if got == 0 || got > most {
			t.Errorf("%v took %d bytes of memory, want at most %d", args, got, int64(most))
		}
	}
	fits("sync") // to the server
	a.check(os.RemoveAll(a.Maildir))
	fits("sync") // and back
	f := a.files("INBOX")
	if len(f) != 1 {
		t.Fatalf("%d messages came back, want one", len(f))
	}
	if got, err := sum(f[0].Path); err != nil || got != want {
		t.Errorf("the message came back as another one: %s, want %s, %v", got, want, err)
	}
	fits("verify", "--deep")
}

// peak runs the program and returns the most memory that it held, in bytes. The kernel's own account at the end of a
// process is of no use: it begins with what the process that started it held.
func (a *account) peak(args ...string) int64 {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), runPatience)
	defer cancel()
	cmd := a.command(ctx, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	a.check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var most int64
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case err := <-ended:
			tick.Stop()
			if err != nil {
				a.t.Fatalf("satchel %v: %v\n%s", args, err, out.String())
			}
			return most
		case <-tick.C:
			most = max(most, highWater(cmd.Process.Pid))
		}
	}
}

// highWater is the most memory that a process has held so far (VmHWM in proc(5)), 0 if it has ended.
func highWater(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 && err == nil {
			return kib << 10
		}
	}
	return 0
}

// large writes a message of at least size bytes in lines.
func large(path string, size int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/0123456789\n"), 10_000)
	if _, err := io.WriteString(f, onDisk(letter("large"))); err != nil {
		return err
	}
	for n := 0; n < size; n += len(block) {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return nil
}

func sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return fmt.Sprintf("%x", h.Sum(nil)), err
}
