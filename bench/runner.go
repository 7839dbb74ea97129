package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/satchel-mail/satchel/bench/letters"
	"github.com/satchel-mail/satchel/bench/link"
	"github.com/satchel-mail/satchel/bench/meter"
)

// scenario is one thing that tools are compared at.
type scenario struct {
	name, title string
	mailbox     letters.Mailbox
	course      course
	rtt         time.Duration // a round trip's latency; 0 is loopback's
	pop3        bool          // Satchel too is to use it
	tools       []string
	onRequest   []string // tools that take part only if -tools names them
	floors      []floor
	limits      []limit
	runs        int      // 0 is as many as the options say
	often       int      // times as many as that, for short ones that scatter; 0 is once
	onePlace    bool     // of those of transfers, one is enough
	slow        []string // tools for which one is enough
	big         bool     // takes many minutes to set up
}

// course is what happens in a scenario around the runs.
type course interface {
	// transfers says that mail is carried to an empty side: such scenarios are run on disk and on the RAM disk.
	transfers() bool
	// enter makes ready what a contender needs, once.
	enter(ctx context.Context, e *entry) error
	// arm brings about what the next run has to carry over, and sets what both sides shall hold after it.
	arm(ctx context.Context, e *entry) error
	// rests says that arm, or the run before, leaves changed directories behind.
	rests() bool
}

// entry is a contender in a scenario at a place.
type entry struct {
	contender
	lab      *lab
	scenario scenario
	place    place
	account  account
	round    int
	// want is what both sides hold after a run; nil is not compared.
	want contents
	row  *row
}

// base is the folder for what the entry keeps at its place.
func (e *entry) base() string { return filepath.Join(e.place.dir, e.name()) }

// server is the server's side of the entry's account.
func (e *entry) server() serverSide { return serverSide{e.lab, e.account.User} }

// row is what a contender did.
type row struct {
	name    string
	isFloor bool
	samples []sample
	traffic link.Count
	counted bool
	err     error // why there are fewer samples than wanted
}

// result is a scenario at a place.
type result struct {
	scenario scenario
	place    place
	rows     []*row
	verdicts []verdict
}

// row returns a contender's row, an empty one if it took no part.
func (r *result) row(name string) row {
	for _, row := range r.rows {
		if row.name == name {
			return *row
		}
	}
	return row{name: name}
}

// rest is how long nothing happens before a run after something changed. For two seconds a
// directory's time can't tell whether it changed again; and mbsync waits for a second if a Maildir changed within
// the last one, which it shall not have to.
const rest = 2500 * time.Millisecond

// countingRTT is the latency of the run that is counted: with as much, a program that waits for an
// answer is well told from one that goes on sending.
const countingRTT = 100 * time.Millisecond

// runScenario runs all contenders in turn, as often as is asked for.
func (l *lab) runScenario(ctx context.Context, s scenario, p place) result {
	progress("%s (%s)", s.name, p.name)
	r := result{scenario: s, place: p}
	var entries []*entry
	for _, c := range l.contenders(s) {
		if slices.Contains(s.slow, c.name()) && p != l.placesOf(s)[len(l.placesOf(s))-1] {
			continue
		}
		_, isFloor := c.(floor)
		e := &entry{contender: c, lab: l, scenario: s, place: p, row: &row{name: c.name(), isFloor: isFloor}}
		r.rows = append(r.rows, e.row)
		e.row.err = s.course.enter(ctx, e)
		entries = append(entries, e)
	}
	runs := s.runs
	if runs == 0 {
		runs = l.o.runs * max(s.often, 1)
	}
	// The round before the first warms up, and is counted where the others aren't.
	for round := range runs + 1 {
		l.round(ctx, s, entries, round)
	}
	for _, e := range entries {
		if e.row.err != nil && ctx.Err() == nil {
			progress("  %s: %v", e.name(), e.row.err)
		}
	}
	return r
}

// round runs each contender that is still in once. Each time another one begins.
func (l *lab) round(ctx context.Context, s scenario, entries []*entry, round int) {
	for _, e := range entries {
		if e.row.err == nil {
			e.round = round
			e.row.err = s.course.arm(ctx, e)
		}
	}
	if round <= 1 || s.course.rests() {
		pause(ctx, rest)
	}
	for i := range entries {
		e := entries[(i+round)%len(entries)]
		if e.row.err == nil {
			e.row.err = errors.Join(ctx.Err(), l.turn(ctx, s, e))
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// turn is one run of one contender.
func (l *lab) turn(ctx context.Context, s scenario, e *entry) error {
	warmUp := e.round == 0
	rtt := s.rtt
	known, seen := l.counts[countKey(s, e)]
	if warmUp && rtt == 0 && l.o.count && !seen && !slices.Contains(s.slow, e.name()) { // which would take as long as all else
		rtt = countingRTT
	}
	a := e.account
	var line *link.Link
	target := l.server.TLSAddress()
	if usesPOP3(e.contender) {
		target = l.server.POP3Address()
	}
	if rtt > 0 {
		var err error
		if line, err = link.New(target, rtt); err != nil {
			return err
		}
		a.Port = line.Port()
	}
	if err := errors.Join(syncfs(e.place.dir), syncfs(l.o.cache)); err != nil {
		return err
	}
	command, err := e.command(a)
	var reading meter.Reading
	if err == nil {
		reading, err = meter.Run(ctx, command)
	}
	if line != nil {
		known, seen = line.Close(), true
		l.counts[countKey(s, e)] = known
	}
	e.row.traffic, e.row.counted = known, seen
	if err != nil {
		return err
	}
	if !warmUp {
		e.row.samples = append(e.row.samples, sample{reading.Wall, reading.CPU, reading.RSS})
		progress("  %d %-14s %7.3f s  CPU %6.3f s  %4d MB", e.round, e.name(), reading.Wall.Seconds(), reading.CPU.Seconds(), reading.RSS>>20)
	}
	return e.check()
}

// countKey is what traffic depends on: not on the place of the Maildir.
func countKey(s scenario, e *entry) string { return s.name + " " + e.name() }

// check compares both sides with what they should hold: a tool that did nothing shall not win.
func (e *entry) check() error {
	if e.want == nil || e.row.isFloor {
		return nil
	}
	server, err := e.server().contents()
	if err != nil {
		return err
	}
	if err := server.differs(e.want); err != nil {
		return fmt.Errorf("after the run, on the server: %w", err)
	}
	local, err := e.side(e.lab, e.account).contents()
	if err != nil {
		return err
	}
	if err := local.differs(e.want); err != nil {
		return fmt.Errorf("after the run, on the tool's side: %w", err)
	}
	return nil
}
