# Targets: test (all that CI runs), build, servers (fetches the mail servers that tests use), bench (docs/benchmarks.md), soak and
# kill (all of which test takes a sample; docs/safety.md).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.NOTPARALLEL:
.PHONY: build test servers programs toolchain format vet staticcheck vulncheck allocations histories unit cross bench bench-tools soak kill

GO ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o satchel ./cmd/satchel

# The tests come last, so that the last lines are go's own summary.
test: servers programs toolchain format vet staticcheck vulncheck cross allocations histories unit

# Fetches Dovecot, Cyrus and Courier as Debian packages and unpacks them into a cache folder; it
# installs nothing. What can't be had is named and its tests are skipped; with CI=true it is a failure.
servers:
	@internal/testenv/servers/fetch.sh || [ "$${CI:-}" != true ]

# Tests have mutt, in a terminal multiplexer, and notmuch read what Satchel writes, and rsync put backups over it. Without them they are skipped; with CI=true that is a failure.
programs:
	@{ command -v mutt && command -v tmux && command -v notmuch && command -v rsync; } >/dev/null || tools/apt-install mutt tmux notmuch rsync || [ "$${CI:-}" != true ]

# The race detector needs a C compiler.
toolchain:
	@command -v "$$($(GO) env CC)" >/dev/null || tools/apt-install gcc libc6-dev || \
		{ echo "the race detector needs a C compiler: install gcc or clang" >&2; exit 1; }

format:
	@files=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .); \
	if [ -n "$$files" ]; then echo "not formatted by gofmt:" >&2; echo "$$files" >&2; exit 1; fi

vet:
	$(GO) vet ./...
	GOARCH=386 CGO_ENABLED=0 $(GO) vet ./...

staticcheck:
	$(GO) run $(STATICCHECK) ./...

# Known vulnerabilities that the program's code reaches. Says so where the database can't be had, and goes on.
vulncheck:
	@GO="$(GO)" tools/vulncheck

cross:
	GOOS=darwin CGO_ENABLED=0 $(GO) build ./...
	GOOS=freebsd CGO_ENABLED=0 $(GO) build ./...
	GOOS=windows CGO_ENABLED=0 $(GO) build ./...

# The race detector allocates, so what is counted without it is counted here.
allocations:
	CGO_ENABLED=0 $(GO) test -count=1 -run Allocations ./maildir

# So are the histories of the planner, a million of them, all combinations of changes to two messages, and the histories and interrupted runs of the engine and of the simulation, of which the race detector allows only some, and
# the server that floods its clients. They write much to files that need no disk.
histories: export TMPDIR := $(shell [ -w /dev/shm ] && echo /dev/shm || echo "$${TMPDIR:-/tmp}")
histories:
	CGO_ENABLED=0 $(GO) test -count=1 -timeout 20m ./internal/testenv/sim ./internal/testenv/hostile
	CGO_ENABLED=0 $(GO) test -count=1 -timeout 20m -run 'TestRandomHistories|TestEveryPairForTwoMessages' ./sync/plan -plan.histories=1000000 -plan.pairs=1
	CGO_ENABLED=0 $(GO) test -count=1 -timeout 20m -run 'TestHistories|TestInterrupted|TestMeanwhile|TestPowerLoss|TestBudgetOfAllPortions' ./sync

unit:
	CGO_ENABLED=1 $(GO) test -race -count=1 -shuffle=on -timeout 25m ./...

# Plays so many random histories, then interrupts each scenario at every step by everything that can happen there, and the richest
# ones twice. On two cores 100,000 histories take ten minutes.
SEEDS ?= 100000
soak:
	$(GO) run ./internal/testenv/sim/soak -seeds $(SEEDS)
	$(GO) run ./internal/testenv/sim/soak -sweep
	$(GO) run ./internal/testenv/sim/soak -pairs

# Strikes the program at every system call, kills it and cuts its connections hundreds of times. Takes an hour or so.
kill: servers
	SATCHEL_SWEEP=all CGO_ENABLED=0 $(GO) test -count=1 -v -timeout 4h -run 'TestSweep|TestCutUpload' ./e2e
	SATCHEL_KILLS=200 SATCHEL_CUTS=200 SATCHEL_TOGETHER=200 CGO_ENABLED=0 $(GO) test -count=1 -v -timeout 4h \
		-run 'TestKill|TestNoRoom|TestCut$$|TestLateCopy|TestDisk|TestTogether|TestTwoSatchels' ./e2e

# Measures Satchel beside mbsync and interimap, which takes an hour or so; BIG=1 adds what takes longer.
bench: bench-tools
	$(GO) run ./bench -out bench/RESULTS.md $(if $(BIG),-big)

bench-tools:
	@internal/testenv/servers/fetch.sh dovecot-pop3 isync interimap mpop fetchmail getmail
	@command -v perl >/dev/null || tools/apt-install perl
