package upstream

import (
	"testing"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// FuzzReply: of whatever octets come in, only those with the id and the
// question are taken, and what is kept can be read to its end.
func FuzzReply(f *testing.F) {
	name, err := dnswire.ParseName("www.example")
	if err != nil {
		f.Fatal(err)
	}
	q := Query{Question: dnswire.Question{Name: name, Type: dnswire.TypeA, Class: dnswire.ClassINET}}
	m := message{query: q, id: 0x1234}
	answer := failure(q, dnswire.RCodeSuccess)
	dnswire.PatchID(answer, m.id)
	full := dnswire.AddRR(append([]byte(nil), answer...), dnswire.SectionAnswer, nil, dnswire.TypeA, dnswire.ClassINET, 60, []byte{192, 0, 2, 1})
	seeds := []struct {
		octets []byte
		taken  bool
	}{
		{answer, true},
		{full, true},
		{full[:len(full)-1], true}, // it is the reply, and malformed
		{[]byte{0x12, 0x34, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0}, true},
		{[]byte{0x12, 0x34, 0x80, 2, 0, 0, 0, 0, 0, 0, 0, 0}, false},
		{[]byte{0x12, 0x35, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0}, false},
		{nil, false},
	}
	for i, s := range seeds {
		if m.isReply(s.octets) != s.taken {
			f.Fatalf("seed %d: taken %v", i, !s.taken)
		}
		f.Add(s.octets)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !m.isReply(b) {
			return
		}
		h, err := dnswire.ParseHeader(b)
		if err != nil || h.ID != m.id || !h.QR() || h.QD > 1 {
			t.Fatalf("took %x", b)
		}
		kept, err := m.accept(b)
		if err != nil {
			return
		}
		p := dnswire.NewParser(kept)
		if got, ok := p.Question(); !ok || got != q.Question {
			t.Fatalf("kept %x with question %v", kept, got)
		}
		if err := dnswire.Validate(kept); err != nil {
			t.Fatalf("kept %x: %v", kept, err)
		}
	})
}
