package zone

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// source opens a zone's files and knows which line of which file was read
// last. It is the fs.FS that the parser opens $INCLUDE files from.
type source struct {
	fsys  fs.FS
	dir   string  // what messages put before names
	open  []*file // the files being read, the innermost last
	total int
}

// Open implements fs.FS. Only regular files are opened, so that a pipe or a
// device cannot hold the daemon.
func (s *source) Open(name string) (fs.File, error) {
	if s.total > maxIncludes {
		return nil, fmt.Errorf("more than %d files included", maxIncludes)
	}
	s.total++
	info, err := fs.Stat(s.fsys, name)
	if err != nil {
		return nil, outside(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := s.fsys.Open(name)
	if err != nil {
		return nil, outside(err)
	}
	in := &file{File: f, buf: bufio.NewReader(f), src: s, name: filepath.Join(s.dir, filepath.FromSlash(name)), ended: true}
	s.open = append(s.open, in)
	return in, nil
}

// position is the line of the record that was read last.
func (s *source) position() position {
	if len(s.open) == 0 {
		return position{}
	}
	in := s.open[len(s.open)-1]
	line := in.lines
	if !in.ended {
		line++
	}
	return position{in.name, line}
}

// close closes what an error left open.
func (s *source) close() {
	for len(s.open) > 0 {
		_ = s.open[len(s.open)-1].Close() // read only: nothing is lost
	}
}

// parseError puts miekg/dns's error, "FILE: dns: WHAT: TOKEN at line: L:C",
// in the form of all others: FILE:L:C: WHAT: TOKEN.
func (s *source) parseError(err error) error {
	text := err.Error()
	what, at, ok := cutLast(text, " at line: ")
	name, what2, ok2 := strings.Cut(what, ": dns: ")
	if !ok || !ok2 {
		return fmt.Errorf("%s: %w", s.position(), err)
	}
	return &syntaxError{
		text: filepath.Join(s.dir, filepath.FromSlash(name)) + ":" + at + ": " + what2,
		err:  err,
	}
}

// cutLast is strings.Cut at the last occurrence of sep.
func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// syntaxError is a parser's error in the daemon's wording.
type syntaxError struct {
	text string
	err  error
}

func (e *syntaxError) Error() string { return e.text }

func (e *syntaxError) Unwrap() error { return e.err }

// file is one open zone file. It counts lines as the parser takes octets.
type file struct {
	fs.File
	buf   *bufio.Reader
	src   *source
	name  string
	lines int  // line ends read
	ended bool // the last octet read was a line end, or none was read
}

// ReadByte implements io.ByteReader, which is what the parser reads by.
func (f *file) ReadByte() (byte, error) {
	c, err := f.buf.ReadByte()
	if err != nil {
		return 0, err
	}
	f.ended = c == '\n'
	if f.ended {
		f.lines++
	}
	return c, nil
}

// Close closes the file and goes back to the one that included it.
func (f *file) Close() error {
	for i, in := range f.src.open {
		if in == f {
			f.src.open = f.src.open[:i]
			break
		}
	}
	return f.File.Close()
}

// outside words the refusal of a name that leaves the zone file's folder.
func outside(err error) error {
	err = plain(err)
	if errors.Is(err, fs.ErrInvalid) || strings.Contains(err.Error(), "escapes") {
		return fmt.Errorf("outside the zone file's folder: %w", err)
	}
	return err
}

// plain drops the operation and path that an *fs.PathError repeats.
func plain(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
