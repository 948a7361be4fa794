package verdicts

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/atomicfile"
	"github.com/af-multipath/mpresolve/internal/hostid"
)

// SaveInterval is how often the file is written if there is something new: what a
// crash can lose.
const SaveInterval = 2 * time.Minute

// file keeps a store in a file.
type file struct {
	path    string
	store   *Store
	log     *slog.Logger
	written [sha256.Size]byte // of what the file holds; zero: not known
	failed  bool              // to write it, the last time; that was logged
	cancel  context.CancelFunc
	running sync.WaitGroup // run
}

// openFile reads the file and begins to write it. Whatever is wrong with it costs what
// it held, never the start.
func openFile(path string, s *Store, log *slog.Logger) *file {
	f := &file{path: path, store: s, log: log}
	f.load(time.Now())
	var ctx context.Context
	ctx, f.cancel = context.WithCancel(context.Background())
	f.running.Go(func() { f.run(ctx) })
	return f
}

// run is a goroutine. It owns the file.
func (f *file) run(ctx context.Context) {
	tick := time.NewTicker(SaveInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.save(time.Now())
		case <-ctx.Done():
			f.save(time.Now())
			return
		}
	}
}

// close writes the file for the next run.
func (f *file) close() {
	f.cancel()
	f.running.Wait()
}

// load reads what an earlier run has left. What cannot be read is set aside: the next
// writing would replace it.
func (f *file) load(now time.Time) {
	octets, err := read(f.path)
	if err == nil {
		err = f.store.restore(octets, now)
	}
	switch {
	case err == nil:
		f.written = sha256.Sum256(octets)
		f.log.Info("verdicts file: read", "file", f.path, "pairs", f.store.memory.Len(), "users", len(f.store.Users()))
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(f.path)); err != nil {
			f.log.Warn("verdicts file: its folder is needed before anything can be kept", "file", f.path, "error", err)
			return
		}
		f.log.Info("verdicts file: none yet", "file", f.path)
	case errors.Is(err, errIrregular):
		f.log.Warn("verdicts file: not read, and not replaced", "file", f.path, "error", err)
	default:
		aside, asideErr := atomicfile.SetAside(f.path)
		f.log.Warn("verdicts file: set aside, the memory begins empty", "file", f.path, "error", err, "as", aside, "failure", asideErr)
	}
}

// errIrregular is why a folder, a pipe or a device is left alone.
var errIrregular = errors.New("not a regular file")

// read reads a file that may be anything.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // a pipe would block
		return nil, fmt.Errorf("%s: %w", path, errIrregular)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, hostid.MaxSnapshot+1)) // which restore refuses
}

// save writes the file if there is something new. A failure is logged once.
func (f *file) save(now time.Time) {
	octets := f.store.snapshot(now)
	sum := sha256.Sum256(octets)
	if sum == f.written {
		return
	}
	err := f.replace(octets)
	if err == nil {
		f.written, f.failed = sum, false
		f.log.Debug("verdicts file: written", "file", f.path, "octets", len(octets))
		return
	}
	if !f.failed {
		f.failed = true
		f.log.Warn("verdicts file: not written", "file", f.path, "error", err)
	}
}

// replace writes a new content in place of a regular file, or of none.
func (f *file) replace(octets []byte) error {
	if info, err := os.Stat(f.path); err == nil && !info.Mode().IsRegular() {
		return errIrregular
	}
	return atomicfile.Write(f.path, func(w io.Writer) error {
		_, err := w.Write(octets)
		return err
	})
}
