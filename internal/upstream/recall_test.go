package upstream_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// TestRecall: without asking there is what Exchange has brought, a failure too, as
// long as it is fresh, and never what is stale.
func TestRecall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		x := upstream.Cached(dnscache.New(dnscache.Config{MaxStale: time.Hour}), time.Now, o)
		defer x.Close()
		q, other := question(t, "www.example", dnswire.TypeA), question(t, "dead.example", dnswire.TypeA)
		absent := func(when string, q upstream.Query) {
			t.Helper()
			if _, err := x.Recall(t.Context(), q); !errors.Is(err, upstream.ErrNotCached) {
				t.Errorf("%s: %v, want ErrNotCached", when, err)
			}
		}
		absent("before", q)
		if _, err := x.Exchange(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if r, err := x.Recall(t.Context(), q); err != nil || r.Proto != "cache" || answers(t, r) != 1 {
			t.Errorf("fresh: %+v, %v", r, err)
		}
		o.fail()
		_, want := x.Exchange(t.Context(), other)
		if _, err := x.Recall(t.Context(), other); err == nil || !errors.Is(err, want) {
			t.Errorf("failed: %v, want %v", err, want)
		}
		if n := o.calls.Load(); n != 2 {
			t.Errorf("asked %d times, want 2", n)
		}
		time.Sleep(2 * time.Minute)
		absent("stale", q)
	})
}
