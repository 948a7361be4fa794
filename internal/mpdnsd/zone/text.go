package zone

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// Text is the answer section of a message in the form of RFC 1035 section 5.1, a
// text for each record, without TTLs: "www.example. IN A 192.0.2.1".
func Text(msg []byte) ([]string, error) {
	var m dns.Msg
	if err := m.Unpack(msg); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	all := make([]string, len(m.Answer))
	for i, rr := range m.Answer {
		fields := strings.SplitN(rr.String(), "\t", 5) // name, TTL, class, type, data
		all[i] = strings.Join(append(fields[:1], fields[2:]...), " ")
	}
	return all, nil
}
