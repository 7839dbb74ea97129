package maildir

import (
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gomaildir "github.com/emersion/go-maildir"

	"github.com/satchel-mail/satchel/internal/mail"
)

// fileName is the name of a message file, taken apart:
//
//	base [sep "2," letters [tail]]
//
// The last ":2," begins the info; what other versions of the format (":1,", ":3,") begin, and
// earlier ":2,", belong to the base. tail is what some program put behind the letters: it stays as it is,
// and holds no flags, because taking something out of it could make another ":2,".
type fileName struct {
	base    string
	sep     byte // ':', or ';' or '!' where a file name can't hold a colon; 0: no info
	letters string
	tail    string
}

const separators = ":;!"

func parseFileName(name string) fileName {
	i := len(name) - 2
	// Two bytes before it: the separator, and a base that is not empty.
	for ; i >= 2; i-- {
		if name[i] == '2' && name[i+1] == ',' && strings.IndexByte(separators, name[i-1]) >= 0 {
			break
		}
	}
	if i < 2 {
		return fileName{base: name}
	}
	n := fileName{base: name[:i-1], sep: name[i-1]}
	end := i + 2
	for end < len(name) && isLetter(name[end]) {
		end++
	}
	n.letters, n.tail = name[i+2:end], name[end:]
	return n
}

func isLetter(c byte) bool { return (c|0x20) >= 'a' && (c|0x20) <= 'z' }

func (n fileName) String() string {
	if n.sep == 0 {
		return n.base
	}
	return n.base + string(n.sep) + "2," + n.letters + n.tail
}

// withLetters returns letters with those of drop taken out and those of add put in. What is there
// keeps its place, so that letters nobody knows stay as they were; a new one goes before the first
// that is greater, which gives the order the format asks for if there was order.
func withLetters(letters, add, drop string) string {
	out := make([]byte, 0, len(letters)+len(add))
	for i := range len(letters) {
		if strings.IndexByte(drop, letters[i]) < 0 || strings.IndexByte(add, letters[i]) >= 0 {
			out = append(out, letters[i])
		}
	}
	for i := range len(add) {
		at := len(out)
		for j, c := range out {
			if c >= add[i] {
				at = j
				break
			}
		}
		if at < len(out) && out[at] == add[i] {
			continue
		}
		if strings.IndexByte(string(out), add[i]) >= 0 {
			continue
		}
		out = append(out[:at], append([]byte{add[i]}, out[at:]...)...)
	}
	return string(out)
}

// systemLetters has the letter of each system flag.
var systemLetters = [...]struct {
	letter gomaildir.Flag
	flag   mail.System
}{
	{gomaildir.FlagDraft, mail.Draft},
	{gomaildir.FlagFlagged, mail.Flagged},
	{gomaildir.FlagPassed, mail.Forwarded},
	{gomaildir.FlagReplied, mail.Answered},
	{gomaildir.FlagSeen, mail.Seen},
	{gomaildir.FlagTrashed, mail.Deleted},
}

// systemFlags reads the capital letters that have a meaning.
func systemFlags(letters string) mail.System {
	var s mail.System
	for _, l := range systemLetters {
		if strings.IndexByte(letters, byte(l.letter)) >= 0 {
			s |= l.flag
		}
	}
	return s
}

// lettersOf spells system flags.
func lettersOf(s mail.System) string {
	var letters [len(systemLetters)]byte
	n := 0
	for _, l := range systemLetters {
		if s&l.flag != 0 {
			letters[n] = byte(l.letter)
			n++
		}
	}
	return string(letters[:n])
}

// letterSet is a set of keyword letters, a being the lowest bit.
type letterSet uint32

func keywordLetters(letters string) letterSet {
	var set letterSet
	for i := range len(letters) {
		if c := letters[i]; c >= 'a' && c <= 'z' {
			set |= 1 << (c - 'a')
		}
	}
	return set
}

func (s letterSet) has(i int) bool { return s&(1<<i) != 0 }

// ownPrefix begins the names of Satchel's own files in tmp/.
const ownPrefix = "satchel."

// namer makes base names that nobody else makes: time, process, a counter, random bytes and host. None
// of them alone is trusted (clocks step back, hosts are cloned).
type namer struct {
	now     func() time.Time
	random  io.Reader
	pid     int
	host    string
	counter atomic.Uint64

	mu   sync.Mutex
	pool [40 * nameRandom]byte // random bytes for the next names, at the end
	left int                   // how many of them
}

const nameRandom = 6 // random bytes in a name

const maxHost = 64

// hostReplacer: what a base name can't hold, or could be misread; the first two as the
// Maildir format spells them.
var hostReplacer = strings.NewReplacer("/", `\057`, ":", `\072`, ";", "_", "!", "_", ",", "_")

func escapeHost(host string) string {
	host = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '_'
		}
		return r
	}, host)
	host = hostReplacer.Replace(host)
	if host == "" {
		return "localhost"
	}
	return host[:min(len(host), maxHost)]
}

// base makes a new base name. Names sort by time.
func (n *namer) base() (string, error) {
	r, err := n.randomBytes()
	if err != nil {
		return "", fmt.Errorf("making a file name: no random bytes: %w", err)
	}
	t := n.now()
	b := make([]byte, 0, 128)
	b = strconv.AppendInt(b, t.Unix(), 10)
	b = append(b, ".M"...)
	var micro [7]byte
	b = append(b, strconv.AppendInt(micro[:0], int64(1e6+t.Nanosecond()/1000), 10)[1:]...) // all six digits
	b = append(b, 'P')
	b = strconv.AppendInt(b, int64(n.pid), 10)
	b = append(b, 'Q')
	b = strconv.AppendUint(b, n.counter.Add(1), 10)
	b = append(b, 'R')
	b = hex.AppendEncode(b, r[:])
	b = append(b, '.')
	return string(append(b, n.host...)), nil
}

func (n *namer) randomBytes() (r [nameRandom]byte, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.left == 0 {
		if _, err := io.ReadFull(n.random, n.pool[:]); err != nil {
			return r, err
		}
		n.left = len(n.pool)
	}
	copy(r[:], n.pool[len(n.pool)-n.left:])
	n.left -= nameRandom
	return r, nil
}

// madeHere reports whether an own tmp file was made on this host, and by this process.
func (n *namer) madeHere(tmpName string) (host, process bool) {
	base, ok := strings.CutPrefix(tmpName, ownPrefix)
	if !ok {
		return false, false
	}
	base = parseFileName(base).base // what stands in for a message has its flags in its name
	host = strings.HasSuffix(base, "."+n.host)
	process = host && strings.Contains(base, fmt.Sprintf("P%dQ", n.pid))
	return host, process
}
