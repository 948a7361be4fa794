package zone

import (
	"iter"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// ancestors yields n, its parent and so on up to the root.
func ancestors(n dnswire.Name) iter.Seq[dnswire.Name] {
	return func(yield func(dnswire.Name) bool) {
		for n != "" && yield(n) {
			n = n.Parent()
		}
	}
}

// wildcard is the name *.n (RFC 4592 section 2.1.1).
func wildcard(n dnswire.Name) dnswire.Name { return "\x01*" + n }
