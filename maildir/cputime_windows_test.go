package maildir

import "testing"

func reportCPU(*testing.B, int) func() { return func() {} }
