package upstream

// Failures counts what an exchanger made by Cached remembers of failures.
func Failures(x Exchanger) int {
	c := x.(*Cache)
	c.failures.mu.Lock()
	defer c.failures.mu.Unlock()
	return len(c.failures.outs)
}

// Kept counts the idle sockets of a server.
func Kept(s *Server) int {
	s.kept.mu.Lock()
	defer s.kept.mu.Unlock()
	return len(s.kept.idle)
}
