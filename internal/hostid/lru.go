package hostid

import (
	"container/list"
	"iter"
)

// lru is a table of a bounded size: when it is full, what was used the longest time
// ago makes room. It has no lock.
type lru[K comparable, V any] struct {
	capacity int
	places   map[K]*list.Element
	used     list.List // of *lruEntry[K, V], the last used first
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](capacity int) lru[K, V] {
	return lru[K, V]{capacity: capacity, places: make(map[K]*list.Element)}
}

func (l *lru[K, V]) len() int { return len(l.places) }

// take returns the value of k as the last used, if need be a new one, which is what
// first returns.
func (l *lru[K, V]) take(k K, first func() V) *V {
	if v := l.touch(k); v != nil {
		return v
	}
	for len(l.places) >= l.capacity {
		l.drop(l.used.Back().Value.(*lruEntry[K, V]).key)
	}
	e := &lruEntry[K, V]{k, first()}
	l.places[k] = l.used.PushFront(e)
	return &e.value
}

// touch returns the value of k as the last used; nil if there is none.
func (l *lru[K, V]) touch(k K) *V {
	el, ok := l.places[k]
	if !ok {
		return nil
	}
	l.used.MoveToFront(el)
	return &el.Value.(*lruEntry[K, V]).value
}

// peek is touch that is no use.
func (l *lru[K, V]) peek(k K) *V {
	el, ok := l.places[k]
	if !ok {
		return nil
	}
	return &el.Value.(*lruEntry[K, V]).value
}

func (l *lru[K, V]) drop(k K) {
	if el, ok := l.places[k]; ok {
		l.used.Remove(el)
		delete(l.places, k)
	}
}

// dropAll drops those whose key is meant.
func (l *lru[K, V]) dropAll(meant func(K) bool) {
	for k := range l.places {
		if meant(k) {
			l.drop(k)
		}
	}
}

// newest yields all, the last used first, and oldest the other way round. Neither is
// a use.
func (l *lru[K, V]) newest() iter.Seq2[K, *V] {
	return l.walk((*list.List).Front, (*list.Element).Next)
}

func (l *lru[K, V]) oldest() iter.Seq2[K, *V] {
	return l.walk((*list.List).Back, (*list.Element).Prev)
}

func (l *lru[K, V]) walk(begin func(*list.List) *list.Element, next func(*list.Element) *list.Element) iter.Seq2[K, *V] {
	return func(yield func(K, *V) bool) {
		for el := begin(&l.used); el != nil; el = next(el) {
			if e := el.Value.(*lruEntry[K, V]); !yield(e.key, &e.value) {
				return
			}
		}
	}
}
