package upstream

import (
	"context"
	"errors"
)

// ErrNotCached says that [Cache.Recall] has no answer.
var ErrNotCached = errors.New("not in the cache")

// Recall is Exchange without asking: what Exchange would answer at once, fresh, or
// the failure that it would repeat (RFC 9520 section 3.2); else [ErrNotCached], as
// it is. It does not wait.
func (c *Cache) Recall(_ context.Context, q Query) (Reply, error) {
	known, ok := c.known(q, c.now())
	if !ok {
		return Reply{}, ErrNotCached
	}
	return known.reply, known.err
}
