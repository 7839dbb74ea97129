package maildir

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestListingStops: a large directory is read no further than is wanted, and whole if all of it is.
func TestListingStops(t *testing.T) {
	root := t.TempDir()
	const n = 4000 // more than a buffer
	for i := range n {
		if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("a rather long name of a file %d", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, most := range []int{1, 2, 60, 1000, n - 1, n, n + 1} {
		if _, err := d.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		err := listDir(int(d.Fd()), root, func(name string, _ fs.FileMode) bool {
			seen[strings.Clone(name)] = true
			return len(seen) < most
		})
		if want := min(most, n); err != nil || len(seen) != want {
			t.Errorf("%d names, %v, want %d", len(seen), err, want)
		}
	}
}
