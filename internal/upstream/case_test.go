package upstream_test

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

const longName = "www.a-name-of-many-letters.example."

// TestMixedCase: the server is asked in a case that differs each time, and the
// reply is in lower case wherever the name stands.
func TestMixedCase(t *testing.T) {
	names := make(chan string, 100)
	addr, _ := cookieServer(t, func(_, _ string, _ int, m *dns.Msg) {
		m.Compress = false
		names <- m.Question[0].Name
	})
	s := newServer(addr, upstream.Options{MixCase: true})
	seen := map[string]bool{}
	for range 5 {
		r, err := s.Exchange(t.Context(), question(t, longName, dnswire.TypeA))
		if err != nil || r.Proto != "udp" || answers(t, r) != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
		name := question(t, longName, dnswire.TypeA).Name
		if n := bytes.Count(r.Msg, []byte(name)); n != 2 {
			t.Errorf("the name is there %d times in lower case, want 2: %q", n, r.Msg)
		}
		asked := <-names
		seen[asked] = true
		if !strings.EqualFold(asked, longName) {
			t.Errorf("asked for %s", asked)
		}
	}
	if len(seen) != 5 {
		t.Errorf("asked in %d cases of 5: %v", len(seen), seen)
	}
}

// TestCaseBroken: a server that answers in lower case is found out over TCP and
// asked in lower case from then on; one whose replies only a forger breaks goes on
// being asked in mixed case.
func TestCaseBroken(t *testing.T) {
	for name, tt := range map[string]struct {
		breaks func(network string, nth int) bool
		protos []string // of the queries of two questions
		lower  bool     // how the second is asked
	}{
		"by the server": {func(string, int) bool { return true }, []string{"udp", "tcp", "udp", "udp"}, true},
		"by a forger":   {func(network string, nth int) bool { return network == "udp" && nth == 0 }, []string{"udp", "tcp", "udp"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			type query struct{ proto, name string }
			queries := make(chan query, 100)
			addr, _ := cookieServer(t, func(network, _ string, nth int, m *dns.Msg) {
				queries <- query{network, m.Question[0].Name}
				if tt.breaks(network, nth) {
					lower := strings.ToLower(m.Question[0].Name)
					m.Question[0].Name, m.Answer[0].Header().Name = lower, lower
				}
			})
			s := newServer(addr, upstream.Options{MixCase: true})
			for range 2 {
				if r, err := s.Exchange(t.Context(), question(t, longName, dnswire.TypeA)); err != nil || r.Tries != 1 || answers(t, r) != 1 {
					t.Fatalf("%+v, %v", r, err)
				}
			}
			var last query
			var protos []string
			for len(queries) > 0 {
				last = <-queries
				protos = append(protos, last.proto)
			}
			if strings.Join(protos, " ") != strings.Join(tt.protos, " ") || (last.name == longName) != tt.lower {
				t.Errorf("asked over %v, the last for %s", protos, last.name)
			}
		})
	}
}

// TestCaseBrokenWithoutTCP: where TCP is refused, the server is believed.
func TestCaseBrokenWithoutTCP(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Question[0].Name = strings.ToLower(m.Question[0].Name)
		_ = w.WriteMsg(m)
	})}
	started, ended := make(chan struct{}), make(chan error, 1)
	server.NotifyStartedFunc = func() { close(started) }
	go func() { ended <- server.ActivateAndServe() }()
	<-started
	defer func() { _ = server.Shutdown(); <-ended }()
	r, err := newServer(pc.LocalAddr().String(), upstream.Options{MixCase: true}).Exchange(t.Context(), question(t, longName, dnswire.TypeA))
	if err != nil || r.Proto != "udp" {
		t.Errorf("%+v, %v", r, err)
	}
}
