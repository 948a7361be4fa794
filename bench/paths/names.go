package main

import (
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// nameTTL is the TTL of every record, in seconds.
const nameTTL = 60

// nameServer answers A and AAAA for a few names, over UDP on loopback: for the
// dialer and for net.Dialer alike.
type nameServer struct {
	conn    net.PacketConn
	names   map[dnswire.Name][]netip.Addr
	serving sync.WaitGroup
}

// serveNames starts a server. The names are absolute.
func serveNames(names map[string][]netip.Addr) (*nameServer, error) {
	s := &nameServer{names: make(map[dnswire.Name][]netip.Addr)}
	for text, addrs := range names {
		name, err := dnswire.ParseName(text)
		if err != nil {
			return nil, err
		}
		s.names[name] = addrs
	}
	var err error
	if s.conn, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	s.serving.Go(s.serve)
	return s, nil
}

// addr is where the server is asked.
func (s *nameServer) addr() string { return s.conn.LocalAddr().String() }

func (s *nameServer) close() error {
	err := s.conn.Close()
	s.serving.Wait()
	return err
}

// serve answers until the server is closed.
func (s *nameServer) serve() {
	buffer := make([]byte, dnswire.MaxMessageLen)
	for {
		n, client, err := s.conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if reply := s.answer(buffer[:n]); reply != nil {
			_, _ = s.conn.WriteTo(reply, client) // a lost answer is the client's to notice
		}
	}
}

// answer returns the reply to a query, nil for what is none.
func (s *nameServer) answer(packet []byte) []byte {
	q, err := dnswire.ParseQuery(packet)
	if err != nil {
		return nil
	}
	question := q.Question()
	addrs, known := s.names[question.Name]
	rcode := dnswire.RCodeSuccess
	if !known {
		rcode = dnswire.RCodeNameError
	}
	msg := dnswire.AppendReply(nil, &q, dnswire.FlagAA|dnswire.FlagRA, rcode)
	for _, a := range addrs {
		if a.Is4() && q.Type == dnswire.TypeA || a.Is6() && q.Type == dnswire.TypeAAAA {
			msg = dnswire.AddRR(msg, dnswire.SectionAnswer, nil, q.Type, dnswire.ClassINET, nameTTL, a.AsSlice())
		}
	}
	return msg
}
