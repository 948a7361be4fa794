package control

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var fakeVerdicts = Verdicts{Verdicts: []Verdict{
	{Name: "www.example.", A: "192.0.2.1", B: "2001:db8::1", Verdict: "same", Outcome: "joined", AgeMS: 5, ExpiresMS: 10, Last: "joined", LastAgeMS: 5},
	{Name: "www.example.", A: "192.0.2.1", B: "2001:db8::2", Verdict: "unknown", UID: new(uint32), Last: "refused", LastAgeMS: 1, PauseMS: 3},
}, Truncated: true}

func (f *fake) Verdicts(_ context.Context, name string) (Verdicts, error) {
	if name != "" && name != "www.example:443" {
		return Verdicts{}, f.err
	}
	return fakeVerdicts, f.err
}

// TestVerdicts puts the request through the socket, there and back.
func TestVerdicts(t *testing.T) {
	c := start(t, &fake{})
	for _, name := range []string{"", "www.example:443"} {
		got, err := c.Verdicts(t.Context(), name)
		if d := cmp.Diff(fakeVerdicts, got); d != "" || err != nil {
			t.Errorf("%q: %v\n%s", name, err, d)
		}
	}
	for _, name := range []string{strings.Repeat("a", maxVerdictName+1), "a\xff"} {
		if got, err := c.Verdicts(t.Context(), name); !errors.As(err, new(*RefusedError)) {
			t.Errorf("%.10q: %v, %v", name, got, err)
		}
	}
}
