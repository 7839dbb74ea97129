package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/bench/raw"
)

// contents is how much each folder holds, by its name.
type contents map[string]raw.Count

// side is one of the two that a tool keeps the same.
type side interface {
	contents() (contents, error)
	// wipe removes everything.
	wipe() error
}

// differs says how two contents differ, which is nil if they don't. Folders without messages don't count: not
// every tool makes them.
func (c contents) differs(want contents) error {
	var bad []string
	names := contents{}
	maps.Copy(names, c)
	maps.Copy(names, want)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if c[name] != want[name] {
			bad = append(bad, fmt.Sprintf("%s holds %+v, should hold %+v", name, c[name], want[name]))
		}
	}
	if len(bad) > 3 {
		bad = append(bad[:3], fmt.Sprintf("and %d folders more", len(bad)-3))
	}
	if bad == nil {
		return nil
	}
	return errors.New(strings.Join(bad, "; "))
}

// serverSide is a user's mail on the server.
type serverSide struct {
	lab  *lab
	user string
}

func (s serverSide) contents() (contents, error) {
	c, err := s.lab.server.Dial(s.user)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Counts()
}

func (s serverSide) wipe() error { return s.lab.removeUser(s.user) }

// maildirSide is a Maildir with a folder for each of the server's.
type maildirSide struct{ root string }

func (m maildirSide) wipe() error { return os.RemoveAll(m.root) }

func (m maildirSide) contents() (contents, error) {
	all := contents{}
	err := filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		switch d.Name() {
		case "cur", "new":
			folder, err := filepath.Rel(m.root, filepath.Dir(path))
			if err != nil {
				return err
			}
			names, err := entries(path)
			if err != nil {
				return err
			}
			all[folder] = add(all[folder], names)
			return filepath.SkipDir
		case "tmp", ".satchel":
			return filepath.SkipDir
		}
		return nil
	})
	return all, err
}

// entries are the names in a directory, in no order.
func entries(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// add counts messages by their names.
func add(c raw.Count, names []string) raw.Count {
	for _, name := range names {
		if strings.HasPrefix(name, ".") {
			continue
		}
		_, letters, _ := strings.Cut(name, ":2,")
		c.Messages++
		if !strings.Contains(letters, "S") {
			c.Unseen++
		}
		if strings.Contains(letters, "F") {
			c.Flagged++
		}
	}
	return c
}
