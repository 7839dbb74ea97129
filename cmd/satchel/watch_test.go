package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// roundOf is a round with one account whose server nobody is, and whose metrics are to be served at an address.
func roundOf(t *testing.T, metrics string) (*round, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	config := fmt.Sprintf(`[account.a]
maildir = %q
[account.a.imap]
host = "127.0.0.1"
port = 1
tls = "off"
user = "u"
password_command = "echo secret"
[watch]
metrics = %q
`, filepath.Join(dir, "mail"), metrics)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "mail"), 0o700); err != nil {
		t.Fatal(err)
	}
	var out, msg bytes.Buffer
	a := newApp(streams{out: &out, err: &msg, env: func(string) string { return "" }})
	a.configPath = path
	r, err := a.newRound(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r, &msg
}

// runsOn runs a round until its account was looked at, and returns with what it ended, if it did so before.
func (r *round) runsOn(t *testing.T) error {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended, began := make(chan error, 1), r.watchers[0].began
	go func() { ended <- r.run(ctx, supervisor{}) }()
	defer stop()
	select {
	case err := <-ended:
		return err
	case <-began:
		stop()
		return <-ended
	case <-time.After(20 * time.Second):
		t.Fatal("the account is not looked at")
		return nil
	}
}

// TestWatchMetricsTaken: an address that can't be had ends a watch that begins, and not one that reads its configuration again.
func TestWatchMetricsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r, _ := roundOf(t, l.Addr().String())
	if err := r.runsOn(t); exitOf(err) != exitUsage {
		t.Errorf("at first: %v", err)
	}
	r, msg := roundOf(t, l.Addr().String())
	r.again = true
	if err := r.runsOn(t); err != nil || !strings.Contains(msg.String(), "watch.metrics") {
		t.Errorf("later: %v, it says %q", err, msg)
	}
}

// TestWatchWithoutSocket: an account is watched though its socket can't be made, on a full disk, say.
func TestWatchWithoutSocket(t *testing.T) {
	r, msg := roundOf(t, "")
	inTheWay := filepath.Join(r.watchers[0].Maildir, ".satchel.db.sock.new", "x")
	if err := os.MkdirAll(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.runsOn(t); err != nil || strings.Count(msg.String(), "making the socket") != 1 {
		t.Errorf("it ends with %v and says %q", err, msg)
	}
}
