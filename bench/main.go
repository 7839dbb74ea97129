// Bench measures Satchel beside mbsync and interimap, on a Dovecot of its own, and judges it by its targets.
//
//	make bench                            everything, into bench/RESULTS.md
//	go run ./bench -run noop -runs 3      some scenarios, to the terminal
//	go run ./bench -list                  what there is
//
// docs/benchmarks.md says what is measured and how to read it.
//
// A scenario (scenarios.go) is a mailbox, a course of events, the contenders, and limits. For each, the runner
// (runner.go) lets the contenders do the same alternately, through package meter, which measures; a
// course (course_*.go) brings about what a run has to carry over, and says what both sides hold then.
// Mailboxes and what each tool made of them stay in a cache folder (lab.go), so that the next time begins soon.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"

	"github.com/satchel-mail/satchel/bench/meter"
)

// options are what the command line says.
type options struct {
	run     *regexp.Regexp
	runs    int
	tools   []string
	satchel string
	old     string
	dirs    []string
	cache   string
	out     string
	seed    uint64
	count   bool
	big     bool
}

func main() {
	if err := dispatch(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// dispatch becomes the launcher or a floor if that is what this process was started for.
func dispatch(args []string) error {
	switch {
	case len(args) > 0 && args[0] == meter.Word:
		return meter.Launch(args[1:])
	case len(args) > 0 && args[0] == floorWord:
		return runFloor(args[1:])
	}
	o, list, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	chosen := choose(scenarios(), o)
	if list {
		for _, s := range chosen {
			fmt.Printf("%-22s %s\n", s.name, s.title)
		}
		return nil
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no scenario matches %q; -list names them", o.run)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return measure(ctx, o, chosen)
}

func parse(args []string) (o options, list bool, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	run := f.String("run", "", "only scenarios whose name matches this `regexp`")
	tools := f.String("tools", "", "only these tools, such as satchel,mbsync; floors are always taken")
	dirs := f.String("dir", "", "where transfers put their Maildirs, separated by commas (default: the cache folder, and /dev/shm)")
	f.IntVar(&o.runs, "runs", 5, "how often each is run")
	f.StringVar(&o.satchel, "satchel", "", "the Satchel to measure, instead of building this checkout's")
	f.StringVar(&o.old, "old", "", "another Satchel, which takes part as satchel-old")
	f.StringVar(&o.cache, "cache", defaultCache(), "where mailboxes are kept")
	f.StringVar(&o.out, "out", "", "write the results to this file too")
	f.Uint64Var(&o.seed, "seed", 1, "of the mailboxes' generator")
	f.BoolVar(&o.count, "count", true, "count round trips and bytes in a run of its own")
	f.BoolVar(&o.big, "big", false, "with the scenarios that take many minutes to set up")
	f.BoolVar(&list, "list", false, "list the scenarios and stop")
	if err := f.Parse(args); err != nil {
		return o, false, err
	}
	if f.NArg() > 0 {
		return o, false, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.runs < 1 {
		return o, false, errors.New("-runs must be at least 1")
	}
	o.tools, o.dirs = fields(*tools), fields(*dirs)
	o.run, err = regexp.Compile(*run)
	return o, list, err
}

// fields splits at commas.
func fields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// choose returns the scenarios that the options ask for. Naming a big one asks for it too.
func choose(all []scenario, o options) (chosen []scenario) {
	for _, s := range all {
		named := o.run.String() != "" && o.run.String() == s.name
		if o.run.MatchString(s.name) && (!s.big || o.big || named) {
			chosen = append(chosen, s)
		}
	}
	return chosen
}

// measure runs the scenarios and reports.
func measure(ctx context.Context, o options, chosen []scenario) (err error) {
	l, err := openLab(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	var results []result
	for _, s := range chosen {
		for _, p := range l.placesOf(s) {
			r := l.runScenario(ctx, s, p)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			results = append(results, r)
			fmt.Println(table(r))
		}
	}
	judge(results)
	report := l.report(results)
	fmt.Println(overview(results))
	fmt.Println(summary(results))
	if o.out != "" {
		return os.WriteFile(o.out, []byte(report), 0o644)
	}
	return nil
}
