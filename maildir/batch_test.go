package maildir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gomaildir "github.com/emersion/go-maildir"

	"github.com/satchel-mail/satchel/internal/mail"
)

// fill puts n messages into a batch; every third is read, every fifth has a keyword.
func fill(b *Batch, n int) ([]Delivered, error) {
	var out []Delivered
	for i := range n {
		var flags mail.Flags
		if i%3 == 0 {
			flags = mail.NewFlags(`\Seen`)
		}
		if i%5 == 0 {
			flags = flags.Plus(mail.NewFlags("Work"))
		}
		d, err := b.Add(mail.Inbox, flags, time.Unix(int64(i), 0))
		if err != nil {
			return out, err
		}
		if _, err := fmt.Fprintf(d, "Subject: %d\r\n\r\n%s", i, strings.Repeat("text\r\n", 20)); err != nil {
			return out, errors.Join(err, d.Abort())
		}
		// A bare LF far behind: what was written must be turned back.
		if i%7 == 0 {
			if _, err := io.WriteString(d, "bare\n"); err != nil {
				return out, errors.Join(err, d.Abort())
			}
		}
		got, err := d.Close()
		if err != nil {
			return out, err
		}
		out = append(out, got)
	}
	return out, nil
}

func runBatch(s *Store, n int) ([]Delivered, error) {
	b := s.NewBatch()
	out, err := fill(b, n)
	if err == nil {
		err = b.Sync()
	}
	if err == nil {
		err = b.Commit()
	}
	return out, errors.Join(err, b.Abort())
}

func TestBatch(t *testing.T) {
	for _, n := range []int{0, 1, maxOpen - 1, maxOpen, maxOpen + 1, 3*maxOpen + 2} {
		for _, noSync := range []bool{false, true} {
			s, f, root := faultStore(t, Nested)
			f.noSync = noSync
			if err := s.CreateFolder(mail.Inbox); err != nil {
				t.Fatal(err)
			}
			f.set(nil)
			out, err := runBatch(s, n)
			if err != nil {
				t.Fatal(err)
			}
			scan := mustScan(t, s, mail.Inbox)
			if len(scan.Entries) != n || len(scan.Problems) != 0 {
				t.Fatalf("%d of %d are there", len(scan.Entries), n)
			}
			for _, d := range out {
				info, err := s.Stat(mail.Inbox, d.Base)
				if err != nil || info.Inode != d.Inode || info.Size != d.FileSize || !info.Flags.Equal(d.Flags) || info.New != d.New || !info.ModTime.Equal(d.ModTime) {
					t.Errorf("%+v is there as %+v (%v)", d, info, err)
				}
				if d.New != d.Flags.IsZero() {
					t.Errorf("%+v", d)
				}
			}
			if left := files(t, root, "INBOX", "tmp"); len(left) != 0 {
				t.Errorf("left in tmp: %v", left)
			}
			checkOrder(t, f.calls(), n)
		}
	}
}

// TestBatchOnTheRealFileSystem: with its real sync of everything at once.
func TestBatchOnTheRealFileSystem(t *testing.T) {
	s, _ := realStore(t, PlusPlus, mail.Inbox)
	if _, err := runBatch(s, maxOpen+2); err != nil {
		t.Fatal(err)
	}
	if scan := mustScan(t, s, mail.Inbox); len(scan.Entries) != maxOpen+2 {
		t.Errorf("%d are there", len(scan.Entries))
	}
}

// checkOrder: data is durable before any name is given, names before the end.
func checkOrder(t *testing.T, calls []string, n int) {
	t.Helper()
	if n == 0 {
		return
	}
	last := func(prefix string) int {
		for i, c := range slices.Backward(calls) {
			if strings.HasPrefix(c, prefix) {
				return i
			}
		}
		return -1
	}
	firstName := slices.IndexFunc(calls, func(c string) bool { return strings.HasPrefix(c, "renamenew ") })
	synced := max(last("sync "), last("syncfs"))
	if synced < 0 || last("write ") > synced || last("setmodtime ") > synced || firstName < synced {
		t.Errorf("%d messages: last write %d, last sync %d, first name %d", n, last("write "), synced, firstName)
	}
	if last("renamenew ") > last("syncdir INBOX/new") && last("renamenew ") > last("syncdir INBOX/cur") {
		t.Errorf("%d messages: no directory was made durable after the last name", n)
	}
	count := 0
	for _, c := range calls {
		if strings.HasPrefix(c, "syncdir INBOX/") {
			count++
		}
	}
	if count > 3 {
		t.Errorf("%d messages: %d times a directory was made durable, want each once", n, count)
	}
}

// TestBatchFailsAnywhere: whichever call fails, alone or with all after it, nothing half-delivered is
// in new or cur, and the messages that have their names are whole.
func TestBatchFailsAnywhere(t *testing.T) {
	for _, n := range []int{1, 4, maxOpen + 1} {
		for _, all := range []bool{false, true} {
			for step := 0; ; step++ {
				s, f, root := faultStore(t, Nested)
				f.noSync, f.age = step%2 == 1, time.Hour
				if err := s.CreateFolder(mail.Inbox); err != nil {
					t.Fatal(err)
				}
				f.failAt(step, all)
				out, err := runBatch(s, n)
				hit := len(f.calls()) > step
				f.set(nil)
				if hit && err == nil && all {
					t.Fatalf("step %d: everything fails and nobody noticed", step)
				}
				check := mustScan(t, s, mail.Inbox)
				for _, e := range check.Entries {
					i := slices.IndexFunc(out, func(d Delivered) bool { return d.Base == e.Base })
					if i < 0 {
						t.Fatalf("step %d: %s is there and was never complete", step, e.File)
					}
					content, info, err := s.Survey(t.Context(), mail.Inbox, e.Base)
					if err != nil || content.Digest != out[i].Content.Digest || info.Size != out[i].FileSize {
						t.Fatalf("step %d: %s is not whole: %v", step, e.File, err)
					}
					if !info.ModTime.Add(f.age).Equal(out[i].ModTime) || !e.Flags.Equal(out[i].Flags) {
						t.Fatalf("step %d: %+v, want %+v", step, info, out[i])
					}
				}
				if err == nil && len(check.Entries) != n {
					t.Fatalf("step %d: no error, and %d of %d are there", step, len(check.Entries), n)
				}
				if !all && err != nil {
					// Only the one call failed: Abort could clean up, unless it was that.
					if left := files(t, root, "INBOX", "tmp"); len(left) > 1 {
						t.Fatalf("step %d: left in tmp: %v (%v)", step, left, err)
					}
				}
				if !hit {
					break
				}
			}
		}
	}
}

// TestFailedSyncPoisonsTheBatch: an fsync that failed may "succeed" the next time, with the data gone.
func TestFailedSyncPoisonsTheBatch(t *testing.T) {
	for _, n := range []int{3, maxOpen + 1} {
		for _, noSync := range []bool{false, true} {
			s, f, _ := faultStore(t, Nested)
			f.noSync = noSync
			if err := s.CreateFolder(mail.Inbox); err != nil {
				t.Fatal(err)
			}
			failed := false
			f.set(func(op, name string) error {
				if !failed && (op == "syncfs" || op == "sync" && strings.Contains(name, ownPrefix)) {
					failed = true
					return syscall.EIO
				}
				return nil
			})
			b := s.NewBatch()
			_, err := fill(b, n)
			err = errors.Join(err, b.Sync())
			if !errors.Is(err, syscall.EIO) {
				t.Fatalf("the failure did not show: %v", err)
			}
			if err := b.Sync(); !errors.Is(err, syscall.EIO) {
				t.Errorf("a second Sync gives %v", err)
			}
			if err := b.Commit(); !errors.Is(err, syscall.EIO) {
				t.Errorf("Commit gives %v", err)
			}
			if _, err := b.Add(mail.Inbox, mail.Flags{}, time.Now()); !errors.Is(err, syscall.EIO) {
				t.Errorf("Add gives %v", err)
			}
			if err := b.Abort(); err != nil {
				t.Error(err)
			}
			if scan := mustScan(t, s, mail.Inbox); len(scan.Entries) != 0 {
				t.Errorf("%d were delivered all the same", len(scan.Entries))
			}
		}
	}
}

func TestFullDisk(t *testing.T) {
	s, f, root := faultStore(t, Nested)
	if err := s.CreateFolder(mail.Inbox); err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	good, err := b.Add(mail.Inbox, mail.Flags{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(good, "small\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := good.Close(); err != nil {
		t.Fatal(err)
	}
	bad, err := b.Add(mail.Inbox, mail.Flags{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f.set(func(op, _ string) error {
		if op == "write" {
			return syscall.ENOSPC
		}
		return nil
	})
	if _, err := bad.Write(make([]byte, 10*writeBuffer)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Write: %v", err)
	}
	f.set(nil)
	if _, err := bad.Write([]byte("more")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Write after that: %v", err)
	}
	if _, err := bad.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close: %v", err)
	}
	// The rest of the batch is unharmed.
	if err := errors.Join(b.Sync(), b.Commit()); err != nil {
		t.Fatal(err)
	}
	if got := files(t, root, "INBOX", "new"); !slices.Equal(got, []string{good.Base}) {
		t.Errorf("new holds %v", got)
	}
	if left := files(t, root, "INBOX", "tmp"); len(left) != 0 {
		t.Errorf("left in tmp: %v", left)
	}
}

func TestBatchMisuse(t *testing.T) {
	s, _ := testStore(t, Nested, mail.Inbox)
	b := s.NewBatch()
	d, err := b.Add(mail.Inbox, mail.Flags{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Sync(); err == nil {
		t.Error("Sync with an unfinished message")
	}
	if err := b.Commit(); err == nil {
		t.Error("Commit after that")
	}
	if err := b.Abort(); err != nil {
		t.Error(err)
	}
	if _, err := d.Write([]byte("x")); err == nil {
		t.Error("Write after Abort")
	}
	b = s.NewBatch()
	if d, err = b.Add(mail.Inbox, mail.Flags{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Close(); err == nil {
		t.Error("Close twice")
	}
	if _, err := d.Write([]byte("x")); err == nil {
		t.Error("Write after Close")
	}
	if err := b.Commit(); err == nil {
		t.Error("Commit without Sync")
	}
	if err := b.Abort(); err != nil {
		t.Error(err)
	}
	if scan := mustScan(t, s, mail.Inbox); len(scan.Entries) != 0 {
		t.Errorf("delivered: %v", scan.Entries)
	}
}

func TestTakenNameIsNotOverwritten(t *testing.T) {
	s, root := testStore(t, Nested, mail.Inbox)
	b := s.NewBatch()
	d, err := b.Add(mail.Inbox, mail.Flags{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, root, "INBOX", "new", d.Base, "somebody's")
	if _, err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Commit: %v", err)
	}
	if err := b.Abort(); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(filepath.Join(root, "INBOX", "new", d.Base)); string(got) != "somebody's" {
		t.Errorf("it is now %q (%v)", got, err)
	}
}

// TestAnotherReader: go-maildir finds what we wrote.
func TestAnotherReader(t *testing.T) {
	for layout, dir := range map[Layout]string{Nested: "Archive/2024", PlusPlus: ".Archive.2024"} {
		s, root := realStore(t, layout, "Archive/2024")
		seen := deliver(t, s, "Archive/2024", mail.NewFlags(`\Seen`, `\Draft`, "$Forwarded"), "one\r\n")
		fresh := deliver(t, s, "Archive/2024", mail.Flags{}, "two\r\n")
		md := gomaildir.Dir(filepath.Join(root, dir))
		msgs, err := md.Messages()
		if err != nil || len(msgs) != 1 || msgs[0].Key() != seen.Base {
			t.Fatalf("Messages = %v, %v", msgs, err)
		}
		if got, want := msgs[0].Flags(), []gomaildir.Flag{gomaildir.FlagDraft, gomaildir.FlagPassed, gomaildir.FlagSeen}; !slices.Equal(got, want) {
			t.Errorf("flags %q, want %q", got, want)
		}
		unseen, err := md.Unseen()
		if err != nil || len(unseen) != 1 || unseen[0].Key() != fresh.Base {
			t.Fatalf("Unseen = %v, %v", unseen, err)
		}
		r, err := unseen[0].Open()
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(r); string(text) != "two\n" || err != nil {
			t.Errorf("text %q %v", text, err)
		}
		r.Close()
		// That reader moved it from new to cur.
		if info, err := s.Stat("Archive/2024", fresh.Base); err != nil || info.New {
			t.Errorf("Stat = %+v, %v", info, err)
		}
		if err := unseen[0].SetFlags([]gomaildir.Flag{gomaildir.FlagReplied}); err != nil {
			t.Fatal(err)
		}
		if info, err := s.Stat("Archive/2024", fresh.Base); err != nil || info.Flags.String() != `\Answered` {
			t.Errorf("Stat = %+v, %v", info, err)
		}
	}
}
