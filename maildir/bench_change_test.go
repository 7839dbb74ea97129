package maildir

import (
	"fmt"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

// BenchmarkSetFlags changes 1,000 messages of a folder that was read.
func BenchmarkSetFlags(b *testing.B) {
	s, root := realStore(b, Nested, mail.Inbox)
	for i := range 1000 {
		writeFile(b, root, "INBOX", "cur", fmt.Sprintf("1700%06d.M123456P4242Q%dRabcdef012345.host:2,", i, i), "")
	}
	scan := mustScan(b, s, mail.Inbox)
	seen := mail.NewFlags(`\Seen`)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		for _, e := range scan.Entries {
			add, remove := seen, mail.Flags{}
			if n%2 == 1 {
				add, remove = remove, add
			}
			if _, err := s.SetFlags(mail.Inbox, e.Base, add, remove); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/message")
}
