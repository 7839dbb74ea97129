//go:build !linux

package main

import (
	"errors"
	"os"
)

// The benchmark runs where there are Debian's packages. Elsewhere it only compiles.
var errLinux = errors.New("the benchmark runs on Linux only")

func syncfs(string) error { return errLinux }

func renameAt(*os.File, string, *os.File, string) error { return errLinux }

func freeSpace(string) (int64, error) { return 0, errLinux }

func fileSystem(string) string { return "unknown" }

func device(string) string { return "" }

func lock(string) (unlock func() error, err error) { return nil, errLinux }
