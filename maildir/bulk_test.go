package maildir

import (
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// bulkCases are all ways in which a folder may be known, or not, when many of its messages are changed.
func bulkCases(t *testing.T, n int, do func(t *testing.T, s *Store, f *faultFS, root string, messages []Seen)) {
	for _, listing := range []string{"none", "all", "known", "outdated", "seen last"} {
		t.Run(fmt.Sprintf("%d messages, listing %s", n, listing), func(t *testing.T) {
			s, f, root := faultStore(t, Nested)
			f.age = time.Hour
			for _, name := range []mail.FolderName{mail.Inbox, "To"} {
				if err := s.CreateFolder(name); err != nil {
					t.Fatal(err)
				}
			}
			inbox := filepath.Join(root, "INBOX")
			var messages []Seen
			for i := range n {
				base := fmt.Sprintf("m%03d", i)
				m := Seen{Base: base}
				if listing == "seen last" && i%3 != 1 {
					m.Flags = mail.SystemFlags(mail.Seen) // of some it is not true any more
				}
				messages = append(messages, m)
				// Every third has letters that nobody guesses.
				writeFile(t, inbox, "cur", base+":2,"+[]string{"S", "", "DFRT"}[i%3], base)
			}
			switch listing {
			case "known":
				scanKnown(t, s, knowing(mustScan(t, s, mail.Inbox).Entries))
			case "all", "outdated":
				mustScan(t, s, mail.Inbox)
			}
			if listing == "outdated" {
				for _, name := range files(t, inbox, "cur") {
					if err := os.Rename(filepath.Join(inbox, "cur", name), filepath.Join(inbox, "cur", name+"X")); err != nil {
						t.Fatal(err)
					}
				}
			}
			f.set(nil)
			do(t, s, f, root, append(messages, Seen{Base: "none"}, Seen{Base: "../m000"}, Seen{}))
			// What is not where it was is looked for together, and where many are moved to is read once.
			for _, dir := range []string{"INBOX/new", "INBOX/cur", "To/new", "To/cur"} {
				reads := 0
				for _, c := range f.calls() {
					if c == "list "+dir {
						reads++
					}
				}
				// A folder that was not read before may be asked for a name, to see how its files are called.
				if reads > 1 && (dir != "INBOX/cur" || reads > 2) {
					t.Errorf("%s was read %d times for %d messages", dir, reads, n)
				}
			}
		})
	}
}

func TestBulk(t *testing.T) {
	for _, n := range []int{5, 3 * maxGuesses} {
		t.Run("flags", func(t *testing.T) {
			bulkCases(t, n, changeFlags)
		})
		t.Run("move", func(t *testing.T) {
			bulkCases(t, n, func(t *testing.T, s *Store, _ *faultFS, root string, messages []Seen) {
				writeFile(t, root, "To", "cur", "m001:2,", "theirs")
				out := s.MoveAll(mail.Inbox, messages, "To")
				checkOutcomes(t, out, n)
				for i := range n {
					text, err := os.ReadFile(filepath.Join(root, "To", "cur", out[i].Entry.File))
					if err != nil || string(text) != messages[i].Base || (out[i].Entry.Base == messages[i].Base) != (i != 1) {
						t.Fatalf("%s is %+v: %q %v", messages[i].Base, out[i].Entry, text, err)
					}
				}
				if got := files(t, root, "To", "cur"); len(got) != n+1 {
					t.Errorf("%d files there", len(got))
				}
				if got := files(t, root, "INBOX", "cur"); len(got) != 0 {
					t.Errorf("left: %v", got)
				}
			})
		})
		t.Run("remove", func(t *testing.T) {
			bulkCases(t, n, func(t *testing.T, s *Store, f *faultFS, root string, messages []Seen) {
				run := RunName(time.Unix(1e9, 0))
				checkOutcomes(t, s.RemoveAll(mail.Inbox, messages, &Undo{Run: run}), n)
				if got := files(t, root, ".satchel", "undo", run, "INBOX"); len(got) != n {
					t.Errorf("%d are kept", len(got))
				}
				if err := s.Flush(); err != nil {
					t.Fatal(err)
				}
				kept, gone := slices.Index(f.calls(), "syncdir .satchel/undo/"+run+"/INBOX"), slices.Index(f.calls(), "syncdir INBOX/cur")
				if kept < 0 || gone < kept {
					t.Errorf("durable where they are kept after %d calls, where they were after %d", kept, gone)
				}
			})
		})
	}
}

// changeFlags changes the flags of all bulkCases, of which three are none.
func changeFlags(t *testing.T, s *Store, _ *faultFS, _ string, messages []Seen) {
	var changes []FlagChange
	for _, m := range messages {
		changes = append(changes, FlagChange{m, mail.NewFlags(`\Answered`), mail.NewFlags(`\Draft`)})
	}
	n := len(messages) - 3
	out := s.SetFlagsAll(mail.Inbox, changes)
	checkOutcomes(t, out, n)
	for i := range n {
		want := []string{`\Answered \Seen`, `\Answered`, `\Flagged \Answered \Deleted`}[i%3]
		info, err := s.Stat(mail.Inbox, messages[i].Base)
		if err != nil || info.File != out[i].Entry.File || info.Flags.String() != want || !out[i].Entry.Flags.Equal(info.Flags) {
			t.Fatalf("%s: %+v %v, said to be %+v", messages[i].Base, info, err, out[i].Entry)
		}
	}
}

// TestBulkOfRenames: so many that their names are worked out beside the renaming.
func TestBulkOfRenames(t *testing.T) {
	bulkCases(t, manyRenames+renamesAtOnce/2, func(t *testing.T, s *Store, f *faultFS, root string, messages []Seen) {
		s.real = true
		changeFlags(t, s, f, root, messages)
	})
}

// TestRenamesTakeNoLook: a message that is where it was, with the flags that it had, takes one call.
func TestRenamesTakeNoLook(t *testing.T) {
	for _, before := range []string{"", "S"} {
		s, f, root := faultStore(t, Nested)
		s.real = true
		if err := s.CreateFolder(mail.Inbox); err != nil {
			t.Fatal(err)
		}
		var changes []FlagChange
		for i := range manyRenames + 3 {
			base := fmt.Sprintf("m%04d", i)
			writeFile(t, root, "INBOX", "cur", base+":2,"+before, base)
			changes = append(changes, FlagChange{Seen: Seen{Base: base, Flags: mail.SystemFlags(systemFlags(before))}, Add: mail.NewFlags(`\Flagged`)})
		}
		f.set(nil)
		for _, o := range s.SetFlagsAll(mail.Inbox, changes) {
			if o.Err != nil || o.Entry.Flags.String() != strings.TrimSpace(`\Flagged `+mail.SystemFlags(systemFlags(before)).String()) {
				t.Fatalf("%+v", o)
			}
		}
		calls := map[string]int{}
		for _, c := range f.calls() {
			op, _, _ := strings.Cut(c, " ")
			calls[op]++
		}
		// Where those without flags lie is tried out once, and a name of the folder may be asked for.
		if calls["renamenew"] > len(changes)+1 || len(f.calls()) > len(changes)+10 {
			t.Errorf("%d messages with flags %q: %v", len(changes), before, calls)
		}
	}
}

// TestRenamesAgainstAReader: a reader marks messages at the same time; neither takes anything from the other.
func TestRenamesAgainstAReader(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	cur := filepath.Join(root, "INBOX", "cur")
	var changes []FlagChange
	for i := range 4 * manyRenames {
		base := fmt.Sprintf("m%04d", i)
		writeFile(t, cur, base+":2,", base)
		changes = append(changes, FlagChange{Seen: Seen{Base: base}, Add: mail.NewFlags(`\Seen`)})
	}
	mustScan(t, s, mail.Inbox)
	marked := make(chan int)
	go func() {
		n := 0
		for i := len(changes) - 1; i >= 0; i -= 3 {
			from := filepath.Join(cur, changes[i].Base+":2,")
			if os.Rename(from, from+"F") == nil || os.Rename(from+"S", from+"FS") == nil {
				n++
			}
		}
		marked <- n
	}()
	for i, o := range s.SetFlagsAll(mail.Inbox, changes) {
		if o.Err != nil || o.Entry.Base != changes[i].Base || !o.Entry.Flags.Has(mail.Seen) {
			t.Fatalf("%+v", o)
		}
	}
	want, got := <-marked, 0
	names := files(t, cur)
	for _, name := range names {
		n := parseFileName(name)
		if text, err := os.ReadFile(filepath.Join(cur, name)); err != nil || string(text) != n.base || !strings.Contains(n.letters, "S") {
			t.Errorf("%s holds %q: %v", name, text, err)
		}
		if strings.Contains(n.letters, "F") {
			got++
		}
	}
	if len(names) != len(changes) || got != want || want == 0 {
		t.Errorf("%d files of %d, %d marked by the reader of %d", len(names), len(changes), got, want)
	}
}

// TestReflaggedIsThere: what was removed, brought back by somebody and given other flags among very many others is not remembered as gone.
func TestReflaggedIsThere(t *testing.T) {
	l := &listing{others: &nameHashes{seed: maphash.MakeSeed()}}
	for i := range 2 * fewChanges {
		base := fmt.Sprintf("m%04d", i)
		l.set(base, nil)
		l.reflagged(Entry{Base: base, File: base + ":2,S"})
		if _, v := l.find(base); v == absent {
			t.Fatalf("%s is remembered as gone", base)
		}
	}
}

// checkOutcomes: n messages are changed, and the three after them are none.
func checkOutcomes(t *testing.T, out []Outcome, n int) {
	t.Helper()
	if len(out) != n+3 {
		t.Fatalf("%d outcomes, want %d", len(out), n+3)
	}
	for i, o := range out {
		if i < n && o.Err != nil || i >= n && !errors.Is(o.Err, ErrNotFound) {
			t.Fatalf("%d: %+v", i, o)
		}
	}
}

func TestBulkErrors(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	writeFile(t, root, "INBOX", "cur", "m:2,S", "x")
	one := []Seen{{Base: "m"}, {Base: "m"}}
	flag := []FlagChange{{Seen: Seen{Base: "m"}, Add: mail.NewFlags(`\Seen`)}}
	for what, out := range map[string][]Outcome{
		"flags": s.SetFlagsAll("None", flag), "from": s.MoveAll("None", one, mail.Inbox), "to": s.MoveAll(mail.Inbox, one, "None"), "remove": s.RemoveAll("None", one, nil),
	} {
		for _, o := range out {
			if !errors.Is(o.Err, ErrNoFolder) {
				t.Errorf("%s: %v", what, o.Err)
			}
		}
	}
	ro, err := Open(root, Nested, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	for what, out := range map[string][]Outcome{
		"flags": ro.SetFlagsAll(mail.Inbox, flag), "move": ro.MoveAll(mail.Inbox, one, "To"), "remove": ro.RemoveAll(mail.Inbox, one, &Undo{Run: RunName(time.Now())}),
	} {
		for _, o := range out {
			if !errors.Is(o.Err, ErrReadOnly) || !strings.Contains(o.Err.Error(), "INBOX") {
				t.Errorf("%s: %v", what, o.Err)
			}
		}
	}
	// The same message twice: it is gone the second time.
	out := s.RemoveAll(mail.Inbox, one, nil)
	if out[0].Err != nil || !errors.Is(out[1].Err, ErrNotFound) || out[0].Entry.File != "m:2,S" {
		t.Errorf("%+v", out)
	}
	if got := s.SetFlagsAll(mail.Inbox, nil); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestBulkAgainstAReader: a reader renames files between our look and our rename; its flags stay.
func TestBulkAgainstAReader(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	f.age = time.Hour
	if err := s.CreateFolder(mail.Inbox); err != nil {
		t.Fatal(err)
	}
	cur := filepath.Join(root, "INBOX", "cur")
	var changes []FlagChange
	for i := range 10 {
		base := fmt.Sprintf("m%d", i)
		writeFile(t, cur, base+":2,", "x")
		changes = append(changes, FlagChange{Seen: Seen{Base: base}, Add: mail.NewFlags(`\Seen`)})
	}
	mustScan(t, s, mail.Inbox)
	times := map[string]int{}
	f.set(func(op, name string) error {
		base, _, _ := strings.Cut(filepath.Base(name), ":")
		letters := []string{"", "F", "FR", "FRT"}
		if op != "renamenew" || times[base] > 2 {
			return nil
		}
		times[base]++
		return os.Rename(filepath.Join(cur, base+":2,"+letters[times[base]-1]), filepath.Join(cur, base+":2,"+letters[times[base]]))
	})
	for i, o := range s.SetFlagsAll(mail.Inbox, changes) {
		if o.Err != nil || o.Entry.File != fmt.Sprintf("m%d:2,FRST", i) {
			t.Errorf("%+v", o)
		}
	}
}

// TestFlagsThatAreThereAlready: nothing is to be done for what the listing says, unless it is not so any more.
func TestFlagsThatAreThereAlready(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	cur := filepath.Join(root, "INBOX", "cur")
	writeFile(t, cur, "m:2,S", "x")
	mustScan(t, s, mail.Inbox)
	if err := os.Rename(filepath.Join(cur, "m:2,S"), filepath.Join(cur, "m:2,")); err != nil {
		t.Fatal(err)
	}
	if e, err := s.SetFlags(mail.Inbox, "m", mail.NewFlags(`\Seen`), mail.Flags{}); err != nil || e.File != "m:2,S" {
		t.Errorf("%+v %v", e, err)
	}
	if err := os.Remove(filepath.Join(cur, "m:2,S")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetFlags(mail.Inbox, "m", mail.NewFlags(`\Seen`), mail.Flags{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}
