package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/satchel-mail/satchel/bench/dovecot"
	"github.com/satchel-mail/satchel/bench/letters"
	"github.com/satchel-mail/satchel/bench/link"
	"github.com/satchel-mail/satchel/bench/meter"
	"github.com/satchel-mail/satchel/bench/raw"
	"github.com/satchel-mail/satchel/internal/testenv/daemon"
)

// lab is all that the scenarios need: the server, the tools, and the places for their files.
//
// The cache folder holds
//
//	mail/KEY            a mailbox as it was made, a user of the server of that name
//	mail/KEY.TOOL       a copy of it that a tool works with, another user
//	worlds/KEY.TOOL/    the tool's own side of that, and its state, kept in step with it
//	bin/, sizes/        Satchel as built, and how long the mailboxes' messages are
//	satchel-bench-*     what transfers write, removed in the end
type lab struct {
	o      options
	begin  time.Time
	load   string // of the machine, then
	server *dovecot.Server
	tools  []contender
	places []place
	unlock func() error
	// counts is the traffic of each contender in each scenario, by countKey.
	counts map[string]link.Count
	// runs are folders that go away in the end, and users the users who do.
	runs, users []string
	discarded   int // folders so far
}

func defaultCache() string {
	if os.Geteuid() == 0 {
		return "/var/cache/satchel-bench" // the user that the server runs as must be able to read it
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "satchel-bench")
}

func openLab(o options) (*lab, error) {
	cache, err := filepath.Abs(o.cache)
	if err != nil {
		return nil, err
	}
	o.cache = cache
	l := &lab{o: o, begin: time.Now(), load: load(), counts: map[string]link.Count{}}
	for _, dir := range []string{"mail", "worlds", "bin", "sizes"} {
		if err := os.MkdirAll(l.cached(dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := daemon.Give(l.cached("mail")); err != nil {
		return nil, err
	}
	if l.unlock, err = lock(l.cached("lock")); err != nil {
		return nil, fmt.Errorf("another benchmark is using %s: %w", o.cache, err)
	}
	if l.tools, err = findTools(l); err != nil {
		return nil, errors.Join(err, l.unlock())
	}
	if l.places, err = findPlaces(l); err != nil {
		return nil, errors.Join(err, l.unlock())
	}
	if l.server, err = dovecot.Start(l.cached("mail")); err != nil {
		return nil, errors.Join(err, l.unlock())
	}
	return l, nil
}

// close stops the server and removes what should not stay.
func (l *lab) close() error {
	l.server.Stop()
	var err error
	for _, user := range l.users {
		err = errors.Join(err, l.removeUser(user))
	}
	for _, dir := range l.runs {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return errors.Join(err, l.unlock())
}

func (l *lab) cached(elem ...string) string {
	return filepath.Join(append([]string{l.o.cache}, elem...)...)
}

// progress tells the person who waits.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// findTools returns the tools that take part, in the order of the tables.
func findTools(l *lab) ([]contender, error) {
	var all []contender
	program := l.o.satchel
	if program == "" && l.wanted(subject) {
		program = l.cached("bin", "satchel")
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "github.com/satchel-mail/satchel/cmd/satchel")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return nil, fmt.Errorf("building Satchel: %w", err)
		}
	}
	all = append(all, satchel{label: subject, program: program})
	if l.o.old != "" {
		all = append(all, satchel{label: "satchel-old", program: l.o.old})
	}
	isync, haveIsync := daemon.Unpacked("isync")
	imap, haveInterimap := daemon.Unpacked("interimap")
	if !haveIsync || !haveInterimap {
		return nil, errors.New("mbsync or interimap is not unpacked; \"make bench-tools\" fetches them")
	}
	all = append(all, mbsync{program: filepath.Join(isync, "usr/bin/mbsync"), compress: true},
		mbsync{program: filepath.Join(isync, "usr/bin/mbsync")}, interimap{root: imap})
	pop3, err := findPOP3Tools()
	if err != nil {
		return nil, err
	}
	all = append(all, pop3...)
	return slices.DeleteFunc(all, func(c contender) bool { return !l.wanted(c.name()) }), nil
}

func (l *lab) wanted(tool string) bool {
	return len(l.o.tools) == 0 || slices.Contains(l.o.tools, tool)
}

// contenders returns those of a scenario that take part.
func (l *lab) contenders(s scenario) []contender {
	var some []contender
	for _, c := range l.tools {
		asked := slices.Contains(s.onRequest, c.name()) && slices.Contains(l.o.tools, c.name())
		if asked || slices.Contains(s.tools, c.name()) || c.name() == "satchel-old" {
			if own, ok := c.(satchel); ok {
				own.pop3 = s.pop3
				c = own
			}
			some = append(some, c)
		}
	}
	for _, f := range s.floors {
		some = append(some, f)
	}
	return some
}

// account is c's on a user of the server, with its own files below base.
func (l *lab) account(c contender, user, base string) account {
	port := l.server.TLSPort
	if usesPOP3(c) {
		port = l.server.POP3Port
	}
	return account{
		User: user, Port: port, CAFile: l.server.CAFile,
		Local: c.local(base, user), Plain: l.server.Port, Home: filepath.Join(base, "home"),
	}
}

// sync lets a tool do its work without measuring it.
func (l *lab) sync(ctx context.Context, c contender, a account) error {
	command, err := c.command(a)
	if err == nil {
		_, err = meter.Run(ctx, command)
	}
	return err
}

// mailbox makes a mailbox on the server unless it is there, and returns the user who has it.
func (l *lab) mailbox(m letters.Mailbox) (user string, err error) {
	user = m.Key(l.o.seed)
	stamp := l.cached("mail", user+".complete")
	if _, err := os.Stat(stamp); err == nil {
		return user, nil
	}
	progress("making the mailbox %s: %d messages", user, m.Count())
	if err := l.removeUser(user); err != nil {
		return "", err
	}
	c, err := l.server.Dial(user)
	if err != nil {
		return "", err
	}
	defer c.Close()
	maker := letters.NewMaker(l.o.seed)
	for _, f := range m.Folders {
		if f.Name != "INBOX" {
			if err := c.Run(nil, "CREATE "+raw.Quote(f.Name), "SUBSCRIBE "+raw.Quote(f.Name)); err != nil {
				return "", err
			}
		}
		if err := c.Append(f.Name, messages(maker, f)); err != nil {
			return "", fmt.Errorf("filling %s: %w", f.Name, err)
		}
		if f.Count == 0 {
			continue
		}
		// What every client asks for is in the server's cache, as with mail that has been there for long.
		if err := c.Run(nil, "EXAMINE "+raw.Quote(f.Name), "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)", "UNSELECT"); err != nil {
			return "", fmt.Errorf("reading %s: %w", f.Name, err)
		}
	}
	return user, os.WriteFile(stamp, nil, 0o644)
}

// messages are the letters of a folder.
func messages(m *letters.Maker, f letters.Folder) func(yield func(raw.Message) bool) {
	return func(yield func(raw.Message) bool) {
		for i := range f.Count {
			letter := m.Letter(f, i)
			if !yield(raw.Message{Flags: letter.Flags, Date: letter.Date, Body: letter.Body}) {
				return
			}
		}
	}
}

func (l *lab) removeUser(user string) error {
	dir := l.cached("mail", user)
	if target, err := os.Readlink(dir); err == nil {
		return errors.Join(os.RemoveAll(target), os.Remove(dir))
	}
	return os.RemoveAll(dir)
}

// copyUser makes a user with another's mail.
func (l *lab) copyUser(to, from string) error {
	if err := l.removeUser(to); err != nil {
		return err
	}
	part := l.cached("mail", to+".part") // what is there under its own name is whole
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "-a", l.cached("mail", from), part).CombinedOutput(); err != nil {
		return fmt.Errorf("copying the mail of %s: %w: %s", from, err, out)
	}
	return os.Rename(part, l.cached("mail", to))
}

// copyOf names the user with a contender's copy of a mailbox.
func (l *lab) copyOf(m letters.Mailbox, contender string) string {
	return m.Key(l.o.seed) + "." + contender
}

// world returns a tool's account on its own copy of a mailbox, both sides in step. It is made the first time, which
// may take minutes, and then lives on: a copy of a Maildir would not do, as its files are others, which
// tools that remember them would notice.
func (l *lab) world(ctx context.Context, c contender, m letters.Mailbox) (account, error) {
	user := l.copyOf(m, c.name())
	base := l.cached("worlds", user)
	a := l.account(c, user, base)
	stamp := filepath.Join(base, "complete")
	if _, err := os.Stat(stamp); err == nil {
		if err = l.inStep(ctx, c, a); err == nil || ctx.Err() != nil {
			return a, err
		}
		progress("%s is not usable any more and is made anew: %v", base, err)
	}
	from, err := l.mailbox(m)
	if err != nil {
		return a, err
	}
	progress("first sync of %s with %s", m.Name, c.name())
	if err := errors.Join(os.RemoveAll(base), c.side(l, a).wipe(), l.copyUser(user, from), os.MkdirAll(base, 0o755)); err != nil {
		return a, err
	}
	if err := l.inStep(ctx, c, a); err != nil {
		return a, err
	}
	return a, os.WriteFile(stamp, nil, 0o644)
}

// inStep syncs an account and compares its sides.
func (l *lab) inStep(ctx context.Context, c contender, a account) error {
	if err := l.sync(ctx, c, a); err != nil {
		return err
	}
	want, err := serverSide{l, a.User}.contents()
	if err != nil {
		return err
	}
	got, err := c.side(l, a).contents()
	if err != nil {
		return err
	}
	return got.differs(want)
}
