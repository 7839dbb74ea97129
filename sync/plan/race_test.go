//go:build race

package plan

// raced: the race detector is on, under which histories take several times as long.
const raced = true
