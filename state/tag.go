package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A backup that is written over a database in place leaves the file its inode and its birth. It can't do that to a file which is
// not there. So beside the database lies its tag, an empty file that gets a new name before anything is recorded and
// once all is. Whoever puts an older database back, with what lay beside it, makes a tag anew that is younger than the one
// which the database knows.
//
// Nothing but this package may make it look so: a tag is recorded before it gets the name of one, so that what lies there
// younger than the recorded one was made by others. One that is missing says nothing.

// tagKey is where the database keeps which file its tag is.
const tagKey = "tag"

// tag is what a DB knows of its tag.
type tag struct {
	identity        // as recorded, zero for none
	place    string // where it lies, "" if it does not
	moved    bool   // it got a new name for what this DB records
}

func (id identity) String() string { return fmt.Sprintf("%d %d", id.born, id.inode) }

// readTag looks for the tag, and for one that was put back.
func (db *DB) readTag() error {
	if db.kept {
		return nil
	}
	text, ok, err := (&Tx{c: db.c, readOnly: true}).Get(tagKey)
	if err != nil || !ok {
		return err
	}
	if _, err := fmt.Sscanf(text, "%d %d", &db.tag.born, &db.tag.inode); err != nil {
		return db.c.damaged(fmt.Errorf("its tag is %q", text))
	}
	files, err := tagFiles(db.path)
	if err != nil {
		return fmt.Errorf("state database: %w", err)
	}
	for _, file := range files {
		id, err := identify(file)
		switch {
		case errors.Is(err, fs.ErrNotExist): // a sync renames it while we only read
		case err != nil:
			return fmt.Errorf("state database: %w", err)
		case id == db.tag.identity:
			db.tag.place = file
		case id.born >= db.tag.born:
			db.copied = true
		}
	}
	return nil
}

// tagFiles returns all that have the name of a tag.
func tagFiles(path string) ([]string, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	if err = errors.Join(err, dir.Close()); err != nil {
		return nil, err
	}
	var files []string
	for _, name := range names {
		if rest, ok := strings.CutPrefix(name, filepath.Base(tagPath(path, ""))); ok && len(rest) == len(newGeneration()) {
			files = append(files, tagPath(path, rest))
		}
	}
	return files, nil
}

func tagPath(path, rest string) string { return path + "-tag-" + rest }

// update is c.update with what is due to the tag before and after. adopt gives the database another one. Where there can be
// none, or anything fails, it goes without: then a backup that is written over it is not noticed.
func (db *DB) update(adopt bool, f func(tx *Tx) error) error {
	if db.reader {
		return errReadOnly
	}
	if db.kept || !adopt && (db.copied || db.tag.moved) {
		return db.c.update(f)
	}
	if !adopt && db.tag.place != "" {
		db.moveTag()
		return db.c.update(f)
	}
	made := db.path + "-tag.new"
	id := makeTag(made)
	if !adopt && id == (identity{}) {
		db.tag.moved = true
		return db.c.update(f)
	}
	err := db.c.update(func(tx *Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		if id == (identity{}) {
			return tx.Set(tagKey, "")
		}
		return tx.Set(tagKey, id.String())
	})
	if err != nil {
		_ = os.Remove(made)
		return err
	}
	db.tag = tag{identity: id, place: made}
	others, _ := tagFiles(db.path)
	db.moveTag()
	for _, file := range others {
		_ = os.Remove(file)
	}
	return nil
}

// makeTag makes a file that becomes a tag, and returns zero if it can't.
func makeTag(path string) (id identity) {
	if !keepsBirth(filepath.Dir(path)) {
		return identity{}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a run that was stopped
		return identity{}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		id, err = identify(path)
	}
	if err != nil || id.born == 0 {
		_ = os.Remove(path)
		return identity{}
	}
	return id
}

func (db *DB) moveTag() {
	db.tag.moved = true
	if to := tagPath(db.path, newGeneration()); os.Rename(db.tag.place, to) == nil {
		db.tag.place = to
	}
}
