package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// hazardsPage is the catalogue of what goes wrong with mail; its tables name the tests.
const hazardsPage, hazardsTitle = "docs/safety.md", "\n## What goes wrong with mail\n"

// hazards is how many there are. A number once given is never left out or used again.
const hazards = 196

// status is what the last column may say in place of tests.
var status = regexp.MustCompile(`^\*later: [a-zA-Z0-9]+\*$`)

// A hazard is a line of the catalogue.
type hazard struct {
	number int
	tests  []string // "package: TestName" or "package: file"
	status string   // empty where there are tests
}

// readHazard takes a line of a table apart.
func readHazard(line string) (h hazard, err error) {
	cells := strings.Split(strings.Trim(line, "|"), "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	if len(cells) != 4 || !strings.HasPrefix(line, "|") || !strings.HasSuffix(line, "|") {
		return h, fmt.Errorf("it has %d cells", len(cells))
	}
	if h.number, err = strconv.Atoi(cells[0]); err != nil {
		return h, err
	}
	last := cells[3]
	switch {
	case cells[1] == "":
		return h, fmt.Errorf("number %d does not say what goes wrong", h.number)
	case cells[2] == "" && !strings.HasPrefix(last, "*later: "):
		return h, fmt.Errorf("number %d does not say what is done about it", h.number)
	case status.MatchString(last):
		h.status = last
		return h, nil
	}
	for word := range strings.SplitSeq(last, ", ") {
		name := strings.TrimSuffix(strings.TrimPrefix(word, "`"), "`")
		if pkg, test, ok := strings.Cut(name, ": "); !ok || pkg == "" || test == "" || word != "`"+name+"`" {
			return h, fmt.Errorf("number %d: the last column says %q", h.number, last)
		}
		h.tests = append(h.tests, name)
	}
	return h, nil
}

// TestHazards holds the catalogue to its form, and fails if it names a test that does not exist.
func TestHazards(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(hazardsPage)))
	if err != nil {
		t.Fatal(err)
	}
	_, catalogue, ok := strings.Cut(string(text), hazardsTitle)
	if !ok {
		t.Fatalf("%s has no catalogue", hazardsPage)
	}
	var names testNames
	count := 0
	for line := range strings.Lines(catalogue) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "| no. |") || strings.HasPrefix(line, "| --- |") {
			continue
		}
		count++
		h, err := readHazard(line)
		if err != nil {
			t.Errorf("%s: %v: %s", hazardsPage, err, line)
			continue
		}
		if h.number != count {
			t.Errorf("%s: number %d comes where %d should", hazardsPage, h.number, count)
			count = h.number
		}
		for _, test := range h.tests {
			if err := names.find(root, test); err != nil {
				t.Errorf("%s: number %d: %v", hazardsPage, h.number, err)
			}
		}
	}
	if count != hazards {
		t.Errorf("%s has %d lines, want %d", hazardsPage, count, hazards)
	}
}

// testNames are the test functions of packages that were read.
type testNames map[string]map[string]bool

// find fails if there is no such test. A test is "package: TestName", or "package: file" for a session of the command line.
func (n *testNames) find(root, test string) error {
	pkg, name, _ := strings.Cut(test, ": ")
	dir := filepath.Join(root, filepath.FromSlash(pkg))
	if path.Ext(name) == ".txtar" {
		_, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name)))
		return err
	}
	if *n == nil {
		*n = testNames{}
	}
	if (*n)[pkg] == nil {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			return err
		}
		(*n)[pkg] = map[string]bool{}
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, d := range parsed.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
					(*n)[pkg][f.Name.Name] = true
				}
			}
		}
	}
	if !(*n)[pkg][name] || !strings.HasPrefix(name, "Test") && !strings.HasPrefix(name, "Fuzz") {
		return fmt.Errorf("package %s has no test %s", pkg, name)
	}
	return nil
}

// TestReadHazard shows that the page can be wrong.
func TestReadHazard(t *testing.T) {
	for line, want := range map[string]string{
		"| 1 | a | b | `sync: TestX` |":                                  "sync: TestX",
		"| 1 | a | b | `sync: TestX`, `cmd/satchel: testdata/s.txtar` |": "sync: TestX, cmd/satchel: testdata/s.txtar",
		"| 1 | a | b | *not yet* |":                                      "",
		"| 1 | a | | *later: POP3* |":                                    "*later: POP3*",
		"| 1 | a | b | *later* |":                                        "",
		"| 1 | | b | `sync: TestX` |":                                    "",
		"| 1 | a | b | |":                                                "",
		"| 1 | a | b | sync: TestX |":                                    "",
		"| 1 | a | b | `TestX` |":                                        "",
		"| 1 | a | b | `sync: TestX` and more |":                         "",
		"| x | a | b | `sync: TestX` |":                                  "",
		"| 1 | a | `sync: TestX` |":                                      "",
	} {
		h, err := readHazard(line)
		if got := h.status + strings.Join(h.tests, ", "); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%s: %q, %v, want %q", line, got, err, want)
		}
	}
	root := filepath.Join("..", "..", "..")
	for test, want := range map[string]bool{
		"internal/testenv/arch: TestReadHazard": true, "internal/testenv/arch: TestNone": false, "internal/testenv/arch: readHazard": false,
		"nowhere: TestReadHazard": false, "cmd/satchel: testdata/script/sync.txtar": true, "cmd/satchel: testdata/script/none.txtar": false,
	} {
		var n testNames
		if err := n.find(root, test); (err == nil) != want {
			t.Errorf("%s: %v", test, err)
		}
	}
}
