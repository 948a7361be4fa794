package dialer

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// The paths of these tests: one is the first.
var (
	one = ends{v4a, v6a}
	two = ends{v4b, v6a}
	six = ends{v4a, v6b}
)

// looking returns a look at a path that is up.
func looking(p ends, rtt time.Duration, backoff uint8, acked uint64) pathLook {
	return pathLook{ends: p, up: true, tcp: mptcp.TCPInfo{RTT: rtt, Backoff: backoff, BytesAcked: acked, Unacked: uint32(backoff)}}
}

func TestSteer(t *testing.T) {
	const ms = time.Millisecond
	type looks []pathLook
	fine := looks{looking(one, 20*ms, 0, 9), looking(two, 20*ms, 0, 9)}
	faster := looks{looking(one, 20*ms, 0, 9), looking(two, 10*ms, 0, 9)}
	firstDead := looks{looking(one, 20*ms, 3, 9), looking(two, 20*ms, 0, 9)}
	healed := looks{looking(one, 20*ms, 0, 10), looking(two, 20*ms, 0, 9)}
	firstGone := looks{{ends: one}, looking(two, 20*ms, 0, 9)}
	for _, tt := range []struct {
		name  string
		use   PathUse
		looks []looks
		want  []string // of each look
	}{
		{"aggregate", Aggregate, []looks{fine, faster}, []string{"", ""}},
		{"aggregate, one dies and recovers", Aggregate, []looks{fine, firstDead, firstDead, healed}, []string{"", "one backup", "", "one active"}},
		{"the only one dies", Aggregate, []looks{{firstDead[0]}}, []string{""}},
		{"all die", Aggregate, []looks{{looking(one, 0, 4, 0), looking(two, 0, 4, 0)}}, []string{""}},
		{"a doubled timeout is not death", Aggregate, []looks{{looking(one, 0, 1, 0), fine[1]}}, []string{""}},
		{"handover", Handover, []looks{fine, faster}, []string{"", ""}},
		{"handover, the first dies and recovers", Handover, []looks{fine, firstDead, healed}, []string{"", "two active, one backup", "one active, two backup"}},
		{"handover, the first ends", Handover, []looks{fine, firstGone}, []string{"", "two active"}},
		{"interactive", Interactive, []looks{fine, faster, faster, faster, faster}, []string{"", "", "", "", "two active, one backup"}},
		{"interactive, once faster", Interactive, []looks{faster, faster, faster, fine, faster}, []string{"", "", "", "", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := steerer{use: tt.use, primary: one}
			for i, l := range tt.looks {
				var got string
				for n, c := range s.step(l) {
					if n > 0 {
						got += ", "
					}
					got += map[ends]string{one: "one", two: "two", six: "six"}[c.ends] + map[bool]string{true: " backup", false: " active"}[c.backup]
				}
				if got != tt.want[i] {
					t.Errorf("look %d: %q, want %q", i, got, tt.want[i])
				}
			}
		})
	}
}

// TestSteerRefused: what the kernel refused is tried again.
func TestSteerRefused(t *testing.T) {
	s := steerer{primary: one}
	looks := []pathLook{looking(one, 0, 3, 0), looking(two, 0, 0, 0)}
	for range 2 {
		got := s.step(looks)
		if len(got) != 1 || !got[0].backup || !got[0].dead {
			t.Fatalf("%+v", got)
		}
		s.refused(got[0])
	}
}

// TestSteerProperties: while a path is alive one that is alive carries data, and
// nothing is said twice.
func TestSteerProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := steerer{use: PathUse(rapid.IntRange(0, 2).Draw(t, "use")), primary: one}
		for range rapid.IntRange(1, 20).Draw(t, "looks") {
			var looks []pathLook
			for _, p := range []ends{one, two, six} {
				l := looking(p, time.Duration(rapid.IntRange(0, 9).Draw(t, "rtt")), uint8(rapid.IntRange(0, 3).Draw(t, "backoff")), uint64(rapid.IntRange(0, 3).Draw(t, "acked")))
				l.up = rapid.IntRange(0, 3).Draw(t, "up") > 0
				looks = append(looks, l)
			}
			before := fmt.Sprint(s.step(looks))
			if again := s.step(looks); s.use != Interactive && len(again) > 0 {
				t.Fatalf("%v, then %v", before, again)
			}
			alive, serves := 0, 0
			for _, l := range looks {
				if p := s.paths[l.ends]; l.up && !p.dead {
					alive++
					if !p.backup {
						serves++
					}
				}
			}
			if alive > 0 && serves == 0 || s.use != Aggregate && serves > 1 {
				t.Fatalf("%d paths alive, %d serve", alive, serves)
			}
		}
	})
}
