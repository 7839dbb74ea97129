// Package daemon runs a server's program privately: as an ordinary user, from a folder that fetch.sh of package
// servers unpacked, in a folder of its own, and never longer than the process that started it.
package daemon

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Patience bounds a server's start on a busy machine.
const Patience = 30 * time.Second

// supervisor runs "$@" until it ends or until standard input is closed, which happens when
// the process that started it ends, even by SIGKILL. $0 is the instance's folder, which is removed then.
// Cyrus ends by a signal to its whole process group: both shells catch it and go on to clean up.
const supervisor = `
trap : TERM
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
echo "$server" >"$0/pid"
(
	trap : TERM
	read -r _ <&3
	[ "$(cat "$0/pid")" = "$server" ] || exit 0 # it was restarted: the folder is another's
	[ -e "$0/exited" ] || kill -TERM "$server"
	while kill -0 "$server" 2>/dev/null; do sleep 0.05; done
	cd / && rm -rf "$0"
) &
wait "$server"
code=$?
while kill -0 "$server" 2>/dev/null; do
	wait "$server"
	code=$?
done
exec 3<&-
: >"$0/exited"
exit "$code"
`

// Process is a running server.
type Process struct {
	dir       string
	env, argv []string
	stdin     io.Closer     // of its supervisor
	exited    chan struct{} // closed by the goroutine that waits for the supervisor
}

// Start runs argv in dir, made by Dir, as the unprivileged user, with nothing but env and a PATH in its environment.
func Start(dir string, env, argv []string) (*Process, error) {
	p := &Process{dir: dir, env: env, argv: argv}
	return p, p.start()
}

func (p *Process) start() error {
	cmd := exec.Command("/bin/sh", append([]string{"-c", supervisor, p.dir}, p.argv...)...)
	cmd.Dir = p.dir
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, p.env...)
	log, err := os.OpenFile(filepath.Join(p.dir, "stderr"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := RunAs(cmd); err != nil {
		return err
	}
	apart(cmd)
	in, stdin, err := os.Pipe() // not cmd's, which closes its own when the server has ended
	if err != nil {
		return err
	}
	defer in.Close()
	cmd.Stdin = in
	if err := cmd.Start(); err != nil {
		return errors.Join(err, stdin.Close())
	}
	exited := make(chan struct{})
	p.stdin, p.exited = stdin, exited
	go func() { // ends with the server
		_ = cmd.Wait() // why it ended is in the instance's log
		close(exited)
	}()
	return nil
}

// Restart ends the server by SIGTERM, as its administrator does, has the world be without it for a while, and starts it again.
func (p *Process) Restart(away time.Duration) error {
	pidFile := filepath.Join(p.dir, "pid")
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	if err := terminate(pid); err != nil {
		return fmt.Errorf("ending it: %w", err)
	}
	select {
	case <-p.exited: // its folder stays while our end of the supervisor's standard input is open
	case <-time.After(Patience):
		return fmt.Errorf("it does not end within %s", Patience)
	}
	time.Sleep(away)
	if err := errors.Join(os.Remove(filepath.Join(p.dir, "exited")), os.WriteFile(pidFile, nil, 0o644), p.stdin.Close()); err != nil {
		return err
	}
	return p.start()
}

// Stop ends the server and waits until it is gone, and its folder with it.
func (p *Process) Stop() {
	_ = p.stdin.Close()
	<-p.exited
}

// ErrExited says that a server ended instead of answering, as it does when its port was taken meanwhile.
var ErrExited = errors.New("it ended right after its start")

// startAttempts bounds how often a start is tried, because a port may be taken in between.
const startAttempts = 5

// Attempts tries to start a server again for as long as that ends with ErrExited.
func Attempts[T any](try func() (T, error)) (s T, err error) {
	for range startAttempts {
		if s, err = try(); !errors.Is(err, ErrExited) {
			return s, err
		}
	}
	return s, err
}

// Answers waits until a server greets on address.
func (p *Process) Answers(address string) error {
	deadline := time.Now().Add(Patience)
	for {
		err := greeted(address, deadline)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return ErrExited
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no greeting after %s: %w", Patience, err)
		}
	}
}

func greeted(address string, deadline time.Time) error {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(deadline)
	var b [4]byte
	_, err = io.ReadFull(conn, b[:])
	return err
}

// FreePorts finds n ports that nobody listens on just now. Somebody may come in between: then the
// server ends at once, and its starter tries others.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all stay open until the end, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// Dir makes a folder for a server to run in: short, since the paths of its sockets may have no
// more than 107 bytes, and readable by the unprivileged user.
func Dir() (string, error) {
	parent := os.TempDir()
	if os.Geteuid() == 0 || len(parent) > 40 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "sv")
	if err != nil {
		return "", err
	}
	return dir, Give(dir)
}

// Give hands a file to the user that the servers run as.
func Give(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid, err := unprivileged()
	if err != nil {
		return err
	}
	return os.Chown(path, int(uid), int(gid))
}

// unprivileged is the user that servers run as: this one, or nobody if this is root.
func unprivileged() (uid, gid uint32, err error) {
	u, err := user.Current()
	if err == nil && u.Uid == "0" {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("finding a user to run mail servers as: %w", err)
	}
	uid64, errUID := strconv.ParseUint(u.Uid, 10, 32)
	gid64, errGID := strconv.ParseUint(u.Gid, 10, 32)
	return uint32(uid64), uint32(gid64), errors.Join(errUID, errGID)
}

// Names returns the unprivileged user's and group's names.
func Names() (owner, group string, err error) {
	uid, gid, err := unprivileged()
	if err != nil {
		return "", "", err
	}
	u, err := user.LookupId(strconv.Itoa(int(uid)))
	if err != nil {
		return "", "", err
	}
	g, err := user.LookupGroupId(strconv.Itoa(int(gid)))
	if err != nil {
		return "", "", err
	}
	return u.Username, g.Name, nil
}

// DropCommand is put in front of a command of a tunnel so that it runs as the unprivileged user.
func DropCommand() (string, error) {
	if os.Geteuid() != 0 {
		return "", nil
	}
	uid, gid, err := unprivileged()
	return fmt.Sprintf("setpriv --reuid %d --regid %d --clear-groups ", uid, gid), err
}

// LibraryPath names the folders below root that hold libraries.
func LibraryPath(root string) string {
	var dirs []string
	for _, pattern := range []string{"usr/lib/dovecot", "usr/lib", "usr/lib/courier-authlib", "usr/lib/*-linux-gnu*", "lib/*-linux-gnu*"} {
		found, _ := filepath.Glob(filepath.Join(root, pattern)) // fails on bad patterns only
		dirs = append(dirs, found...)
	}
	return "LD_LIBRARY_PATH=" + strings.Join(dirs, ":")
}

// Tail returns the end of the instance's logs, for error messages.
func Tail(files ...string) string {
	var b strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err == nil && len(text) > 0 {
			fmt.Fprintf(&b, "\n%s:\n%s", f, text[max(0, len(text)-3000):])
		}
	}
	return b.String()
}

// Unpacked returns the folder that holds the named program, and whether it is there.
func Unpacked(name string) (root string, ok bool) {
	root = filepath.Join(cacheDir(), name)
	_, err := os.Stat(filepath.Join(root, ".complete"))
	return root, err == nil
}

// cacheDir is the same as in fetch.sh.
func cacheDir() string {
	if dir := os.Getenv("SATCHEL_TEST_SERVERS"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/cache/satchel-test-servers"
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "satchel-test-servers")
	}
	return filepath.Join(os.Getenv("HOME"), ".cache", "satchel-test-servers")
}
