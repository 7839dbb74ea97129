package sim

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/satchel-mail/satchel/state"
)

// Memory is where the engine keeps its state, for one history after the other. It is durable after each commit, for which package
// state has tests of its own.
type Memory struct {
	path string
	kept *state.Kept // nil: the file
}

// InFile is a database as the program has it: a file, which each run opens and closes.
func InFile(path string) *Memory { return &Memory{path: path} }

// Held is one that stays open in memory while the runs come and go, which is several times as fast. The file at path
// stays empty.
func Held(path string) (*Memory, error) {
	kept, err := state.Keep(path)
	return &Memory{path, kept}, err
}

// Close releases it.
func (m *Memory) Close() {
	if m.kept != nil {
		check(m.kept.Close())
	}
	m.remove("", "-wal", "-shm", "-journal")
}

// clear forgets everything.
func (m *Memory) clear() {
	if m.kept != nil {
		check(m.kept.Clear())
		return
	}
	m.remove("", "-wal", "-shm", "-journal")
}

// damage spoils the file in its middle, behind the mark that tells whose it is.
func (m *Memory) damage() {
	file, err := os.ReadFile(m.path)
	check(err)
	for i := 4096; i < len(file); i += 512 {
		file[i] ^= 0x55
	}
	check(os.WriteFile(m.path, file, 0o600))
}

func (m *Memory) remove(suffixes ...string) {
	for _, s := range suffixes {
		_ = os.Remove(m.path + s) // there is none, mostly
	}
	aside, err := filepath.Glob(m.path + ".damaged-*")
	check(err)
	for _, name := range aside {
		_ = os.Remove(name)
	}
}

// content is what it held once.
type content struct {
	rows state.Rows
	file []byte
}

func (m *Memory) save() (c content) {
	var err error
	if m.kept != nil {
		c.rows, err = m.kept.Rows()
	} else if c.file, err = os.ReadFile(m.path); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	check(err)
	return c
}

// restore brings it back. It stays the same file, or the engine would take it for a copy.
func (m *Memory) restore(c content) {
	if m.kept != nil {
		check(m.kept.SetRows(c.rows))
		return
	}
	m.remove("-wal", "-shm", "-journal")
	check(os.WriteFile(m.path, c.file, 0o600))
}
