package tracer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/ci"
)

// helper names the folder in which this program, run again, works as the one that is traced.
const helper = "SATCHEL_TRACED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helper); dir != "" {
		os.Exit(traced(dir))
	}
	os.Exit(m.Run())
}

// traced writes to five files one after the other, each from another thread, which it says on a pipe.
func traced(dir string) int {
	code, pipe := 0, os.NewFile(3, "pipe")
	for i := range 5 {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // for good: the thread ends with it
			done <- os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), []byte("text"), 0o600)
		}()
		if err := <-done; err != nil {
			fmt.Println(err)
			code = 3
		}
		if _, err := pipe.WriteString("x"); err != nil {
			return 4
		}
	}
	return code
}

// trial runs the helper and says which files have their text.
func trial(t *testing.T, f Fault) (o Outcome, output, said string, whole []int) {
	t.Helper()
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.CommandContext(context.Background(), exe)
	cmd.Env = append(os.Environ(), helper+"="+dir, "GORACE=atexit_sleep_ms=0")
	var out bytes.Buffer
	cmd.Stdout, cmd.ExtraFiles = &out, []*os.File{w}
	o, err = Run(cmd, f)
	w.Close()
	if errors.Is(err, ErrUnsupported) {
		ci.Skip(t, "%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		text, err := os.ReadFile(filepath.Join(dir, fmt.Sprint("f", i)))
		if err == nil && string(text) == "text" {
			whole = append(whole, i)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return o, out.String(), b.String(), whole
}

func TestCounts(t *testing.T) {
	o, _, said, whole := trial(t, Fault{})
	if o.Code != 0 || o.Struck != nil || o.Count(Files) != 10 || o.Count(Wire) != 5 || said != "xxxxx" || len(whole) != 5 {
		t.Errorf("%+v, %q, %v", o, said, whole)
	}
}

// TestKills: exactly what comes before the call has happened, whichever thread makes it.
func TestKills(t *testing.T) {
	for at := 1; at <= 10; at++ {
		o, _, said, whole := trial(t, Fault{At: at})
		if before := (at - 1) / 2; o.Code != -1 || o.Struck == nil || len(whole) != before || len(said) != before {
			t.Errorf("killed at call %d: %+v, %q, %v", at, o, said, whole)
		}
	}
	if o, _, said, whole := trial(t, Fault{Kind: Wire, At: 3}); o.Code != -1 || len(said) != 2 || len(whole) != 3 {
		t.Errorf("killed at the third word: %+v, %q, %v", o, said, whole)
	}
	if o, _, _, whole := trial(t, Fault{At: 11}); o.Code != 0 || o.Struck != nil || len(whole) != 5 {
		t.Errorf("killed after the end: %+v, %v", o, whole)
	}
}

func TestFails(t *testing.T) {
	o, output, said, whole := trial(t, Fault{At: 4, Errno: syscall.ENOSPC})
	if o.Code != 3 || said != "xxxxx" || fmt.Sprint(whole) != "[0 2 3 4]" || !bytes.Contains([]byte(output), []byte(syscall.ENOSPC.Error())) {
		t.Errorf("one call failed: %+v, %q, %q, %v", o, output, said, whole)
	}
	o, _, said, whole = trial(t, Fault{At: 4, Errno: syscall.ENOSPC, Lasting: true})
	if o.Code != 3 || said != "xxxxx" || fmt.Sprint(whole) != "[0]" {
		t.Errorf("the disk stayed full: %+v, %q, %v", o, said, whole)
	}
}
