package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/satchel-mail/satchel/internal/testenv/hostile"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// onHostile is an account on a server that keeps to the protocol until it is told otherwise, after a first sync.
func onHostile(t *testing.T) (*account, *hostile.Server) {
	t.Helper()
	s := hostile.New(t, hostile.Able)
	a := newAccount(t, &servers.Server{Name: "hostile", Host: s.Host, Port: s.Port, User: "me", Password: "secret word"})
	a.imap = map[string]string{"host": quote(s.Host), "port": strconv.Itoa(s.Port), "tls": `"off"`, "user": `"me"`, "password": `"secret word"`}
	a.write()
	for _, subject := range []string{"a", "b", "c"} {
		s.Append("INBOX", letter(subject), `\Seen`)
	}
	a.sync(0)
	return a, s
}

// watched runs the program and returns its outcome and the most memory that it held.
func (a *account) watched(args ...string) (outcome, int64) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), runPatience)
	defer cancel()
	cmd := a.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	a.check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var most int64
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case err := <-ended:
			tick.Stop()
			if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
				a.t.Fatal(err)
			}
			return outcome{Args: args, Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}, most
		case <-tick.C:
			most = max(most, highWater(cmd.Process.Pid))
		}
	}
}

// TestHostileServer: the program as a person runs it, against servers that mean harm. It ends, with its exit code and
// words that a terminal can take, holds little memory, and the mail is as it was. What the acts are one by one is tested in
// package hostile.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	quick, err := quickProgram() // the race detector needs memory of its own
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		code int
		act  hostile.Act
	}{
		{"a greeting without an end", 1, hostile.On(hostile.Endless("* OK ", hostile.Repeated("x")), "GREETING")},
		{"a listing without an end", 1, hostile.On(hostile.Endless("", hostile.Numbered("* LIST () \"/\" \"box%d\"\r\n")), "LIST")},
		{"words without an end", 1, hostile.On(hostile.Endless("", hostile.Repeated("* OK [ALERT] \x1b]0;owned\x07\r\n")), "LIST")},
		{"a literal of 4 GB", 1, hostile.On(hostile.Endless("* LIST () \"/\" {4294967295}\r\n", hostile.Repeated("x")), "LIST")},
		{"a set without an end", 1, hostile.On(hostile.Endless("* VANISHED (EARLIER) 1", hostile.Numbered(",%d")), "SELECT")},
		{"a goodbye with escape sequences", 5, hostile.On(func(x *hostile.Exchange) {
			x.Say("* BYE [UNAVAILABLE] \x1b[2J\x1b]0;owned\x07 \u202egone")
			x.End = hostile.HangUp
		}, "GREETING")},
		{"a name with escape sequences", 0, hostile.On(func(x *hostile.Exchange) {
			x.Untagged = append(x.Untagged, "* LIST (\\Noselect) \"/\" \"\x1b[31m\"")
		}, "LIST")},
		{"a password that comes back", 1, hostile.On(func(x *hostile.Exchange) {
			x.Say()
			x.Result = "NO [AUTHENTICATIONFAILED] secret word is wrong"
		}, "LOGIN")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, s := onHostile(t)
			a.Program = quick
			s.Append("INBOX", letter("d"))
			s.Play(tt.act)
			o, memory := a.watched("sync")
			t.Logf("%d MB\n%s", memory>>20, o.Stderr)
			if o.Code != tt.code || tt.code != 0 && o.Stderr == "" {
				t.Errorf("want exit code %d, got %v", tt.code, o)
			}
			if memory > 128<<20 {
				t.Errorf("it took %d MB of memory", memory>>20)
			}
			if strings.ContainsFunc(o.Stdout+o.Stderr, func(r rune) bool { return r != '\n' && (unicode.IsControl(r) || r == '\u202e') }) || strings.Contains(o.Stderr, "secret") {
				t.Errorf("it says %q", o.Stderr)
			}
			for _, subject := range []string{"a", "b", "c"} {
				a.find("INBOX", subject)
			}
			if beside, err := os.ReadDir(a.Dir); err != nil || len(beside) != 2 {
				t.Errorf("beside the Maildir and the configuration there is %v", beside)
			}
			s.Play(nil)
			a.sync(0)
			a.quiet()
			a.find("INBOX", "d")
		})
	}
}

// TestDamagedDatabase: it is set aside, everything is compared, nothing is deleted, and that is said, also to those who want quiet.
func TestDamagedDatabase(t *testing.T) {
	t.Parallel()
	a := synced(t, "a", "b", "c")
	a.remove("INBOX", "a")
	db := filepath.Join(a.Maildir, ".satchel.db")
	a.check(os.WriteFile(db, []byte("rubbish"), 0o600))
	if o := a.run("status"); o.Code == 0 || !strings.Contains(o.Stderr, "damaged") || !strings.Contains(o.Stderr, "next sync") {
		t.Errorf("status: %v", o)
	}
	if o := a.run("sync", "--dry-run"); o.Code != 0 || !strings.Contains(o.Stderr, "damaged") {
		t.Errorf("a dry run: %v", o)
	}
	o := a.run("sync", "--quiet")
	if o.Code != 0 || o.Stdout != "" || !strings.Contains(o.Stderr, "damaged") || !strings.Contains(o.Stderr, db+".damaged-") {
		t.Errorf("sync: %v", o)
	}
	if kept, err := filepath.Glob(db + ".damaged-*"); err != nil || len(kept) != 1 {
		t.Errorf("set aside: %q", kept)
	}
	a.holds("INBOX", "a", "b", "c")
	if o := a.run("sync", "--quiet"); o.Code != 0 || o.Stderr != "" {
		t.Errorf("another sync: %v", o)
	}
	a.settled()
}
