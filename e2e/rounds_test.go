package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/proxy"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// rounds is a long random history on a real server with the built binary: people act on both sides, sync
// runs, and what must hold is checked from outside.
type rounds struct {
	t      *testing.T
	rng    *rand.Rand
	server *servers.Server
	root   string
	config string
	// program is the binary, usually satchel.
	program string
	// side is what this Maildir is called in the messages that are made in it.
	side string
	// movesHere and movesThere: people move messages in the Maildir, on the server.
	movesHere, movesThere bool

	n    int
	made map[string]int
	gone map[string]int
	log  []string
}

// amount is a number that a person can raise for a longer run.
func amount(t *testing.T, variable string, otherwise int) int {
	s := os.Getenv(variable)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

func newRounds(t *testing.T, seed uint64, s *servers.Server) *rounds {
	r := &rounds{t: t, rng: rand.New(rand.NewPCG(seed, 2)), server: s, program: satchel, side: "local side", movesHere: true, movesThere: true, made: map[string]int{}, gone: map[string]int{}}
	dir := t.TempDir()
	r.root, r.config = filepath.Join(dir, "mail"), filepath.Join(dir, "config.toml")
	if s.Tunnel == "" || s.TLSPort != 0 {
		r.configure(s.TLSPort)
	} else {
		r.write(fmt.Sprintf("host = \"localhost\"\nuser = %q\ntunnel = %q\n", s.User, s.Tunnel))
	}
	return r
}

// relayed has the program reach the server through a proxy, which reads lines.
func (r *rounds) relayed() *proxy.Proxy {
	r.t.Helper()
	relay, through := newRelay(r.t, r.server, lingering)
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(through)) {
		fmt.Fprintf(&b, "%s = %s\n", key, through[key])
	}
	r.write(b.String())
	return relay
}

// configure has the program reach the server by TLS on a port.
func (r *rounds) configure(port int) {
	r.t.Helper()
	r.write(fmt.Sprintf("host = \"localhost\"\nport = %d\nuser = %q\npassword = %q\nca_file = %q\n", port, r.server.User, r.server.Password, r.server.CAFile))
}

func (r *rounds) write(imap string) {
	r.t.Helper()
	text := fmt.Sprintf("[account.test]\nmaildir = %q\nmax_delete = \"off\"\n\n[account.test.imap]\n%s", r.root, imap)
	if err := os.WriteFile(r.config, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rounds) note(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *rounds) fatalf(format string, args ...any) {
	r.t.Helper()
	r.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(r.log[max(0, len(r.log)-200):], "\n"))
}

func (r *rounds) command(args ...string) *exec.Cmd {
	return exec.Command(r.program, append([]string{"-c", r.config}, args...)...)
}

// settle runs the program until it has nothing to do any more, and checks. The first run begins at once, while the
// server may still be busy with what an earlier one had sent; gone returns when it is not.
func (r *rounds) settle(after string, gone func() error) {
	r.t.Helper()
	for i := range recoveries {
		code, out := r.satchel("sync", "--json")
		if i == 0 {
			if err := gone(); err != nil {
				r.fatalf("after %s: %v", after, err)
			}
			if code == 4 { // a process that the killed one was just making had the lock for a moment
				code, out = r.satchel("sync", "--json")
			}
		}
		if code != 0 {
			r.fatalf("run %d after %s: exit %d\n%s", i+1, after, code, out)
		}
		if i > 0 && idle(outcome{Stdout: out}) {
			break
		}
		if i == recoveries-1 {
			r.fatalf("run %d after %s still changed something\n%s", i+1, after, out)
		}
	}
	r.check()
}

// satchel runs the binary and returns its exit code and what it said.
func (r *rounds) satchel(args ...string) (int, string) {
	r.t.Helper()
	cmd := r.command(args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if cmd.ProcessState == nil {
		r.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// text makes a message; now and then one without Message-ID, or a twin of another, or a larger one. The
// twins of each side are its own, because what is new on both sides at once is one message.
func (r *rounds) text(side string) string {
	r.n++
	switch r.rng.IntN(12) {
	case 0:
		return fmt.Sprintf("Subject: twin%d\n\nalike on the %s\n", r.rng.IntN(5), side)
	case 1:
		return fmt.Sprintf("Subject: noid\n\nnumber %06d\n", r.n)
	case 2:
		return fmt.Sprintf("Message-ID: <%d@big>\nSubject: big %d\n\n%s\n", r.n, r.n, strings.Repeat("line after line after line\n", 200+r.rng.IntN(3000)))
	}
	return fmt.Sprintf("From: a@example.org\nMessage-ID: <%d@example.org>\nSubject: message %d\nDate: Mon, 02 Jun 2025 10:00:00 +0000\n\nThis is number %d.\n", r.n, r.n, r.n)
}

var flagSets = [][]string{{}, {`\Seen`}, {`\Flagged`}, {`\Seen`, `\Answered`}, {"$Forwarded"}, {"Todo"}, {`\Seen`, "Later", "Todo"}, {`\Draft`}}
var letterSets = []string{"", "S", "F", "RS", "P", "FS", "D", "S"}

func (r *rounds) date() time.Time {
	return time.Date(2020+r.rng.IntN(5), time.Month(1+r.rng.IntN(12)), 1+r.rng.IntN(28), r.rng.IntN(24), r.rng.IntN(60), r.rng.IntN(60), 0, time.UTC)
}

// fill puts messages into folders on the server before the first sync.
func (r *rounds) fill(messages, folders int) {
	c := r.server.Client(r.t)
	names := []string{"INBOX"}
	for i := 1; i < folders; i++ {
		name := fmt.Sprintf("F%d", i)
		if i%3 == 0 {
			name = fmt.Sprintf("F%d%sSub%d", i-1, r.server.Separator, i)
		}
		c.Create(r.server.Prefix + name)
		names = append(names, r.server.Prefix+name)
	}
	c = r.server.Client(r.t)
	started := time.Now()
	for i := range messages {
		if time.Since(started) > 40*time.Second { // a client lives for a minute
			c, started = r.server.Client(r.t), time.Now()
		}
		text := r.text("server")
		c.Append(names[i%len(names)], crlf(text), r.flags(0), r.date())
		r.made[text]++
	}
}

// nameKeywords has the first sync give the keywords letters in all folders, unless SATCHEL_SWEEP=all.
func (r *rounds) nameKeywords() {
	if sweepAll() {
		return
	}
	c := r.server.Client(r.t)
	defer c.Close()
	for _, folder := range c.Folders() {
		text := r.text("server")
		c.Append(folder, crlf(text), mail.NewFlags("Todo", "Later"), r.date())
		r.made[text]++
	}
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
func lf(b []byte) string   { return strings.ReplaceAll(string(b), "\r\n", "\n") }

// flags are some, of the sets from one on.
func (r *rounds) flags(from int) mail.Flags {
	sets := flagSets[from:]
	return mail.NewFlags(sets[r.rng.IntN(len(sets))]...)
}

// remoteActs is what another client does in one go.
func (r *rounds) remoteActs(n int) {
	c := r.server.Client(r.t)
	defer c.Close()
	folders := c.Folders()
	slices.Sort(folders)
	for range n {
		folder := folders[r.rng.IntN(len(folders))]
		if r.rng.IntN(3) == 0 {
			text := r.text("server")
			c.Append(folder, crlf(text), r.flags(0), r.date())
			r.made[text]++
			r.note("server: new %.40q in %s", text, folder)
			continue
		}
		index := c.Index(folder)
		if len(index) == 0 {
			continue
		}
		m := index[r.rng.IntN(len(index))]
		switch r.rng.IntN(4) {
		case 0, 1:
			f := r.flags(1)
			add := r.rng.IntN(2) == 0
			c.Store(folder, add, f, m.UID)
			r.note("server: flags %v %s on %d in %s", add, f, m.UID, folder)
		case 2:
			body, ok := c.Body(folder, m.UID)
			if !ok { // somebody else was quicker
				continue
			}
			text := lf(body)
			c.Expunge(folder, m.UID)
			r.gone[text]++
			r.note("server: delete %d in %s: %.60q", m.UID, folder, text)
		default:
			to := folders[r.rng.IntN(len(folders))]
			if to != folder && r.movesThere {
				c.Move(folder, to, m.UID)
				r.note("server: move %d from %s to %s", m.UID, folder, to)
			}
		}
	}
}

// folders are the Maildir's, by directory.
func (r *rounds) folders() []string {
	var out []string
	_ = filepath.WalkDir(r.root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == ".satchel" {
			return filepath.SkipDir
		}
		if err == nil && d.IsDir() && d.Name() == "cur" {
			out = append(out, filepath.Dir(path))
		}
		return nil
	})
	slices.Sort(out)
	return out
}

func files(dir string) []string {
	var out []string
	for _, sub := range []string{"new", "cur"} {
		entries, _ := os.ReadDir(filepath.Join(dir, sub))
		for _, e := range entries {
			out = append(out, filepath.Join(dir, sub, e.Name()))
		}
	}
	slices.Sort(out)
	return out
}

// localActs is what a mail client does in the Maildir in one go. It tolerates that a sync works there too.
func (r *rounds) localActs(n int) {
	folders := r.folders()
	for range n {
		dir := folders[r.rng.IntN(len(folders))]
		name, _ := filepath.Rel(r.root, dir)
		all := files(dir)
		if r.rng.IntN(3) == 0 || len(all) == 0 {
			text := r.text(r.side)
			r.deliver(dir, text, letterSets[r.rng.IntN(len(letterSets))])
			r.note("maildir: new %.40q in %s", text, name)
			continue
		}
		f := all[r.rng.IntN(len(all))]
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		base, _, _ := strings.Cut(filepath.Base(f), ":2,")
		switch r.rng.IntN(4) {
		case 0, 1:
			letters := letterSets[r.rng.IntN(len(letterSets))]
			if os.Rename(f, filepath.Join(dir, "cur", base+":2,"+letters)) == nil {
				r.note("maildir: flags %q on %s in %s", letters, base, name)
			}
		case 2:
			if os.Remove(f) == nil {
				r.gone[lf(b)]++
				r.note("maildir: delete %s in %s: %.60q", base, name, lf(b))
			}
		default:
			to := folders[r.rng.IntN(len(folders))]
			if to != dir && r.movesHere && os.Rename(f, filepath.Join(to, filepath.Base(filepath.Dir(f)), filepath.Base(f))) == nil {
				r.note("maildir: move %s from %s to %s", base, name, to)
			}
		}
	}
}

func (r *rounds) deliver(dir, text, letters string) {
	r.n++
	name := fmt.Sprintf("%d.%d_%d.client", time.Now().Unix(), os.Getpid(), r.n)
	tmp := filepath.Join(dir, "tmp", name)
	to := filepath.Join(dir, "new", name)
	if letters != "" {
		to = filepath.Join(dir, "cur", name+":2,"+letters)
	}
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(tmp, to); err != nil {
		r.t.Fatal(err)
	}
	r.made[text]++
}

// check compares the two sides with each other through `verify --deep`, and with what people did by hand.
func (r *rounds) check() {
	r.t.Helper()
	if code, out := r.satchel("verify", "--deep"); code != 0 {
		r.fatalf("verify --deep: exit %d\n%s", code, out)
	}
	count := map[string]int{}
	for _, dir := range r.folders() {
		for _, f := range files(dir) {
			b, err := os.ReadFile(f)
			if err != nil {
				r.t.Fatal(err)
			}
			count[lf(b)]++
		}
	}
	for text, made := range r.made {
		switch n := count[text]; {
		case n > made:
			r.fatalf("%.80q exists %d times, and %d were made", text, n, made)
		case n < made-r.gone[text]:
			r.fatalf("%.80q is lost: %d were made, %d deleted, %d are there", text, made, r.gone[text], n)
		}
	}
	for text := range count {
		if r.made[text] == 0 {
			r.fatalf("nobody made %.80q", text)
		}
	}
}

// TestRounds: a Dovecot account and a Maildir stay the same through rounds of random changes on both sides.
func TestRounds(t *testing.T) {
	t.Parallel()
	n := amount(t, "SATCHEL_ROUNDS", 6)
	r := newRounds(t, uint64(amount(t, "SATCHEL_SEED", 1)), servers.Dovecot(t, servers.Options{}))
	r.fill(amount(t, "SATCHEL_MESSAGES", 300), amount(t, "SATCHEL_FOLDERS", 12))
	for i := range n {
		r.note("round %d", i)
		if i > 0 {
			r.remoteActs(5 + r.rng.IntN(25))
			r.localActs(5 + r.rng.IntN(25))
		}
		if code, out := r.satchel("sync"); code != 0 {
			r.fatalf("sync in round %d: exit %d\n%s", i, code, out)
		}
		r.check()
		code, out := r.satchel("sync", "--json")
		if code != 0 || !strings.Contains(out, `"to_maildir":{"new":0,"flags":0,"moved":0,"deleted":0},"to_server":{"new":0,"flags":0,"moved":0,"deleted":0}`) {
			r.fatalf("a second sync in round %d: exit %d\n%s", i, code, out)
		}
	}
}
