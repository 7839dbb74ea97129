//go:build race

package e2e

// raced: the binary is built as the tests are, with the race detector or without it.
const raced = true
