package imap

import "time"

// dateLayout is INTERNALDATE's form (RFC 3501, date-time). Go's month names are the English ones.
const dateLayout = "_2-Jan-2006 15:04:05 -0700"

// parseDate returns the zero time for what is no date.
func parseDate(text []byte) time.Time {
	if t, ok := usualDate(text); ok {
		return t
	}
	t, err := time.Parse(dateLayout, string(text))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// usualDate reads a date that is spelled as nearly all are, in a tenth of the time that time.Parse takes. There is one for
// each message of a mailbox.
func usualDate(text []byte) (time.Time, bool) {
	if len(text) != len(dateLayout) || text[2] != '-' || text[6] != '-' || text[11] != ' ' || text[14] != ':' || text[17] != ':' || text[20] != ' ' {
		return time.Time{}, false
	}
	pair := func(i int) int { // two digits, or a number that is too large for anything
		a, b := text[i]-'0', text[i+1]-'0'
		if text[i] == ' ' && i == 0 {
			a = 0
		}
		if a > 9 || b > 9 {
			return 1 << 16
		}
		return int(a)*10 + int(b)
	}
	day, year := pair(0), pair(7)*100+pair(9)
	hour, minute, second := pair(12), pair(15), pair(18)
	zoneHour, zoneMinute := pair(22), pair(24)
	month := monthNamed(text[3:6])
	// Everything odd is left to time.Parse.
	if month == 0 || day < 1 || day > 31 || year > 9999 || hour > 23 || minute > 59 || second > 59 || zoneHour > 23 || zoneMinute > 59 {
		return time.Time{}, false
	}
	offset := zoneHour*60 + zoneMinute
	switch text[21] {
	case '+':
		offset = -offset
	case '-':
	default:
		return time.Time{}, false
	}
	t := time.Date(year, month, day, hour, minute, second, 0, time.UTC)
	if day > 28 && t.Day() != day { // the 31st of a month that has fewer
		return time.Time{}, false
	}
	return t.Add(time.Duration(offset) * time.Minute), true
}

// monthNamed returns 0 for what is no month.
func monthNamed(name []byte) time.Month {
	switch string(name) {
	case "Jan":
		return time.January
	case "Feb":
		return time.February
	case "Mar":
		return time.March
	case "Apr":
		return time.April
	case "May":
		return time.May
	case "Jun":
		return time.June
	case "Jul":
		return time.July
	case "Aug":
		return time.August
	case "Sep":
		return time.September
	case "Oct":
		return time.October
	case "Nov":
		return time.November
	case "Dec":
		return time.December
	}
	return 0
}

func formatDate(t time.Time) string { return t.Format(dateLayout) }

// canFormat reports whether a date has the four-digit year that date-time needs.
func canFormat(t time.Time) bool { y := t.Year(); return !t.IsZero() && y >= 1 && y <= 9999 }
