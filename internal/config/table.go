package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// document is a parsed file that still knows where everything stood.
type document struct {
	md   *toml.MetaData
	text string
	report
}

// table is one TOML table. Asking for a key makes it a known one; unknown reports those that were
// never asked for.
type table struct {
	doc     *document
	key     toml.Key
	self    *toml.Primitive // nil for the root
	entries map[string]toml.Primitive
	known   []string
}

// probe is a value that can't be decoded, because the library says where a value stands when that fails.
type probe struct{}

var errProbe = errors.New("probe")

// UnmarshalTOML always fails.
func (*probe) UnmarshalTOML(any) error { return errProbe }

// value returns a value as the library holds it.
func (d *document) value(p toml.Primitive) any {
	var v any
	_ = d.md.PrimitiveDecode(p, &v) // everything fits into any
	return v
}

// ownLine returns the line in which a value begins, 0 for a table that has no header.
func (d *document) ownLine(p toml.Primitive) int {
	var at toml.ParseError
	if err := d.md.PrimitiveDecode(p, &probe{}); !errors.As(err, &at) || at.Position.Line == 0 {
		return 0
	}
	// By the byte offset: of a string over several lines, Position.Line is the last one.
	return 1 + strings.Count(d.text[:min(at.Position.Start, len(d.text))], "\n")
}

// children returns what is in a table.
func (d *document) children(p toml.Primitive) (map[string]toml.Primitive, error) {
	var entries map[string]toml.Primitive
	err := d.md.PrimitiveDecode(p, &entries)
	return entries, err
}

// line returns the first line of a value; for a table that has no header, of what is in it.
func (d *document) line(p toml.Primitive) int {
	line := d.ownLine(p)
	if _, isTable := d.value(p).(map[string]any); line > 0 || !isTable {
		return line
	}
	entries, _ := d.children(p)
	for _, e := range entries {
		if l := d.line(e); line == 0 || (l > 0 && l < line) {
			line = l
		}
	}
	return line
}

// parseDocument reads TOML. A syntax error is reported and gives nil.
func parseDocument(path, text string) (*table, *document) {
	text = strings.TrimPrefix(text, "\ufeff")
	doc := &document{text: text, report: report{path: path}}
	root := &table{doc: doc}
	md, err := toml.Decode(text, &root.entries)
	if err != nil {
		doc.syntaxError(err)
		return nil, doc
	}
	doc.md = &md
	return root, doc
}

func (d *document) syntaxError(err error) {
	var at toml.ParseError
	if !errors.As(err, &at) {
		d.add(1, "", "this is not TOML: %v", err)
		return
	}
	line := at.Position.Line
	// The library quotes what it could not read, and here that may be a password without its quotes.
	if lines := strings.Split(d.text, "\n"); secretLine(at.LastKey) || (line >= 1 && line <= len(lines) && secretLine(lines[line-1])) {
		d.add(line, "", "this is not TOML (not shown, since it may hold a secret); a value is a string in quotes, a number, true, false, or a list of strings in [ ]")
		return
	}
	d.add(line, "", "this is not TOML: %s", strings.Map(printable, at.Message))
}

func secretLine(s string) bool {
	s = strings.ToLower(s)
	return strings.Contains(s, "pass") || strings.Contains(s, "tunnel")
}

func printable(r rune) rune {
	if r < ' ' || (r >= 0x7f && r < 0xa0) {
		return '?'
	}
	return r
}

// isSecret reports whether a key's value must not be shown: the password itself, and the commands, in which people
// put passwords.
func isSecret(key string) bool {
	return key == "password" || key == "password_command" || key == "tunnel"
}

// path is the dotted key of an entry, or of the table itself if name is empty.
func (t *table) path(name ...string) string {
	key := append(slices.Clone(t.key), name...)
	return strings.Map(printable, key.String())
}

// line returns where an entry stands, or the table if there is no such entry.
func (t *table) line(name string) int {
	if p, ok := t.entries[name]; ok {
		return t.doc.line(p)
	}
	if t.self == nil {
		return 1
	}
	return t.doc.line(*t.self)
}

// fail reports an entry.
func (t *table) fail(name, format string, args ...any) {
	if !t.doc.full() {
		t.doc.add(t.line(name), t.path(name), format, args...)
	}
}

// failHere reports the table itself.
func (t *table) failHere(format string, args ...any) {
	if !t.doc.full() {
		t.doc.add(t.line(""), t.path(), format, args...)
	}
}

// bad reports a value that is not allowed.
func (t *table) bad(name, value, allowed string) {
	if isSecret(name) {
		t.fail(name, "this value is not allowed; allowed is %s", allowed)
		return
	}
	t.fail(name, "%s is not allowed; allowed is %s", quote(value), allowed)
}

// quote shows a value in an error.
func quote(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(s)
}

func (t *table) has(name string) bool {
	_, ok := t.entries[name]
	return ok
}

// get returns an entry's value and makes the key known.
func (t *table) get(name string) (any, bool) {
	t.known = append(t.known, name)
	p, ok := t.entries[name]
	if !ok {
		return nil, false
	}
	return t.doc.value(p), true
}

// take returns an entry of type T, and false if there is none or it has another type, which is reported.
func take[T any](t *table, name, allowed string) (value T, ok bool) {
	v, ok := t.get(name)
	if !ok {
		return value, false
	}
	value, ok = v.(T)
	if !ok {
		t.wrongType(name, v, allowed)
	}
	return value, ok
}

func (t *table) wrongType(name string, v any, allowed string) {
	t.fail(name, "%s is not allowed here; allowed is %s", typeName(v), allowed)
}

func typeName(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a number with a fraction"
	case bool:
		return "true or false"
	case time.Time:
		return "a date or time without quotes"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "a list of tables"
	case []any:
		return "a list"
	}
	return fmt.Sprintf("a %T", v)
}

// text returns a string entry, or def.
func (t *table) text(name, def, allowed string) string {
	if v, ok := take[string](t, name, allowed); ok {
		return v
	}
	return def
}

// boolean returns a true or false entry, or false.
func (t *table) boolean(name string) bool {
	v, _ := take[bool](t, name, "true or false, without quotes")
	return v
}

// integer returns an integer entry from low to high, or def.
func (t *table) integer(name string, def, low, high int) int {
	allowed := fmt.Sprintf("a whole number from %d to %d, without quotes", low, high)
	v, ok := take[int64](t, name, allowed)
	switch {
	case !ok:
		return def
	case v < int64(low) || v > int64(high):
		t.fail(name, "%d is not allowed; allowed is %s", v, allowed)
		return def
	}
	return int(v)
}

// oneOf returns an entry that is one of a few words, or def.
func oneOf[T ~string](t *table, name string, def T, words ...T) T {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(string(w))
	}
	allowed := strings.Join(quoted, ", ")
	v, ok := t.get(name)
	if !ok {
		return def
	}
	s, isString := v.(string)
	switch {
	case !isString:
		t.fail(name, "%s is not allowed here; allowed are %s", typeName(v), allowed)
	case slices.Contains(words, T(s)):
		return T(s)
	default:
		t.fail(name, "%s is not allowed; allowed are %s", quote(s), allowed)
	}
	return def
}

// parsed returns a string entry as parse reads it; def is what stands for a missing one.
func parsed[T any](t *table, name, def, allowed string, parse func(string) (T, bool)) T {
	s := t.text(name, def, allowed)
	v, ok := parse(s)
	if !ok {
		t.bad(name, s, allowed)
		v, _ = parse(def)
	}
	return v
}

// list returns an entry that is a list of strings, and whether it is there and is one.
func (t *table) list(name, allowed string) ([]string, bool) {
	items, ok := take[[]any](t, name, allowed)
	if !ok {
		return nil, false
	}
	out := make([]string, 0, len(items))
	for _, item := range items {
		s, ok := item.(string)
		if !ok {
			t.fail(name, "%s in the list is not allowed; allowed is %s", typeName(item), allowed)
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

// table returns an entry that is a table, nil if there is none or it is something else, which is reported.
func (t *table) table(name, allowed string) *table {
	if _, ok := take[map[string]any](t, name, allowed); !ok {
		return nil
	}
	self := t.entries[name]
	entries, err := t.doc.children(self)
	if err != nil {
		t.fail(name, "this table can't be read: %v", err)
		return nil
	}
	return &table{doc: t.doc, key: append(slices.Clone(t.key), name), self: &self, entries: entries}
}

// names returns the entries' names in the file's order.
func (t *table) names() []string {
	names := make([]string, 0, len(t.entries))
	seen := make(map[string]bool, len(t.entries))
	for _, key := range t.doc.md.Keys() {
		if n := len(t.key); len(key) > n && slices.Equal(key[:n], t.key) && !seen[key[n]] {
			seen[key[n]] = true
			names = append(names, key[n])
		}
	}
	return names
}

// unknown reports every entry that nobody asked for.
func (t *table) unknown() {
	for _, name := range slices.Sorted(maps.Keys(t.entries)) {
		if slices.Contains(t.known, name) {
			continue
		}
		guess := ""
		if near := nearest(name, t.known); near != "" {
			guess = fmt.Sprintf("; did you mean %s?", quote(near))
		}
		known := slices.Compact(slices.Sorted(slices.Values(t.known)))
		t.fail(name, "unknown key%s (keys here: %s)", guess, strings.Join(known, ", "))
	}
}

// nearest returns the word that looks most like name, empty if none does.
func nearest(name string, words []string) string {
	best, bestAt := "", 0
	for _, w := range words {
		d := distance(strings.ToLower(name), w)
		if d <= max(1, len(w)/3) && (best == "" || d < bestAt) {
			best, bestAt = w, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their neighbour to get from a to b.
func distance(a, b string) int {
	if len(a) > 2*len(b)+2 { // also bounds the work
		return len(a)
	}
	before, last, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(last[j]+1, cur[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, last, cur = last, cur, before
	}
	return last[len(b)]
}
