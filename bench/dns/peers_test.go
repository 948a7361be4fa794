package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConfigs looks for port, upstream and folder in what a peer is given.
func TestConfigs(t *testing.T) {
	s := setting{dir: "/run/of-its-own", port: 5399, upstream: 5398, threads: 1}
	for _, p := range peers() {
		files, args := p.config(s)
		text := strings.Join(args, " ")
		for name, content := range files {
			if name != filepath.Base(name) {
				t.Errorf("%s: file %q is outside of its folder", p.name, name)
			}
			text += content
		}
		if !strings.Contains(text, fmt.Sprint(s.port)) {
			t.Errorf("%s: does not know its port: %s", p.name, text)
		}
		if !p.floor && !strings.Contains(text, fmt.Sprint(s.upstream)) {
			t.Errorf("%s: does not know its upstream: %s", p.name, text)
		}
		if !p.floor && len(files) != 1 {
			t.Errorf("%s: %d files", p.name, len(files))
		}
	}
}

// TestThreads has as many as there are cores.
func TestThreads(t *testing.T) {
	files, _ := dnsdistConfig(setting{threads: 3})
	if n := strings.Count(files["dnsdist.conf"], "addLocal"); n != 3 {
		t.Error(n)
	}
	files, _ = unboundConfig(setting{threads: 3})
	if !strings.Contains(files["unbound.conf"], "num-threads: 3\n") {
		t.Error(files)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "some-server")
	if got, err := find("some-server", dir); err == nil {
		t.Error("found", got)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := find("some-server", dir); err == nil {
		t.Error("found what cannot be run:", got)
	}
	if err := os.Chmod(path, 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	if got, err := find("some-server", dir); got != path {
		t.Error(got, err)
	}
}
