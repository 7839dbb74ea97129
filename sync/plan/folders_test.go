package plan

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/satchel-mail/satchel/internal/mail"
)

func showFolderOps(ops []FolderOp) string {
	var out []string
	for _, op := range ops {
		s := fmt.Sprintf("%s %s", op.Kind, op.Folder)
		if op.From != "" {
			s = fmt.Sprintf("%s %s to %s", op.Kind, op.From, op.Folder)
		}
		if op.Side != "" {
			s += " on " + string(op.Side)
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

// folderWorld is a FolderInput with the base folders on both sides.
func folderWorld(mode Mode, names ...mail.FolderName) FolderInput {
	in := FolderInput{Policy: Policy{Mode: mode, Create: CreateBoth}, RemoteSame: map[FolderQuestion]float64{}, LocalSame: map[FolderQuestion]float64{}}
	for i, n := range names {
		k := uint64(i + 1)
		in.Base = append(in.Base, BaseFolder{ID: int64(k), Name: n, Mailbox: string(n), OnDisk: true, UIDValidity: k, Inode: k, Messages: 10})
		in.Remote = append(in.Remote, RemoteFolder{Name: n, Mailbox: string(n), UIDValidity: k})
		in.Local = append(in.Local, LocalFolder{Name: n, Mailbox: string(n), Inode: k})
	}
	return in
}

func (in *FolderInput) renameRemote(from, to mail.FolderName) {
	for i := range in.Remote {
		in.Remote[i].Name = moved(in.Remote[i].Name, from, to)
		in.Remote[i].Mailbox = string(in.Remote[i].Name)
	}
}

func (in *FolderInput) renameLocal(from, to mail.FolderName) {
	for i := range in.Local {
		in.Local[i].Name = moved(in.Local[i].Name, from, to)
		in.Local[i].Mailbox = string(in.Local[i].Name)
	}
}

// answerAll answers every question with share.
func (in *FolderInput) answerAll(share float64) {
	for _, q := range FolderQuestions(*in) {
		if q.Side == Server {
			in.RemoteSame[q] = share
		} else {
			in.LocalSame[q] = share
		}
	}
}

func (in *FolderInput) withIDs() {
	for i := range in.Base {
		in.Base[i].MailboxID, in.Remote[i].MailboxID = fmt.Sprint(i), fmt.Sprint(i)
	}
}

func (in *FolderInput) onlyOnServer() {
	for i := range in.Base {
		in.Base[i].OnDisk, in.Local = false, nil
	}
}

func TestFolders(t *testing.T) {
	for _, c := range []struct {
		name   string
		mode   Mode
		base   []mail.FolderName
		change func(in *FolderInput)
		want   string
	}{
		{"nothing changed", TwoWay, []mail.FolderName{"INBOX", "A"}, func(*FolderInput) {}, ""},
		{"renamed on the server", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameRemote("A", "B")
			in.answerAll(1)
		}, "rename-folder A to B on maildir"},
		{"renamed on the server, nine tenths", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameRemote("A", "B")
			in.answerAll(0.9)
		}, "rename-folder A to B on maildir"},
		{"another folder on the server", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameRemote("A", "B")
			in.answerAll(0.89)
		}, "create-folder B on maildir"},
		{"not asked", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameRemote("A", "B")
		}, "create-folder B on maildir"},
		{"by its identity, without a question", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.withIDs()
			in.renameRemote("A", "B")
			in.Remote[0].UIDValidity = 99
		}, "rename-folder A to B on maildir"},
		{"same UIDVALIDITY, other identity", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.withIDs()
			in.renameRemote("A", "B")
			in.Remote[0].MailboxID = "other"
			in.answerAll(1)
		}, "create-folder B on maildir"},
		{"an identity that two mailboxes have is none", TwoWay, []mail.FolderName{"A", "B"}, func(in *FolderInput) {
			in.withIDs()
			in.Remote[0].MailboxID, in.Remote[1].MailboxID = "0", "0"
		}, ""},
		{"renamed in the Maildir", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameLocal("A", "B")
			in.answerAll(1)
		}, "rename-folder A to B on server"},
		{"another directory with the inode", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameLocal("A", "B")
			in.answerAll(0.5)
		}, "create-folder B on server"},
		{"an empty folder is renamed by its inode", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.Base[0].Messages = 0
			in.renameLocal("A", "B")
		}, "rename-folder A to B on server"},
		{"renamed in the Maildir to what the server can't have", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameLocal("A", "B")
			in.Local[0].Mailbox, in.Local[0].Problem = "", "holds the separator"
			in.answerAll(1)
		}, ""},
		{"children go along", TwoWay, []mail.FolderName{"A", "A/x", "A/x/y"}, func(in *FolderInput) {
			in.renameRemote("A", "B")
			in.answerAll(1)
		}, "rename-folder A to B on maildir"},
		{"a child that stays is brought back", TwoWay, []mail.FolderName{"A", "A/x"}, func(in *FolderInput) {
			in.withIDs()
			in.renameRemote("A", "B")
			in.renameRemote("B/x", "A/x")
		}, "rename-folder A to B on maildir; rename-folder B/x to A/x on maildir"},
		{"a child with a name of its own", TwoWay, []mail.FolderName{"A", "A/x"}, func(in *FolderInput) {
			in.withIDs()
			in.renameRemote("A", "B")
			in.renameRemote("B/x", "B/z")
		}, "rename-folder A to B on maildir; rename-folder B/x to B/z on maildir"},
		{"children of a mere container", TwoWay, []mail.FolderName{"A/x", "A/y"}, func(in *FolderInput) {
			in.withIDs()
			in.renameRemote("A/x", "B/x")
			in.renameRemote("A/y", "B/y")
		}, "rename-folder A/x to B/x on maildir; rename-folder A/y to B/y on maildir"},
		{"a new child is not created under the old name", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.withIDs()
			in.renameRemote("A", "B")
			in.Local = append(in.Local, LocalFolder{Name: "A/new", Mailbox: "A/new", Inode: 9})
		}, "rename-folder A to B on maildir"},
		{"both renamed: the server's name", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameRemote("A", "S")
			in.renameLocal("A", "M")
			in.answerAll(1)
		}, "rename-folder M to S on maildir"},
		{"both renamed to the same", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameRemote("A", "S")
			in.renameLocal("A", "S")
			in.answerAll(1)
		}, "follow-folder A to S"},
		{"renamed in a chain", TwoWay, []mail.FolderName{"A", "B"}, func(in *FolderInput) {
			in.withIDs()
			in.renameRemote("B", "C")
			in.renameRemote("A", "B")
		}, "rename-folder B to C on maildir; rename-folder A to B on maildir"},
		{"swapped on the server", TwoWay, []mail.FolderName{"A", "B"}, func(in *FolderInput) {
			in.withIDs()
			in.renameRemote("A", "t")
			in.renameRemote("B", "A")
			in.renameRemote("t", "B")
		}, "rename-folder A to A-satchel-renaming on maildir; rename-folder B to A on maildir; " +
			"rename-folder A-satchel-renaming to B on maildir"},
		{"swapped on the server, and the run stopped before the state knew of the second rename", TwoWay, []mail.FolderName{"A-satchel-renaming", "B"},
			func(in *FolderInput) {
				in.withIDs()
				in.renameRemote("A-satchel-renaming", "t")
				in.renameRemote("B", "A")
				in.renameRemote("t", "B")
				in.renameLocal("B", "A")
				in.answerAll(1)
			}, "follow-folder B to A; rename-folder A-satchel-renaming to B on maildir"},
		{"swapped on the server, push", Push, []mail.FolderName{"A", "B"}, func(in *FolderInput) {
			in.withIDs()
			in.renameRemote("A", "t")
			in.renameRemote("B", "A")
			in.renameRemote("t", "B")
		}, "rename-folder B to B-satchel-renaming on server; rename-folder A to B on server; " +
			"rename-folder B-satchel-renaming to A on server"},
		{"swapped on the server, one with a child, and one renamed in the Maildir", TwoWay, []mail.FolderName{"A", "A/x", "B"}, func(in *FolderInput) {
			in.withIDs()
			in.renameRemote("A", "t")
			in.renameRemote("B", "A")
			in.renameRemote("t", "B")
			in.renameLocal("B", "R")
			in.answerAll(1)
		}, "rename-folder A to A-satchel-renaming on maildir; rename-folder R to A on maildir; " +
			"rename-folder A-satchel-renaming to B on maildir"},
		{"renamed onto a folder that the other side has", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.withIDs()
			in.renameRemote("A", "B")
			in.Local = append(in.Local, LocalFolder{Name: "B", Mailbox: "B", Inode: 9})
		}, ""},
		{"renamed into itself", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.withIDs()
			in.renameRemote("A", "A/x")
		}, "create-folder A/x on maildir"},
		{"the configuration gives it another name", TwoWay, []mail.FolderName{"[Gmail]/Sent Mail"}, func(in *FolderInput) {
			in.Remote[0].Name = "Sent"
		}, "rename-folder [Gmail]/Sent Mail to Sent on maildir"},
		{"the configuration gives it another name, push", Push, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.Remote[0].Name = "Sent"
		}, "rename-folder A to Sent on maildir"},
		{"renamed on the server, and mapped to the old name", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.withIDs()
			in.Remote[0].Mailbox = "B"
		}, "follow-folder A to A"},
		{"INBOX is never renamed on the server", TwoWay, []mail.FolderName{"INBOX"}, func(in *FolderInput) {
			in.renameLocal("INBOX", "B")
			in.answerAll(1)
		}, "create-folder B on server"},
		{"nor by pull in the Maildir", Pull, []mail.FolderName{"INBOX"}, func(in *FolderInput) {
			in.renameLocal("INBOX", "B")
			in.answerAll(1)
		}, "create-folder INBOX on maildir"},
		{"INBOX is renamed on the server: its messages are moved", TwoWay, []mail.FolderName{"INBOX", "INBOX/x"}, func(in *FolderInput) {
			in.withIDs()
			in.Remote[0].Name, in.Remote[0].Mailbox = "Old", "Old"
			in.Remote = append(in.Remote, RemoteFolder{Name: "INBOX", Mailbox: "INBOX", UIDValidity: 50, MailboxID: "new"})
		}, "create-folder Old on maildir"},
		{"pull takes a local rename back", Pull, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameLocal("A", "B")
			in.answerAll(1)
		}, "rename-folder B to A on maildir"},
		{"pull can't take it back, for a folder below the old name is new", Pull, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameLocal("A", "B")
			in.Local = append(in.Local, LocalFolder{Name: "A/New", Mailbox: "A/New", Inode: 50})
			in.answerAll(1)
		}, "create-folder A on maildir"},
		{"push can't take it back, for a folder below the old name is new", Push, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameRemote("A", "B")
			in.Remote = append(in.Remote, RemoteFolder{Name: "A/New", Mailbox: "A/New", UIDValidity: 50})
			in.answerAll(1)
		}, "create-folder A on server"},
		{"push takes a server's rename back", Push, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameRemote("A", "B")
			in.answerAll(1)
		}, "rename-folder B to A on server"},
		{"archive follows the server", Archive, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameRemote("A", "B")
			in.answerAll(1)
		}, "rename-folder A to B on maildir"},
		{"archive leaves the Maildir's names alone", Archive, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameLocal("A", "B")
			in.answerAll(1)
		}, ""},
		{"archive leaves a folder that got two names to its messages", Archive, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameLocal("A", "B")
			in.renameRemote("A", "C")
			in.answerAll(1)
		}, "create-folder C on maildir"},
		{"deleted on the server", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) { in.Remote = nil }, ""},
		{"deleted in the Maildir", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) { in.Local = nil }, ""},
		{"deleted in the Maildir, pull", Pull, []mail.FolderName{"A"}, func(in *FolderInput) { in.Local = nil }, "create-folder A on maildir"},
		{"deleted on the server, push", Push, []mail.FolderName{"A"}, func(in *FolderInput) { in.Remote = nil }, "create-folder A on server"},
		{"deleted on one side, renamed on the other", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.renameRemote("A", "B")
			in.Local = nil
			in.answerAll(1)
		}, "create-folder B on maildir"},
		{"never on disk, renamed on the server", TwoWay, []mail.FolderName{"A"}, func(in *FolderInput) {
			in.withIDs()
			in.Policy.Create = CreateServer
			in.Base[0].OnDisk, in.Local = false, nil
			in.renameRemote("A", "B")
		}, "follow-folder A to B"},
		{"never on disk, and renamed in a chain", Push, []mail.FolderName{"A", "B"}, func(in *FolderInput) {
			in.withIDs()
			in.onlyOnServer()
			in.renameRemote("B", "C")
			in.renameRemote("A", "B")
		}, "follow-folder B to C; follow-folder A to B"},
		{"never on disk, and swapped", Push, []mail.FolderName{"A", "A/x", "B"}, func(in *FolderInput) {
			in.withIDs()
			in.onlyOnServer()
			in.renameRemote("A", "t")
			in.renameRemote("B", "A")
			in.renameRemote("t", "B")
		}, "follow-folder A to A-satchel-renaming; follow-folder B to A; follow-folder A-satchel-renaming to B"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := folderWorld(c.mode, c.base...)
			c.change(&in)
			if got := showFolderOps(Folders(in)); got != c.want {
				t.Errorf("planned %q, want %q", got, c.want)
			}
		})
	}
}

// TestMailboxOfAFolderThatStays: a folder that was renamed on the server to a name which another one had is not renamed here. It keeps its
// mailbox too, or that one would be the other folder's and its own.
func TestMailboxOfAFolderThatStays(t *testing.T) {
	in := folderWorld(TwoWay, "A", "A/Old", "L")
	in.withIDs()
	in.Remote = in.Remote[:2]
	in.renameRemote("A", "N")
	in.renameRemote("N/Old", "L")
	ops := Folders(in)
	if got := showFolderOps(ops); got != "rename-folder A to N on maildir; rename-folder N/Old to A/Old on maildir" || ops[1].Mailbox != "A/Old" {
		t.Errorf("planned %q, with mailbox %q", got, ops[len(ops)-1].Mailbox)
	}
}

func TestNewFolders(t *testing.T) {
	modes := map[Mode][2]bool{TwoWay: {true, true}, Pull: {true, false}, Push: {false, true}, Archive: {true, false}}
	creates := map[Create][2]bool{CreateBoth: {true, true}, CreateMaildir: {true, false}, CreateServer: {false, true}, CreateNone: {}}
	for mode, m := range modes {
		for create, c := range creates {
			in := folderWorld(mode, "INBOX")
			in.Policy.Create = create
			in.Remote = append(in.Remote, RemoteFolder{Name: "R", Mailbox: "R", UIDValidity: 50})
			in.Local = append(in.Local, LocalFolder{Name: "L", Mailbox: "L", Inode: 50}, LocalFolder{Name: "bad", Problem: "x", Inode: 51})
			var want []string
			if m[1] && c[1] {
				want = append(want, "create-folder L on server")
			}
			if m[0] && c[0] {
				want = append(want, "create-folder R on maildir")
			}
			if got := showFolderOps(Folders(in)); got != strings.Join(want, "; ") {
				t.Errorf("%s, create %s: planned %q, want %q", mode, create, got, want)
			}
		}
	}
	in := folderWorld(TwoWay)
	in.Local = []LocalFolder{{Name: "INBOX", Mailbox: "INBOX", Inode: 1}}
	if ops := Folders(in); len(ops) != 0 {
		t.Errorf("INBOX is created on the server: %s", showFolderOps(ops))
	}
}

func TestFolderQuestions(t *testing.T) {
	in := folderWorld(TwoWay, "A", "B", "C")
	if q := FolderQuestions(in); len(q) != 0 {
		t.Errorf("asked %v though nothing is missing", q)
	}
	in.Remote = append(in.Remote, RemoteFolder{Name: "N", Mailbox: "N", UIDValidity: 2})
	if q := FolderQuestions(in); len(q) != 0 {
		t.Errorf("asked %v though nothing is missing", q)
	}
	in.Remote = append(in.Remote[:1:1], in.Remote[2:]...) // B is gone, N has its UIDVALIDITY
	want := FolderQuestion{Side: Server, Base: 2, Candidate: "N"}
	if q := FolderQuestions(in); len(q) != 1 || q[0] != want {
		t.Errorf("asked %v, want %v", q, want)
	}
}

// TestFollowingComesToRest: whatever the server calls the folders that it alone has, each step tells the state a name that no other folder has, and in the
// end none has one of those that make room. The state then calls each as the server does, unless one is renamed into itself.
func TestFollowingComesToRest(t *testing.T) {
	flat, deep := []mail.FolderName{"A", "B", "C", "D", "E"}, []mail.FolderName{"A", "A/x", "A/x/y", "A/z", "B", "B/x", "B/z", "C"}
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SampledFrom([][]mail.FolderName{flat, deep}).Draw(t, "names")
		n := rapid.IntRange(1, len(names)).Draw(t, "folders")
		in := folderWorld(Push, rapid.Permutation(names).Draw(t, "before")[:n]...)
		in.withIDs()
		in.onlyOnServer()
		for i, name := range rapid.Permutation(names).Draw(t, "after")[:n] {
			in.Remote[i].Name, in.Remote[i].Mailbox = name, string(name)
		}
		for _, op := range Folders(in) {
			from := mail.FolderName("")
			for _, b := range in.Base {
				if b.ID == op.Base {
					from = b.Name
				}
			}
			told := map[mail.FolderName]bool{}
			for i := range in.Base {
				b := &in.Base[i]
				if within(b.Name, from) {
					b.Name = op.Folder + b.Name[len(from):]
				}
				if b.ID == op.Base {
					b.Mailbox = op.Mailbox
				}
				if told[b.Name] {
					t.Fatalf("two folders are called %s after %+v", b.Name, op)
				}
				told[b.Name] = true
			}
		}
		for i, b := range in.Base {
			if strings.HasSuffix(string(b.Name), parkingSuffix) || b.Name != in.Remote[i].Name && len(names) == len(flat) {
				t.Fatalf("the state calls %s %s", in.Remote[i].Name, b.Name)
			}
		}
	})
}
