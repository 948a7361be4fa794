package dnscache

import (
	"fmt"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func question(t testing.TB, name string, typ dnswire.Type) dnswire.Question {
	t.Helper()
	n, err := dnswire.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	return dnswire.Question{Name: n, Type: typ, Class: dnswire.ClassINET}
}

// reply starts a reply to q.
func reply(t testing.TB, q dnswire.Question, rcode dnswire.RCode) []byte {
	t.Helper()
	query, err := dnswire.ParseQuery(dnswire.AppendQuery(nil, 77, q, dnswire.QueryOptions{RD: true}))
	if err != nil {
		t.Fatal(err)
	}
	return dnswire.AppendReply(nil, &query, dnswire.FlagRA, rcode)
}

// addA adds address records for the question.
func addA(msg []byte, ttls ...uint32) []byte {
	for i, ttl := range ttls {
		msg = dnswire.AddRR(msg, dnswire.SectionAnswer, nil, dnswire.TypeA, dnswire.ClassINET, ttl, []byte{192, 0, 2, byte(i)})
	}
	return msg
}

func TestPutGet(t *testing.T) {
	c := New(Config{})
	q := question(t, "www.example.com", dnswire.TypeA)
	key := q.AppendKey(nil, false, false)
	if !c.Put(key, addA(reply(t, q, dnswire.RCodeSuccess), 300, 60), start) {
		t.Fatal("Put refused")
	}
	msg, info, ok := c.Get(nil, key, start.Add(10*time.Second))
	if !ok || info.Age != 10*time.Second || !info.Expires.Equal(start.Add(time.Minute)) {
		t.Fatalf("Get = %v, %+v", ok, info)
	}
	if ttl, _ := dnswire.MinTTL(msg); ttl != 50 || msg[0]|msg[1] != 0 {
		t.Fatalf("ttl %d, id %x", ttl, msg[:2])
	}
	if _, _, ok := c.Get(nil, key, start.Add(time.Minute)); ok {
		t.Fatal("hit at expiry")
	}
	if !c.Delete(key) || c.Delete(key) || c.Stats().Entries != 0 {
		t.Fatal("Delete")
	}
}

func TestFillBeyondSize(t *testing.T) {
	c := New(Config{MaxOctets: 2 << 20})
	for i := range 200_000 {
		q := question(t, fmt.Sprintf("host%d.example.com", i), dnswire.TypeA)
		if !c.Put(q.AppendKey(nil, false, false), addA(reply(t, q, 0), 300, 60), start) {
			t.Fatal("Put refused")
		}
	}
	st := c.Stats()
	if st.Octets > 2<<20 || st.Entries < 10_000 || st.Evictions+uint64(st.Entries) != 200_000 {
		t.Fatalf("%+v", st)
	}
	t.Logf("%+v %d octets each", st, st.Octets/int64(st.Entries))
}

func BenchmarkGet(b *testing.B) {
	c := New(Config{})
	q := question(b, "www.example.com", dnswire.TypeA)
	key := q.AppendKey(nil, false, false)
	c.Put(key, addA(reply(b, q, 0), 300, 300), start)
	buf := make([]byte, 0, 1232)
	now := start.Add(5 * time.Second)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := c.Get(buf, key, now); !ok {
			b.Fatal("miss")
		}
	}
}

func BenchmarkPut(b *testing.B) {
	c := New(Config{})
	q := question(b, "www.example.com", dnswire.TypeA)
	key := q.AppendKey(nil, false, false)
	msg := addA(reply(b, q, 0), 300, 300)
	b.ReportAllocs()
	for b.Loop() {
		c.Put(key, msg, start)
	}
}
