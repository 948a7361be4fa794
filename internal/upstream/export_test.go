package upstream

// Failures counts what an exchanger made by Cached remembers of failures.
func Failures(x Exchanger) int {
	c := x.(*Cache)
	c.failures.mu.Lock()
	defer c.failures.mu.Unlock()
	return len(c.failures.outs)
}
