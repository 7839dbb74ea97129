package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// place is where a scenario's Maildirs lie.
type place struct {
	name string // for the tables: "disk" or "RAM"
	kind string // the file system
	dir  string
}

// ramDisk is where Linux has one; roomForRAM is what the transfers' Maildirs need there.
const (
	ramDisk    = "/dev/shm"
	roomForRAM = 3 << 30
)

// findPlaces returns where transfers are run: where -dir says, or in the cache folder and on the RAM disk.
func findPlaces(l *lab) ([]place, error) {
	dirs := l.o.dirs
	if len(dirs) == 0 {
		dirs = []string{l.o.cache}
		if free, err := freeSpace(ramDisk); err == nil && free >= roomForRAM {
			dirs = append(dirs, ramDisk)
		} else {
			progress("there is no RAM disk at %s with room enough: transfers are measured on disk only", ramDisk)
		}
	}
	var places []place
	for _, dir := range dirs {
		dir, err := os.MkdirTemp(dir, "satchel-bench-")
		if err != nil {
			return nil, fmt.Errorf("making a place for Maildirs: %w", err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			return nil, err
		}
		l.runs = append(l.runs, dir)
		kind := fileSystem(dir)
		name := "disk"
		if kind == "tmpfs" {
			name = "RAM"
		}
		places = append(places, place{name: name, kind: kind, dir: dir})
	}
	return places, nil
}

// home is the place of all that stays from run to run.
func (l *lab) home() place { return place{name: "disk", kind: fileSystem(l.o.cache), dir: l.o.cache} }

// placesOf returns where a scenario is run.
func (l *lab) placesOf(s scenario) []place {
	switch {
	case s.course.transfers() && s.onePlace:
		return l.places[len(l.places)-1:] // the RAM disk, if there is one
	case s.course.transfers():
		return l.places
	}
	return []place{l.home()}
}

// serverPlace is where the mail lies that a transfer brings to the server: not on a disk whose state the tool has to
// sync, if there is another place. The server's disk is its own.
func (l *lab) serverPlace() string {
	for _, p := range l.places {
		if p.name == "RAM" {
			return filepath.Join(p.dir, "mail")
		}
	}
	return l.cached("mail")
}
