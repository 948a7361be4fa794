package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/testdata/hosts"
)

// rounding is by how much, in hundredths of a nat, the table may differ from the
// derivation: machines do not add in the same order.
const rounding = 2

// TestTableIsDerived: the strengths in the code are those that the training part
// gives.
func TestTableIsDerived(t *testing.T) {
	s := derive(hosts.Generate(hosts.Train, hosts.Names))
	near := func(a, b hostid.Strength) bool { return a-b <= rounding && b-a <= rounding }
	if !near(s.prior, hostid.Prior) {
		t.Errorf("prior: %d in the code, %d derived", hostid.Prior, s.prior)
	}
	strong := 0
	for _, k := range hostid.Kinds() {
		if k.Derived() && !near(s.kinds[k], k.Strength()) {
			t.Errorf("%s: %d in the code, %d derived (go run ./bench/hostid prints the table)", k, k.Strength(), s.kinds[k])
		}
		if k.Derived() && k.Strength() != 0 {
			strong++
		}
	}
	if strong < 15 {
		t.Errorf("only %d kinds have a strength", strong)
	}
}

// TestLabPart: the same promises for the names of real hosts, which are too few to
// hold the recall of each kind.
func TestLabPart(t *testing.T) {
	cases := hosts.Lab()
	if len(cases) < 60 {
		t.Fatalf("only %d names", len(cases))
	}
	s, _ := fromDNS(cases)
	t.Logf("same: precision %.4f, recall %.3f; different: precision %.4f, recall %.3f; %d pairs", s.precisionSame(), s.recallSame(), s.precisionDifferent(), s.recallDifferent(), s.pairs)
	if s.saidSame == 0 || s.precisionSame() < leastPrecision || s.precisionDifferent() < leastPrecision {
		t.Errorf("from DNS: %d said to be the same with precision %.4f, different with %.4f", s.saidSame, s.precisionSame(), s.precisionDifferent())
	}
	if s := fromTransport(cases); s.precisionSame() < 1 || s.recallSame() < 1 || s.precisionDifferent() < 1 || s.recallDifferent() < 1 {
		t.Errorf("with joins: %+v", s)
	}
}

// The promises, held on the test part. The recalls are what they are: they are
// held so that a change which lowers them is seen.
const (
	leastPrecision       = 0.98
	leastRecallSame      = 0.20
	leastRecallDifferent = 0.25
	worstCalibration     = 0.15 // between what a bin says and what is true
	leastBin             = 200  // pairs of a bin that is held to it
)

func TestPrecisionFromDNS(t *testing.T) {
	cases := hosts.Generate(hosts.Test, hosts.Names)
	if len(cases) < 2000 {
		t.Fatalf("only %d names", len(cases))
	}
	s, by := fromDNS(cases)
	t.Logf("same: precision %.4f, recall %.3f; different: precision %.4f, recall %.3f; %d pairs", s.precisionSame(), s.recallSame(), s.precisionDifferent(), s.recallDifferent(), s.pairs)
	if s.precisionSame() < leastPrecision || s.precisionDifferent() < leastPrecision {
		t.Errorf("precision of same %.4f, of different %.4f, want %.2f", s.precisionSame(), s.precisionDifferent(), leastPrecision)
	}
	if s.recallSame() < leastRecallSame || s.recallDifferent() < leastRecallDifferent {
		t.Errorf("recall of same %.3f, of different %.3f", s.recallSame(), s.recallDifferent())
	}
	if len(by) < 10 {
		t.Errorf("only %d ways to set up a name", len(by))
	}
	for _, b := range s.bins {
		if said := b.sum / max(float64(b.pairs), 1); b.pairs >= leastBin && (said-ratio(b.same, b.pairs) > worstCalibration || ratio(b.same, b.pairs)-said > worstCalibration) {
			t.Errorf("of %d pairs said to be one host with %.2f, %.2f are", b.pairs, said, ratio(b.same, b.pairs))
		}
	}
}

func TestPrecisionWithTransport(t *testing.T) {
	s := fromTransport(hosts.Generate(hosts.Test, hosts.Names))
	if s.precisionSame() != 1 || s.precisionDifferent() != 1 || s.saidSame+s.saidDifferent != s.pairs || s.saidSame == 0 || s.saidDifferent == 0 {
		t.Errorf("%+v", s)
	}
}

// TestWastedJoins: DNS saves joins at the first dial and loses almost no path;
// what the first dial showed leaves none to waste at the second.
func TestWastedJoins(t *testing.T) {
	without, first, second := dials(hosts.Generate(hosts.Test, hosts.Names))
	if first.wasted >= without.wasted || second.wasted != 0 {
		t.Errorf("joins to other hosts: %d without the engine, then %d, then %d", without.wasted, first.wasted, second.wasted)
	}
	paths := without.sent - without.wasted
	if first.missed*100 > paths || second.missed > first.missed || second.sent+second.missed != paths {
		t.Errorf("of %d paths the first dial misses %d, the second %d", paths, first.missed, second.missed)
	}
}

func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(&out, ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"embedded-octets", "test part, 3000 names", "calibration", "second dial"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report has no %q", want)
		}
	}
	out.Reset()
	if err := run(&out, filepath.Join("..", "..", "testdata", "hosts", "sample.csv")); err != nil || !strings.Contains(out.String(), "pair") {
		t.Errorf("%v: %s", err, out.String())
	}
	bad := filepath.Join(t.TempDir(), "bad.csv")
	if err := os.WriteFile(bad, []byte("192.0.2.1,2001:db8::1,perhaps\n192.0.2.1,2001:db8::1,perhaps\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(&out, bad); err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("bad list: %v", err)
	}
}
