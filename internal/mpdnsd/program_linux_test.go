package mpdnsd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// programState is what the program of [programMain] reports.
type programState struct {
	Token        uint32
	Manager, Why string
	Chunks       int
	Verdicts     map[string]dialer.Verdict
}

// program is a program that uses the dialer.
type program struct {
	conn *dialer.Conn

	mu      sync.Mutex // guards what follows
	chunks  int
	err     error
	stop    bool
	changed *sync.Cond
}

// programMain connects to the addresses of its arguments after the first, which
// is the broker's socket, and reports. From the first line of its input on it
// carries data; at each line it reports when its joins are done and one more
// chunk was carried; with the end of the input it ends.
func programMain() {
	if err := runProgram(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "pathprogram:", err)
		os.Exit(1)
	}
}

func runProgram(socket string, addrs []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 6*waitTime)
	defer cancel()
	var set []netip.AddrPort
	for _, a := range addrs {
		set = append(set, netip.MustParseAddrPort(a))
	}
	d := dialer.Dialer{Broker: socket}
	c, err := d.Connect(ctx, mpaddr.FromAddrPorts(set...))
	if err != nil {
		return err
	}
	defer c.Close()
	p := &program{conn: c}
	p.changed = sync.NewCond(&p.mu)
	return p.obey(ctx)
}

func (p *program) obey(ctx context.Context) error {
	if err := p.report(); err != nil {
		return err
	}
	var carrying sync.WaitGroup
	for lines, begun := bufio.NewScanner(os.Stdin), false; lines.Scan(); begun = true {
		if !begun {
			carrying.Go(p.carry)
		}
		p.awaitChunk()
		if err := p.conn.WaitJoins(ctx); err != nil {
			return err
		}
		if err := p.report(); err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.stop = true
	p.mu.Unlock()
	carrying.Wait()
	return p.err
}

// carry is a goroutine.
func (p *program) carry() {
	random := rand.NewChaCha8([32]byte{1})
	for {
		err := carry(p.conn, random)
		p.mu.Lock()
		p.chunks++
		p.err = err
		ended := p.stop || err != nil
		p.changed.Broadcast()
		p.mu.Unlock()
		if ended {
			return
		}
	}
}

// awaitChunk waits until a chunk was carried that was begun after the call.
func (p *program) awaitChunk() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := p.chunks + 2; p.chunks < n && p.err == nil; {
		p.changed.Wait()
	}
}

func (p *program) report() error {
	r := p.conn.Report()
	s := programState{Token: p.conn.ID(), Manager: r.Manager, Why: r.Why, Verdicts: map[string]dialer.Verdict{}}
	for _, j := range r.Joins {
		s.Verdicts[j.Remote.Addr().String()] = j.Verdict
	}
	p.mu.Lock()
	s.Chunks = p.chunks
	err := p.err
	p.mu.Unlock()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}
