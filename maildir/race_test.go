//go:build race

package maildir

// raceEnabled: the race detector is compiled in.
const raceEnabled = true
