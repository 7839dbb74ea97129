// Package ci is for tests that a machine may be unable to run: with CI=true none of them is left out.
package ci

import (
	"fmt"
	"os"
	"testing"
)

// On reports whether CI=true.
func On() bool { return os.Getenv("CI") == "true" }

// Skip skips the test, or with CI=true fails it, because the machine lacks something.
func Skip(t testing.TB, format string, args ...any) {
	t.Helper()
	why := fmt.Sprintf(format, args...)
	if On() {
		t.Fatal("with CI=true nothing is skipped: " + why)
	}
	t.Skip(why)
}
