package control

import "testing"

func TestIsOwner(t *testing.T) {
	for _, tt := range []struct {
		uid  uint32
		euid int
		want bool
	}{{0, 1000, true}, {1000, 1000, true}, {0, 0, true}, {1000, 0, false}, {1001, 1000, false}} {
		if got := isOwner(tt.uid, tt.euid); got != tt.want {
			t.Errorf("client %d of a daemon of %d: %v", tt.uid, tt.euid, got)
		}
	}
}
