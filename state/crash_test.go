package state

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

// The test binary runs itself as another process that writes to a database.
const (
	helperEnv  = "SATCHEL_STATE_TEST_HELPER" // what to do
	helperPath = "SATCHEL_STATE_TEST_PATH"
	helperMode = "SATCHEL_STATE_TEST_MODE" // "local", or not
	batchRows  = 50
)

func TestMain(m *testing.M) {
	switch what := os.Getenv(helperEnv); what {
	case "":
		os.Exit(m.Run())
	case "write":
		helperWrite(0)
	case "write-and-close":
		helperWriteAndClose()
	case "write-to-a-limit":
		limitFileSize()
		helperWrite(20_000)
	}
}

// helperWrite commits batch after batch and says so on standard output, until it is killed or fails. Before each commit it
// says that it is about to. Each batch makes the database grow by filler bytes.
func helperWrite(filler int) {
	path := os.Getenv(helperPath)
	db, err := Open(context.Background(), path, Options{Owner: testOwner, LocalFS: os.Getenv(helperMode) == "local"})
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	for n := 1; ; n++ {
		err := db.Update(context.Background(), func(tx *Tx) error {
			if err := writeBatch(tx, n); err != nil {
				return err
			}
			fmt.Println("inside", n)
			return tx.Set(fmt.Sprint("filler ", n), strings.Repeat("x", filler))
		})
		if err != nil {
			fmt.Println("failed", strings.ReplaceAll(err.Error(), "\n", " "))
			if again := db.Update(context.Background(), func(tx *Tx) error { return tx.Set("after", "failure") }); again != nil {
				fmt.Println("latched", strings.ReplaceAll(again.Error(), "\n", " "))
			}
			os.Exit(1) // without Close, as if it had crashed
		}
		fmt.Println("committed", n)
	}
}

// committedMark ends the names of the files by which a helper says how far it is.
const committedMark = ".committed-"

// helperWriteAndClose commits some batches in two sessions, and makes a file after each.
func helperWriteAndClose() {
	path := os.Getenv(helperPath)
	n := 0
	for range 2 {
		db, err := Open(context.Background(), path, Options{Owner: testOwner, LocalFS: os.Getenv(helperMode) == "local"})
		for range 3 {
			n++
			err = cmp.Or(err, db.Update(context.Background(), func(tx *Tx) error { return writeBatch(tx, n) }))
			if err == nil {
				err = os.WriteFile(fmt.Sprint(path, committedMark, n), nil, 0o600)
			}
		}
		if err = errors.Join(err, db.Close()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(0)
}

// writeBatch adds a folder with batchRows messages, changes all of the batch before, and drops the one before that.
func writeBatch(tx *Tx, n int) error {
	f := Folder{Name: "B", Mailbox: strconv.Itoa(n)}
	if old, ok, err := tx.FolderByName("B"); err != nil {
		return err
	} else if ok {
		rows, err := tx.InFolder(old.ID)
		if err != nil {
			return err
		}
		if err := tx.RenameFolder(old.ID, "A", old.Mailbox); errors.Is(err, ErrTaken) {
			gone, _, err := tx.FolderByName("A")
			if err != nil {
				return err
			}
			if err := errors.Join(tx.DeleteFolder(gone.ID), tx.RenameFolder(old.ID, "A", old.Mailbox)); err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
		for i := range rows {
			rows[i].Why, rows[i].Name = "refused", ""
			if err := tx.PutMessage(&rows[i]); err != nil {
				return err
			}
		}
	}
	if err := tx.PutFolder(&f); err != nil {
		return err
	}
	for k := range batchRows {
		m := benchMessage(f.ID, k)
		if err := tx.PutMessage(&m); err != nil {
			return err
		}
	}
	return tx.Set("batch", strconv.Itoa(n))
}

// checkBatches opens what a helper left behind. committed is the last batch that it was told to be committed.
func checkBatches(t *testing.T, path string, local bool, committed int) (batch int) {
	t.Helper()
	db := openWith(t, path, Options{Owner: testOwner, LocalFS: local})
	defer func() { must(t, db.Close()) }()
	if db.Copied() {
		t.Error("a crash is no copy")
	}
	verdict, err := db.c.pragmaValue("integrity_check")
	must(t, err)
	same(t, "integrity", verdict, "ok")
	view(t, db, func(tx *Tx) error {
		value, _, err := tx.Get("batch")
		must(t, err)
		batch, _ = strconv.Atoi(value)
		if batch < committed || batch > committed+1 {
			t.Errorf("batch %d is there, %d was the last one known to be committed", batch, committed)
		}
		for name, want := range map[string]Counts{
			"A": {OnlyRemote: batchRows, Why: map[string]int{"refused": batchRows}},
			"B": {Agreed: batchRows, Why: map[string]int{}},
		} {
			f, ok, err := tx.FolderByName(mail.FolderName(name))
			must(t, err)
			if ok != (name == "B" && batch > 0 || name == "A" && batch > 1) {
				t.Fatalf("batch %d: folder %s: %v", batch, name, ok)
			}
			if !ok {
				continue
			}
			counts, err := tx.Counts(f.ID)
			must(t, err)
			same(t, "counts of "+name, counts, want)
			rows, err := tx.InFolder(f.ID)
			must(t, err)
			same(t, "rows of "+name, len(rows), batchRows)
		}
		return nil
	})
	return batch
}

func helper(t *testing.T, what, path string, local bool) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	mode := "remote"
	if local {
		mode = "local"
	}
	cmd.Env = append(os.Environ(), helperEnv+"="+what, helperPath+"="+path, helperMode+"="+mode)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return cmd, bufio.NewScanner(out)
}

func TestKilledInMidTransaction(t *testing.T) {
	for _, local := range []bool{true, false} {
		for _, stopAt := range []string{"inside 1", "committed 1", "inside 2", "inside 7", "committed 12", "inside 23", "committed 40"} {
			t.Run(fmt.Sprintf("local %v, %s", local, stopAt), func(t *testing.T) {
				t.Parallel()
				path := statePath(t)
				cmd, out := helper(t, "write", path, local)
				committed := 0
				for out.Scan() {
					if n, ok := strings.CutPrefix(out.Text(), "committed "); ok {
						committed, _ = strconv.Atoi(n)
					}
					if out.Text() == stopAt {
						must(t, cmd.Process.Kill())
						break
					}
				}
				for out.Scan() { // it went on until the signal came
					if n, ok := strings.CutPrefix(out.Text(), "committed "); ok {
						committed, _ = strconv.Atoi(n)
					}
				}
				must(t, out.Err())
				_ = cmd.Wait() // killed
				batch := checkBatches(t, path, local, committed)
				// What is left behind can be written to.
				db := openWith(t, path, Options{Owner: testOwner, LocalFS: local})
				update(t, db, func(tx *Tx) error { return writeBatch(tx, batch+1) })
				must(t, db.Close())
				same(t, "files", files(t, path), []string{"state.db"})
				same(t, "batch", checkBatches(t, path, local, batch+1), batch+1)
			})
		}
	}
}

// TestReaderAfterACrash: status reads what was committed, without repairing anything.
func TestReaderAfterACrash(t *testing.T) {
	path := statePath(t)
	cmd, out := helper(t, "write", path, true)
	for out.Scan() && out.Text() != "committed 3" {
	}
	must(t, cmd.Process.Kill())
	for out.Scan() { // until it is dead
	}
	_ = cmd.Wait() // killed
	r, err := OpenReader(context.Background(), path)
	must(t, err)
	value, err := readBatch(r)
	must(t, err)
	if value < 3 {
		t.Errorf("batch %d", value)
	}
	same(t, "what sync finds then", checkBatches(t, path, true, value), value)
}

func readBatch(db *DB) (n int, err error) {
	err = db.View(context.Background(), func(tx *Tx) error {
		value, _, err := tx.Get("batch")
		n, _ = strconv.Atoi(value)
		return err
	})
	return n, err
}

// TestReaderBesideAnotherProcess reads again and again while another process commits.
func TestReaderBesideAnotherProcess(t *testing.T) {
	for _, local := range []bool{true, false} {
		path := statePath(t)
		cmd, out := helper(t, "write", path, local)
		last := 0
		for out.Scan() {
			n, ok := strings.CutPrefix(out.Text(), "committed ")
			if !ok {
				continue
			}
			committed, _ := strconv.Atoi(n)
			r, err := OpenReader(context.Background(), path)
			must(t, err)
			view(t, r, func(tx *Tx) error {
				value, _, err := tx.Get("batch")
				must(t, err)
				batch, _ := strconv.Atoi(value)
				if batch < committed || batch < last {
					t.Errorf("read batch %d after %d, committed %d", batch, last, committed)
				}
				last = batch
				f, _, err := tx.FolderByName("B")
				must(t, err)
				same(t, "mailbox", f.Mailbox, value)
				counts, err := tx.Counts(f.ID)
				same(t, "agreed", counts.Agreed, batchRows)
				return err
			})
			if committed >= 30 {
				break
			}
		}
		must(t, cmd.Process.Kill())
		_ = cmd.Wait() // killed
		if last == 0 {
			t.Error("nothing was read")
		}
	}
}

// TestDiskFull: the disk has no room in the middle of an update.
func TestDiskFull(t *testing.T) {
	path := statePath(t)
	db := openAt(t, path)
	update(t, db, func(tx *Tx) error { return writeBatch(tx, 1) })
	pages, err := db.c.one("PRAGMA page_count")
	must(t, err)
	must(t, db.c.pragma(fmt.Sprintf("max_page_count=%d", pages+3)))
	err = db.Update(context.Background(), func(tx *Tx) error {
		f, _, err := tx.FolderByName("B")
		if err != nil {
			return err
		}
		for k := batchRows; ; k++ {
			m := benchMessage(f.ID, k)
			if err := tx.PutMessage(&m); err != nil {
				return err
			}
		}
	})
	if err == nil || !strings.Contains(err.Error(), "disk is full") || !strings.Contains(err.Error(), path) {
		t.Fatal(err)
	}
	same(t, "what is left", func() int { n, _ := readBatch(db); return n }(), 1)
	must(t, db.c.pragma("max_page_count=1000000"))
	update(t, db, func(tx *Tx) error { return writeBatch(tx, 2) }) // room was made
	must(t, db.Close())
	checkBatches(t, path, true, 2)
}
