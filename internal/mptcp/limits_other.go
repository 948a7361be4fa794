//go:build !linux

package mptcp

// SetLimits sets the limits of the kernel's own path manager; on Linux only.
func SetLimits(Limits) error { return ErrUnsupported }
