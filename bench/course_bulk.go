package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/bench/raw"
)

// bulk is a sync after somebody did one thing to very many messages, on one side only. Before the next run it is
// taken back on the server, and synced, which is not timed.
type bulk struct {
	onServer bool
	work     work
}

// work is what is done.
type work interface {
	// do returns the commands that do it on the server.
	do(c *raw.Client) (commands []string, err error)
	// undo returns those that take it back; none if there is nothing to take back.
	undo(c *raw.Client) (commands []string, err error)
	// inMaildir does it there.
	inMaildir(root string) error
	// renamed is what a floor renames for it.
	renamed() renamed
}

func (bulk) transfers() bool { return false }
func (bulk) rests() bool     { return true }

func (b bulk) enter(ctx context.Context, e *entry) (err error) {
	f, isFloor := e.contender.(floor)
	if !isFloor {
		if e.account, err = settle(ctx, e); err == nil {
			err = e.lab.server.Purge(e.account.User) // of what earlier runs transferred
		}
		return err
	}
	user, err := e.lab.mailbox(e.scenario.mailbox)
	if err != nil {
		return err
	}
	if f.run == renameFiles().run {
		r := b.work.renamed()
		e.account = e.lab.account(e.contender, user, e.base())
		e.account.Renamed = &r
		e.account.Local, err = e.lab.manyFiles(ctx, e.scenario.mailbox, e.name(), r)
		return err
	}
	own := e.lab.copyOf(e.scenario.mailbox, e.name())
	e.account = e.lab.account(e.contender, own, e.base())
	if _, err := os.Stat(e.lab.cached("mail", own)); err == nil {
		return nil
	}
	return e.lab.copyUser(own, user)
}

func (b bulk) arm(ctx context.Context, e *entry) error {
	if e.account.Renamed != nil {
		return nil // each run takes the last one back
	}
	c, err := e.lab.server.Dial(e.account.User)
	if err != nil {
		return err
	}
	defer c.Close()
	undone, err := run(c, b.work.undo)
	if err != nil {
		return fmt.Errorf("taking the last run back: %w", err)
	}
	if e.row.isFloor {
		e.account.Script, err = b.script(c)
		return err
	}
	if undone {
		if err := e.lab.sync(ctx, e.contender, e.account); err != nil {
			return fmt.Errorf("syncing what was taken back: %w", err)
		}
	}
	changed := e.side(e.lab, e.account)
	if b.onServer {
		changed = e.server()
		_, err = run(c, b.work.do)
	} else {
		err = b.work.inMaildir(e.account.Local)
	}
	if err != nil {
		return fmt.Errorf("changing something: %w", err)
	}
	e.want, err = changed.contents()
	return err
}

// run sends the commands that are made for it, and says whether there were any.
func run(c *raw.Client, make func(*raw.Client) ([]string, error)) (bool, error) {
	commands, err := make(c)
	if err != nil || len(commands) == 0 {
		return false, err
	}
	return true, c.Run(nil, commands...)
}

// script is what a bare client sends: either what does the work on the server, or, if somebody else did it
// there, what asks for its outcome.
func (b bulk) script(c *raw.Client) ([]string, error) {
	if !b.onServer {
		commands, err := b.work.do(c)
		return append([]string{"SELECT INBOX"}, commands...), err
	}
	var modseq uint64
	err := c.Run(func(line []byte) {
		if _, rest, ok := strings.Cut(string(line), "HIGHESTMODSEQ "); ok {
			_, _ = fmt.Sscan(rest, &modseq) // 0 is found below
		}
	}, "UNSELECT", "SELECT INBOX (CONDSTORE)")
	if err != nil {
		return nil, err
	}
	if modseq == 0 {
		return nil, fmt.Errorf("the server gave no HIGHESTMODSEQ")
	}
	if _, err := run(c, b.work.do); err != nil {
		return nil, err
	}
	return []string{"SELECT INBOX (CONDSTORE)", fmt.Sprintf("UID FETCH 1:* (UID FLAGS) (CHANGEDSINCE %d)", modseq)}, nil
}

// mark marks messages read: the newest of those that are not.
type mark struct{ count int }

func (m mark) do(c *raw.Client) ([]string, error) {
	uids, err := matching(c, "INBOX", "UNSEEN")
	if err != nil {
		return nil, err
	}
	uids, err = newest(uids, m.count)
	return []string{"UID STORE " + uidSet(uids) + ` +FLAGS.SILENT (\Seen)`}, err
}

func (m mark) undo(c *raw.Client) ([]string, error) {
	unread, err := matching(c, "INBOX", "UNSEEN")
	if err != nil || len(unread) >= m.count {
		return nil, err
	}
	read, err := c.UIDs("SEEN")
	if err != nil {
		return nil, err
	}
	read, err = newest(read, m.count-len(unread))
	return []string{"UID STORE " + uidSet(read) + ` -FLAGS.SILENT (\Seen)`}, err
}

func (m mark) inMaildir(root string) error {
	inbox := filepath.Join(root, "INBOX")
	names, err := byArrival(inbox, func(name string) bool {
		_, letters, _ := strings.Cut(name, ":2,")
		return !strings.Contains(letters, "S")
	})
	if err != nil {
		return err
	}
	names, err = newest(names, m.count)
	if err != nil {
		return err
	}
	for _, name := range names {
		base, letters, _ := strings.Cut(filepath.Base(name), ":2,")
		if err := rename(inbox, name, filepath.Join("cur", base+":2,"+withLetter(letters, 'S'))); err != nil {
			return err
		}
	}
	return nil
}

func (m mark) renamed() renamed {
	return renamed{From: end{"INBOX", ":2,"}, To: end{"INBOX", ":2,S"}, Count: m.count}
}

// move moves messages to another folder, which is empty: the newest ones.
type move struct {
	count int
	to    string
}

func (m move) do(c *raw.Client) ([]string, error) {
	uids, err := matching(c, "INBOX", "ALL")
	if err != nil {
		return nil, err
	}
	uids, err = newest(uids, m.count)
	return []string{"UID MOVE " + uidSet(uids) + " " + raw.Quote(m.to)}, err
}

func (m move) undo(c *raw.Client) ([]string, error) {
	uids, err := matching(c, m.to, "ALL")
	if err != nil || len(uids) == 0 {
		return nil, err
	}
	return []string{"UID MOVE " + uidSet(uids) + " INBOX"}, nil
}

func (m move) inMaildir(root string) error {
	names, err := byArrival(filepath.Join(root, "INBOX"), func(string) bool { return true })
	if err != nil {
		return err
	}
	names, err = newest(names, m.count)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := rename(root, filepath.Join("INBOX", name), filepath.Join(m.to, withoutUID(name))); err != nil {
			return err
		}
	}
	return nil
}

// withoutUID takes the UID away that mbsync writes into names: it asks that of whoever moves its files.
func withoutUID(name string) string {
	base, rest, ok := strings.Cut(name, ",U=")
	if !ok {
		return name
	}
	return base + strings.TrimLeft(rest, "0123456789")
}

func (m move) renamed() renamed {
	return renamed{From: end{"INBOX", ":2,S"}, To: end{m.to, ":2,S"}, Count: m.count}
}

// matching opens a folder and returns the UIDs that match.
func matching(c *raw.Client, folder, search string) ([]uint32, error) {
	if err := c.Run(nil, "SELECT "+raw.Quote(folder)); err != nil {
		return nil, err
	}
	uids, err := c.UIDs(search)
	slices.Sort(uids)
	return uids, err
}

// newest returns the last n.
func newest[T any](some []T, n int) ([]T, error) {
	if len(some) < n {
		return nil, fmt.Errorf("there are %d messages of %d", len(some), n)
	}
	return some[len(some)-n:], nil
}

// byArrival returns the messages of a Maildir folder that pass, with cur or new before the name. Their order is
// that in which they came, since names begin with a time and a number.
func byArrival(dir string, pass func(name string) bool) ([]string, error) {
	var all []string
	for _, sub := range []string{"cur", "new"} {
		names, err := entries(filepath.Join(dir, sub))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if pass(name) && !strings.HasPrefix(name, ".") {
				all = append(all, filepath.Join(sub, name))
			}
		}
	}
	slices.SortFunc(all, func(a, b string) int { return byNumbers(filepath.Base(a), filepath.Base(b)) })
	return all, nil
}

// byNumbers orders texts by the numbers in them: a9b before a10b.
func byNumbers(a, b string) int {
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] == b[i] {
			continue
		}
		longer := 0
		for j := i; ; j++ {
			inA, inB := j < len(a) && digit(a[j]), j < len(b) && digit(b[j])
			switch {
			case inA && inB:
				continue
			case inA:
				longer = 1
			case inB:
				longer = -1
			}
			break
		}
		if inNumber := i > 0 && digit(a[i-1]); longer != 0 && (inNumber || digit(a[i]) && digit(b[i])) {
			return longer
		}
		return int(a[i]) - int(b[i])
	}
	return len(a) - len(b)
}
