package sysconf

import (
	"bytes"
	"crypto/sha256"
	"errors"
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
	// tell returns value with a problem added to its warnings; nil if it has none.
	tell func(value T, problem string) T
	// generate, if not nil, is where the contents come from in place of path.
	generate func() ([]byte, error)

	looking sync.Mutex
	current atomic.Pointer[snapshot[T]]
}

// snapshot is the outcome of one look. It is not changed once published.
type snapshot[T any] struct {
	value   T      // what callers get: good, with the problem told
	good    T      // of the last good contents, parse(nil) if there never were any
	problem string // why good is not what the file says now, "" if it is
	checked time.Time
	read    bool // there are good contents
	sum     [sha256.Size]byte
	info    fs.FileInfo // of the good contents, nil if generated
	racy    bool        // info alone does not show that they are unchanged
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
	s.good, _ = f.parse(nil)
	s.value = s.good
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
		return f.troubled(old, err)
	}
	next := old
	next.problem, next.value = "", old.good
	if data != nil {
		if sum := sha256.Sum256(data); !old.read || sum != old.sum {
			next.good, next.pinned = f.parse(data)
			next.value, next.sum, next.read = next.good, sum, true
		}
	}
	next.info = info
	next.racy = info != nil && now.Sub(info.ModTime()) < racyWindow
	return next
}

// troubled returns old with what err means for it. The value stays the same one
// while the trouble does.
func (f *file[T]) troubled(old snapshot[T], err error) snapshot[T] {
	problem := f.name() + ": " + cause(err).Error() + ": going on "
	if old.read {
		problem += "with what it said before"
	} else {
		problem += "without it"
	}
	if problem != old.problem {
		old.problem, old.value = problem, old.good
		if f.tell != nil {
			old.value = f.tell(old.good, problem)
		}
	}
	return old
}

// name is what the contents come from, for people.
func (f *file[T]) name() string {
	if f.generate != nil {
		return "network adapters"
	}
	return f.path
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
	if old.read && !old.racy && sameContents(old.info, info) {
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
