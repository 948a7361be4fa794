// Package atomicfile replaces files as a whole, and puts damaged ones aside.
package atomicfile

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// damaged is what the name of a file that was set aside ends in.
const damaged = ".damaged"

// Write has fill write a new content of path, for its owner's eyes only. The file is
// the old one or the new one, whole, whenever the machine stops; on an error it is the
// old one.
func Write(path string, fill func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := fill(f); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if d, err := os.Open(dir); err == nil { // so that the new name lasts too, where directories can be synced
		_ = d.Sync()
		_ = d.Close()
	}
	return nil
}

// SetAside renames a damaged file so that it can be looked at and is not read again; an
// older one that was set aside makes room. It returns the new name.
func SetAside(path string) (string, error) {
	aside := path + damaged
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("set aside: %w", err)
	}
	return aside, nil
}
