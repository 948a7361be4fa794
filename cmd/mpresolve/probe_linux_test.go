package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
	"github.com/af-multipath/mpresolve/resolver"
)

// inDemoHosts runs test among the demo's hosts, with their names at the scripted
// DNS server whose address it gets.
func inDemoHosts(t *testing.T, test func(t *testing.T, d *demoLab, dns string)) {
	labtest.Run(t, func(t *testing.T) {
		d := newDemoLab()
		t.Cleanup(d.close)
		var err error
		if d.lab, err = testlab.New(testlab.Options{Seed: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.lab.AddClientLink(link("c0", "198.18.1.2/24", "2001:db8:a::2/64")); err != nil {
			t.Fatal(err)
		}
		if err := d.buildHosts(); err != nil {
			t.Fatal(err)
		}
		if err := mptcp.SetPathManager(mptcp.UserspacePathManager); err != nil {
			t.Fatal(err)
		}
		server := dnstest.Start(t, dnstest.Zone(
			"two.example. 60 IN A 192.0.2.10", "two.example. 60 IN AAAA 2001:db8:2::10",
			"two.example. 60 IN A 203.0.113.20", "two.example. 60 IN AAAA 2001:db8:3::20",
			"mixed.example. 60 IN A 192.0.2.10", "mixed.example. 60 IN AAAA 2001:db8:2::10",
			"mixed.example. 60 IN A 203.0.113.30",
			"plain.example. 60 IN A 203.0.113.30", "plain.example. 60 IN AAAA 2001:db8:3::30",
			"alone.example. 60 IN A 192.0.2.10",
		))
		test(t, d, server.Addr())
	})
}

// probing runs the command and returns what it printed.
func probing(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	t.Logf("mpresolve %s\n%s%s", strings.Join(args, " "), out.String(), errs.String())
	return code, out.String(), errs.String()
}

// partition is the hosts' addresses and verdicts, in order.
func partition(hosts []hostView) []string {
	var out []string
	for _, h := range hosts {
		addrs := slices.Sorted(slices.Values(h.Addresses))
		out = append(out, strings.Join(addrs, " ")+" "+h.Verdict)
	}
	slices.Sort(out)
	return out
}

// TestProbe: two hosts behind one name, each with an address of both families,
// are proven the same and different; the other reads no octet.
func TestProbe(t *testing.T) {
	inDemoHosts(t, func(t *testing.T, d *demoLab, dns string) {
		code, out, _ := probing(t, "", "--server", dns, "--probe", "--explain", "--json", "--broker", "off", "two.example:7000")
		var view lookupView
		if err := json.Unmarshal([]byte(out), &view); err != nil || code != exitFound {
			t.Fatalf("exit code %d, %v", code, err)
		}
		want := []string{"192.0.2.10 2001:db8:2::10 proven", "2001:db8:3::20 203.0.113.20 proven"}
		if got := partition(view.Hosts); !slices.Equal(got, want) {
			t.Errorf("hosts %q, want %q", got, want)
		}
		if len(view.Probe.Connections) != 2 || len(view.Probe.Unsettled) != 0 {
			t.Errorf("probe %+v", view.Probe)
		}
		counts := verdictsOf(view)
		for _, p := range view.Pairs {
			if p.Verdict == "same" && !slices.ContainsFunc(p.Evidence, func(e resolver.Evidence) bool { return e.Kind == "joined" }) {
				t.Errorf("%v and %v are the same by %+v", p.A, p.B, p.Evidence)
			}
		}
		if counts["same"] != 2 || counts["different"] != 4 {
			t.Errorf("verdicts of the pairs: %v", counts)
		}
		if octets := d.otherOctets.Load(); octets != 0 {
			t.Errorf("%d octets were sent", octets)
		}
	})
}

// TestProbeManyAddresses: a host with more addresses than a connection takes
// subflows is connected to again. A Linux host knows no more of itself, so it
// refuses them then, which must not pass for another host's refusal.
func TestProbeManyAddresses(t *testing.T) {
	inDemoHosts(t, func(t *testing.T, d *demoLab, _ string) {
		const many = dialer.DefaultMaxSubflows + 4
		var addrs, records []string
		for i := range many {
			addrs = append(addrs, fmt.Sprintf("203.0.114.%d/24", 10+i))
			records = append(records, fmt.Sprintf("many.example. 60 IN A 203.0.114.%d", 10+i))
		}
		host, err := d.lab.AddHost("many", link("m0", addrs...))
		if err != nil {
			t.Fatal(err)
		}
		limits := func() error { return mptcp.SetLimits(mptcp.Limits{Subflows: 8}) }
		if err := errors.Join(host.Do(limits), d.serve(host, greetPort, true, greet("many"))); err != nil {
			t.Fatal(err)
		}
		server := dnstest.Start(t, dnstest.Zone(append(records, "many.example. 60 IN A 203.0.113.20")...))
		code, out, _ := probing(t, "", "--server", server.Addr(), "--probe", "--explain", "--json", "--broker", "off", "many.example:7000")
		var view lookupView
		if err := json.Unmarshal([]byte(out), &view); err != nil || code != exitFailed {
			t.Fatalf("exit code %d, %v", code, err)
		}
		const told = 1 + 8 // MPTCP_PM_ADDR_MAX
		if n := len(view.Probe.Unsettled); n != many+1-told || !strings.Contains(view.Probe.Unsettled[0].Why, "or by the same one") {
			t.Errorf("unsettled: %+v", view.Probe.Unsettled)
		}
		counts := verdictsOf(view)
		if counts["same"] != told*(told-1)/2 || counts["different"] != 0 || len(view.Probe.Connections) != 2 {
			t.Errorf("verdicts of the pairs %v by %d connections", counts, len(view.Probe.Connections))
		}
	})
}

// verdictsOf counts the pairs by verdict.
func verdictsOf(view lookupView) map[string]int {
	counts := make(map[string]int)
	for _, p := range view.Pairs {
		counts[p.Verdict]++
	}
	return counts
}

// TestProbeFile: each name has its line, with the verdict of each address.
func TestProbeFile(t *testing.T) {
	inDemoHosts(t, func(t *testing.T, _ *demoLab, dns string) {
		const names = "two.example:7000\nplain.example:7000\nalone.example:7000\n"
		code, out, _ := probing(t, names, "probe-file", "--server", dns, "--broker", "off", "-")
		if code != exitFailed {
			t.Errorf("exit code %d", code)
		}
		views := make(map[string]nameView)
		for line := range strings.Lines(out) {
			var view nameView
			if err := json.Unmarshal([]byte(line), &view); err != nil {
				t.Fatal(err)
			}
			views[view.Name] = view
		}
		two := views["two.example"]
		want := []string{"192.0.2.10 2001:db8:2::10 proven", "2001:db8:3::20 203.0.113.20 proven"}
		if got := partition(two.Hosts); !two.Told || !slices.Equal(got, want) {
			t.Errorf("two hosts: %+v", two)
		}
		verdicts := map[string]int{}
		for _, a := range two.Addresses {
			verdicts[a.Verdict]++
			if !slices.Contains(two.Hosts[a.Host].Addresses, withoutPort(a.Address)) {
				t.Errorf("%+v is not of host %+v", a, two.Hosts[a.Host])
			}
		}
		if verdicts["first"] != 2 || verdicts["joined"] != 2 {
			t.Errorf("verdicts %v", verdicts)
		}
		if v := views["plain.example"]; v.Told || v.Error == "" {
			t.Errorf("plain hosts: %+v", v)
		}
		if v := views["alone.example"]; !v.Told {
			t.Errorf("one address: %+v", v)
		}
	})
}

// TestProbeCannotTell: it says of what, why, and what would make it possible.
func TestProbeCannotTell(t *testing.T) {
	inDemoHosts(t, func(t *testing.T, _ *demoLab, dns string) {
		code, out, errs := probing(t, "", "--server", dns, "--probe", "--broker", "off", "mixed.example:7000")
		if code != exitFailed || !strings.Contains(out, "same host, proven") || !strings.Contains(errs, "could not tell the host of 1 address: no Multipath TCP in the answer") {
			t.Errorf("a plain host among two: exit code %d", code)
		}
		code, _, errs = probing(t, "", "--server", dns, "--probe", "--broker", "off", "plain.example:7000")
		if code != exitFailed || !strings.Contains(errs, "only hosts that speak Multipath TCP") {
			t.Errorf("plain hosts: exit code %d", code)
		}
		code, out, _ = probing(t, "", "--server", dns, "--probe", "alone.example:7000")
		if code != exitFound || !strings.Contains(out, "there is nothing to join") {
			t.Errorf("one address: exit code %d", code)
		}
		code, errs = unprivileged(t, "--server", dns, "--probe", "--broker", "off", "two.example:7000")
		if code != exitFailed || !strings.Contains(errs, "no CAP_NET_ADMIN") || !strings.Contains(errs, "mpresolve doctor") {
			t.Errorf("without privilege: exit code %d", code)
		}
	})
}

// unprivileged runs the command in a process that cannot have CAP_NET_ADMIN.
func unprivileged(t *testing.T, args ...string) (code int, stderr string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := selfCommand(t.Context(), self, args...)
	cmd.Args[0] = "mpresolve" // by this name TestMain knows the command
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := testlab.WithoutNetAdmin(cmd.Run); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	t.Logf("mpresolve %s\n%s", strings.Join(args, " "), out.String())
	return cmd.ProcessState.ExitCode(), out.String()
}
