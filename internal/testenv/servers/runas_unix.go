//go:build unix

package servers

import (
	"os"
	"os/exec"
	"syscall"
)

// runAs makes cmd run as the unprivileged user.
func runAs(cmd *exec.Cmd) error {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid, err := unprivileged()
	if err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	return nil
}
