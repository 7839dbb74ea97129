package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func realFS(t testing.TB) (*osFS, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if err := os.MkdirAll(filepath.Join(root, "A", "cur"), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := OSFS(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	f.(*osFS).dirs.trust = 0
	return f.(*osFS), root
}

// operations are all calls that go through a directory held open. Each works on a name in dir, and must not succeed
// on what only lies outside.
func operations(f FS, dir string) map[string]func() error {
	closed := func(file File, err error) error {
		if err != nil {
			return err
		}
		return file.Close()
	}
	return map[string]func() error{
		"create":  func() error { return closed(f.Create(dir+"/fresh", 0o600)) },
		"open":    func() error { return closed(f.Open(dir + "/m")) },
		"stat":    func() error { _, err := f.Stat(dir + "/m"); return err },
		"list":    func() error { return f.List(dir, func(string, fs.FileMode) bool { return true }) },
		"names":   func() error { return f.Names(dir, func(string, fs.FileMode) bool { return true }) },
		"rename":  func() error { return f.RenameNew(dir+"/m", dir+"/n") },
		"bring":   func() error { return f.RenameNew("inside", dir+"/inside") },
		"remove":  func() error { return f.Remove(dir + "/m") },
		"touch":   func() error { _, err := f.Touch(dir + "/m"); return err },
		"syncdir": func() error { return f.SyncDir(dir) },
	}
}

// TestDirectoryBecomesALink: between two calls a directory that is held open is swapped for a link out of the root,
// itself or one above it. Nothing outside is reached.
func TestDirectoryBecomesALink(t *testing.T) {
	for _, swapped := range []string{"A", "A/cur"} {
		for _, relative := range []bool{false, true} {
			f, root := realFS(t)
			outside := filepath.Join(filepath.Dir(root), "outside")
			if err := os.MkdirAll(filepath.Join(outside, "cur"), 0o700); err != nil {
				t.Fatal(err)
			}
			for _, dir := range []string{outside, filepath.Join(outside, "cur")} {
				writeFile(t, dir, "m", "theirs")
			}
			writeFile(t, root, "A", "cur", "m", "ours")
			writeFile(t, root, "inside", "ours")
			if _, err := f.Stat("A/cur/m"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(root, swapped), filepath.Join(root, "away")); err != nil {
				t.Fatal(err)
			}
			to := outside
			if relative {
				to = "../outside"
				if swapped == "A/cur" {
					to = "../../outside"
				}
			}
			if err := os.Symlink(to, filepath.Join(root, swapped)); err != nil {
				t.Fatal(err)
			}
			before := treeOf(t, outside)
			for name, call := range operations(f, "A/cur") {
				if err := call(); err == nil {
					t.Errorf("%s became a link out of the root: %s works", swapped, name)
				}
			}
			if after := treeOf(t, outside); after != before {
				t.Errorf("outside changed:\n%s\nwas\n%s", after, before)
			}
			if _, err := os.Stat(filepath.Join(root, "inside")); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestDirectoryIsReplaced: another directory under the same path is noticed at the next call.
func TestDirectoryIsReplaced(t *testing.T) {
	f, root := realFS(t)
	cur := filepath.Join(root, "A", "cur")
	writeFile(t, cur, "m", "old")
	if _, err := f.Stat("A/cur/m"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(cur, cur+"-away"); err != nil {
		t.Fatal(err)
	}
	for name, call := range operations(f, "A/cur") {
		if err := call(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s in a directory that was renamed: %v", name, err)
		}
	}
	if err := os.Mkdir(cur, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Stat("A/cur/m"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory that was renamed is still looked into: %v", err)
	}
	file, err := f.Create("A/cur/fresh", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	if got := files(t, cur); len(got) != 1 || got[0] != "fresh" {
		t.Errorf("the new directory holds %v", got)
	}
	if got := files(t, cur+"-away"); len(got) != 1 || got[0] != "m" {
		t.Errorf("the old directory holds %v", got)
	}
}

// TestDirectoryOfAMomentAgo: whoever writes many messages looks at the path of their directory now and then, not for each one. What was
// renamed since is written to where it is now.
func TestDirectoryOfAMomentAgo(t *testing.T) {
	f, root := realFS(t)
	cur := filepath.Join(root, "A", "cur")
	writeFile(t, cur, "m", "old")
	if _, err := f.Stat("A/cur/m"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(cur, cur+"-away"); err != nil {
		t.Fatal(err)
	}
	f.dirs.trust = time.Hour
	calls := operations(f, "A/cur")
	for _, name := range []string{"create", "rename"} {
		if err := calls[name](); err != nil {
			t.Errorf("%s looks at the path: %v", name, err)
		}
		delete(calls, name)
	}
	if got := files(t, cur+"-away"); len(got) != 2 {
		t.Errorf("the directory that was renamed holds %v", got)
	}
	delete(calls, "bring")
	for name, call := range calls {
		if err := call(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s in a directory that was renamed: %v", name, err)
		}
	}
}

// TestDirectoryIsMadeAnew: one that was removed a moment ago, and made again, is written to at once.
func TestDirectoryIsMadeAnew(t *testing.T) {
	f, root := realFS(t)
	f.dirs.trust = time.Hour
	if err := os.Mkdir(filepath.Join(root, "A", "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, root, "A", "tmp", "m", "text")
	for name, call := range map[string]func() error{
		"create": func() error { return operations(f, "A/cur")["create"]() },
		"rename": func() error { return f.RenameNew("A/tmp/m", "A/cur/m") },
	} {
		if _, err := f.Stat("A/cur/m"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := f.Remove("A/cur"); err != nil {
			t.Fatal(err)
		}
		if err := call(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s in a directory that is gone: %v", name, err)
		}
		if err := f.Mkdir("A/cur", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.RemoveAll(filepath.Join(root, "A", "cur")); err != nil {
			t.Fatal(err)
		}
		if err := f.Mkdir("A/cur", 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNamesStayBelowTheRoot(t *testing.T) {
	f, root := realFS(t)
	writeFile(t, filepath.Dir(root), "secret", "x")
	for _, name := range []string{"../secret", "A/../../secret", "/etc/passwd", "", ".", "..", "A/..", "A/"} {
		if file, err := f.Open(name); err == nil {
			file.Close()
			t.Errorf("opened %q", name)
		}
		if err := f.Remove(name); err == nil {
			t.Errorf("removed %q", name)
		}
	}
	if info, err := f.Stat("."); err != nil || !info.Mode.IsDir() {
		t.Errorf("the root: %+v %v", info, err)
	}
}

// TestOpenDirectoriesAreBounded: many folders at once, from several goroutines, and no more than maxDirs stay open.
func TestOpenDirectoriesAreBounded(t *testing.T) {
	f, root := realFS(t)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 3 * maxDirs {
				dir := fmt.Sprintf("D%d", (i+g)%(2*maxDirs))
				if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
					t.Error(err)
				}
				name := fmt.Sprintf("%s/m%d", dir, g)
				file, err := f.Create(name, 0o600)
				if err != nil && !errors.Is(err, fs.ErrExist) {
					t.Error(err)
				}
				if err == nil {
					if err := file.Close(); err != nil {
						t.Error(err)
					}
				}
				if _, err := f.Stat(name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(f.dirs.byPath); n > maxDirs {
		t.Errorf("%d directories are open", n)
	}
	for dir, d := range f.dirs.byPath {
		if d.users != 0 {
			t.Errorf("%s has %d users", dir, d.users)
		}
	}
}

func TestFileAsOSFile(t *testing.T) {
	f, root := realFS(t)
	file, err := f.Create("A/cur/m", 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := file.WriteAt([]byte("0123456789"), 3); n != 10 || err != nil {
		t.Fatal(n, err)
	}
	when := time.Unix(1e9, 123456789)
	if err := errors.Join(file.SetModTime(when), file.Sync()); err != nil {
		t.Fatal(err)
	}
	want, err := os.Lstat(filepath.Join(root, "A", "cur", "m"))
	if err != nil {
		t.Fatal(err)
	}
	for what, stat := range map[string]func() (FileInfo, error){"open": file.Stat, "named": func() (FileInfo, error) { return f.Stat("A/cur/m") }} {
		got, err := stat()
		if err != nil || got.Mode != want.Mode() || got.Size != 13 || !got.ModTime.Equal(when) || got.Inode == 0 || got.CTime.IsZero() {
			t.Errorf("%s: %+v %v, want %v", what, got, err, want)
		}
	}
	buf := make([]byte, 20)
	if n, err := file.ReadAt(buf, 5); n != 8 || string(buf[:n]) != "23456789" || err == nil {
		t.Errorf("ReadAt: %q %v", buf[:n], err)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	if err := file.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
	if _, err := file.Read(buf); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("read after that: %v", err)
	}
	if _, err := f.Create("A/cur/m", 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	if err := f.RenameNew("A/cur/m", "A/cur/m2"); err != nil {
		t.Error(err)
	}
	if err := f.Remove("A"); err == nil {
		t.Error("a directory with files in it was removed")
	}
	if err := errors.Join(f.Remove("A/cur/m2"), f.Remove("A/cur"), f.Remove("A")); err != nil {
		t.Error(err)
	}
}

// TestRenamedAMomentAgo: what is done under a name that a directory has just left goes to the directory that has it now.
func TestRenamedAMomentAgo(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	real, err := OSFS(root)
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	create := func(name string) {
		t.Helper()
		f, err := real.Create(name, 0o600)
		must(err)
		must(f.Close())
	}
	for i := range 50 {
		a, b := fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)
		must(real.Mkdir(a, 0o700))
		must(real.Mkdir(a+"/sub", 0o700))
		create(a + "/one")
		create(a + "/sub/one")
		must(real.RenameNew(a, b))
		must(real.Mkdir(a, 0o700))
		must(real.RenameNew(b+"/sub", a+"/sub"))
		create(a + "/two")
		create(a + "/sub/two")
		must(real.RenameNew(b+"/one", a+"/one"))
		for _, name := range []string{a + "/one", a + "/two", a + "/sub/one", a + "/sub/two"} {
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
