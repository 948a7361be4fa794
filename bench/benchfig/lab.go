package benchfig

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/af-multipath/mpresolve/internal/testlab"
)

// ErrReported ends a program whose child failed: the child has said why.
var ErrReported = errors.New("failed")

// Reexec runs this program again with args, inside the namespaces of a lab, and
// waits for its end. When the context ends it interrupts the child, which may
// then take stopDelay to stop. It returns ErrReported where the child failed.
func Reexec(ctx context.Context, args []string, stopDelay time.Duration, stdout, stderr io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the child dies with the thread that started it
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopDelay
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := testlab.Reexec(cmd); err != nil {
		return err
	}
	if cmd.Wait() != nil {
		return ErrReported
	}
	return nil
}
