package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// preface says when, where, with what, and how it was measured.
func (l *lab) preface() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Results of the benchmark\n\nWritten by `make bench` on %s. [docs/benchmarks.md](../docs/benchmarks.md) says how to read it.\n\n",
		time.Now().UTC().Format("2006-01-02, 15:04 MST"))
	fmt.Fprintf(&b, "- Machine: %s\n- Places: %s\n- Versions: %s\n", machine(), strings.Join(l.placeNames(), "; "), strings.Join(l.versions(), ", "))
	fmt.Fprintf(&b, "- Runs: the median of %d, with the least and the most; after one that is not timed; the tools in turn, each time another one first\n", l.o.runs)
	fmt.Fprintf(&b, "- Load of the machine: %s at the start, %s at the end, %s later\n", l.load, load(), time.Since(l.begin).Round(time.Second))
	b.WriteString(`
Of what these figures are, and are not:

- Server and tools share the machine, over loopback with TLS, with warm caches. The server's own work is in every time; with few
  processors it takes from the tools that keep it busy.
- The server syncs nothing to its disk; the tools do as they are configured when they come, which is with fsync. How long that takes
  is the disk's affair. Hours differ, so compare within this run only.
- A load of more than one at the start means that others were at work: then look at the least of the times too.
- interimap has no Maildir, and so less to do than the others.
- The memory is the launcher's, some 8 MB, where a tool needs less.
- Distance is latency alone: no loss, no limit of bandwidth, no slow start.
- These are the peers that Debian has, not the newest there are.
`)
	return b.String()
}

func (l *lab) placeNames() []string {
	var names []string
	for _, p := range append([]place{l.home()}, l.places...) {
		name := fmt.Sprintf("%s is %s", p.name, p.kind)
		if d := device(p.dir); d != "" {
			name += " on " + d
		}
		if len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return names
}

func (l *lab) versions() []string {
	all := []string{"Dovecot " + l.server.Version}
	for _, c := range l.tools {
		switch c := c.(type) {
		case satchel:
			all = append(all, c.label+": "+version(c.program, "version")+" "+revision(c))
		case mbsync:
			if c.compress {
				all = append(all, version(c.program, "--version"))
			}
		case interimap:
			command, err := c.command(account{Home: filepath.Join(l.places[0].dir, "version")})
			if err != nil {
				continue
			}
			last := len(command.Argv) - 1 // the configuration
			cmd := exec.Command(command.Argv[0], append(command.Argv[1:last:last], "--version")...)
			cmd.Env = command.Env
			out, _ := cmd.Output() // empty if it fails
			line, _, _ := strings.Cut(string(out), "\n")
			all = append(all, line)
		}
	}
	return append(all, runtime.Version())
}

// revision is the commit that this checkout's Satchel was built from.
func revision(s satchel) string {
	if s.label != subject || filepath.Base(filepath.Dir(s.program)) != "bin" {
		return ""
	}
	return version("git", "describe", "--always", "--dirty")
}

// machine is the processor, memory and system.
func machine() string {
	model := field("/proc/cpuinfo", "model name")
	memory := field("/proc/meminfo", "MemTotal")
	system := field("/etc/os-release", "PRETTY_NAME")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease") // empty elsewhere
	return fmt.Sprintf("%d × %s, %s of memory, %s, Linux %s", runtime.NumCPU(), model, memory, strings.Trim(system, `"`), strings.TrimSpace(string(kernel)))
}

// field finds a value in a file of lines such as "name : value" or "name=value".
func field(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(strings.TrimLeft(rest, " \t:="))
		}
	}
	return "unknown"
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
