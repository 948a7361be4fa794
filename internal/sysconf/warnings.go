package sysconf

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// warnings collects what a parser has to say about a file, up to MaxWarnings.
type warnings struct {
	file string
	line int // the line being read, from 1; 0 if there are no lines
	list []string
}

// warn adds a warning about the current line.
func (w *warnings) warn(format string, args ...any) {
	where := w.file
	if w.line > 0 {
		where += ":" + strconv.Itoa(w.line)
	}
	w.add(where + ": " + fmt.Sprintf(format, args...))
}

func (w *warnings) add(s string) {
	switch {
	case len(w.list) < MaxWarnings-1:
		w.list = append(w.list, s)
	case len(w.list) == MaxWarnings-1:
		w.list = append(w.list, w.file+": more warnings left out")
	}
}

// warnEnd says why the file was not read to its end, if it was not.
func (w *warnings) warnEnd(cut bool, err error, limit int) {
	if err != nil {
		w.add(fmt.Sprintf("%s: read stopped after line %d: %v", w.file, w.line, err))
	}
	if cut {
		w.add(fmt.Sprintf("%s: longer than %d octets: not read after line %d", w.file, limit, w.line))
	}
}

// readBounded reads r up to limit octets and reports whether there was more, in
// which case the text ends at the last whole line. An error leaves what was read
// before it.
func readBounded(r io.Reader, limit int) (text string, cut bool, err error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if len(b) <= limit {
		return string(b), false, err
	}
	text = string(b[:limit])
	return text[:strings.LastIndexByte(text, '\n')+1], true, err
}
