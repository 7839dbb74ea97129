package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestWatchEndsWithItsTerminal: who closes the window does not expect the watch to go on without it.
func TestWatchEndsWithItsTerminal(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("[account.stuck]\nmaildir = %q\n[account.stuck.imap]\nhost = \"stuck\"\nuser = \"x\"\ntunnel = \"exec cat >/dev/null\"\n", filepath.Join(dir, "Mail"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, terminal := satchelOnTerminal(t, "watch", "-c", config)
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	await := func(what string) {
		t.Helper()
		var shown strings.Builder
		for buf := make([]byte, 4096); !strings.Contains(shown.String(), what); {
			n, err := terminal.Read(buf)
			if err != nil {
				t.Fatalf("%v after %q", err, shown.String())
			}
			shown.Write(buf[:n])
		}
	}
	hangUp := func() {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	await("stuck: looking")
	hangUp()
	await("the configuration was read again")
	if err := terminal.Close(); err != nil {
		t.Fatal(err)
	}
	hangUp()
	if code := codeOf(cmd.Wait()); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
}
