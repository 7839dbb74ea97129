package plan

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/satchel-mail/satchel/internal/mail"
)

func shuffleInput(in Input, rnd *rand.Rand) Input {
	in.Folders, in.Pairs, in.Remote, in.Local =
		slices.Clone(in.Folders), slices.Clone(in.Pairs), slices.Clone(in.Remote), slices.Clone(in.Local)
	rnd.Shuffle(len(in.Folders), func(i, j int) { in.Folders[i], in.Folders[j] = in.Folders[j], in.Folders[i] })
	rnd.Shuffle(len(in.Pairs), func(i, j int) { in.Pairs[i], in.Pairs[j] = in.Pairs[j], in.Pairs[i] })
	rnd.Shuffle(len(in.Remote), func(i, j int) { in.Remote[i], in.Remote[j] = in.Remote[j], in.Remote[i] })
	rnd.Shuffle(len(in.Local), func(i, j int) { in.Local[i], in.Local[j] = in.Local[j], in.Local[i] })
	return in
}

func shuffleFolders(in FolderInput, rnd *rand.Rand) FolderInput {
	in.Base, in.Remote, in.Local = slices.Clone(in.Base), slices.Clone(in.Remote), slices.Clone(in.Local)
	rnd.Shuffle(len(in.Base), func(i, j int) { in.Base[i], in.Base[j] = in.Base[j], in.Base[i] })
	rnd.Shuffle(len(in.Remote), func(i, j int) { in.Remote[i], in.Remote[j] = in.Remote[j], in.Remote[i] })
	rnd.Shuffle(len(in.Local), func(i, j int) { in.Local[i], in.Local[j] = in.Local[j], in.Local[i] })
	return in
}

// TestOrderOfInput: permuting the input gives the same plan, and the input is not changed.
func TestOrderOfInput(t *testing.T) {
	for seed := range uint64(400) {
		h := newHistory(seed)
		h.build()
		h.perturb(Server, 4)
		h.perturb(Maildir, 4)
		h.bothNew()

		folders := h.w.answerFolders(h.w.folderInput())
		mixed := shuffleFolders(folders, h.rnd)
		if a, b := Folders(folders), Folders(mixed); !reflect.DeepEqual(a, b) {
			t.Fatalf("history %d: folders\n%v\n%v", seed, a, b)
		}
		if a, b := FolderQuestions(h.w.folderInput()), FolderQuestions(shuffleFolders(h.w.folderInput(), h.rnd)); !reflect.DeepEqual(a, b) {
			t.Fatalf("history %d: folder questions\n%v\n%v", seed, a, b)
		}
		in := h.w.input()
		for range 12 {
			copied := shuffleInput(in, rand.New(rand.NewPCG(seed, 5)))
			a, b := Questions(in), Questions(copied)
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("history %d: questions\n%v\n%v", seed, a, b)
			}
			if a, b := Make(in), Make(copied); !reflect.DeepEqual(a, b) {
				t.Fatalf("history %d: plans\n%s\n%s", seed, showOps(a.Ops), showOps(b.Ops))
			}
			if again := shuffleInput(in, rand.New(rand.NewPCG(seed, 5))); !reflect.DeepEqual(copied, again) {
				t.Fatalf("history %d: planning changed its input", seed)
			}
			if len(a) == 0 {
				break
			}
			for _, q := range a {
				h.w.answerOne(in, q)
			}
		}
	}
}

// TestAnyInput feeds the planner input that no executor would make: it must neither fail nor hang, nor plan twice
// differently, and it must ask no question twice.
func TestAnyInput(t *testing.T) {
	folders := []mail.FolderName{"INBOX", "A", "B", "A/x", "gone"}
	folder := rapid.SampledFrom(folders)
	flags := rapid.Custom(func(t *rapid.T) mail.Flags {
		return mail.NewFlags(rapid.SliceOfN(rapid.SampledFrom([]string{`\Seen`, `\Deleted`, `\Draft`, "k"}), 0, 3).Draw(t, "flags")...)
	})
	digest := rapid.Custom(func(t *rapid.T) mail.Digest {
		n := rapid.IntRange(0, 3).Draw(t, "digest")
		if n == 0 {
			return mail.Digest{}
		}
		return digestOf('d', n)
	})
	why := rapid.SampledFrom([]Why{Agreed, Agreed, TooLarge, ReadOnly, OneWay, Refused, Unreadable, Dismissed, Pending, NoFolder, OverDownload, OverUpload})
	presence := rapid.SampledFrom([]Presence{Present, Gone, Lost, Absent})
	size := rapid.Int64Range(-1, 3)
	name := rapid.SampledFrom([]string{"", "a", "b", "c"})
	id := rapid.SampledFrom([]string{"", "", "M"})
	rapid.Check(t, func(t *rapid.T) {
		in := Input{Policy: Policy{
			Mode:         rapid.SampledFrom([]Mode{TwoWay, Pull, Push, Archive}).Draw(t, "mode"),
			Trash:        rapid.SampledFrom([]mail.FolderName{"", "B"}).Draw(t, "trash"),
			Create:       rapid.SampledFrom([]Create{CreateBoth, CreateMaildir, CreateServer, CreateNone}).Draw(t, "create"),
			Expunge:      rapid.Bool().Draw(t, "expunge"),
			AllowDeletes: rapid.Bool().Draw(t, "allow"), RestoreHeld: rapid.Bool().Draw(t, "restore"),
			Guard: Guard{ByCount: rapid.Bool().Draw(t, "guarded"), Count: rapid.IntRange(0, 2).Draw(t, "count")},
		}}
		budget := rapid.Custom(func(t *rapid.T) Budget {
			return Budget{Limit: rapid.Int64Range(0, 3).Draw(t, "limit"), Spent: rapid.Int64Range(0, 4).Draw(t, "spent")}
		})
		in.Download, in.Upload = budget.Draw(t, "download"), budget.Draw(t, "upload")
		for _, f := range folders[:4] {
			b := rapid.SliceOfN(rapid.Bool(), 7, 7).Draw(t, "folder")
			in.Folders = append(in.Folders, Folder{Name: f, OnServer: b[0], InMaildir: b[1], WasOnServer: b[2], WasInMaildir: b[3],
				CanCreate: b[4], RemoteReadOnly: b[5], Target: b[6], Agreed: rapid.IntRange(0, 3).Draw(t, "agreed")})
		}
		for i := range rapid.IntRange(0, 5).Draw(t, "pairs") {
			in.Pairs = append(in.Pairs, &Pair{Base: Base{ID: int64(i + 1), Folder: folder.Draw(t, "f"), UID: mail.UID(rapid.IntRange(0, 4).Draw(t, "uid")),
				Name: name.Draw(t, "name"), Why: why.Draw(t, "why"), RemoteFlags: flags.Draw(t, "rf"), LocalFlags: flags.Draw(t, "lf"),
				Digest: digest.Draw(t, "d"), Header: digest.Draw(t, "h"), HasMessageID: rapid.Bool().Draw(t, "mid"), RemoteSize: size.Draw(t, "rs"),
				FileSize: size.Draw(t, "fs"), EmailID: id.Draw(t, "eid")},
				Remote: presence.Draw(t, "remote"), Local: presence.Draw(t, "local"), RemoteNow: flags.Draw(t, "rn"), LocalNow: flags.Draw(t, "ln"),
				RemoteHeld: rapid.Bool().Draw(t, "rh"), LocalHeld: rapid.Bool().Draw(t, "lh")})
		}
		row := rapid.SampledFrom([]int64{0, 0, 0, 1, 2, 50})
		for i := range rapid.IntRange(0, 5).Draw(t, "remote") {
			in.Remote = append(in.Remote, RemoteMessage{Row: row.Draw(t, "row"), Folder: folder.Draw(t, "f"), UID: mail.UID(i + 10),
				Flags: flags.Draw(t, "fl"), Size: size.Draw(t, "s"), EmailID: id.Draw(t, "eid"),
				Park: rapid.SampledFrom([]Why{Agreed, Agreed, TooOld}).Draw(t, "park"), Unknowable: rapid.IntRange(0, 5).Draw(t, "u") == 0})
		}
		for i := range rapid.IntRange(0, 5).Draw(t, "local") {
			in.Local = append(in.Local, LocalMessage{Row: row.Draw(t, "row"), Folder: folder.Draw(t, "f"), Name: fmt.Sprintf("n%d", i),
				Flags: flags.Draw(t, "fl"), FileSize: size.Draw(t, "s"), Unknowable: rapid.IntRange(0, 5).Draw(t, "u") == 0})
		}
		asked := map[Question]bool{}
		for {
			questions := Questions(in)
			p := Make(in)
			checkPlan(t, in, p)
			if len(questions) == 0 {
				break
			}
			for _, q := range questions {
				if asked[q] {
					t.Fatalf("asked twice: %+v", q)
				}
				asked[q] = true
				for i := range in.Remote {
					m := &in.Remote[i]
					if q.Side == Server && m.Folder == q.Folder && m.UID == q.UID {
						m.Header = &Header{Digest: digest.Draw(t, "h"), HasMessageID: rapid.Bool().Draw(t, "mid")}
						if q.Whole {
							d := digest.Draw(t, "d")
							m.Digest = &d
						}
					}
				}
				for i := range in.Local {
					m := &in.Local[i]
					if q.Side == Maildir && m.Folder == q.Folder && m.Name == q.Name {
						m.Content = &mail.Content{Size: m.FileSize, Digest: digest.Draw(t, "d"), Header: digest.Draw(t, "h"),
							HasMessageID: rapid.Bool().Draw(t, "mid")}
					}
				}
			}
		}
	})
}

// checkPlan checks what every plan must keep to, whatever the input.
func checkPlan(t *rapid.T, in Input, p Plan) {
	folders := map[mail.FolderName]Folder{}
	for _, f := range in.Folders {
		folders[f.Name] = f
	}
	pairs := map[int64]*Pair{}
	for _, x := range in.Pairs {
		pairs[x.ID] = x
	}
	last := 0
	for _, op := range p.Ops {
		if s := stage(op); s < last {
			t.Fatalf("out of order: %s", showOps(p.Ops))
		} else {
			last = s
		}
		if op.Reason == "" {
			t.Fatalf("no reason: %s", showOps([]Op{op}))
		}
		changes := op.Kind == Upload || op.Kind == Move || op.Kind == Delete || op.Kind == DeleteFolder ||
			op.Kind == SetFlags && !(op.Add.IsZero() && op.Remove.IsZero())
		if changes && op.Side == Server {
			if in.Policy.Mode == Pull || in.Policy.Mode == Archive {
				t.Fatalf("%s changes the server: %s", in.Policy.Mode, showOps([]Op{op}))
			}
			if folders[op.Folder].RemoteReadOnly || folders[op.From].RemoteReadOnly {
				t.Fatalf("a read-only mailbox is changed: %s", showOps([]Op{op}))
			}
		}
		if changes && op.Side == Maildir && in.Policy.Mode == Push {
			t.Fatalf("push changes the Maildir: %s", showOps([]Op{op}))
		}
		if op.Kind == Delete && in.Policy.Mode == Archive {
			t.Fatalf("archive deletes: %s", showOps([]Op{op}))
		}
		// No base, no delete; and nothing is deleted because its identity was lost.
		if x, known := pairs[op.Row]; op.Kind == Delete || op.Trash {
			gone := op.Side == Maildir && (x.Remote == Gone || x.RemoteHeld) || op.Side == Server && (x.Local == Gone || x.LocalHeld)
			if !known || !gone && x.Why != Pending && !in.Policy.Expunge {
				t.Fatalf("deleted without evidence: %s", showOps([]Op{op}))
			}
		}
		if (op.Kind == Download || op.Kind == Upload) && op.Row == 0 && !folders[op.Folder].Target {
			t.Fatalf("not a target: %s", showOps([]Op{op}))
		}
	}
}

func benchmarkInput(n int, both bool) Input {
	in := Input{Policy: Policy{Mode: TwoWay, Create: CreateBoth}}
	for f := range 10 {
		in.Folders = append(in.Folders, Folder{Name: mail.FolderName(fmt.Sprint("F", f)), Target: true, OnServer: true, InMaildir: true})
	}
	for i := range n {
		name := mail.FolderName(fmt.Sprint("F", i%10))
		c := mail.Content{Size: int64(i % 5000), Digest: digestOf('d', i), Header: digestOf('h', i), HasMessageID: true}
		date := time.Unix(int64(i), 0)
		in.Remote = append(in.Remote, RemoteMessage{Folder: name, UID: mail.UID(i + 1), Size: c.Size, Date: date,
			Header: &Header{Digest: c.Header, HasMessageID: true}})
		if both {
			in.Local = append(in.Local, LocalMessage{Folder: name, Name: fmt.Sprint("n", n-i), FileSize: c.Size, Date: date, Content: &c})
		}
	}
	return in
}

// lostInput has n rows whose identity was lost, and their messages.
func lostInput(n int) Input {
	in := benchmarkInput(n, false)
	for i := range in.Remote {
		m := &in.Remote[i]
		in.Pairs = append(in.Pairs, &Pair{Base: Base{ID: int64(i + 1), Folder: m.Folder, UID: m.UID, Name: fmt.Sprint("n", i), Digest: digestOf('d', i),
			Header: digestOf('h', i), HasMessageID: true, RemoteSize: m.Size, FileSize: m.Size}, Remote: Lost})
	}
	return in
}

func BenchmarkMake(b *testing.B) {
	const n = 100_000
	for name, in := range map[string]Input{
		"new on the server": benchmarkInput(n, false),
		"new on both sides": benchmarkInput(n, true),
		"UIDVALIDITY":       lostInput(n),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if ops := Make(in).Ops; len(ops) != n {
					b.Fatalf("%d operations", len(ops))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/message")
		})
	}
}

// TestManyMessagesTakeNoSquareOfTime: messages that are all alike are the worst case of every comparison. Four times as many must not take sixteen times as
// long, which they would if one of them paired everything with everything. Whatever else the machine does can make it look so once, and not each time.
func TestManyMessagesTakeNoSquareOfTime(t *testing.T) {
	const tries, tooMuch = 6, 9
	for try := 1; ; try++ {
		few := timeToPlanAlike(t, 10_000)
		many := timeToPlanAlike(t, 40_000)
		if many < tooMuch*few {
			return
		}
		if try == tries {
			t.Fatalf("10,000 took %v, and 40,000 took %v", few, many)
		}
	}
}

// timeToPlanAlike plans for so many messages that are alike, which were in one folder and are in another one now.
func timeToPlanAlike(t *testing.T, n int) time.Duration {
	in := lostInput(n)
	d := digestOf('d', 1)
	c := mail.Content{Size: 7, Digest: d, Header: digestOf('h', 1), HasMessageID: true}
	for i := range in.Remote {
		in.Remote[i].Size, in.Remote[i].Folder, in.Remote[i].Digest = 7, "F1", &d
		in.Pairs[i].RemoteSize, in.Pairs[i].FileSize, in.Pairs[i].Digest, in.Pairs[i].Local = 7, 7, d, Gone
		in.Pairs[i].Header, in.Remote[i].Header = c.Header, &Header{Digest: c.Header, HasMessageID: true}
		in.Local = append(in.Local, LocalMessage{Folder: "F2", Name: fmt.Sprint("m", i), FileSize: 7, Content: &c})
	}
	start := time.Now()
	if q := Questions(in); len(q) != 0 {
		t.Errorf("asked %d questions", len(q))
	}
	p := Make(in)
	took := time.Since(start)
	if len(p.Ops) != n || p.Ops[0].Kind != Move && p.Ops[0].Kind != Rebind {
		t.Errorf("%d operations: %s", len(p.Ops), kinds(p))
	}
	return took
}
