package mail

import (
	"bytes"
	"io"
	"iter"
	"mime"
	netmail "net/mail"
	"strings"
)

// Envelope is what a list of messages shows of each: the fields decoded, empty if there are none.
type Envelope struct {
	From, Subject string
}

// maxEnvelope bounds how much of a message is read for its Envelope.
const maxEnvelope = 64 << 10

// ReadEnvelope reads the beginning of a message. What can't be decoded is as it is in the header.
func ReadEnvelope(r io.Reader) (Envelope, error) {
	head, err := io.ReadAll(io.LimitReader(r, maxEnvelope))
	if err != nil {
		return Envelope{}, err
	}
	var e Envelope
	var words mime.WordDecoder
	for name, value := range fields(head) {
		switch {
		case strings.EqualFold(name, "From") && e.From == "":
			e.From = sender(&words, value)
		case strings.EqualFold(name, "Subject") && e.Subject == "":
			e.Subject = decoded(&words, value)
		}
	}
	return e, nil
}

// fields yields the fields of a header, unfolded (RFC 5322, section 2.2.3).
func fields(head []byte) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		var name string
		var value []byte
		for line := range bytes.Lines(head) {
			line = bytes.TrimRight(line, "\r\n")
			if len(line) == 0 {
				break
			}
			if line[0] == ' ' || line[0] == '\t' {
				value = append(append(value, ' '), bytes.TrimLeft(line, " \t")...)
				continue
			}
			if name != "" && !yield(name, string(bytes.TrimSpace(value))) {
				return
			}
			n, v, _ := bytes.Cut(line, []byte(":"))
			name, value = string(bytes.TrimRight(n, " \t")), append(value[:0], v...)
		}
		if name != "" {
			yield(name, string(bytes.TrimSpace(value)))
		}
	}
}

func decoded(words *mime.WordDecoder, value string) string {
	if d, err := words.DecodeHeader(value); err == nil {
		return d
	}
	return value // a character set that only few still write
}

// sender is the name of the first address, or the address if there is none.
func sender(words *mime.WordDecoder, value string) string {
	parser := netmail.AddressParser{WordDecoder: words}
	addresses, err := parser.ParseList(value)
	switch {
	case err != nil || len(addresses) == 0: // a group may have no members
		return decoded(words, value)
	case addresses[0].Name != "":
		return addresses[0].Name
	}
	return addresses[0].Address
}
