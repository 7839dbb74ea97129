package maildir

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/satchel-mail/satchel/internal/mail"
)

var hostileNames = []string{
	"..", ".", "...", "../evil", "../../evil", "/etc/passwd", "/", "//", "a/../../b", "a/b", "./a", "..\\evil",
	"C:\\evil", "C:", "CON", "nul", "com1.txt", "a ", "a.", " ", " a", "~", "~root", "-rf", "--", "*", "?", "[a]", "$(id)", "`id`",
	";id", "|", "&", "'", `"`, "\x00", "a\x00b", "\n", "a\r\nb", "\x01", "\x1b[31m", "\x7f", "%", "%%", "%2E%2E", "%2e%2e", "%2F", "100%",
	"cur", "new", "tmp", "Cur", ".cur", "cur ", ".satchel", ".satchel.db", "satchel", "satchel-undo", "dovecot-keywords", "maildirfolder", ".subscriptions",
	"ä", "a\u0308", "\u202egpj", "\ufeff", "日本語", "🙂", "a:2,S", "a;2,S", strings.Repeat("x", 255), strings.Repeat("x", 256), strings.Repeat("ä", 200),
	"\xff\xfe", "inbox", "INBOX ", "{3}", `\`, "a.b", "a..b",
}

// TestHostileNames: whatever a server calls its folders, everything stays below the root, and every
// folder that can be made comes back under its name.
func TestHostileNames(t *testing.T) {
	if len(hostileNames) < 60 {
		t.Fatalf("only %d names", len(hostileNames))
	}
	for _, layout := range []Layout{Nested, PlusPlus} {
		for _, depth := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/%d", layout, depth), func(t *testing.T) {
				s, root := testStore(t, layout)
				outside := filepath.Dir(root)
				writeFile(t, outside, "canary", "untouched")
				var made []mail.FolderName
				for _, name := range hostileNames {
					comps := []string{name}
					if depth == 2 {
						comps = []string{"Parent", name}
					}
					f, err := mail.NewFolderName(comps)
					if err != nil {
						continue
					}
					if err := s.CreateFolder(f); err != nil {
						if len(name) < 250 && utf8.ValidString(name) {
							t.Errorf("folder %q: %v", name, err)
						}
						continue
					}
					made = append(made, f)
					deliver(t, s, f, mail.Flags{}, "x\r\n")
				}
				if got := files(t, outside); !slices.Equal(got, []string{"Mail", "canary"}) {
					t.Fatalf("outside the root: %q", got)
				}
				if got := files(t, filepath.Dir(outside)); len(got) > 3 {
					t.Fatalf("above: %q", got)
				}
				folders, problems, err := s.Folders()
				if err != nil || len(problems) > 0 {
					t.Fatalf("Folders: %v %v", problems, err)
				}
				var got []mail.FolderName
				for _, f := range folders {
					got = append(got, f.Name)
					if scan := mustScan(t, s, f.Name); len(scan.Entries) != 1 {
						t.Errorf("%q holds %d messages, want its own one", f.Name, len(scan.Entries))
					}
				}
				slices.SortFunc(made, compareFolders)
				if !slices.Equal(got, made) {
					t.Errorf("folders\n%q, made\n%q", got, made)
				}
				// Any spelling whatsoever is refused or stays below.
				for _, name := range hostileNames {
					f := mail.FolderName(name)
					_ = s.CreateFolder(f)
					_ = s.RenameFolder("Parent", f)
					_ = s.RemoveFolder(f)
				}
				if got := files(t, outside); !slices.Equal(got, []string{"Mail", "canary"}) {
					t.Fatalf("outside the root: %q", got)
				}
			})
		}
	}
}

func TestFolderPaths(t *testing.T) {
	tests := []struct {
		name             mail.FolderName
		nested, plusPlus string
	}{
		{"INBOX", "INBOX", "."},
		{"INBOX/Sub", "INBOX/Sub", ".INBOX.Sub"},
		{"Archive/2024", "Archive/2024", ".Archive.2024"},
		{"v1.2", "v1.2", ".v1%2E2"},
		{"%2Ehidden", "%2Ehidden", ".%2Ehidden"},
		{"100%25", "100%25", ".100%25"},
		{"100%", "100%25", ".100%25"},
		{"%63ur", "%63ur", ".%63ur"},
		{"a%2Fb/c", "a%2Fb/c", ".a%2Fb.c"},
	}
	for _, tt := range tests {
		for _, layout := range []Layout{Nested, PlusPlus} {
			s, _ := testStore(t, layout)
			want := tt.nested
			if layout == PlusPlus {
				want = tt.plusPlus
			}
			if d, err := s.locate(tt.name); err != nil || d.path != want {
				t.Errorf("%s: %q lies in %q (%v), want %q", layout, tt.name, d.path, err, want)
			}
		}
	}
	s, _ := testStore(t, Nested)
	for _, bad := range []mail.FolderName{"", "/", "a//b", "a/", "\xff", mail.FolderName(strings.Repeat("x", 256)), mail.FolderName(strings.Repeat("a/", 300) + "a")} {
		if d, err := s.locate(bad); err == nil {
			t.Errorf("%q lies in %q, want an error", bad, d.path)
		}
	}
}

// makeMaildir makes cur, new and tmp by hand.
func makeMaildir(t testing.TB, parts ...string) string {
	t.Helper()
	dir := filepath.Join(parts...)
	for _, sub := range subdirs {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func folderNames(t testing.TB, s *Store) ([]mail.FolderName, []Problem) {
	t.Helper()
	folders, problems, err := s.Folders()
	if err != nil {
		t.Fatal(err)
	}
	var names []mail.FolderName
	for _, f := range folders {
		names = append(names, f.Name)
	}
	return names, problems
}

func TestLiteralDirectories(t *testing.T) {
	// Somebody made these by hand; no escape of ours, so they are meant as they are.
	t.Run("nested", func(t *testing.T) {
		s, root := testStore(t, Nested, mail.Inbox)
		makeMaildir(t, root, "100%")
		makeMaildir(t, root, "a%2fb", "c")
		makeMaildir(t, root, "tab\there")
		names, problems := folderNames(t, s)
		if want := []mail.FolderName{"INBOX", "100%25", "a%252fb/c", "tab%09here"}; !slices.Equal(names, want) || len(problems) != 0 {
			t.Fatalf("folders %q %v, want %q", names, problems, want)
		}
		for f, dir := range map[mail.FolderName]string{"100%25": "100%", "a%252fb/c": "a%2fb/c", "tab%09here": "tab\there"} {
			got := deliver(t, s, f, mail.Flags{}, "x")
			if in := files(t, root, dir, "new"); !slices.Equal(in, []string{got.Base}) {
				t.Errorf("%s was not used for %s: %v", dir, f, in)
			}
		}
	})
	t.Run("maildir++", func(t *testing.T) {
		s, root := testStore(t, PlusPlus, mail.Inbox)
		makeMaildir(t, root, ".100%.cur")
		names, problems := folderNames(t, s)
		if want := []mail.FolderName{"INBOX", "100%25/%63ur"}; !slices.Equal(names, want) || len(problems) != 0 {
			t.Fatalf("folders %q %v, want %q", names, problems, want)
		}
		got := deliver(t, s, "100%25/%63ur", mail.Flags{}, "x")
		if in := files(t, root, ".100%.cur", "new"); !slices.Equal(in, []string{got.Base}) {
			t.Errorf("not used: %v", in)
		}
	})
}

func TestTwoDirectoriesForOneFolder(t *testing.T) {
	for layout, dirs := range map[Layout][2]string{Nested: {"100%25", "100%"}, PlusPlus: {".100%25", ".100%"}} {
		s, root := testStore(t, layout, mail.Inbox)
		for _, d := range dirs {
			makeMaildir(t, root, d)
			writeFile(t, root, d, "cur", "m:2,", "in "+d)
		}
		names, problems := folderNames(t, s)
		if !slices.Equal(names, []mail.FolderName{"INBOX", "100%25"}) || len(problems) != 1 || problems[0].File != dirs[1] || problems[0].Folder != "100%25" {
			t.Errorf("%s: folders %q, problems %v; want the canonical one, and the other as a problem", layout, names, problems)
		}
		if got := readWire(t, s, "100%25", "m", false); got != "in "+dirs[0] {
			t.Errorf("%s: read %q", layout, got)
		}
	}
}

func TestSymbolicLinksAreNotFollowed(t *testing.T) {
	for _, layout := range []Layout{Nested, PlusPlus} {
		t.Run(string(layout), func(t *testing.T) {
			s, root := testStore(t, layout, mail.Inbox, "Real")
			dot := ""
			if layout == PlusPlus {
				dot = "."
			}
			out := makeMaildir(t, filepath.Dir(root), "outside")
			writeFile(t, out, "cur", "m:2,", "secret")
			link := func(target string, parts ...string) {
				t.Helper()
				if err := os.Symlink(target, filepath.Join(parts...)); err != nil {
					t.Fatal(err)
				}
			}
			link(out, root, dot+"Out")
			link(dot+"Real", root, dot+"In")
			link("nowhere", root, dot+"Dangling")
			makeMaildir(t, root, dot+"Half")
			if err := os.Remove(filepath.Join(root, dot+"Half", "cur")); err != nil {
				t.Fatal(err)
			}
			link(filepath.Join(out, "cur"), root, dot+"Half", "cur")

			names, problems := folderNames(t, s)
			if !slices.Equal(names, []mail.FolderName{"INBOX", "Real"}) {
				t.Errorf("folders %q", names)
			}
			var named []mail.FolderName
			for _, p := range problems {
				named = append(named, p.Folder)
				if !errors.Is(p, errLink) {
					t.Errorf("problem %v", p)
				}
			}
			slices.Sort(named)
			if want := []mail.FolderName{"Dangling", "Half", "In", "Out"}; !slices.Equal(named, want) {
				t.Errorf("problems with %q, want %q", named, want)
			}
			for _, f := range []mail.FolderName{"Out", "In", "Dangling", "Half"} {
				if _, err := s.Scan(t.Context(), f, nil); err == nil || errors.Is(err, ErrNoFolder) {
					t.Errorf("Scan(%s) = %v, want an error that is not that it is gone", f, err)
				}
				if _, err := s.NewBatch().Add(f, mail.Flags{}, s.now()); err == nil {
					t.Errorf("delivered through the link %s", f)
				}
			}
			if got := files(t, out, "tmp"); len(got) != 0 {
				t.Errorf("written outside: %q", got)
			}
		})
	}
}

func TestWhatIsNoFolder(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox, "A/B/C")
	makeMaildir(t, root, ".hidden")
	makeMaildir(t, root, "A", ".hidden")
	makeMaildir(t, root, ".satchel", "x")
	writeFile(t, root, "dovecot.index.log", "")
	writeFile(t, root, "subscriptions", "")
	names, problems := folderNames(t, s)
	if want := []mail.FolderName{"INBOX", "A/B/C"}; !slices.Equal(names, want) {
		t.Errorf("folders %q, want %q: containers are none", names, want)
	}
	if len(problems) != 1 || problems[0].File != ".hidden" || problems[0].Folder != "" {
		t.Errorf("problems %v, want the Maildir in the root that begins with a dot", problems)
	}
	s, root = testStore(t, PlusPlus, mail.Inbox, "A/B", "satchel/news")
	makeMaildir(t, root, "plain")
	makeMaildir(t, root, ".bad..name")
	makeMaildir(t, root, ".INBOX")
	if err := os.Mkdir(filepath.Join(root, ".nofolder"), 0o700); err != nil {
		t.Fatal(err)
	}
	names, problems = folderNames(t, s)
	if want := []mail.FolderName{"INBOX", "A/B", "satchel/news"}; !slices.Equal(names, want) || len(problems) != 2 {
		t.Errorf("folders %q %v, want %q", names, problems, want)
	}
}

func TestPartOfAFolderIsRepairedOnUse(t *testing.T) {
	for _, gone := range [][]string{{"tmp"}, {"new"}, {"cur"}, {"cur", "new"}, {"new", "tmp"}} {
		s, root := testStore(t, Nested, mail.Inbox, "F")
		for _, sub := range gone {
			if err := os.Remove(filepath.Join(root, "F", sub)); err != nil {
				t.Fatal(err)
			}
		}
		if names, _ := folderNames(t, s); !slices.Contains(names, "F") {
			t.Errorf("without %v it is gone", gone)
		}
		mustScan(t, s, "F")
		got := deliver(t, s, "F", mail.NewFlags(`\Seen`), "x")
		if _, err := s.Stat("F", got.Base); err != nil {
			t.Errorf("without %v: %v", gone, err)
		}
	}
	s, root := testStore(t, Nested, mail.Inbox, "F")
	for _, sub := range subdirs {
		if err := os.Remove(filepath.Join(root, "F", sub)); err != nil {
			t.Fatal(err)
		}
	}
	if names, _ := folderNames(t, s); slices.Contains(names, "F") {
		t.Error("it is still there without cur, new and tmp")
	}
	if _, err := s.Scan(t.Context(), "F", nil); !errors.Is(err, ErrNoFolder) {
		t.Errorf("Scan: %v", err)
	}
	if _, err := s.NewBatch().Add("F", mail.Flags{}, s.now()); !errors.Is(err, ErrNoFolder) {
		t.Errorf("Add: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "missing", "Mail"), Nested, Options{}); !errors.Is(err, ErrNotMounted) {
		t.Errorf("parent missing: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "missing", "Mail"), Nested, Options{}); !strings.HasSuffix(err.Error(), "on a first run: mkdir -p "+filepath.Join(dir, "missing")) {
		t.Errorf("the advice is missing: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "missing")); err == nil {
		t.Error("the parent was made")
	}
	if _, err := Open(filepath.Join(dir, "ro"), Nested, Options{ReadOnly: true}); err == nil {
		t.Error("read-only made a root")
	}
	if _, err := Open(dir, "flat", Options{}); err == nil {
		t.Error("layout flat is none")
	}
	s, err := Open(filepath.Join(dir, "Mail"), Nested, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if info, err := os.Stat(filepath.Join(dir, "Mail")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("root: %v %v", info, err)
	}

	plus, nested := makeMaildir(t, dir, "plus"), filepath.Join(dir, "nested")
	dotted := filepath.Join(dir, "dotted")
	makeMaildir(t, dotted, ".Sent")
	makeMaildir(t, nested, "INBOX")
	for _, tt := range []struct {
		root   string
		layout Layout
		want   error
	}{
		{plus, Nested, ErrLayout}, {plus, PlusPlus, nil},
		{dotted, Nested, ErrLayout}, {dotted, PlusPlus, nil},
		{nested, PlusPlus, ErrLayout}, {nested, Nested, nil},
	} {
		s, err := Open(tt.root, tt.layout, Options{})
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("Open(%s, %s) = %v, want %v", filepath.Base(tt.root), tt.layout, err, tt.want)
		}
		if err == nil {
			s.Close()
		}
	}
}

// TestMaildirInMaildir: a directory that is a Maildir of Satchel's itself is no folder, nor is anything in it, and what is in it is not gone.
func TestMaildirInMaildir(t *testing.T) {
	for _, layout := range []Layout{Nested, PlusPlus} {
		for _, own := range []string{lockFile, stateFile} {
			s, root := testStore(t, layout, mail.Inbox, "A", "work", "work/INBOX", "work/B/C", "workshop")
			work := filepath.Join(root, "work")
			if layout == PlusPlus {
				work = filepath.Join(root, ".work")
			}
			writeFile(t, root, own, "")
			writeFile(t, work, own, "")
			folders, problems, err := s.Folders()
			if err != nil {
				t.Fatal(err)
			}
			var names []mail.FolderName
			for _, f := range folders {
				names = append(names, f.Name)
			}
			want := []mail.FolderName{mail.Inbox, "A", "workshop"}
			if layout == PlusPlus { // there they lie beside it
				want = []mail.FolderName{mail.Inbox, "A", "work/B/C", "work/INBOX", "workshop"}
			}
			if !slices.Equal(names, want) {
				t.Errorf("%s, %s: %v", layout, own, names)
			}
			if len(problems) != 1 || problems[0].Folder != "work" || !errors.Is(problems[0], errOthers) {
				t.Errorf("%s, %s: %v", layout, own, problems)
			}
		}
	}
}

func FuzzFolderNames(f *testing.F) {
	for _, n := range hostileNames {
		f.Add(n, "x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		// As the server means it, there and back.
		comps := []string{a, b}
		if name, err := mail.NewFolderName(comps); err == nil {
			if got := name.Path(); !slices.Equal(got, comps) {
				t.Fatalf("%q is named %q, which means %q", comps, name, got)
			}
			dir := plusPlusName(comps)
			if got, ok := plusPlusPath(dir); !ok || !slices.Equal(got, comps) {
				t.Fatalf("%q lies in %q, which means %q", comps, dir, got)
			}
			if strings.ContainsAny(dir, "/\x00") || dir == "." || dir == ".." {
				t.Fatalf("%q lies in %q", comps, dir)
			}
			for c := range strings.SplitSeq(string(name), "/") {
				if c == "." || c == ".." || strings.HasPrefix(c, ".") || isSubdir(c) || strings.ContainsRune(c, 0) {
					t.Fatalf("%q is named %q", comps, name)
				}
			}
			if clean := path.Clean(string(name)); clean != string(name) {
				t.Fatalf("%q is not a clean path", name)
			}
		}
		// As a directory is called: it is found again under the name that it is given.
		for _, also := range []string{"", "."} {
			if a == "" || strings.ContainsAny(a, "/\x00") || !utf8.ValidString(a) || strings.HasPrefix(a, ".") || (also == "." && strings.Contains(a, ".")) || isSubdir(a) || len(a) > maxNameBytes {
				continue
			}
			c := mail.UnescapeComponent(a, also)
			if mail.EscapeComponent(c, also) == a {
				continue
			}
			if literal, ok := literalName(c, also); !ok || literal != a {
				t.Fatalf("directory %q means %q, which is looked for in %q", a, c, literal)
			}
		}
	})
}
