package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/bench/letters"
)

// change is a sync after somebody changed something, on one side only.
type change struct {
	onServer bool
	make     func(e *entry) error
}

func (change) transfers() bool { return false }
func (change) rests() bool     { return true }

func (change) enter(ctx context.Context, e *entry) (err error) {
	e.account, err = settle(ctx, e)
	return err
}

func (c change) arm(_ context.Context, e *entry) (err error) {
	if e.row.isFloor {
		return nil
	}
	if err := c.make(e); err != nil {
		return fmt.Errorf("changing something: %w", err)
	}
	changed := e.side(e.lab, e.account)
	if c.onServer {
		changed = e.server()
	}
	e.want, err = changed.contents()
	return err
}

// few is how many messages are new, have a flag changed, and are deleted, each.
const few = 10

// newLetters are as many as that, no two the same in any run.
func newLetters(e *entry) letters.Folder {
	return letters.Folder{Name: "new " + e.name() + time.Now().Format(time.RFC3339Nano), Kind: letters.Tiny, Count: few}
}

// pick takes n of some, the same ones for the same contender and round.
func pick[T any](e *entry, some []T, n int) ([]T, error) {
	if len(some) < n {
		return nil, fmt.Errorf("there are %d messages of %d", len(some), n)
	}
	r := rand.New(rand.NewPCG(e.lab.o.seed, uint64(e.round)))
	picked := make([]T, n)
	for i, at := range r.Perm(len(some))[:n] {
		picked[i] = some[at]
	}
	return picked, nil
}

// fewOnServer makes few of each change in the INBOX.
func fewOnServer(e *entry) error {
	c, err := e.lab.server.Dial(e.account.User)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Run(nil, "SELECT INBOX"); err != nil {
		return err
	}
	plain, err := c.UIDs("UNFLAGGED")
	if err != nil {
		return err
	}
	picked, err := pick(e, plain, 2*few)
	if err != nil {
		return err
	}
	flagged, gone := uidSet(picked[:few]), uidSet(picked[few:])
	return errors.Join(
		c.Append("INBOX", messages(letters.NewMaker(e.lab.o.seed), newLetters(e))),
		c.Run(nil, "UID STORE "+flagged+` +FLAGS.SILENT (\Flagged)`, "UID STORE "+gone+` +FLAGS.SILENT (\Deleted)`, "UID EXPUNGE "+gone))
}

// uidSet is a set as the protocol writes it, with ranges.
func uidSet(uids []uint32) string {
	var set []string
	sorted := slices.Sorted(slices.Values(uids))
	for i := 0; i < len(sorted); {
		first := i
		for i++; i < len(sorted) && sorted[i] == sorted[i-1]+1; i++ {
		}
		if i-first == 1 {
			set = append(set, fmt.Sprint(sorted[first]))
		} else {
			set = append(set, fmt.Sprintf("%d:%d", sorted[first], sorted[i-1]))
		}
	}
	return strings.Join(set, ",")
}

// fewInMaildir makes few of each change in the INBOX.
func fewInMaildir(e *entry) error {
	inbox := filepath.Join(e.account.Local, "INBOX")
	names, err := entries(filepath.Join(inbox, "cur"))
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		_, letters, ok := strings.Cut(name, ":2,")
		return !ok || strings.Contains(letters, "F")
	})
	slices.Sort(names)
	picked, err := pick(e, names, 2*few)
	if err != nil {
		return err
	}
	for _, name := range picked[:few] {
		base, letters, _ := strings.Cut(name, ":2,")
		if err := rename(filepath.Join(inbox, "cur"), name, base+":2,"+withLetter(letters, 'F')); err != nil {
			return err
		}
	}
	for _, name := range picked[few:] {
		if err := os.Remove(filepath.Join(inbox, "cur", name)); err != nil {
			return err
		}
	}
	return deliver(inbox, letters.NewMaker(e.lab.o.seed), newLetters(e))
}

func rename(dir, from, to string) error {
	return os.Rename(filepath.Join(dir, from), filepath.Join(dir, to))
}

// withLetter adds a letter at its place in the alphabet.
func withLetter(letters string, letter rune) string {
	all := append([]rune(letters), letter)
	slices.Sort(all)
	return string(slices.Compact(all))
}
