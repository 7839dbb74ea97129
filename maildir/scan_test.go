package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

func TestScanReadsNames(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	inbox := filepath.Join(root, "INBOX")
	writeFile(t, inbox, keywordsFile, "0 Work\n1 $Forwarded\n25 Last\n")
	want := map[string]Entry{}
	for dir, names := range map[string][]string{
		"new": {"n1", "n2:2,", "n3:2,S"},
		"cur": {"c1:2,", "c2:2,FS", "c3", "c4:1,exp", "c5:3,S", "c6:2,S:2,F", "c7;2,R", "c8!2,T", "c9:2,SQa", "c10:2,az", "c11:2,bS,x", "c12,S=3,W=4:2,D", "c13:2,e"},
	} {
		for _, name := range names {
			writeFile(t, inbox, dir, name, "x")
			n := parseFileName(name)
			want[n.base] = Entry{Base: n.base, New: dir == "new", File: name}
		}
	}
	flags := map[string]string{
		"n3": `\Seen`, "c2": `\Flagged \Seen`, "c6:2,S": `\Flagged`, "c7": `\Answered`, "c8": `\Deleted`, "c9": `\Seen Work`,
		"c10": "Last Work", "c11": `$Forwarded \Seen`, "c12,S=3,W=4": `\Draft`,
	}
	for _, skip := range []string{".hidden", ".nfs0001", ".satchel.x"} {
		writeFile(t, inbox, "cur", skip, "x")
	}
	scan := mustScan(t, s, mail.Inbox)
	if len(scan.Entries) != len(want) || len(scan.Problems) != 0 || !scan.Quiet {
		t.Errorf("%d entries, %v, quiet %v; want %d", len(scan.Entries), scan.Problems, scan.Quiet, len(want))
	}
	if !slices.IsSortedFunc(scan.Entries, compareEntries) {
		t.Error("not sorted")
	}
	for _, e := range scan.Entries {
		w := want[e.Base]
		w.Flags = mail.ParseFlags(flags[e.Base])
		if !e.Flags.Equal(w.Flags) || e.New != w.New || e.File != w.File {
			t.Errorf("%+v, want %+v", e, w)
		}
	}
}

func TestScanReportsWhatIsNoMessage(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	cur := filepath.Join(root, "INBOX", "cur")
	writeFile(t, cur, "real:2,", "x")
	if err := errors.Join(os.Mkdir(filepath.Join(cur, "dir:2,"), 0o700), os.Symlink("real:2,", filepath.Join(cur, "link:2,S")),
		os.Symlink("/etc/passwd", filepath.Join(cur, "out:2,")), os.Symlink("nowhere", filepath.Join(cur, "dangling:2,")),
		mkfifo(filepath.Join(cur, "pipe:2,"))); err != nil {
		t.Fatal(err)
	}
	scan := mustScan(t, s, mail.Inbox)
	if len(scan.Entries) != 1 || scan.Entries[0].Base != "real" {
		t.Errorf("entries %v", scan.Entries)
	}
	var names []string
	for _, p := range scan.Problems {
		names = append(names, strings.TrimPrefix(p.File, "INBOX/cur/"))
		if !errors.Is(p, ErrNotRegular) || p.Folder != mail.Inbox {
			t.Errorf("problem %v", p)
		}
	}
	slices.Sort(names)
	if want := []string{"dangling:2,", "dir:2,", "link:2,S", "out:2,", "pipe:2,"}; !slices.Equal(names, want) {
		t.Errorf("problems %q, want %q", names, want)
	}
	for _, name := range []string{"link:2,S", "pipe:2,", "dir:2,"} {
		if _, err := s.fs.Open("INBOX/cur/" + name); !errors.Is(err, ErrNotRegular) {
			t.Errorf("opening %s: %v", name, err)
		}
	}
	for _, base := range []string{"../cur/real", "", ".", "..", "a/b", "a\x00"} {
		if _, err := s.Stat(mail.Inbox, base); !errors.Is(err, ErrNotFound) {
			t.Errorf("Stat(%q) = %v", base, err)
		}
	}
}

func TestUnreadableIsNotGone(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	if err := s.CreateFolder(mail.Inbox); err != nil {
		t.Fatal(err)
	}
	writeFile(t, root, "INBOX", "cur", "m:2,S", "x")
	f.set(func(op, name string) error {
		if op == "open" || op == "list" && strings.HasSuffix(name, "cur") {
			return fs.ErrPermission
		}
		return nil
	})
	if _, err := s.Scan(t.Context(), mail.Inbox, nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Scan: %v", err)
	}
	if _, _, err := s.Survey(t.Context(), mail.Inbox, "m"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Survey: %v", err)
	}
	if _, err := s.Stat(mail.Inbox, "gone"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Stat: %v", err)
	}
	if info, err := s.Stat(mail.Inbox, "m"); err != nil || info.Size != 1 {
		t.Errorf("Stat: %+v %v", info, err)
	}
}

func TestTwoFilesWithOneBaseName(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	inbox := filepath.Join(root, "INBOX")
	writeFile(t, inbox, "cur", "a:2,S", "first")
	tick(t, root)
	writeFile(t, inbox, "cur", "a:2,FS", "second")
	tick(t, root)
	writeFile(t, inbox, "new", "a", "third")

	ro, err := Open(root, Nested, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	if scan := mustScan(t, ro, mail.Inbox); len(scan.Entries) != 1 || scan.Entries[0].File != "a:2,S" || len(scan.Problems) != 2 {
		t.Errorf("reading only: %+v", scan)
	}

	scan := mustScan(t, s, mail.Inbox)
	texts := map[string]string{}
	for _, e := range scan.Entries {
		texts[e.Base] = readWire(t, s, mail.Inbox, e.Base, false)
	}
	if len(scan.Entries) != 3 || len(texts) != 3 || texts["a"] != "first" || len(scan.Problems) != 0 {
		t.Errorf("entries %+v: %q; want three messages, the oldest as it was called", scan.Entries, texts)
	}
	for _, e := range scan.Entries {
		if texts[e.Base] == "second" && (e.New || e.Flags.String() != `\Flagged \Seen`) || texts[e.Base] == "third" && !e.New {
			t.Errorf("%+v", e)
		}
	}
	if again := mustScan(t, s, mail.Inbox); !slices.Equal(again.Entries, scan.Entries) {
		t.Errorf("a second reading gives %+v, want %+v", again.Entries, scan.Entries)
	}
}

// tick waits until the file system's clock has moved on, by watching it.
func tick(t testing.TB, root string) {
	t.Helper()
	var before time.Time
	for i := range 1 << 20 {
		writeFile(t, root, ".tick", fmt.Sprint(i))
		info, err := os.Stat(filepath.Join(root, ".tick"))
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && info.ModTime().After(before) {
			return
		}
		before = info.ModTime()
	}
	t.Fatal("the clock stands still")
}

func TestTwoNamesOfOneFile(t *testing.T) {
	for _, change := range []string{"flags", "move", "remove"} {
		s, root := testStore(t, Nested, mail.Inbox, "To")
		inbox := filepath.Join(root, "INBOX")
		writeFile(t, inbox, "new", "a", "x")
		// As a rename by link and unlink leaves it when it is interrupted.
		if err := os.Link(filepath.Join(inbox, "new", "a"), filepath.Join(inbox, "cur", "a:2,S")); err != nil {
			t.Fatal(err)
		}
		scan := mustScan(t, s, mail.Inbox)
		if len(scan.Entries) != 1 || scan.Entries[0].File != "a:2,S" || scan.Entries[0].New || len(scan.Problems) != 0 {
			t.Fatalf("entries %+v, want one message", scan)
		}
		var err error
		switch change {
		case "flags":
			_, err = s.SetFlags(mail.Inbox, "a", mail.NewFlags(`\Flagged`), mail.Flags{})
		case "move":
			_, err = s.Move(mail.Inbox, "a", "To")
		case "remove":
			err = s.Remove(mail.Inbox, "a", nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		if left := files(t, inbox, "new"); len(left) != 0 {
			t.Errorf("%s: the other name stays: %v", change, left)
		}
		want := map[string]int{"flags": 1, "move": 0, "remove": 0}[change]
		if scan := mustScan(t, s, mail.Inbox); len(scan.Entries) != want {
			t.Errorf("%s: %+v", change, scan.Entries)
		}
	}
}

// TestTwoNamesLeftLongAgo: of a file whose renaming was cut off one name stays, the one that is known: in cur once nobody can be about to
// remove that one, and before that neither is touched.
func TestTwoNamesLeftLongAgo(t *testing.T) {
	for _, tc := range []struct {
		flags string
		age   time.Duration
		want  []string
	}{
		{`\Seen`, 0, []string{"a:2,FS", "a:2,S"}},
		{`\Seen`, 2 * litterAge, []string{"a:2,S"}},
		{`\Seen \Flagged`, 2 * litterAge, []string{"a:2,FS"}},
		{``, 2 * litterAge, []string{"a:2,FS"}}, // neither is known
	} {
		s, f, root := faultStore(t, Nested)
		withFolders(t, s, root, []mail.FolderName{mail.Inbox})
		f.age = tc.age
		writeFile(t, root, "INBOX", "cur", "a:2,S", "x")
		if err := os.Link(filepath.Join(root, "INBOX", "cur", "a:2,S"), filepath.Join(root, "INBOX", "cur", "a:2,FS")); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			known := knowing([]Entry{{Base: "a", Flags: mail.NewFlags(strings.Fields(tc.flags)...)}})
			scan := scanKnown(t, s, known)
			if n := len(scan.Entries); n > 1 || scan.Count != 1 {
				t.Errorf("%+v: %+v", tc, scan)
			}
			if got := files(t, root, "INBOX", "cur"); !slices.Equal(got, tc.want) {
				t.Errorf("%+v: there is %v", tc, got)
			}
		}
	}
}

// TestScanAgainstRenamer: a mail reader renames as fast as it can while we read. No message may
// ever seem to be gone, none may be there twice.
func TestScanAgainstRenamer(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	inbox := filepath.Join(root, "INBOX")
	const messages = 200
	bases := make([]string, messages)
	at := make([]string, messages)
	for i := range messages {
		bases[i] = fmt.Sprintf("m%03d", i)
		at[i] = writeFile(t, inbox, "new", bases[i], "x")
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		names := []string{"cur/%s:2,", "cur/%s:2,S", "cur/%s:2,FS", "new/%s", "cur/%s:2,RS"}
		for i := 0; ; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			m := i % messages
			to := filepath.Join(inbox, fmt.Sprintf(names[i/messages%len(names)], bases[m]))
			if err := os.Rename(at[m], to); err != nil {
				stopped <- err
				return
			}
			at[m] = to
		}
	}()
	for range 8 {
		scan := mustScan(t, s, mail.Inbox)
		for i := 1; i < len(scan.Entries); i++ {
			if scan.Entries[i].Base == scan.Entries[i-1].Base {
				t.Fatalf("%s is there twice", scan.Entries[i].Base)
			}
		}
		for _, base := range bases {
			_, found := slices.BinarySearchFunc(scan.Entries, base, func(e Entry, b string) int { return strings.Compare(e.Base, b) })
			if found {
				continue
			}
			if scan.Quiet {
				t.Fatalf("%s seems to be gone in a reading that calls itself quiet", base)
			}
			if _, err := s.Stat(mail.Inbox, base); errors.Is(err, ErrNotFound) {
				t.Fatalf("%s seems to be gone when it is looked up", base)
			}
		}
		if len(scan.Problems) != 0 {
			t.Fatal(scan.Problems)
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal("the renamer: a file was renamed under its hands:", err)
	}
	if scan := mustScan(t, s, mail.Inbox); len(scan.Entries) != messages || !scan.Quiet {
		t.Errorf("afterwards %d messages, quiet %v", len(scan.Entries), scan.Quiet)
	}
}

// TestRenamedDuringReading does what the renamer does by luck: the name goes from the directory
// that is read next to the one that was just read.
func TestRenamedDuringReading(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	f.age = time.Hour
	if err := s.CreateFolder(mail.Inbox); err != nil {
		t.Fatal(err)
	}
	inNew, inCur := filepath.Join(root, "INBOX", "new", "m"), filepath.Join(root, "INBOX", "cur", "m:2,")
	writeFile(t, inCur, "x")
	once := true
	f.set(func(op, name string) error {
		if op == "list" && name == "INBOX/cur" && once {
			once = false
			return os.Rename(inCur, inNew)
		}
		return nil
	})
	scan := mustScan(t, s, mail.Inbox)
	if len(scan.Entries) != 1 || !scan.Entries[0].New || !scan.Quiet {
		t.Errorf("%+v, want the message in new, found by a second reading", scan)
	}
	// Back and forth during every reading: it can't be quiet, and must not be gone.
	f.set(func(op, name string) error {
		if op != "list" {
			return nil
		}
		if name == "INBOX/cur" {
			return os.Rename(inCur, inNew)
		}
		return ignoreMissing(os.Rename(inNew, inCur))
	})
	if err := os.Rename(inNew, inCur); err != nil {
		t.Fatal(err)
	}
	scan = mustScan(t, s, mail.Inbox)
	if scan.Quiet {
		t.Error("a reading during which names changed calls itself quiet")
	}
	f.set(nil)
	if _, err := s.Stat(mail.Inbox, "m"); err != nil {
		t.Error(err)
	}
}

// TestChangeWithinOneTick: the directory's times are those of the change before, because the clock did
// not move on. Equal times prove nothing then.
func TestChangeWithinOneTick(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	if err := s.CreateFolder(mail.Inbox); err != nil {
		t.Fatal(err)
	}
	inNew, inCur := filepath.Join(root, "INBOX", "new", "m"), filepath.Join(root, "INBOX", "cur", "m:2,")
	writeFile(t, inCur, "x")
	hide := func(op, name string) error {
		switch {
		case op == "list" && name == "INBOX/cur":
			return os.Rename(inCur, inNew)
		case op == "list" && name == "INBOX/new":
			return ignoreMissing(os.Rename(inNew, inCur))
		}
		return nil
	}
	f.frozen = time.Now()
	f.set(hide)
	if scan := mustScan(t, s, mail.Inbox); scan.Quiet || !scan.Mark.Racy {
		t.Errorf("quiet %v, racy %v: %+v", scan.Quiet, scan.Mark.Racy, scan.Entries)
	}
	if _, err := s.Stat(mail.Inbox, "other"); !errors.Is(err, ErrBusy) {
		t.Errorf("Stat: %v, want ErrBusy", err)
	}
	// The clock moves on and nothing changes any more.
	f.frozen = time.Time{}
	f.set(nil)
	if scan := mustScan(t, s, mail.Inbox); !scan.Quiet || len(scan.Entries) != 1 {
		t.Errorf("%+v", scan)
	}
}

func TestStatAfterForeignChanges(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	cur := filepath.Join(root, "INBOX", "cur")
	writeFile(t, cur, "m:2,", "x")
	mustScan(t, s, mail.Inbox)
	from := "m:2,"
	for _, to := range []string{"m:2,S", "m:2,DFPRST", "m", "m:2,Sabc", "m;2,F", "m:2,XYZ"} {
		if err := os.Rename(filepath.Join(cur, from), filepath.Join(cur, to)); err != nil {
			t.Fatal(err)
		}
		from = to
		info, err := s.Stat(mail.Inbox, "m")
		if err != nil || info.File != to {
			t.Errorf("after a rename to %s: %+v, %v", to, info, err)
		}
	}
	if err := os.Remove(filepath.Join(cur, from)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(mail.Inbox, "m"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after its removal: %v", err)
	}
	if _, err := s.Stat("None", "m"); !errors.Is(err, ErrNoFolder) {
		t.Errorf("in a folder that does not exist: %v", err)
	}
}

// TestFindReadsOnce: looking up many names that nobody could guess costs one reading, not one each.
func TestFindReadsOnce(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	f.age = time.Hour
	if err := s.CreateFolder(mail.Inbox); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		writeFile(t, root, "INBOX", "cur", fmt.Sprintf("m%d:2,DRT", i), "x")
	}
	f.set(nil)
	for i := range 100 {
		if _, err := s.Stat(mail.Inbox, fmt.Sprintf("m%d", i)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Stat(mail.Inbox, fmt.Sprintf("none%d", i)); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	lists := 0
	for _, c := range f.calls() {
		if strings.HasPrefix(c, "list ") {
			lists++
		}
	}
	if lists != 2 {
		t.Errorf("%d directories read, want new and cur once", lists)
	}
}

func TestFindAll(t *testing.T) {
	s, f, root := faultStore(t, PlusPlus)
	withFolders(t, s, root, []mail.FolderName{mail.Inbox, "A", "B/C"})
	for _, dir := range []string{".B.C", ".A", "."} {
		writeFile(t, root, dir, "cur", "m:2,TX", "x")
		writeFile(t, root, dir, "cur", "o:2,S", "x")
	}
	writeFile(t, root, "new", "n", "x")
	for _, tc := range []struct {
		locked string
		want   map[string][]mail.FolderName
	}{
		{"", map[string][]mail.FolderName{"m": {mail.Inbox, "A", "B/C"}, "n": {mail.Inbox}}},
		{".A/cur", map[string][]mail.FolderName{"m": {mail.Inbox, "B/C"}, "n": {mail.Inbox}}},
	} {
		f.set(func(op, name string) error {
			if op == "list" && name == tc.locked {
				return syscall.EACCES
			}
			return nil
		})
		found, err := s.FindAll(t.Context(), []string{"m", "none", "n"})
		if !maps.EqualFunc(found, tc.want, slices.Equal) || errors.Is(err, syscall.EACCES) != (tc.locked != "") {
			t.Errorf("with %q locked found %v %v", tc.locked, found, err)
		}
	}
}

func BenchmarkScan100000(b *testing.B) {
	s, root := realStore(b, Nested, mail.Inbox)
	for i := range 100000 {
		writeFile(b, root, "INBOX", "cur", fmt.Sprintf("1700%06d.M123456P4242Q%dRabcdef012345.host:2,S", i, i), "")
	}
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		defer reportCPU(b, 1)()
		for b.Loop() {
			scan, err := s.Scan(b.Context(), mail.Inbox, nil)
			if err != nil || len(scan.Entries) != 100000 {
				b.Fatal(len(scan.Entries), err)
			}
		}
	})
	b.Run("known", func(b *testing.B) {
		k := knowing(mustScan(b, s, mail.Inbox).Entries)
		b.ReportAllocs()
		defer reportCPU(b, 1)()
		for b.Loop() {
			scan, err := s.Scan(b.Context(), mail.Inbox, k)
			if err != nil || len(scan.Entries) != 0 || scan.Count != 100000 {
				b.Fatal(len(scan.Entries), err)
			}
		}
	})
}

func BenchmarkFolders1000(b *testing.B) {
	s, _ := realStore(b, Nested)
	for i := range 1000 {
		if err := s.CreateFolder(mail.FolderName(fmt.Sprintf("Archive/%d", i))); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if f, _, err := s.Folders(); err != nil || len(f) != 1000 {
			b.Fatal(len(f), err)
		}
	}
}

func BenchmarkBatch(b *testing.B) {
	s, _ := realStore(b, Nested, mail.Inbox)
	text := []byte(strings.Repeat("a line of text that is about as long as lines of text are in mail\r\n", 150))
	b.SetBytes(int64(len(text)) * 1000)
	for b.Loop() {
		batch := s.NewBatch()
		for range 1000 {
			d, err := batch.Add(mail.Inbox, mail.Flags{}, time.Unix(1e9, 0))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := d.Write(text); err != nil {
				b.Fatal(err)
			}
			if _, err := d.Close(); err != nil {
				b.Fatal(err)
			}
		}
		if err := errors.Join(batch.Sync(), batch.Commit()); err != nil {
			b.Fatal(err)
		}
	}
}
