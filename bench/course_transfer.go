package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

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

func (pull) arm(e *entry) error {
	return errors.Join(e.side(e.lab, e.account).wipe(), os.RemoveAll(e.account.Home), os.MkdirAll(e.base(), 0o755))
}

// push is the first sync of a full Maildir with an empty server.
type push struct{}

func (push) transfers() bool { return true }
func (push) rests() bool     { return true }

func (push) enter(_ context.Context, e *entry) error {
	e.account = e.lab.account(e.contender, "push."+e.name(), e.base())
	return nil
}

func (push) arm(e *entry) (err error) {
	if err := errors.Join(e.side(e.lab, e.account).wipe(), os.RemoveAll(e.account.Home), e.lab.newUser(e.account.User)); err != nil {
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
