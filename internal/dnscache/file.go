package dnscache

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// SaveFile saves to a file, for its owner's eyes only. The file is the old one or the new one, whole,
// whenever the machine stops.
func (c *Cache) SaveFile(path string, now time.Time) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("save cache: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := c.Save(f, now); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("save cache: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("save cache: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("save cache: %w", err)
	}
	if d, err := os.Open(dir); err == nil { // so that the new name lasts too, where directories can be synced
		_ = d.Sync()
		_ = d.Close()
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

// SetAside renames a damaged file so that it can be looked at and is not read again; an older one that
// was set aside makes room. It returns the new name.
func SetAside(path string) (string, error) {
	aside := path + ".damaged"
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("set a damaged cache aside: %w", err)
	}
	return aside, nil
}
