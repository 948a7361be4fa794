// Package metrics gives the daemon's figures to Prometheus, and its health to
// whoever supervises it, over HTTP on a listener that is off unless configured:
//
//	/metrics  the figures of `mpdnsd ctl stats`, and those of the Go runtime and the process
//	/healthz  200 while the daemon's loop turns
//	/readyz   200 while its listeners are open and an upstream server answers,
//	          or while it needs none; 503 with the reason otherwise
//
// Nothing is counted here: the figures are read from the parts that keep them
// when they are asked for, so that an answer to a DNS client pays nothing.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
)

// Bounds of what is asked over the listener.
const (
	maxConns  = 16       // open at a time; more wait to be accepted
	maxHeader = 16 << 10 // of a request, in octets
	// requestTimeout bounds reading a request, answering it and writing the
	// answer, each. Prometheus gives up after 10 s of its own.
	requestTimeout = 10 * time.Second
	closeTimeout   = time.Second
)

// Daemon is what is asked for its figures and its state. Its methods may be
// called by several goroutines at once, and return when ctx is done.
type Daemon interface {
	Stats(ctx context.Context) (control.Stats, error)
	// Ready is nil where the daemon can answer what it is there for.
	Ready(ctx context.Context) error
}

// Server answers on one listener. It is ended by Close.
type Server struct {
	http   http.Server
	served sync.WaitGroup
}

// Serve begins to answer requests that come to l, which it owns from now on.
func Serve(l net.Listener, d Daemon, log *slog.Logger) *Server {
	s := &Server{http: http.Server{
		Handler:           http.MaxBytesHandler(handler(d, log), 0),
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      2 * requestTimeout,
		IdleTimeout:       6 * requestTimeout, // Prometheus comes back every 15 or 60 s
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	s.served.Go(func() {
		if err := s.http.Serve(netutil.LimitListener(l, maxConns)); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the metrics listener has ended; a restart brings it back", "error", err)
		}
	})
	return s
}

// Close stops answering.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	s.served.Wait()
	return err
}

func handler(d Daemon, log *slog.Logger) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		newCollector(d),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		Timeout:  requestTimeout,
	}))
	mux.HandleFunc("GET /healthz", state(func(ctx context.Context) error {
		_, err := d.Stats(ctx)
		return err
	}))
	mux.HandleFunc("GET /readyz", state(d.Ready))
	return mux
}

// state answers whether a check finds nothing wrong.
func state(check func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if err := check(ctx); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
		_, _ = io.WriteString(w, "ok\n") // a client that has gone misses nothing
	}
}
