package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/af-multipath/mpresolve/bench/benchfig"
	"github.com/af-multipath/mpresolve/internal/testlab"
)

// timeLimit bounds the whole run.
const timeLimit = 20 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	if !errors.Is(err, benchfig.ErrReported) {
		fmt.Fprintln(os.Stderr, "dns:", err)
	}
	os.Exit(1) //nolint:forbidigo // this is main
}

// settings are what the command line chooses.
type settings struct {
	only     string
	peers    string
	rounds   int
	quick    bool
	json     bool
	mpdnsd   string // the program; "": built from this module
	names    int    // for the memory
	many     int    // for the load of that name
	rate     int    // queries per second of the slow load
	duration time.Duration
	cores    []int
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 2 && (args[0] == echoArg || args[0] == authorityArg) {
		return serveChild(ctx, args[0], args[1])
	}
	s, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if !testlab.Inside() {
		return outside(ctx, s, args, stdout, stderr)
	}
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	return inside(ctx, s, stdout, stderr)
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	set := flag.NewFlagSet("dns", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.StringVar(&s.only, "only", "", "make one `load`: "+strings.Join(loadNames(), ", "))
	set.StringVar(&s.peers, "peers", "", "measure these only, a `list` with commas")
	set.IntVar(&s.rounds, "rounds", 5, "measure each load `n` times")
	set.BoolVar(&s.quick, "quick", false, "a small run of all")
	set.BoolVar(&s.json, "json", false, "print JSON")
	set.StringVar(&s.mpdnsd, "mpdnsd", "", "the `program` to measure (default: ./cmd/mpdnsd, built)")
	set.IntVar(&s.names, "names", 0, "names that the memory is measured with (default 200000, with -quick 10000)")
	if err := set.Parse(args); err != nil {
		return s, err
	}
	s.scale()
	if s.mpdnsd != "" {
		path, err := filepath.Abs(s.mpdnsd) // the servers have folders of their own
		if err != nil {
			return s, err
		}
		s.mpdnsd = path
	}
	return s, s.check(set.Args())
}

// scale sets how much is measured.
func (s *settings) scale() {
	names := 200_000
	s.many, s.rate, s.duration = manyNames, 5000, time.Second
	if s.quick {
		names, s.many, s.rate = 10_000, 5000, 1000
		s.rounds, s.duration = 1, 200*time.Millisecond
	}
	if s.names == 0 {
		s.names = names
	}
}

func (s settings) check(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	if s.rounds < 1 {
		return fmt.Errorf("-rounds %d: at least 1", s.rounds)
	}
	if s.names < 1000 || s.names > 2_000_000 {
		return fmt.Errorf("-names %d: 1000 to 2000000", s.names)
	}
	if s.only != "" && !slices.Contains(loadNames(), s.only) {
		return fmt.Errorf("no load %q: there are %s", s.only, strings.Join(loadNames(), ", "))
	}
	for name := range strings.SplitSeq(s.peers, ",") {
		if name != "" && !slices.Contains(peerNames(), name) {
			return fmt.Errorf("no peer %q: there are %s", name, strings.Join(peerNames(), ", "))
		}
	}
	return nil
}

func loadNames() (list []string) {
	for _, m := range measurements() {
		list = append(list, m.name)
	}
	return list
}

func peerNames() (list []string) {
	for _, p := range peers() {
		list = append(list, p.name)
	}
	return list
}

// chosenPeers are those of -peers, all for "".
func (s settings) chosenPeers() (list []peer) {
	for _, p := range peers() {
		if s.peers == "" || slices.Contains(strings.Split(s.peers, ","), p.name) {
			list = append(list, p)
		}
	}
	return list
}

// outside builds the daemon, and runs the same command line in new namespaces.
func outside(ctx context.Context, s settings, args []string, stdout, stderr io.Writer) error {
	if s.mpdnsd == "" {
		dir, err := os.MkdirTemp("", "dns-build-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		s.mpdnsd = filepath.Join(dir, ours)
		if err := buildMpdnsd(ctx, s.mpdnsd); err != nil {
			return err
		}
		args = append([]string{"-mpdnsd", s.mpdnsd}, args...)
	}
	return benchfig.Reexec(ctx, args, 2*stopDelay, stdout, stderr)
}

// inside measures and prints. What was measured before an error is printed too.
func inside(ctx context.Context, s settings, stdout, stderr io.Writer) (err error) {
	if err := raiseLoopback(); err != nil {
		return err
	}
	if s.cores, err = usableCores(); err != nil {
		return err
	}
	if len(s.cores) < 2 {
		return errors.New("one core only: server and load need one each")
	}
	last := s.cores[len(s.cores)-1:]
	if err := pinSelf(last); err != nil {
		return err
	}
	b, err := newBench(ctx, s)
	if err != nil {
		return err
	}
	if s.quick {
		b.note("Quick: once each and shortly, %d names instead of 100,000, %d queries per second instead of 5,000: it shows that all works, not how fast.", s.many, s.rate)
	}
	r := newReport(b)
	err = b.measureAll(ctx, r, stderr)
	r.Notes = append(r.Notes, b.notes...)
	err = errors.Join(err, b.close())
	if s.json {
		return errors.Join(err, r.writeJSON(stdout))
	}
	return errors.Join(err, r.writeTable(stdout))
}

// measureAll makes the measurements in turns: each round has every server once.
func (b *bench) measureAll(ctx context.Context, r *report, progress io.Writer) error {
	for _, p := range b.chosenPeers() {
		if b.programs[p.name] == "" {
			continue
		}
		s, err := b.startServer(ctx, p, b.cores[:1])
		if err != nil {
			if ctx.Err() != nil || p.name == ours {
				return err
			}
			r.Notes = append(r.Notes, "not measured: "+err.Error())
			continue
		}
		b.servers = append(b.servers, s)
		fmt.Fprintln(progress, p.name, "answers")
	}
	for _, m := range measurements() {
		if b.only != "" && m.name != b.only {
			continue
		}
		if err := b.measure(ctx, m, r, progress); err != nil {
			return err
		}
	}
	return nil
}

// measure makes one measurement, in rounds; every other one goes backwards.
func (b *bench) measure(ctx context.Context, m measurement, r *report, progress io.Writer) error {
	rows := r.add(m)
	rounds := b.rounds
	if m.once {
		rounds = 1
	}
	for round := range rounds {
		order := slices.Clone(b.servers)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			if s.floor && !m.floor || m.oursOnly && s.name != ours || rows[0].failed(s.name) {
				continue
			}
			values, err := m.figuresOf(ctx, b, s, round)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			for i, w := range rows {
				w.add(s.name, values, i, err)
			}
		}
	}
	for _, w := range rows {
		fmt.Fprintln(progress, w)
	}
	return nil
}
