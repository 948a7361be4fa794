package dnstest

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// parse reads a query; what is not one gives an error and is not recorded.
func parse(packet []byte, proto string, from netip.AddrPort) (*dns.Msg, Query, error) {
	m := new(dns.Msg)
	if err := m.Unpack(packet); err != nil {
		return nil, Query{}, fmt.Errorf("unpack query: %w", err)
	}
	if len(m.Question) != 1 {
		return nil, Query{}, fmt.Errorf("query with %d questions", len(m.Question))
	}
	q := Query{
		ID: m.Id, Name: m.Question[0].Name, Type: dns.Type(m.Question[0].Qtype).String(),
		Proto: proto, From: from, At: time.Now(), CD: m.CheckingDisabled, AD: m.AuthenticatedData,
	}
	if o := m.IsEdns0(); o != nil {
		q.EDNS, q.UDPSize, q.DO = true, o.UDPSize(), o.Do()
	}
	return m, q, nil
}

// build makes the octets of the reply that a asks for.
func (a Action) build(query *dns.Msg, proto string) ([]byte, error) {
	if a.Raw != nil {
		raw := append([]byte(nil), a.Raw...)
		if a.PatchID && len(raw) >= 2 {
			binary.BigEndian.PutUint16(raw, query.Id)
		}
		return raw, nil
	}
	m := new(dns.Msg).SetReply(query)
	m.Opcode, m.Rcode = query.Opcode, a.RCode
	m.Authoritative, m.AuthenticatedData, m.RecursionAvailable = a.AA, a.AD, !a.NoRA
	a.disfigure(m)
	if (a.Truncate && proto == "udp") || a.TruncateAll {
		m.Truncated = true
	} else {
		owner := query.Question[0].Name
		m.Answer, m.Ns, m.Extra = rrs(a.Answer, owner), rrs(a.Authority, owner), rrs(a.Extra, owner)
	}
	if (query.IsEdns0() != nil && !a.NoOPT) || a.RCode > 15 {
		m.SetEdns0(1232, false)
	}
	m.Compress = true
	octets, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack reply: %w", err)
	}
	return octets, nil
}

// disfigure makes the header and question wrong where the action says so.
func (a Action) disfigure(m *dns.Msg) {
	if a.WrongID {
		m.Id++
	}
	if a.NotResponse {
		m.Response = false
	}
	if a.WrongOpcode {
		m.Opcode = dns.OpcodeNotify
	}
	switch {
	case a.NoQuestion:
		m.Question = nil
	case a.WrongQuestion:
		m.Question = []dns.Question{m.Question[0]}
		m.Question[0].Name = "wrong." + m.Question[0].Name
	}
}

func rrs(texts []string, owner string) []dns.RR {
	var out []dns.RR
	for _, text := range texts {
		if rest, ok := strings.CutPrefix(text, "@ "); ok {
			text = owner + " " + rest
		}
		out = append(out, mustRR(text))
	}
	return out
}
