// Package e2e uses the built program as a person does: a configuration file, a real mail server, a real
// Maildir, and nothing of Satchel's own code to look at the outcome with. What is on the server
// is read by servers.Client, what is in the Maildir by plain file operations.
package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// satchel is the program that tests run, built as the tests are: with the race detector or without. TestMain sets it.
var satchel string

func TestMain(m *testing.M) {
	if addr := os.Getenv(dialVariable); addr != "" {
		os.Exit(tunnelTo(addr))
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "satchel-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "making a folder for the program:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	satchel = filepath.Join(dir, "satchel")
	// The race detector would make every run of the program wait for a second at its end.
	if err := os.Setenv("GORACE", "halt_on_error=1 atexit_sleep_ms=0"); err != nil {
		fmt.Fprintln(os.Stderr, "setting up the race detector:", err)
		return 1
	}
	var flags []string
	if raced {
		flags = []string{"-race"}
	}
	if err := build(satchel, flags...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build compiles the program.
func build(to string, flags ...string) error {
	args := slices.Concat([]string{"build", "-o", to}, flags, []string{"github.com/satchel-mail/satchel/cmd/satchel"})
	if text, err := exec.CommandContext(context.Background(), "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("building the program: %w\n%s", err, text)
	}
	return nil
}

// account is one account of a person: a configuration, a Maildir, a server.
type account struct {
	t      testing.TB
	Server *servers.Server
	// Dir holds the configuration; it is the HOME of the program too. Maildir is the root.
	Dir, Config, Maildir string
	// Env is added to the program's environment.
	Env []string
	// Program is the binary, empty for the usual one.
	Program string
	// credential is who runs the program, nil for who runs the tests.
	credential *syscall.Credential
	// extra are open files that the program, and the tunnel that it starts, inherit.
	extra []*os.File
	// plus: the layout is maildir++.
	plus bool
	// account and imap are the keys of the configuration's two tables, their values in TOML.
	account, imap map[string]string
	// protocol is the name of the second one: "imap", if it is empty, or "pop3".
	protocol string

	observer    *servers.Client
	observerDue time.Time
	delivered   int
}

// newAccount makes an account "me" on s with an empty Maildir that does not exist yet. It is
// reached by the server's tunnel where there is one, which is quickest, else by TLS.
func newAccount(t testing.TB, s *servers.Server) *account {
	t.Helper()
	dir := t.TempDir()
	a := &account{t: t, Server: s, Dir: dir, Config: filepath.Join(dir, "config.toml"), Maildir: filepath.Join(dir, "Mail")}
	a.account = map[string]string{"maildir": quote(a.Maildir)}
	if s.Tunnel != "" {
		a.overTunnel()
	} else {
		a.overTLS()
	}
	return a
}

// quote spells a TOML string.
func quote(s string) string { return strconv.Quote(s) }

// overTunnel has the program use the server's tunnel.
func (a *account) overTunnel() {
	a.imap = map[string]string{"host": `"localhost"`, "tunnel": quote(a.Server.Tunnel)}
	a.write()
}

// overTLS has the program use the server's TLS port, with a password.
func (a *account) overTLS() {
	a.imap = map[string]string{
		"host": `"localhost"`, "port": strconv.Itoa(a.Server.TLSPort), "user": quote(a.Server.User),
		"password": quote(a.Server.Password), "ca_file": quote(a.Server.CAFile),
	}
	a.write()
}

// set changes a key of the account's table in the configuration; an empty value takes it out.
func (a *account) set(key, value string) {
	a.t.Helper()
	if key == "layout" {
		a.plus = value == `"maildir++"`
	}
	put(a.account, key, value)
	a.write()
}

// setIMAP is set for the table of the server.
func (a *account) setIMAP(key, value string) {
	a.t.Helper()
	put(a.imap, key, value)
	a.write()
}

func put(m map[string]string, key, value string) {
	if value == "" {
		delete(m, key)
		return
	}
	m[key] = value
}

func (a *account) write() {
	a.t.Helper()
	var b strings.Builder
	for _, table := range []struct {
		name string
		keys map[string]string
	}{{"account.me", a.account}, {"account.me." + cmp.Or(a.protocol, "imap"), a.imap}} {
		fmt.Fprintf(&b, "[%s]\n", table.name)
		for _, key := range slices.Sorted(maps.Keys(table.keys)) {
			fmt.Fprintf(&b, "%s = %s\n", key, table.keys[key])
		}
	}
	a.check(os.WriteFile(a.Config, []byte(b.String()), 0o600))
}

func (a *account) check(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// outcome is what came of one run of the program.
type outcome struct {
	Args           []string
	Code           int // -1: killed by a signal
	Stdout, Stderr string
}

func (o outcome) String() string {
	return fmt.Sprintf("satchel %s: exit code %d\n--- stdout\n%s--- stderr\n%s", strings.Join(o.Args, " "), o.Code, o.Stdout, o.Stderr)
}

// runPatience bounds one run of the program on a busy machine.
const runPatience = 2 * time.Minute

// command is the program, ready to be started.
func (a *account) command(ctx context.Context, args ...string) *exec.Cmd {
	bin := a.Program
	if bin == "" {
		bin = satchel
	}
	cmd := exec.CommandContext(ctx, bin, append([]string{"--config", a.Config}, args...)...)
	cmd.Dir = a.Dir
	cmd.ExtraFiles = a.extra
	if a.credential != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.credential}
	}
	cmd.Env = append([]string{"HOME=" + a.Dir, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "GORACE=" + os.Getenv("GORACE")}, a.Env...)
	return cmd
}

// run runs the program to its end.
func (a *account) run(args ...string) outcome {
	a.t.Helper()
	o, err := a.try(args...)
	a.check(err)
	return o
}

// try is run for other goroutines than the test's. The error is that the program could not be run, or broke.
func (a *account) try(args ...string) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), runPatience)
	defer cancel()
	cmd := a.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return outcome{}, fmt.Errorf("running the program: %w", err)
	}
	o := outcome{Args: args, Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
	if strings.Contains(o.Stderr, "DATA RACE") || strings.Contains(o.Stderr, "goroutine ") || strings.Contains(o.Stderr, "Satchel itself made a mistake") || o.Code == -1 {
		return o, fmt.Errorf("the program broke: %v", o)
	}
	return o, nil
}

// counts are the changes on one side, as --json has them.
type counts struct{ New, Flags, Moved, Deleted int }

// report is the line that `sync --json` ends with.
type report struct {
	Type, Account  string
	OK             bool
	Exit           int
	ToMaildir      counts `json:"to_maildir"`
	ToServer       counts `json:"to_server"`
	Folders        int
	FoldersChanged int   `json:"folders_changed"`
	HeldBack       int   `json:"held_back"`
	Deferred       int   `json:"deferred"`
	AuthNeeded     bool  `json:"auth_needed"`
	RetryAfterMS   int64 `json:"retry_after_ms"`
	BytesIn        int64 `json:"bytes_in"`
	BytesOut       int64 `json:"bytes_out"`
	RoundTrips     int64 `json:"round_trips"`
	DurationMS     int64 `json:"duration_ms"`
	Errors         []struct{ Folder, Error string }
	// Outcome is the run that the line is from.
	Outcome outcome `json:"-"`
}

// sync runs `sync --json`, and fails the test unless it exits with want.
func (a *account) sync(want int, args ...string) report {
	a.t.Helper()
	o := a.run(append([]string{"sync", "--json"}, args...)...)
	lines := strings.Split(strings.TrimSpace(o.Stdout), "\n")
	r := report{Outcome: o}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		a.t.Fatalf("the last line is no JSON: %v\n%v", err, o)
	}
	if o.Code != want || r.Exit != want || r.Type != "account" || r.Account != "me" || r.OK != (want == 0) {
		a.t.Fatalf("want exit code %d, got %v", want, o)
	}
	return r
}

// quiet fails the test unless another sync finds nothing to do.
func (a *account) quiet() {
	a.t.Helper()
	if r := a.sync(0); r.ToMaildir != (counts{}) || r.ToServer != (counts{}) {
		a.t.Fatalf("a second run still changed something: %v", r.Outcome)
	}
}

// verify runs `verify --deep`, which must find nothing, and compares both sides on its own.
func (a *account) verify() {
	a.t.Helper()
	if o := a.run("verify", "--deep"); o.Code != 0 {
		a.t.Fatal(o)
	}
	a.compare()
}

// settled is a sync without failures, after which both sides are the same and nothing is left to do.
func (a *account) settled(args ...string) report {
	a.t.Helper()
	r := a.sync(0, args...)
	a.verify()
	a.quiet()
	return r
}

// folderStatus is one folder as `status --json` has it.
type folderStatus struct {
	Type, Folder string
	Server       int
	Maildir      int
	Waiting      int
	HeldBack     int            `json:"held_back"`
	KeptBack     int            `json:"kept_back"`
	ReadOnly     bool           `json:"read_only"`
	LastSync     *time.Time     `json:"last_sync"`
	LastError    string         `json:"last_error"`
	OneSided     map[string]int `json:"one_sided"`
	Parked       []struct {
		UID             uint32
		Name, Why, Text string
	}
}

// status runs `status --json` and returns its folders by name.
func (a *account) status() map[string]folderStatus {
	a.t.Helper()
	o := a.run("status", "--json")
	if o.Code != 0 {
		a.t.Fatal(o)
	}
	out := map[string]folderStatus{}
	for line := range strings.Lines(o.Stdout) {
		var f folderStatus
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			a.t.Fatalf("a line is no JSON: %v\n%v", err, o)
		}
		if f.Type == "folder" {
			out[f.Folder] = f
		}
	}
	return out
}

// asNobody has the program run as an ordinary user, who owns all that there is.
func (a *account) asNobody() {
	a.t.Helper()
	u, err := user.Lookup("nobody")
	a.check(err)
	uid, err := strconv.Atoi(u.Uid)
	a.check(err)
	gid, err := strconv.Atoi(u.Gid)
	a.check(err)
	a.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	a.check(filepath.WalkDir(a.Dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, uid, gid))
	}))
	for dir := filepath.Dir(a.Dir); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		a.check(os.Chmod(dir, 0o755)) // of the tests' own
	}
	a.check(os.Chmod(filepath.Dir(satchel), 0o755))
}
