package resolver

import (
	"context"
	"iter"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Stream yields each family as it comes; the error is the result's Err. A
// family without addresses is held back until another has some, since only
// then it is sure that the search list has nothing more to try. When the name
// itself cannot be looked up, or ctx ends, it yields one zero result with the
// error. Breaking out of the loop cancels the rest.
func (r *Resolver) Stream(ctx context.Context, name string) iter.Seq2[FamilyResult, error] {
	return func(yield func(FamilyResult, error) bool) {
		p, err := r.plan(name)
		if err != nil {
			yield(FamilyResult{}, err)
			return
		}
		if p.ready != nil {
			yieldAll(p.ready, yield)
			return
		}
		var held []FamilyResult
		var room [1]dnswire.Name
		for i, name := range p.names(room[:0]) {
			out := r.start(ctx, p.engine, p.asked, name, p.engine.allowed(r.types()))
			results, end := r.stream(ctx, out, yield)
			if end {
				return
			}
			if i == 0 || telling(results) > telling(held) {
				held = results
			}
			if telling(results) >= tellsEnd {
				break
			}
		}
		yieldAll(held, yield)
	}
}

// stream yields the results of one name from the first that has addresses on.
// It returns those held back, or true when there is nothing more to yield.
func (r *Resolver) stream(ctx context.Context, out *race, yield func(FamilyResult, error) bool) (held []FamilyResult, end bool) {
	found := false
	out.handOver()
	var have arrivals
	var grace <-chan time.Time
	for have.n < len(out.types) {
		select {
		case i := <-out.done:
			have.add(i)
			f := &out.results[i]
			held = append(held, *f)
			if found = found || f.found(); !found {
				if f.denies() {
					t := time.NewTimer(r.resolutionDelay())
					defer t.Stop()
					grace = t.C
				}
				continue
			}
			grace = nil
			if !yieldAll(held, yield) {
				out.drain(&have)
				return nil, true
			}
			held = nil
		case <-grace:
			return out.inOrder(have, ErrPending), false
		case <-ctx.Done():
			out.drain(&have)
			why := context.Cause(ctx)
			yield(FamilyResult{}, &Error{Op: opLookup, Name: out.asked, Kind: kindOf(why), Err: why})
			return nil, true
		}
	}
	return held, found
}

func yieldAll(results []FamilyResult, yield func(FamilyResult, error) bool) bool {
	for _, f := range results {
		if !yield(f, f.Err) {
			return false
		}
	}
	return true
}
