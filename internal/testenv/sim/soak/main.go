// Soak plays as many random histories as wished, on all cores, and cuts off every scenario at each step by everything that can
// happen there. It prints each history that breaks the promise as a story, shrunk to what it takes.
//
//	go run ./internal/testenv/sim/soak -seeds 1000000
//	go run ./internal/testenv/sim/soak -sweep
//	go run ./internal/testenv/sim/soak -pairs
//	go run ./internal/testenv/sim/soak -seed 4711
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/sim"
)

func main() {
	seeds := flag.Uint64("seeds", 10_000, "how many histories to play")
	first := flag.Uint64("first", 0, "the first seed, or scenario")
	one := flag.Int64("seed", -1, "play this one alone, and tell its story")
	sweep := flag.Bool("sweep", false, "cut off the scenarios instead")
	pairs := flag.Bool("pairs", false, "cut off ten scenarios twice, at each of their steps and then at each step of the recovery")
	workers := flag.Int("workers", runtime.GOMAXPROCS(0), "how many at a time")
	flag.Parse()
	dir, err := os.MkdirTemp("", "satchel-soak-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s := &soak{dir: dir, started: time.Now(), kinds: map[[2]sim.Kind]bool{}}
	debug.SetGCPercent(1000)      // a history leaves little behind
	debug.SetMemoryLimit(1 << 30) // but much of what was interrupted twice waits for finalizers
	switch {
	case *one >= 0:
		m := s.memory()
		h, _ := sim.Shrink(sim.Random(uint64(*one)), m.play)
		h.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		fmt.Fprintln(os.Stderr, m.play(h))
		m.close()
	case *sweep || *pairs:
		s.sweep(*workers, int(*first), *pairs)
	default:
		s.histories(*workers, *first, *seeds)
	}
	_ = os.RemoveAll(dir)
	if s.broken.Load() > 0 {
		os.Exit(1)
	}
}

type soak struct {
	dir     string
	started time.Time
	files   atomic.Uint64
	played  atomic.Uint64
	broken  atomic.Uint64
	mu      sync.Mutex // of the output and of kinds
	kinds   map[[2]sim.Kind]bool
}

// met notes that a fault of the first kind was followed by one of the second.
func (s *soak) met(first, second sim.Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds[[2]sim.Kind{first, second}] = true
}

// memory is what one worker plays with.
type memory struct{ held, file *sim.Memory }

func (s *soak) memory() memory {
	name := filepath.Join(s.dir, fmt.Sprint(s.files.Add(1)))
	held, err := sim.Held(name + ".held")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return memory{held, sim.InFile(name + ".db")}
}

func (m memory) close() {
	m.held.Close()
	m.file.Close()
}

func (m memory) play(h sim.History) sim.Outcome { return h.Play(m.held) }

// again plays every tenth history once more, and every hundredth with the state in a file: it must take the same steps.
func (m memory) again(h sim.History, out sim.Outcome) sim.Outcome {
	if h.Seed%10 > 0 || out.Broken != "" {
		return out
	}
	where := m.held
	if h.Seed%100 == 0 {
		where = m.file
	}
	second := h.Play(where)
	if second.Broken == "" && !out.Same(second) {
		second.Broken = "it takes other steps when it is played again"
	}
	return second
}

// count counts one that was played, of so many (0: nobody knows), and says now and then how far it is.
func (s *soak) count(all uint64) {
	if n := s.played.Add(1); n%1000 == 0 {
		s.report(n, all)
	}
}

func (s *soak) report(n, all uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := ""
	if all > 0 {
		of = fmt.Sprintf(" of %d", all)
	}
	fmt.Fprintf(os.Stderr, "%d%s played, %d broken, %.0f a minute\n", n, of, s.broken.Load(), float64(n)/time.Since(s.started).Minutes())
}

func (s *soak) wrong(what string) {
	s.broken.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(os.Stderr, what)
}

func (s *soak) histories(workers int, first, seeds uint64) {
	next := first
	var mu sync.Mutex
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= first+seeds
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			m := s.memory()
			defer m.close()
			play := func(h sim.History) sim.Outcome { return m.again(h, m.play(h)) }
			for {
				seed, ok := take()
				if !ok {
					return
				}
				if out := play(sim.Random(seed)); out.Broken != "" {
					_, out = sim.Shrink(sim.Random(seed), play)
					s.wrong(out.String())
				}
				s.count(seeds)
			}
		})
	}
	wg.Wait()
	s.report(s.played.Load(), 0)
}

func (s *soak) sweep(workers, first int, pairs bool) {
	scenarios := make(chan sim.Scenario)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for sc := range scenarios {
				s.cut(sc, pairs)
			}
		})
	}
	all := sim.Scenarios()
	if pairs {
		all = sim.Core()
	}
	for _, sc := range all[min(first, len(all)):] {
		scenarios <- sc
	}
	close(scenarios)
	wg.Wait()
	s.report(s.played.Load(), 0)
	if pairs {
		fmt.Fprintf(os.Stderr, "%d pairs of kinds\n", len(s.kinds))
	}
}

func (s *soak) cut(sc sim.Scenario, pairs bool) {
	m := s.memory()
	defer m.close()
	sw, err := sim.NewSweep(sc, m.held)
	if err != nil {
		s.wrong(sc.Name + ": " + err.Error())
		return
	}
	defer func() { fmt.Fprintf(os.Stderr, "done: %s\n", sc.Name) }()
	play := func(sw *sim.Sweep, f sim.Fault) {
		if wrong := sw.Play(f); wrong != "" {
			s.wrong(wrong)
		}
		s.count(0)
	}
	for at := range sw.Steps {
		if !pairs {
			for _, f := range sw.Faults(at + 1) {
				play(sw, f)
			}
			continue
		}
		first := sw.Next(-1, at+1)
		then := sw.Then(first)
		for at := range then.Steps {
			second := then.Next(first.Kind, at+1)
			s.met(first.Kind, second.Kind)
			play(then, second)
		}
	}
}
