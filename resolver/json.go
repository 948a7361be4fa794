package resolver

import (
	"encoding/json"
	"net/netip"
	"time"
)

// MarshalJSON is an object with the answer's fields, its reasons and its hosts.
func (a *Answer) MarshalJSON() ([]byte, error) {
	type fields Answer // without this method
	return json.Marshal(struct {
		*fields
		Reasons []string `json:"reasons"`
		Hosts   []Host   `json:"hosts"`
	}{(*fields)(a), orEmpty(a.Reasons()), a.Hosts()})
}

// MarshalJSON is an object with the TTL in seconds (absent where it does not
// expire), times in milliseconds, addresses as text, and "error" where the
// family has one.
func (f FamilyResult) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Type          string       `json:"type"`
		Name          string       `json:"name,omitempty"`
		Addrs         []netip.Addr `json:"addresses"`
		Services      []Service    `json:"services,omitempty"`
		Chain         []string     `json:"chain,omitempty"`
		TTL           *int64       `json:"ttl,omitempty"`
		Server        string       `json:"server,omitempty"`
		Proto         string       `json:"protocol,omitempty"`
		Elapsed       float64      `json:"elapsed_ms"`
		Tries         int          `json:"tries"`
		Cached        bool         `json:"cached"`
		Age           int64        `json:"age,omitempty"`
		Authenticated bool         `json:"authenticated"`
		Err           error        `json:"error,omitempty"`
	}{
		f.Type, f.Name, orEmpty(f.Addrs), f.Services, f.Chain, seconds(f.TTL), f.Server, f.Proto, milliseconds(f.Elapsed),
		f.Tries, f.Cached, int64(f.Age / time.Second), f.Authenticated, f.Err,
	})
}

// MarshalJSON is an object with the TTL in seconds and the time in milliseconds.
func (r Records) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name          string   `json:"name"`
		Type          string   `json:"type"`
		RRs           []Record `json:"records"`
		TTL           *int64   `json:"ttl,omitempty"`
		Server        string   `json:"server,omitempty"`
		Proto         string   `json:"protocol,omitempty"`
		Elapsed       float64  `json:"elapsed_ms"`
		Tries         int      `json:"tries"`
		Cached        bool     `json:"cached"`
		Authenticated bool     `json:"authenticated"`
	}{
		r.Name, r.Type, orEmpty(r.RRs), seconds(r.TTL), r.Server, r.Proto, milliseconds(r.Elapsed),
		r.Tries, r.Cached, r.Authenticated,
	})
}

// orEmpty makes a missing list an empty one, which readers of JSON prefer.
func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func seconds(d time.Duration) *int64 {
	if d == Forever {
		return nil
	}
	s := int64(d / time.Second)
	return &s
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
