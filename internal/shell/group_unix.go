//go:build unix

package shell

import (
	"os"
	"os/exec"
	"syscall"
)

// setGroup puts the command into a process group of its own.
func setGroup(cmd *exec.Cmd, noTerminal bool) {
	// A new session is a new group too, and has no terminal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !noTerminal, Setsid: noTerminal}
}

// endGroup signals the process group that the command leads. Errors mean that it is gone.
func endGroup(p *os.Process, force bool) {
	sig := syscall.SIGTERM
	if force {
		sig = syscall.SIGKILL
	}
	_ = syscall.Kill(-p.Pid, sig)
}
