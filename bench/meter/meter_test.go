package meter

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == Word {
		if Launch(os.Args[2:]) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func shell(script string) Command {
	return Command{Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}}
}

func TestRun(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the benchmark runs on Linux")
	}
	ballast := make([]byte, 200<<20) // of this process, which must not count
	for i := range ballast {
		ballast[i] = 1
	}
	r, err := Run(t.Context(), shell("sleep 0.1; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Wall < 100*time.Millisecond || r.CPU < 5*time.Millisecond || r.CPU > r.Wall {
		t.Errorf("sleeping for 0.1 s and counting to 100,000 took %+v", r)
	}
	if r.RSS < 500<<10 || r.RSS > 100<<20 {
		t.Errorf("a shell had %d bytes, beside a process of %d", r.RSS, len(ballast))
	}
}

func TestRunFails(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the benchmark runs on Linux")
	}
	_, err := Run(t.Context(), shell("echo because >&2; exit 3"))
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "because") {
		t.Errorf("a failing program gives the error %v", err)
	}
	if _, err := Run(t.Context(), Command{Argv: []string{"/does/not/exist"}}); err == nil {
		t.Error("a missing program gives no error")
	}
}
