package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo-terminal, 100 by 30.
func openTerminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	fd := int(ours.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 100}); err != nil {
		t.Fatal(err)
	}
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// satchelOnTerminal starts this test binary as satchel with standard error on a terminal.
func satchelOnTerminal(t *testing.T, args ...string) (*exec.Cmd, *os.File) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := openTerminal(t)
	cmd := &exec.Cmd{Path: self, Args: append([]string{"satchel"}, args...), Stderr: theirs, Env: append(os.Environ(), "TERM=xterm")}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	return cmd, ours
}

// A terminal gets a progress display, which goes away at the end; with --quiet or --json it does not.
func TestProgressOnTerminal(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	begun := filepath.Join(dir, "begun")
	if err := unix.Mkfifo(begun, 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("[account.stuck]\nmaildir = %q\n[account.stuck.imap]\nhost = \"stuck\"\nuser = \"x\"\ntunnel = \"echo > %s; exec cat >/dev/null\"\n",
		filepath.Join(dir, "Mail"), begun)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	cmd, terminal := satchelOnTerminal(t, "sync", "-c", config)
	if _, err := os.ReadFile(begun); err != nil { // returns when the tunnel was started
		t.Fatal(err)
	}
	var shown bytes.Buffer
	for buf := make([]byte, 4096); !strings.Contains(shown.String(), "stuck: looking"); {
		n, err := terminal.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, shown.String())
		}
		shown.Write(buf[:n])
	}
	stop(t, cmd, terminal, &shown)
	if got := show(strings.ReplaceAll(shown.String(), "\r", "")); strings.Contains(got, "looking") || !strings.Contains(got, "interrupted") {
		t.Errorf("at the end the terminal shows %q", got)
	}

	for _, flag := range []string{"--quiet", "--json"} {
		cmd, terminal := satchelOnTerminal(t, "sync", "-c", config, flag)
		if _, err := os.ReadFile(begun); err != nil {
			t.Fatal(err)
		}
		shown.Reset()
		stop(t, cmd, terminal, &shown)
		if strings.Contains(shown.String(), "looking") || strings.Contains(shown.String(), "\x1b") {
			t.Errorf("%s shows %q", flag, shown.String())
		}
	}
}

// stop interrupts the command and reads what it still shows.
func stop(t *testing.T, cmd *exec.Cmd, terminal io.Reader, shown *bytes.Buffer) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(shown, terminal) // ends with an error when nobody has the terminal open any more
	if code := codeOf(cmd.Wait()); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
}
