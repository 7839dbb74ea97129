//go:build unix

package shell

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// run starts a command with a pipe for its standard output, which is returned.
func run(t *testing.T, c Command) (*Process, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	_ = r.SetReadDeadline(time.Now().Add(time.Minute))
	c.Stdout = w
	p, err := Start(c)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return p, r
}

func TestRun(t *testing.T) {
	p, r := run(t, Command{Argv: Line("cat; echo out; echo err >&2; exit 3")})
	defer p.Release()
	out, err := io.ReadAll(r)
	if err != nil || string(out) != "out\n" {
		t.Errorf("%q, %v", out, err)
	}
	if err := p.Err(); err == nil || err.Error() != "exit status 3" || p.ExitCode() != 3 || p.Stderr() != "err" {
		t.Errorf("%v, %d, %q", err, p.ExitCode(), p.Stderr())
	}
}

// TestMerged: one stream, in the directory and with the variables that were asked for beside ours.
func TestMerged(t *testing.T) {
	t.Setenv("OURS", "a")
	t.Setenv("BOTH", "b")
	dir := t.TempDir()
	p, err := Start(Command{Argv: Line("echo $OURS $BOTH $THEIRS; echo err >&2; touch here"), Merged: true, Dir: dir, Env: []string{"BOTH=c", "THEIRS=d"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	if err := p.Err(); err != nil || p.Stderr() != "a c d; err" {
		t.Errorf("%v, %q", err, p.Stderr())
	}
	if _, err := os.Stat(filepath.Join(dir, "here")); err != nil {
		t.Error(err)
	}
}

func TestArgvIsNoShell(t *testing.T) {
	p, r := run(t, Command{Argv: []string{"echo", "$HOME; `x`"}})
	defer p.Release()
	if out, err := io.ReadAll(r); err != nil || string(out) != "$HOME; `x`\n" {
		t.Errorf("%q, %v", out, err)
	}
	if err := p.Err(); err != nil {
		t.Error(err)
	}
}

func TestCannotStart(t *testing.T) {
	for _, argv := range [][]string{nil, {""}, {"/nonexistent/program"}} {
		if _, err := Start(Command{Argv: argv}); err == nil {
			t.Errorf("%q started", argv)
		}
	}
}

// TestGroup: what a command started ends with Kill, and, if Whole, with the command. It holds the
// pipe of standard output, whose end tells.
func TestGroup(t *testing.T) {
	p, r := run(t, Command{Argv: Line("sleep 600 & echo ready; wait")})
	buf := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(r, buf); err != nil {
		t.Fatal(err)
	}
	if p.ExitCode() != -1 {
		t.Error("a running command has an exit code")
	}
	p.Kill()
	if _, err := io.ReadAll(r); err != nil {
		t.Errorf("after Kill something still runs: %v", err)
	}
	p.Kill() // once more does no harm

	p, r = run(t, Command{Argv: Line("sleep 600 & echo ready"), Whole: true})
	if _, err := io.ReadAll(r); err != nil {
		t.Errorf("with Whole something still runs: %v", err)
	}
	p.Release()
}

// TestLeftBehind: what a command leaves behind does not hold anybody up, and lives on.
func TestLeftBehind(t *testing.T) {
	p, r := run(t, Command{Argv: Line("sleep 600 & echo $!; echo why >&2")})
	line := make([]byte, 32)
	n, err := r.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	if s := p.Stderr(); s != "why" {
		t.Errorf("%q", s)
	}
	p.Release()
	kill, _ := run(t, Command{Argv: Line("kill " + strings.TrimSpace(string(line[:n])))})
	if err := kill.Err(); err != nil {
		t.Errorf("it was ended: %v", err)
	}
	kill.Release()
}

func TestTerminate(t *testing.T) {
	// No trap and no child: a shell may start its next command between the signal and the trap.
	p, r := run(t, Command{Argv: Line("echo ready; exec sleep 600")})
	buf := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(r, buf); err != nil {
		t.Fatal(err)
	}
	p.Terminate()
	if _, err := io.ReadAll(r); err != nil {
		t.Errorf("it still runs: %v", err)
	}
	if err := p.Err(); err == nil || err.Error() != "signal: terminated" || p.ExitCode() != -1 {
		t.Errorf("%v, %d", err, p.ExitCode())
	}
	p.Kill()
}

func TestStderrIsBounded(t *testing.T) {
	p, _ := run(t, Command{Argv: Line(`head -c 5000000 /dev/zero | tr '\0' x >&2; printf '\n\n a\tb\033[1m \377\n' >&2`)})
	defer p.Release()
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	s := p.Stderr()
	if len(s) > tailBytes+10 || !strings.HasSuffix(s, "xx; a b [1m ?") {
		t.Errorf("%d bytes: …%q", len(s), s[max(0, len(s)-40):])
	}
}

func TestNoTerminal(t *testing.T) {
	// With a terminal or without one: a command that has none can't open it.
	p, r := run(t, Command{Argv: Line("(: </dev/tty) 2>/dev/null && echo terminal; echo end"), NoTerminal: true})
	defer p.Release()
	if out, err := io.ReadAll(r); err != nil || string(out) != "end\n" {
		t.Errorf("%q, %v", out, err)
	}
}
