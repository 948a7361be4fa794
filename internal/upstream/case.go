package upstream

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// caseMemory is how long a server is remembered to answer in another case than
// it was asked in.
const caseMemory = 15 * time.Minute

// errCase says that a reply has the name in another case than the query.
var errCase = errors.New("reply in another case than the question")

// mixCase gives each letter of the name in the question a random case, which a
// forger has to guess too (draft-vixie-dnsext-dns0x20).
func (m *message) mixCase() {
	var coins [dnswire.MaxNameLen]byte
	name := m.name()
	_, _ = rand.Read(coins[:len(name)]) // never fails: it ends the program instead
	for i, c := range name {
		if c >= 'a' && c <= 'z' { // lengths of labels are less
			name[i] = c &^ (coins[i] & ('a' - 'A'))
		}
	}
	m.mixed = true
}

// name is the name in the question of the query.
func (m *message) name() []byte {
	return m.octets[dnswire.HeaderLen:][:len(m.query.Name)]
}

// unmix checks that b, whose question is the query's, has its case too, and takes
// that back in the question and in the owners that are written out.
func (m *message) unmix(b []byte) error {
	mixed, plain := string(m.name()), string(m.query.Name)
	if string(b[dnswire.HeaderLen:][:len(mixed)]) != mixed {
		return errCase
	}
	copy(b[dnswire.HeaderLen:], plain)
	for _, rr := range records(b) {
		if at := b[rr.NameOff:]; len(at) >= len(mixed) && string(at[:len(mixed)]) == mixed {
			copy(at, plain)
		}
	}
	return nil
}

// whoseCase finds out whether the server broke the case of the question or
// someone forged the reply, by asking over TCP, and asks without a mixed case
// where it is the server or TCP is of no use.
func (s *Server) whoseCase(ctx context.Context, q Query, edns bool, proto string) (Reply, string, error) {
	if proto == "udp" {
		reply, proto, err := s.onTCP(ctx, s.message(q, edns))
		if err == nil || ended(ctx) != nil {
			return reply, proto, err
		}
	}
	remember(&s.breaksCase, caseMemory)
	return s.once(ctx, q, edns)
}
