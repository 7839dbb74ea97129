package defect_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/defect"
)

func TestContain(t *testing.T) {
	if err := defect.Contain(func() error { return nil }); err != nil {
		t.Error(err)
	}
	if err := defect.Contain(func() error { return io.EOF }); err != io.EOF || defect.Of(err) != nil {
		t.Error(err)
	}
	var none []int
	err := defect.Contain(func() error { return outOfRange(none) })
	caught := defect.Of(errors.Join(io.EOF, err))
	if caught == nil || !strings.Contains(err.Error(), "index out of range") || !strings.Contains(err.Error(), "report it") {
		t.Fatal(err)
	}
	if !bytes.Contains(caught.Stack, []byte("outOfRange")) {
		t.Errorf("the stack does not say where it was: %s", caught.Stack)
	}
	if again := defect.Contain(func() error { panic(caught) }); again != error(caught) {
		t.Errorf("handed on it is another one: %v", again)
	}
	if err := defect.Contain(func() error { panic(io.ErrUnexpectedEOF) }); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func outOfRange(s []int) error { return errors.New(string(rune(s[3]))) }
