package metrics

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a daemon with these figures.
type fake struct{ stuck, unready error }

func (f *fake) Stats(context.Context) (control.Stats, error) {
	return control.Stats{
		Version: control.Version{Version: "v1", Go: "go1"}, Started: time.Unix(1e9, 5e8), Listeners: []string{"a", "b"}, Zones: 4,
		Reloads: control.Reloads{Done: 5, Failed: 6},
		Cache:   control.Cache{Entries: 7, Octets: 8, MaxOctets: 9, Hits: 10, Misses: 11, Evictions: 12, Stale: 13},
		UDP:     control.Transport{Queries: 14, Hits: 15, Misses: 16, RCodes: map[string]uint64{"NOERROR": 17}, Dropped: map[string]uint64{"busy": 18}, Slipped: 19, Panics: 20},
		TCP:     control.Transport{Queries: 21},
		Clients: control.Clients{TCPConnections: 22, TCPRefused: 23, Working: 24, Unsent: 25},
		Routes: []control.Route{{Zone: ".", Servers: []control.Upstream{
			{Address: "192.0.2.53:53", State: "penalised", RTTUS: 26000, Queries: 27, Timeouts: 28, Errors: 29},
			{Address: "192.0.2.54:53", State: "good", Queries: 30},
		}}},
	}, f.stuck
}

func (f *fake) Ready(context.Context) error { return f.unready }

func start(t *testing.T, d Daemon) (get func(path string) (int, string)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(l, d, slog.New(slog.DiscardHandler))
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(path string) (int, string) {
		t.Helper()
		c := http.Client{Transport: transport, Timeout: requestTimeout}
		r, err := c.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(b)
	}
}

// TestMetrics wants each figure where Prometheus finds it.
func TestMetrics(t *testing.T) {
	_, text := start(t, &fake{})("/metrics")
	for _, line := range []string{
		`mpdnsd_build_info{go="go1",version="v1"} 1`, "mpdnsd_start_time_seconds 1.0000000005e+09",
		"mpdnsd_listeners 2", "mpdnsd_zones 4", `mpdnsd_reloads_total{result="done"} 5`, `mpdnsd_reloads_total{result="failed"} 6`,
		"mpdnsd_cache_entries 7", "mpdnsd_cache_bytes 8", "mpdnsd_cache_max_bytes 9",
		"mpdnsd_cache_hits_total 10", "mpdnsd_cache_misses_total 11", "mpdnsd_cache_evictions_total 12", "mpdnsd_cache_stale_total 13",
		`mpdnsd_queries_total{transport="udp"} 14`, `mpdnsd_query_hits_total{transport="udp"} 15`, `mpdnsd_query_misses_total{transport="udp"} 16`,
		`mpdnsd_answers_total{rcode="NOERROR",transport="udp"} 17`, `mpdnsd_dropped_total{reason="busy",transport="udp"} 18`,
		`mpdnsd_slipped_total{transport="udp"} 19`, `mpdnsd_panics_total{transport="udp"} 20`, `mpdnsd_queries_total{transport="tcp"} 21`,
		"mpdnsd_tcp_connections 22", "mpdnsd_tcp_refused_total 23", "mpdnsd_working 24", "mpdnsd_unsent_total 25",
		`mpdnsd_upstream_rtt_seconds{server="192.0.2.53:53",zone="."} 0.026`, `mpdnsd_upstream_queries_total{server="192.0.2.53:53",zone="."} 27`,
		`mpdnsd_upstream_timeouts_total{server="192.0.2.53:53",zone="."} 28`, `mpdnsd_upstream_errors_total{server="192.0.2.53:53",zone="."} 29`,
		`mpdnsd_upstream_penalised{server="192.0.2.53:53",zone="."} 1`, `mpdnsd_upstream_penalised{server="192.0.2.54:53",zone="."} 0`,
		"# TYPE mpdnsd_cache_hits_total counter", "# TYPE mpdnsd_cache_entries gauge",
	} {
		if !strings.Contains(text, "\n"+line+"\n") && !strings.HasPrefix(text, line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	for _, name := range []string{"go_goroutines ", "go_memstats_heap_alloc_bytes "} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("no figure %q", name)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestDaemonStuck: a daemon that does not answer has no figures, and is not
// healthy.
func TestDaemonStuck(t *testing.T) {
	get := start(t, &fake{stuck: errors.New("the loop does not turn"), unready: errors.New("no upstream server answers")})
	for path, want := range map[string]string{
		"/metrics": "the loop does not turn", "/healthz": "the loop does not turn\n", "/readyz": "no upstream server answers\n",
	} {
		code, text := get(path)
		if code != http.StatusServiceUnavailable && path != "/metrics" || code < 500 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %q", path, code, text)
		}
	}
}

func TestHealthy(t *testing.T) {
	get := start(t, &fake{})
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/": 404, "/debug/pprof/": 404} {
		if code, text := get(path); code != want {
			t.Errorf("%s: %d %q", path, code, text)
		}
	}
}

var docsFigure = regexp.MustCompile("(?m)^\\| `(mpdnsd_[a-z_]+)[`{]")

// TestDocs holds the operator's page to the code: it lists each figure, and none
// that is not there.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../../docs/mpdnsd.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range docsFigure.FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, m[1])
	}
	for _, f := range families() {
		name := regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(f.desc.String())[1]
		i := slices.Index(documented, name)
		if i < 0 {
			t.Errorf("%s is not documented", name)
			continue
		}
		documented = slices.Delete(documented, i, i+1)
		if strings.HasSuffix(name, "_total") != (f.kind == prometheus.CounterValue) {
			t.Errorf("%s: only counters end in _total", name)
		}
	}
	if len(documented) > 0 {
		t.Errorf("documented and not there: %q", documented)
	}
}
