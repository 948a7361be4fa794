package mpdnsd

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/resolver"
)

// nameDNS is where the program of [nameProgramMain] finds the daemon.
const nameDNS = "127.0.0.1:53"

// nameReport is what that program has seen of one connection.
type nameReport struct {
	First          netip.Addr // that it is connected to
	Manager        string
	Wasted, Missed int
	Verdicts       map[netip.Addr]dialer.Verdict
	Believed       map[netip.Addr]string
}

// nameDials is how often that program dials, one dial after the other.
const nameDials = 2

// The further arguments of [nameProgramMain].
const (
	probeArg = "probe" // with [dialer.Dialer].Probe
	leaveArg = "leave" // with [dialer.LeaveUnknown]
)

// nameProgramMain dials the name and port of its first argument by the daemon, as
// the others say, carries a chunk, waits for its joins, and reports; and does it again
// with the same dialer.
func nameProgramMain() {
	if err := runNameProgram(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "nameprogram:", err)
		os.Exit(1)
	}
}

func runNameProgram(address string, args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 6*waitTime)
	defer cancel()
	r := &resolver.Resolver{Servers: []string{nameDNS}, NoHosts: true, NoSearch: true}
	defer r.Close()
	// A race would have the first address depend on how busy the machine is.
	d := &dialer.Dialer{
		Resolver: r, Probe: slices.Contains(args, probeArg),
		ConnectionAttemptDelay: dialer.MaxConnectionAttemptDelay, ResolutionDelay: time.Second,
	}
	if slices.Contains(args, leaveArg) {
		d.Unknown = dialer.LeaveUnknown
	}
	var all [nameDials]nameReport
	for i := range all {
		var err error
		if all[i], err = dialName(ctx, d, address); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

func dialName(ctx context.Context, d *dialer.Dialer, address string) (nameReport, error) {
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nameReport{}, err
	}
	defer conn.Close()
	c := conn.(*dialer.Conn)
	if err := carry(c, rand.NewChaCha8([32]byte{2})); err != nil {
		return nameReport{}, err
	}
	if err := c.WaitJoins(ctx); err != nil {
		return nameReport{}, err
	}
	return reportOn(c), nil
}

// reportOn tells of a connection whose joins are done.
func reportOn(c *dialer.Conn) nameReport {
	said := c.Report()
	r := nameReport{
		First: c.RemoteAddrs().At(0).Addr().Unmap(), Manager: said.Manager, Wasted: said.WastedJoins, Missed: said.MissedJoins,
		Verdicts: map[netip.Addr]dialer.Verdict{}, Believed: map[netip.Addr]string{},
	}
	for _, j := range said.Joins {
		r.Verdicts[j.Remote.Addr()], r.Believed[j.Remote.Addr()] = j.Verdict, j.Believed
	}
	return r
}
