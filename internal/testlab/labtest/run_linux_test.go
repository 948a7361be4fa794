package labtest

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/internal/testlab"
)

// outcomeEnv chooses how TestOutcome ends; unset, it runs itself once for each
// way and checks what comes of it.
const outcomeEnv = "LABTEST_OUTCOME"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// outcomes are the ways to end, the exit status and what the output shows.
var outcomes = map[string]struct {
	end    func(t *testing.T)
	failed bool
	output string // regular expression
}{
	"pass":    {func(t *testing.T) { t.Log("all is well") }, false, `all is well(?s:.*)--- PASS: TestOutcome`},
	"fail":    {func(t *testing.T) { t.Fatal("not equal") }, true, `not equal(?s:.*)--- FAIL: TestOutcome`},
	"error":   {func(t *testing.T) { t.Error("not equal") }, true, `not equal(?s:.*)--- FAIL: TestOutcome`},
	"skip":    {func(t *testing.T) { t.Skip("no snow") }, false, `no snow(?s:.*)--- SKIP: TestOutcome`},
	"panic":   {func(*testing.T) { panic("at the disco") }, true, `at the disco(?s:.*)--- FAIL: TestOutcome`},
	"exit 0":  {func(*testing.T) { os.Exit(0) }, true, `--- FAIL: TestOutcome`},
	"exit 3":  {func(*testing.T) { os.Exit(3) }, true, `exit status 3(?s:.*)--- FAIL: TestOutcome`},
	"timeout": {func(*testing.T) { select {} }, true, `test timed out(?s:.*)--- FAIL: TestOutcome`},
	"cleanup": {func(t *testing.T) { t.Cleanup(func() { t.Error("left behind") }) }, true, `left behind(?s:.*)--- FAIL: TestOutcome`},
	"partial": {func(*testing.T) { _, _ = os.Stdout.WriteString("no newline"); os.Exit(1) }, true, `no newline`},
}

func TestOutcome(t *testing.T) {
	if way := os.Getenv(outcomeEnv); way != "" {
		Run(t, outcomes[way].end)
		return
	}
	Need(t)
	for way, want := range outcomes {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			out, err := self(t, outcomeEnv+"="+way, "-test.run=^TestOutcome$", "-test.v", "-test.timeout=5s")
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if (err != nil) != want.failed || !regexp.MustCompile(want.output).MatchString(out) {
				t.Errorf("ended with %v, want failure %v and %q in\n%s", err, want.failed, want.output, out)
			}
		})
	}
}

// self runs this test binary.
func self(t *testing.T, env string, args ...string) (string, error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), env)
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

// TestSubtests has the lab run one subtest and not its siblings.
func TestSubtests(t *testing.T) {
	for _, name := range []string{"one", "two (with/odd+name)", "three"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			Run(t, func(t *testing.T) {
				ifaces, err := net.Interfaces()
				if err != nil || len(ifaces) != 1 || !testlab.Inside() || os.Getuid() != 0 {
					t.Errorf("interfaces %v, %v; inside %v; user %d", ifaces, err, testlab.Inside(), os.Getuid())
				}
				if !strings.HasSuffix(os.Getenv(testEnv), t.Name()) {
					t.Errorf("%s runs in the lab of %s", t.Name(), os.Getenv(testEnv))
				}
			})
		})
	}
}

func TestNested(t *testing.T) {
	Run(t, func(t *testing.T) {
		outer, err := os.Readlink("/proc/self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		t.Run("inner", func(t *testing.T) {
			Run(t, func(t *testing.T) {
				if inner, err := os.Readlink("/proc/self/ns/net"); inner != outer || err != nil {
					t.Errorf("in %s, %v; want to stay in %s", inner, err, outer)
				}
				New(t, testlab.Options{})
			})
		})
	})
}

// TestNeed is run by TestRequired where no lab can be had.
func TestNeed(t *testing.T) { Need(t) }

// TestRequired takes the right to make namespaces away, within a lab and from
// a process that does not know that it is in one.
func TestRequired(t *testing.T) {
	Run(t, func(t *testing.T) {
		for _, limit := range []string{"max_user_namespaces", "max_net_namespaces"} {
			if err := os.WriteFile("/proc/sys/user/"+limit, []byte("0"), 0); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("MPRESOLVE_LAB_OUTSIDE", "")
		for setting, want := range map[string]string{"": "--- SKIP: TestNeed", "required": "--- FAIL: TestNeed"} {
			out, err := self(t, RequiredEnv+"="+setting, "-test.run=^TestNeed$", "-test.v")
			if (err != nil) != (setting != "") || !strings.Contains(out, want) {
				t.Errorf("%s=%s: ended with %v, want %q in\n%s", RequiredEnv, setting, err, want, out)
			}
			if !strings.Contains(out, "max_user_namespaces") {
				t.Errorf("no advice in\n%s", out)
			}
		}
	})
}

func TestPattern(t *testing.T) {
	if got, want := pattern("TestA/b.c"), "^TestA$/^b\\.c$"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLineWriter(t *testing.T) {
	var out bytes.Buffer
	w := &lineWriter{to: &out}
	for _, part := range []string{"=== RUN   TestX\nhel", "lo\n\nPASS\ncoverage: 1%", " of it\nla", "st"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("wrote %d octets, %v", n, err)
		}
	}
	w.flush()
	w.flush()
	if got, want := out.String(), "hello\n\nlast\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
