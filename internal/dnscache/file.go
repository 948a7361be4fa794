package dnscache

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/af-multipath/mpresolve/internal/atomicfile"
)

// SaveFile saves to a file, for its owner's eyes only. The file is the old one or the new one, whole,
// whenever the machine stops.
func (c *Cache) SaveFile(path string, now time.Time) error {
	err := atomicfile.Write(path, func(w io.Writer) error { return c.Save(w, now) })
	if err != nil {
		return fmt.Errorf("save cache: %w", err)
	}
	return nil
}

// LoadFile loads what SaveFile saved and returns how many entries it added; see Load. A file that is
// not there is an error that wraps fs.ErrNotExist.
func (c *Cache) LoadFile(path string, now time.Time) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("load cache: %w", err)
	}
	defer f.Close()
	n, err := c.Load(f, now)
	if err != nil {
		return n, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}
