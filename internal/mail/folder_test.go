package mail

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

var hostile = []string{
	".", "..", "...", ".hidden", "..%2F", "cur", "new", "tmp", "Cur", "currant", "%63ur", "%2E", "%2e", "%", "%%", "%2", "%25", "%2525", "100%", "%41",
	"a/b", "../../etc/passwd", "/", "//", "a%2Fb", "a\x00b", "\x1b[2J", "a\nb", "a\r\n", "\x7f", "a\\b", `"`, "*", "a b ", " ", "~", "INBOX", "inbox",
	"Entwürfe", "\u0085", "日本", "a.b", "%FF", "%ff", "%C3%A9", "\xff", "a\xc3", "% 1", "%+1", "%0x", "%1_", "%G0", "-rf", strings.Repeat("x", 300),
}

func components() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom(hostile),
		rapid.String(),
		rapid.StringMatching(`[%./0-9A-Fa-f]{0,8}`),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
	)
}

// checkComponent holds one name against what escaping promises.
func checkComponent(t interface{ Fatalf(string, ...any) }, name, also string) {
	e := EscapeComponent(name, also)
	if back := UnescapeComponent(e, also); back != name {
		t.Fatalf("%q with %q is spelled %q, which means %q", name, also, e, back)
	}
	if strings.HasPrefix(e, ".") || e == "cur" || e == "new" || e == "tmp" || strings.ContainsAny(e, "/\x00\x7f"+also) ||
		strings.ContainsFunc(e, func(r rune) bool { return r < ' ' }) {
		t.Fatalf("%q with %q is spelled %q", name, also, e)
	}
	if utf8.ValidString(name) && !utf8.ValidString(e) {
		t.Fatalf("%q is spelled %q, which is not UTF-8", name, e)
	}
	// As a directory's name: an escape of ours is decoded, all else is meant as it stands.
	u := UnescapeComponent(name, also)
	if u != name && EscapeComponent(u, also) != name {
		t.Fatalf("%q with %q is read as %q, which is spelled %q", name, also, u, EscapeComponent(u, also))
	}
	if u == name && strings.Contains(name, "%") && EscapeComponent(unescapeAll(name), also) == name {
		t.Fatalf("%q with %q is not decoded", name, also)
	}
}

// unescapeAll decodes whatever looks like an escape.
func unescapeAll(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		var c byte
		if name[i] == '%' && i+2 < len(name) && isHex(name[i+1]) && isHex(name[i+2]) {
			fmt.Sscanf(name[i+1:i+3], "%x", &c)
			b.WriteByte(c)
			i += 2
			continue
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

func isHex(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 }

// alsos are what callers ask to be escaped besides; hexadecimal digits and "%" never are.
var alsos = []string{"", ".", ".,", ":"}

func TestEscapeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := components().Draw(t, "a"), components().Draw(t, "b")
		for _, also := range alsos {
			checkComponent(t, a, also)
			if (EscapeComponent(a, also) == EscapeComponent(b, also)) != (a == b) {
				t.Fatalf("%q and %q with %q have one spelling, %q", a, b, also, EscapeComponent(a, also))
			}
		}
	})
}

func FuzzEscape(f *testing.F) {
	for _, n := range hostile {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for _, also := range alsos {
			checkComponent(t, name, also)
		}
		if n, err := NewFolderName([]string{name, "x"}); err == nil && !slices.Equal(n.Path(), []string{name, "x"}) {
			t.Fatalf("%q is named %q, which means %q", name, n, n.Path())
		}
	})
}

func TestEscapeComponent(t *testing.T) {
	tests := []struct{ name, also, want string }{
		{"Archive", "", "Archive"},
		{"", "", ""},
		{"Entwürfe", "", "Entwürfe"},
		{"a/b", "", "a%2Fb"},
		{"100%", "", "100%25"},
		{"%2F", "", "%252F"},
		{".", "", "%2E"},
		{"..", "", "%2E."},
		{".x", "", "%2Ex"},
		{"a.b", "", "a.b"},
		{"a.b", ".", "a%2Eb"},
		{"..", ".", "%2E%2E"},
		{"cur", "", "%63ur"},
		{"new", ".", "%6Eew"},
		{"tmp", "", "%74mp"},
		{"cur2", "", "cur2"},
		{"Cur", "", "Cur"},
		{"a\x00\x1f\x7f", "", "a%00%1F%7F"},
		{"a\nb", "", "a%0Ab"},
		{" a ", "", " a "},
		{"\xff", "", "\xff"},
		{"a:b", ":", "a%3Ab"},
	}
	for _, tt := range tests {
		if got := EscapeComponent(tt.name, tt.also); got != tt.want {
			t.Errorf("EscapeComponent(%q, %q) = %q, want %q", tt.name, tt.also, got, tt.want)
		}
	}
}

func TestUnescapeLiterally(t *testing.T) {
	// None of these was written by EscapeComponent.
	for _, name := range []string{
		"%", "%%", "%2", "100%", "a%zz", "%2f", "%2e", "a%2Eb", "%41", "%FF", "%C3%A9", "%63", "%6Eewer", "a%63ur", "a/%2F", ".%2F", "%2F%", "%2F\x01",
		"% 1", "%+1", "%-1", "%0x", "%1_", "\xff%", "%2F%41",
	} {
		if got := UnescapeComponent(name, ""); got != name {
			t.Errorf("%q is read as %q", name, got)
		}
	}
	if got := UnescapeComponent("a%2Eb", "."); got != "a.b" {
		t.Errorf("a dot is read as %q where dots are escaped", got)
	}
	if got := UnescapeComponent("a.%2E", "."); got != "a.%2E" {
		t.Errorf("a bare dot is read as %q where dots are escaped", got)
	}
}

func TestFolderName(t *testing.T) {
	tests := []struct {
		path   []string
		want   FolderName
		parent FolderName
	}{
		{[]string{"INBOX"}, "INBOX", ""},
		{[]string{"Archive", "2024"}, "Archive/2024", "Archive"},
		{[]string{"a", "b", "c"}, "a/b/c", "a/b"},
		{[]string{"a/b", "c"}, "a%2Fb/c", "a%2Fb"},
		{[]string{"..", "cur"}, "%2E./%63ur", "%2E."},
		{[]string{"[Gmail]", "All Mail"}, "[Gmail]/All Mail", "[Gmail]"},
	}
	for _, tt := range tests {
		got, err := NewFolderName(tt.path)
		if err != nil || got != tt.want || got.Parent() != tt.parent || !slices.Equal(got.Path(), tt.path) {
			t.Errorf("NewFolderName(%q) = %q, %v; parent %q, path %q", tt.path, got, err, got.Parent(), got.Path())
		}
	}
	for _, bad := range [][]string{nil, {}, {""}, {"a", ""}, {"", "a"}, {"a", "\xff"}, {"\xc3"}} {
		if got, err := NewFolderName(bad); err == nil {
			t.Errorf("NewFolderName(%q) = %q", bad, got)
		}
	}
	// What a person types is read component by component.
	for name, want := range map[FolderName][]string{
		"Archive/100%": {"Archive", "100%"}, "a%2Fb/c%2fd": {"a/b", "c%2fd"}, "": {""}, "a//b": {"a", "", "b"},
	} {
		if got := name.Path(); !slices.Equal(got, want) {
			t.Errorf("%q.Path() = %q, want %q", name, got, want)
		}
	}
}

func TestUnder(t *testing.T) {
	tests := []struct {
		name, parent FolderName
		want         bool
	}{
		{"a/b", "a", true}, {"a/b/c", "a", true}, {"a/b/c", "a/b", true}, {"a", "a", false}, {"ab", "a", false}, {"a", "a/b", false},
		{"ab/c", "a", false}, {"a b/c", "a", false}, {"a", "", false}, {"/a", "", false}, {"", "", false}, {"a%2Fb", "a", false},
	}
	for _, tt := range tests {
		if tt.name.Under(tt.parent) != tt.want {
			t.Errorf("%q.Under(%q) = %v", tt.name, tt.parent, !tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.SliceOfN(components().Filter(func(c string) bool { return c != "" && utf8.ValidString(c) }), 1, 4).Draw(t, "path")
		f, err := NewFolderName(path)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(f.Path(), path) {
			t.Fatalf("%q is named %q, which means %q", path, f, f.Path())
		}
		if p := f.Parent(); (p == "") != (len(path) == 1) || (p != "" && (!f.Under(p) || p.Under(f) || len(p.Path()) != len(path)-1)) {
			t.Fatalf("%q has the parent %q", f, p)
		}
	})
}

func BenchmarkEscape(b *testing.B) {
	for _, name := range []string{"Archive", "a/b 100%"} {
		b.Run(name[:1], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				UnescapeComponent(EscapeComponent(name, "."), ".")
			}
		})
	}
}
