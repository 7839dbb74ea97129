package mail

import "time"

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
