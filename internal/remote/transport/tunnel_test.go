//go:build unix

package transport

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
)

func openTunnel(t *testing.T, command string) Conn {
	t.Helper()
	c, err := dial(t, Config{Host: "label", Tunnel: command}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTunnel(t *testing.T) {
	c := openTunnel(t, "echo hello; cat")
	if !c.Secure || c.TLS || !c.Tunnel || c.Greeted {
		t.Errorf("%+v", c)
	}
	wantLine(t, c, "hello\n")
	fmt.Fprint(c, "and back\n")
	wantLine(t, c, "and back\n")
	if c.RemoteAddr().String() != "label" || c.RemoteAddr().Network() != "tunnel" {
		t.Error(c.RemoteAddr())
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a closed tunnel can be read")
	}
	if err := c.Close(); err != nil {
		t.Error("closing twice:", err)
	}
}

func TestTunnelEnds(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, tt := range []struct {
		name, command string
		class         remote.Class // 0: a plain io.EOF
		want          []string
	}{
		{"well, after the last answer", "echo bye", 0, nil},
		{"well, without a word", "true", remote.Unreachable, []string{"ended without a word", "run it by hand"}},
		{"badly, at once", "echo 'ssh: no route to host' >&2; exit 255", remote.Unreachable, []string{"tunnel to label", "exit status 255", "it says: ssh: no route to host"}},
		{"badly, in the middle", "echo hello; echo broken >&2; exit 1", remote.Lost, []string{"exit status 1", "it says: broken"}},
		{"by a signal", "echo hello; kill -9 $$", remote.Lost, []string{"killed"}},
		{"not found", "/nonexistent/program", remote.Protocol, []string{"exit status 127", "check tunnel"}},
		{"with many words", "for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 1", remote.Unreachable, []string{"it says: line 4; line 5; line 6; line 7"}},
		{"with a long word", "echo " + long + " end >&2; exit 1", remote.Unreachable, []string{"xxx end"}},
		{"with control characters", `printf 'a\033[31mb\n' >&2; exit 1`, remote.Unreachable, []string{"a [31mb"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := openTunnel(t, tt.command)
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			_, err := io.Copy(io.Discard, struct{ io.Reader }{c})
			if tt.class == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, tt.class, tt.want...)
			if len(err.Error()) > 3000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestTunnelWriteAfterEnd(t *testing.T) {
	c := openTunnel(t, "echo gone >&2; exit 3")
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Read(make([]byte, 1)); err == nil { // comes back once it has ended
		t.Fatal("it said something")
	}
	_, err := c.Write([]byte("hello\n"))
	wantError(t, err, remote.Unreachable, "exit status 3", "gone")
}

func TestTunnelSaysNothing(t *testing.T) {
	c := openTunnel(t, "sleep 600")
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	_ = c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := c.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write deadline: %v", err)
	}
	// A deadline can be moved on.
	_ = c.SetDeadline(time.Time{})
}

// TestTunnelLeavesNothing: closing ends the command and what it started, also when they
// won't listen. All of them hold a named pipe, whose other end tells.
func TestTunnelLeavesNothing(t *testing.T) {
	for name, command := range map[string]string{
		"obedient":       "exec 3>%s; sleep 600 & echo ready; wait",
		"stubborn":       "exec 3>%s; trap '' TERM HUP; (trap '' TERM HUP; sleep 600) & echo ready; wait; wait",
		"left by itself": "exec 3>%s; sleep 600 <&- >&- 2>&- & echo ready",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			c := openTunnel(t, fmt.Sprintf(command, fifo))
			wantLine(t, c, "ready\n")
			c.Close()
			_ = r.SetReadDeadline(time.Now().Add(time.Minute))
			if n, err := r.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("something still runs: %d, %v", n, err)
			}
		})
	}
}
