package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// maxQueryLen is more than any request has, in octets.
const maxQueryLen = 128

// expectation is what an answer must be.
type expectation struct {
	rcode   dnswire.RCode
	answers uint16       // records in the answer section
	typ     dnswire.Type // of the record with rdata
	rdata   []byte       // of one record; nil: no such record
}

// query is a request, ready to be sent but for its id, and its answer.
type query struct {
	packet []byte
	want   expectation
}

// source gives the queries of a load, one after the other: it writes a request
// to dst, which is empty and has room, and says what is to come back.
type source func(dst []byte) ([]byte, expectation)

func buildQuery(name string, t dnswire.Type, want expectation) query {
	q := dnswire.Question{Name: mustName(name), Type: t, Class: dnswire.ClassINET}
	return query{dnswire.AppendQuery(nil, 0, q, dnswire.QueryOptions{RD: true}), want}
}

// mustName reads a name that the bench has made itself.
func mustName(name string) dnswire.Name {
	n, err := dnswire.ParseName(name)
	if err != nil {
		panic(fmt.Sprintf("a name of the bench's own: %v", err))
	}
	return n
}

// queryOf asks for the A record of the i-th name.
func queryOf(i int) query {
	want := expectation{answers: 1, typ: dnswire.TypeA}
	switch kindOf(i) {
	case address:
		want.rdata = addressOf(i).AsSlice()
	case alias:
		want.answers, want.rdata = 2, addressOf(targetOf(i)).AsSlice()
	case absent:
		want.answers, want.rcode = 0, dnswire.RCodeNameError
	}
	return buildQuery(nameOf(i), dnswire.TypeA, want)
}

// hotNames is how many names are asked for again and again.
const hotNames = 1000

// hot returns queries for the first names that have an address.
func hot() []query {
	list := make([]query, 0, hotNames)
	for i := 0; len(list) < hotNames; i++ {
		if kindOf(i) == address {
			list = append(list, queryOf(i))
		}
	}
	return list
}

// all returns a query for each of the zone's names, the absent included.
func all(n int) []query {
	list := make([]query, n)
	for i := range list {
		list[i] = queryOf(i)
	}
	return list
}

// inOrder gives a list over and over.
func inOrder(list []query) source {
	next := 0
	return func(dst []byte) ([]byte, expectation) {
		q := &list[next]
		if next++; next == len(list) {
			next = 0
		}
		return append(dst, q.packet...), q.want
	}
}

// inRandomOrder gives queries of a list, each drawn anew.
func inRandomOrder(list []query, seed uint64) source {
	r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // repeatable, not secret
	return func(dst []byte) ([]byte, expectation) {
		q := &list[r.IntN(len(list))]
		return append(dst, q.packet...), q.want
	}
}

// every gives the last of each n queries of another source.
func every(n int, next source) source {
	return func(dst []byte) ([]byte, expectation) {
		for range n - 1 {
			next(dst)
		}
		return next(dst)
	}
}

// wild gives a new name of the wildcard each time, distinct from those of other
// salts, asked for the types in turn.
func wild(salt string, types ...dnswire.Type) source {
	wants := map[dnswire.Type]expectation{}
	for _, a := range wildAddresses() {
		wants[typeOf(a)] = expectation{answers: 2, typ: typeOf(a), rdata: a.AsSlice()}
	}
	fixed := buildQuery("x"+wildSuffix, dnswire.TypeA, expectation{}).packet
	head, tail := fixed[:dnswire.HeaderLen], fixed[dnswire.HeaderLen+2:]
	n := 0
	return func(dst []byte) ([]byte, expectation) {
		t := types[n%len(types)]
		start := len(dst) + dnswire.HeaderLen
		dst = append(append(dst, head...), 0)
		dst = append(dst, salt...)
		dst = strconv.AppendInt(dst, int64(n/len(types)), 10)
		dst[start] = byte(len(dst) - start - 1)
		dst = append(dst, tail...)
		binary.BigEndian.PutUint16(dst[len(dst)-4:], uint16(t))
		n++
		return dst, wants[t]
	}
}

// checkAnswer reports whether msg answers the request; in full with its records,
// otherwise only header and question.
func checkAnswer(request, msg []byte, want expectation, full bool) bool {
	if len(msg) < len(request) || msg[2]&0x80 == 0 || msg[2]&0x02 != 0 ||
		dnswire.RCode(msg[3]&0x0f) != want.rcode || binary.BigEndian.Uint16(msg[6:]) != want.answers ||
		!bytes.EqualFold(msg[dnswire.HeaderLen:len(request)], request[dnswire.HeaderLen:]) {
		return false
	}
	return !full || want.rdata == nil || hasRecord(msg, want)
}

func hasRecord(msg []byte, want expectation) bool {
	p := dnswire.NewParser(msg)
	found := false
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		found = found || rr.Type == want.typ && bytes.Equal(rr.Data(msg), want.rdata)
	}
	return found && p.Err() == nil
}
