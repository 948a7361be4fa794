package dnscache

// index maps the tag of a key, 32 bits of its hash, to the location of its entry, by open
// addressing with linear probing. A slot is tag<<32 | location; locations are never 0. It holds no
// pointers.
type index struct {
	slots []uint64
	count int
}

const (
	minSlots    = 64
	slotOctets  = 8
	ghostOctets = 4
	// maxLoad is the numerator of the greatest share of full slots, in eighths.
	maxLoad = 7
)

func home(tag uint32, n int) int { return int(uint64(tag) * uint64(n) >> 32) }

// full reports whether one more entry needs a greater table.
func (x *index) full() bool { return (x.count+1)*8 > len(x.slots)*maxLoad }

// grow makes the table twice as large, at most limit slots; false if it has them.
func (x *index) grow(limit int) bool {
	n := min(max(minSlots, 2*len(x.slots)), limit)
	if n <= len(x.slots) {
		return false
	}
	old := x.slots
	x.slots = make([]uint64, n)
	for _, s := range old {
		if s != 0 {
			x.place(s)
		}
	}
	return true
}

// add adds an entry; the table must not be full.
func (x *index) add(tag, loc uint32) {
	x.place(uint64(tag)<<32 | uint64(loc))
	x.count++
}

func (x *index) place(s uint64) {
	i := home(uint32(s>>32), len(x.slots))
	for x.slots[i] != 0 {
		i = x.next(i)
	}
	x.slots[i] = s
}

func (x *index) next(i int) int {
	if i++; i == len(x.slots) {
		return 0
	}
	return i
}

// slot returns the slot of the entry at loc, which must be there.
func (x *index) slot(tag, loc uint32) int {
	want := uint64(tag)<<32 | uint64(loc)
	i := home(tag, len(x.slots))
	for x.slots[i] != want {
		i = x.next(i)
	}
	return i
}

// remove empties slot i and moves later ones of the run into the gap where their home allows it.
func (x *index) remove(i int) {
	x.count--
	n := len(x.slots)
	for j := x.next(i); x.slots[j] != 0; j = x.next(j) {
		h := home(uint32(x.slots[j]>>32), n)
		if (j-h+n)%n >= (j-i+n)%n {
			x.slots[i] = x.slots[j]
			i = j
		}
	}
	x.slots[i] = 0
}

// ghosts remembers the tags of entries that were given up unused, so that a second coming is not
// taken for another passer-by. A newer tag takes the place of the one that shares its slot.
type ghosts []uint32

func (g ghosts) add(tag uint32) {
	if len(g) > 0 {
		g[home(tag, len(g))] = tag
	}
}

// take reports whether tag was remembered, and forgets it.
func (g ghosts) take(tag uint32) bool {
	if len(g) == 0 {
		return false
	}
	slot := &g[home(tag, len(g))]
	found := *slot == tag
	if found {
		*slot = 0
	}
	return found
}
