//go:build !race

package hostile_test

import (
	"fmt"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/hostile"
)

// heap watches how much memory is in use until stop is called, which returns how much more it was than in the beginning.
func heap() (stop func() uint64) {
	read := func() uint64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	// With the collector at ease, garbage would count.
	percent := debug.SetGCPercent(20)
	debug.FreeOSMemory()
	base, most := read(), uint64(0)
	end, ended := make(chan bool), make(chan bool)
	go func() {
		defer close(ended)
		for tick := time.NewTicker(2 * time.Millisecond); ; {
			select {
			case <-end:
				tick.Stop()
				return
			case <-tick.C:
				most = max(most, read())
			}
		}
	}()
	return func() uint64 {
		close(end)
		<-ended
		debug.SetGCPercent(percent)
		return most - min(base, most)
	}
}

// TestFloods: whatever comes without end, or is announced larger than anything can be, the run ends soon, holds no more
// memory than a bound, and says why.
func TestFloods(t *testing.T) {
	// What numbers, sets and names are kept of a mailbox or an account is bounded by what people may have; the rest by less. Five
	// million messages, which a mailbox may hold, are the most that is ever kept track of (imap: maxMessages), and take more than that.
	const modest, large, mailbox = 48 << 20, 96 << 20, 208 << 20
	kilobyte := strings.Repeat("x", 1000)
	for _, tt := range []struct {
		name string
		do   hostile.Act
		at   []string // commands, each in a run of its own
		most uint64
	}{
		{"a line without an end", hostile.Endless("* OK ", hostile.Repeated(kilobyte)), []string{"GREETING", "LOGIN", "LIST", "SELECT", "UID FETCH"}, modest},
		{"a line of numbers without an end", hostile.Endless("* SEARCH", hostile.Repeated(" 1 3 5 7 4294967295")), []string{"SELECT", "UID FETCH"}, large},
		{"a set without an end", hostile.Endless("* VANISHED (EARLIER) 1", hostile.Numbered(",%d")), []string{"SELECT"}, large},
		{"flags without an end", hostile.Endless("* 1 FETCH (UID 1 FLAGS (", hostile.Numbered("k%d ")), []string{"UID FETCH"}, modest},
		{"an outcome without an end", hostile.Endless("S1 OK ", hostile.Repeated(kilobyte)), []string{"LIST"}, modest},
		{"lists in lists without an end", hostile.Endless("* 1 FETCH (X ", hostile.Repeated("(")), []string{"UID FETCH"}, modest},
		{"words without an end", hostile.Endless("", hostile.Repeated("* OK still here\r\n")), []string{"GREETING", "LOGIN", "LIST", "SELECT"}, modest},
		{"alerts without an end", hostile.Endless("", hostile.Numbered("* OK [ALERT] number %d\r\n")), []string{"LIST"}, modest},
		{"EXISTS without an end", hostile.Endless("", hostile.Numbered("* %d EXISTS\r\n")), []string{"SELECT", "UID FETCH"}, modest},
		{"EXPUNGE without an end", hostile.Endless("", hostile.Repeated("* 1 EXPUNGE\r\n")), []string{"UID FETCH"}, modest},
		{"FETCH without an end", hostile.Endless("", hostile.Numbered("* 1 FETCH (UID %d FLAGS (\\Seen) RFC822.SIZE 1)\r\n")), []string{"UID FETCH"}, mailbox},
		{"one FETCH without an end", hostile.Endless("", hostile.Repeated("* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n")), []string{"UID FETCH"}, modest},
		{"FETCH with other keywords each time", hostile.Endless("", hostile.Numbered("* 1 FETCH (UID 1 FLAGS ("+kilobyte+"%d))\r\n")), []string{"UID FETCH"}, modest},
		{"VANISHED without an end", hostile.Endless("", hostile.Numbered("* VANISHED %d0\r\n")), []string{"SELECT", "UID FETCH"}, modest},
		{"SEARCH without an end", hostile.Endless("", hostile.Numbered("* SEARCH %d0\r\n")), []string{"UID FETCH"}, modest},
		{"LIST without an end", hostile.Endless("", hostile.Numbered("* LIST () \"/\" box%d\r\n")), []string{"LIST"}, modest},
		{"LIST of long names without an end", hostile.Endless("", hostile.Numbered("* LIST () \"/\" \""+kilobyte+"%d\"\r\n")), []string{"LIST"}, large},
		{"STATUS without an end", hostile.Endless("", hostile.Numbered("* STATUS box%d (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3)\r\n")), []string{"LIST"}, modest},
		{"namespaces without an end", hostile.Endless("", hostile.Repeated("* NAMESPACE ((\"\" \"/\")) ((\""+kilobyte+"\" \"/\")) NIL\r\n")), []string{"NAMESPACE"}, modest},
		{"capabilities without an end", hostile.Endless("* CAPABILITY IMAP4rev1", hostile.Numbered(" X%d")), []string{"LIST"}, modest},
		{"requests to go on without an end", hostile.Endless("", hostile.Repeated("+ go on\r\n")), []string{"LOGIN", "LIST", "APPEND"}, modest},
		{"outcomes of nothing without an end", hostile.Endless("", hostile.Numbered("X%d OK done\r\n")), []string{"LIST"}, modest},
		{"rubbish without an end", hostile.Endless("", hostile.Repeated("\x00\xff\x1b[2J\r\n")), []string{"GREETING", "LIST", "UID FETCH"}, modest},
		{"empty lines without an end", hostile.Endless("", hostile.Repeated("\r\n")), []string{"GREETING", "LIST"}, modest},
		{"literals in a value without an end", hostile.Endless("* 1 FETCH (X (", hostile.Repeated("{1}\r\nx ")), []string{"UID FETCH"}, modest},
		{"literals in a line without an end", hostile.Endless("* X ", hostile.Repeated("{3}\r\nabc ")), []string{"LIST", "UID FETCH"}, modest},

		{"a literal of 4 GB in a name", hostile.Endless("* LIST () \"/\" {4294967295}\r\n", hostile.Repeated(kilobyte)), []string{"LIST"}, modest},
		{"a literal of 4 GB in a value", hostile.Endless("* 1 FETCH (X {4294967295}\r\n", hostile.Repeated(kilobyte)), []string{"UID FETCH"}, modest},
		{"a literal of 4 GB behind a line", hostile.Endless("* X {4294967295}\r\n", hostile.Repeated(kilobyte)), []string{"GREETING", "LIST", "SELECT"}, modest},
		{"a literal of 2^63-2 bytes", hostile.Endless("* X {9223372036854775806}\r\n", hostile.Repeated(kilobyte)), []string{"LIST"}, modest},
		{"a literal of 2^64 bytes", hostile.Endless("* X {18446744073709551616}\r\n", hostile.Repeated(kilobyte)), []string{"LIST"}, modest},
		{"a header of 4 GB", hostile.Endless("* 1 FETCH (UID 1 FLAGS () BODY[HEADER] {4294967295}\r\n", hostile.Repeated(kilobyte)), []string{"UID FETCH"}, modest},
	} {
		for _, at := range tt.at {
			t.Run(tt.name+" at "+at, func(t *testing.T) {
				w := newWorld(t, hostile.Able, patient)
				w.flooded = true
				w.patience(5 * time.Second)
				w.server.Play(hostile.On(tt.do, at))
				stop := heap()
				start := time.Now()
				res := w.sync(2 * time.Minute)
				took, memory := time.Since(start), stop()
				t.Logf("%v, %d MB", took.Round(time.Millisecond), memory>>20)
				if memory > tt.most {
					t.Errorf("%d MB of memory, want at most %d", memory>>20, tt.most>>20)
				}
				if took > 45*time.Second {
					t.Errorf("it took %v", took)
				}
				w.unharmed()
				w.clear(res)
				w.recovers()
			})
		}
	}
}

// TestHugeBodies: a message that is announced larger than any disk, or that does not end, leaves nothing behind.
func TestHugeBodies(t *testing.T) {
	for _, size := range []string{"2147483648", "4294967295", "1099511627777", "9223372036854775806", "9223372036854775807", "99999999999999999999"} {
		for _, asked := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s bytes, asked for %v", size, asked), func(t *testing.T) {
				w := newWorld(t, hostile.Able, patient)
				uid := 8 // fresh0's
				if !asked {
					uid = 1
				}
				w.server.Play(inBox("INBOX", bodies(hostile.On(func(x *hostile.Exchange) {
					_, _ = fmt.Fprintf(x, "* 1 FETCH (UID %d FLAGS () INTERNALDATE \"02-Jun-2025 10:00:00 +0000\" BODY[] {%s}\r\n", uid, size)
					block := []byte(strings.Repeat("0123456789abcde\n", 4096))
					for range 300 { // 20 MB
						if _, err := x.Write(block); err != nil {
							break
						}
					}
					x.Untagged, x.Result, x.End = nil, "", hostile.HangUp
				}, "UID FETCH"))))
				stop := heap()
				res := w.sync(2 * time.Minute)
				if memory := stop(); memory > 48<<20 {
					t.Errorf("%d MB of memory", memory>>20)
				}
				w.unharmed()
				w.clear(res)
				w.recovers()
			})
		}
	}
}
