package sync

import (
	"context"
	"errors"
	"fmt"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// maxHangups bounds how many connections a run loses on each side to find out at which messages the server hangs up.
const maxHangups = 24

// piecemeal has get deal with messages of a folder, over one connection after the other. done need no further try; failed is what our own side could
// not do. A lost connection is worth another one as long as each brings something. One that does not may be lost because of one of the messages: then
// they are asked for in halves, and the one at which it is lost twice, with no other beside it, is given to bad. It holds up no other, and is not
// asked for any more in this run.
func (r *run) piecemeal(ctx context.Context, f *folder, uids mail.UIDSet, get func(s remote.Session, uids mail.UIDSet) (done mail.UIDSet, failed, err error),
	bad func(uid mail.UID, why error) error) error {
	type piece struct {
		uids  mail.UIDSet
		whole bool
		lost  int // connections that brought nothing
	}
	for todo := []piece{{uids: r.worthTrying(f, uids), whole: true}}; len(todo) > 0; {
		p := &todo[len(todo)-1]
		if p.uids.IsEmpty() {
			todo = todo[:len(todo)-1]
			continue
		}
		before := p.uids.Len()
		var failed error
		err := r.pool.with(ctx, func(s remote.Session) error {
			done, ours, err := get(s, p.uids)
			p.uids, failed = p.uids.Minus(done), ours
			if failed != nil && !remote.Dead(err) {
				return failed
			}
			return errors.Join(failed, err)
		})
		left := p.uids.Len()
		switch {
		case err == nil:
			todo = todo[:len(todo)-1]
			continue
		case failed != nil || remote.ClassOf(err) != remote.Lost || ctx.Err() != nil:
			return err
		case left < before:
			continue
		}
		p.lost++
		switch {
		case p.lost == 1 && p.whole: // it may have been the line
		case !r.mayLoseMore(&r.hangups):
			return err
		case p.lost == 1 && left == 1:
		case left == 1:
			for uid := range p.uids.All() {
				r.lostAt(culprit{folder: f.name, uid: uid})
				if err := bad(uid, err); err != nil {
					return err
				}
			}
			todo = todo[:len(todo)-1]
		default:
			halves := p.uids.Chunks(0, (left+1)/2)
			todo = todo[:len(todo)-1]
			for _, half := range halves { // the last, which has the newest, is the next
				todo = append(todo, piece{uids: half})
			}
		}
	}
	return nil
}

// mayLoseMore counts a connection that was lost at what may be one message's fault, and reports whether the run may lose another.
func (r *run) mayLoseMore(lost *int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	*lost++
	return *lost < maxHangups
}

// culprit is a message at which the connection was lost: one of the server's, or a file.
type culprit struct {
	folder mail.FolderName
	uid    mail.UID
	file   string
}

// lostAt notes that the connection was lost at a message that was alone, and returns how often that was so in this run.
func (r *run) lostAt(c culprit) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.culprits == nil {
		r.culprits = map[culprit]int{}
	}
	r.culprits[c]++
	return r.culprits[c]
}

// worthTrying leaves out those at which this run has lost the connection.
func (r *run) worthTrying(f *folder, uids mail.UIDSet) mail.UIDSet {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.culprits {
		if c.folder == f.name && uids.Contains(c.uid) {
			uids = uids.Minus(mail.NewUIDSet(c.uid))
			f.dirty = true
		}
	}
	return uids
}

const (
	byClient = "remove that message with another client"
	byHand   = "take that file out of the Maildir"
)

// hungUp is why a message was not transferred at which the connection is lost each time, and what the person can do. name is what it is called, empty if that was said.
func hungUp(name, remedy string, why error) error {
	return &remote.Error{Class: remote.Refused, Op: name, Err: fmt.Errorf("the connection was lost each time: %v", why),
		Hint: "every sync tries again, last of all; if it never works, " + remedy}
}
