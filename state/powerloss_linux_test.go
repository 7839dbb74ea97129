package state

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/ci"
	"github.com/satchel-mail/satchel/internal/testenv/tracer"
)

// platter is what a disk holds of a database's files, by what their names end in.
type platter struct {
	now, durable map[string]*inode // by name; what is durable once the directory was synced
	committed    int
}

// inode is one file.
type inode struct {
	durable []byte
	pending []tracer.Call // whose effect is not durable yet
}

// do follows one call of the program.
func (p *platter) do(path string, c tracer.Call) {
	if n, ok := strings.CutPrefix(c.Target, path+committedMark); ok {
		_, _ = fmt.Sscan(n, &p.committed)
		return
	}
	synced := c.Name == "fsync" || c.Name == "fdatasync"
	if synced && c.Target == filepath.Dir(path) {
		p.durable = maps.Clone(p.now)
	}
	name, ours := strings.CutPrefix(c.Target, path)
	if !ours || name == "-shm" {
		return
	}
	f := p.now[name]
	switch {
	case strings.HasPrefix(c.Name, "unlink"):
		delete(p.now, name)
	case strings.HasPrefix(c.Name, "open") && f == nil:
		p.now[name] = &inode{}
	case f == nil:
	case synced:
		f.durable, f.pending = apply(f.durable, f.pending, func(int) bool { return true }), nil
	case c.Name == "pwrite64" || c.Name == "ftruncate":
		f.pending = append(f.pending, c)
	}
}

// sector is what a disk writes as a whole.
const sector = 512

// apply makes some of the changes to a file's content. survives is asked for each sector.
func apply(content []byte, calls []tracer.Call, survives func(int) bool) []byte {
	out := append([]byte{}, content...)
	n := 0
	for _, c := range calls {
		if c.Name == "ftruncate" {
			if n++; survives(n) {
				out = append(out, make([]byte, max(0, int(c.Offset)-len(out)))...)[:c.Offset]
			}
			continue
		}
		for at := 0; at < len(c.Data); at += sector {
			part, to := c.Data[at:min(at+sector, len(c.Data))], int(c.Offset)+at
			if n++; survives(n) {
				out = append(out, make([]byte, max(0, to+len(part)-len(out)))...)
				copy(out[to:], part)
			}
		}
	}
	return out
}

// fail writes what a power failure leaves.
func (p *platter) fail(t *testing.T, path string, survives func(int) bool) {
	for _, name := range append([]string{""}, beside[:]...) {
		f := p.durable[name]
		if survives(0) {
			f = p.now[name]
		}
		if f == nil {
			if err := os.Remove(path + name); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			continue
		}
		// The database stays the same file, or it would be a copy.
		must(t, os.WriteFile(path+name, apply(f.durable, f.pending, survives), 0o600))
	}
}

// TestPowerFailure lets the power fail after each call by which the database changes its files, in both journal modes. Of what was not
// synced nothing, everything, or any sectors are there. What was committed is, and nothing is damaged.
func TestPowerFailure(t *testing.T) {
	every := 4 // one of so many is tried
	if raced {
		every = 40
	}
	for _, mode := range []string{"local", "elsewhere"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			path := statePath(t)
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), helperEnv+"=write-and-close", helperPath+"="+path, helperMode+"="+mode)
			cmd.Stderr = os.Stderr
			run, err := tracer.Run(cmd, tracer.Fault{Data: true})
			if errors.Is(err, tracer.ErrUnsupported) {
				ci.Skip(t, "%v", err)
			}
			must(t, err)
			same(t, "exit code", run.Code, 0)
			p := &platter{now: map[string]*inode{}, durable: map[string]*inode{}}
			tried, left := 0, 0
			for i, c := range run.Calls {
				p.do(path, c)
				if p.committed == 0 { // before the first commit there may be no whole database
					continue
				}
				r := rand.New(rand.NewPCG(uint64(i), 1))
				for n, survives := range []func(int) bool{
					func(int) bool { return false },
					func(int) bool { return true },
					func(int) bool { return r.IntN(2) == 0 },
				} {
					if (i+n)%every > 0 {
						continue
					}
					tried++
					p.fail(t, path, survives)
					if got := checkBatches(t, path, mode == "local", p.committed); got > p.committed {
						left++
					}
					if t.Failed() {
						t.Fatalf("after call %d of %d, %s, with variant %d", i+1, len(run.Calls), c, n)
					}
				}
			}
			same(t, "batches", p.committed, 6)
			t.Logf("%d failures of the power; a batch was there that nobody was told of after %d of them", tried, left)
		})
	}
}
