// Package examples_test holds the README's table against the examples.
package examples_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// row matches a row of the table: folder, file, and the line that matters.
var row = regexp.MustCompile("(?m)^\\| \\[(\\w+)\\]\\((\\S+)\\) \\|.*\\| `([^`]+)` \\|$")

// TestReadmeTable wants each example in the table, with a line that is in it.
func TestReadmeTable(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		folder, file, line := m[1], m[2], m[3]
		named = append(named, folder)
		source, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		} else if !strings.Contains(string(source), line) {
			t.Errorf("README.md quotes %q, which is not in %s", line, file)
		}
	}
	files, err := filepath.Glob("*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if folder := filepath.Dir(file); !slices.Contains(named, folder) {
			t.Errorf("README.md does not name %s", folder)
			named = append(named, folder)
		}
	}
	if len(files) == 0 {
		t.Error("found no example: is the test run from its folder?")
	}
}
