package mpaddr_test

import (
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/mpaddr"
)

func splitSeq(text string) iter.Seq[string] { return strings.SplitSeq(text, ",") }

func TestParse(t *testing.T) {
	for _, p := range phrases {
		t.Run(p.text, func(t *testing.T) {
			a, err := mpaddr.Parse(p.text)
			if p.bad {
				checkTextError(t, a, err, p.offset)
				return
			}
			if err != nil || a.String() != p.want {
				t.Fatalf("got %v, %v, want %s", a, err, p.want)
			}
			if back, err := mpaddr.Parse(p.want); err != nil || !back.Equal(a) {
				t.Errorf("%s comes back as %v, %v", p.want, back, err)
			}
		})
	}
}

func checkTextError(t *testing.T, a mpaddr.Addr, err error, offset int) {
	t.Helper()
	var syntax *mpaddr.SyntaxError
	if !errors.As(err, &syntax) || !errors.Is(err, mpaddr.ErrText) {
		t.Fatalf("got %v, %v, want a SyntaxError of ErrText", a, err)
	}
	if syntax.Offset != offset {
		t.Errorf("offset %d, want %d: %v", syntax.Offset, offset, err)
	}
	if !a.IsEmpty() {
		t.Errorf("got %v with an error", a)
	}
}

func TestParseErrorText(t *testing.T) {
	_, err := mpaddr.Parse("192.0.2.1:443,2001:db8::1")
	want := "parse address set: offset 14: malformed text: an IPv6 address with a port is written [address]:port"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestParseEndpoint(t *testing.T) {
	for _, text := range []string{"", " ", "192.0.2.1:1,192.0.2.2:1", "[fe80::1%a,b]:1,192.0.2.1:1"} {
		if e, err := mpaddr.ParseEndpoint(text); !errors.Is(err, mpaddr.ErrText) {
			t.Errorf("%q: got %v, %v, want an error", text, e, err)
		}
	}
	if e, err := mpaddr.ParseEndpoint(" [fe80::1%eth0]:1 "); err != nil || e.String() != "[fe80::1%eth0]:1" {
		t.Errorf("got %v, %v", e, err)
	}
}

func TestMustParsePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	mpaddr.MustParse("nonsense")
}

func TestTextMarshalling(t *testing.T) {
	for _, p := range phrases {
		if p.bad {
			continue
		}
		a := setOf(t, p.text)
		text, err := a.MarshalText()
		if err != nil || string(text) != p.want {
			t.Errorf("%q: got %q, %v", p.text, text, err)
		}
		back := setOf(t, "192.0.2.99:1")
		if err := back.UnmarshalText(text); err != nil || !back.Equal(a) {
			t.Errorf("%q: back: %v, %v", p.text, back, err)
		}
	}
	a := setOf(t, "192.0.2.1:1")
	if err := a.UnmarshalText([]byte("x")); err == nil || a.String() != "192.0.2.1:1" {
		t.Errorf("after error %v: %v, want it as it was", err, a)
	}
}

func TestJSON(t *testing.T) {
	type message struct {
		Set mpaddr.Addr
		One mpaddr.Endpoint
	}
	m := message{
		Set: setOf(t, "192.0.2.1:443,[fe80::1%a%22%ff]:80/flowinfo=0x12"),
		One: endpointsOf(t, six)[0],
	}
	got, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Set":["192.0.2.1:443","[fe80::1%a%22%FF]:80/flowinfo=0x12"],"One":"[2001:db8::1]:443"}`
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var back message
	if err := json.Unmarshal(got, &back); err != nil || !back.Set.Equal(m.Set) || back.One != m.One {
		t.Errorf("back: %v, %v", back, err)
	}
}

func TestUnmarshalJSON(t *testing.T) {
	const before = "192.0.2.99:1"
	for _, tt := range []struct {
		in, want string
		bad      bool
	}{
		{in: `[]`, want: ""},
		{in: `null`, want: before},
		{in: `["192.0.2.1:1"]`, want: "192.0.2.1:1"},
		{in: `["192.0.2.1:1","[::ffff:192.0.2.1]:1"]`, want: "192.0.2.1:1"},
		{in: `[""]`, want: before, bad: true},
		{in: `[null]`, want: before, bad: true},
		{in: `["192.0.2.1:1",7]`, want: before, bad: true},
		{in: `["192.0.2.1:1,192.0.2.2:1"]`, want: before, bad: true},
		{in: `"192.0.2.1:1"`, want: before, bad: true},
		{in: `{}`, want: before, bad: true},
	} {
		a := setOf(t, before)
		err := json.Unmarshal([]byte(tt.in), &a)
		if (err != nil) != tt.bad || a.String() != tt.want {
			t.Errorf("%s: got %v, %v, want %s", tt.in, a, err, tt.want)
		}
	}
}
