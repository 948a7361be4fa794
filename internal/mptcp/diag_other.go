//go:build !linux

package mptcp

// Connections returns ErrUnsupported.
func Connections() ([]Connection, error) { return nil, ErrUnsupported }

// Listeners returns ErrUnsupported.
func Listeners() ([]Listener, error) { return nil, ErrUnsupported }

// Subflows returns ErrUnsupported.
func Subflows() ([]SubflowState, error) { return nil, ErrUnsupported }

// Endpoints returns ErrUnsupported.
func Endpoints() ([]Endpoint, error) { return nil, ErrUnsupported }

// AddEndpoint returns ErrUnsupported.
func AddEndpoint(Endpoint) error { return ErrUnsupported }

// RemoveEndpoint returns ErrUnsupported.
func RemoveEndpoint(uint8) error { return ErrUnsupported }

// ReadLimits returns ErrUnsupported.
func ReadLimits() (Limits, error) { return Limits{}, ErrUnsupported }
