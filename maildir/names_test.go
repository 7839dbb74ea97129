package maildir

import (
	"bytes"
	"crypto/rand"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	gomaildir "github.com/emersion/go-maildir"

	"github.com/satchel-mail/satchel/internal/mail"
)

func TestParseFileName(t *testing.T) {
	tests := []struct {
		name string
		want fileName
	}{
		{"a", fileName{base: "a"}},
		{"a:2,", fileName{base: "a", sep: ':'}},
		{"a:2,FS", fileName{base: "a", sep: ':', letters: "FS"}},
		{"1.M2P3.host,S=10,W=12:2,S", fileName{base: "1.M2P3.host,S=10,W=12", sep: ':', letters: "S"}},
		{"a:2,S:2,F", fileName{base: "a:2,S", sep: ':', letters: "F"}},
		{"a:2,SaX", fileName{base: "a", sep: ':', letters: "SaX"}},
		{"a:2,S,more,S", fileName{base: "a", sep: ':', letters: "S", tail: ",more,S"}},
		{"a;2,S", fileName{base: "a", sep: ';', letters: "S"}},
		{"a!2,S", fileName{base: "a", sep: '!', letters: "S"}},
		{"a:1,x", fileName{base: "a:1,x"}},
		{"a:3,S", fileName{base: "a:3,S"}},
		{"a:1,x:2,S", fileName{base: "a:1,x", sep: ':', letters: "S"}},
		{"a:2", fileName{base: "a:2"}},
		{":2,S", fileName{base: ":2,S"}},
		{"2,S", fileName{base: "2,S"}},
		{"x2,S", fileName{base: "x2,S"}},
		{"a:2,S2,x", fileName{base: "a", sep: ':', letters: "S", tail: "2,x"}},
		{"0!2,X!T2,", fileName{base: "0", sep: '!', letters: "X", tail: "!T2,"}},
		{"a:2,S\xffT", fileName{base: "a", sep: ':', letters: "S", tail: "\xffT"}},
		{"", fileName{}},
	}
	for _, tt := range tests {
		if got := parseFileName(tt.name); got != tt.want {
			t.Errorf("parseFileName(%q) = %+v, want %+v", tt.name, got, tt.want)
		}
		if got := parseFileName(tt.name).String(); got != tt.name {
			t.Errorf("%q comes back as %q", tt.name, got)
		}
	}
}

func FuzzParseFileName(f *testing.F) {
	for _, s := range []string{"a", "a:2,S", "a:2,S:2,F", ":2,", "a;2,!2,x", "a:2,S,x", "1.M2P3.host,U=5:2,abS", "2,2,2,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		n := parseFileName(name)
		if n.String() != name {
			t.Fatalf("%q comes back as %q", name, n)
		}
		if name == "" {
			return // no file is called that
		}
		if n.base == "" {
			t.Fatalf("%q has no base", name)
		}
		// Changing flags leaves the base and the letters that nobody knows.
		m := n
		m.sep = ':'
		m.letters = withLetters(n.letters, "FS", "T")
		again := parseFileName(m.String())
		if again.base != n.base || again.tail != n.tail {
			t.Fatalf("%q becomes %q, which reads as %+v", name, m, again)
		}
		unknown := func(letters string) string {
			return string(slices.DeleteFunc([]byte(letters), func(c byte) bool { return strings.IndexByte("FST", c) >= 0 }))
		}
		if unknown(again.letters) != unknown(n.letters) {
			t.Fatalf("letters %q become %q", n.letters, again.letters)
		}
	})
}

func TestWithLetters(t *testing.T) {
	tests := []struct{ letters, add, drop, want string }{
		{"", "", "", ""},
		{"", "S", "", "S"},
		{"S", "F", "", "FS"},
		{"FS", "R", "", "FRS"},
		{"FS", "", "F", "S"},
		{"S", "S", "", "S"},
		{"S", "S", "S", "S"},
		{"SXa", "F", "S", "FXa"},
		{"Sab", "c", "a", "Sbc"},
		{"zS", "F", "", "FzS"},
		{"S\xff\x00", "T", "", "ST\xff\x00"},
		{"SS", "", "S", ""},
	}
	for _, tt := range tests {
		if got := withLetters(tt.letters, tt.add, tt.drop); got != tt.want {
			t.Errorf("withLetters(%q, add %q, drop %q) = %q, want %q", tt.letters, tt.add, tt.drop, got, tt.want)
		}
	}
}

func TestSystemLettersAreTheFormats(t *testing.T) {
	want := map[gomaildir.Flag]string{
		gomaildir.FlagDraft: `\Draft`, gomaildir.FlagFlagged: `\Flagged`, gomaildir.FlagPassed: "$Forwarded",
		gomaildir.FlagReplied: `\Answered`, gomaildir.FlagSeen: `\Seen`, gomaildir.FlagTrashed: `\Deleted`,
	}
	for letter, flag := range want {
		if got := mail.SystemFlags(systemFlags(string(letter))).String(); got != flag {
			t.Errorf("%c means %s, want %s", letter, got, flag)
		}
		if got := lettersOf(mail.NewFlags(flag).System()); got != string(letter) {
			t.Errorf("%s is spelled %s, want %c", flag, got, letter)
		}
	}
	if got := lettersOf(systemFlags("TSRPFD")); got != "DFPRST" {
		t.Errorf("all letters: %s, want them in the order of ASCII", got)
	}
}

// TestNamesWhateverTheClock: no name is made twice when the clock is set back between two, nor by two processes, on one host or on two, whose clocks
// show the same and which have made as many names; not even by a copy of a process in another container, which differs in nothing but its random bytes.
func TestNamesWhateverTheClock(t *testing.T) {
	now := time.Unix(1700000000, 123456789)
	clock := func() time.Time { return now }
	alike := func() io.Reader { return bytes.NewReader(make([]byte, 1<<16)) }
	makers := []*namer{
		{now: clock, random: alike(), pid: 7, host: "a"},
		{now: clock, random: alike(), pid: 8, host: "a"},
		{now: clock, random: alike(), pid: 7, host: "b"},
		{now: clock, random: rand.Reader, pid: 7, host: "a"},
	}
	seen := map[string]bool{}
	for range 300 {
		for _, n := range makers {
			base, err := n.base()
			if err != nil {
				t.Fatal(err)
			}
			if seen[base] {
				t.Fatalf("%s was made twice", base)
			}
			seen[base] = true
		}
		// To the very same moments again and again.
		if now = now.Add(-time.Millisecond); len(seen)%40 == 0 {
			now = time.Unix(1700000000, 123456789)
		}
	}
}

func TestBaseNames(t *testing.T) {
	now := time.Unix(1700000000, 123456789)
	n := &namer{now: func() time.Time { return now }, random: bytes.NewReader(make([]byte, 1<<16)), pid: 7, host: escapeHost("a/b:c d,e")}
	seen := map[string]bool{}
	var sorted []string
	for i := range 1000 {
		// Clock standing still and random bytes all alike: still no name twice.
		if i%2 == 0 {
			now = now.Add(time.Millisecond)
		}
		base, err := n.base()
		if err != nil {
			t.Fatal(err)
		}
		if seen[base] {
			t.Fatalf("%s was made twice", base)
		}
		seen[base] = true
		if i%2 == 0 {
			sorted = append(sorted, base)
		}
		if strings.ContainsAny(base, "/:;!,\x00 ") || strings.HasPrefix(base, ".") || !validBase(base) {
			t.Fatalf("%s can't be a base name", base)
		}
		if parseFileName(base).base != base || len(base)+len(":2,DFPRST")+maxLetters > maxNameBytes {
			t.Fatalf("%s leaves no room for flags", base)
		}
	}
	if !slices.IsSorted(sorted) {
		t.Error("names do not sort by time")
	}
	if _, err := (&namer{now: time.Now, random: bytes.NewReader(nil)}).base(); err == nil {
		t.Error("a name without random bytes")
	}
	if h := escapeHost(strings.Repeat("x", 300)); len(h) > maxHost {
		t.Errorf("host of %d bytes", len(h))
	}
	if h := escapeHost("\n"); h != "_" {
		t.Errorf("host %q", h)
	}
}
