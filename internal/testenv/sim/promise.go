package sim

import "fmt"

// promise counts what people made and deleted, and so knows how often each message may and must be there.
type promise struct {
	made, deleted map[string]int
	// fresh says on which side a text is new since the last rest: what is new on both is one message.
	fresh map[string]bool
	// gone are the messages that somebody deleted since then, once and while nobody else had to do with them: they must not
	// come back. busy are those that somebody had to do with.
	gone map[string]bool
	busy map[string]bool
	// folders: somebody did something to a folder since then, which may bring messages back that were in it.
	folders bool
}

func newPromise() *promise {
	return &promise{made: map[string]int{}, deleted: map[string]int{}, fresh: map[string]bool{}, gone: map[string]bool{}, busy: map[string]bool{}}
}

// makes counts a text that is made on a side, or reports that it would be the other side's new message.
func (p *promise) makes(text string, server bool) bool {
	if was, ok := p.fresh[text]; ok && was != server {
		return false
	}
	p.fresh[text] = server
	p.made[text]++
	p.touches(text, server)
	return true
}

// touches notes that somebody had to do with a message. Twins can't be told apart.
func (p *promise) touches(text string, _ bool) {
	p.busy[text] = true
	delete(p.gone, text)
}

// deletes notes that somebody deleted a message. alone says that it was not deleted with its folder.
func (p *promise) deletes(text string, _, alone bool) {
	p.deleted[text]++
	if alone && p.made[text] == 1 && !p.busy[text] {
		p.gone[text] = true
	}
	p.busy[text] = true
}

func (p *promise) folder() { p.folders = true }

// rest begins a new time: both sides are the same, and at rest.
func (p *promise) rest() {
	clear(p.fresh)
	clear(p.gone)
	clear(p.busy)
	p.folders = false
}

// broken says what of the promise does not hold, empty if it does. It is asked when both sides are the same.
func (p *promise) broken(t Tree) string {
	there := map[string]int{}
	for _, messages := range t {
		for _, m := range messages {
			there[textOf(m)]++
		}
	}
	for text, made := range p.made {
		switch n := there[text]; {
		case n > made:
			return fmt.Sprintf("doubled: %s is there %d times, and was made %d times", subjectOf(text), n, made)
		case n < made-p.deleted[text]:
			return fmt.Sprintf("lost: %s is there %d times; it was made %d times and deleted %d times", subjectOf(text), n, made, p.deleted[text])
		case n > 0 && p.gone[text] && !p.folders:
			return fmt.Sprintf("back: %s was deleted", subjectOf(text))
		}
	}
	for text := range there {
		if p.made[text] == 0 {
			return fmt.Sprintf("nobody made %q", text)
		}
	}
	return ""
}

// textOf is a message of a Tree without its flags.
func textOf(m string) string {
	for i := range len(m) - 1 {
		if m[i] == ']' && m[i+1] == ' ' {
			return m[i+2:]
		}
	}
	return m
}
