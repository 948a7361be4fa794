package server

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// Bounds and defaults of RateLimit.
const (
	// MaxRate is the greatest RateLimit.PerSecond and Burst.
	MaxRate = 1_000_000
	// DefaultSlip is how many answers of those over the limit make one that is sent: every second.
	DefaultSlip = 2
	// MaxSlip is the greatest RateLimit.Slip.
	MaxSlip = 10

	// buckets is the number of counts that all prefixes share: half a megabyte. Which prefixes share
	// one is not for clients to know.
	buckets = 1 << 16
)

// RateLimit bounds the answers over UDP that go to the addresses of one prefix, /24 and /56, so that
// nobody is flooded with answers to questions that another asked in its name. Who shows a cookie
// (RFC 7873) or asks over TCP has proven its address and is not limited. The zero value is no limit.
type RateLimit struct {
	PerSecond int // 0: none; at most MaxRate
	Burst     int // at once after a pause; 0: PerSecond; at most MaxRate
	// Slip is how many questions over the limit make one that is answered, with TC, so that a real
	// client comes back over TCP; the others are dropped. 0: DefaultSlip; at most MaxSlip; 1 answers all.
	Slip int
}

// limiter keeps for each bucket the time at which it is empty again. A bucket holds Burst answers'
// time, and each answer adds its own: the generic cell rate algorithm (ITU-T I.371). Nothing is
// allocated, nothing is to be evicted, and no lock is taken.
type limiter struct {
	interval, burst int64 // nanoseconds
	slip            uint32
	seed            maphash.Seed
	over            atomic.Uint32 // questions over the limit
	full            [buckets]atomic.Int64
}

// newLimiter returns nil, which limits nothing, for the zero RateLimit.
func newLimiter(r RateLimit) *limiter {
	if r.PerSecond <= 0 {
		return nil
	}
	perSecond := min(r.PerSecond, MaxRate)
	burst := perSecond
	if r.Burst > 0 {
		burst = min(r.Burst, MaxRate)
	}
	slip := DefaultSlip
	if r.Slip > 0 {
		slip = min(r.Slip, MaxSlip)
	}
	interval := int64(time.Second) / int64(perSecond)
	return &limiter{interval: interval, burst: interval * int64(burst), slip: uint32(slip), seed: maphash.MakeSeed()}
}

// verdict is what becomes of a question.
type verdict uint8

const (
	pass verdict = iota
	slip         // answer so that a real client can prove itself
	drop
)

// judge takes one answer's time out of a client's bucket.
func (l *limiter) judge(client netip.Addr, now time.Time) verdict {
	if l == nil {
		return pass
	}
	b := &l.full[maphash.Comparable(l.seed, limitPrefix(client))%buckets]
	at := now.UnixNano()
	for {
		old := b.Load()
		next, ok := cell(old, at, l.interval, l.burst)
		if !ok {
			break
		}
		if b.CompareAndSwap(old, next) {
			return pass
		}
	}
	if l.over.Add(1)%l.slip == 0 {
		return slip
	}
	return drop
}

// cell adds one answer of the given time to a bucket that is empty at the time empty; false if it
// does not fit. A clock that went back far empties the bucket.
func cell(empty, now, interval, burst int64) (next int64, ok bool) {
	if empty < now || empty > now+burst {
		empty = now
	}
	next = empty + interval
	return next, next <= now+burst
}

// limitPrefix is what an address shares its limit with: /24 or /56, with its family.
func limitPrefix(a netip.Addr) uint64 {
	if a = a.Unmap(); a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:]) >> 8)
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:])>>8 | 1<<63
}
