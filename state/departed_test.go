package state

import (
	"errors"
	"testing"
	"time"
)

func TestDeparted(t *testing.T) {
	db := openAt(t, statePath(t))
	old := Departed{ID: "a", Row: 3, Size: -1, At: time.Unix(1700000000, 0).UTC()}
	fresh := Departed{ID: "b", Size: 17, At: time.Unix(1700000100, 0).UTC()}
	find := func(id string) (d Departed, ok bool) {
		view(t, db, func(tx *Tx) (err error) { d, ok, err = tx.Departed(id); return err })
		return d, ok
	}
	anyLeft := func() (is bool) {
		view(t, db, func(tx *Tx) (err error) { is, err = tx.AnyDeparted(); return err })
		return is
	}
	if anyLeft() {
		t.Error("a new database knows departed messages")
	}
	update(t, db, func(tx *Tx) error {
		must(t, tx.PutDeparted(Departed{ID: "a", Row: 1, At: fresh.At}))
		must(t, tx.PutDeparted(old)) // takes the other's place
		return tx.PutDeparted(fresh)
	})
	for _, want := range []Departed{old, fresh} {
		if got, ok := find(want.ID); !ok || got != want {
			t.Errorf("%q: %v %+v, want %+v", want.ID, ok, got, want)
		}
	}
	if _, ok := find("c"); ok || !anyLeft() {
		t.Error("unknown IDs are known, or known ones are not")
	}
	var all []Departed
	view(t, db, func(tx *Tx) error {
		return tx.EachDeparted(func(d Departed) error { all = append(all, d); return nil })
	})
	if len(all) != 2 || all[0] != old || all[1] != fresh {
		t.Errorf("%+v", all)
	}
	update(t, db, func(tx *Tx) error { return tx.DropDeparted(fresh.At) })
	if _, ok := find("a"); ok {
		t.Error("what departed long ago is still there")
	}
	if _, ok := find("b"); !ok {
		t.Error("what departed at that time is gone")
	}
}

func TestDamageToDepartedIsNoticed(t *testing.T) {
	db := openAt(t, statePath(t))
	update(t, db, func(tx *Tx) error {
		must(t, tx.PutDeparted(Departed{ID: "a", Row: 3, At: time.Unix(1700000000, 0)}))
		_, err := tx.c.exec(`UPDATE departed SET row = 4`)
		return err
	})
	err := db.View(t.Context(), func(tx *Tx) error { _, _, err := tx.Departed("a"); return err })
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("another row's number: %v", err)
	}
}
