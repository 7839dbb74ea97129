//go:build !linux || !amd64

package tracer

import "os/exec"

// Run can't do what it does elsewhere.
func Run(*exec.Cmd, Fault) (Outcome, error) { return Outcome{}, ErrUnsupported }
