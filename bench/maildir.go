package main

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"

	"github.com/satchel-mail/satchel/bench/letters"
)

// deliver puts the letters of a folder into the Maildir folder dir, as another mail program would: read ones into
// cur, others into new.
func deliver(dir string, maker *letters.Maker, f letters.Folder) error {
	if err := makeFolder(dir); err != nil {
		return err
	}
	for i := range f.Count {
		l := maker.Letter(f, i)
		name := filepath.Join(dir, fileName(f, i, l))
		if err := os.WriteFile(name, lineFeeds(l.Body), 0o600); err != nil {
			return err
		}
		if err := os.Chtimes(name, l.Date, l.Date); err != nil {
			return err
		}
	}
	return nil
}

// fileName is a letter's, below the Maildir folder.
func fileName(f letters.Folder, i int, l letters.Letter) string {
	var info strings.Builder
	for _, flag := range []struct{ word, letter string }{{`\Flagged`, "F"}, {`\Answered`, "R"}, {`\Seen`, "S"}} {
		if strings.Contains(l.Flags, flag.word) {
			info.WriteString(flag.letter)
		}
	}
	// Letters of several folders may go into one, and two files of one name would be an accident, which costs every tool time.
	h := fnv.New64a()
	_, _ = h.Write([]byte(f.Name))
	name := fmt.Sprintf("%d.M%dP%d_%x.bench", l.Date.Unix(), i, os.Getpid(), h.Sum64())
	if info.Len() == 0 {
		return filepath.Join("new", name)
	}
	return filepath.Join("cur", name+":2,"+info.String())
}

func lineFeeds(body []byte) []byte { return bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n")) }
