package main

import (
	"context"
	"slices"
)

// idle is a sync of two sides that are in step.
type idle struct{}

func (idle) transfers() bool { return false }
func (idle) rests() bool     { return false }

func (idle) enter(ctx context.Context, e *entry) (err error) {
	if e.account, err = settle(ctx, e); err != nil {
		return err
	}
	e.want, err = e.server().contents()
	return err
}

func (idle) arm(context.Context, *entry) error { return nil }

// settle gives a tool its own copy of the mailbox, with both sides in step. Floors share Satchel's: how fast the
// server answers depends on what was last written to its indexes, too.
func settle(ctx context.Context, e *entry) (account, error) {
	if e.row.isFloor {
		user, err := e.lab.mailbox(e.scenario.mailbox)
		if err == nil && slices.ContainsFunc(e.lab.tools, func(c contender) bool { return c.name() == subject }) {
			user = e.lab.copyOf(e.scenario.mailbox, subject)
		}
		return e.lab.account(e.contender, user, e.base()), err
	}
	return e.lab.world(ctx, e.contender, e.scenario.mailbox)
}
