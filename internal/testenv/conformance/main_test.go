package conformance_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// sideBySide is how many variants run at a time: they mostly wait for their servers, of which some answer
// late on purpose, so that more of them than there are processors keep one busy.
const sideBySide = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", sideBySide); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}
