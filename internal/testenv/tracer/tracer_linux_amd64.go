package tracer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Run starts cmd, traces all its threads, and waits for its end. Programs that it starts in its turn are not
// traced. An error is that it could not be run.
func Run(cmd *exec.Cmd, f Fault) (Outcome, error) {
	type result struct {
		o   Outcome
		err error
	}
	done := make(chan result)
	go func() {
		// The kernel knows threads only: the one that starts the child is the one that may trace it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		o, err := run(cmd, f)
		done <- result{o, err}
	}()
	r := <-done
	return r.o, r.err
}

func run(cmd *exec.Cmd, f Fault) (Outcome, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true
	cmd.SysProcAttr.Setpgid = true // by which its threads are told from other children of this one
	if err := cmd.Start(); err != nil {
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
		return Outcome{}, err
	}
	t := &trace{leader: cmd.Process.Pid, fault: f, threads: map[int]*thread{}}
	err := t.follow()
	if err != nil {
		_ = cmd.Process.Kill()
	}
	if t.mem != nil {
		_ = t.mem.Close()
	}
	_ = cmd.Wait() // what came of it was seen already; this waits for its output
	return t.out, err
}

// trace is one run of a program.
type trace struct {
	leader  int
	fault   Fault
	threads map[int]*thread
	mem     *os.File // the program's memory
	seen    int      // calls of the fault's kind
	out     Outcome
}

// thread is one of the program's.
type thread struct {
	// errno is what the call that it is in shall return, 0 for its own result.
	errno syscall.Errno
}

// follow sees the program through from its first instruction to its end.
func (t *trace) follow() error {
	var ws unix.WaitStatus
	if _, err := wait(t.leader, &ws); err != nil {
		return fmt.Errorf("waiting for the traced program to start: %w", err)
	}
	t.threads[t.leader] = &thread{}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(t.leader, options); err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	var err error
	if t.mem, err = os.Open(fmt.Sprintf("/proc/%d/mem", t.leader)); err != nil {
		return err
	}
	t.resume(t.leader, 0)
	for {
		tid, err := wait(-t.leader, &ws)
		if err != nil {
			return fmt.Errorf("waiting for the traced program: %w", err)
		}
		switch {
		case (ws.Exited() || ws.Signaled()) && tid == t.leader: // the last thread to be reported
			t.out.Code = ws.ExitStatus() // -1 for a signal
			return nil
		case ws.Exited() || ws.Signaled():
			delete(t.threads, tid)
		case ws.Stopped():
			if err := t.stopped(tid, ws); err != nil {
				return err
			}
		}
	}
}

func wait(pid int, ws *unix.WaitStatus) (int, error) {
	for {
		tid, err := unix.Wait4(pid, ws, unix.WALL, nil)
		if !errors.Is(err, unix.EINTR) {
			return tid, err
		}
	}
}

// resume lets a thread run on to its next system call or the end of this one. That it may be gone, because the process is
// ending, shows in the next wait.
func (t *trace) resume(tid int, signal unix.Signal) { _ = unix.PtraceSyscall(tid, int(signal)) }

func (t *trace) stopped(tid int, ws unix.WaitStatus) error {
	th, known := t.threads[tid]
	if !known {
		th = &thread{}
		t.threads[tid] = th
	}
	signal := ws.StopSignal()
	switch {
	case signal == unix.SIGTRAP|0x80:
		killed, err := t.atCall(tid, th)
		if killed || err != nil {
			return err
		}
		signal = 0
	case signal == unix.SIGTRAP && ws.TrapCause() > 0: // a thread was made
		signal = 0
	case signal == unix.SIGSTOP && !known: // and this is it
		signal = 0
	}
	t.resume(tid, signal)
	return nil
}

// callInfo is struct ptrace_syscall_info of linux/ptrace.h; nr and args are there at the beginning of a call.
type callInfo struct {
	op   uint8
	_    [3]uint8
	arch uint32
	_    [2]uint64 // where it was called
	nr   uint64
	args [6]uint64
	_    uint64
}

// The values of callInfo.op.
const (
	begins = 1 // PTRACE_SYSCALL_INFO_ENTRY
	ends   = 2 // PTRACE_SYSCALL_INFO_EXIT
)

// atCall is called at the beginning and at the end of each system call.
func (t *trace) atCall(tid int, th *thread) (killed bool, err error) {
	var info callInfo
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info),
		uintptr(unsafe.Pointer(&info)), 0, 0)
	switch {
	case errno == unix.ESRCH: // the process is ending
		return false, nil
	case errno != 0:
		return false, fmt.Errorf("asking which system call it is: %w", errno)
	case info.op == ends && th.errno != 0:
		e := th.errno
		th.errno = 0
		return false, change(tid, func(r *unix.PtraceRegs) { r.Rax = -uint64(e) })
	case info.op != begins:
		return false, nil
	}
	call, counts := t.classify(info.nr, info.args)
	if !counts {
		return false, nil
	}
	if t.fault.Data {
		t.tell(&call, info.args)
	}
	t.out.Calls = append(t.out.Calls, call)
	if call.Kind != t.fault.Kind || t.fault.At == 0 {
		return false, nil
	}
	t.seen++
	first := t.seen == t.fault.At
	if first {
		t.out.Struck = &call
	}
	switch {
	case first && t.fault.Errno == 0:
		// This call is not made any more, and no other one.
		return true, unix.Kill(t.leader, unix.SIGKILL)
	case first, t.fault.Lasting && t.seen > t.fault.At && call.grows:
		th.errno = t.fault.Errno
		return false, change(tid, func(r *unix.PtraceRegs) { r.Orig_rax = ^uint64(0) }) // no call has this number
	}
	return false, nil
}

func change(tid int, f func(*unix.PtraceRegs)) error {
	var regs unix.PtraceRegs
	err := unix.PtraceGetRegs(tid, &regs)
	if err == nil {
		f(&regs)
		err = unix.PtraceSetRegs(tid, &regs)
	}
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// classify says whether a call counts.
func (t *trace) classify(nr uint64, args [6]uint64) (Call, bool) {
	switch nr {
	case unix.SYS_OPEN:
		return Call{Name: "open", Target: t.text(args[0]), grows: true}, creates(args[1])
	case unix.SYS_OPENAT:
		return Call{Name: "openat", Target: t.text(args[1]), grows: true}, creates(args[2])
	case unix.SYS_OPENAT2:
		return Call{Name: "openat2", Target: t.text(args[1]), grows: true}, creates(t.number(args[2]))
	case unix.SYS_COPY_FILE_RANGE:
		return t.open("copy_file_range", args[2], true)
	}
	if c, ok := byDescriptor[nr]; ok {
		return t.open(c.name, args[0], c.grows)
	}
	if c, ok := byName[nr]; ok {
		return Call{Name: c.name, Target: t.text(args[c.path]), grows: c.grows}, true
	}
	return Call{}, false
}

func creates(flags uint64) bool {
	return flags&(unix.O_CREAT|unix.O_TRUNC) != 0 || flags&unix.O_TMPFILE == unix.O_TMPFILE
}

// byDescriptor are the calls whose first argument is an open file.
var byDescriptor = map[uint64]struct {
	name  string
	grows bool
}{
	unix.SYS_WRITE: {"write", true}, unix.SYS_PWRITE64: {"pwrite64", true}, unix.SYS_WRITEV: {"writev", true}, unix.SYS_PWRITEV: {"pwritev", true},
	unix.SYS_SENDTO: {"sendto", true}, unix.SYS_SENDMSG: {"sendmsg", true}, unix.SYS_SENDFILE: {"sendfile", true},
	unix.SYS_FTRUNCATE: {"ftruncate", false}, unix.SYS_FALLOCATE: {"fallocate", true},
	unix.SYS_FSYNC: {"fsync", false}, unix.SYS_FDATASYNC: {"fdatasync", false}, unix.SYS_SYNCFS: {"syncfs", false},
	unix.SYS_FCHMOD: {"fchmod", false},
}

// byName are those that name a file; path is which argument does.
var byName = map[uint64]struct {
	name  string
	path  int
	grows bool
}{
	unix.SYS_RENAME: {"rename", 0, false}, unix.SYS_RENAMEAT: {"renameat", 1, false}, unix.SYS_RENAMEAT2: {"renameat2", 1, false},
	unix.SYS_LINK: {"link", 0, true}, unix.SYS_LINKAT: {"linkat", 1, true}, unix.SYS_SYMLINK: {"symlink", 1, true}, unix.SYS_SYMLINKAT: {"symlinkat", 2, true},
	unix.SYS_UNLINK: {"unlink", 0, false}, unix.SYS_UNLINKAT: {"unlinkat", 1, false}, unix.SYS_RMDIR: {"rmdir", 0, false},
	unix.SYS_MKDIR: {"mkdir", 0, true}, unix.SYS_MKDIRAT: {"mkdirat", 1, true}, unix.SYS_TRUNCATE: {"truncate", 0, false},
	unix.SYS_UTIMENSAT: {"utimensat", 1, false}, unix.SYS_CHMOD: {"chmod", 0, false}, unix.SYS_FCHMODAT: {"fchmodat", 1, false},
}

// open is a call on an open file. Of the standard streams none counts.
func (t *trace) open(name string, fd uint64, grows bool) (Call, bool) {
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", t.leader, int32(fd)))
	if err != nil || int32(fd) <= 2 {
		return Call{}, false
	}
	c := Call{Name: name, Target: target, grows: grows}
	switch {
	case strings.HasPrefix(target, "socket:"), strings.HasPrefix(target, "pipe:"):
		c.Kind = Wire
		return c, true
	case strings.HasPrefix(target, "/dev/"), strings.HasPrefix(target, "/proc/"):
		return c, strings.HasPrefix(target, "/dev/shm/")
	}
	return c, strings.HasPrefix(target, "/")
}

// tell notes what a call writes.
func (t *trace) tell(c *Call, args [6]uint64) {
	switch c.Name {
	case "pwrite64":
		c.Data, c.Offset = make([]byte, args[2]), int64(args[3])
		n, _ := t.mem.ReadAt(c.Data, int64(args[1])) // what can't be read the call can't write either
		c.Data = c.Data[:n]
	case "ftruncate":
		c.Offset = int64(args[1])
	}
}

// text reads a string of the program's memory, or as much of it as is there.
func (t *trace) text(at uint64) string {
	if at == 0 {
		return ""
	}
	b := make([]byte, 512)
	n, _ := t.mem.ReadAt(b, int64(at)) // it may end with a page
	s, _, _ := bytes.Cut(b[:n], []byte{0})
	return string(s)
}

// number reads a number of the program's memory.
func (t *trace) number(at uint64) uint64 {
	var n uint64
	b := (*[8]byte)(unsafe.Pointer(&n))
	if _, err := t.mem.ReadAt(b[:], int64(at)); err != nil {
		return 0
	}
	return n
}
