// Package letters makes mail out of a seed: the same letters on every machine and in every run, of any
// number, without keeping any of them.
package letters

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// Version is that of the letters: what was made by another must be made anew.
const Version = 1

// Kind is how long letters are and what is in them.
type Kind int

const (
	Tiny  Kind = iota // 600 bytes of text
	Small             // 2 KB of text
	Mixed             // what people have: mostly text of some KB, some HTML, one in ten with an attachment
	Note              // 300 to 600 bytes of text
)

// Letter is one message as an IMAP server gets it.
type Letter struct {
	Flags string // IMAP's words with spaces between them
	Date  time.Time
	Body  []byte // with CRLF
}

// Folder is a folder of a mailbox.
type Folder struct {
	Name  string
	Kind  Kind
	Count int
	// Read is how many of the letters have \Seen: the oldest ones.
	Read int
	// Plain letters have no flags at all.
	Plain bool
}

// Mailbox is what an account holds.
type Mailbox struct {
	Name    string
	Folders []Folder
}

// Key names the mailbox made with seed by this version.
func (m Mailbox) Key(seed uint64) string { return fmt.Sprintf("%s-v%d-%d", m.Name, Version, seed) }

// Count is how many letters the mailbox holds.
func (m Mailbox) Count() (n int) {
	for _, f := range m.Folders {
		n += f.Count
	}
	return n
}

// Maker makes letters. It reuses its memory: a letter is good until the next is made.
type Maker struct {
	seed uint64
	body bytes.Buffer
}

// NewMaker makes a maker.
func NewMaker(seed uint64) *Maker { return &Maker{seed: seed} }

// epoch is the day of a folder's first letter; each following one is a quarter of an hour later.
const epoch = 1_600_000_000

// Letter makes the ith letter of a folder.
func (m *Maker) Letter(f Folder, i int) Letter {
	r := rand.New(rand.NewPCG(m.seed, hash(f.Name)+uint64(i)))
	date := time.Unix(epoch+int64(i)*900, 0).UTC()
	var flags []string
	if i < f.Read {
		flags = append(flags, `\Seen`)
		if r.IntN(8) == 0 {
			flags = append(flags, `\Answered`)
		}
	}
	if r.IntN(20) == 0 {
		flags = append(flags, `\Flagged`)
	}
	if f.Plain {
		flags = nil
	}
	m.body.Reset()
	m.write(r, f, i, date)
	return Letter{Flags: strings.Join(flags, " "), Date: date, Body: m.body.Bytes()}
}

func (m *Maker) write(r *rand.Rand, f Folder, i int, date time.Time) {
	b := &m.body
	from, to := names[r.IntN(len(names))], names[r.IntN(len(names))]
	fmt.Fprintf(b, "From: %s <%s@example.org>\r\nTo: %s <%s@example.net>\r\n", title(from), from, title(to), to)
	fmt.Fprintf(b, "Subject: %s %s %d\r\nDate: %s\r\n", title(word(r)), word(r), i, date.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	fmt.Fprintf(b, "Message-ID: <%016x.%d.%x@example.org>\r\n", r.Uint64(), i, hash(f.Name)&0xffff)
	switch f.Kind {
	case Tiny:
		m.text(r, 600)
	case Small:
		m.text(r, 2000+r.IntN(96))
	case Mixed:
		m.mixed(r)
	case Note:
		m.text(r, 300+r.IntN(300))
	}
}

// The share of letters with an attachment and of those with HTML, and their sizes, come to some 44 KB on average.
func (m *Maker) mixed(r *rand.Rand) {
	switch share := r.Float64(); {
	case share < 0.098:
		m.attachment(r)
	case share < 0.35:
		m.body.WriteString("MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n")
		m.text(r, 8<<10+r.IntN(16<<10))
	default:
		m.text(r, 1<<10+r.IntN(5<<10))
	}
}

// attachment writes a letter with random bytes in base64, as compressed pictures and documents are: 20 KB to
// 1.6 MB, as many of each power of two.
func (m *Maker) attachment(r *rand.Rand) {
	const boundary = "=_part_of_a_letter"
	b := &m.body
	fmt.Fprintf(b, "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"%[1]s\"\r\n\r\n--%[1]s\r\nContent-Type: text/plain\r\n", boundary)
	m.text(r, b.Len()+1500)
	fmt.Fprintf(b, "\r\n--%s\r\nContent-Type: image/jpeg\r\nContent-Transfer-Encoding: base64\r\n\r\n", boundary)
	least, most := 20e3, 1.6e6
	raw := make([]byte, int(least*math.Pow(most/least, r.Float64()))*3/4)
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	coded := base64.StdEncoding.AppendEncode(nil, raw)
	for len(coded) > 0 {
		line := coded[:min(76, len(coded))]
		b.Write(line)
		b.WriteString("\r\n")
		coded = coded[len(line):]
	}
	fmt.Fprintf(b, "--%s--\r\n", boundary)
}

// text ends the header and adds lines of words until the letter has the given size, or little more.
func (m *Maker) text(r *rand.Rand, size int) {
	b := &m.body
	b.WriteString("\r\n")
	for b.Len() < size-2 {
		for column := 0; column < 66 && b.Len() < size-2; {
			w := word(r)
			b.WriteString(w)
			b.WriteByte(' ')
			column += len(w) + 1
		}
		b.WriteString("\r\n")
	}
}

func word(r *rand.Rand) string { return words[r.IntN(len(words))] }

func title(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// hash tells folders apart, so that the same number is another letter in each.
func hash(s string) (h uint64) {
	for _, c := range []byte(s) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h << 24
}

var names = strings.Fields(`ada barbara carl dorothy edsger frances grace hedy ivan john katherine leslie margaret
	niklaus ole peter radia shafi tony ursula vint whitfield`)

var words = strings.Fields(`about account after again agenda almost already always answer another archive around
	arrive attach autumn because before begin behind better between bicycle board book bridge build calendar call
	cannot carry change check city clear close coffee common company complete concert contract copy corner could
	country course cover customer daily decide deliver depart detail dinner discuss document double early east
	engine enough evening every exact example expect family february figure final finish first folder follow forest
	forward friday friend garden general gentle given glad green group happen harbour heavy house hundred idea
	important include inform inside invoice island january journey keep kitchen large later leave letter library
	listen little local lunch machine market matter measure meeting message middle minute monday month morning
	mountain music neighbour network never night north notice november number offer office often older open order
	paper parcel party people perhaps person picture place plan please point possible present price print problem
	project promise question quiet quite railway rather reach reason receive record remember report request result
	return river round school second season september several shall short should simple small south spring station
	still street summer sunday supper table their there think thursday ticket today together tomorrow train travel
	tuesday under until useful village wait water weather wednesday week welcome west which while window winter
	without word work would write year yellow yesterday`)
