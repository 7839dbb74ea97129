package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/satchel-mail/satchel/internal/config"
)

// blocks returns the fenced blocks of one language in a document.
func blocks(t *testing.T, file, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash("../../" + file))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllSubmatch(text, -1) {
		found = append(found, string(m[1]))
	}
	if len(found) == 0 {
		t.Fatalf("%s has no %s block", file, language)
	}
	return found
}

// Whoever copies a configuration from the README gets one that works.
func TestREADMEConfigurations(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	found := blocks(t, "README.md", "toml")
	careful := regexp.MustCompile("(?m)^trash.*$").ReplaceAllString(found[0], `mode = "pull"`) // as the text proposes
	for _, block := range append(found, careful) {
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, []byte(block), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(path)
		if err != nil {
			t.Errorf("%v in:\n%s", err, block)
			continue
		}
		if len(cfg.Accounts) != 1 || (cfg.Accounts[0].Trash != "Trash" && block != careful && cfg.Accounts[0].POP3 == nil) {
			t.Errorf("%+v", cfg.Accounts)
		}
	}
}

// The picture in the README is what the program prints.
func TestREADMEDemo(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out, msg bytes.Buffer
	if code := run([]string{"demo"}, streams{out: &out, err: &msg, env: os.Getenv}); code != 0 {
		t.Fatalf("exit code %d: %s", code, msg.String())
	}
	same := func(text string) string {
		for _, r := range [][2]string{
			{`port \d+`, "port 1"}, {`\(.*satchel-demo-\d+`, "(/tmp/satchel-demo-1"}, {`\d+ ms|\d+\.\d s`, "1 ms"}, {`/17\d{4}\.\.\.`, "/17...."},
			{` +`, " "}, // how wide the numbers are
		} {
			text = regexp.MustCompile(r[0]).ReplaceAllString(text, r[1])
		}
		return text
	}
	if diff := cmp.Diff(same(blocks(t, "README.md", "text")[0]), same(out.String())); diff != "" {
		t.Errorf("the README's picture differs from the program's output:\n%s", diff)
	}
}

// Every sample of JSON in the documents has the fields of the code, in the same order.
func TestDocumentedJSON(t *testing.T) {
	shapes := map[string]any{
		"account": accountSample(), "op": jsonOp{}, "folder": jsonFolder{}, "status": jsonStatus{}, "check": jsonCheck{},
		"difference": jsonDifference{}, "verification": jsonVerification{}, "removed": jsonRemoved{}, "undo": jsonUndo{}, "step": jsonStep{}, "demo": jsonDemo{}, "version": jsonVersion{},
	}
	for _, block := range blocks(t, "docs/json.md", "json") {
		for line := range strings.Lines(block) {
			var typed struct{ Type string }
			if err := json.Unmarshal([]byte(line), &typed); err != nil {
				t.Errorf("%v: %s", err, line)
				continue
			}
			shape, ok := shapes[typed.Type]
			if !ok {
				t.Errorf("no such type: %s", line)
				continue
			}
			delete(shapes, typed.Type)
			strict := json.NewDecoder(strings.NewReader(line))
			strict.DisallowUnknownFields()
			if err := strict.Decode(reflect.New(reflect.TypeOf(shape)).Interface()); err != nil {
				t.Errorf("%v: %s", err, line)
			}
			if want, got := keys(t, shape), keys(t, json.RawMessage(line)); !isSubsequence(want, got) {
				t.Errorf("%s: the document has %v, the code %v", typed.Type, got, want)
			}
		}
	}
	for left := range shapes {
		t.Errorf("docs/json.md does not show type %q", left)
	}
}

func accountSample() jsonAccount { return jsonAccount{Errors: []jsonError{}} }

// isSubsequence reports whether all of want are in got in that order: fields that may be left out when
// empty are in a sample only.
func isSubsequence(want, got []string) bool {
	i := 0
	for _, g := range got {
		if i < len(want) && want[i] == g {
			i++
		}
	}
	return i == len(want)
}

// keys are an object's fields in order.
func keys(t *testing.T, v any) []string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	var out []string
	depth, key := 0, false
	for {
		tok, err := dec.Token()
		if err != nil {
			return out
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			depth++
			key = depth == 1
		case json.Delim('}'), json.Delim(']'):
			depth--
			key = depth == 1
		default:
			if depth == 1 && key {
				out = append(out, fmt.Sprint(tok))
			}
			key = depth == 1 && !key
		}
	}
}

// Links from one document to another lead somewhere.
func TestDocumentLinks(t *testing.T) {
	root := filepath.FromSlash("../..")
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range append(docs, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md"), filepath.Join(root, "CHANGELOG.md")) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^):#]+)(#[^)]*)?\)`).FindAllSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), filepath.FromSlash(string(m[1])))); err != nil {
				t.Errorf("%s: %v", doc, err)
			}
		}
	}
}
