package mpaddr_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/af-multipath/mpresolve/mpaddr"
)

func FuzzDraft(f *testing.F) { fuzzLayout(f, mpaddr.LayoutDraft) }
func FuzzWide(f *testing.F)  { fuzzLayout(f, mpaddr.LayoutWide) }
func FuzzLinux(f *testing.F) { fuzzLayout(f, mpaddr.LayoutLinux) }

// fuzzLayout holds the law of the octets: what parses encodes to the same
// octets, and the error of what does not has an offset within them.
func fuzzLayout(f *testing.F, l mpaddr.Layout) {
	good, bad := 0, 0
	for _, r := range records(l) {
		octets := octetsOf(f, r.octets)
		if _, err := r.codec.Parse(octets); !errors.Is(err, r.err) {
			f.Fatalf("seed %s: got %v, want %v", r.name, err, r.err)
		}
		if r.err == nil {
			good++
		} else {
			bad++
		}
		f.Add(octets, r.codec.INET6)
	}
	if good == 0 || bad == 0 {
		f.Fatalf("%d good and %d bad seeds, want some of both", good, bad)
	}
	f.Fuzz(func(t *testing.T, b []byte, inet6 uint16) {
		c := mpaddr.Codec{Layout: l, INET6: inet6}
		given := bytes.Clone(b)
		a, err := c.Parse(b)
		if !bytes.Equal(b, given) {
			t.Fatal("Parse changed its argument")
		}
		checkFields(t, c, b, err)
		if err != nil {
			checkOctetError(t, b, err)
			return
		}
		got, err := c.Append(nil, a)
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%x\nparses to %v, which encodes to\n%x, %v", b, a, got, err)
		}
		if back, err := mpaddr.Parse(a.String()); err != nil || !back.Equal(a) {
			t.Fatalf("text of %v comes back as %v, %v", a, back, err)
		}
		if inet6 == 0 || inet6 == mpaddr.FamilyINET6 {
			checkDetect(t, l, b)
		}
	})
}

// checkFields checks that Fields agrees with Parse, and leaves no gap.
func checkFields(t *testing.T, c mpaddr.Codec, b []byte, want error) {
	t.Helper()
	fields, err := c.Fields(b)
	if (err == nil) != (want == nil) || err != nil && err.Error() != want.Error() {
		t.Fatalf("Fields: %v, Parse: %v", err, want)
	}
	end := 0
	for _, field := range fields {
		if field.Offset != end || field.Len < 1 {
			t.Fatalf("field %+v after offset %d", field, end)
		}
		end += field.Len
	}
	if end > len(b) || err == nil && end != len(b) {
		t.Fatalf("fields end at %d of %d", end, len(b))
	}
}

func checkOctetError(t *testing.T, b []byte, err error) {
	t.Helper()
	if errors.Is(err, mpaddr.ErrCodec) {
		return
	}
	var syntax *mpaddr.SyntaxError
	if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(b) || syntax.Err == nil {
		t.Fatalf("%x: got %v, want a SyntaxError with an offset in it", b, err)
	}
}

// checkDetect checks that octets that parse in one layout parse in no other,
// and that it is the one that Detect finds.
func checkDetect(t *testing.T, l mpaddr.Layout, b []byte) {
	t.Helper()
	if c, ok := draft.Detect(b); !ok || c.Layout != l {
		t.Fatalf("%x of the %v layout is detected as %v, %v", b, l, c.Layout, ok)
	}
	for other := mpaddr.LayoutDraft; other <= mpaddr.LayoutLinux; other++ {
		if _, err := (mpaddr.Codec{Layout: other}).Parse(b); err == nil && other != l {
			t.Fatalf("%x parses in the %v and in the %v layout", b, l, other)
		}
	}
}

// FuzzParse holds the law of the text: the text form of what parses parses to
// the same, and is then its own text form; so do JSON and, where there is one,
// the record.
func FuzzParse(f *testing.F) {
	if len(phrases) == 0 {
		f.Fatal("no seeds")
	}
	for _, p := range phrases {
		if a, err := mpaddr.Parse(p.text); (err != nil) != p.bad || err == nil && a.String() != p.want {
			f.Fatalf("seed %q: got %v, %v", p.text, a, err)
		}
		f.Add(p.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := mpaddr.Parse(s)
		if err != nil {
			var syntax *mpaddr.SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(s) {
				t.Fatalf("%q: got %v, want a SyntaxError with an offset in it", s, err)
			}
			return
		}
		back, err := mpaddr.Parse(a.String())
		if err != nil || !back.Equal(a) || back.String() != a.String() {
			t.Fatalf("%q: %v comes back as %v, %v", s, a, back, err)
		}
		checkJSON(t, a)
		checkRecord(t, linux, a)
	})
}

// checkJSON checks that a comes back from JSON.
func checkJSON(t interface{ Fatalf(string, ...any) }, a mpaddr.Addr) {
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatalf("%v: %v", a, err)
	}
	var back mpaddr.Addr
	if err := json.Unmarshal(b, &back); err != nil || !back.Equal(a) {
		t.Fatalf("%v comes back from %s as %v, %v", a, b, back, err)
	}
}

// checkRecord checks that a comes back from c's octets, unless it has none for
// a stated reason.
func checkRecord(t interface{ Fatalf(string, ...any) }, c mpaddr.Codec, a mpaddr.Addr) {
	b, err := c.Append(nil, a)
	if errors.Is(err, mpaddr.ErrZone) || errors.Is(err, mpaddr.ErrTooLong) {
		return
	}
	if err != nil {
		t.Fatalf("%v: %v", a, err)
	}
	if back, err := c.Parse(b); err != nil || !back.Equal(a) {
		t.Fatalf("%v comes back from %x as %v, %v", a, b, back, err)
	}
}

func FuzzJSON(f *testing.F) {
	good := 0
	for _, p := range phrases {
		if p.bad {
			continue
		}
		b, err := json.Marshal(setOf(f, p.text))
		if err != nil {
			f.Fatal(err)
		}
		var a mpaddr.Addr
		if err := json.Unmarshal(b, &a); err != nil || a.String() != p.want {
			f.Fatalf("seed %s: got %v, %v", b, a, err)
		}
		good++
		f.Add(b)
	}
	if good == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range []string{`null`, `{}`, `[1]`, `["x"]`, `["192.0.2.1:1"`, ` [ "\u0031.2.3.4:5" ] `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var a mpaddr.Addr
		if err := json.Unmarshal(b, &a); err == nil {
			checkJSON(t, a)
		}
	})
}
