package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/satchel-mail/satchel/bench/letters"
)

// floorBatch is how many files become durable together.
const floorBatch = 1000

// floorWrite writes files as long as the mailbox's messages, safely: no file has its final name before it is on
// the disk, and in the end all names are there too.
func floorWrite(a account) error {
	all, err := readSizes(a.Sizes)
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(all, floorBatch) {
		if err := writeBatch(a.Local, batch); err != nil {
			return err
		}
	}
	return syncfs(a.Local)
}

// sized is a file to be written.
type sized struct {
	n, size int
	folder  string
}

func (s sized) path(root, sub string) string {
	return filepath.Join(root, s.folder, sub, fmt.Sprintf("%d.M%dP1.bench:2,S", 1_600_000_000+s.n, s.n))
}

func writeBatch(root string, batch []sized) error {
	content := bytes.Repeat([]byte("So many bytes and no more.\n"), 100_000)
	for i, s := range batch {
		if i == 0 || s.folder != batch[i-1].folder {
			if err := makeFolder(filepath.Join(root, s.folder)); err != nil {
				return err
			}
		}
		if err := os.WriteFile(s.path(root, "tmp"), content[:s.size], 0o600); err != nil {
			return err
		}
	}
	if err := syncfs(root); err != nil {
		return err
	}
	for _, s := range batch {
		if err := os.Rename(s.path(root, "tmp"), s.path(root, "cur")); err != nil {
			return err
		}
	}
	return nil
}

func makeFolder(dir string) error {
	var err error
	for _, sub := range []string{"cur", "new", "tmp"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	return err
}

// sizes returns a file with a line for each message of a mailbox: its size as a file, and its folder.
func (l *lab) sizes(m letters.Mailbox) (string, error) {
	name := l.cached("sizes", m.Key(l.o.seed))
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return name, err
	}
	var b bytes.Buffer
	maker := letters.NewMaker(l.o.seed)
	for _, f := range m.Folders {
		for i := range f.Count {
			fmt.Fprintf(&b, "%d %q\n", len(lineFeeds(maker.Letter(f, i).Body)), f.Name)
		}
	}
	return name, os.WriteFile(name, b.Bytes(), 0o644)
}

func readSizes(name string) (all []sized, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		s := sized{n: len(all)}
		if _, err := fmt.Sscanf(in.Text(), "%d %q", &s.size, &s.folder); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, s)
	}
	return all, in.Err()
}
