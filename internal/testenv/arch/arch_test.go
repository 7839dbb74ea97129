// Package arch holds no code, only the test that keeps the parts of the program apart: who may import whom,
// and what the planner may not touch. It reads the source files themselves, those for other
// systems included, and leaves out tests.
package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/satchel-mail/satchel/"

// arrows says, for each package (or tree of them, with "/..."), which of our own it may import. What
// is not named here may import nothing of ours, so a new package has to be put in its place first.
var arrows = map[string][]string{
	"cmd/satchel":               {"..."},
	"sync":                      {"sync/plan", "state", "maildir", "internal/remote", "internal/mail", "internal/defect"},
	"sync/plan":                 {"internal/mail"},
	"sync/watch":                {"sync", "sync/plan", "maildir", "internal/remote", "internal/mail", "internal/defect"},
	"internal/control":          nil,
	"maildir":                   {"internal/mail", "internal/defect"},
	"state":                     {"internal/mail"},
	"internal/mail":             nil,
	"internal/defect":           nil,
	"internal/shell":            nil,
	"internal/newmail":          {"internal/shell"},
	"internal/auth":             {"internal/mail", "internal/shell"},
	"internal/config":           {"internal/auth", "internal/mail", "internal/remote/transport", "maildir"},
	"internal/remote":           {"internal/mail"},
	"internal/remote/transport": {"internal/remote", "internal/mail", "internal/shell"},
	"internal/remote/imap":      {"internal/remote", "internal/remote/transport", "internal/auth", "internal/mail", "internal/defect"},
	"internal/remote/pop3":      {"internal/remote", "internal/remote/transport", "internal/auth", "internal/mail"},
	"internal/demo":             {"sync", "internal/mail"},
	"internal/testenv/...":      {"..."},
	// The benchmark measures the program from outside and knows nothing of it.
	"bench/...": {"bench/...", "internal/testenv/certs", "internal/testenv/daemon"},
}

// Packages that only some may know.
var kept = map[string][]string{
	"github.com/emersion/go-imap/":  {"internal/remote/imap", "internal/demo", "internal/testenv/..."},
	"modernc.org/sqlite":            {"state"},
	"github.com/klauspost/compress": {"internal/remote/imap"},
	"github.com/emersion/go-sasl":   {"internal/auth", "internal/remote/imap", "internal/remote/pop3"},
	"github.com/knadh/go-pop3":      {"internal/remote/pop3"},
	"github.com/BurntSushi/toml":    {"internal/config"},
	"github.com/spf13/cobra":        {"cmd/satchel"},
	"github.com/fsnotify/fsnotify":  {"maildir"},
	"github.com/coreos/go-systemd/": {"cmd/satchel"},
	module + "internal/testenv":     {"internal/testenv/...", "bench/..."},
	module + "cmd":                  nil,
	module + "bench":                {"bench/..."},
	"testing":                       {"internal/testenv/..."},
}

// plannerStd is all of the standard library that the planner may use: nothing that sees the world.
var plannerStd = []string{"cmp", "errors", "fmt", "iter", "maps", "math", "math/bits", "slices", "sort", "strconv", "strings", "time", "unicode", "unicode/utf8"}

// plannerTime is all of package time that it may use: types and units, no clock and no timer.
var plannerTime = []string{"Time", "Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"}

type file struct {
	pkg  string // path within the module
	name string
	ast  *ast.File
}

// sources parses all files of the module but tests.
func sources(t *testing.T) (*token.FileSet, []file) {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("the module's root is not where it should be: %v", err)
	}
	fset := token.NewFileSet()
	var files []file
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && name != root || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		parsed, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(name))
		files = append(files, file{pkg: filepath.ToSlash(rel), name: name, ast: parsed})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fset, files
}

// matches reports whether a package is one of those named, a name ending in "..." standing for a tree.
func matches(pkg string, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		tree, isTree := strings.CutSuffix(name, "...")
		tree = strings.TrimSuffix(tree, "/")
		return pkg == name || isTree && (tree == "" || pkg == tree || strings.HasPrefix(pkg, tree+"/"))
	})
}

// allowed returns what a package may import of ours; false if it is not known.
func allowed(pkg string) ([]string, bool) {
	for name, list := range arrows {
		if matches(pkg, []string{name}) {
			return list, true
		}
	}
	return nil, false
}

// complaints returns what is wrong with a package importing another.
func complaints(pkg, imported string) []string {
	var out []string
	if ours, ok := strings.CutPrefix(imported, module); ok {
		list, known := allowed(pkg)
		if !known {
			out = append(out, fmt.Sprintf("package %s is not in this test's table: decide what it may import", pkg))
		} else if !matches(ours, list) {
			out = append(out, fmt.Sprintf("%s must not import %s", pkg, ours))
		}
	}
	for prefix, users := range kept {
		if strings.HasPrefix(imported+"/", strings.TrimSuffix(prefix, "/")+"/") && !matches(pkg, users) {
			out = append(out, fmt.Sprintf("%s must not import %s, which is for %q", pkg, imported, users))
		}
	}
	isStd := !strings.Contains(strings.SplitN(imported, "/", 2)[0], ".")
	if pkg == "sync/plan" && isStd && !slices.Contains(plannerStd, imported) {
		out = append(out, fmt.Sprintf("the planner must not import %s: it decides, and sees nothing of the world", imported))
	}
	if pkg == "sync/plan" && !isStd && !strings.HasPrefix(imported, module) {
		out = append(out, fmt.Sprintf("the planner must not import %s", imported))
	}
	return out
}

func TestImports(t *testing.T) {
	fset, files := sources(t)
	seen := map[string]bool{}
	for _, f := range files {
		seen[f.pkg] = true
		for _, spec := range f.ast.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range complaints(f.pkg, imported) {
				t.Errorf("%s: %s", fset.Position(spec.Pos()), c)
			}
		}
	}
	for pkg := range arrows {
		if !strings.HasSuffix(pkg, "...") && !seen[pkg] {
			t.Errorf("this test's table names %s, which does not exist", pkg)
		}
	}
}

// TestComplaints shows that the rules can be broken.
func TestComplaints(t *testing.T) {
	for _, c := range []struct {
		pkg, imported string
		want          int
	}{
		{"sync", module + "internal/config", 1},
		{"sync", module + "internal/remote/imap", 1},
		{"sync", module + "internal/remote/pop3", 1},
		{"internal/remote/imap", "github.com/knadh/go-pop3", 1},
		{"sync", module + "cmd/satchel", 2},
		{"sync", "github.com/emersion/go-imap/v2", 1},
		{"sync", "os", 0},
		{"sync/plan", "os", 1},
		{"sync/plan", "sync", 1},
		{"sync/plan", "golang.org/x/sync/errgroup", 1},
		{"sync/plan", module + "internal/mail", 0},
		{"maildir", module + "state", 1},
		{"internal/remote/imap", "github.com/emersion/go-imap/v2/imapclient", 0},
		{"internal/remote/imap", module + "maildir", 1},
		{"internal/new", module + "internal/mail", 1},
		{"cmd/satchel", module + "internal/testenv/model", 1},
		{"bench/dovecot", module + "internal/testenv/daemon", 0},
		{"bench", module + "internal/testenv/model", 1},
		{"bench", module + "sync", 1},
		{"cmd/satchel", module + "bench/raw", 1},
		{"internal/testenv/model", module + "internal/remote", 0},
	} {
		if got := complaints(c.pkg, c.imported); len(got) != c.want {
			t.Errorf("%s importing %s: %q, want %d complaints", c.pkg, c.imported, got, c.want)
		}
	}
}

// TestPlannerIsPure: no clock, no goroutine, no channel.
func TestPlannerIsPure(t *testing.T) {
	fset, files := sources(t)
	for _, f := range files {
		if f.pkg != "sync/plan" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
				t.Errorf("%s: the planner is a pure function: no goroutine, no channel", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && !slices.Contains(plannerTime, n.Sel.Name) {
					t.Errorf("%s: the planner has no clock: time.%s", fset.Position(n.Pos()), n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestStandardOutput: only commands print, and the benchmark, which is one.
func TestStandardOutput(t *testing.T) {
	fset, files := sources(t)
	for _, f := range files {
		if path.Dir(f.pkg) == "cmd" || matches(f.pkg, []string{"bench/..."}) {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if name := printer(n); name != "" {
				t.Errorf("%s: %s: only cmd and bench write to standard output", fset.Position(n.Pos()), name)
			}
			return true
		})
	}
}

// printer names what n prints with, empty if it does not print.
func printer(n ast.Node) string {
	switch n := n.(type) {
	case *ast.SelectorExpr:
		x, ok := n.X.(*ast.Ident)
		if !ok {
			return ""
		}
		name := x.Name + "." + n.Sel.Name
		if slices.Contains([]string{"os.Stdout", "fmt.Print", "fmt.Printf", "fmt.Println"}, name) {
			return name
		}
	case *ast.CallExpr:
		if x, ok := n.Fun.(*ast.Ident); ok && (x.Name == "println" || x.Name == "print") {
			return x.Name
		}
	}
	return ""
}
