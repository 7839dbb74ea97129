package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// TestJSONLine: the line has the fields of the contract, in its order, and none is null.
func TestJSONLine(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	a.send("INBOX", flags(), "a", "b")
	a.file("INBOX", "S", "c")
	r := a.sync(0)
	var keys []string
	dec := json.NewDecoder(strings.NewReader(r.Outcome.Stdout))
	depth := 0
	for key := true; ; {
		token, err := dec.Token()
		if err != nil {
			break
		}
		switch d, ok := token.(json.Delim); {
		case ok && (d == '{' || d == '['):
			depth++
			key = true
			continue
		case ok:
			depth--
			key = true
			continue
		case depth == 1 && key:
			keys = append(keys, token.(string))
		case token == nil:
			t.Errorf("a value is null: %s", r.Outcome.Stdout)
		}
		key = !key
	}
	want := []string{"type", "account", "ok", "exit", "to_maildir", "to_server", "folders", "folders_changed", "held_back", "deferred",
		"auth_needed", "retry_after_ms", "bytes_in", "bytes_out", "round_trips", "duration_ms", "errors"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("the keys (-want +got):\n%s", diff)
	}
	r.did(t, counts{New: 2}, counts{New: 1})
	if r.Folders != 1 || r.FoldersChanged != 1 || r.BytesIn == 0 || r.BytesOut == 0 || r.RoundTrips == 0 || r.DurationMS == 0 {
		t.Errorf("a figure is missing: %s", r.Outcome.Stdout)
	}
}

// TestExitUsage: what is wrong with the command line or the configuration is found before anything is touched.
func TestExitUsage(t *testing.T) {
	t.Parallel()
	a := synced(t, "a")
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown command", []string{"snyc"}, "snyc"},
		{"unknown flag", []string{"sync", "--frob"}, "--frob"},
		{"unknown account", []string{"sync", "nobody"}, "nobody"},
		{"flags that exclude each other", []string{"sync", "--allow-deletes", "--restore-held"}, "--restore-held"},
	} {
		if o := a.run(tt.args...); o.Code != 2 || !strings.Contains(o.Stderr, tt.want) {
			t.Errorf("%s: want 2 and %q, got %v", tt.name, tt.want, o)
		}
	}
	a.set("colour", `"blue"`)
	if o := a.run("sync"); o.Code != 2 || !strings.Contains(o.Stderr, a.Config) || !strings.Contains(o.Stderr, "colour") || !strings.Contains(o.Stderr, "line 2") && !strings.Contains(o.Stderr, ":2:") {
		t.Errorf("an unknown key: want 2, file, line and key, got %v", o)
	}
	a.set("colour", "")
	a.Config = filepath.Join(a.Dir, "missing.toml")
	if o := a.run("sync"); o.Code != 2 || !strings.Contains(o.Stderr, "missing.toml") {
		t.Errorf("no configuration: want 2, got %v", o)
	}
}

// TestTargets: a target limits what is changed.
func TestTargets(t *testing.T) {
	t.Parallel()
	a := synced(t, "a")
	a.send("INBOX", flags(), "b")
	a.send("Other", flags(), "o")
	a.sync(0, "me/Other")
	a.sides("INBOX", "a b", "a")
	a.sides("Other", "o", "o")
	a.move("INBOX", "Other", "a") // both folders are named by the move, one by the target
	a.sync(0, "me/Other")
	a.sync(0, "me")
	a.holds("INBOX", "b")
	a.holds("Other", "a", "o")
	if o := a.run("sync", "me/Nowhere"); o.Code == 0 {
		t.Errorf("a folder that there is not: %v", o)
	}
}

// snapshot is all of a Maildir: names, times, sizes, contents of small files. Nothing of the database is in it but its bytes.
func (a *account) snapshot() map[string]string {
	a.t.Helper()
	out := map[string]string{}
	a.check(filepath.WalkDir(a.Maildir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%v %v", info.Mode(), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d %x", len(b), b)
		}
		out[path] = text
		return nil
	}))
	return out
}

// TestDryRun shows what would be done, and does nothing on either side.
func TestDryRun(t *testing.T) {
	t.Parallel()
	a := synced(t, "a", "b", "c", "d")
	c := a.client()
	a.send("INBOX", flags(), "e")
	c.Store("INBOX", true, flags(`\Flagged`), a.uid("INBOX", "a"))
	c.Expunge("INBOX", a.uid("INBOX", "b"))
	a.remove("INBOX", "c")
	a.move("INBOX", "Other", "d")
	a.file("New", "S", "n")
	local, remote := a.snapshot(), a.say("STATUS INBOX (HIGHESTMODSEQ UIDNEXT MESSAGES)", "STATUS Other (HIGHESTMODSEQ UIDNEXT MESSAGES)")
	r := a.sync(0, "--dry-run")
	if diff := cmp.Diff(local, a.snapshot()); diff != "" {
		t.Errorf("the Maildir changed (-before +after):\n%s", diff)
	}
	statusLines := func(s string) (out []string) {
		for line := range strings.Lines(s) {
			if strings.HasPrefix(line, "* STATUS") {
				out = append(out, line)
			}
		}
		return out
	}
	now := a.say("STATUS INBOX (HIGHESTMODSEQ UIDNEXT MESSAGES)", "STATUS Other (HIGHESTMODSEQ UIDNEXT MESSAGES)")
	if !slices.Equal(statusLines(remote), statusLines(now)) || len(statusLines(now)) != 2 {
		t.Errorf("the server changed: %q, then %q", statusLines(remote), statusLines(now))
	}
	ops := map[string]int{}
	for line := range strings.Lines(r.Outcome.Stdout) {
		var op struct{ Type, Folder, Side, Op string }
		a.check(json.Unmarshal([]byte(line), &op))
		if op.Type == "op" {
			ops[op.Side+" "+op.Op]++
		}
	}
	for _, want := range []string{"maildir download", "maildir delete", "server delete", "server upload", "server move"} {
		if ops[want] != 1 {
			t.Errorf("%d operations %q are shown, want 1: %v", ops[want], want, r.Outcome)
		}
	}
	r.did(t, counts{}, counts{})

	b := dovecot(t) // where there is nothing yet, nothing comes into being
	b.send("INBOX", flags(), "a")
	b.sync(0, "--dry-run")
	if _, err := os.Stat(b.Maildir); err == nil {
		t.Error("a dry run made the Maildir")
	}
}

// TestGuard: a mass deletion is held back until the person says what is meant.
func TestGuard(t *testing.T) {
	t.Parallel()
	subjects := make([]string, 20)
	for i := range subjects {
		subjects[i] = fmt.Sprintf("m%02d", i)
	}
	setup := func(t *testing.T) *account {
		t.Parallel()
		a := synced(t, subjects...)
		for _, s := range subjects[:15] {
			a.remove("INBOX", s)
		}
		a.send("INBOX", flags(), "new")
		for range 2 { // each run says so
			r := a.sync(3)
			if r.HeldBack != 15 || !strings.Contains(r.Outcome.Stderr, "--allow-deletes") || !strings.Contains(r.Outcome.Stderr, "--restore-held") {
				t.Fatalf("want 15 held back and what to do, got %v", r.Outcome)
			}
			if server, _ := a.subjects("INBOX"); len(server) != 21 {
				t.Fatalf("%d messages on the server, want 21", len(server))
			}
		}
		a.find("INBOX", "new")
		if s := a.status()["INBOX"]; s.HeldBack != 15 {
			t.Errorf("status says %+v", s)
		}
		return a
	}
	t.Run("allow-deletes", func(t *testing.T) {
		a := setup(t)
		a.sync(0, "--allow-deletes").did(t, counts{}, counts{Deleted: 15})
		a.verify()
		a.quiet()
		a.holds("INBOX", append(slices.Clone(subjects[15:]), "new")...)
	})
	t.Run("restore-held", func(t *testing.T) {
		a := setup(t)
		a.sync(0, "--restore-held").did(t, counts{New: 15}, counts{})
		a.verify()
		a.quiet()
		a.holds("INBOX", append(slices.Clone(subjects), "new")...)
	})
	t.Run("deleted on the server", func(t *testing.T) {
		t.Parallel()
		a := synced(t, subjects...)
		for _, s := range subjects[:15] {
			a.client().Expunge("INBOX", a.uid("INBOX", s))
		}
		if r := a.sync(3); r.HeldBack != 15 || len(a.files("INBOX")) != 20 {
			t.Fatalf("want 15 held back and 20 files, got %d and %v", len(a.files("INBOX")), r.Outcome)
		}
		a.sync(0, "--restore-held").did(t, counts{}, counts{New: 15})
		a.verify()
		a.quiet()
		a.holds("INBOX", subjects...)
	})
	t.Run("max_delete as a count", func(t *testing.T) {
		t.Parallel()
		a := synced(t, subjects...)
		a.set("max_delete", `"2"`)
		for _, s := range subjects[:3] {
			a.remove("INBOX", s)
		}
		a.sync(3)
		a.set("max_delete", `"off"`)
		a.settled()
		a.holds("INBOX", subjects[3:]...)
	})
	t.Run("all files gone", func(t *testing.T) {
		t.Parallel()
		a := synced(t, subjects...)
		for _, f := range a.files("INBOX") {
			a.check(os.Remove(f.Path))
		}
		a.sync(3)
		if n := a.client().Count("INBOX"); n != 20 {
			t.Errorf("%d messages are left on the server, want 20", n)
		}
	})
}

// TestLocked: one Satchel at a time works on an account.
func TestLocked(t *testing.T) {
	t.Parallel()
	a := synced(t, "a")
	// This one holds the account until its server answers, which it does when the test says so.
	gate := filepath.Join(a.Dir, "gate")
	a.check(syscall.Mkfifo(gate, 0o600))
	tunnel := a.imap["tunnel"]
	a.setIMAP("tunnel", quote("read -r line <"+gate+"; exec sh -c "+shellQuote(a.Server.Tunnel)))
	ctx, cancel := context.WithTimeout(context.Background(), runPatience)
	defer cancel()
	first := a.command(ctx, "sync")
	var out bytes.Buffer
	first.Stdout, first.Stderr = &out, &out
	a.check(first.Start())
	pass, err := os.OpenFile(gate, os.O_WRONLY, 0) // waits until the tunnel runs: the lock was taken before
	a.check(err)
	a.setIMAP("tunnel", tunnel)
	r := a.sync(4)
	if len(r.Errors) != 1 || !strings.Contains(r.Errors[0].Error, "another Satchel") {
		t.Errorf("want a word of the other one, got %v", r.Outcome)
	}
	_, err = pass.WriteString("go\n")
	a.check(err)
	a.check(pass.Close())
	if err := first.Wait(); err != nil {
		t.Errorf("the first one: %v\n%s", err, out.String())
	}
	a.quiet()
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// TestInterrupted: a signal in the middle stops at a safe point, and the next run finishes.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		signal syscall.Signal
		after  string // in the protocol
	}{
		{"SIGINT while downloading", syscall.SIGINT, "BODY.PEEK[]"},
		{"SIGTERM while downloading", syscall.SIGTERM, "BODY.PEEK[]"},
		{"SIGINT while uploading", syscall.SIGINT, "APPEND"},
		{"SIGTERM while uploading", syscall.SIGTERM, "APPEND"},
		{"SIGINT while looking", syscall.SIGINT, "LIST"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := dovecot(t)
			a.client().Create("Other")
			body := strings.Repeat("a line of some length, so that it takes a while\r\n", 200)
			for i := range 300 {
				a.client().Append("INBOX", letter(fmt.Sprint("there", i))+body, flags(), received)
				a.put("Other", onDisk(letter(fmt.Sprint("here", i))+body), "S")
			}
			ctx, cancel := context.WithTimeout(context.Background(), runPatience)
			defer cancel()
			cmd := a.command(ctx, "sync", "-vv")
			stderr, err := cmd.StderrPipe()
			a.check(err)
			a.check(cmd.Start())
			lines := bufio.NewReader(stderr)
			sent := false
			var last string
			for {
				line, err := lines.ReadString('\n')
				if line != "" {
					last = line
				}
				if !sent && strings.Contains(line, " > ") && strings.Contains(line, tt.after) {
					a.check(cmd.Process.Signal(tt.signal))
					sent = true
				}
				if err != nil {
					break
				}
			}
			_ = cmd.Wait() // the code says all
			if code := cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(last, "interrupted") {
				t.Errorf("want 130 and a last word, got %d and %q", code, last)
			}
			a.settled()
			if n, m := len(a.files("INBOX")), a.client().Count("Other"); n != 300 || m != 300 {
				t.Errorf("%d messages came and %d went, want 300 each", n, m)
			}
		})
	}
}

// TestInterruptedTwice: the server falls silent during an upload, so that no safe point comes. A second signal ends the program at once; the next run finishes.
func TestInterruptedTwice(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	a.sync(0)
	for i := range 20 {
		a.put("INBOX", onDisk(letter(fmt.Sprint("here", i))), "S")
	}
	ctx, cancel := context.WithTimeout(context.Background(), runPatience)
	defer cancel()
	cmd := a.command(ctx, "sync", "-vv")
	stderr, err := cmd.StderrPipe()
	a.check(err)
	a.check(cmd.Start())
	lines := bufio.NewReader(stderr)
	await := func(what ...string) {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if !slices.ContainsFunc(what, func(w string) bool { return !strings.Contains(line, w) }) {
				return
			}
			if err != nil {
				t.Fatalf("%q never came: %v", what, err)
			}
		}
	}
	await(" > ", "APPEND")
	server := descendants(t, cmd.Process.Pid)
	if len(server) == 0 {
		t.Fatal("no server was started: the test proves nothing")
	}
	signalAll := func(s syscall.Signal) {
		for _, pid := range server {
			_ = syscall.Kill(pid, s) // one may have ended
		}
	}
	signalAll(syscall.SIGSTOP)
	defer signalAll(syscall.SIGCONT)
	a.check(cmd.Process.Signal(syscall.SIGINT))
	await("interrupt once more")
	a.check(cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait() // the code says all
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	signalAll(syscall.SIGCONT)
	a.settled()
	if n := a.client().Count("INBOX"); n != 20 || len(a.files("INBOX")) != 20 {
		t.Errorf("%d messages are on the server and %d in the Maildir, want 20", n, len(a.files("INBOX")))
	}
}

// descendants are the processes that a process started, and those that these did.
func descendants(t *testing.T, pid int) (pids []int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(append(pids, child), descendants(t, child)...)
			}
		}
	}
	return pids
}

// TestStatus: it reads local state only, and says what the last sync saw.
func TestStatus(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	if o := a.run("status"); o.Code != 0 || !strings.Contains(o.Stdout, "never") {
		t.Errorf("before the first sync: %v", o)
	}
	a.send("INBOX", flags(), "a", "b")
	a.sync(0)
	a.file("INBOX", "S", "c")
	tunnel := a.imap["tunnel"]
	a.setIMAP("tunnel", `"exit 1"`)
	if s := a.status()["INBOX"]; s.Server != 2 || s.Maildir != 3 || s.Waiting != 1 || s.LastSync == nil || s.LastError != "" {
		t.Errorf("without the server, status says %+v", s)
	}
	if o := a.run("sync"); o.Code == 0 {
		t.Errorf("a broken tunnel: %v", o)
	}
	if o := a.run("status"); o.Code != 0 || !strings.Contains(o.Stdout, "failed") {
		t.Errorf("after a failed run: %v", o)
	}
	a.setIMAP("tunnel", tunnel)
	a.sync(0)
	if s := a.status()["INBOX"]; s.Server != 3 || s.Waiting != 0 {
		t.Errorf("status says %+v", s)
	}
}

// TestVerifyFinds: what verify is for.
func TestVerifyFinds(t *testing.T) {
	t.Parallel()
	a := synced(t, "a", "b", "c")
	f := a.find("INBOX", "a")
	b, err := os.ReadFile(f.Path)
	a.check(err)
	a.check(os.WriteFile(f.Path, bytes.Replace(b, []byte("This is"), []byte("THIS IS"), 1), 0o600)) // edited in place
	a.client().Expunge("INBOX", a.uid("INBOX", "b"))
	a.file("INBOX", "S", "d")
	before := a.snapshot()
	o := a.run("verify", "--deep")
	if o.Code != 1 || strings.Count(o.Stdout, "me/INBOX") != 3 {
		t.Errorf("want 1 and three differences, got %v", o)
	}
	if diff := cmp.Diff(before, a.snapshot()); diff != "" {
		t.Errorf("verify changed something:\n%s", diff)
	}
	if r := a.sync(0); r.ToServer.New != 1 {
		t.Errorf("after a verify: %v", r.Outcome)
	}
}

// TestTwoAccounts: each has its own outcome, and one's failure does not stop the other.
func TestTwoAccounts(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	b := newAccount(t, servers.Dovecot(t, servers.Options{}))
	a.send("INBOX", flags(), "a")
	text, err := os.ReadFile(a.Config)
	a.check(err)
	other := strings.ReplaceAll(fmt.Sprintf("[account.me]\nmaildir = %q\n[account.me.imap]\nhost = \"127.0.0.1\"\nport = 1\ntls = \"off\"\nuser = \"u\"\npassword = \"p\"\n",
		b.Maildir), "account.me", "account.gone")
	a.check(os.WriteFile(a.Config, append(text, other...), 0o600))
	o := a.run("sync", "--json")
	if o.Code != 5 || strings.Count(o.Stdout, `"type":"account"`) != 2 || !strings.Contains(o.Stdout, `"account":"gone","ok":false,"exit":5`) ||
		!strings.Contains(o.Stdout, `"account":"me","ok":true,"exit":0`) {
		t.Errorf("want 5 over all, 5 and 0, got %v", o)
	}
	a.sides("INBOX", "a", "a")
}
