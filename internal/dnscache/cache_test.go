package dnscache

import (
	"bytes"
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

// addA returns msg with address records for the question.
func addA(msg []byte, ttls ...uint32) []byte {
	msg = bytes.Clone(msg)
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

func TestGetAppends(t *testing.T) {
	c := New(Config{})
	key, msg := sample(t, 1)
	c.Put(key, msg, start)
	dnswire.PatchID(msg, 0)
	got, _, ok := c.Get([]byte("len"), key, start)
	if !ok || string(got) != "len"+string(msg) {
		t.Errorf("Get = %q, %v", got, ok)
	}
	other, _ := sample(t, 2)
	if got, info, ok := c.Get([]byte("len"), other, start); ok || string(got) != "len" || info != (Info{}) {
		t.Errorf("miss = %q, %+v, %v", got, info, ok)
	}
	if st := c.Stats(); st.Hits != 1 || st.Misses != 1 || st.Entries != 1 {
		t.Errorf("%+v", st)
	}
}

// answer is what a server does for a hit: from the client's packet to the reply.
func answer(c *Cache, buf, keybuf, packet []byte, now time.Time) []byte {
	q, err := dnswire.ParseQuery(packet)
	if err != nil {
		return nil
	}
	msg, _, ok := c.Get(buf, q.AppendKey(keybuf), now)
	if !ok {
		return nil
	}
	dnswire.PatchID(msg, q.Header.ID)
	dnswire.PatchQuestion(msg, q.Name)
	const clients = dnswire.FlagRD | dnswire.FlagCD
	dnswire.PatchFlags(msg, clients|dnswire.FlagAA, dnswire.FlagRA|q.Header.Flags&clients)
	if q.EDNS.Present {
		msg = dnswire.AddOPT(msg, dnswire.OPT{UDPSize: 1232, DO: q.EDNS.DO})
	}
	return dnswire.Truncate(msg, q.UDPLimit(1232))
}

func TestAnswerFromPacket(t *testing.T) {
	c := New(Config{})
	q := question(t, "www.example.com", dnswire.TypeA)
	c.Put(q.AppendKey(nil, false, false), addA(reply(t, q, 0), 300, 300), start)
	packet := dnswire.AppendQuery(nil, 0xabcd, q, dnswire.QueryOptions{UDPSize: 4096})
	copy(packet[dnswire.HeaderLen:], "\x03wWw\x07ExAmPlE")
	buf, keybuf := make([]byte, 0, 1232), make([]byte, 0, dnswire.MaxKeyLen)
	msg := answer(c, buf, keybuf, packet, start.Add(10*time.Second))
	if err := dnswire.CheckReply(q, 0xabcd, msg); err != nil || dnswire.Validate(msg) != nil {
		t.Fatalf("%v: %x", err, msg)
	}
	if string(dnswire.ReplyName(msg)) != "\x03wWw\x07ExAmPlE\x03com\x00" || msg[2]&1 != 0 {
		t.Errorf("case or RD of the client: %x", msg)
	}
	if n := testing.AllocsPerRun(100, func() { answer(c, buf, keybuf, packet, start) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNoAllocations(t *testing.T) {
	c := New(Config{MaxStale: time.Hour})
	key, msg := sample(t, 1)
	other, _ := sample(t, 2)
	c.Put(key, msg, start)
	absent := question(t, "no.example.com", dnswire.TypeA)
	c.Put(absent.AppendKey(nil, false, false), addSOA(reply(t, absent, dnswire.RCodeNameError), authority, 60, 60), start)
	below := question(t, "a.no.example.com", dnswire.TypeAAAA).AppendKey(nil, false, false)
	if _, _, ok := c.GetCut(nil, below, start); !ok {
		t.Fatal("no cut")
	}
	buf := make([]byte, 0, 512)
	for what, f := range map[string]func(){
		"hit":         func() { c.Get(buf, key, start.Add(time.Minute)) },
		"miss":        func() { c.Get(buf, other, start) },
		"stale":       func() { c.GetStale(buf, key, start.Add(time.Hour)) },
		"cut":         func() { c.GetCut(buf, below, start) },
		"no cut":      func() { c.GetCut(buf, other, start) },
		"expired":     func() { c.Get(buf, key, start.Add(time.Hour)) },
		"replacement": func() { c.Put(key, msg, start) },
		"refusal":     func() { c.Put(other, msg, start) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}
