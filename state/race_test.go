//go:build race

package state

// raced: everything takes ten times as long.
const raced = true
