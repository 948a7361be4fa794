package mpdnsd

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
)

func writeVersion(w io.Writer, v control.Version) {
	fmt.Fprintf(w, "mpdnsd %s  pid %d  %s\n", v.Version, v.PID, v.Go)
}

func writeStats(w io.Writer, s control.Stats) {
	answered := "an upstream server has answered"
	if !s.Answered {
		answered = "no upstream server has answered yet"
	}
	fmt.Fprintf(w, "mpdnsd %s  pid %d  up %s  %s\n\n", s.Version.Version, s.PID, duration(s.UptimeMS), answered)
	line := func(what, format string, args ...any) {
		fmt.Fprintf(w, "%-10s "+format+"\n", append([]any{what}, args...)...)
	}
	line("listening", "%s", strings.Join(s.Listeners, "  "))
	line("zones", "%d", s.Zones)
	line("reloads", "%d done  %d failed", s.Reloads.Done, s.Reloads.Failed)
	c := s.Cache
	line("cache", "%s  %s of %s", count(c.Entries, "answer"), octets(c.Octets), octets(c.MaxOctets))
	line("", "%d hits  %d misses  %s  %d evicted", c.Hits, c.Misses, share(c.Hits, c.Hits+c.Misses), c.Evictions)
	writeTransport(line, "udp", s.UDP)
	writeTransport(line, "tcp", s.TCP)
	line("clients", "%d tcp connections  %d refused  %s at work  %d answers unsent", s.Clients.TCPConnections, s.Clients.TCPRefused, count(s.Clients.Working, "question"), s.Clients.Unsent)
	p := s.Process
	line("memory", "%s of heap  %s of the system  limit %s", octets(int64(p.HeapOctets)), octets(int64(p.TotalOctets)), octets(p.LimitOctets))
	line("goroutines", "%d", p.Goroutines)
	if p.OpenFiles >= 0 {
		line("files", "%d of %d", p.OpenFiles, p.MaxFiles)
	}
}

func writeTransport(line func(what, format string, args ...any), name string, t control.Transport) {
	line(name, "%d questions  %d hits  %s  %d slipped  %d panics", t.Queries, t.Hits, share(t.Hits, t.Queries), t.Slipped, t.Panics)
	for _, c := range []struct {
		what   string
		counts map[string]uint64
	}{{"answers", t.RCodes}, {"dropped", t.Dropped}} {
		if len(c.counts) == 0 {
			continue
		}
		var parts []string
		for _, key := range slices.Sorted(maps.Keys(c.counts)) {
			parts = append(parts, fmt.Sprintf("%s %d", key, c.counts[key]))
		}
		line("", "%s: %s", c.what, strings.Join(parts, "  "))
	}
}

func writeUpstreams(w io.Writer, u control.Upstreams) {
	width := len("zone")
	for _, r := range u.Routes {
		width = max(width, len(r.Zone))
	}
	fmt.Fprintf(w, "%-*s  %-8s  %-5s  %-9s  %8s  %9s  %9s  %9s  server\n", width, "zone", "strategy", "over", "state", "rtt", "asked", "timeouts", "errors")
	for _, r := range u.Routes {
		for _, s := range r.Servers {
			fmt.Fprintf(w, "%-*s  %-8s  %-5s  %-9s  %8s  %9d  %9d  %9d  %s\n", width, r.Zone, r.Strategy, s.Proto, s.State, rtt(s.RTTUS), s.Queries, s.Timeouts, s.Errors, s.Address)
		}
		if len(r.Servers) == 0 {
			fmt.Fprintf(w, "%-*s  %-8s  %-5s  none: only local names are answered\n", width, r.Zone, r.Strategy, "-")
		}
	}
}

// rtt is a round-trip time in µs, "-" where there is none.
func rtt(us int64) string {
	if us == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", float64(us)/1000)
}

func writeHeld(w io.Writer, h control.Held) {
	fmt.Fprintf(w, "%s  %s\n", h.Name, count(len(h.Entries), "cached answer"))
	for _, e := range h.Entries {
		fmt.Fprintf(w, "\n  %-6s %-8s age %-8s %s%s\n", e.Type, e.Status, duration(e.AgeMS), left(e.TTLMS), entryFlags(e))
		for _, r := range e.Records {
			fmt.Fprintf(w, "         %s\n", r)
		}
	}
	if h.Truncated {
		fmt.Fprintf(w, "\nthere are more than %d\n", control.MaxEntries)
	}
}

func entryFlags(e control.Entry) string {
	var b strings.Builder
	for _, f := range []struct {
		on   bool
		text string
	}{{e.Negative, "negative"}, {e.Failure, "failure"}, {e.DO, "do"}, {e.CD, "cd"}} {
		if f.on {
			b.WriteString("  " + f.text)
		}
	}
	return b.String()
}

func writeFlushed(w io.Writer, f control.Flushed) {
	fmt.Fprintf(w, "forgotten: %s\n", count(f.Entries, "answer"))
}

// left is the rest of an entry's life.
func left(ms int64) string {
	if ms < 0 {
		return "expired for " + duration(-ms)
	}
	return "ttl " + duration(ms)
}

// duration is a time in ms, rounded for reading.
func duration(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d >= time.Hour:
		d = d.Round(time.Minute)
		return strings.TrimSuffix(d.String(), "0s")
	case d >= time.Second:
		return d.Round(time.Second).String()
	}
	return d.String()
}

// share is part of whole in per cent.
func share(part, whole uint64) string {
	if whole == 0 {
		return "- %"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

// octets is a size in the unit that suits it.
func octets(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d octets", n)
}
