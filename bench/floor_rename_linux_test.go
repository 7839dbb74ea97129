package main

import "testing"

func TestFloorRenames(t *testing.T) {
	for _, c := range []struct {
		name, there string
		work        work
	}{
		{"mark", "INBOX/cur/1600000000.M0P1.bench:2,S INBOX/cur/1600000001.M1P1.bench:2,", mark{1}},
		{"move", "Archive/cur/1600000000.M0P1.bench:2,S INBOX/cur/1600000001.M1P1.bench:2,S", move{1, archive}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := c.work.renamed()
			l := &lab{o: options{cache: t.TempDir()}}
			m := oneOf("2", 2, 0)
			root, err := l.manyFiles(t.Context(), m, "test", r)
			if err != nil {
				t.Fatal(err)
			}
			before := files(t, root)
			for _, want := range []string{c.there, before, c.there} {
				if err := floorRename(account{Local: root, Renamed: &r}); err != nil {
					t.Fatal(err)
				}
				if got := files(t, root); got != want {
					t.Errorf("now there are %s, want %s", got, want)
				}
			}
		})
	}
}
