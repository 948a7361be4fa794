// Command hostid derives the strengths of internal/hostid from the training part
// of testdata/hosts and measures the judgement on the test part and on the names made
// in the lab, or on pairs of one's own:
//
//	go run ./bench/hostid [-pairs FILE.csv]
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/testdata/hosts"
)

func main() {
	file := flag.String("pairs", "", "measure the pairs of this CSV `file` (name,v4,v6 or v4,v6,label) instead of the test part")
	flag.Parse()
	if err := run(os.Stdout, *file); err != nil {
		fmt.Fprintf(os.Stderr, "hostid: %v\n", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// run writes the report.
func run(w io.Writer, file string) error {
	if file != "" {
		cases, err := readPairs(file)
		if err != nil {
			return err
		}
		report(w, cases)
		return nil
	}
	train, test := hosts.Generate(hosts.Train, hosts.Names), hosts.Generate(hosts.Test, hosts.Names)
	writeTable(w, derive(train))
	fmt.Fprintf(w, "\ntraining part, %d names\n", len(train))
	all, _ := fromDNS(train)
	writeScore(w, "all", &all)
	fmt.Fprintf(w, "\ntest part, %d names\n", len(test))
	report(w, test)
	lab := hosts.Lab()
	fmt.Fprintf(w, "\nmade in the lab, %d names\n", len(lab))
	report(w, lab)
	return nil
}

// readPairs opens a list of pairs.
func readPairs(file string) ([]hosts.Case, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cases, err := hosts.ReadPairs(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return cases, nil
}

// writeTable writes the strengths: derived, and as they stand in the code.
func writeTable(w io.Writer, s strengths) {
	fmt.Fprintf(w, "%-24s %8s %8s\n", "kind", "derived", "in code")
	fmt.Fprintf(w, "%-24s %8d %8d\n", "prior", s.prior, hostid.Prior)
	for _, k := range hostid.Kinds() {
		if k.Derived() {
			fmt.Fprintf(w, "%-24s %8d %8d\n", k, s.kinds[k], k.Strength())
		}
	}
}

// report measures a corpus.
func report(w io.Writer, cases []hosts.Case) {
	all, by := fromDNS(cases)
	fmt.Fprintf(w, "%-12s %7s  %-22s  %s\n", "from DNS", "pairs", "same: precision recall", "different: precision recall")
	var kinds []string
	for k := range by {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		writeScore(w, k, by[k])
	}
	writeScore(w, "all", &all)
	transport := fromTransport(cases)
	writeScore(w, "with joins", &transport)
	fmt.Fprintf(w, "\ncalibration  said   true   pairs\n")
	for _, b := range all.bins {
		if b.pairs > 0 {
			fmt.Fprintf(w, "             %.3f  %.3f  %d\n", b.sum/float64(b.pairs), ratio(b.same, b.pairs), b.pairs)
		}
	}
	without, first, second := dials(cases)
	fmt.Fprintf(w, "\njoins per dial   sent  to other hosts  of the same host, not sent\n")
	for _, row := range []struct {
		name string
		joins
	}{{"no engine", without}, {"first dial", first}, {"second dial", second}} {
		n := float64(row.dials)
		fmt.Fprintf(w, "%-14s  %5.2f  %14.2f  %26.2f\n", row.name, float64(row.sent)/n, float64(row.wasted)/n, float64(row.missed)/n)
	}
}

func writeScore(w io.Writer, name string, s *score) {
	fmt.Fprintf(w, "%-12s %7d  %15.4f %6.3f  %20.4f %6.3f\n", name, s.pairs, s.precisionSame(), s.recallSame(), s.precisionDifferent(), s.recallDifferent())
}
