package maildir

import (
	"errors"
	"os"
	"syscall"
)

func changeTime(st *syscall.Stat_t) syscall.Timespec { return st.Ctimespec }

func renameNoReplace(*os.File, string, *os.File, string) error { return errors.ErrUnsupported }

func localType(name string) bool { return name == "zfs" || name == "ufs" || name == "tmpfs" }
