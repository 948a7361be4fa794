package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// family is one figure: its description, and where it stands in the snapshot.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	// each calls put with each value and its labels'.
	each func(s *control.Stats, put func(v float64, labels ...string))
}

// collector reads one snapshot for each scrape.
type collector struct {
	daemon   Daemon
	families []family
}

func newCollector(d Daemon) *collector { return &collector{d, families()} }

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, f := range c.families {
		out <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	s, err := c.daemon.Stats(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		return
	}
	for _, f := range c.families {
		f.each(&s, func(v float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(f.desc, f.kind, v, labels...)
		})
	}
}

// gauge and counter make a family of one value without labels.
func gauge(name, help string, get func(*control.Stats) float64) family {
	return single(name, help, prometheus.GaugeValue, get)
}

func counter(name, help string, get func(*control.Stats) float64) family {
	return single(name, help, prometheus.CounterValue, get)
}

func single(name, help string, kind prometheus.ValueType, get func(*control.Stats) float64) family {
	return family{
		desc: prometheus.NewDesc("mpdnsd_"+name, help, nil, nil),
		kind: kind,
		each: func(s *control.Stats, put func(float64, ...string)) { put(get(s)) },
	}
}

// labelled makes a family of several values.
func labelled(name, help string, kind prometheus.ValueType, labels []string, each func(*control.Stats, func(float64, ...string))) family {
	return family{prometheus.NewDesc("mpdnsd_"+name, help, labels, nil), kind, each}
}

// transports makes a family of one value for each transport.
func transports(name, help string, get func(control.Transport) uint64) family {
	return labelled(name, help, prometheus.CounterValue, []string{"transport"}, func(s *control.Stats, put func(float64, ...string)) {
		put(float64(get(s.UDP)), "udp")
		put(float64(get(s.TCP)), "tcp")
	})
}

// counts makes a family of the values of a map for each transport.
func counts(name, help, label string, get func(control.Transport) map[string]uint64) family {
	return labelled(name, help, prometheus.CounterValue, []string{"transport", label}, func(s *control.Stats, put func(float64, ...string)) {
		for transport, t := range map[string]control.Transport{"udp": s.UDP, "tcp": s.TCP} {
			for key, n := range get(t) {
				put(float64(n), transport, key)
			}
		}
	})
}

// serverFamilies is the figures of questions and answers.
func serverFamilies() []family {
	return []family{
		transports("queries_total", "Questions.", func(t control.Transport) uint64 { return t.Queries }),
		transports("query_hits_total", "Questions answered from the cache by the loop that read them.", func(t control.Transport) uint64 { return t.Hits }),
		transports("query_misses_total", "Questions given to a worker.", func(t control.Transport) uint64 { return t.Misses }),
		counts("answers_total", "Answers by response code.", "rcode", func(t control.Transport) map[string]uint64 { return t.RCodes }),
		counts("dropped_total", "Questions without an answer, by reason.", "reason", func(t control.Transport) map[string]uint64 { return t.Dropped }),
		transports("slipped_total", "Questions over the rate limit, answered with TC or BADCOOKIE.", func(t control.Transport) uint64 { return t.Slipped }),
		transports("panics_total", "Answers that failed for a defect of the daemon.", func(t control.Transport) uint64 { return t.Panics }),
		gauge("tcp_connections", "Connections open now.", func(s *control.Stats) float64 { return float64(s.Clients.TCPConnections) }),
		counter("tcp_refused_total", "Connections closed at once.", func(s *control.Stats) float64 { return float64(s.Clients.TCPRefused) }),
		gauge("working", "Questions that wait for upstream servers, or that workers have.", func(s *control.Stats) float64 { return float64(s.Clients.Working) }),
		counter("unsent_total", "Answers over UDP that the system did not take.", func(s *control.Stats) float64 { return float64(s.Clients.Unsent) }),
	}
}

// upstreams makes a family of one value for each upstream server.
func upstreams(name, help string, kind prometheus.ValueType, get func(control.Upstream) float64) family {
	return labelled("upstream_"+name, help, kind, []string{"zone", "server"}, func(s *control.Stats, put func(float64, ...string)) {
		for _, r := range s.Routes {
			for _, u := range r.Servers {
				put(get(u), r.Zone, u.Address)
			}
		}
	})
}

// upstreamFamilies is the figures of the servers asked.
func upstreamFamilies() []family {
	return []family{
		upstreams("queries_total", "Questions put to an upstream server.", prometheus.CounterValue, func(u control.Upstream) float64 { return float64(u.Queries) }),
		upstreams("timeouts_total", "Of these, those without a reply in time.", prometheus.CounterValue, func(u control.Upstream) float64 { return float64(u.Timeouts) }),
		upstreams("errors_total", "Of these, those that failed otherwise.", prometheus.CounterValue, func(u control.Upstream) float64 { return float64(u.Errors) }),
		upstreams("rtt_seconds", "Smoothed round-trip time; 0 before the first reply.", prometheus.GaugeValue, func(u control.Upstream) float64 { return float64(u.RTTUS) / 1e6 }),
		upstreams("penalised", "1 while the server is asked last because it does not answer.", prometheus.GaugeValue, func(u control.Upstream) float64 {
			if u.State == string(upstream.StatePenalised) {
				return 1
			}
			return 0
		}),
	}
}

// families is every figure there is. docs/mpdnsd.md has the same list.
func families() []family {
	return append(append(serverFamilies(), upstreamFamilies()...),
		labelled("build_info", "Always 1; which program this is.", prometheus.GaugeValue, []string{"version", "go"},
			func(s *control.Stats, put func(float64, ...string)) { put(1, s.Version.Version, s.Go) }),
		gauge("start_time_seconds", "Unix time of the start.", func(s *control.Stats) float64 { return float64(s.Started.UnixMilli()) / 1000 }),
		gauge("listeners", "Addresses at which questions are taken.", func(s *control.Stats) float64 { return float64(len(s.Listeners)) }),
		gauge("zones", "Local zones.", func(s *control.Stats) float64 { return float64(s.Zones) }),
		labelled("reloads_total", "Reloads asked for, by result.", prometheus.CounterValue, []string{"result"},
			func(s *control.Stats, put func(float64, ...string)) {
				put(float64(s.Reloads.Done), "done")
				put(float64(s.Reloads.Failed), "failed")
			}),
		gauge("cache_entries", "Answers in the cache.", func(s *control.Stats) float64 { return float64(s.Cache.Entries) }),
		gauge("cache_bytes", "Memory that the cache holds.", func(s *control.Stats) float64 { return float64(s.Cache.Octets) }),
		gauge("cache_max_bytes", "Memory that it may hold.", func(s *control.Stats) float64 { return float64(s.Cache.MaxOctets) }),
		counter("cache_hits_total", "Look-ups that found an answer.", func(s *control.Stats) float64 { return float64(s.Cache.Hits) }),
		counter("cache_misses_total", "Look-ups that found none.", func(s *control.Stats) float64 { return float64(s.Cache.Misses) }),
		counter("cache_evictions_total", "Unexpired answers given up for room.", func(s *control.Stats) float64 { return float64(s.Cache.Evictions) }),
		counter("cache_stale_total", "Answers given after their expiry.", func(s *control.Stats) float64 { return float64(s.Cache.Stale) }),
	)
}
