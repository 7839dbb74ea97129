package servers

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

// startPatience bounds a server's start on a busy machine.
const startPatience = 30 * time.Second

// supervisor runs "$@" until it ends or until standard input is closed, which happens when
// the process that started it ends, even by SIGKILL. $0 is the instance's folder, which is removed then.
// Cyrus ends by a signal to its whole process group: both shells catch it and go on to clean up.
const supervisor = `
trap : TERM
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
(
	trap : TERM
	read -r _ <&3
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

// process is a running server.
type process struct {
	stdin  io.Closer
	exited chan struct{} // closed by the goroutine that waits for the supervisor
}

// start runs argv in dir as the unprivileged user.
func start(dir string, env, argv []string) (*process, error) {
	cmd := exec.Command("/bin/sh", append([]string{"-c", supervisor, dir}, argv...)...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	log, err := os.OpenFile(filepath.Join(dir, "stderr"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := runAs(cmd); err != nil {
		return nil, err
	}
	apart(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{stdin: stdin, exited: make(chan struct{})}
	go func() { // ends with the server
		_ = cmd.Wait() // why it ended is in the instance's log
		close(p.exited)
	}()
	return p, nil
}

func (p *process) stop() {
	_ = p.stdin.Close()
	<-p.exited
}

var errExited = errors.New("it ended right after its start")

// startAttempts bounds how often a start is tried, because a port may be taken in between.
const startAttempts = 5

func attempts[T any](try func() (T, error)) (s T, err error) {
	for range startAttempts {
		if s, err = try(); !errors.Is(err, errExited) {
			return s, err
		}
	}
	return s, err
}

// answers waits until a server greets on address.
func (p *process) answers(address string) error {
	deadline := time.Now().Add(startPatience)
	for {
		err := greeted(address, deadline)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return errExited
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no greeting after %s: %w", startPatience, err)
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

// freePorts finds n ports that nobody listens on just now. Somebody may come in between: then the
// server ends at once, and its starter tries others.
func freePorts(n int) ([]int, error) {
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

// instanceDir makes a folder for a server to run in: short, since the paths of its sockets may have no
// more than 107 bytes, and readable by the unprivileged user.
func instanceDir() (string, error) {
	parent := os.TempDir()
	if os.Geteuid() == 0 || len(parent) > 40 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "sv")
	if err != nil {
		return "", err
	}
	return dir, give(dir)
}

// give hands a file to the user that the servers run as.
func give(path string) error {
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

// names returns the unprivileged user's and group's names.
func names() (owner, group string, err error) {
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

// dropCommand is put in front of a command of a tunnel so that it runs as the unprivileged user.
func dropCommand() (string, error) {
	if os.Geteuid() != 0 {
		return "", nil
	}
	uid, gid, err := unprivileged()
	return fmt.Sprintf("setpriv --reuid %d --regid %d --clear-groups ", uid, gid), err
}

// libraryPath names the folders below root that hold libraries.
func libraryPath(root string) string {
	var dirs []string
	for _, pattern := range []string{"usr/lib/dovecot", "usr/lib", "usr/lib/courier-authlib", "usr/lib/*-linux-gnu*", "lib/*-linux-gnu*"} {
		found, _ := filepath.Glob(filepath.Join(root, pattern)) // fails on bad patterns only
		dirs = append(dirs, found...)
	}
	return "LD_LIBRARY_PATH=" + strings.Join(dirs, ":")
}

// tail returns the end of the instance's logs, for error messages.
func tail(files ...string) string {
	var b strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err == nil && len(text) > 0 {
			fmt.Fprintf(&b, "\n%s:\n%s", f, text[max(0, len(text)-3000):])
		}
	}
	return b.String()
}
