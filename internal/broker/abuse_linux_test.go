package broker

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// TestAbuse: a message that breaks the rules ends the client with the reason,
// and none of the descriptors that came with it stays open.
func TestAbuse(t *testing.T) {
	good := attach{Version}.append(nil)
	tests := []struct {
		name        string
		attached    bool
		octets      []byte
		descriptors int
		want        error // nil: the end without a word
	}{
		{"no descriptor", false, good, 0, errDescriptors},
		{"two descriptors", false, good, 2, errDescriptors},
		{"many descriptors", false, good, 200, errDescriptors},
		{"another version", false, attach{Version + 1}.append(nil), 1, errVersion},
		{"not attach", false, request{Op: opRemove}.append(nil), 1, errOrder},
		{"the server's message", false, attached{token}.append(nil), 1, errOrder},
		{"junk", false, []byte("GET / HTTP/1.1\r\n\r\n"), 1, errKind},
		{"long message", false, make([]byte, 8<<10), 1, errLong},
		{"empty message", false, nil, 0, nil},
		{"empty message with a descriptor", false, nil, 1, nil},
		{"empty message with two descriptors", false, nil, 2, nil},
		{"request without descriptor", true, request{Op: opRemove}.append(nil), 0, errDescriptors},
		{"request with two descriptors", true, request{Op: opRemove}.append(nil), 2, errDescriptors},
		{"attached twice", true, good, 1, errOrder},
		{"bad request", true, append(request{Op: opRemove}.append(nil), 0), 1, errLong},
	}
	f, b := serveFakes(t, Config{})
	raw := f.connect(t, token)
	b.attach(raw).Close() // what the runtime opens once is open now
	before := openFDs(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := dialRaw(t, b)
			defer c.conn.Close()
			if test.attached {
				c.hello(raw)
			} else {
				expect[greeting](c)
			}
			c.write(test.octets, raw, test.descriptors)
			if test.want != nil {
				if e := expect[end](c); !strings.Contains(e.Text, test.want.Error()) {
					t.Errorf("end %q, want %q", e.Text, test.want)
				}
			}
			if m, err := c.read(); !errors.Is(err, io.EOF) {
				t.Errorf("after the end: %+v, %v", m, err)
			}
		})
	}
	if len(f.Calls()) != 0 {
		t.Errorf("calls %+v", f.Calls())
	}
	noMoreFDs(t, before)
}

// noMoreFDs waits until no more descriptors are open than before.
func noMoreFDs(t *testing.T, before int) {
	t.Helper()
	var now int
	for deadline := time.Now().Add(eventTimeout); time.Now().Before(deadline); {
		if now = openFDs(t); now <= before {
			return
		}
	}
	t.Errorf("%d descriptors are open, %d were", now, before)
}

// TestNoDescriptorKept: while a client is attached the broker has its unix
// socket open and nothing else.
func TestNoDescriptorKept(t *testing.T) {
	f, b := serveFakes(t, Config{})
	raw := f.connect(t, token)
	b.attach(raw).Close()
	noMoreFDs(t, openFDs(t))
	before := openFDs(t)
	c := b.attach(raw)
	for range 10 {
		_ = c.Remove(token, 9) // refused: there is no such id
	}
	noMoreFDs(t, before+2) // both ends of the unix socket
	c.Close()
	noMoreFDs(t, before)
}
