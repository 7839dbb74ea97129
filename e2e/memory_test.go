package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// TestMemory: a message of 200 MB comes and goes in less than 64 MB of memory.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("a message of 200 MB takes a while")
	}
	const size, most = 200_000_000, 64 << 20
	a := newAccount(t, servers.Dovecot(t, servers.Options{Config: "mail_max_keyword_length = 50"})) // an instance of its own
	a.Program = filepath.Join(t.TempDir(), "satchel")
	a.check(build(a.Program)) // the race detector needs memory of its own
	a.mkdir("INBOX")
	path := filepath.Join(a.dir("INBOX"), "new", "1700000000.large.host")
	a.check(large(path, size))
	want, err := sum(path)
	a.check(err)

	fits := func(args ...string) {
		t.Helper()
		o := a.run(args...)
		if o.Code != 0 {
			t.Fatal(o)
		}
		t.Logf("%v: %d MB", args, o.MaxRSS>>20)
		if o.MaxRSS > most {
			t.Errorf("%v took %d MB of memory, want at most %d", args, o.MaxRSS>>20, int64(most)>>20)
		}
	}
	fits("sync") // to the server
	a.check(os.RemoveAll(a.Maildir))
	fits("sync") // and back
	f := a.files("INBOX")
	if len(f) != 1 {
		t.Fatalf("%d messages came back, want one", len(f))
	}
	if got, err := sum(f[0].Path); err != nil || got != want {
		t.Errorf("the message came back as another one: %s, want %s, %v", got, want, err)
	}
	fits("verify", "--deep")
}

// large writes a message of at least size bytes in lines.
func large(path string, size int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/0123456789\n"), 10_000)
	if _, err := io.WriteString(f, onDisk(letter("large"))); err != nil {
		return err
	}
	for n := 0; n < size; n += len(block) {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return nil
}

func sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return fmt.Sprintf("%x", h.Sum(nil)), err
}
