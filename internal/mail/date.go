package mail

import (
	"strings"
	"time"
)

// ArrivalDate is the date that a message takes from one side to the other: when it arrived (INTERNALDATE, or
// a file's modification time) if that lies between 1970 and 9999 and not over a day in the future, else its
// Date header by the same rule, else now.
func ArrivalDate(arrived, header, now time.Time) time.Time {
	for _, t := range []time.Time{arrived, header} {
		if t.Unix() >= 0 && t.UTC().Year() <= 9999 && !t.After(now.Add(24*time.Hour)) {
			return t
		}
	}
	return now
}

// commonDate reads a Date field as nearly all are, "Mon, 2 Jan 2006 15:04:05 -0700", without allocating anything. What is
// not exactly that is for netmail.ParseDate.
func commonDate(p []byte) (time.Time, bool) {
	const tail = " Jan 2006 15:04:05 -0700"
	comma := len(p) - len(tail) - 1
	if comma > 0 && p[comma-1] != ' ' {
		comma-- // a day of two digits
	}
	comma -= 2
	if comma != 3 || p[3] != ',' || p[4] != ' ' || !isWeekday(p[:3]) {
		return time.Time{}, false
	}
	day, rest := p[5:len(p)-len(tail)], p[len(p)-len(tail):]
	if rest[0] != ' ' || rest[4] != ' ' || rest[9] != ' ' || rest[12] != ':' || rest[15] != ':' || rest[18] != ' ' {
		return time.Time{}, false
	}
	month := monthOf(rest[1:4])
	d, y, h, m, s := number(day), number(rest[5:9]), number(rest[10:12]), number(rest[13:15]), number(rest[16:18])
	zh, zm := number(rest[20:22]), number(rest[22:24])
	if month == 0 || d < 1 || y < 0 || h < 0 || h > 23 || m < 0 || m > 59 || s < 0 || s > 59 || zh < 0 || zh > 23 || zm < 0 || zm > 59 {
		return time.Time{}, false
	}
	t := time.Date(y, month, d, h, m, s, 0, time.UTC)
	if t.Day() != d {
		return time.Time{}, false // the 31st of a shorter month
	}
	switch zone := time.Duration(zh)*time.Hour + time.Duration(zm)*time.Minute; rest[19] {
	case '+':
		return t.Add(-zone), true
	case '-':
		return t.Add(zone), true
	}
	return time.Time{}, false
}

// number reads digits, -1 if there is anything else.
func number(p []byte) int {
	n := 0
	for _, c := range p {
		if c < '0' || c > '9' {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	return n
}

func isWeekday(p []byte) bool {
	switch string(p) {
	case "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun":
		return true
	}
	return false
}

// monthOf is the month of that name, 0 if there is none.
func monthOf(p []byte) time.Month {
	const names = "JanFebMarAprMayJunJulAugSepOctNovDec"
	if i := strings.Index(names, string(p)); i >= 0 && i%3 == 0 {
		return time.Month(i/3 + 1)
	}
	return 0
}

// plainDate rewrites what netmail.ParseDate doesn't read or reads otherwise elsewhere: tabs become
// spaces, a comment at the end is left out, and a zone that is a word is spelled in digits (RFC 5322,
// 4.3), because it would mean what it means where this program runs.
func plainDate(date string) string {
	date, _, _ = strings.Cut(date, "(")
	date = strings.Join(strings.Fields(date), " ")
	i := strings.LastIndexByte(date, ' ') + 1
	zone := strings.ToUpper(date[i:])
	if strings.ContainsFunc(zone, func(c rune) bool { return c < 'A' || c > 'Z' }) {
		return date
	}
	offset := "-0000" // all others: nobody knows
	switch zone {
	case "", "AM", "PM":
		return date
	case "EDT":
		offset = "-0400"
	case "EST", "CDT":
		offset = "-0500"
	case "CST", "MDT":
		offset = "-0600"
	case "MST", "PDT":
		offset = "-0700"
	case "PST":
		offset = "-0800"
	}
	return date[:i] + offset
}
