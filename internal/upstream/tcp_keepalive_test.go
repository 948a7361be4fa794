package upstream_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// withKeepalive puts a time-out into the reply b to a query that asks for one;
// an error if it does not.
func withKeepalive(b []byte, timeout ...byte) ([]byte, error) {
	opt, edns, ok := dnswire.FindOPT(b)
	if data, has := dnswire.FindOption(edns.Options, dnswire.OptionKeepalive); !ok || !has || len(data) != 0 {
		return nil, fmt.Errorf("options %x", edns.Options)
	}
	if err := dnswire.Validate(b); err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(b[len(b)-2:], uint16(len(timeout)))
	binary.BigEndian.PutUint16(b[opt.DataOff-2:], uint16(opt.DataLen+len(timeout)))
	return append(b, timeout...), nil
}

// TestTCPKeepalive: a connection is kept for as long as the server says, within
// bounds.
func TestTCPKeepalive(t *testing.T) {
	tests := map[string]struct {
		timeout []byte
		want    time.Duration
	}{
		"30 s":      {[]byte{0x01, 0x2c}, 30 * time.Second},
		"100 ms":    {[]byte{0, 1}, 100 * time.Millisecond},
		"close":     {[]byte{0, 0}, 0},
		"too long":  {[]byte{0xff, 0xff}, upstream.MaxTCPIdle},
		"none":      {nil, upstream.TCPIdle},
		"malformed": {[]byte{0}, upstream.TCPIdle},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(p *peer) {
				for b := p.query(); b != nil; b = p.query() {
					b, err := withKeepalive(b, tc.timeout...)
					if err != nil {
						t.Error(err)
						return
					}
					p.reply(b)
				}
			}, func(t *testing.T, k *kept) {
				if err := k.ask(t.Context(), "a.example")(); err != nil {
					t.Fatal(err)
				}
				if tc.want > 0 {
					time.Sleep(tc.want - time.Millisecond) // virtual time
					want(t, "connections over before the time", k.left(), 0)
					time.Sleep(time.Millisecond) // virtual time
				}
				synctest.Wait()
				want(t, "connections over after the time", k.left(), 1)
			})
		})
	}
}

// TestTCPKeepaliveZero: a server that wants the connection closed gets no more
// questions on it, but may answer those that it has.
func TestTCPKeepaliveZero(t *testing.T) {
	inBubble(t, func(p *peer) {
		all := p.queries(2)
		for _, b := range all {
			b, err := withKeepalive(b, 0, 0)
			if err != nil {
				t.Error(err)
			}
			p.reply(b)
			time.Sleep(time.Second) // virtual time
		}
		p.untilClosed()
	}, func(t *testing.T, k *kept) {
		a, b := k.ask(t.Context(), "a.example"), k.ask(t.Context(), "b.example")
		synctest.Wait()
		c, d := k.ask(t.Context(), "c.example"), k.ask(t.Context(), "d.example")
		for _, wait := range []func() error{a, b, c, d} {
			if err := wait(); err != nil {
				t.Error(err)
			}
		}
		want(t, "connections", k.dialled(), 2)
		time.Sleep(time.Second) // virtual time
		want(t, "connections over", k.left(), 2)
	})
}

// TestTCPKeepaliveNotAsked: nothing is asked for that would be of no use: on a
// connection for one question, or where the query has no OPT record.
func TestTCPKeepaliveNotAsked(t *testing.T) {
	for name, prepare := range map[string]func(k *kept){
		"alone":   func(k *kept) { upstream.CloseTCP(k.Server) },
		"no EDNS": func(k *kept) { upstream.DisableEDNS(k.Server) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(p *peer) {
				for b := p.query(); b != nil; b = p.query() {
					if _, err := withKeepalive(b); err == nil {
						t.Error("the query has the option")
					}
					p.reply(b)
				}
			}, func(t *testing.T, k *kept) {
				prepare(k)
				if err := k.ask(t.Context(), "a.example")(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestTCPKeepaliveMixed: the option is read before the reply is handed on, which
// is written to where the question had mixed case. The race detector would see it.
func TestTCPKeepaliveMixed(t *testing.T) {
	s := newServer(echoTCP(t), upstream.Options{UseTCP: true, Attempts: 1, MixCase: true})
	defer upstream.KeepTCP(s)()
	defer upstream.CloseTCP(s)
	for range 50 {
		if _, err := s.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTCPKeepaliveGone: a reply that nobody waits for any more may ask to close
// the connection; who still waits on it is answered first.
func TestTCPKeepaliveGone(t *testing.T) {
	inBubble(t, func(p *peer) {
		all := p.queries(2)
		for _, b := range all {
			b, err := withKeepalive(b, 0, 0)
			if err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second) // virtual time
			p.reply(b)
		}
	}, func(t *testing.T, k *kept) {
		ctx, cancel := context.WithCancel(t.Context())
		gone := k.ask(ctx, "a.example")
		synctest.Wait()
		waits := k.ask(t.Context(), "b.example")
		synctest.Wait()
		cancel()
		if err := gone(); err == nil {
			t.Error("the first was answered")
		}
		if err := waits(); err != nil {
			t.Error(err)
		}
		want(t, "connections", k.dialled(), 1)
		want(t, "connections over", k.left(), 1)
	})
}
