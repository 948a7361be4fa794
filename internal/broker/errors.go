package broker

import "errors"

// DefaultPath is where the daemon's socket is.
const DefaultPath = "/run/mpdnsd/paths.sock"

// Why a client has no broker, or not what it asked for.
var (
	// ErrAbsent: nobody serves the socket, or nobody answers there in time.
	ErrAbsent = errors.New("there is no broker")
	// ErrRefused: the broker, or the mode of its socket, refuses the client or
	// the request; the error's text has the reason. It never means that the
	// kernel refused: that is an [mptcp.OpError].
	ErrRefused = errors.New("the broker refuses")
	// ErrGone: the broker ended or does not answer any more. The subflows stay.
	ErrGone = errors.New("the broker is gone")
)
