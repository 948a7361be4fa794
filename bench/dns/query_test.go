package main

import (
	"bytes"
	"testing"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// request is a query with an id.
func request(q query) []byte {
	packet := bytes.Clone(q.packet)
	dnswire.PatchID(packet, 0x1234)
	return packet
}

// TestAuthorityAnswers holds what is expected of servers against what the
// bench's own answers, for each kind of name.
func TestAuthorityAnswers(t *testing.T) {
	a := newAuthority()
	queries := map[string]query{"address": queryOf(10), "alias": queryOf(18), "absent": queryOf(19), "last": queryOf(manyNames - 2)}
	next := wild("salt", dnswire.TypeA, dnswire.TypeAAAA)
	for _, name := range []string{"wild A", "wild AAAA"} {
		packet, want := next(nil)
		queries[name] = query{packet, want}
	}
	for name, q := range queries {
		packet := request(q)
		if _, err := dnswire.ParseQuery(packet); err != nil {
			t.Errorf("%s: request: %v", name, err)
		}
		msg := a.answer(nil, packet)
		if err := dnswire.Validate(msg); err != nil {
			t.Errorf("%s: answer: %v", name, err)
		}
		if !checkAnswer(packet, msg, q.want, true) {
			t.Errorf("%s: refused %x", name, msg)
		}
	}
}

// TestCheckAnswer breaks a right answer in each way that is looked for.
func TestCheckAnswer(t *testing.T) {
	q := queryOf(18)
	packet := request(q)
	for name, harm := range map[string]func(msg []byte) []byte{
		"a request":        func(msg []byte) []byte { msg[2] &^= 0x80; return msg },
		"truncated":        func(msg []byte) []byte { msg[2] |= 0x02; return msg },
		"rcode":            func(msg []byte) []byte { msg[3] |= 2; return msg },
		"count":            func(msg []byte) []byte { msg[7]--; return msg },
		"other name":       func(msg []byte) []byte { msg[13]++; return msg },
		"other type":       func(msg []byte) []byte { msg[len(packet)-3]++; return msg },
		"other address":    func(msg []byte) []byte { msg[len(msg)-1]++; return msg },
		"cut in a record":  func(msg []byte) []byte { return msg[:len(msg)-1] },
		"cut in the first": func(msg []byte) []byte { return msg[:len(packet)-1] },
		"nothing":          func([]byte) []byte { return nil },
	} {
		if msg := harm(newAuthority().answer(nil, packet)); checkAnswer(packet, msg, q.want, true) {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestWildIsNew asks for no name twice, and for each in both types.
func TestWildIsNew(t *testing.T) {
	seen := map[string]bool{}
	for _, salt := range []string{"a-1-", "a-11-", "b-"} {
		next := wild(salt, dnswire.TypeA, dnswire.TypeAAAA)
		for range 300 {
			packet, _ := next(nil)
			if seen[string(packet)] {
				t.Fatalf("twice: %q", packet)
			}
			seen[string(packet)] = true
			if _, err := dnswire.ParseQuery(packet); err != nil || len(packet) > maxQueryLen {
				t.Fatal(len(packet), err)
			}
		}
	}
}

// TestSources has the lists gone through.
func TestSources(t *testing.T) {
	list := all(20)
	next := inOrder(list)
	for i := range 45 {
		if packet, _ := next(nil); !bytes.Equal(packet, list[i%20].packet) {
			t.Fatal(i)
		}
	}
	next = every(3, inOrder(list))
	for i := range 30 {
		if packet, _ := next(nil); !bytes.Equal(packet, list[(3*i+2)%20].packet) {
			t.Fatal(i)
		}
	}
	drawn := map[string]bool{}
	next = inRandomOrder(list, 1)
	for range 1000 {
		packet, _ := next(nil)
		drawn[string(packet)] = true
	}
	if len(drawn) != len(list) {
		t.Errorf("%d of %d drawn", len(drawn), len(list))
	}
	if len(hot()) != hotNames {
		t.Error(len(hot()))
	}
}

// TestZone counts the zone's records.
func TestZone(t *testing.T) {
	var b bytes.Buffer
	if err := writeZone(&b); err != nil {
		t.Fatal(err)
	}
	const others = 2 + 3 + 4 // directives, apex, wildcard
	if got, want := bytes.Count(b.Bytes(), []byte("\n")), manyNames*9/10+others; got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
	for i := range manyNames {
		if kindOf(i) == alias && kindOf(targetOf(i)) != address {
			t.Fatalf("%d leads to %d, which has no address", i, targetOf(i))
		}
	}
}
