package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/satchel-mail/satchel/bench/letters"
	"github.com/satchel-mail/satchel/internal/testenv/daemon"
)

// pull is the first sync of a full server with nothing.
type pull struct{}

func (pull) transfers() bool { return true }
func (pull) rests() bool     { return false }

func (pull) enter(_ context.Context, e *entry) error {
	user, err := e.lab.mailbox(e.scenario.mailbox)
	if err != nil {
		return err
	}
	e.account = e.lab.account(e.contender, user, e.base())
	for _, f := range e.scenario.mailbox.Folders {
		e.account.Folders = append(e.account.Folders, f.Name)
	}
	if e.account.Sizes, err = e.lab.sizes(e.scenario.mailbox); err != nil {
		return err
	}
	e.want, err = e.server().contents()
	return err
}

func (pull) arm(_ context.Context, e *entry) error { return e.empty() }

// empty takes the tool's side and its state away.
func (e *entry) empty() error {
	var err error
	if s, ok := e.side(e.lab, e.account).(serverSide); ok {
		err = s.wipe()
	}
	return errors.Join(err, e.lab.discard(e.place, e.base()), os.MkdirAll(e.base(), 0o755))
}

// discard puts a folder out of the way. For minutes after a deletion ext4 passes over the inodes that
// became free, one by one for each new file, which makes every tool several times slower: so on a disk nothing is
// deleted before the end.
func (l *lab) discard(p place, dir string) error {
	if p.kind == "tmpfs" {
		return os.RemoveAll(dir)
	}
	l.discarded++
	trash := filepath.Join(p.dir, "trash", strconv.Itoa(l.discarded))
	err := errors.Join(os.MkdirAll(filepath.Dir(trash), 0o755), os.Rename(dir, trash))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// push is the first sync of a full Maildir with an empty server.
type push struct{}

func (push) transfers() bool { return true }
func (push) rests() bool     { return true }

func (push) enter(_ context.Context, e *entry) error {
	e.account = e.lab.account(e.contender, "push."+e.name(), e.base())
	e.lab.users = append(e.lab.users, e.account.User)
	return nil
}

func (push) arm(_ context.Context, e *entry) (err error) {
	if err := errors.Join(e.empty(), e.lab.newUser(e.account.User)); err != nil {
		return err
	}
	maker := letters.NewMaker(e.lab.o.seed)
	for _, f := range e.scenario.mailbox.Folders {
		if err := deliver(filepath.Join(e.account.Local, f.Name), maker, f); err != nil {
			return err
		}
	}
	e.want, err = e.side(e.lab, e.account).contents()
	return err
}

// newUser makes a user without mail, whose mail will lie where it does not disturb.
func (l *lab) newUser(user string) error {
	if err := l.removeUser(user); err != nil {
		return err
	}
	place := l.serverPlace()
	if place == l.cached("mail") {
		return nil // Dovecot makes what it needs
	}
	dir := filepath.Join(place, user)
	return errors.Join(os.MkdirAll(dir, 0o755), daemon.Give(dir), os.Symlink(dir, l.cached("mail", user)))
}
