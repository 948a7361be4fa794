package dnswire_test

import (
	"testing"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

func BenchmarkParseQuery(b *testing.B) {
	msg := query(b, "www.example.com", dnswire.TypeA, dnswire.QueryOptions{RD: true, UDPSize: 1232})
	key := make([]byte, 0, dnswire.MaxKeyLen)
	b.ReportAllocs()
	for b.Loop() {
		q, err := dnswire.ParseQuery(msg)
		if err != nil {
			b.Fatal(err)
		}
		key = q.AppendKey(key[:0])
	}
}

func BenchmarkParser(b *testing.B) {
	msg := bigReply(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := dnswire.MinTTL(msg); !ok {
			b.Fatal("no ttl")
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	msg := bigReply(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := dnswire.Validate(msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendReply(b *testing.B) {
	q := parsed(b, query(b, "www.example.com", dnswire.TypeA, dnswire.QueryOptions{RD: true, UDPSize: 1232}))
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		dnswire.AddOPT(dnswire.AppendReply(buf, &q, dnswire.FlagRA, 0), dnswire.OPT{UDPSize: 1232})
	}
}
