package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// cacheFolder is where bench/dns/install puts what no package has, in the
// user's cache folder.
const cacheFolder = "mpresolve-bench"

// The ports on 127.0.0.1, in the bench's own network namespace.
const (
	upstreamPort = 5300 // the servers have those that follow
	readyTimeout = 15 * time.Second
	askEvery     = time.Millisecond // at a start
)

// bench is the folder, the processes and the settings of a run. It is used by
// one goroutine.
type bench struct {
	settings
	dir      string
	starter  *starter
	cores    []int // [0] is the servers', the last the load's and the upstream's
	upstream *process
	programs map[string]string // of each peer there is
	missing  []peer
	servers  []*server
	port     uint16 // of the last server
	notes    []string
}

// note adds a line below the table.
func (b *bench) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

// server is a peer that runs.
type server struct {
	peer
	addr  netip.AddrPort
	ready time.Time // when it gave its first answer
	*process
}

func newBench(ctx context.Context, s settings) (b *bench, err error) {
	b = &bench{settings: s, starter: newStarter(), programs: map[string]string{}, cores: s.cores, port: upstreamPort}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.dir, err = os.MkdirTemp("", "dns-"); err != nil {
		return b, err
	}
	if err := b.findPrograms(ctx); err != nil {
		return b, err
	}
	return b, b.startUpstream(ctx)
}

// errEnded says that a server ended without an error of its own.
var errEnded = errors.New("exit status 0")

// findPrograms looks for the peers that are asked for, and builds our own.
func (b *bench) findPrograms(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	installed := filepath.Join(cache, cacheFolder)
	for _, p := range b.chosenPeers() {
		switch p.name {
		case ours:
			b.programs[p.name] = b.mpdnsd
		case goEcho:
			b.programs[p.name] = self
		case cEcho:
			source, binary := filepath.Join(b.dir, "echo.c"), filepath.Join(b.dir, p.program)
			if err := os.WriteFile(source, cSource, 0o600); err != nil {
				return err
			}
			if buildCEcho(ctx, source, binary) == nil {
				b.programs[p.name] = binary
			}
		default:
			if path, err := find(p.program, installed); err == nil {
				b.programs[p.name] = path
			}
		}
		if b.programs[p.name] == "" {
			b.missing = append(b.missing, p)
		}
	}
	return nil
}

// startUpstream starts the authoritative server, on the load's core.
func (b *bench) startUpstream(ctx context.Context) error {
	dir := filepath.Join(b.dir, "upstream")
	addr := netip.AddrPortFrom(loopback(), upstreamPort)
	files, args := knotConfig(setting{dir: dir, port: upstreamPort})
	program, err := find("knotd", "")
	if err != nil {
		b.note("The upstream was the bench's own: apt-get install knot.")
		files, args = nil, []string{authorityArg, addr.String()}
		if program, err = os.Executable(); err != nil {
			return err
		}
	}
	if err := writeFiles(dir, files); err != nil {
		return err
	}
	zone, err := os.Create(filepath.Join(dir, "zone"))
	if err != nil {
		return err
	}
	if err := errors.Join(writeZone(zone), zone.Close()); err != nil {
		return err
	}
	last := b.cores[len(b.cores)-1:]
	if b.upstream, err = startProcess(b.starter, last, dir, nil, append([]string{program}, args...)); err != nil {
		return err
	}
	return b.awaitAnswer(ctx, b.upstream, addr, queryOf(0))
}

// loopback is the address of all servers.
func loopback() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }

func writeFiles(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// startServer starts a peer on cores and waits until it answers.
func (b *bench) startServer(ctx context.Context, p peer, cores []int) (*server, error) {
	b.port++
	s := &server{peer: p, addr: netip.AddrPortFrom(loopback(), b.port)}
	dir, err := os.MkdirTemp(b.dir, p.program+"-")
	if err != nil {
		return nil, err
	}
	files, args := p.config(setting{dir: dir, port: s.addr.Port(), upstream: upstreamPort, threads: len(cores)})
	if err := writeFiles(dir, files); err != nil {
		return nil, err
	}
	s.process, err = startProcess(b.starter, cores, dir, p.env, append([]string{b.programs[p.name]}, args...))
	if err != nil {
		return nil, err
	}
	q := queryOf(0)
	if p.floor {
		q.want = expectation{}
	}
	if err := b.awaitAnswer(ctx, s.process, s.addr, q); err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	s.ready = time.Now()
	return s, nil
}

// awaitAnswer asks until the right answer comes.
func (b *bench) awaitAnswer(ctx context.Context, p *process, addr netip.AddrPort, q query) error {
	l, err := dialLink(addr, false, 1)
	if err != nil {
		return err
	}
	defer l.close()
	l.probe(q)
	for deadline := time.Now().Add(readyTimeout); time.Now().Before(deadline); {
		select {
		case <-p.ended:
			return fmt.Errorf("it ended at its start: %w: %s", cmp.Or(p.err, errEnded), p.output)
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		if l.ask(askEvery) {
			return nil
		}
	}
	return fmt.Errorf("no answer within %v", readyTimeout)
}

// close ends everything that the bench started.
func (b *bench) close() error {
	var stopping sync.WaitGroup
	for _, s := range b.servers {
		stopping.Go(s.stop)
	}
	stopping.Wait()
	if b.upstream != nil {
		b.upstream.stop()
	}
	b.starter.close()
	if b.dir == "" {
		return nil
	}
	return os.RemoveAll(b.dir)
}

// buildMpdnsd builds this module's daemon.
func buildMpdnsd(ctx context.Context, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/af-multipath/mpresolve/cmd/mpdnsd")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build mpdnsd: %w: %s", err, out)
	}
	return nil
}
