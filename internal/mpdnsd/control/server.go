package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Server answers requests from one socket. It is ended by Close.
type Server struct {
	daemon Daemon
	log    *slog.Logger
	http   http.Server
	served sync.WaitGroup
}

// Serve begins to answer requests that come to l, which it owns from now on.
func Serve(l net.Listener, d Daemon, log *slog.Logger) *Server {
	s := &Server{daemon: d, log: log}
	s.http = http.Server{
		Handler:           http.MaxBytesHandler(s.handler(), maxBody),
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      2 * requestTimeout,
		IdleTimeout:       requestTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	s.served.Go(func() {
		if err := s.http.Serve(netutil.LimitListener(l, maxConns)); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the control socket has ended; a restart brings it back", "error", err)
		}
	})
	return s
}

// Close stops answering, and removes the socket.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close() // whoever is connected still had its time
	}
	s.served.Wait()
	return err
}

// handler is the table of requests.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
			defer cancel()
			out, err := f(r.WithContext(ctx))
			s.reply(w, out, err)
		})
	}
	handle("GET /version", func(*http.Request) (any, error) { return s.daemon.Version(), nil })
	handle("GET /stats", func(r *http.Request) (any, error) { return s.daemon.Stats(r.Context()) })
	handle("GET /upstreams", func(r *http.Request) (any, error) { return s.daemon.Upstreams(r.Context()) })
	handle("GET /lookup", s.lookup)
	handle("GET /verdicts", s.verdicts)
	handle("POST /flush", s.flush)
	handle("POST /reload", func(r *http.Request) (any, error) { return struct{}{}, s.daemon.Reload(r.Context()) })
	return mux
}

// badRequest is a request that cannot be understood.
type badRequest struct{ err error }

func (e *badRequest) Error() string { return e.err.Error() }

func (e *badRequest) Unwrap() error { return e.err }

// failureBody is the body of an error.
type failureBody struct {
	Error string `json:"error"`
}

// reply writes what a request led to.
func (s *Server) reply(w http.ResponseWriter, out any, err error) {
	status := http.StatusOK
	if err != nil {
		status, out = http.StatusInternalServerError, failureBody{err.Error()}
		if errors.As(err, new(*badRequest)) {
			status = http.StatusBadRequest
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(out); err != nil {
		s.log.Debug("answering on the control socket", "error", err)
	}
}

func (s *Server) lookup(r *http.Request) (any, error) {
	name, err := parseName(r.URL.Query().Get("name"))
	if err != nil {
		return nil, err
	}
	return s.daemon.Lookup(r.Context(), name)
}

func (s *Server) flush(r *http.Request) (any, error) {
	scope, err := parseScope(r.URL.Query().Get)
	if err != nil {
		return nil, err
	}
	return s.daemon.Flush(r.Context(), scope)
}

// parseScope reads what to flush. Nothing said is nothing flushed.
func parseScope(get func(string) string) (Scope, error) {
	name, zone, all := get("name"), get("zone"), get("all")
	switch {
	case all == "1" && name == "" && zone == "":
		return Scope{}, nil
	case all == "" && name != "" && zone == "":
		n, err := parseName(name)
		return Scope{Name: n}, err
	case all == "" && name == "" && zone != "":
		n, err := parseName(zone)
		return Scope{Name: n, Below: true}, err
	}
	return Scope{}, &badRequest{errors.New("want one of all=1, name=NAME, zone=NAME")}
}

func parseName(s string) (dnswire.Name, error) {
	name, err := dnswire.ParseName(s)
	if err != nil {
		return "", &badRequest{fmt.Errorf("name %.300q: %w", s, err)}
	}
	return name, nil
}
