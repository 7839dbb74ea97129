package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/daemon"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// TestUndoIsNoMail: what is kept for undo is neither a folder nor a message to programs that read the Maildir.
func TestUndoIsNoMail(t *testing.T) {
	t.Parallel()
	for layout, readers := range map[string]map[string]func(*testing.T) (s *servers.Server, root string){
		"nested": {
			"Dovecot": func(t *testing.T) (*servers.Server, string) {
				return dovecotReader(t, "maildir:~/Mail:LAYOUT=fs:INBOX=~/Mail/INBOX")
			},
			"Dovecot, with INBOX elsewhere": func(t *testing.T) (*servers.Server, string) {
				return dovecotReader(t, "maildir:~/Mail:LAYOUT=fs:INBOX=~/Mail/INBOX:INDEX=~/index")
			},
		},
		"maildir++": {
			"Dovecot": func(t *testing.T) (*servers.Server, string) { return dovecotReader(t, "maildir:~/Mail") },
			"Courier": func(t *testing.T) (*servers.Server, string) {
				s := servers.Courier(t, servers.Options{})
				return s, s.Root
			},
		},
	} {
		t.Run(layout, func(t *testing.T) {
			a := dovecot(t)
			a.set("layout", quote(layout))
			a.client().Create("Work/Sub")
			a.send("INBOX", flags(), "gone", "stays")
			a.send("Work/Sub", flags("$Label1"), "gone too", "stays too")
			a.sync(0)
			a.client().Expunge("INBOX", a.uid("INBOX", "gone"))
			a.client().Expunge("Work/Sub", a.uid("Work/Sub", "gone too"))
			a.sync(0)
			a.keptAside(2)
			for name, start := range readers {
				t.Run(name, func(t *testing.T) {
					s, root := start(t)
					hand(t, a.Maildir, root)
					c := s.Client(t)
					sub := s.Prefix + "Work" + s.Separator + "Sub"
					// Courier lists whatever begins with a dot, Satchel's database and lock too.
					got := slices.DeleteFunc(c.Folders(), func(f string) bool { return s.Name == "courier" && isOwn(f) })
					if want := []string{"INBOX", sub}; !slices.Equal(got, want) {
						t.Errorf("the folders are %q, want %q", got, want)
					}
					for folder, want := range map[string]string{"INBOX": "stays", sub: "stays too"} {
						if all := c.Messages(folder); len(all) != 1 || subjectOf(all[0].Body) != want {
							t.Errorf("%s holds %d messages, want %q alone", folder, len(all), want)
						}
					}
				})
			}
			t.Run("mutt", func(t *testing.T) {
				needPrograms(t, "mutt", "tmux")
				dirs := a.undoDirs()
				if len(dirs) < 3 {
					t.Fatalf("only %q", dirs)
				}
				startMutt(t, a, dirs...).until("all to be no mailboxes", func(screen string) bool {
					return strings.Count(screen, "is not a mailbox") == len(dirs)
				})
			})
			t.Run("mutt, in the folders", func(t *testing.T) {
				needPrograms(t, "mutt", "tmux")
				m := startMutt(t, a, a.dir("INBOX"), a.dir("Work/Sub"))
				for _, want := range []string{"stays", "stays too"} {
					m.until(want+" to be the only message", func(screen string) bool {
						return regexp.MustCompile(`(?m) `+want+` *$`).MatchString(screen) && strings.Contains(screen, "Msgs:1 ")
					})
					m.keys("q")
				}
			})
			t.Run("notmuch", func(t *testing.T) { a.indexed(t, "stays", "stays too") })
			// And they come back from there.
			if o := a.run("undo"); o.Code != 0 {
				t.Fatal(o)
			}
			a.holds("INBOX", "gone", "stays")
			a.holds("Work/Sub", "gone too", "stays too")
			a.settled()
			a.keptAside(0)
		})
	}
}

// indexed fails the test unless notmuch, set up as README.md has it, finds just the messages with these subjects, and neither a file that
// it does not take for mail nor one of what is kept for undo.
func (a *account) indexed(t *testing.T, want ...string) {
	t.Helper()
	needPrograms(t, "notmuch")
	home := t.TempDir()
	_, text, _ := strings.Cut(readme(t), "# ~/.notmuch-config\n")
	text, _, ok := strings.Cut(text, "```")
	if !ok || strings.Count(text, "path=/home/me/Mail\n") != 1 {
		t.Fatalf("README.md has no configuration for notmuch that is understood: %q", text)
	}
	config := filepath.Join(home, "notmuch-config")
	a.check(os.WriteFile(config, []byte(strings.Replace(text, "/home/me/Mail", filepath.Join(home, "Mail"), 1)), 0o600))
	a.check(os.CopyFS(filepath.Join(home, "Mail", "me"), os.DirFS(a.Maildir)))
	notmuch := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "notmuch", args...)
		cmd.Env = []string{"HOME=" + home, "NOTMUCH_CONFIG=" + config, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("notmuch %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	if said := notmuch("new"); strings.Contains(said, "non-mail") {
		t.Errorf("notmuch found what is no mail: %s", said)
	}
	var got []string
	for path := range strings.Lines(notmuch("search", "--output=files", "*")) {
		b, err := os.ReadFile(strings.TrimSuffix(path, "\n"))
		a.check(err)
		got = append(got, subjectOf(b))
	}
	slices.Sort(got)
	if count := strings.TrimSpace(notmuch("count", "*")); !slices.Equal(got, want) || count != strconv.Itoa(len(want)) {
		t.Errorf("notmuch counts %s messages and has %q, want %q", count, got, want)
	}
}

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func isOwn(folder string) bool {
	return folder == "INBOX.satchel.db" || folder == "INBOX.satchel.lock" || strings.HasPrefix(folder, "INBOX.satchel.db-tag-")
}

// undoDirs are the directories in which messages are kept for undo, and those above them.
func (a *account) undoDirs() []string {
	a.t.Helper()
	root := filepath.Join(a.Maildir, ".satchel", "undo")
	if a.plus {
		root = filepath.Join(a.Maildir, "satchel-undo")
	}
	var dirs []string
	a.check(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	}))
	return dirs
}

// keptAside fails the test unless n messages are kept for undo, where those who look for cur and new find no mail.
func (a *account) keptAside(n int) {
	a.t.Helper()
	kept := 0
	a.check(filepath.WalkDir(a.Maildir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(a.Maildir, path)
		top, _, _ := strings.Cut(rel, string(filepath.Separator))
		if err != nil || top != ".satchel" && top != "satchel-undo" {
			return err
		}
		if slices.Contains([]string{"cur", "new", "tmp"}, d.Name()) {
			a.t.Errorf("%s looks like a part of a Maildir", path)
		}
		if d.Type().IsRegular() && !strings.HasPrefix(d.Name(), ".") {
			kept++
		}
		return nil
	}))
	if kept != n {
		a.t.Errorf("%d messages are kept for undo, want %d", kept, n)
	}
}

// dovecotReader is a Dovecot whose user's mail lies in ~/Mail, and that directory.
func dovecotReader(t *testing.T, location string) (*servers.Server, string) {
	t.Helper()
	s := servers.Dovecot(t, servers.Options{Config: "mail_location = " + location})
	return s, filepath.Join(filepath.Dir(filepath.Dir(s.Root)), "h", s.User, "Mail")
}

// hand puts a copy of a Maildir in the place of another that a server's user owns.
func hand(t *testing.T, from, to string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.RemoveAll(to))
	must(os.MkdirAll(filepath.Dir(to), 0o755))
	must(daemon.Give(filepath.Dir(to)))
	must(os.CopyFS(to, os.DirFS(from)))
	must(filepath.WalkDir(to, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return daemon.Give(path)
	}))
}
