package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestByNumbers(t *testing.T) {
	want := []string{"5.1_2.vm", "10.M0P1.vm", "10.M7P1.vm", "10.M7P1_3.vm", "10.M8P1.vm", "10.M10P1.vm", "10.vm", "11.M1P1.vm:2,", "11.M1P1.vm:2,S"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, byNumbers)
	if !slices.Equal(got, want) {
		t.Errorf("sorted: %v", got)
	}
	for _, name := range want {
		if byNumbers(name, name) != 0 {
			t.Errorf("%s differs from itself", name)
		}
	}
}

func TestUIDSet(t *testing.T) {
	for want, uids := range map[string][]uint32{"": nil, "7": {7}, "1:3": {3, 1, 2}, "1,3:4,9": {9, 3, 4, 1}, "1:2": {1, 2}} {
		if got := uidSet(uids); got != want {
			t.Errorf("%v gives %q, want %q", uids, got, want)
		}
	}
}

// folderOf makes a Maildir with an INBOX of the given names below cur and new, and an empty Archive.
func folderOf(t *testing.T, names ...string) (root string) {
	t.Helper()
	root = t.TempDir()
	for _, folder := range []string{"INBOX", archive} {
		if err := makeFolder(filepath.Join(root, folder)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(root, "INBOX", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// files are all names below root, sorted.
func files(t *testing.T, root string) string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*/cur/*", "*/new/*"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			all = append(all, strings.TrimPrefix(name, root+"/"))
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestWorkInMaildir(t *testing.T) {
	for _, c := range []struct {
		name string
		work work
		want string
	}{
		{"mark", mark{3}, "INBOX/cur/10.a:2,FS INBOX/cur/11.a:2,S INBOX/cur/12.a,U=3:2,RS INBOX/cur/9.a,U=1:2,S INBOX/new/8.a"},
		{"move", move{2, archive}, "Archive/cur/11.a:2,S Archive/cur/12.a:2,R INBOX/cur/10.a:2,F INBOX/new/8.a INBOX/new/9.a,U=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := folderOf(t, "new/8.a", "new/9.a,U=1", "cur/10.a:2,F", "cur/11.a:2,S", "cur/12.a,U=3:2,R")
			if err := c.work.inMaildir(root); err != nil {
				t.Fatal(err)
			}
			if got := files(t, root); got != c.want {
				t.Errorf("now there are\n%s, want\n%s", got, c.want)
			}
			if err := (move{9, archive}).inMaildir(root); err == nil {
				t.Error("moves more messages than there are")
			}
		})
	}
}
