// Package mail holds the words that all rooms share: flags, UIDs, folder names, and what the
// bytes of a message say about it. It does no I/O beyond reading what it is handed.
package mail
