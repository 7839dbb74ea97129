package control

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// echo answers each request with what it was asked.
func echo(_ context.Context, req Request, reply func(Reply)) int {
	reply(Reply{Out: req.Do + " " + req.Account + "\n"})
	reply(Reply{Err: strings.Join(req.Targets, ",") + "\n"})
	return 3
}

func serveAt(t *testing.T, path string, answer func(context.Context, Request, func(Reply)) int) {
	t.Helper()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); Serve(ctx, l, answer) }()
	t.Cleanup(func() { stop(); <-ended })
}

func TestAsk(t *testing.T) {
	deep := filepath.Join(t.TempDir(), strings.Repeat("a/very/deep/directory/", 8))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"here": t.TempDir(), "deep": deep} {
		t.Run(name, func(t *testing.T) {
			if name == "deep" && runtime.GOOS != "linux" {
				t.Skip("only Linux has a way to sockets with long names")
			}
			path := Path(filepath.Join(dir, "state.db"))
			if _, err := Ask(t.Context(), path, Request{}, nil); !errors.Is(err, ErrNobody) {
				t.Fatalf("where nobody is: %v", err)
			}
			serveAt(t, path, echo)
			var got []Reply
			exit, err := Ask(t.Context(), path, Request{Do: Sync, Account: "a", Targets: []string{"x", "y"}}, func(r Reply) { got = append(got, r) })
			if err != nil || exit != 3 || len(got) != 2 || got[0].Out != "sync a\n" || got[1].Err != "x,y\n" {
				t.Errorf("the answer is %d, %v, %+v", exit, err, got)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the socket's mode: %v, %v", info, err)
			}
			if _, err := Listen(path); !errors.Is(err, ErrWatched) {
				t.Errorf("another one: %v", err)
			}
		})
	}
}

// TestLeftOver: the socket of a watch that was killed is in nobody's way.
func TestLeftOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	if _, err := Ask(t.Context(), path, Request{}, nil); !errors.Is(err, ErrNobody) {
		t.Errorf("asking: %v", err)
	}
	serveAt(t, path, echo)
	if exit, err := Ask(t.Context(), path, Request{}, func(Reply) {}); err != nil || exit != 3 {
		t.Errorf("asking the next: %d, %v", exit, err)
	}
}

func TestListenNowhere(t *testing.T) {
	if _, err := Listen(filepath.Join(t.TempDir(), "no", "s")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestNonsense: who says what can't be understood gets nothing, and is in nobody's way.
func TestNonsense(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serveAt(t, path, echo)
	for _, line := range []string{"\n", "hello\n", "{\n", "[1]\n", strings.Repeat("x", maxLine+1) + "\n"} {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(line)) // it may be closed before all is sent
		if s, err := bufio.NewReader(c).ReadString('\n'); err == nil {
			t.Errorf("%.20q is answered with %q", line, s)
		}
		_ = c.Close()
	}
	if exit, err := Ask(t.Context(), path, Request{}, func(Reply) {}); err != nil || exit != 3 {
		t.Errorf("after that: %d, %v", exit, err)
	}
}

// TestAskEnds: who is interrupted need not wait for the answer, and a watch that dies before it has answered is none.
func TestAskEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, stop := context.WithCancelCause(t.Context())
	why := errors.New("interrupted")
	asked := make(chan error, 1)
	go func() {
		_, err := Ask(ctx, path, Request{}, func(Reply) {})
		asked <- err
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	stop(why)
	if err := <-asked; !errors.Is(err, why) {
		t.Errorf("interrupted: %v", err)
	}
	_ = c.Close()

	go func() {
		_, err := Ask(t.Context(), path, Request{}, func(Reply) {})
		asked <- err
	}()
	if c, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte(`{"out":"half"`))
	_ = c.Close()
	select {
	case err := <-asked:
		if !errors.Is(err, ErrNobody) {
			t.Errorf("a watch that died: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("whoever asked waits for a watch that died")
	}
}

// TestSilentWatch: nobody waits for a watch that was stopped, before it took the request or after that; one that takes its time is waited for.
func TestSilentWatch(t *testing.T) {
	for name, said := range map[string]string{"before": "", "after": "{}\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "s")
			l, err := Listen(path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			asked := make(chan error, 1)
			go func() {
				_, err := Ask(t.Context(), path, Request{}, func(Reply) {})
				asked <- err
			}()
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = c.Write([]byte(said))
			if err := <-asked; !errors.Is(err, ErrSilent) {
				t.Error(err)
			}
		})
	}
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "s")
		serveAt(t, path, func(context.Context, Request, func(Reply)) int {
			time.Sleep(silentFor + time.Second)
			return 3
		})
		exit, err := Ask(t.Context(), path, Request{}, func(r Reply) { t.Errorf("it says %+v", r) })
		if err != nil || exit != 3 {
			t.Errorf("the answer is %d, %v", exit, err)
		}
	})
}

// TestAskerGone: what somebody asked for who is gone need not be done.
func TestAskerGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	began, gone, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		Serve(ctx, l, func(ctx context.Context, _ Request, _ func(Reply)) int {
			close(began)
			<-ctx.Done()
			close(gone)
			return 0
		})
	}()
	defer func() { stop(); <-ended }()
	asker, leave := context.WithCancel(t.Context())
	go func() { _, _ = Ask(asker, path, Request{}, func(Reply) {}) }()
	<-began
	leave()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("a request is kept though nobody waits for it")
	}
}

// TestSocketLost: a watch notices that nobody finds its socket any more, and leaves another one's alone.
func TestSocketLost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Mail")
	path := filepath.Join(dir, "s")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	lost := make(chan struct{})
	go func() { defer close(lost); serveLooking(t.Context(), l, time.Millisecond, echo) }()
	if exit, err := Ask(t.Context(), path, Request{}, func(Reply) {}); err != nil || exit != 3 {
		t.Errorf("asking: %d, %v", exit, err)
	}
	if err := errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-lost:
	case <-time.After(10 * time.Second):
		t.Fatal("it is not noticed")
	}
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	serveAt(t, path, echo)
	_ = first.Close()
	if exit, err := Ask(t.Context(), path, Request{}, func(Reply) {}); err != nil || exit != 3 {
		t.Errorf("asking the other one: %d, %v", exit, err)
	}
}
