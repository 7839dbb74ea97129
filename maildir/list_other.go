//go:build !linux

package maildir

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// listChunk bounds how many names are held at once while a directory is read.
const listChunk = 1024

func listDir(d *os.File, each func(string, fs.FileMode) bool) error {
	for {
		entries, err := d.ReadDir(listChunk)
		for _, e := range entries {
			if !each(e.Name(), e.Type()) {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
