//go:build !linux

package labtest

import "testing"

// Run skips the test, or fails it where labs are required: labs need Linux.
func Run(t *testing.T, _ func(t *testing.T)) {
	t.Helper()
	Need(t)
}
