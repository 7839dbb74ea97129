//go:build race

package state

// raced: everything takes ten times as long, and one goroutine does all that matters.
const raced = true
