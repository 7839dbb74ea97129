package main

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSupervisorHearsWhileAccountsBegin: a first download may take longer than systemd waits for a sign of life.
func TestSupervisorHearsWhileAccountsBegin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Skipf("there is no socket of that kind: %v", err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "20000")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		supervisor{}.attend(ctx, []*watching{{began: make(chan struct{})}})
	}()
	defer func() { stop(); <-ended }()
	_ = l.SetReadDeadline(time.Now().Add(10 * time.Second))
	said := make([]byte, 1000)
	n, err := l.Read(said)
	if err != nil || !strings.Contains(string(said[:n]), "WATCHDOG=1") {
		t.Errorf("it says %q, %v", said[:n], err)
	}
}
