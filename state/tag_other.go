//go:build !linux

package state

// keepsBirth reports whether a file keeps its birth for life in a directory. On these systems identify does not know births.
func keepsBirth(string) bool { return false }
