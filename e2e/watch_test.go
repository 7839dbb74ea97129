package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/proxy"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// watching is a `satchel watch` that runs beside the test.
type watching struct {
	t       testing.TB
	cmd     *exec.Cmd
	done    chan error
	mu      sync.Mutex
	printed bytes.Buffer
}

// Write takes what the program prints.
func (w *watching) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.printed.Write(p)
}

func (w *watching) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.printed.String()
}

// startWatch starts it. It is killed when the test ends before it does.
func startWatch(t testing.TB, cmd *exec.Cmd) *watching {
	t.Helper()
	w := &watching{t: t, cmd: cmd, done: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { w.done <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Logf("the watch printed:\n%s", w)
		}
	})
	return w
}

func (a *account) watch(args ...string) *watching {
	a.t.Helper()
	return startWatch(a.t, a.command(context.Background(), append([]string{"watch"}, args...)...))
}

// interrupt ends it as Ctrl-C does.
func (w *watching) interrupt() {
	w.t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
		w.t.Fatal(err)
	}
	select {
	case <-w.done:
		if code := w.cmd.ProcessState.ExitCode(); code != 130 {
			w.t.Errorf("an interrupted watch exits with %d", code)
		}
	case <-time.After(30 * time.Second):
		w.t.Error("an interrupted watch does not end")
	}
}

// watchPatience bounds how long a change may take on a busy machine.
const watchPatience = 30 * time.Second

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(watchPatience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// watchState is what `status --json` says of a watch.
type watchState struct {
	State, Listening, Error string
	Mailboxes               []string
}

// watchState returns how the watch on the account is, nil if there is none.
func (a *account) watchState() *watchState {
	a.t.Helper()
	o := a.run("status", "--json")
	for line := range strings.Lines(o.Stdout) {
		var s struct {
			Type  string
			Watch *watchState
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			a.t.Fatal(err)
		}
		if s.Type == "status" {
			return s.Watch
		}
	}
	a.t.Fatalf("no status: %v", o)
	return nil
}

func (a *account) has(folder, subject string) bool {
	for _, f := range a.files(folder) {
		if a.subject(f) == subject {
			return true
		}
	}
	return false
}

// TestWatch: what changes on either side is soon on the other; sync and status find the watch; it ends when it is told to.
func TestWatch(t *testing.T) {
	t.Parallel()
	a := newAccount(t, servers.Dovecot(t, servers.Options{}))
	a.overTLS()
	a.set("poll", `"24h"`)
	a.set("on_new_mail", `"echo $SATCHEL_ACCOUNT $SATCHEL_NEW >>../told"`)
	announced := func() (n int) {
		text, _ := os.ReadFile(filepath.Join(a.Dir, "told"))
		for line := range strings.Lines(string(text)) {
			k, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "me ")))
			if n += k; err != nil {
				t.Errorf("the command was told %q", line)
			}
		}
		return n
	}
	a.client().Create("Other")
	a.send("INBOX", flags(), "first")
	w := a.watch()
	eventually(t, "the first sync", func() bool { return a.has("INBOX", "first") })
	eventually(t, "the server tells of changes", func() bool { s := a.watchState(); return s != nil && s.State == "waiting" && s.Listening == "notify" })

	a.send("INBOX", flags(), "second")
	eventually(t, "a new message on the server", func() bool { return a.has("INBOX", "second") })
	a.send("Other", flags(), "third")
	eventually(t, "a new message in another folder", func() bool { return a.has("Other", "third") })
	eventually(t, "the command for new mail", func() bool { return announced() == 3 })
	a.flag("INBOX", "second", "FS")
	eventually(t, "flags in the Maildir", func() bool { return letters(a.at("INBOX", "second").Flags) == "FS" })
	c := a.client()
	c.Store("INBOX", true, flags(`\Answered`), a.uid("INBOX", "first"))
	eventually(t, "a flag on the server", func() bool { return strings.Contains(a.find("INBOX", "first").Flags, "R") })
	c.Expunge("INBOX", a.uid("INBOX", "first"))
	eventually(t, "a message expunged", func() bool { return !a.has("INBOX", "first") })
	a.move("INBOX", "Other", "second")
	eventually(t, "a move in the Maildir", func() bool { server, _ := a.subjects("Other"); return len(server) == 2 })
	a.client().Create(a.mailbox("From/There"))
	eventually(t, "a folder on the server", func() bool { _, err := os.Stat(filepath.Join(a.dir("From/There"), "cur")); return err == nil })
	a.mkdir("From/Here")
	a.file("From/Here", "", "fourth")
	eventually(t, "a folder in the Maildir", func() bool { return slices.Contains(a.client().Folders(), a.mailbox("From/Here")) })
	eventually(t, "and what is in it", func() bool { server, _ := a.subjects("From/Here"); return len(server) == 1 })

	r := a.sync(0)
	if r.Folders != 4 {
		t.Errorf("a sync done by the watch says: %v", r.Outcome)
	}
	if o := a.run("watch"); o.Code != 4 {
		t.Errorf("a second watch: %v", o)
	}
	eventually(t, "the status says how it is watched", func() bool {
		o := a.run("status")
		return o.Code == 0 && strings.Contains(o.Stdout, "watched since") && strings.Contains(o.Stdout, "the server tells of all folders")
	})
	a.verify()
	w.interrupt()
	if n := announced(); n != 3 {
		t.Errorf("the command for new mail was told of %d messages", n)
	}
	if s := a.watchState(); s != nil {
		t.Errorf("after the end of the watch the status says %+v", s)
	}
	a.settled()
}

// TestWatchIdle: without NOTIFY the watch waits with IDLE for as many folders as it may, and polls the others.
func TestWatchIdle(t *testing.T) {
	t.Parallel()
	a := newAccount(t, servers.Dovecot(t, servers.Options{Without: []string{"NOTIFY"}}))
	a.overTLS()
	a.set("poll", `"10s"`)
	for _, f := range []string{"A", "B"} {
		a.client().Create(f)
		a.send(f, flags(), "at."+f)
	}
	a.watch()
	eventually(t, "the server tells of two folders", func() bool {
		s := a.watchState()
		return s != nil && s.State == "waiting" && s.Listening == "idle" && strings.Join(s.Mailboxes, " ") == "A INBOX"
	})
	a.send("INBOX", flags(), "one")
	eventually(t, "a message in INBOX", func() bool { return a.has("INBOX", "one") })
	a.send("B", flags(), "two")
	eventually(t, "a message in a folder that is polled", func() bool { return a.has("B", "two") })
	eventually(t, "the folder that changed last is waited for", func() bool { return strings.Join(a.watchState().Mailboxes, " ") == "B INBOX" })
	a.send("B", flags(), "three")
	eventually(t, "another one there", func() bool { return a.has("B", "three") })
}

// TestWatchOutage: the server is away, comes back, and is restarted; nothing of it ends the watch, and nothing is lost.
func TestWatchOutage(t *testing.T) {
	t.Parallel()
	a := newAccount(t, servers.Dovecot(t, servers.Options{Alone: t.Name()}))
	a.overTLS()
	relay := proxy.New(t, fmt.Sprintf("127.0.0.1:%d", a.Server.Port), nil)
	a.setIMAP("port", fmt.Sprint(relay.Port()))
	a.setIMAP("tls", `"off"`)
	a.set("poll", `"10s"`)
	a.send("INBOX", flags(), "one")
	w := a.watch()
	eventually(t, "the first sync", func() bool { return a.has("INBOX", "one") })
	eventually(t, "the server tells of changes", func() bool { s := a.watchState(); return s != nil && s.Listening == "notify" })

	relay.SetScript(func(int) proxy.Script { return proxy.Script{CutAtLine: 1} })
	relay.CutAll()
	a.send("INBOX", flags(), "two")
	a.file("INBOX", "", "here")
	eventually(t, "the trouble shows", func() bool { s := a.watchState(); return s.State == "retrying" && s.Error != "" })
	if o := a.run("sync"); o.Code == 0 {
		t.Errorf("a sync while the server is away: %v", o)
	}
	relay.SetScript(nil)
	eventually(t, "what happened meanwhile", func() bool { server, _ := a.subjects("INBOX"); return a.has("INBOX", "two") && len(server) == 3 })
	eventually(t, "the server tells of changes again", func() bool { s := a.watchState(); return s.State == "waiting" && s.Listening == "notify" })
	a.send("INBOX", flags(), "three")
	eventually(t, "a message after that", func() bool { return a.has("INBOX", "three") })

	a.check(a.Server.Restart(500 * time.Millisecond))
	a.send("INBOX", flags(), "four")
	a.file("INBOX", "", "after")
	eventually(t, "what happened around a restart", func() bool { server, _ := a.subjects("INBOX"); return a.has("INBOX", "four") && len(server) == 6 })
	eventually(t, "the server tells of changes after its restart", func() bool { s := a.watchState(); return s.State == "waiting" && s.Listening == "notify" })
	w.interrupt()
	a.settled()
}

// TestWatchedTogether: people work on both sides, connections break and the watch is killed now and then; in the end
// nothing is lost and nothing doubled. SATCHEL_WATCHED is how many times they act.
func TestWatchedTogether(t *testing.T) {
	t.Parallel()
	server := servers.Dovecot(t, servers.Options{Alone: t.Name()})
	r := newRounds(t, uint64(amount(t, "SATCHEL_SEED", 1)), server)
	relay := r.relayed()
	relay.SetScript(nil)
	r.fill(60, 5)
	r.nameKeywords()
	none := func() error { return nil }
	r.settle("the start", none)
	r.movesThere = sweepAll()
	w := startWatch(t, r.command("watch"))
	acts := 0
	for n := amount(t, "SATCHEL_WATCHED", 300); acts < n; {
		here, there := 1+r.rng.IntN(6), 1+r.rng.IntN(4)
		r.localActs(here)
		r.remoteActs(there)
		acts += here + there
		time.Sleep(time.Duration(r.rng.IntN(60)) * time.Millisecond)
		switch r.rng.IntN(40) {
		case 0:
			r.note("the connections break")
			relay.CutAll()
		case 1:
			r.note("the server falls silent")
			relay.SetScript(func(int) proxy.Script { return proxy.Script{SwallowFrom: 1 + r.rng.IntN(30), Linger: true} })
			relay.CutAll()
			time.Sleep(200 * time.Millisecond)
			relay.SetScript(nil)
			relay.CutAll()
		case 2:
			r.note("the server is restarted")
			if err := server.Restart(time.Duration(r.rng.IntN(500)) * time.Millisecond); err != nil {
				r.fatalf("%v", err)
			}
		case 3:
			r.note("the watch is killed")
			_ = w.cmd.Process.Kill()
			<-w.done
			w = startWatch(t, r.command("watch"))
		}
	}
	for i := 0; !r.quietly(); i++ {
		if i == 2*recoveries {
			r.fatalf("the watch does not come to rest")
		}
	}
	w.interrupt()
	r.settle("all were at work", none)
}

// TestWatchGuard: a folder that is emptied in slices is held back as a whole.
func TestWatchGuard(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	var subjects []string
	for i := range 60 {
		subjects = append(subjects, fmt.Sprintf("m%02d", i))
	}
	a.send("INBOX", flags(`\Seen`), subjects...)
	a.watch()
	eventually(t, "the first sync", func() bool { return len(a.files("INBOX")) == 60 })
	eventually(t, "it is done", func() bool { s := a.watchState(); return s != nil && s.State == "waiting" })
	for slice := range slices.Chunk(a.files("INBOX")[:55], 20) {
		for _, f := range slice {
			a.check(os.Remove(f.Path))
		}
		time.Sleep(150 * time.Millisecond)
	}
	eventually(t, "the deletions are held back", func() bool { return a.status()["INBOX"].HeldBack == 55 })
	if server, _ := a.subjects("INBOX"); len(server) != 60 {
		t.Errorf("%d messages are left on the server", len(server))
	}
	if r := a.sync(0, "--restore-held"); r.HeldBack != 0 {
		t.Errorf("after bringing them back: %v", r.Outcome)
	}
	a.holds("INBOX", subjects...)
}

// rests waits until a watch has looked at everything, and the server tells of changes.
func (a *account) rests() {
	a.t.Helper()
	eventually(a.t, "the watch rests", func() bool { s := a.watchState(); return s != nil && s.State == "waiting" && s.Listening != "poll" })
}

// TestWatchOfOneFolderIsAskedForOthers: what is asked for is what is done, though it is more than what is watched.
func TestWatchOfOneFolderIsAskedForOthers(t *testing.T) {
	t.Parallel()
	a := newAccount(t, servers.Dovecot(t, servers.Options{}))
	a.overTLS()
	a.set("poll", `"24h"`)
	for _, f := range []string{"A", "B", "C"} {
		a.client().Create(f)
	}
	a.watch("me/INBOX")
	a.rests()
	for folder, args := range map[string][]string{"A": nil, "B": {"me"}, "C": {"me/C"}} {
		a.send(folder, flags(), "at."+folder)
		a.sync(0, args...)
		if !a.has(folder, "at."+folder) {
			t.Errorf("sync %q says that all is synchronised, and the message in %s is not here", args, folder)
		}
	}
}

// readsAgain has a watch read its configuration again.
func (w *watching) readsAgain() {
	w.t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, "the configuration is read again", func() bool { return strings.Contains(w.String(), "was read again") })
}

// TestWatchGuardAcrossReading: what was removed in the last ten minutes counts though the configuration was read again meanwhile.
func TestWatchGuardAcrossReading(t *testing.T) {
	t.Parallel()
	a := newAccount(t, servers.Dovecot(t, servers.Options{}))
	a.overTLS()
	var subjects []string
	for i := range 100 {
		subjects = append(subjects, fmt.Sprintf("m%02d", i))
	}
	a.send("INBOX", flags(`\Seen`), subjects...)
	w := a.watch()
	a.rests()
	for _, f := range a.files("INBOX")[:40] {
		a.check(os.Remove(f.Path))
	}
	eventually(t, "40 are removed", func() bool { server, _ := a.subjects("INBOX"); return len(server) == 60 })
	a.rests()
	w.readsAgain()
	a.rests()
	for _, f := range a.files("INBOX")[:28] {
		a.check(os.Remove(f.Path))
	}
	left := func() int { server, _ := a.subjects("INBOX"); return len(server) }
	// The watch may have begun before the last of them was removed.
	eventually(t, "the others are held back", func() bool { n := left(); return a.status()["INBOX"].HeldBack == 28-(60-n) })
	if n := left(); n < 50 {
		t.Errorf("%d messages are left on the server", n)
	}
}

// TestWatchAnnouncesAtItsEnd: a watch that is ended has the command for new mail come to its end, and tells it what it did not tell it yet.
func TestWatchAnnouncesAtItsEnd(t *testing.T) {
	t.Parallel()
	a := newAccount(t, servers.Dovecot(t, servers.Options{}))
	a.overTLS()
	a.set("poll", `"24h"`)
	a.set("on_new_mail", `"touch ../begun; sleep 2; echo $SATCHEL_NEW >>../told"`)
	w := a.watch()
	a.rests()
	a.send("INBOX", flags(), "one")
	eventually(t, "the command runs", func() bool { _, err := os.Stat(filepath.Join(a.Dir, "begun")); return err == nil })
	a.send("INBOX", flags(), "two")
	eventually(t, "another message", func() bool { return a.has("INBOX", "two") })
	a.rests()
	w.interrupt()
	if told, _ := os.ReadFile(filepath.Join(a.Dir, "told")); string(told) != "1\n1\n" {
		t.Errorf("it was told %q", told)
	}
}

// TestWatchAnnouncesAcrossReading: the command for new mail is told of every message, and runs to its end, though the configuration is read
// again meanwhile.
func TestWatchAnnouncesAcrossReading(t *testing.T) {
	t.Parallel()
	a := newAccount(t, servers.Dovecot(t, servers.Options{}))
	a.overTLS()
	a.set("poll", `"24h"`)
	a.set("on_new_mail", `"touch ../begun; sleep 2; echo $SATCHEL_NEW >>../told"`)
	w := a.watch()
	a.rests()
	a.send("INBOX", flags(), "one")
	eventually(t, "the command runs", func() bool { _, err := os.Stat(filepath.Join(a.Dir, "begun")); return err == nil })
	a.send("INBOX", flags(), "two")
	eventually(t, "another message", func() bool { return a.has("INBOX", "two") })
	w.readsAgain()
	eventually(t, "it is told of both", func() bool {
		told, _ := os.ReadFile(filepath.Join(a.Dir, "told"))
		return string(told) == "1\n1\n"
	})
}

// TestWatchStopped: who asks a watch that was stopped (Ctrl-Z) is told so after a while, and at once when interrupted; there is a line for the
// account in both cases.
func TestWatchStopped(t *testing.T) {
	t.Parallel()
	a := newAccount(t, servers.Dovecot(t, servers.Options{}))
	a.overTLS()
	w := a.watch()
	a.rests()
	a.check(w.cmd.Process.Signal(syscall.SIGSTOP))
	defer func() { _ = w.cmd.Process.Signal(syscall.SIGCONT) }()
	for code, interrupted := range map[int]bool{4: false, 130: true} {
		ctx, cancel := context.WithTimeout(t.Context(), watchPatience)
		cmd := a.command(ctx, "sync", "--json")
		var out, msg bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &msg
		a.check(cmd.Start())
		if interrupted {
			time.Sleep(time.Second)
			a.check(cmd.Process.Signal(syscall.SIGINT))
		}
		_ = cmd.Wait()
		cancel()
		if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(out.String(), fmt.Sprintf(`"account":"me","ok":false,"exit":%d`, code)) ||
			!strings.Contains(msg.String(), "satchel: me: ") {
			t.Errorf("interrupted %v: exit code %d, it prints %q and %q", interrupted, got, &out, &msg)
		}
	}
}

// TestWatchOfOneFolderIdles: where the server tells of some folders only, those that are watched are these.
func TestWatchOfOneFolderIdles(t *testing.T) {
	t.Parallel()
	a := newAccount(t, servers.Dovecot(t, servers.Options{Without: []string{"NOTIFY"}}))
	a.overTLS()
	a.set("poll", `"24h"`)
	for _, f := range []string{"A", "B", "C"} {
		a.client().Create(f)
		a.send(f, flags(), "at."+f)
	}
	a.sync(0)
	a.watch("me/C")
	eventually(t, "the server tells of the folder", func() bool {
		s := a.watchState()
		return s != nil && s.State == "waiting" && strings.Join(s.Mailboxes, " ") == "C"
	})
	a.send("C", flags(), "new")
	eventually(t, "a message there", func() bool { return a.has("C", "new") })
}
