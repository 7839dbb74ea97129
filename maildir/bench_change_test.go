package maildir

import (
	"fmt"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

const inBench = 1000 // messages in each change of many

func benchNames(b *testing.B, root, folder string) []string {
	var bases []string
	for i := range inBench {
		bases = append(bases, fmt.Sprintf("1700%06d.M123456P4242Q%dRabcdef012345.host", i, i))
		writeFile(b, root, folder, "cur", bases[i]+":2,", "")
	}
	return bases
}

// BenchmarkSetFlags changes the messages of a folder that was read, one by one and together.
func BenchmarkSetFlags(b *testing.B) {
	s, root := realStore(b, Nested, mail.Inbox)
	bases := benchNames(b, root, "INBOX")
	mustScan(b, s, mail.Inbox)
	seen := mail.NewFlags(`\Seen`)
	b.Run("one by one", func(b *testing.B) {
		b.ReportAllocs()
		defer reportCPU(b, inBench)()
		for n := 0; b.Loop(); n++ {
			for _, base := range bases {
				add, remove := seen, mail.Flags{}
				if n%2 == 1 {
					add, remove = remove, add
				}
				if _, err := s.SetFlags(mail.Inbox, base, add, remove); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	for what, flags := range map[string]mail.Flags{"together": seen, "keywords": mail.NewFlags("Work", "Home")} {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			defer reportCPU(b, inBench)()
			for n := 0; b.Loop(); n++ {
				changes := make([]FlagChange, inBench)
				for i, base := range bases {
					changes[i] = FlagChange{Seen: Seen{Base: base}, Add: flags}
					if n%2 == 1 {
						changes[i] = FlagChange{Seen: Seen{Base: base}, Remove: flags}
					}
				}
				for _, o := range s.SetFlagsAll(mail.Inbox, changes) {
					if o.Err != nil {
						b.Fatal(o.Err)
					}
				}
			}
		})
	}
}

// BenchmarkMove moves messages there and back, of folders that nobody has read.
func BenchmarkMove(b *testing.B) {
	s, root := realStore(b, Nested, "A", "B")
	bases := benchNames(b, root, "A")
	b.ReportAllocs()
	defer reportCPU(b, inBench)()
	messages := make([]Seen, len(bases))
	for i, base := range bases {
		messages[i].Base = base
	}
	from, to := mail.FolderName("A"), mail.FolderName("B")
	for b.Loop() {
		for _, o := range s.MoveAll(from, messages, to) {
			if o.Err != nil {
				b.Fatal(o.Err)
			}
		}
		from, to = to, from
	}
}
