// Command watch measures `satchel watch` on a Dovecot of its own: how long a change on one side takes until it is on the other, and what the
// watch costs while nothing happens.
//
//	go run ./bench/watch                           1,000 changes each way, on loopback and at 100 ms round trip
//	go run ./bench/watch -changes 0 -idle 1h       an idle hour, with 100 folders of 1,000 messages
package main

import (
	"errors"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/satchel-mail/satchel/bench/dovecot"
	"github.com/satchel-mail/satchel/bench/link"
	"github.com/satchel-mail/satchel/bench/raw"
	"github.com/satchel-mail/satchel/internal/testenv/daemon"
)

func main() {
	var o options
	flag.IntVar(&o.changes, "changes", 1000, "how many changes are made on each side")
	flag.DurationVar(&o.distance, "distance", 100*time.Millisecond, "the round trip of the second measurement of changes; 0 leaves it out")
	flag.BoolVar(&o.near, "near", true, "measure changes on loopback")
	flag.DurationVar(&o.idle, "idle", 0, "how long to watch an account in which nothing happens")
	flag.IntVar(&o.folders, "folders", 100, "of the idle account")
	flag.IntVar(&o.messages, "messages", 1000, "in each of its folders")
	flag.StringVar(&o.program, "satchel", "", "the program to measure, instead of building this checkout's")
	flag.Parse()
	if err := measure(o); err != nil {
		fmt.Fprintln(os.Stderr, "watch:", err)
		os.Exit(1)
	}
}

type options struct {
	changes, folders, messages int
	distance, idle             time.Duration
	near                       bool
	program                    string
}

func measure(o options) (err error) {
	dir, err := os.MkdirTemp("", "satchel-watch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "mail"), 0o755), daemon.Give(filepath.Join(dir, "mail"))); err != nil {
		return err
	}
	if o.program == "" {
		o.program = filepath.Join(dir, "satchel")
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", o.program, "github.com/satchel-mail/satchel/cmd/satchel")
		build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("building Satchel: %w", err)
		}
	}
	server, err := dovecot.Start(filepath.Join(dir, "mail"))
	if err != nil {
		return err
	}
	defer server.Stop()
	fmt.Printf("Dovecot %s, %s, %d processors\n", server.Version, runtime.Version(), runtime.NumCPU())
	if o.changes > 0 {
		var trips []time.Duration
		if o.near {
			trips = append(trips, 0)
		}
		if o.distance > 0 {
			trips = append(trips, o.distance)
		}
		for _, rtt := range trips {
			if err := changes(o, server, filepath.Join(dir, "at"+rtt.String()), rtt); err != nil {
				return err
			}
		}
	}
	if o.idle > 0 {
		return idle(o, server, filepath.Join(dir, "idle"))
	}
	return nil
}

// watching is a watch that runs on one user's account.
type watching struct {
	*exec.Cmd
	link *link.Link
	mail string
	log  *os.File
}

func start(o options, server *dovecot.Server, dir, user string, rtt time.Duration) (*watching, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	l, err := link.New(server.TLSAddress(), rtt)
	if err != nil {
		return nil, err
	}
	w := &watching{link: l, mail: filepath.Join(dir, "Mail")}
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("[account.bench]\nmaildir = %q\nmax_delete = \"off\"\n[account.bench.imap]\nhost = %q\nport = %d\nuser = %q\npassword = %q\nca_file = %q\n",
		w.mail, dovecot.Host, l.Port(), user, dovecot.Password, server.CAFile)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if w.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	w.Cmd = exec.Command(o.program, "--config", config, "watch")
	w.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	w.Stdout, w.Stderr = w.log, w.log
	return w, w.Start()
}

func (w *watching) end() {
	_ = w.Process.Signal(syscall.SIGINT)
	_ = w.Wait()
	w.link.Close()
	_ = w.log.Close()
}

// patience bounds every wait.
const patience = 2 * time.Minute

// until waits until something holds, looking every half a millisecond.
func until(what string, holds func() (bool, error)) error {
	for end := time.Now().Add(patience); ; {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited in vain for %s", what)
		}
		time.Sleep(500 * time.Microsecond)
	}
}

func letter(i int) []byte {
	return fmt.Appendf(nil, "From: a@example.org\r\nTo: b@example.org\r\nSubject: number %d\r\nMessage-ID: <%d@example.org>\r\nDate: Mon, 02 Jun 2025 10:00:00 +0000\r\n\r\nThis is number %d.\r\n%s",
		i, i, i, strings.Repeat("More of it, to be of some size.\r\n", 20))
}

func letters(from, to int) iter.Seq[raw.Message] {
	return func(yield func(raw.Message) bool) {
		for i := from; i < to; i++ {
			if !yield(raw.Message{Body: letter(i)}) {
				return
			}
		}
	}
}

// pause lets the watch come to rest, so that each change is measured by itself.
func pause() { time.Sleep(80*time.Millisecond + time.Duration(rand.IntN(60))*time.Millisecond) }

// changes measures how long a change takes, each way.
func changes(o options, server *dovecot.Server, dir string, rtt time.Duration) error {
	user := "changes" + strconv.FormatInt(rtt.Milliseconds(), 10)
	c, err := server.Dial(user)
	if err != nil {
		return err
	}
	defer c.Close()
	w, err := start(o, server, dir, user, rtt)
	if err != nil {
		return err
	}
	defer w.end()
	fresh, cur := filepath.Join(w.mail, "INBOX", "new"), filepath.Join(w.mail, "INBOX", "cur")
	if err := until("the first sync", func() (bool, error) { _, err := os.Stat(cur); return err == nil, nil }); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // until the server tells

	var there []time.Duration
	for i := range o.changes {
		if err := c.Append("INBOX", letters(i, i+1)); err != nil {
			return err
		}
		at := time.Now()
		if err := until("a message", func() (bool, error) {
			entries, err := os.ReadDir(fresh)
			return len(entries) > i, err
		}); err != nil {
			return err
		}
		there = append(there, time.Since(at))
		pause()
	}
	report(rtt, "APPEND on the server answered to the file in the Maildir", there)

	entries, err := os.ReadDir(fresh)
	if err != nil {
		return err
	}
	if err := c.Run(nil, "SELECT INBOX"); err != nil {
		return err
	}
	var back []time.Duration
	for n, e := range entries {
		if err := os.Rename(filepath.Join(fresh, e.Name()), filepath.Join(cur, e.Name()+":2,S")); err != nil {
			return err
		}
		at := time.Now()
		if err := until("a flag", func() (bool, error) {
			seen := 0
			err := c.Run(func(line []byte) {
				if _, count, ok := strings.Cut(string(line), " COUNT "); ok {
					seen, _ = strconv.Atoi(count) // a bad one is waited out
				}
			}, "SEARCH RETURN (COUNT) SEEN")
			return seen > n, err
		}); err != nil {
			return err
		}
		back = append(back, time.Since(at))
		pause()
	}
	report(rtt, "a file renamed in the Maildir to the flag on the server", back)
	return nil
}

func report(rtt time.Duration, what string, all []time.Duration) {
	slices.Sort(all)
	where := "on loopback"
	if rtt > 0 {
		where = fmt.Sprintf("at %d ms round trip", rtt.Milliseconds())
	}
	at := func(share float64) time.Duration {
		return all[int(share*float64(len(all)-1))].Round(100 * time.Microsecond)
	}
	fmt.Printf("%s, %s, %d times: median %v, 99th percentile %v, most %v\n", what, where, len(all), at(0.5), at(0.99), at(1))
}

// idle measures what a watch costs while nothing happens.
func idle(o options, server *dovecot.Server, dir string) error {
	c, err := server.Dial("idle")
	if err != nil {
		return err
	}
	for f := range o.folders {
		name := fmt.Sprintf("Folder%03d", f)
		if err := c.Run(nil, "CREATE "+raw.Quote(name)); err != nil {
			return err
		}
		if err := c.Append(name, letters(f*o.messages, (f+1)*o.messages)); err != nil {
			return err
		}
	}
	_ = c.Close()
	w, err := start(o, server, dir, "idle", 0)
	if err != nil {
		return err
	}
	defer w.end()
	last := filepath.Join(w.mail, fmt.Sprintf("Folder%03d", o.folders-1), "new")
	if err := until("the first sync", func() (bool, error) {
		for f := range o.folders {
			entries, err := os.ReadDir(filepath.Join(w.mail, fmt.Sprintf("Folder%03d", f), "new"))
			if err != nil || len(entries) < o.messages {
				return false, nil
			}
		}
		return true, nil
	}); err != nil {
		return fmt.Errorf("%w in %s", err, last)
	}
	time.Sleep(20 * time.Second) // and what follows it
	before, err := usage(w.Process.Pid)
	if err != nil {
		return err
	}
	bytes := w.link.Count()
	time.Sleep(o.idle)
	after, err := usage(w.Process.Pid)
	if err != nil {
		return err
	}
	now := w.link.Count()
	fmt.Printf("idle for %v with %d folders and %d messages: CPU %v, resident %d kB (at most %d kB since the start), up %d bytes, down %d bytes, %d connections\n",
		o.idle, o.folders, o.folders*o.messages, after.cpu-before.cpu, after.resident, after.peak, now.Up-bytes.Up, now.Down-bytes.Down, now.Connections-bytes.Connections)
	return nil
}

// used is what a process has used.
type used struct {
	cpu            time.Duration
	resident, peak int // kB
}

func usage(pid int) (u used, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return u, fmt.Errorf("a strange /proc/%d/stat", pid)
	}
	for _, f := range fields[11:13] { // utime and stime, in hundredths of a second (proc(5))
		n, err := strconv.Atoi(f)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(n) * 10 * time.Millisecond
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &u.resident) // other lines don't match
		_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &u.peak)
	}
	return u, nil
}
