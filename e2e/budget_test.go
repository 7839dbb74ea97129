package e2e

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// onDay is the variable TZ with which it is noon, so many days from now: the program's clock can't be set, but which day it is can.
func onDay(t *testing.T, days int) string {
	t.Helper()
	hours := 12 - time.Now().UTC().Hour() + 24*days
	// One type of local time and no change of it (RFC 9636, section 3).
	data := append([]byte("TZif"), make([]byte, 16)...)
	for _, n := range []uint32{0, 0, 0, 0, 1, 4} {
		data = binary.BigEndian.AppendUint32(data, n)
	}
	data = binary.BigEndian.AppendUint32(data, uint32(int32(hours*3600)))
	data = append(data, "\x00\x00TST\x00"...)
	path := filepath.Join(t.TempDir(), "zone")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return "TZ=" + path
}

// TestDailyBudget: over two days, in both directions, and back.
func TestDailyBudget(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	today, tomorrow := onDay(t, 0), onDay(t, 1)
	big := func(subject string) string { return letter(subject) + strings.Repeat("more of it\r\n", 1000) }
	for _, subject := range []string{"one", "two", "three", "four"} {
		a.client().Append("INBOX", big(subject), flags(), received)
	}
	for _, subject := range []string{"five", "six"} {
		a.put("INBOX", onDisk(big(subject)), "S")
	}
	a.set("daily_download", `"30kB"`)
	a.set("daily_upload", `"15kB"`)
	a.Env = []string{today}
	if r := a.sync(0); r.Deferred != 3 || r.ToMaildir.New != 2 || r.ToServer.New != 1 {
		t.Errorf("the first run: %+v", r)
	}
	if s := a.status()["INBOX"]; s.OneSided["over-daily-download"] != 2 || s.OneSided["over-daily-upload"] != 1 {
		t.Errorf("status counts %v", s.OneSided)
	}
	for range 2 {
		if r := a.sync(0); r.Deferred != 3 || r.ToMaildir.New != 0 || r.ToServer.New != 0 {
			t.Errorf("later that day: %+v", r)
		}
	}
	a.Env = []string{tomorrow}
	if r := a.sync(0); r.Deferred != 0 || r.ToMaildir.New != 2 || r.ToServer.New != 1 {
		t.Errorf("the next day: %+v", r)
	}
	a.client().Append("INBOX", big("seven"), flags(), received)
	a.Env = []string{today} // which brings nothing again
	if r := a.sync(0); r.Deferred != 1 || r.ToMaildir.New != 0 {
		t.Errorf("back again: %+v", r)
	}
	a.set("daily_download", "")
	a.settled()
	a.holds("INBOX", "one", "two", "three", "four", "five", "six", "seven")
	a.quiet()
}
