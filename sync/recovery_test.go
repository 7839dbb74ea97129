package sync_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/model"
)

// TestUploadOfAMovedMessageIsCutOff: the message left INBOX on both sides, and its upload into its new folder is
// cut off. What INBOX showed must not be forgotten before the upload is known.
func TestUploadOfAMovedMessageIsCutOff(t *testing.T) {
	w := newWorld(t, model.Options{CondStore: true, UIDPlus: true})
	w.server.CreateMailbox("Lists")
	r6 := w.message("r6")
	uid := w.arrive("INBOX", r6, `\Seen`)
	w.sync()
	w.put("Lists", w.message("l7"), "R")
	w.move(w.file("INBOX", r6), "Lists")
	w.server.Expunge("INBOX", uid)
	done := false
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "append" && !s.After && !done {
			done = true
			return model.Action{Kind: model.Ghost}
		}
		return model.Action{}
	})
	w.try()
	if !done {
		t.Fatal("nothing was uploaded")
	}
	w.server.SetFault(nil)
	w.sync()
	w.server.ReleaseGhosts()
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "Lists": {`l7 \Answered`, `r6 \Seen`}})
	w.quiet()
}

// TestFolderThatCantBeLookedInto: it is reported, and nothing is deleted because of it.
func TestFolderThatCantBeLookedInto(t *testing.T) {
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("A")
	w.arrive("A", w.message("m"))
	w.sync()
	away := w.dir("A") + "-elsewhere"
	w.must(os.Rename(w.dir("A"), filepath.Join(t.TempDir(), "A")))
	w.must(os.Symlink(away, w.dir("A")))
	for range 2 {
		res := w.try()
		if res.Fatal != nil || len(res.Errors) == 0 {
			t.Errorf("fatal %v, errors %v", res.Fatal, res.Errors)
		}
		if n := len(w.serverTree()["A"]); n != 1 {
			t.Fatalf("the server has %d messages in A", n)
		}
	}
}
