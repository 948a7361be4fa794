package dnscache

// Eviction is S3-FIFO (Yang et al., SOSP 2023) on segments. Newcomers go to the small queue. An entry
// that leaves it unused is gone but for its tag, so that a scan passes through a tenth of the memory;
// one that was used goes to the main queue, as does a newcomer whose tag is remembered. What leaves
// the main queue used goes round again, with one use less.

const (
	// reserve is the number of segments that are kept free for entries that move.
	reserve = 1
	// maxMoves bounds the segments whose used entries are spared when room is made once; entries of
	// further ones are given up. It bounds the time for which the shard is locked.
	maxMoves = 4
	// smallUses is how many hits an entry of the small queue needs to move on.
	smallUses = 1
)

func (s *shard) queueOf(loc uint32) *queue {
	if s.store.segments[(loc-1)/unitsPerSegment].main {
		return &s.main
	}
	return &s.small
}

// makeRoom evicts until q can take size more octets and the index one more entry.
func (s *shard) makeRoom(q *queue, size int, now int64) {
	moves := 0
	for s.index.full() && !s.index.grow(s.maxSlots) {
		s.evict(now, moves < maxMoves)
		moves++
	}
	for !s.fits(*q, size) && s.store.available() <= reserve {
		s.evict(now, moves < maxMoves)
		moves++
	}
}

// fits reports whether the last segment of q has room.
func (s *shard) fits(q queue, size int) bool {
	id, ok := q.last()
	return ok && s.store.segments[id].used+size <= segmentOctets
}

// alloc lays out an entry in q, in a new segment if it must; one is available then.
func (s *shard) alloc(q *queue, size int) (entry, uint32) {
	if !s.fits(*q, size) {
		*q = append(*q, s.store.take(q == &s.main))
	}
	id, _ := q.last()
	seg := &s.store.segments[id]
	off := seg.used
	seg.used += size
	return entry(seg.buf[off:]), location(id, off)
}

// evict frees the oldest segment of a queue. Its used entries move to the main queue if spare is
// set; they take no more room than they leave.
func (s *shard) evict(now int64, spare bool) {
	q := &s.main
	if len(s.small) > s.smallMax || len(s.main) == 0 {
		q = &s.small
	}
	id := q.pop()
	seg := s.store.segments[id]
	for off := 0; off < seg.used; {
		e := entry(seg.buf[off:])
		size := e.size()
		if !e.dead() {
			s.leave(e[:size], location(id, off), seg.main, now, spare)
		}
		off += size
	}
	s.store.release(id)
}

// leave moves an entry out of the segment that is being freed, or gives it up.
func (s *shard) leave(e entry, loc uint32, main bool, now int64, spare bool) {
	tag := uint32(hashKey(s.seed, e.question(), e.keyFlags()))
	slot := s.index.slot(tag, loc)
	held := e.held(now, s.maxStale)
	uses := e.uses()
	switch {
	case held && spare && main && uses > 0:
		s.move(e, slot, tag, uses-1)
	case held && spare && !main && uses >= smallUses:
		s.move(e, slot, tag, 0)
	default:
		s.index.remove(slot)
		s.forget(tag, main, e.fresh(e.age(now)))
	}
}

// move copies an entry to the main queue.
func (s *shard) move(e entry, slot int, tag uint32, uses byte) {
	to, loc := s.alloc(&s.main, len(e))
	copy(to, e)
	to.setUses(uses)
	s.index.slots[slot] = uint64(tag)<<32 | uint64(loc)
}

// forget counts an entry that was given up and, if it was a newcomer, remembers its tag.
func (s *shard) forget(tag uint32, main, alive bool) {
	if alive {
		s.evictions++
	}
	if main || !alive {
		return
	}
	if s.ghost == nil {
		s.ghost = make(ghosts, s.maxGhost)
	}
	s.ghost.add(tag)
}
