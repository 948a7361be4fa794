package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// programEnv makes the test binary the program itself.
const programEnv = "MPRESOLVE_BENCH_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programEnv) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// TestShortRun makes every measurement once, in its shortest form. What the
// figures are is not looked at.
func TestShortRun(t *testing.T) {
	labtest.Need(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-short", "-json")
	cmd.Env = append(os.Environ(), programEnv+"=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, &stderr)
	}
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(r.Figures) < len(measurements()) {
		t.Errorf("%d figures of %d measurements", len(r.Figures), len(measurements()))
	}
	for _, f := range r.Figures {
		if f.Name == "" || f.Unit == "" || f.Runs != 1 {
			t.Errorf("%+v", f)
		}
	}
}

// TestParse has the command lines that are refused, before any lab is made.
func TestParse(t *testing.T) {
	for _, tt := range []struct {
		args, want string
	}{
		{"", ""},
		{"-only dial -runs 3 -json", ""},
		{"-only nothing", "there are dial, "},
		{"more", `unexpected argument "more"`},
	} {
		_, err := parse(strings.Fields(tt.args), &bytes.Buffer{})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want %q", tt.args, err, tt.want)
		}
	}
}

// TestChildArguments has those that a child refuses.
func TestChildArguments(t *testing.T) {
	for _, args := range []string{"", "join off many [::1]:1", "join off 1 nowhere", "other off 1 [::1]:1"} {
		if err := runChild(t.Context(), strings.Fields(args), strings.NewReader(""), &bytes.Buffer{}); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
