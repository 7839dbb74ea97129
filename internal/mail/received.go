package mail

import (
	netmail "net/mail"
	"strings"
	"time"
)

// ReceivedDate is when a message arrived, by its header: the date of the uppermost Received field, which the server that has it
// added last, else the Date field; zero if neither can be read. It is for servers that don't tell otherwise.
func ReceivedDate(head []byte) time.Time {
	var sent time.Time
	for name, value := range fields(head) {
		switch {
		case strings.EqualFold(name, "Received"):
			// RFC 5322, section 3.6.7: the date follows the last semicolon.
			if i := strings.LastIndexByte(value, ';'); i >= 0 {
				if t, err := netmail.ParseDate(strings.TrimSpace(value[i+1:])); err == nil {
					return t.UTC()
				}
			}
		case strings.EqualFold(name, "Date") && sent.IsZero():
			if t, err := netmail.ParseDate(value); err == nil {
				sent = t.UTC()
			}
		}
	}
	return sent
}
