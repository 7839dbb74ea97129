//go:build !unix

package daemon

import (
	"errors"
	"os/exec"
)

func RunAs(*exec.Cmd) error { return errors.New("mail servers are run on Unix only") }

func apart(*exec.Cmd) {}

func terminate(int) error { return errors.New("mail servers are run on Unix only") }
