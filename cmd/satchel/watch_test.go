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

	"github.com/satchel-mail/satchel/internal/control"
	"github.com/satchel-mail/satchel/sync/watch"
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
	kept, forget := a.newLastings(t.Context())
	t.Cleanup(forget)
	r, err := a.newRound(nil, kept)
	if err != nil {
		t.Fatal(err)
	}
	return r, &msg
}

// runsOn runs a round until its account was looked at, and returns with what it ended, if it did so before.
func (r *round) runsOn(t *testing.T) error {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended, began := make(chan error, 1), r.accounts[0].began
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
	inTheWay := filepath.Join(r.accounts[0].Maildir, ".satchel.db.sock.new", "x")
	if err := os.MkdirAll(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.runsOn(t); err != nil || strings.Count(msg.String(), "making the socket") != 1 {
		t.Errorf("it ends with %v and says %q", err, msg)
	}
}

// TestWatchAnswersWithALine: who asked for JSON gets the line of the account, whatever keeps the watch from doing what was asked for.
func TestWatchAnswersWithALine(t *testing.T) {
	r, _ := roundOf(t, "")
	w := r.accounts[0]
	r.prepare(w)
	ended, end := context.WithCancel(t.Context())
	end()
	w.current().Run(ended)
	for name, req := range map[string]control.Request{
		"another account": {Account: "b", Do: control.Sync},
		"another version": {Account: "a", Do: "something else"},
		"it has ended":    {Account: "a", Do: control.Sync},
	} {
		req.JSON = true
		var out string
		exit := r.answer(t.Context(), w, w.current(), req, func(r control.Reply) { out += r.Out })
		want := fmt.Sprintf(`{"type":"account","account":%q,"ok":false,"exit":1,`, req.Account)
		if exit != exitFailed || !strings.HasPrefix(out, want) || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: exit code %d, and %q", name, exit, out)
		}
	}
}

// TestWatchTakesOver: an account that another watch has is left to it for as long as that runs; and when two began at the same moment
// one of them gives way.
func TestWatchTakesOver(t *testing.T) {
	r, _ := roundOf(t, "")
	w := r.accounts[0]
	socket := control.Path(w.StatePath)
	other := func() (end func()) {
		l, err := control.Listen(socket)
		if err != nil {
			t.Fatal(err)
		}
		return func() { _ = l.Close() }
	}
	end := other()
	if err := r.runsOn(t); exitOf(err) != exitLocked {
		t.Errorf("where another watch is: %v", err)
	}
	r, msg := roundOf(t, "")
	w = r.accounts[0]
	end()
	socket = control.Path(w.StatePath)
	end = other()
	r.again, r.freeEvery = true, 10*time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx, supervisor{}) }()
	within := func(what string, holds func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("waited in vain: %s", what)
			}
		}
	}
	<-w.began
	if _, ok := w.status(); ok || len(r.statuses()) != 0 {
		t.Error("both watch")
	}
	end()
	within("it takes the other's place", func() bool { st, ok := w.status(); return ok && st.State == watch.Retrying })
	within("it can be asked", func() bool {
		exit, err := control.Ask(ctx, socket, control.Request{Do: control.Status, Account: w.Name}, func(control.Reply) {})
		return err == nil && exit == exitOK
	})
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ends with %v", err)
	}
	end = other() // another one that began at the same moment, and made its socket later
	defer end()
	r.prepare(w)
	r.watchOver(t.Context(), w, w.current(), nil) // gives way
	if got := msg.String(); strings.Count(got, "is at work on this account") != 1 || strings.Count(got, "takes its place") != 1 {
		t.Errorf("it says %q", got)
	}
}
