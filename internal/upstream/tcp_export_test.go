package upstream

import "sync"

// Bounds of kept connections.
const (
	MaxTCPAsked = maxTCPAsked
	TCPCrowd    = tcpCrowd
	TCPIdle     = tcpIdle
	TCPAlone    = tcpAlone
	MaxTCPIdle  = maxTCPIdle

	MaxWrongReplies = maxWrongReplies
)

// KeepTCP has s keep TCP connections, as one with a Mux does. The function
// returned waits for their end.
func KeepTCP(s *Server) (wait func()) {
	var wg sync.WaitGroup
	s.tcp = newTCPPool(s, &wg)
	return wg.Wait
}

// CloseTCP closes the kept connections of s.
func CloseTCP(s *Server) { s.tcp.close() }

// TCPConns counts the kept connections of s that take questions.
func TCPConns(s *Server) int {
	s.tcp.mu.Lock()
	defer s.tcp.mu.Unlock()
	return len(s.tcp.conns)
}

// TCPIDs puts q twice to a connection under one id, and returns the ids used.
func TCPIDs(s *Server, q Query) (first, second uint16) {
	m := s.message(q, false)
	a, _ := s.tcp.put(m, 0)
	b, _ := s.tcp.put(m, 0)
	return a.msg.id, b.msg.id
}

// DisableEDNS has s send no OPT record.
func DisableEDNS(s *Server) { s.opts.NoEDNS = true }
