//go:build unix

package newmail

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func contents(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRun(t *testing.T) {
	t.Setenv("OURS", "o")
	dir := t.TempDir()
	h := New("personal", dir, `printf '%s %s %s' "$SATCHEL_ACCOUNT" "$SATCHEL_NEW" "$OURS" >told; cat`)
	if err := h.Run(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, filepath.Join(dir, "told")); got != "personal 3 o" {
		t.Errorf("it was told %q", got)
	}
	h.Change("work", dir, `printf '%s' "$SATCHEL_ACCOUNT" >told`)
	if err := h.Run(t.Context(), 3); err != nil || contents(t, filepath.Join(dir, "told")) != "work" {
		t.Errorf("another command is not run: %v", err)
	}
}

func TestNothingToTell(t *testing.T) {
	dir := t.TempDir()
	for _, h := range []*Hook{New("a", dir, "touch ran"), New("a", dir, "")} {
		if err := h.Run(t.Context(), 0); err != nil {
			t.Error(err)
		}
	}
	if err := New("a", dir, "").Run(t.Context(), 1); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("it ran without new mail")
	}
}

func TestFailure(t *testing.T) {
	stop := errors.New("stopped by the test")
	ended, end := context.WithCancelCause(context.Background())
	end(stop)
	for _, c := range []struct {
		name, dir, command string
		ctx                context.Context
		want               string
	}{
		{"it fails", "", "echo out; echo why >&2; exit 3", t.Context(), "on_new_mail failed: exit status 3; it said: out; why"},
		{"it says nothing", "", "exit 1", t.Context(), "on_new_mail failed: exit status 1"},
		{"no such directory", "/nonexistent", "true", t.Context(), "on_new_mail: cannot start the command"},
		{"everything is being stopped", "", "true", ended, "on_new_mail was not run for 1 new messages: stopped by the test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := New("a", c.dir, c.command).Run(c.ctx, 1); err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	err := New("a", "", `head -c 1000000 /dev/zero | tr '\0' x; exit 1`).Run(t.Context(), 1)
	if err == nil || len(err.Error()) > 3000 {
		t.Errorf("%d bytes of output", len(err.Error()))
	}
}

// TestStopped: by the time limit or with us, together with all that it started. That holds a pipe, whose end tells.
func TestStopped(t *testing.T) {
	stop := errors.New("stopped by the test")
	for name, c := range map[string]struct {
		limit time.Duration
		want  string
	}{
		"time limit": {300 * time.Millisecond, "on_new_mail was stopped because it took longer than 300ms; it said: begun"},
		"with us":    {TimeLimit, "on_new_mail was stopped: stopped by the test; it said: begun"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "pipe")
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, end := context.WithCancelCause(t.Context())
			defer end(nil)
			ended := make(chan error, 1)
			go func() {
				pipe, err := os.Open(path)
				if err == nil {
					defer pipe.Close()
					_, err = io.ReadFull(pipe, make([]byte, 1))
				}
				if c.limit == TimeLimit {
					end(stop)
				}
				if err == nil {
					_, err = io.ReadAll(pipe)
				}
				ended <- err
			}()
			h := New("a", dir, "echo begun; (echo; sleep 600) >pipe & wait")
			h.limit = c.limit
			if err := h.Run(ctx, 1); err == nil || err.Error() != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOneAtATime: a command that finds another one at work would fail.
func TestOneAtATime(t *testing.T) {
	h := New("a", t.TempDir(), "mkdir busy || exit 9; ls >list; rmdir busy")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := h.Run(t.Context(), 1); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// TestServe: what comes while the command runs is told together when it has ended.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	// It waits for each number to be read.
	h := New("a", dir, `echo $SATCHEL_NEW >pipe; [ $SATCHEL_NEW != 5 ]`)
	ctx, end := context.WithCancel(t.Context())
	failures := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() { h.Serve(ctx, func(_ string, err error) { failures <- err }) })
	read := func(want string) {
		t.Helper()
		if got := contents(t, path); got != want+"\n" {
			t.Errorf("it was told %q, want %s", got, want)
		}
	}
	h.Tell(0)
	h.Tell(1)
	read("1")
	h.Tell(5)
	read("5")
	if err := <-failures; err.Error() != "on_new_mail failed: exit status 1" {
		t.Error(err)
	}
	end()
	serving.Wait()
	h.Tell(2) // to nobody
	h.Tell(3)
	ctx, end = context.WithCancel(t.Context())
	serving.Go(func() { h.Serve(ctx, func(_ string, err error) { failures <- err }) })
	read("5")
	<-failures
	end()
	serving.Wait()
}

// TestServeEnds: what was told before the end is told to the command, which comes to its own end if that does not take long.
func TestServeEnds(t *testing.T) {
	for name, c := range map[string]struct {
		limit time.Duration
		want  []string // what went wrong
	}{
		"in time":  {time.Minute, nil},
		"too long": {0, []string{"on_new_mail was stopped: stopped by the test", "on_new_mail was not run for 2 new messages: stopped by the test"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, pipe := range []string{"begun", "may"} {
				if err := syscall.Mkfifo(filepath.Join(dir, pipe), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			h := New("a", dir, "echo $SATCHEL_NEW >begun; read x <may; echo $SATCHEL_NEW >>told")
			h.lastLimit = c.limit
			ctx, end := context.WithCancelCause(t.Context())
			var got []string
			served := make(chan struct{})
			go func() {
				defer close(served)
				h.Serve(ctx, func(_ string, err error) { got = append(got, err.Error()) })
			}()
			h.Tell(1)
			contents(t, filepath.Join(dir, "begun"))
			h.Tell(2)
			end(errors.New("stopped by the test"))
			if c.want == nil {
				for _, begun := range []string{"", "2\n"} {
					if begun != "" && contents(t, filepath.Join(dir, "begun")) != begun {
						t.Error("it is told of something else")
					}
					if err := os.WriteFile(filepath.Join(dir, "may"), []byte("x\n"), 0); err != nil {
						t.Fatal(err)
					}
				}
			}
			<-served
			if !slices.Equal(got, c.want) {
				t.Errorf("it fails with %q, want %q", got, c.want)
			}
			if c.want == nil && contents(t, filepath.Join(dir, "told")) != "1\n2\n" {
				t.Error("it is not told of all")
			}
		})
	}
}
