package sync_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/model"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// TestSameMessageIDOtherContent: two messages of one size and with one Message-ID, or with one header that has none, are two.
func TestSameMessageIDOtherContent(t *testing.T) {
	t.Parallel()
	text := func(id, subject, body string) string {
		return id + "Subject: " + subject + "\nDate: Mon, 02 Jun 2025 10:00:00 +0000\n\n" + body + "\n"
	}
	const id = "Message-ID: <same@example.org>\n"
	for name, texts := range map[string][2]string{
		"another header":                    {text(id, "a", "body 1"), text(id, "b", "body 1")},
		"the same header and no Message-ID": {text("", "a", "body 1"), text("", "a", "body 2")},
	} {
		t.Run(name, func(t *testing.T) {
			one, other := texts[0], texts[1]
			w := newWorld(t, model.Full())
			w.server.CreateMailbox("B")
			uid := w.arrive("INBOX", one)
			w.put("INBOX", other, "S")
			check := func(folder string, texts ...string) {
				t.Helper()
				w.same()
				if len(w.files(folder)) != len(texts) {
					t.Fatalf("%s", w)
				}
				for _, text := range texts {
					w.file(folder, text)
				}
			}
			w.sync()
			check("INBOX", one, other)
			w.quiet()
			// One is moved, the other one deleted: neither is taken for the other.
			w.server.Move("INBOX", "B", uid)
			w.must(os.Remove(w.file("INBOX", other)))
			w.sync()
			check("INBOX")
			check("B", one)
			w.quiet()
		})
	}
}

// TestFileCopiedUnderItsName: a mail reader copies a file into another folder and keeps its name.
func TestFileCopiedUnderItsName(t *testing.T) {
	t.Parallel()
	w := newPairWorld(t, `\Seen`)
	file := w.file()
	w.mkfolder("B")
	copied := filepath.Join(w.dir("B"), "cur", filepath.Base(file))
	w.must(os.WriteFile(copied, []byte(w.text), 0o600))
	w.sync()
	w.want(boxes(map[string][]string{"A": {`m \Seen`}, "B": {`m \Seen`}}))
	w.quiet()
	w.reflag(w.world.file("B", w.text), "FS")
	w.sync()
	w.want(boxes(map[string][]string{"A": {`m \Seen`}, "B": {`m \Flagged \Seen`}}))
	w.must(os.Remove(w.file()))
	w.sync()
	w.want(boxes(map[string][]string{"B": {`m \Flagged \Seen`}}))
	w.quiet()
}

// TestFileReplacedByALink: what can't be read any more is reported and is not gone.
func TestFileReplacedByALink(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(path string) error{
		"a link to nowhere": func(path string) error { return os.Symlink("nowhere", path) },
		"a directory":       func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newPairWorld(t, `\Seen`)
			file, away := w.file(), filepath.Join(t.TempDir(), "away")
			w.must(os.Rename(file, away))
			w.must(put(file))
			for range 2 {
				res := w.try()
				if res.Fatal != nil || len(res.Errors) == 0 {
					t.Errorf("fatal %v, errors %v", res.Fatal, res.Errors)
				}
				if n := len(w.serverTree()["A"]); n != 1 {
					t.Fatalf("the server has %d messages", n)
				}
			}
			w.must(os.Remove(file))
			w.must(os.Rename(away, file))
			w.sync()
			w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
			w.quiet()
		})
	}
}

// TestUnreadableIsReportedAgain: what is no message is reported by every sync, until somebody mends it, also once the directory's times
// would show that nothing happened since.
func TestUnreadableIsReportedAgain(t *testing.T) {
	t.Parallel()
	w := newPairWorld(t, `\Seen`)
	w.must(os.Symlink("nowhere", filepath.Join(w.dir("A"), "cur", "link:2,S")))
	for i := range 5 { // some milliseconds each, more in all than a directory counts as just changed
		if res := w.try(); res.Fatal != nil || len(res.Errors) != 1 {
			t.Fatalf("sync %d: fatal %v, errors %v", i, res.Fatal, res.Errors)
		}
	}
}

// TestNothingInTheTemporaryDirectory: only a dry run needs a place there, which nobody else can foresee or look into.
func TestNothingInTheTemporaryDirectory(t *testing.T) {
	w := newWorld(t, model.Full())
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	w.arrive("INBOX", w.message("a"))
	dry := true
	w.server.SetFault(func(s model.Step) model.Action {
		entries, err := os.ReadDir(tmp)
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Mode() != os.ModeDir|0o700 {
				t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
			}
		}
		if s.Op == "list" && (len(entries) == 1) != dry || len(entries) > 1 {
			t.Errorf("%s, dry run %v: the temporary directory holds %v", s, dry, entries)
		}
		return model.Action{}
	})
	w.opt = mailsync.Options{DryRun: true}
	w.sync()
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	w.opt, dry = mailsync.Options{}, false
	w.sync()
	w.want(map[string][]string{"INBOX": {"a"}})
}
