package dnscache

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// soa is the rdata of a SOA record with the given minimum.
func soa(minimum uint32) []byte {
	rdata := append([]byte("\x02ns\xc0\x0c\x00"), bytes.Repeat([]byte{0, 0, 0, 9}, 4)...)
	return binary.BigEndian.AppendUint32(rdata, minimum)
}

func addSOA(msg []byte, s dnswire.Section, ttl, minimum uint32) []byte {
	return dnswire.AddRR(bytes.Clone(msg), s, nil, dnswire.TypeSOA, dnswire.ClassINET, ttl, soa(minimum))
}

func addCNAME(msg []byte, ttl uint32) []byte {
	return dnswire.AddRR(bytes.Clone(msg), dnswire.SectionAnswer, nil, dnswire.TypeCNAME, dnswire.ClassINET, ttl, []byte("\x01w\xc0\x0c"))
}

func add(msg []byte, s dnswire.Section, t dnswire.Type, ttl uint32, rdata string) []byte {
	return dnswire.AddRR(bytes.Clone(msg), s, nil, t, dnswire.ClassINET, ttl, []byte(rdata))
}

const (
	authority  = dnswire.SectionAuthority
	additional = dnswire.SectionAdditional
	never      = time.Duration(0)
)

// TestPutRules gives each kind of reply and how long it lives with the settings of the test.
func TestPutRules(t *testing.T) {
	config := Config{MaxTTL: 1000 * time.Second, MaxNegativeTTL: 500 * time.Second, FailureTTL: 7 * time.Second}
	q := question(t, "www.example.com", dnswire.TypeA)
	ok := reply(t, q, dnswire.RCodeSuccess)
	nx := reply(t, q, dnswire.RCodeNameError)
	for what, tt := range map[string]struct {
		msg  []byte
		life time.Duration
		info Info
	}{
		"answer, least of the TTLs":      {addA(ok, 300, 60), time.Minute, Info{}},
		"answer over the cap":            {addA(ok, 100_000), 1000 * time.Second, Info{}},
		"answer of greatest TTL":         {addA(ok, math.MaxInt32), 1000 * time.Second, Info{}},
		"answer, TTL with the top bit":   {addA(ok, 1<<31), never, Info{}},
		"answer, TTL 0":                  {addA(ok, 300, 0), never, Info{}},
		"answer through CNAME":           {addA(addCNAME(ok, 20), 60), 20 * time.Second, Info{}},
		"authority with a lesser TTL":    {add(addA(ok, 300), authority, dnswire.TypeNS, 10, "\xc0\x0c"), 10 * time.Second, Info{}},
		"additional with TTL 0":          {add(addA(ok, 300), additional, dnswire.TypeA, 0, "1234"), 300 * time.Second, Info{}},
		"NXDOMAIN by SOA minimum":        {addSOA(nx, authority, 300, 30), 30 * time.Second, Info{Negative: true, RCode: 3}},
		"NXDOMAIN by SOA TTL":            {addSOA(nx, authority, 30, 300), 30 * time.Second, Info{Negative: true, RCode: 3}},
		"NXDOMAIN over the cap":          {addSOA(nx, authority, 5000, 5000), 500 * time.Second, Info{Negative: true, RCode: 3}},
		"NXDOMAIN, minimum 0":            {addSOA(nx, authority, 300, 0), never, Info{}},
		"NXDOMAIN, minimum with top bit": {addSOA(nx, authority, 300, 1<<31), never, Info{}},
		"NXDOMAIN without SOA":           {nx, never, Info{}},
		"NXDOMAIN, SOA in additional":    {addSOA(nx, additional, 300, 30), never, Info{}},
		"NXDOMAIN, SOA in answer":        {addSOA(nx, dnswire.SectionAnswer, 300, 30), never, Info{}},
		"NXDOMAIN behind CNAME":          {addSOA(addCNAME(nx, 20), authority, 300, 300), 20 * time.Second, Info{Negative: true, RCode: 3}},
		"NODATA":                         {addSOA(ok, authority, 300, 30), 30 * time.Second, Info{Negative: true}},
		"NODATA behind CNAME":            {addSOA(addCNAME(ok, 200), authority, 300, 30), 30 * time.Second, Info{Negative: true}},
		"NODATA without SOA":             {ok, never, Info{}},
		"referral":                       {add(ok, authority, dnswire.TypeNS, 300, "\xc0\x0c"), never, Info{}},
		"CNAME that leads nowhere":       {addCNAME(ok, 300), never, Info{}},
		"SERVFAIL":                       {reply(t, q, dnswire.RCodeServerFailure), 7 * time.Second, Info{Failure: true, RCode: 2}},
		"REFUSED":                        {reply(t, q, dnswire.RCodeRefused), 7 * time.Second, Info{Failure: true, RCode: 5}},
		"BADVERS":                        {dnswire.AddOPT(bytes.Clone(ok), dnswire.OPT{RCode: dnswire.RCodeBadVersion}), never, Info{}},
		"truncated":                      {flag(addA(ok, 300), 0, dnswire.FlagTC), never, Info{}},
		"a query":                        {flag(addA(ok, 300), dnswire.FlagQR, 0), never, Info{}},
		"other opcode":                   {flag(addA(ok, 300), 0, 4<<11), never, Info{}},
		"A of three octets":              {add(ok, dnswire.SectionAnswer, dnswire.TypeA, 300, "123"), never, Info{}},
		"octets behind":                  {append(addA(ok, 300), 0), never, Info{}},
		"cut":                            {addA(ok, 300)[:40], never, Info{}},
		"nothing":                        {nil, never, Info{}},
		"no question":                    {append(append([]byte{}, ok[:4]...), make([]byte, 8)...), never, Info{}},
		"meta record in the answer":      {add(addA(ok, 300), dnswire.SectionAnswer, dnswire.TypeTSIG, 300, ""), never, Info{}},
		"513 records":                    {addTTL(ok, MaxRecords+1, 300), never, Info{}},
		"512 records":                    {addTTL(ok, MaxRecords, 300), 300 * time.Second, Info{}},
		"16 KiB":                         {fillTo(ok, MaxMessageLen), 300 * time.Second, Info{}},
		"16 KiB and one":                 {fillTo(ok, MaxMessageLen+1), never, Info{}},
	} {
		checkLife(t, what, New(config), q, bytes.Clone(tt.msg), tt.life, tt.info)
	}
}

// checkLife puts msg and checks when it is there, and what is said of it.
func checkLife(t *testing.T, what string, c *Cache, q dnswire.Question, msg []byte, life time.Duration, want Info) {
	t.Helper()
	key := q.AppendKey(nil, false, false)
	if kept := c.Put(key, msg, start); kept != (life != never) {
		t.Errorf("%s: kept %v", what, kept)
	}
	if life == never {
		return
	}
	got, info, ok := c.Get(nil, key, start.Add(life-time.Millisecond))
	want.Stored, want.Expires, want.Age, want.Hits = info.Stored, info.Expires, life-time.Millisecond, 1
	if !ok || info != want || !info.Stored.Equal(start) || !info.Expires.Equal(start.Add(life)) {
		t.Errorf("%s: %v, %+v; want %+v", what, ok, info, want)
	}
	if err := dnswire.Validate(got); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if _, _, ok := c.Get(nil, key, start.Add(life)); ok {
		t.Errorf("%s: lives longer than %v", what, life)
	}
}

func flag(msg []byte, off, on uint16) []byte {
	msg = bytes.Clone(msg)
	dnswire.PatchFlags(msg, off, on)
	return msg
}

// fillTo adds an A record and one of unknown type that makes msg n octets long.
func fillTo(msg []byte, n int) []byte {
	msg = addA(msg, 300)
	return add(msg, dnswire.SectionAnswer, dnswire.TypeMultipath, 300, string(make([]byte, n-len(msg)-12)))
}

func TestConfigBounds(t *testing.T) {
	got := Config{}.complete()
	if want := (Config{DefaultMaxOctets, 0, DefaultMaxTTL, DefaultMaxNegativeTTL, DefaultFailureTTL, 0, false}); got != want {
		t.Errorf("defaults %+v", got)
	}
	got = Config{1, time.Hour, 1, time.Hour, 1, 1, false}.complete()
	if want := (Config{MinOctets, time.Second, time.Second, time.Second, MinFailureTTL, 1, false}); got != want {
		t.Errorf("least %+v", got)
	}
	const ever = math.MaxInt64
	got = Config{ever, ever, ever, ever, ever, ever, false}.complete()
	if want := (Config{MaxOctets, LimitMaxTTL, LimitMaxTTL, LimitMaxTTL, LimitFailureTTL, LimitMaxStale, false}); got != want {
		t.Errorf("greatest %+v", got)
	}
	got = Config{-1, -1, -1, -1, -1, -1, false}.complete()
	if want := (Config{MinOctets, 0, time.Second, time.Second, MinFailureTTL, 0, false}); got != want {
		t.Errorf("negative %+v", got)
	}
}

func TestMinTTL(t *testing.T) {
	config := Config{MinTTL: 30 * time.Second}
	q := question(t, "www.example.com", dnswire.TypeA)
	checkLife(t, "answer", New(config), q, addA(reply(t, q, 0), 0), 30*time.Second, Info{})
	nx := addSOA(reply(t, q, dnswire.RCodeNameError), authority, 10, 10)
	checkLife(t, "absence", New(config), q, nx, 30*time.Second, Info{Negative: true, RCode: 3})
	c := New(config)
	key := q.AppendKey(nil, false, false)
	c.Put(key, addA(reply(t, q, 0), 0, 600), start)
	msg, _, _ := c.Get(nil, key, start.Add(10*time.Second))
	if ttl, _ := dnswire.MinTTL(msg); ttl != 20 {
		t.Errorf("ttl %d after 10 s of 30", ttl)
	}
}

func TestTTLsAreBoundedInside(t *testing.T) {
	c := New(Config{MaxTTL: 100 * time.Second})
	q := question(t, "www.example.com", dnswire.TypeA)
	key := q.AppendKey(nil, false, false)
	msg := add(addA(reply(t, q, 0), 900, 50), additional, dnswire.TypeA, 1<<31, "1234")
	c.Put(key, msg, start)
	got, _, _ := c.Get(nil, key, start.Add(1999*time.Millisecond))
	want := add(addA(reply(t, q, 0), 99, 49), additional, dnswire.TypeA, 0, "1234")
	dnswire.PatchID(want, 0)
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

func TestNegativeTTLInside(t *testing.T) {
	c := New(Config{})
	q := question(t, "www.example.com", dnswire.TypeA)
	key := q.AppendKey(nil, false, false)
	c.Put(key, addSOA(reply(t, q, dnswire.RCodeNameError), authority, 900, 60), start)
	got, _, _ := c.Get(nil, key, start.Add(10*time.Second))
	if ttl, _ := dnswire.MinTTL(got); ttl != 50 {
		t.Errorf("SOA has TTL %d; want the 50 s that are left (RFC 2308 section 5)", ttl)
	}
}

func TestOPTIsCutOff(t *testing.T) {
	q := question(t, "www.example.com", dnswire.TypeA)
	key := q.AppendKey(nil, false, false)
	glue := func(m []byte) []byte { return add(m, additional, dnswire.TypeA, 30, "1234") }
	opt := func(m []byte) []byte { return dnswire.AddOPT(m, dnswire.OPT{UDPSize: 1232, Options: make([]byte, 4)}) }
	tsig := func(m []byte) []byte { return add(m, additional, dnswire.TypeTSIG, 0, "") }
	for what, tt := range map[string]struct{ in, want []byte }{
		"last":           {opt(glue(addA(reply(t, q, 0), 60))), glue(addA(reply(t, q, 0), 60))},
		"first of three": {glue(glue(opt(addA(reply(t, q, 0), 60)))), addA(reply(t, q, 0), 60)},
		"in the middle":  {glue(opt(glue(addA(reply(t, q, 0), 60)))), glue(addA(reply(t, q, 0), 60))},
		"with TSIG":      {tsig(opt(addA(reply(t, q, 0), 60))), addA(reply(t, q, 0), 60)},
		"TSIG alone":     {tsig(addA(reply(t, q, 0), 60)), addA(reply(t, q, 0), 60)},
		"none":           {glue(addA(reply(t, q, 0), 60)), glue(addA(reply(t, q, 0), 60))},
	} {
		c := New(Config{})
		if !c.Put(key, tt.in, start) {
			t.Errorf("%s: not kept", what)
		}
		dnswire.PatchID(tt.want, 0)
		if got, _, _ := c.Get(nil, key, start); !bytes.Equal(got, tt.want) {
			t.Errorf("%s:\n%x\nwant\n%x", what, got, tt.want)
		}
	}
}

func TestKeyMustBeTheQuestion(t *testing.T) {
	q := question(t, "www.example.com", dnswire.TypeA)
	msg := addA(reply(t, q, 0), 60)
	for what, other := range map[string]dnswire.Question{
		"name":   question(t, "wwx.example.com", dnswire.TypeA),
		"parent": question(t, "example.com", dnswire.TypeA),
		"type":   question(t, "www.example.com", dnswire.TypeAAAA),
		"class":  {Name: q.Name, Type: q.Type, Class: dnswire.ClassCHAOS},
	} {
		if New(Config{}).Put(other.AppendKey(nil, false, false), msg, start) {
			t.Errorf("kept under another %s", what)
		}
	}
	c := New(Config{})
	for _, key := range [][]byte{nil, {0}, make([]byte, 5)} {
		if _, _, ok := c.Get(nil, key, start); ok || c.Put(key, msg, start) || c.Delete(key) {
			t.Errorf("key %x", key)
		}
	}
}

// TestFlagsAreApart checks that what was fetched with CD or DO is not given to those without.
func TestFlagsAreApart(t *testing.T) {
	c := New(Config{})
	q := question(t, "www.example.com", dnswire.TypeHTTPS)
	flags := [][2]bool{{false, false}, {false, true}, {true, false}, {true, true}}
	for i, f := range flags {
		key := q.AppendKey(nil, f[0], f[1])
		if _, _, ok := c.Get(nil, key, start); ok {
			t.Errorf("flags %v: there before they were put", f)
		}
		c.Put(key, add(reply(t, q, 0), dnswire.SectionAnswer, dnswire.TypeHTTPS, uint32(100+i), "\x00\x01\x00"), start)
	}
	for i, f := range flags {
		msg, _, _ := c.Get(nil, q.AppendKey(nil, f[0], f[1]), start)
		if ttl, _ := dnswire.MinTTL(msg); ttl != uint32(100+i) {
			t.Errorf("flags %v: the reply with TTL %d", f, ttl)
		}
	}
}

func TestCaseOfTheQuestion(t *testing.T) {
	c := New(Config{})
	q := question(t, "www.example.com", dnswire.TypeHTTPS)
	msg := add(reply(t, q, 0), dnswire.SectionAnswer, dnswire.TypeHTTPS, 60, "\x00\x01\x00")
	want := bytes.Clone(msg)
	copy(msg[dnswire.HeaderLen:], "\x03WwW\x07EXAMPLE")
	if !c.Put(q.AppendKey(nil, false, false), msg, start) {
		t.Fatal("not kept")
	}
	dnswire.PatchID(want, 0)
	if got, _, ok := c.Get(nil, q.AppendKey(nil, false, false), start); !ok || !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

func TestFailureNeverReplacesAnAnswer(t *testing.T) {
	c := New(Config{})
	q := question(t, "www.example.com", dnswire.TypeA)
	key := q.AppendKey(nil, false, false)
	failure := reply(t, q, dnswire.RCodeServerFailure)
	c.Put(key, addA(reply(t, q, 0), 60), start)
	if c.Put(key, failure, start.Add(59*time.Second)) {
		t.Error("it did before the answer expired")
	}
	if !c.Put(key, failure, start.Add(60*time.Second)) || !c.Put(key, failure, start.Add(61*time.Second)) {
		t.Error("it did not after the answer expired")
	}
	if !c.Put(key, addA(reply(t, q, 0), 60), start.Add(62*time.Second)) || c.Stats().Entries != 1 {
		t.Error("the answer did not replace the failure")
	}
}

func TestClockSetBack(t *testing.T) {
	c := New(Config{})
	q := question(t, "www.example.com", dnswire.TypeA)
	key := q.AppendKey(nil, false, false)
	c.Put(key, addA(reply(t, q, 0), 60), start)
	if _, info, ok := c.Get(nil, key, start.Add(-time.Second)); !ok || info.Age != 0 {
		t.Errorf("one second: %v, %+v", ok, info)
	}
	if _, _, ok := c.Get(nil, key, start.Add(-time.Hour)); ok {
		t.Error("one hour: the age of the entry is not known, but it is given")
	}
	if !c.Put(key, reply(t, q, dnswire.RCodeServerFailure), start.Add(-time.Hour)) {
		t.Error("an entry from the future keeps its place")
	}
	if _, _, ok := c.Get(nil, key, time.Time{}); ok {
		t.Error("hit at the zero time")
	}
}

// FuzzPut checks that whatever is kept comes back as a valid message with the question of its key,
// without OPT, its TTLs in bounds, for as long as is said and no longer.
func FuzzPut(f *testing.F) {
	q := question(f, "www.example.com", dnswire.TypeA)
	seeds := [][]byte{
		addA(reply(f, q, 0), 60, 3000), addA(addCNAME(reply(f, q, 0), 20), 60),
		addSOA(reply(f, q, dnswire.RCodeNameError), authority, 300, 30), reply(f, q, dnswire.RCodeServerFailure),
		dnswire.AddOPT(add(addA(reply(f, q, 0), 60), additional, dnswire.TypeA, 30, "1234"), dnswire.OPT{UDPSize: 1232}),
		add(dnswire.AddOPT(addA(reply(f, q, 0), 60), dnswire.OPT{UDPSize: 1232}), additional, dnswire.TypeA, 30, "1234"),
	}
	for _, s := range seeds {
		if !New(Config{}).Put(q.AppendKey(nil, false, false), s, start) {
			f.Fatalf("seed %x is not kept", s)
		}
		f.Add(s, uint32(1000))
	}
	f.Fuzz(func(t *testing.T, msg []byte, ms uint32) {
		p := dnswire.NewParser(msg)
		asked, ok := p.Question()
		if !ok {
			asked = q
		}
		c := New(Config{MaxOctets: MinOctets})
		key := asked.AppendKey(nil, true, false)
		if !c.Put(key, msg, start) {
			return
		}
		checkKept(t, c, key, start.Add(time.Duration(ms)*time.Millisecond))
	})
}

func checkKept(t *testing.T, c *Cache, key []byte, now time.Time) {
	t.Helper()
	msg, info, ok := c.Get(nil, key, now)
	if !ok {
		if c.Stats().Misses != 1 {
			t.Fatal("no hit and no miss")
		}
		return
	}
	if !now.Before(info.Expires) || info.Expires.Sub(info.Stored) > DefaultMaxTTL {
		t.Fatalf("at %v: %+v", now, info)
	}
	if err := dnswire.Validate(msg); err != nil {
		t.Fatalf("%v: %x", err, msg)
	}
	if _, _, has := dnswire.FindOPT(msg); has {
		t.Fatalf("OPT kept: %x", msg)
	}
	p := dnswire.NewParser(msg)
	if q, _ := p.Question(); !bytes.Equal(q.AppendKey(nil, true, false), key) {
		t.Fatalf("key %x has %v", key, q)
	}
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if rr.TTL > seconds(DefaultMaxTTL) {
			t.Fatalf("record %+v", rr)
		}
	}
}
