package upstream

// Failures counts what an exchanger made by Cached remembers of failures.
func Failures(x Exchanger) int {
	c := x.(*Cache)
	c.failures.mu.Lock()
	defer c.failures.mu.Unlock()
	return len(c.failures.outs)
}

// Ports counts the ports of a server with a Mux: the idle ones, and all.
func Ports(s *Server) (idle, open int) {
	s.ports.mu.Lock()
	defer s.ports.mu.Unlock()
	return len(s.ports.idle), s.ports.open
}

// SetMaxPorts is MaxPorts for one server.
func SetMaxPorts(s *Server, n int) { s.ports.size = n }

// CloseMux closes the Mux of a server.
func CloseMux(s *Server) { s.opts.Mux.Close() }
