package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/internal/dnstest"
)

// TestProbeFileInterrupted: what was done is printed, what was cut off is not, and
// how far it came is said.
func TestProbeFileInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	zone := dnstest.Zone("good.example. 60 IN A 192.0.2.1")
	slow := func(q dnstest.Query) bool { return q.Is("slow.example", "A") }
	server := dnstest.Start(t, dnstest.Overlay(zone, slow, func(dnstest.Query) dnstest.Action {
		interrupt()
		return dnstest.Action{Drop: true}
	}))
	names := strings.NewReader("good.example:80\nslow.example:80\nnever.example:80\n")
	var out, errs bytes.Buffer
	code := run(ctx, []string{"probe-file", "--server", server.Addr(), "--parallel", "1", "-"}, names, &out, &errs)
	if code != exitFailed || errs.String() != "mpresolve: interrupted: 1 of 3 names done\n" {
		t.Errorf("exit code %d, %q", code, errs.String())
	}
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, `{"name":"good.example",`) {
		t.Errorf("printed %q", got)
	}
	if n := server.Count("never.example.", ""); n != 0 {
		t.Errorf("%d questions after the interruption", n)
	}
}

// TestProgress: one line of the terminal, taken off before anything else is
// printed and at the end.
func TestProgress(t *testing.T) {
	var screen bytes.Buffer
	b := batch{out: json.NewEncoder(&bytes.Buffer{}), progress: &screen, total: 2}
	for _, name := range []string{"a.example", "b.example"} {
		if err := b.add(nameView{Name: name}, exitFound); err != nil {
			t.Fatal(err)
		}
	}
	b.clear()
	want := "\r\x1b[K" + "1 of 2 names done, last a.example" + "\r\x1b[K" + "2 of 2 names done, last b.example" + "\r\x1b[K"
	if screen.String() != want {
		t.Errorf("the terminal got %q, want %q", screen.String(), want)
	}
}
