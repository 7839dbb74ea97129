package raw

import (
	"bufio"
	"net"
	"strings"
	"testing"
)

// script answers everything that a client sends with fixed words.
func script(t *testing.T, words string) *Client {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close() })
	go func() { // ends when the test closes the pipe
		_, _ = bufio.NewReader(theirs).ReadString('\n')
		_, _ = theirs.Write([]byte(words))
		_, _ = theirs.Read(make([]byte, 1)) // net.Pipe sets no deadline once this end is closed
	}()
	return &Client{conn: ours, in: bufio.NewReaderSize(ours, 64), out: bufio.NewWriter(ours)}
}

func TestRunLeavesLiteralsOut(t *testing.T) {
	c := script(t, "* 1 FETCH (BODY[] {12}\r\na1 OK liar\r\n UID 7)\r\n* SEARCH "+strings.Repeat("1 ", 100)+"\r\na1 OK done\r\n")
	var lines []string
	if err := c.Run(func(line []byte) { lines = append(lines, string(line)) }, "FETCH 1 BODY[]"); err != nil {
		t.Fatal(err)
	}
	want := []string{"* 1 FETCH (BODY[] {12} UID 7)", "* SEARCH " + strings.Repeat("1 ", 100)}
	if strings.Join(lines, "|") != strings.Join(want, "|") {
		t.Errorf("lines are %q, want %q", lines, want)
	}
}

func TestRunRefused(t *testing.T) {
	if err := script(t, "a1 NO not today\r\n").Run(nil, "NOOP"); err == nil || !strings.Contains(err.Error(), "not today") {
		t.Errorf("a refusal gives the error %v", err)
	}
}

func TestParseStatus(t *testing.T) {
	for _, c := range []struct {
		line, name string
		want       Count
	}{
		{`* STATUS INBOX (MESSAGES 3 UNSEEN 1)`, "INBOX", Count{Messages: 3, Unseen: 1}},
		{`* STATUS "Two words" (MESSAGES 3 UNSEEN 0)`, "Two words", Count{Messages: 3}},
	} {
		name, count, ok, err := parseStatus(c.line)
		if name != c.name || count != c.want || !ok || err != nil {
			t.Errorf("%s gives %q %v %t %v", c.line, name, count, ok, err)
		}
	}
	if _, _, ok, err := parseStatus(`* LIST () "/" INBOX`); ok || err != nil {
		t.Errorf("a LIST is taken for a STATUS: %t, %v", ok, err)
	}
}
