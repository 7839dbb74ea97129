package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/satchel-mail/satchel/internal/demo"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"satchel": main})
}

// TestScripts runs whole sessions on the command line: every command, every error text, every exit code.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: setup, Cmds: commands()})
}

// TestDovecot runs sessions with a real server.
func TestDovecot(t *testing.T) {
	s := servers.Dovecot(t, servers.Options{Separator: ".", Prefix: "INBOX."})
	testscript.Run(t, testscript.Params{Dir: "testdata/dovecot", Cmds: commands(), Setup: func(e *testscript.Env) error {
		e.Setenv("TUNNEL", s.Tunnel)
		e.Setenv("DOVECOT_PORT", strconv.Itoa(s.TLSPort))
		e.Setenv("DOVECOT_CA", s.CAFile)
		e.Setenv("DOVECOT_USER", s.User)
		e.Setenv("DOVECOT_PASSWORD", s.Password)
		return setup(e)
	}})
}

// world is the mail server of one script.
type world struct {
	server *demo.Server
	client *demo.Client
}

// setup gives a script a server with the account personal on it, and the configuration that
// the script may use, change or replace.
func setup(e *testscript.Env) error {
	if runtime.GOOS == "windows" {
		e.Setenv("TEMP", e.WorkDir)
	}
	s, err := demo.StartServer()
	if err != nil {
		return err
	}
	c, err := s.Dial()
	if err != nil {
		return err
	}
	e.Values["world"] = &world{s, c}
	e.Defer(func() {
		_ = c.Close()
		_ = s.Close()
	})
	e.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector would make every command wait for a second at its end
	e.Setenv("PORT", strconv.Itoa(s.Port))
	e.Setenv("TMPDIR", e.WorkDir)
	e.Setenv("SATCHEL_CONFIG", filepath.Join(e.WorkDir, "config.toml"))
	config := fmt.Sprintf(`[account.personal]
maildir = %q

[account.personal.imap]
host = "127.0.0.1"
port = %d
tls = "off"
user = %q
password = %q
`, filepath.Join(e.WorkDir, "Mail"), s.Port, s.User, s.Password)
	return os.WriteFile(filepath.Join(e.WorkDir, "config.toml"), []byte(config), 0o600)
}

// commands are what scripts can do besides testscript's own commands.
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"exits":     exits,
		"expand":    expand,
		"remote":    remoteDoes,
		"jsonlines": jsonLines,
		"interrupt": interrupt,
		"babbler":   babbler,
	}
}

// exits CODE COMMAND... runs a command that must exit with exactly that code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	if got := codeOf(err); got != want {
		ts.Fatalf("%s: exit code %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func codeOf(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// expand FILE... replaces $NAME and ${NAME} in files by environment variables, and makes them private.
func expand(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		path := ts.MkAbs(name)
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(path, []byte(text), 0o600))
		ts.Check(os.Chmod(path, 0o600))
	}
}

// remoteDoes is what somebody does, or looks for, at the server with another mail client:
//
//	remote create FOLDER
//	remote append FOLDER SUBJECT [FLAG...]
//	remote flag FOLDER SUBJECT FLAG...
//	remote delete FOLDER SUBJECT
//	[!] remote has FOLDER SUBJECT [FLAG...]
func remoteDoes(ts *testscript.TestScript, neg bool, args []string) {
	c := ts.Value("world").(*world).client
	folder := mail.FolderName(args[1])
	if args[0] == "create" {
		ts.Check(c.Create(folder))
		return
	}
	subject, flags := args[2], mail.NewFlags(args[3:]...)
	if args[0] == "append" {
		raw := fmt.Sprintf("From: a@example.org\r\nSubject: %s\r\nMessage-ID: <%s@example.org>\r\n\r\nHello\r\n", subject, subject)
		ts.Check(c.Append(folder, []byte(raw), flags, time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)))
		return
	}
	all, err := c.Messages()
	ts.Check(err)
	i := slices.IndexFunc(all, func(m demo.Message) bool {
		return m.Folder == folder && strings.Contains(string(m.Raw), "\r\nSubject: "+subject+"\r\n")
	})
	switch {
	case args[0] == "has":
		if has := i >= 0 && (len(args) == 3 || all[i].Flags.Equal(flags)); has == neg {
			ts.Fatalf("remote has %v: %v; there is %s", args[1:], has, describe(all))
		}
	case i < 0:
		ts.Fatalf("%s has no message %q; there is %s", folder, subject, describe(all))
	case args[0] == "flag":
		ts.Check(c.Flag(all[i], flags))
	case args[0] == "delete":
		ts.Check(c.Delete(all[i]))
	default:
		ts.Fatalf("remote %s: no such thing", args[0])
	}
}

func describe(all []demo.Message) string {
	var b strings.Builder
	for _, m := range all {
		subject := regexp.MustCompile(`Subject: [^\r]*`).Find(m.Raw)
		fmt.Fprintf(&b, "\n  %s %d (%s) %s", m.Folder, m.UID, m.Flags, subject)
	}
	return b.String()
}

// jsonLines FILE checks that every line is a JSON object with a type.
func jsonLines(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	if text == "" {
		ts.Fatalf("%s is empty", args[0])
	}
	for line := range strings.Lines(text) {
		var object struct{ Type string }
		if err := json.Unmarshal([]byte(line), &object); err != nil || object.Type == "" || !strings.HasSuffix(line, "\n") {
			ts.Fatalf("%s: not a line of JSON with a type: %v: %s", args[0], err, line)
		}
	}
}

// interrupt CODE SIGNAL FIFO COMMAND... runs a command until it, or something that it started, opens the named
// pipe for writing, then sends the signal, and checks the exit code. What it printed is in the file interrupted.
func interrupt(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	signals := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM}
	path, err := lookPath(ts, args[3])
	ts.Check(err)
	out, err := os.Create(ts.MkAbs("interrupted"))
	ts.Check(err)
	defer out.Close()
	cmd := exec.Command(path, args[4:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "SATCHEL_CONFIG"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	ts.Check(cmd.Start())
	_, err = os.ReadFile(ts.MkAbs(args[2])) // returns when it was written to
	ts.Check(err)
	ts.Check(cmd.Process.Signal(signals[args[1]]))
	if got := codeOf(cmd.Wait()); got != want {
		ts.Fatalf("exit code %d, want %d; it printed:\n%s", got, want, ts.ReadFile("interrupted"))
	}
}

func lookPath(ts *testscript.TestScript, name string) (string, error) {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path := filepath.Join(dir, name); filepath.IsAbs(path) {
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
		}
	}
	return "", exec.ErrNotFound
}

// babbler starts a server that refuses every sign-in and repeats in plain words and encoded what it was told, as
// some do in their logs. It sets BABBLER to its port.
func babbler(ts *testscript.TestScript, _ bool, _ []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv("BABBLER", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go babble(c)
		}
	}()
}

func babble(c net.Conn) {
	defer c.Close()
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hello \x1b[31mred")
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		tag, rest, _ := strings.Cut(lines.Text(), " ")
		word, _, _ := strings.Cut(rest, " ")
		switch strings.ToUpper(word) {
		case "CAPABILITY":
			say("* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN")
			say("%s OK", tag)
		case "AUTHENTICATE", "LOGIN":
			say("* OK you said %s", rest)
			say("%s NO [AUTHENTICATIONFAILED] you said %s", tag, rest)
		case "LOGOUT":
			say("* BYE")
			say("%s OK", tag)
			return
		default:
			say("%s BAD", tag)
		}
	}
}
