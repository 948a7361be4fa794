package upstream_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// TestGiantAnswer: a reply of nearly 64 KiB, the most that a message can have, is
// fetched over TCP whole, where UDP says that it is truncated.
func TestGiantAnswer(t *testing.T) {
	const records = 256
	giant := dnstest.Action{Truncate: true}
	for i := range records {
		giant.Answer = append(giant.Answer, fmt.Sprintf("@ 60 IN TXT %q", fmt.Sprintf("%03d", i)+strings.Repeat("x", 238)))
	}
	s := dnstest.Start(t, dnstest.Always(giant))
	r, err := newServer(s.Addr(), upstream.Options{}).Exchange(t.Context(), question(t, "www.example", dnswire.TypeTXT))
	if err != nil || r.Proto != "tcp" || answers(t, r) != records || len(r.Msg) < 64000 {
		t.Errorf("got %d octets over %s, %v", len(r.Msg), r.Proto, err)
	}
}

// TestAliasLoop: names that lead round in a circle are no answer, and another
// server is asked.
func TestAliasLoop(t *testing.T) {
	loop := dnstest.Action{Answer: []string{"@ 60 IN CNAME b.example.", "b.example. 60 IN CNAME www.example."}}
	x, n := group(t, upstream.FailoverOptions{Hedge: -1}, does(loop), does(oneA()))
	r, err := x.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
	if err != nil || r.Server != otherAddr || answers(t, r) != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
	if len(n.Server(serverAddr).Queries()) != 1 {
		t.Errorf("the server that answers in a circle was asked %d times", len(n.Server(serverAddr).Queries()))
	}
}
