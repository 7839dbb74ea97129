//go:build race

package sim_test

// raced: everything takes ten times as long, and one goroutine does all that matters.
const raced = true
