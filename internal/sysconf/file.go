package sysconf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// racyWindow is how long after its modification time a file is not believed to
// be unchanged because its times and size are: it may have been written again
// within one tick of the file system's clock.
const racyWindow = 2 * time.Second

var (
	errNotRegular = errors.New("not a regular file")
	errNotText    = errors.New("not a text file")
)

// file is one file parsed into a T, and parsed again when it changes. Any number
// of goroutines may call get; looking serialises those that look at the file and
// guards nothing that get reads.
type file[T any] struct {
	path     string // "": there is none
	limit    int    // octets that parse takes
	optional bool   // that it does not exist is no problem
	// parse makes a T of the contents, nil if there are none; pinned means
	// never look again.
	parse func([]byte) (value T, pinned bool)
	// generate, if not nil, is where the contents come from in place of path.
	generate func() ([]byte, error)

	looking sync.Mutex
	current atomic.Pointer[snapshot[T]]
}

// snapshot is the outcome of one look. It is not changed once published.
type snapshot[T any] struct {
	value   T      // of the last good contents, parse(nil) if there never were any
	problem string // why value is not what the file says now, "" if it is
	checked time.Time
	info    fs.FileInfo // of the last good contents, nil if there are none
	data    []byte      // the same, if generated or racy, to be compared
	racy    bool
	pinned  bool
}

// get returns the value as of now.
func (f *file[T]) get(now time.Time) snapshot[T] {
	old := f.current.Load()
	switch {
	case old == nil:
		f.looking.Lock()
	case old.pinned || fresh(old.checked, now):
		return *old
	case !f.looking.TryLock():
		return *old // someone is at it
	}
	defer f.looking.Unlock()
	if old = f.current.Load(); old == nil {
		old = f.absent()
	} else if fresh(old.checked, now) {
		return *old
	}
	next := f.look(*old, now)
	next.checked = now
	f.current.Store(&next)
	return next
}

// fresh reports whether a look at checked still counts. A clock that went back
// makes it stale.
func fresh(checked, now time.Time) bool {
	age := now.Sub(checked)
	return 0 <= age && age < CheckInterval
}

// absent is the snapshot of a file that is not there.
func (f *file[T]) absent() *snapshot[T] {
	var s snapshot[T]
	s.value, _ = f.parse(nil)
	return &s
}

// look returns the snapshot that follows old.
func (f *file[T]) look(old snapshot[T], now time.Time) snapshot[T] {
	if f.path == "" && f.generate == nil {
		return old
	}
	info, data, err := f.read(old)
	switch {
	case errors.Is(err, fs.ErrNotExist) && f.optional:
		return *f.absent()
	case err != nil:
		old.problem = f.problem(old, err)
		return old
	}
	old.problem = ""
	if data == nil || (old.data != nil && bytes.Equal(data, old.data)) {
		old.info = info
		return f.keep(old, old.data, now)
	}
	next := snapshot[T]{info: info}
	next.value, next.pinned = f.parse(data)
	return f.keep(next, data, now)
}

// keep notes in s whether its file may still change unseen.
func (f *file[T]) keep(s snapshot[T], data []byte, now time.Time) snapshot[T] {
	s.racy = s.info != nil && now.Sub(s.info.ModTime()) < racyWindow
	s.data = nil
	if s.racy || f.generate != nil {
		s.data = data
	}
	return s
}

// problem says what err means for the value in effect.
func (f *file[T]) problem(old snapshot[T], err error) string {
	what := f.path
	if f.generate != nil {
		what = "network adapters"
	}
	if old.info == nil && old.data == nil {
		return fmt.Sprintf("%s: %v: going on without it", what, cause(err))
	}
	return fmt.Sprintf("%s: %v: going on with what it said before", what, cause(err))
}

// cause strips the operation and path that the os package puts before an error.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// read returns the contents, or nil data if they are those of old.
func (f *file[T]) read(old snapshot[T]) (fs.FileInfo, []byte, error) {
	if f.generate != nil {
		data, err := f.generate()
		return nil, data, err
	}
	// Not opened before it is known to be regular: opening a pipe waits.
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errNotRegular
	}
	if old.info != nil && !old.racy && sameContents(old.info, info) {
		return info, nil, nil
	}
	return readFile(f.path, f.limit)
}

// sameContents reports whether a file seen twice has not been written between.
func sameContents(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// readFile reads a text file up to one octet more than limit, from which a parser
// sees that it was cut. The FileInfo was taken before the contents were read, so
// that a write between shows as a change.
func readFile(path string, limit int) (fs.FileInfo, []byte, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil:
		return nil, nil, err
	case bytes.IndexByte(data, 0) >= 0:
		return nil, nil, errNotText
	}
	return info, data, nil
}
