package upstream_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// TestTCPPipelined: questions share a connection, and are answered in any order.
func TestTCPPipelined(t *testing.T) {
	inBubble(t, func(p *peer) {
		all := p.queries(3)
		for i := range all {
			p.reply(all[len(all)-1-i])
		}
		p.answerAll()
	}, func(t *testing.T, k *kept) {
		a, b, c := k.ask(t.Context(), "a.example"), k.ask(t.Context(), "b.example"), k.ask(t.Context(), "c.example")
		if err := errors.Join(a(), b(), c(), k.ask(t.Context(), "d.example")()); err != nil {
			t.Error(err)
		}
		want(t, "connections", k.dialled(), 1)
	})
}

// TestTCPUniqueIDs: no two questions on a connection have one id.
func TestTCPUniqueIDs(t *testing.T) {
	inBubble(t, (*peer).untilClosed, func(t *testing.T, k *kept) {
		a, b := upstream.TCPIDs(k.Server, question(t, "www.example", dnswire.TypeA))
		if a == b {
			t.Error("two questions in flight have one id")
		}
		time.Sleep(upstream.DefaultTimeout) // virtual: the server is silent
	})
}

// TestTCPCancel: who gives up does not harm the others, and the reply that comes
// after that, here more of them than may be wrong, is no wrong one.
func TestTCPCancel(t *testing.T) {
	const many = upstream.MaxWrongReplies + 1
	inBubble(t, func(p *peer) {
		all := p.queries(many)
		last := p.query()
		for _, b := range all {
			p.reply(b)
		}
		p.reply(last)
		p.answerAll()
	}, func(t *testing.T, k *kept) {
		for range many {
			ctx, cancel := context.WithCancel(t.Context())
			wait := k.ask(ctx, "gone.example")
			synctest.Wait()
			cancel()
			if err := wait(); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		if err := errors.Join(k.ask(t.Context(), "a.example")(), k.ask(t.Context(), "b.example")()); err != nil {
			t.Error(err)
		}
		want(t, "connections", k.dialled(), 1)
	})
}

// TestTCPIdle: a connection without questions is closed after a while, and the
// next question opens another.
func TestTCPIdle(t *testing.T) {
	inBubble(t, (*peer).answerAll, func(t *testing.T, k *kept) {
		for i := range 3 {
			if err := k.ask(t.Context(), "www.example")(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(upstream.TCPIdle - time.Millisecond) // virtual time
			synctest.Wait()
			want(t, "connections open", upstream.TCPConns(k.Server), 1)
			if i == 0 {
				continue // a question starts the time anew
			}
			time.Sleep(time.Millisecond) // virtual time
			synctest.Wait()
			want(t, "connections open after the idle time", upstream.TCPConns(k.Server), 0)
		}
		want(t, "connections", k.dialled(), 2)
	})
}

// TestTCPClosedMeanwhile: a question put to a connection that the server closes
// is asked once more, on a new one.
func TestTCPClosedMeanwhile(t *testing.T) {
	for name, broken := range map[string]int{"once": 1, "for ever": 100} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(p *peer) {
				if p.number == 1 {
					p.reply(p.query())
					p.reply(p.query())
				}
				if p.number <= broken {
					p.query()
					return
				}
				p.answerAll()
			}, func(t *testing.T, k *kept) {
				if err := errors.Join(k.ask(t.Context(), "a.example")(), k.ask(t.Context(), "b.example")()); err != nil {
					t.Fatal(err)
				}
				err := k.ask(t.Context(), "c.example")()
				if (err == nil) != (broken == 1) {
					t.Error(err)
				}
				want(t, "connections", k.dialled(), 2)
			})
		})
	}
}

// TestTCPAllClosedMeanwhile: the new one is none of those that were there, which
// the server may be closing too.
func TestTCPAllClosedMeanwhile(t *testing.T) {
	inBubble(t, func(p *peer) {
		if p.number > 2 {
			p.answerAll()
			return
		}
		n := upstream.TCPCrowd
		if p.number == 2 {
			n = 2
		}
		all := p.queries(n)
		time.Sleep(time.Second) // virtual time
		for _, b := range all {
			p.reply(b)
		}
		p.query()
	}, func(t *testing.T, k *kept) {
		var waits []func() error
		for range upstream.TCPCrowd + 2 {
			waits = append(waits, k.ask(t.Context(), "www.example"))
			synctest.Wait()
		}
		want(t, "connections", k.dialled(), 2)
		for _, wait := range waits {
			if err := wait(); err != nil {
				t.Fatal(err)
			}
		}
		if err := k.ask(t.Context(), "www.example")(); err != nil {
			t.Error(err)
		}
		want(t, "connections", k.dialled(), 3)
	})
}

// TestTCPFewReplies: a server that closes after a few replies, here with that many
// on each of two connections before the others are lost on both, has all of several
// questions answered, and is asked on a connection for each for a while.
func TestTCPFewReplies(t *testing.T) {
	const n = 12
	for few := 1; few < n/2; few++ {
		t.Run(fmt.Sprint(few), func(t *testing.T) {
			inBubble(t, func(p *peer) {
				time.Sleep(time.Millisecond) // virtual: until all that are asked are in flight
				for range few {
					if b := p.query(); b != nil {
						p.reply(b)
					}
				}
			}, func(t *testing.T, k *kept) {
				for _, dials := range []int{2 + n - 2*few, n} {
					before := k.dialled()
					var all []func() error
					for range n {
						all = append(all, k.ask(t.Context(), "www.example"))
					}
					for _, wait := range all {
						if err := wait(); err != nil {
							t.Error(err)
						}
					}
					want(t, "connections", k.dialled()-before, dials)
				}
				time.Sleep(upstream.TCPAlone) // virtual time
				before := k.dialled()
				a, b := k.ask(t.Context(), "a.example"), k.ask(t.Context(), "b.example")
				if err := errors.Join(a(), b()); err != nil {
					t.Error(err)
				}
				want(t, "connections for two questions", k.dialled()-before, 1+1/few)
			})
		})
	}
}

// TestTCPSilent: a server that never answers, or not to the end, holds nothing
// for longer than a question waits.
func TestTCPSilent(t *testing.T) {
	for name, serve := range map[string]func(p *peer){
		"silent":       (*peer).untilClosed,
		"reads little": func(p *peer) { _, _ = p.Read(make([]byte, 1)); time.Sleep(time.Minute) }, // virtual time
		"giant": func(p *peer) {
			p.query()
			_, _ = p.Write([]byte{0xff, 0xff, 0})
			p.untilClosed()
		},
		"an octet each second": func(p *peer) {
			b := frame(p.query())
			go p.untilClosed()
			for i := range b {
				time.Sleep(time.Second) // virtual time
				if _, err := p.Write(b[i : i+1]); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, serve, func(t *testing.T, k *kept) {
				var e *upstream.Error
				if err := k.ask(t.Context(), "www.example")(); !errors.As(err, &e) || !e.Timeout {
					t.Errorf("got %v", err)
				}
				time.Sleep(time.Millisecond) // virtual time
				synctest.Wait()
				want(t, "connections open", upstream.TCPConns(k.Server), 0)
			})
		})
	}
}

// TestTCPSilentLater: the same where the server answered before.
func TestTCPSilentLater(t *testing.T) {
	inBubble(t, func(p *peer) {
		p.reply(p.query())
		p.untilClosed()
	}, func(t *testing.T, k *kept) {
		if err := k.ask(t.Context(), "a.example")(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // virtual time
		if err := k.ask(t.Context(), "b.example")(); err == nil {
			t.Error("want a time-out")
		}
		want(t, "connections over", k.left(), 1)
	})
}

// TestTCPStalledMeanwhile: a question put to a connection on which an earlier one
// is not answered has its whole time, on another.
func TestTCPStalledMeanwhile(t *testing.T) {
	inBubble(t, func(p *peer) {
		if p.number == 1 {
			p.untilClosed()
		}
		p.answerAll()
	}, func(t *testing.T, k *kept) {
		first := k.ask(t.Context(), "a.example")
		time.Sleep(upstream.DefaultTimeout - time.Second) // virtual time
		if err := k.ask(t.Context(), "b.example")(); err != nil {
			t.Error(err)
		}
		if err := first(); err == nil {
			t.Error("the first was answered")
		}
	})
}

// TestTCPWrong: replies that answer nobody are passed over, if they are few.
func TestTCPWrong(t *testing.T) {
	for _, wrong := range []int{upstream.MaxWrongReplies - 1, upstream.MaxWrongReplies} {
		t.Run(fmt.Sprint(wrong), func(t *testing.T) {
			inBubble(t, func(p *peer) {
				for b := p.query(); b != nil; b = p.query() {
					for i := range wrong {
						switch i % 4 {
						case 0:
							p.reply(withID(b, ^binary.BigEndian.Uint16(b)))
						case 1:
							p.reply(nil)
						case 2:
							p.reply(b[:dnswire.HeaderLen-1])
						case 3: // the id, but another question
							other := withID(b, binary.BigEndian.Uint16(b))
							other[dnswire.HeaderLen+1] ^= 1
							p.reply(other)
						}
					}
					p.reply(b)
				}
			}, func(t *testing.T, k *kept) {
				for range 2 {
					err := k.ask(t.Context(), "www.example")()
					if few := wrong < upstream.MaxWrongReplies; few != (err == nil) || !few && !errors.Is(err, upstream.ErrFlooded) {
						t.Error(err)
					}
				}
				if wrong < upstream.MaxWrongReplies {
					want(t, "connections", k.dialled(), 1)
				}
			})
		})
	}
}

// TestTCPBounds: the connections are few, so are the questions on each, and what
// is above both waits for its turn.
func TestTCPBounds(t *testing.T) {
	const all = upstream.MaxTCPConns * upstream.MaxTCPAsked
	var release chan struct{}
	var mu sync.Mutex
	var got [upstream.MaxTCPConns + 1]int // by number of the connection
	inBubble(t, func(p *peer) {
		for b := p.query(); b != nil; b = p.query() {
			mu.Lock()
			got[p.number]++
			mu.Unlock()
			go func() {
				<-release
				p.reply(b)
			}()
		}
	}, func(t *testing.T, k *kept) {
		release = make(chan struct{}) // of the bubble
		var waits []func() error
		for range all + 10 {
			waits = append(waits, k.ask(t.Context(), "www.example"))
		}
		ctx, cancel := context.WithCancel(t.Context())
		impatient := k.ask(ctx, "www.example")
		synctest.Wait()
		want(t, "connections", k.dialled(), upstream.MaxTCPConns)
		for _, n := range got[1:] {
			want(t, "questions on a connection", n, upstream.MaxTCPAsked)
		}
		cancel()
		if err := impatient(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		close(release)
		for _, wait := range waits {
			if err := wait(); err != nil {
				t.Fatal(err)
			}
		}
		want(t, "connections", k.dialled(), upstream.MaxTCPConns)
	})
}

// TestTCPUnanswered: a connection on which many questions were left without a
// reply is not used on.
func TestTCPUnanswered(t *testing.T) {
	inBubble(t, func(p *peer) {
		for b := p.query(); b != nil; b = p.query() {
			if b[dnswire.HeaderLen+1] != 'x' {
				p.reply(b)
			}
		}
	}, func(t *testing.T, k *kept) {
		for range upstream.MaxTCPAsked {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			lost := k.ask(ctx, "x.example")
			if err := k.ask(t.Context(), "a.example")(); err != nil {
				t.Fatal(err)
			}
			if err := lost(); err == nil {
				t.Fatal("want a time-out")
			}
			cancel()
			want(t, "connections", k.dialled(), 1)
		}
		want(t, "connections open", upstream.TCPConns(k.Server), 0)
	})
}

// TestTCPClose: Close closes what is idle, and what is in use once it is free;
// later questions have connections of their own.
func TestTCPClose(t *testing.T) {
	inBubble(t, (*peer).answerLate, func(t *testing.T, k *kept) {
		wait := k.ask(t.Context(), "a.example")
		synctest.Wait()
		upstream.CloseTCP(k.Server)
		err := wait()
		want(t, "connections over", k.left(), 1)
		if err := errors.Join(err, k.ask(t.Context(), "b.example")(), k.ask(t.Context(), "c.example")()); err != nil {
			t.Error(err)
		}
		want(t, "connections", k.dialled(), 3)
	})
}

// TestTCPNoConnection: those who wait for a connection are told that there is none,
// and the next question tries again.
func TestTCPNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused, dials := errors.New("refused"), 0
		s := newServer(serverAddr, upstream.Options{
			UseTCP: true, Attempts: 1,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				dials++
				time.Sleep(time.Second) // virtual time
				return nil, refused
			},
		})
		defer upstream.KeepTCP(s)()
		k := &kept{Server: s, t: t}
		a, b := k.ask(t.Context(), "a.example"), k.ask(t.Context(), "b.example")
		for _, wait := range []func() error{a, b, k.ask(t.Context(), "c.example")} {
			if err := wait(); !errors.Is(err, refused) {
				t.Error(err)
			}
		}
		if err := k.ask(t.Context(), "d.example")(); !errors.Is(err, refused) {
			t.Error(err)
		}
		want(t, "connections", dials, 2)
	})
}

// TestTCPSlowConnection: a question that comes while a connection is waited for in
// vain has its whole time, on another.
func TestTCPSlowConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		s := newServer(serverAddr, upstream.Options{
			UseTCP: true, Attempts: 1,
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				dials++
				if dials == 1 {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				client, server := net.Pipe()
				go (&peer{server, dials}).answerAll()
				return client, nil
			},
		})
		defer upstream.KeepTCP(s)()
		defer upstream.CloseTCP(s)
		k := &kept{Server: s, t: t}
		first := k.ask(t.Context(), "a.example")
		time.Sleep(upstream.DefaultTimeout - time.Second) // virtual time
		if err := k.ask(t.Context(), "b.example")(); err != nil {
			t.Error(err)
		}
		if err := first(); err == nil {
			t.Error("the first was answered")
		}
		want(t, "connections", dials, 2)
	})
}

// TestTCPCannotWrite: no question goes to a connection that takes no more.
func TestTCPCannotWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		s := newServer(serverAddr, upstream.Options{
			UseTCP: true, Attempts: 1,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				dials++
				client, _ := net.Pipe()
				return deaf{client}, nil
			},
		})
		defer upstream.KeepTCP(s)()
		k := &kept{Server: s, t: t}
		for range 2 {
			defer k.ask(t.Context(), "www.example")()
			synctest.Wait()
		}
		want(t, "connections", dials, 2)
	})
}

// deaf is a connection that cannot be written to.
type deaf struct{ net.Conn }

func (deaf) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
