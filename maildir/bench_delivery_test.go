package maildir

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// smallMessage is 2 KB as they come: half header, half text.
func smallMessage() []byte {
	var b strings.Builder
	for i := range 8 {
		fmt.Fprintf(&b, "Received: from mx%d.example.org (mx%d.example.org [192.0.2.%d])\r\n\tby mail.example.com with ESMTPS id 4FzQkT1x2Gz9sRp\r\n", i, i, i)
	}
	b.WriteString("From: Ann <ann@example.org>\r\nTo: Bob <bob@example.com>\r\nSubject: a few words\r\n" +
		"Date: Mon, 2 Jan 2006 15:04:05 -0700\r\nMessage-ID: <4FzQkT1x2Gz9sRp@example.org>\r\nMIME-Version: 1.0\r\n\r\n")
	for b.Len() < 2<<10 {
		b.WriteString("a line of text that is about as long as lines of text are in mail\r\n")
	}
	return []byte(b.String()[:2<<10-2] + "\r\n")
}

// base64Message is 40 KB of an attachment behind a short header.
func base64Message() []byte {
	var b strings.Builder
	b.WriteString("From: Ann <ann@example.org>\r\nDate: Mon, 2 Jan 2006 15:04:05 -0700\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	text := base64.StdEncoding.EncodeToString(make([]byte, 30<<10))
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	return []byte(b.String())
}

func benchDeliver(b *testing.B, s *Store, text []byte) {
	const inBatch = 500
	batch := s.NewBatch()
	n := 0
	end := func() {
		if err := errors.Join(batch.Sync(), batch.Commit(), batch.Abort()); err != nil {
			b.Fatal(err)
		}
		batch = s.NewBatch()
	}
	seen := mail.NewFlags(`\Seen`)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	defer reportCPU(b, 1)()
	for b.Loop() {
		d, err := batch.Add(mail.Inbox, seen, time.Unix(1e9, 0))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := d.Write(text); err != nil {
			b.Fatal(err)
		}
		if _, err := d.Close(); err != nil {
			b.Fatal(err)
		}
		if n++; n%inBatch == 0 {
			end()
		}
	}
	end()
}

func BenchmarkDeliver(b *testing.B) {
	for name, text := range map[string][]byte{"2KB": smallMessage(), "40KB": base64Message()} {
		b.Run(name+"/disk", func(b *testing.B) {
			s, _ := realStore(b, Nested, mail.Inbox)
			benchDeliver(b, s, text)
		})
		b.Run(name+"/null", func(b *testing.B) {
			s, _ := nullStore(b)
			benchDeliver(b, s, text)
		})
	}
}

// nullStore writes messages to nowhere: what is left is what the program itself costs.
func nullStore(tb testing.TB) (*Store, string) {
	s, root := realStore(tb, Nested, mail.Inbox)
	s.fs = nullFS{s.fs}
	return s, root
}

type nullFS struct{ FS }

func (n nullFS) Create(string, os.FileMode) (File, error) { return &nullFile{}, nil }
func (n nullFS) RenameNew(string, string) error           { return nil }
func (n nullFS) Remove(string) error                      { return nil }
func (n nullFS) SyncDir(string) error                     { return nil }
func (n nullFS) SyncPoint(string) (SyncPoint, error)      { return nullPoint{}, nil }

type nullPoint struct{}

func (nullPoint) Sync() error  { return nil }
func (nullPoint) Close() error { return nil }

type nullFile struct {
	io.Reader
	io.Seeker
	io.ReaderAt
	size int64
}

func (f *nullFile) WriteAt(p []byte, off int64) (int, error) {
	f.size = max(f.size, off+int64(len(p)))
	return len(p), nil
}
func (f *nullFile) Sync() error                { return nil }
func (f *nullFile) Close() error               { return nil }
func (f *nullFile) SetModTime(time.Time) error { return nil }
func (f *nullFile) Stat() (FileInfo, error)    { return FileInfo{Size: f.size}, nil }
