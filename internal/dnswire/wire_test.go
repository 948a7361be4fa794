package dnswire

import (
	"errors"
	"testing"
)

func mustName(t testing.TB, s string) Name {
	t.Helper()
	n, err := ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestQueryRoundTrip(t *testing.T) {
	q := Question{Name: mustName(t, "www.Example.com"), Type: TypeAAAA, Class: ClassINET}
	msg := AppendQuery(nil, 0x1234, q, QueryOptions{RD: true, DO: true, UDPSize: 1232})
	got, err := ParseQuery(msg)
	if err != nil {
		t.Fatal(err)
	}
	if got.Question() != q || got.Header.ID != 0x1234 || !got.Header.RD() ||
		!got.EDNS.DO || got.EDNS.UDPSize != 1232 {
		t.Fatalf("ParseQuery = %+v", got)
	}
	reply := AppendReply(nil, &got, FlagRA, RCodeSuccess)
	reply = AddRR(reply, SectionAnswer, nil, TypeAAAA, ClassINET, 60, make([]byte, 16))
	if err := Validate(reply); err != nil {
		t.Fatal(err)
	}
	if err := CheckReply(q, 0x1234, reply); err != nil {
		t.Fatal(err)
	}
	if err := CheckReply(q, 0x1235, reply); !errors.Is(err, ReplyWrongID) {
		t.Fatalf("wrong id: %v", err)
	}
}
