//go:build !unix

package shell

import (
	"os"
	"os/exec"
)

// setGroup does nothing where there are no process groups.
func setGroup(*exec.Cmd, bool) {}

// endGroup ends the command; such systems have no gentle way. An error means that it is gone.
func endGroup(p *os.Process, _ bool) { _ = p.Kill() }
