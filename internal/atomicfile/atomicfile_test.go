package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestWrite: an error of any step leaves the old content, and nothing else in the
// folder.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := io.WriteString(w, s)
			return err
		}
	}
	want := func(s string, files int) {
		t.Helper()
		got, err := os.ReadFile(path)
		if err != nil || string(got) != s {
			t.Errorf("%q, %v; want %q", got, err, s)
		}
		if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != files {
			t.Errorf("%v, %v", all, err)
		}
	}
	for _, s := range []string{"one", "two"} {
		if err := Write(path, text(s)); err != nil {
			t.Fatal(err)
		}
		want(s, 1)
	}
	broken := errors.New("broken")
	err := Write(path, func(w io.Writer) error { return errors.Join(text("half")(w), broken) })
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	want("two", 1)
	if err := Write(filepath.Join(path, "none", "file"), text("x")); err == nil {
		t.Error("written where there is no folder")
	}
	for range 2 {
		if aside, err := SetAside(path); err != nil || aside != path+damaged {
			t.Errorf("%q, %v", aside, err)
		}
		if err := Write(path, text("anew")); err != nil {
			t.Fatal(err)
		}
		want("anew", 2)
	}
	if err := os.Mkdir(path+".dir", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(path+".dir", text("x")); err == nil {
		t.Error("written over a folder")
	}
	want("anew", 3)
	if _, err := SetAside(path + ".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
