package broker

import (
	"errors"
	"fmt"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// refusal is an error that is the broker's decision.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// newReply tells how a request ended: found is the answer of a look-up; err is nil, an [*mptcp.OpError], a refusal,
// or a failure of the broker.
func newReply(id uint32, found []known, err error) reply {
	var kernel *mptcp.OpError
	switch {
	case err == nil && found != nil:
		return reply{ID: id, Code: codeKnown, Known: found}
	case err == nil:
		return reply{ID: id}
	case errors.As(err, &kernel) && kernel.Errno != 0:
		return reply{ID: id, Code: codeKernel, Errno: kernel.Errno, Text: kernel.Msg}
	case errors.As(err, new(refusal)):
		return reply{ID: id, Code: codeRefused, Text: err.Error()}
	default:
		return reply{ID: id, Code: codeFailed, Text: err.Error()}
	}
}

// result is the reply as a path manager's error.
func (m reply) result(op string) error {
	switch m.Code {
	case codeDone, codeKnown:
		return nil
	case codeKernel:
		return &mptcp.OpError{Op: op, Errno: m.Errno, Msg: m.Text}
	case codeRefused:
		return fmt.Errorf("%s: %w: %s", op, ErrRefused, m.Text)
	default:
		return fmt.Errorf("%s: the broker failed: %s", op, m.Text)
	}
}
