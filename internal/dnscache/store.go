package dnscache

// segment is a piece of memory that entries are laid into one after the other.
type segment struct {
	buf  []byte // nil until first used
	used int
	main bool // it is in the main queue
}

// store is the segments of one shard, taken from the system when first needed. An entry's location
// counts entryUnits over all segments, from 1.
type store struct {
	segments []segment
	arena    *arena   // nil until the first segment is needed, or where there is none to be had
	fresh    int      // segments from this one on have never been used
	released []uint32 // used before, free again
}

const (
	// segmentOctets is a multiple of the page, the heap's too, so that no more is taken than is counted, and
	// holds at least two of the greatest entry. Room is made a segment at a time.
	segmentOctets   = 40 << 10
	unitsPerSegment = segmentOctets / entryUnit

	maxEntry = entryHeader + 2*MaxRecords + MaxMessageLen
)

// It does not compile if two of the greatest entry do not fit into a segment.
const _ = uint(segmentOctets - 2*maxEntry)

func newStore(segments int) store { return store{segments: make([]segment, segments)} }

// available counts the segments that take can give.
func (t *store) available() int { return len(t.segments) - t.fresh + len(t.released) }

// take gives an empty segment; one must be available.
func (t *store) take(main bool) uint32 {
	var id uint32
	if n := len(t.released); n > 0 {
		id = t.released[n-1]
		t.released = t.released[:n-1]
	} else {
		id = uint32(t.fresh)
		t.segments[id].buf = t.memory(t.fresh)
		t.fresh++
	}
	t.segments[id].used = 0
	t.segments[id].main = main
	return id
}

// memory is that of the segment with the given number.
func (t *store) memory(number int) []byte {
	if number == 0 {
		t.arena = newArena(len(t.segments) * segmentOctets)
	}
	if t.arena == nil {
		return make([]byte, segmentOctets)
	}
	return t.arena.octets[number*segmentOctets:][:segmentOctets:segmentOctets]
}

// reset forgets all, and gives the memory back.
func (t *store) reset() {
	t.arena.free()
	*t = newStore(len(t.segments))
}

func (t *store) release(id uint32) { t.released = append(t.released, id) }

func location(id uint32, off int) uint32 { return id*unitsPerSegment + uint32(off/entryUnit) + 1 }

// at returns the entry at a location; its slice goes on to the end of its segment.
func (t *store) at(loc uint32) entry {
	loc--
	off := loc % unitsPerSegment * entryUnit
	return entry(t.segments[loc/unitsPerSegment].buf[off:])
}

// octets returns the memory held.
func (t *store) octets() int64 { return int64(t.fresh) * segmentOctets }

// queue is the segments of one FIFO queue, the oldest first. New entries go into the last.
type queue []uint32

func (q queue) last() (uint32, bool) {
	if len(q) == 0 {
		return 0, false
	}
	return q[len(q)-1], true
}

// pop takes the oldest; the queue must not be empty.
func (q *queue) pop() uint32 {
	id := (*q)[0]
	*q = append((*q)[:0], (*q)[1:]...)
	return id
}
