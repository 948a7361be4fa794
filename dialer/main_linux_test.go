package dialer

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests, or, where the environment says so, dials as a
// program of its own for TestUnprivileged.
func TestMain(m *testing.M) {
	if set, ok := os.LookupEnv(childEnv); ok {
		if err := dialAsChild(set); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
