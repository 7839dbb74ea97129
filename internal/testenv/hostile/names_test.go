//go:build !race

package hostile_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/hostile"
	"github.com/satchel-mail/satchel/maildir"
)

// names are what a server may call a mailbox. Each gets a place of its own below the root, or is reported.
var names = map[string]string{
	"the directory above":          "..",
	"two above":                    "../..",
	"out and down":                 "../canary",
	"out from below":               "Archive/../../../canary",
	"the root":                     ".",
	"absolute":                     "/tmp/satchel-was-here",
	"only a slash":                 "/",
	"many slashes":                 "////a////b////",
	"NUL":                          "a\x00b",
	"NUL dot dot":                  "..\x00",
	"line ends":                    "a\r\nb",
	"escape sequences":             "\x1b[31mred\x1b]0;title\x07",
	"control characters":           "\x01\x02\x7f",
	"C1 control characters":        "\u009b2J\u0085",
	"right to left":                "\u202etxt.exe",
	"an encoded slash":             "&AC8-",
	"encoded dots":                 "&AC4ALg-",
	"an encoded NUL":               "a&AAA-b",
	"half a surrogate":             "&2AA-",
	"an odd number of bytes":       "&AGE-&AG-",
	"shifted without an end":       "&AGEAYg",
	"a lone ampersand":             "a&b",
	"padding":                      "&AGE=-",
	"base64 with a slash":          "&/wA-",
	"8-bit":                        "Entw\xfcrfe",
	"raw UTF-8":                    "Entwürfe",
	"overlong UTF-8":               "\xc0\xae\xc0\xae\xc0\xaf",
	"a percent sign":               "%2E%2E%2F",
	"percent escapes of ours":      "%63ur",
	"cur":                          "cur",
	"new below":                    "Archive/new",
	"tmp and more":                 "tmp/cur/new",
	"the program's own":            ".satchel",
	"the program's database":       ".satchel.db",
	"the program's lock":           ".satchel.lock",
	"what undo keeps":              ".satchel/undo/x",
	"what undo keeps in maildir++": "satchel-undo",
	"Dovecot's":                    "Archive/dovecot-keywords",
	"Dovecot's other":              "Archive/dovecot-uidlist",
	"maildirfolder":                "Archive/maildirfolder",
	"a hidden one":                 ".Archive",
	"dots":                         "a.b..c.",
	"a tilde":                      "~root",
	"a shell's":                    "$(touch x);`touch y`|z",
	"wildcards":                    "a*b%c",
	"quotes":                       `a"b\c`,
	"255 bytes":                    strings.Repeat("n", 255),
	"256 bytes":                    strings.Repeat("n", 256),
	"3000 bytes":                   strings.Repeat("n", 3000),
	"255 bytes that triple":        strings.Repeat("%", 255),
	"100 levels":                   strings.TrimSuffix(strings.Repeat("d/", 100), "/"),
	"100 long levels":              strings.TrimSuffix(strings.Repeat(strings.Repeat("l", 30)+"/", 100), "/"),
	"100 levels of dots":           strings.TrimSuffix(strings.Repeat("../", 100), "/"),
	"another case":                 "ARCHIVE",
	"the INBOX in another case":    "Inbox/below",
	"below the INBOX":              "INBOX/below",
	"blanks":                       "  ",
	"a name that is empty":         "",
}

func TestNames(t *testing.T) {
	for what, name := range names {
		for _, layout := range []maildir.Layout{maildir.Nested, maildir.PlusPlus} {
			t.Run(fmt.Sprintf("%s, %s", what, layout), func(t *testing.T) {
				t.Parallel()
				w := newWorldIn(t, layout, hostile.Able, patient)
				w.server.Create(name)
				w.server.Append(name, text("in the box of that name"))
				res := w.sync(time.Minute)
				if res.Fatal != nil {
					t.Errorf("it stopped everything: %v", res.Fatal)
				}
				if len(res.Errors) > 0 {
					w.clear(res)
				}
				w.unharmed()
				if got := w.count(text("in the box of that name")); got != 1 && len(res.Errors) == 0 && strings.Trim(name, "/") != "" && !strings.ContainsAny(name, "\r\n\x00") {
					t.Errorf("it is %d times in the Maildir, and nothing was said", got)
				}
				w.server.Play(nil)
				w.server.Discard(name)
				w.sync(time.Minute)
				w.recovers()
			})
		}
	}
}

// TestNamesAtOnce: all of these in one listing.
func TestNamesAtOnce(t *testing.T) {
	w := newWorld(t, hostile.Able, patient)
	for _, name := range names {
		w.server.Create(name)
	}
	res := w.sync(time.Minute)
	if res.Fatal != nil {
		t.Errorf("it stopped everything: %v", res.Fatal)
	}
	w.unharmed()
}

// TestLocalNamesComeToTheServer: what is made in the Maildir under a hostile name is a command of ours to the server: no byte of
// it is taken for another one.
func TestLocalNamesComeToTheServer(t *testing.T) {
	for what, name := range names {
		if name == "" || strings.ContainsAny(name, "\x00") || strings.Contains(name, "..") || filepath.IsAbs(name) || strings.HasPrefix(name, ".") || len(name) > 3000 {
			continue // there can be no such directory, or it is no folder
		}
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hostile.Bare, patient)
			if os.MkdirAll(filepath.Join(w.root, name, "cur"), 0o700) != nil {
				return
			}
			if strings.HasPrefix(name, "cur") || strings.Contains(name, "new") || strings.HasPrefix(name, "tmp") {
				return
			}
			w.put(name, text("from here"), "S")
			verbs := map[string]bool{}
			w.server.Play(func(x *hostile.Exchange) {
				if strings.HasPrefix(x.Result, "BAD") {
					verbs[x.Verb] = true
				}
			})
			res := w.sync(time.Minute)
			if res.Fatal != nil || len(verbs) > 0 {
				t.Errorf("%v, commands that there are not: %v", res.Fatal, verbs)
			}
			w.unharmed()
		})
	}
}

// TestManyFolders: very many of them, and then all but a few gone from one listing. SATCHEL_FOLDERS=10000 makes it ten thousand,
// which takes a minute or two.
func TestManyFolders(t *testing.T) {
	n := 2000
	if text := os.Getenv("SATCHEL_FOLDERS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t, hostile.Able, patient)
	for i := range n {
		w.server.Create(fmt.Sprintf("many/%d/%d", i/100, i))
	}
	stop := heap()
	start := time.Now()
	if res := w.sync(10 * time.Minute); res.Fatal != nil || len(res.Errors) > 0 {
		t.Fatalf("%v %v", res.Fatal, res.Errors)
	}
	memory := stop()
	t.Logf("%d folders in %v, %d MB", n, time.Since(start).Round(time.Millisecond), memory>>20)
	if memory > 128<<20 {
		t.Errorf("%d MB of memory", memory>>20)
	}
	w.contained()
	made := 0
	w.must(filepath.WalkDir(filepath.Join(w.root, "many"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "cur" {
			made++
		}
		return err
	}))
	if made != n {
		t.Errorf("%d folders, want %d", made, n)
	}
	w.server.Play(without(`LIST .*many`, "LIST"))
	start = time.Now()
	res := w.sync(10 * time.Minute)
	t.Logf("a listing without them: %v, %d errors", time.Since(start).Round(time.Millisecond), len(res.Errors))
	w.unharmed()
	if left := w.local(); len(left) < n {
		t.Errorf("%d folders are left", len(left))
	}
}
