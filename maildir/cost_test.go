package maildir

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// TestWhatABatchMakesDurable: however many messages, the disk is waited for once, or for fewer than maxOpen files, and
// once for each directory.
func TestWhatABatchMakesDurable(t *testing.T) {
	for _, n := range []int{1, maxOpen - 1, maxOpen, 10 * maxOpen, 10*maxOpen + 3} {
		for _, noSync := range []bool{false, true} {
			s, f, _ := faultStore(t, Nested)
			f.noSync = noSync
			for _, name := range []mail.FolderName{mail.Inbox, "B"} {
				if err := s.CreateFolder(name); err != nil {
					t.Fatal(err)
				}
			}
			f.set(nil)
			if _, err := runBatch(s, n); err != nil {
				t.Fatal(err)
			}
			count := map[string]int{}
			for _, c := range f.calls() {
				op, name, _ := strings.Cut(c, " ")
				if strings.Contains(name, keywordsLock) || strings.Contains(name, ":2,") && op == "create" {
					continue // a letter is listed, and the colon tried out
				}
				count[op]++
				if op == "syncdir" && name != "INBOX" { // which gained the keywords
					count[c]++
				}
			}
			files, whole := n, 0
			if !noSync && n >= maxOpen {
				files, whole = 0, 1
			}
			if count["sync"] != files || count["syncfs"] != whole {
				t.Errorf("%d messages, no sync points %v: %d files and %d file systems made durable, want %d and %d", n, noSync, count["sync"], count["syncfs"], files, whole)
			}
			for _, dir := range []string{"new", "cur", "tmp"} {
				if got := count["syncdir INBOX/"+dir]; got > 1 || got == 0 && (dir != "new" || n > 1) {
					t.Errorf("%d messages: %s is made durable %d times", n, dir, got)
				}
			}
			// Creating, writing, the time and the name: once each.
			if count["write"] != n || count["setmodtime"] != n || count["create"] != n || count["renamenew"] != n {
				t.Errorf("%d messages: %v", n, count)
			}
		}
	}
}

// TestMixedBatch: messages that are aborted, before and after they are complete, and several folders.
func TestMixedBatch(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox, "A", "B")
	b := s.NewBatch()
	want := 0
	for i := range 5 * maxOpen {
		d, err := b.Add([]mail.FolderName{mail.Inbox, "A", "B"}[i%3], mail.Flags{}, time.Unix(1e9, 0))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(d, strings.NewReader(fmt.Sprintf("Subject: %d\r\n\r\n", i))); err != nil {
			t.Fatal(err)
		}
		if i%4 == 1 {
			if err := d.Abort(); err != nil {
				t.Fatal(err)
			}
			if _, err := d.ReadFrom(strings.NewReader("more")); err == nil {
				t.Error("an aborted delivery takes more")
			}
			continue
		}
		if _, err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if i%4 == 2 {
			if err := d.Abort(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want++
	}
	if err := errors.Join(b.Sync(), b.Commit(), b.Abort()); err != nil {
		t.Fatal(err)
	}
	got := 0
	for _, f := range []string{"INBOX", "A", "B"} {
		got += len(files(t, root, f, "new"))
		if left := files(t, root, f, "tmp"); len(left) != 0 {
			t.Errorf("left in tmp: %v", left)
		}
	}
	if got != want {
		t.Errorf("%d are there, want %d", got, want)
	}
}

// TestBatchesSideBySide: one batch is made durable and committed while the next one is written.
func TestBatchesSideBySide(t *testing.T) {
	s, _ := testStore(t, Nested, mail.Inbox)
	mustScan(t, s, mail.Inbox)
	const batches, inBatch = 6, 3*maxOpen + 1
	written, committed := make(chan *Batch), make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		var err error
		for b := range written {
			err = errors.Join(err, b.Sync(), b.Commit(), b.Abort())
		}
		committed <- err
	})
	var all []Delivered
	for range batches {
		b := s.NewBatch()
		out, err := fill(b, inBatch)
		if err != nil {
			t.Error(err)
		}
		all = append(all, out...)
		written <- b
	}
	close(written)
	wg.Wait()
	if err := <-committed; err != nil {
		t.Fatal(err)
	}
	scan := mustScan(t, s, mail.Inbox)
	if len(scan.Entries) != batches*inBatch {
		t.Errorf("%d are there", len(scan.Entries))
	}
	for _, d := range all {
		content, info, err := s.Survey(t.Context(), mail.Inbox, d.Base)
		if err != nil || content.Digest != d.Content.Digest || info.Size != d.FileSize || !info.Flags.Equal(d.Flags) {
			t.Fatalf("%+v is there as %+v %+v (%v)", d, content, info, err)
		}
	}
}

// maxAllocs are allocations for each message, or for a whole scan.
const (
	maxDeliveryAllocs = 12
	maxScanAllocs     = 110
)

func TestDeliveryAllocations(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("the race detector allocates")
	}
	s, _ := realStore(t, Nested, mail.Inbox)
	text := smallMessage()
	b := s.NewBatch()
	seen := mail.NewFlags(`\Seen`)
	one := func() {
		d, err := b.Add(mail.Inbox, seen, time.Unix(1e9, 0))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Write(text); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	perMessage := testing.AllocsPerRun(200, one)
	n := len(b.deliveries)
	commit := testing.AllocsPerRun(1, func() {
		if err := errors.Join(b.Sync(), b.Commit()); err != nil {
			t.Fatal(err)
		}
	})
	if got := perMessage + commit/float64(n); got > maxDeliveryAllocs {
		t.Errorf("%v allocations for a message", got)
	}
}

func TestScanAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s, root := testStore(t, Nested, mail.Inbox)
	const n = 3 * hashBlock / 2
	for i := range n {
		writeFile(t, root, "INBOX", "cur", fmt.Sprintf("m%d:2,%s", i, []string{"S", "", "FS"}[i%3]), "")
	}
	k := knowing(mustScan(t, s, mail.Inbox).Entries)
	got := testing.AllocsPerRun(3, func() {
		if scan := scanKnown(t, s, k); scan.Count != n || len(scan.Entries) != 0 {
			t.Fatal(scan.Count, len(scan.Entries))
		}
	})
	if got > maxScanAllocs {
		t.Errorf("%v allocations to find %d names unchanged", got, n)
	}
	l := s.listings.get(mail.Inbox)
	for range fewQuestions {
		if _, v := l.find("none"); v != absent {
			t.Fatal("a name that nobody has is found")
		}
		if _, v := l.find("m77"); v != unlisted {
			t.Fatal("a name that is there is not found")
		}
	}
	if len(l.others.sorted) != n || cap(l.others.sorted) > n+hashBlock || l.others.blocks != nil {
		t.Errorf("%d hashes are kept in room for %d", len(l.others.sorted), cap(l.others.sorted))
	}
}
