package maildir

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

func TestCreateFolder(t *testing.T) {
	s, root := testStore(t, Nested, "A/B", "A/B") // twice is no error
	if names, _ := folderNames(t, s); !slices.Equal(names, []mail.FolderName{"A/B"}) {
		t.Errorf("folders %q: a directory above is none", names)
	}
	for _, dir := range []string{"A", "A/B", "A/B/cur", "A/B/new", "A/B/tmp"} {
		if info, err := os.Stat(filepath.Join(root, dir)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", dir, info, err)
		}
	}
	if err := s.CreateFolder("A"); err != nil {
		t.Error(err)
	}
	if names, _ := folderNames(t, s); !slices.Equal(names, []mail.FolderName{"A", "A/B"}) {
		t.Errorf("folders %q", names)
	}
	writeFile(t, root, "file", "")
	if err := s.CreateFolder("file/x"); err == nil {
		t.Error("a folder below a file")
	}
	_, root = testStore(t, PlusPlus, mail.Inbox, "A/B")
	if got := files(t, root, ".A.B"); !slices.Equal(got, []string{"cur", "maildirfolder", "new", "tmp"}) {
		t.Errorf("Maildir++ folder: %v", got)
	}
}

// TestCreateIsDurable: every directory that got a name is made durable, from the inside out.
func TestCreateIsDurable(t *testing.T) {
	s, f, _ := faultStore(t, Nested)
	f.set(nil)
	if err := s.CreateFolder("A/B"); err != nil {
		t.Fatal(err)
	}
	var synced []string
	for _, c := range f.calls() {
		if dir, ok := strings.CutPrefix(c, "syncdir "); ok {
			synced = append(synced, dir)
		}
	}
	if !slices.Equal(synced, []string{"A/B", "A", "."}) {
		t.Errorf("made durable: %v", synced)
	}
}

// foldingFS is a file system that can't tell upper from lower case.
type foldingFS struct{ *faultFS }

func (f foldingFS) Mkdir(name string, perm fs.FileMode) error {
	var taken bool
	err := f.List(filepath.Dir(name), func(n string, _ fs.FileMode) bool {
		taken = strings.EqualFold(n, filepath.Base(name))
		return !taken
	})
	if err == nil && taken {
		return fs.ErrExist
	}
	return f.faultFS.Mkdir(name, perm)
}

func TestNamesThatTheFileSystemTakesForTheSame(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	s.fs = foldingFS{f}
	if err := s.CreateFolder("Archive"); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateFolder("archive"); !errors.Is(err, errSpelling) {
		t.Errorf("archive beside Archive: %v", err)
	}
	if got := files(t, root); !slices.Contains(got, "Archive") || slices.Contains(got, "archive") {
		t.Errorf("%v", got)
	}
}

// TestRenameFolderIntoADurableOne: what a folder is moved into is durable before it is no longer where it was.
func TestRenameFolderIntoADurableOne(t *testing.T) {
	s, f, _ := faultStore(t, Nested)
	if err := s.CreateFolder("A/B"); err != nil {
		t.Fatal(err)
	}
	f.set(nil)
	if err := s.RenameFolder("A/B", "New/Place/B"); err != nil {
		t.Fatal(err)
	}
	calls := f.calls()
	renamed := slices.IndexFunc(calls, func(c string) bool { return strings.HasPrefix(c, "rename") })
	if renamed < 0 || !slices.Contains(calls[:renamed], "syncdir New") || !slices.Contains(calls[:renamed], "syncdir .") {
		t.Errorf("the calls are %q", calls)
	}
}

func TestRenameFolder(t *testing.T) {
	for _, layout := range []Layout{Nested, PlusPlus} {
		t.Run(string(layout), func(t *testing.T) {
			s, _ := testStore(t, layout, mail.Inbox, "A", "A/B", "A/B/C", "AB", "Other")
			got := deliver(t, s, "A/B", mail.NewFlags(`\Seen`), "x")
			before, _, err := s.Folders()
			if err != nil {
				t.Fatal(err)
			}
			if err := s.RenameFolder("A", "New/Place"); err != nil {
				t.Fatal(err)
			}
			names, problems := folderNames(t, s)
			want := []mail.FolderName{"INBOX", "AB", "New/Place", "New/Place/B", "New/Place/B/C", "Other"}
			if !slices.Equal(names, want) || len(problems) != 0 {
				t.Fatalf("folders %q %v, want %q", names, problems, want)
			}
			after, _, err := s.Folders()
			if err != nil || after[2].Inode != before[1].Inode {
				t.Errorf("inodes %d and %d: a rename keeps it", before[1].Inode, after[2].Inode)
			}
			if _, err := s.Stat("New/Place/B", got.Base); err != nil {
				t.Error(err)
			}
			for _, bad := range [][2]mail.FolderName{{"New/Place", "New/Place/B/X"}, {"New/Place", "New/Place"}, {"None", "X"}, {mail.Inbox, "X"}, {"Other", mail.Inbox}} {
				if err := s.RenameFolder(bad[0], bad[1]); err == nil {
					t.Errorf("%s renamed to %s", bad[0], bad[1])
				}
			}
			if err := s.RenameFolder("Other", "AB"); !errors.Is(err, ErrFolderExists) {
				t.Errorf("onto another: %v", err)
			}
			if again, _ := folderNames(t, s); !slices.Equal(again, want) {
				t.Errorf("refused renames changed something: %q", again)
			}
			if err := s.RemoveFolder("Other"); err != nil {
				t.Error(err)
			}
			// What is left of the parents is no obstacle.
			if err := s.RenameFolder("New/Place", "A"); err != nil {
				t.Error(err)
			}
			if err := s.RenameFolder("A", "New"); err != nil {
				t.Error(err)
			}
			if names, _ := folderNames(t, s); !slices.Equal(names, []mail.FolderName{"INBOX", "AB", "New", "New/B", "New/B/C"}) {
				t.Errorf("folders %q", names)
			}
		})
	}
}

func TestRemoveFolder(t *testing.T) {
	for _, layout := range []Layout{Nested, PlusPlus} {
		t.Run(string(layout), func(t *testing.T) {
			s, root := testStore(t, layout, mail.Inbox, "A", "A/B", "C", "D", "E")
			dir := func(f string) string {
				if layout == PlusPlus {
					return filepath.Join(root, "."+strings.ReplaceAll(f, "/", "."))
				}
				return filepath.Join(root, f)
			}
			got := deliver(t, s, "C", mail.NewFlags("Work"), "x")
			if err := s.RemoveFolder("C"); !errors.Is(err, ErrNotEmpty) {
				t.Errorf("with a message: %v", err)
			}
			if _, err := s.Stat("C", got.Base); err != nil {
				t.Error(err)
			}
			if err := s.Remove("C", got.Base, nil); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"dovecot-uidlist", "dovecot.index.cache"} {
				writeFile(t, dir("C"), name, "x")
			}
			if err := s.RemoveFolder("C"); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(dir("C")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the directory: %v", err)
			}
			if err := s.RemoveFolder("C"); !errors.Is(err, ErrNoFolder) {
				t.Errorf("again: %v", err)
			}
			// Folders below stay.
			if err := s.RemoveFolder("A"); err != nil {
				t.Error(err)
			}
			if names, _ := folderNames(t, s); !slices.Equal(names, []mail.FolderName{"INBOX", "A/B", "D", "E"}) {
				t.Errorf("folders %q", names)
			}
			// Somebody's file stays, and is told of.
			writeFile(t, dir("D"), "notes.txt", "mine")
			if err := s.RemoveFolder("D"); !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), "notes.txt") {
				t.Errorf("with a foreign file: %v", err)
			}
			if left := files(t, dir("D")); !slices.Equal(left, []string{"notes.txt"}) {
				t.Errorf("left: %v", left)
			}
			// A delivery of somebody's under way is no litter.
			writeFile(t, dir("E"), "tmp", "1.2.other", "half")
			if err := s.RemoveFolder("E"); !errors.Is(err, ErrNotEmpty) {
				t.Errorf("with a delivery under way: %v", err)
			}
			if got := files(t, dir("E"), "tmp"); len(got) != 1 {
				t.Error("it is gone")
			}
			if err := s.RemoveFolder(mail.Inbox); err == nil {
				t.Error("INBOX was removed")
			}
		})
	}
}

func TestMessageArrivesWhileTheFolderIsRemoved(t *testing.T) {
	for _, sub := range []string{"new", "cur", "tmp"} {
		s, f, root := faultStore(t, Nested)
		if err := s.CreateFolder("A"); err != nil {
			t.Fatal(err)
		}
		f.set(func(op, name string) error {
			if op == "remove" && name == "A/"+sub {
				writeFile(t, root, name, "m", "x")
			}
			return nil
		})
		if err := s.RemoveFolder("A"); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("%s: %v", sub, err)
		}
		f.set(nil)
		if got := files(t, root, "A"); !slices.Equal(got, []string{"cur", "new", "tmp"}) || len(files(t, root, "A", sub)) != 1 {
			t.Errorf("%s: the folder holds %v", sub, got)
		}
	}
}

func TestClean(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	if err := s.CreateFolder("A"); err != nil {
		t.Fatal(err)
	}
	pid := os.Getpid()
	mine, dead := fmt.Sprintf("satchel.1.M1P%dQ1R00.test", pid), fmt.Sprintf("satchel.1.M1P%dQ1R00.test", pid+1)
	placeholder := dead + ":2,S" // of a message that was being renamed
	const elsewhere, foreign = "satchel.1.M1P1Q1R00.elsewhere", "1.M1P1.test"
	fill := func() {
		for _, name := range []string{mine, dead, placeholder, elsewhere, foreign} {
			writeFile(t, root, "A", "tmp", name, "x")
		}
	}
	clean := func(what string, age time.Duration, want ...string) {
		t.Helper()
		fill()
		f.age = age
		folders, _, err := s.Folders()
		if err == nil {
			err = s.Clean(folders)
		}
		f.age = 0
		if got := files(t, root, "A", "tmp"); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: left %v (%v), want %v", what, got, err, want)
		}
	}
	all := []string{mine, dead, placeholder, elsewhere, foreign}
	slices.Sort(all)
	clean("young, without the lock", time.Hour, all...)
	clean("old, without the lock", litterAge+time.Minute, foreign)
	if err := s.Lock(); err != nil {
		t.Fatal(err)
	}
	kept := []string{mine, elsewhere, foreign}
	slices.Sort(kept)
	clean("young, with the lock", time.Hour, kept...)
}

func TestUndo(t *testing.T) {
	s, root := testStore(t, Nested, "A/B", mail.FolderName(strings.Repeat("long/", 60)+"x"))
	long := mail.FolderName(strings.Repeat("long/", 60) + "x")
	run := RunName(time.Date(2026, 5, 1, 14, 0, 0, 0, time.FixedZone("", 2*3600)))
	if run != "20260501T120000Z" {
		t.Errorf("run %s", run)
	}
	for range 2 {
		// The same file name twice: both are kept.
		writeFile(t, root, "A/B", "cur", "m:2,S", "x")
		if err := s.Remove("A/B", "m", &Undo{Run: run}); err != nil {
			t.Fatal(err)
		}
	}
	kept := files(t, root, ".satchel/undo", run, "A%2FB")
	if len(kept) != 2 || !slices.Contains(kept, "m:2,S") || !strings.HasSuffix(kept[0], ":2,S") {
		t.Errorf("kept %v", kept)
	}
	got := deliver(t, s, long, mail.Flags{}, "x")
	if err := s.Remove(long, got.Base, &Undo{Run: run}); err != nil {
		t.Fatal(err)
	}
	if first := files(t, root, ".satchel/undo", run); len(first) != 2 || !strings.HasSuffix(first[1], "%") {
		t.Errorf("%v", first)
	}
	for _, bad := range []string{"", "..", "x/y", "20260501"} {
		if err := s.Remove("A/B", "m", &Undo{Run: bad}); err == nil {
			t.Errorf("run %q was taken", bad)
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"notes", "20260502T120000Z"} {
		if err := os.MkdirAll(filepath.Join(root, ".satchel/undo", name, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	outside := writeFile(t, filepath.Dir(root), "outside", "x")
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(root, ".satchel/undo", run, "link")); err != nil {
		t.Fatal(err)
	}
	if err := s.PurgeUndo(time.Date(2026, 5, 2, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Error(err)
	}
	if left := files(t, root, ".satchel/undo"); !slices.Equal(left, []string{"20260502T120000Z", "notes"}) {
		t.Errorf("left %v", left)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error("a link was followed")
	}
	if names, problems := folderNames(t, s); len(names) != 2 || len(problems) != 0 {
		t.Errorf("folders %q %v: what is kept is none", names, problems)
	}
	plus, _ := testStore(t, PlusPlus, mail.Inbox)
	if err := plus.PurgeUndo(time.Now()); err != nil {
		t.Errorf("nothing kept yet: %v", err)
	}
}

func TestUndoOff(t *testing.T) {
	s, root := testStore(t, PlusPlus, mail.Inbox)
	got := deliver(t, s, mail.Inbox, mail.Flags{}, "x")
	if err := s.Remove(mail.Inbox, got.Base, nil); err != nil {
		t.Fatal(err)
	}
	if left := files(t, root); !slices.Equal(left, []string{lockFile, "cur", "new", "tmp"}) {
		t.Errorf("left %v", left)
	}
	if err := s.Remove(mail.Inbox, got.Base, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("again: %v", err)
	}
}

// TestLockHelper is not a test: it is the other process of TestLock.
func TestLockHelper(t *testing.T) {
	root := os.Getenv("SATCHEL_TEST_LOCK")
	if root == "" {
		return
	}
	s, err := Open(root, Nested, Options{})
	if err == nil {
		err = s.Lock()
	}
	fmt.Println("locked", os.Getpid(), err)
	// Until killed, or until the parent is gone.
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

func TestLock(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockHelper$")
	cmd.Env = append(os.Environ(), "SATCHEL_TEST_LOCK="+root)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if want := fmt.Sprintf("locked %d <nil>\n", cmd.Process.Pid); line != want || err != nil {
		t.Fatalf("the other process says %q (%v), want %q", line, err, want)
	}
	var locked *LockedError
	if err := s.Lock(); !errors.As(err, &locked) || !errors.Is(err, ErrLocked) || locked.PID != cmd.Process.Pid {
		t.Errorf("%v, want the pid %d", err, cmd.Process.Pid)
	}
	mustMark(t, s, mail.Inbox) // the clock is the same file
	// However it ends, the lock ends with it.
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if err := s.Lock(); err != nil {
		t.Fatalf("after its end: %v", err)
	}
	if err := s.Lock(); err != nil {
		t.Errorf("twice: %v", err)
	}
	other, err := Open(root, Nested, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Lock(); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("a second Store of this process: %v", err)
	}
}
