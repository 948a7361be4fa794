package dnscache

import (
	"hash/maphash"
	"sync"
)

// shard is one part of a cache, with a lock of its own. mu guards every field but the first five,
// which do not change after init.
type shard struct {
	seed     maphash.Seed
	maxSlots int   // of the index
	maxGhost int   // tags of the ghost
	smallMax int   // segments of the small queue above which it pays for new room
	maxStale int64 // milliseconds for which an expired entry is of use

	mu    sync.Mutex
	index index
	ghost ghosts
	store store
	small queue
	main  queue

	hits, misses, evictions uint64

	_ [64]byte // keeps the next shard's lock off this one's cache lines
}

// Shares of a shard's octets.
const (
	indexShare = 8  // one in 8 for the table of entries, when it is full
	ghostShare = 32 // one in 32 for the tags of those given up
	smallShare = 10 // one segment in 10 for newcomers
)

// init sizes an empty shard; the octets include its tables.
func (s *shard) init(seed maphash.Seed, octets, maxStale int64) {
	s.seed, s.maxStale = seed, maxStale
	s.maxSlots = int(octets / indexShare / slotOctets)
	s.maxGhost = int(octets / ghostShare / ghostOctets)
	tables := octets/indexShare + octets/ghostShare
	segments := int((octets - tables) / segmentOctets)
	s.smallMax = max(1, segments/smallShare)
	s.store = newStore(segments)
}

// find returns the entry of key and its slot in the index; nil if there is none.
func (s *shard) find(key []byte, tag uint32) (e entry, slot int) {
	slots := s.index.slots
	if len(slots) == 0 {
		return nil, 0
	}
	for i := home(tag, len(slots)); slots[i] != 0; i = s.index.next(i) {
		if uint32(slots[i]>>32) != tag {
			continue
		}
		if e := s.store.at(uint32(slots[i])); e.matches(key) {
			return e, i
		}
	}
	return nil, 0
}

func (s *shard) get(dst, key []byte, tag uint32, now int64, stale bool) ([]byte, Info, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, _ := s.find(key, tag)
	if e == nil {
		s.count(false, stale)
		return dst, Info{}, false
	}
	age := e.age(now)
	if e.fresh(age) {
		s.count(true, stale)
		e.touch()
		info := e.info(age)
		info.Refresh = e.due(age)
		return e.appendTo(dst, uint32(age/1000)), info, true
	}
	if stale && e.stale(age, s.maxStale) {
		e.touch()
		info := e.info(age)
		info.Stale = true
		return e.appendStale(dst), info, true
	}
	s.count(false, stale)
	return dst, Info{}, false
}

// count counts a look-up, unless it comes after one that was counted. mu is held.
func (s *shard) count(hit, again bool) {
	switch {
	case again:
	case hit:
		s.hits++
	default:
		s.misses++
	}
}

func (s *shard) put(p *plan, key, msg []byte, tag uint32, now int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, uses := &s.small, byte(0)
	if old, slot := s.find(key, tag); old != nil {
		if p.kind&stateFailure != 0 && old.state()&stateFailure == 0 && old.held(now, s.maxStale) {
			return false
		}
		uses = old.uses()
		if old.size() == entrySize(p) {
			old.fill(p, key, msg, now)
			old.setUses(uses)
			return true
		}
		q = s.queueOf(uint32(s.index.slots[slot]))
		s.drop(old, slot)
	} else if s.ghost.take(tag) {
		q = &s.main
	}
	e := s.insert(q, entrySize(p), tag, now)
	e.fill(p, key, msg, now)
	e.setUses(uses)
	return true
}

// insert makes room for an entry of some octets and puts it into queue and index. It must be filled
// before anything else is done.
func (s *shard) insert(q *queue, size int, tag uint32, now int64) entry {
	s.makeRoom(q, size, now)
	e, loc := s.alloc(q, size)
	s.index.add(tag, loc)
	return e
}

// drop forgets the entry at a slot of the index.
func (s *shard) drop(e entry, slot int) {
	e.kill()
	s.index.remove(slot)
}

func (s *shard) delete(key []byte, tag uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, slot := s.find(key, tag)
	if e != nil {
		s.drop(e, slot)
	}
	return e != nil
}

func (s *shard) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index, s.ghost = index{}, nil
	s.store.reset()
	s.small, s.main = nil, nil
}

func (s *shard) addStats(sum *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum.Entries += s.index.count
	sum.Octets += s.store.octets() + int64(len(s.index.slots)*slotOctets+len(s.ghost)*ghostOctets)
	sum.Hits += s.hits
	sum.Misses += s.misses
	sum.Evictions += s.evictions
}
