// Package labtest runs tests inside a network lab, each in a child process
// with user, mount and network namespaces of its own.
package labtest

import (
	"os"
	"testing"

	"github.com/af-multipath/mpresolve/internal/testlab"
)

// RequiredEnv is the environment variable that, set to "required", makes a
// test fail where it would be skipped because no lab can be had.
const RequiredEnv = "MPRESOLVE_LAB"

// New makes a lab that is closed when the test ends.
func New(t testing.TB, o testlab.Options) *testlab.Lab {
	t.Helper()
	lab, err := testlab.New(o)
	if err != nil {
		t.Fatalf("make the lab: %v", err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return lab
}

// Need skips the test where no lab can be had, or fails it where labs are
// required. Run does so itself; Need is for tests that use the lab otherwise.
func Need(t *testing.T) {
	t.Helper()
	err := testlab.Available()
	if err == nil {
		return
	}
	if os.Getenv(RequiredEnv) == "required" {
		t.Fatalf("%s=required: %v", RequiredEnv, err)
	}
	t.Skip(err)
}
