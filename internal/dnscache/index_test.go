package dnscache

import (
	"testing"

	"pgregory.net/rapid"
)

// TestIndex runs random additions and removals of tags that crowd the end of the table, so that runs
// are long and go round, beside a map.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var x index
		model := map[uint32]uint32{} // location to tag
		next := uint32(1)
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				if x.full() && !x.grow(128) {
					return
				}
				tag := rapid.Uint32Range(0xf0000000, 0xffffffff).Draw(rt, "tag")
				x.add(tag, next)
				model[next] = tag
				next++
			},
			"remove": func(rt *rapid.T) {
				if len(model) == 0 {
					return
				}
				loc := rapid.SampledFrom(keys(model, next)).Draw(rt, "location")
				x.remove(x.slot(model[loc], loc))
				delete(model, loc)
			},
			"": func(rt *rapid.T) { checkIndex(rt, &x, model) },
		})
	})
}

// keys returns the locations of the model in order, so that the draw can be repeated.
func keys(model map[uint32]uint32, end uint32) (locs []uint32) {
	for loc := range end {
		if _, ok := model[loc]; ok {
			locs = append(locs, loc)
		}
	}
	return locs
}

// checkIndex checks that a search from its home reaches each entry, and that nothing else is there.
func checkIndex(rt *rapid.T, x *index, model map[uint32]uint32) {
	full := 0
	for _, s := range x.slots {
		if s != 0 {
			full++
		}
	}
	if full != len(model) || x.count != len(model) || full*8 > len(x.slots)*maxLoad {
		rt.Fatalf("%d full slots of %d, count %d; want %d", full, len(x.slots), x.count, len(model))
	}
	for loc, tag := range model {
		i := home(tag, len(x.slots))
		for x.slots[i] != uint64(tag)<<32|uint64(loc) {
			if x.slots[i] == 0 {
				rt.Fatalf("the run of tag %x ends before location %d", tag, loc)
			}
			i = x.next(i)
		}
	}
}

func TestGhosts(t *testing.T) {
	var none ghosts
	none.add(7)
	if none.take(7) {
		t.Error("found in no table")
	}
	g := make(ghosts, 4)
	g.add(7)
	g.add(1 << 31)
	if !g.take(7) || g.take(7) || !g.take(1<<31) {
		t.Error("not found, or found twice")
	}
	g.add(7)
	g.add(8)
	if g.take(7) || !g.take(8) {
		t.Error("the newer tag did not take the slot")
	}
}
