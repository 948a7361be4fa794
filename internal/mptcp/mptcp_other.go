//go:build !linux

package mptcp

import "syscall"

// Supported returns ErrUnsupported: MPTCP sockets are used on Linux only.
func Supported() error { return ErrUnsupported }

// GetInfo returns ErrUnsupported.
func GetInfo(syscall.RawConn) (Info, error) { return Info{}, ErrUnsupported }

// FullInfo returns ErrUnsupported.
func FullInfo(syscall.RawConn) (Info, []SubflowInfo, error) { return Info{}, nil, ErrUnsupported }

// OpenPathManager returns ErrUnsupported.
func OpenPathManager() (PathManager, error) { return nil, ErrUnsupported }

// HaveNetAdmin returns false.
func HaveNetAdmin() bool { return false }

// ReadSystem returns ErrUnsupported.
func ReadSystem() (System, error) { return System{}, ErrUnsupported }

// ReadMIB returns ErrUnsupported.
func ReadMIB() (map[string]uint64, error) { return nil, ErrUnsupported }

// SetPathManager returns ErrUnsupported.
func SetPathManager(string) error { return ErrUnsupported }

// ResetBlackhole returns ErrUnsupported.
func ResetBlackhole() error { return ErrUnsupported }

// ProbeBlackhole returns ErrUnsupported.
func ProbeBlackhole() (bool, error) { return false, ErrUnsupported }
