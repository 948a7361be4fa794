package testlab_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/internal/testlab"
)

// printEnv makes the test binary print what it sees of its network, and end.
const printEnv = "TESTLAB_PRINT"

// waitEnv makes it read its standard input to the end before it ends.
const waitEnv = "TESTLAB_WAIT"

func TestMain(m *testing.M) {
	if os.Getenv(printEnv) != "" {
		os.Exit(printNetwork())
	}
	goleak.VerifyTestMain(m)
}

func printNetwork() int {
	fmt.Fprintln(os.Stdout, "inside:", testlab.Inside(), "uid:", os.Getuid())
	ifaces, err := net.Interfaces()
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return 1
	}
	for _, i := range ifaces {
		fmt.Fprintln(os.Stdout, "interface:", i.Name)
	}
	if os.Getenv(waitEnv) != "" {
		io.Copy(io.Discard, os.Stdin)
	}
	return 0
}
