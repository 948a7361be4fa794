// Package house_test checks the repository itself: who imports whom, one
// package comment each, and that ARCHITECTURE.md tells the truth.
package house_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/af-multipath/mpresolve"

// maxFileLines is the longest Go file that the house allows.
const maxFileLines = 500

// source is one Go file of the module, parsed.
type source struct {
	path string // slash-separated, relative to the root
	test bool
	ast  *ast.File
	text []byte
}

func (s source) dir() string { return path.Dir(s.path) }

// sources parses every Go file of the module. Folders with a go.mod of their own
// (tools, examples) are other modules.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	set := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != "." && (strings.HasPrefix(d.Name(), ".") || isModule(p)) {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(p) != ".go" {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(set, p, text, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(p), strings.HasSuffix(p, "_test.go"), file, text})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("found only %d Go files: is the test run from the root?", len(all))
	}
	return all
}

// isModule reports whether a folder is the root of a module.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// rule says which folders may import a path. An importer matches when it is
// one of the folders or lies below one.
type rule struct {
	imported string // an import path; it covers the paths below it
	allowed  []string
	inTests  bool // the rule holds in test files too
	reason   string
}

var rules = []rule{
	{"github.com/miekg/dns", []string{"internal/upstream", "internal/dnstest", "internal/mpdnsd/server", "internal/mpdnsd/zone", "resolver"}, false, "messages are raw octets everywhere else, and dns.Msg never stands in a public signature"},
	{"github.com/mdlayher/netlink", []string{"internal/mptcp", "internal/netmon", "internal/testlab"}, true, "the kernel is spoken to in few places"},
	{"github.com/mdlayher/genetlink", []string{"internal/mptcp"}, true, "the path manager has one room"},
	{"github.com/jsimonetti/rtnetlink", []string{"internal/netmon", "internal/testlab", "internal/mptcp"}, true, "links and routes have one room"},
	{"github.com/spf13/cobra", []string{"cmd", "internal/mpdnsd"}, true, "only commands have flags"},
	{"github.com/pelletier/go-toml", []string{"internal/mpdnsd/config"}, true, "the configuration file has one reader"},
	{"github.com/prometheus", []string{"internal/mpdnsd/metrics"}, true, "the daemon's figures have one room that knows their format"},
	{"github.com/redis", []string{"internal/mpdnsd/verdicts"}, true, "other machines are told of in one room"},
	{module + "/cmd", nil, true, "nothing imports a command"},
	{module + "/dialer", []string{"dialer", "cmd", "internal/mpdnsd", "bench"}, true, "the dialer uses the resolver, never the reverse"},
	{module + "/resolver", []string{"resolver", "dialer", "cmd", "internal/mpdnsd", "bench"}, true, "the resolver stands above the shared rooms"},
	{module + "/internal/mpdnsd", []string{"internal/mpdnsd", "cmd"}, true, "the daemon stands above the libraries"},
	{module + "/internal/testlab", []string{"internal/testlab", "cmd/mpresolve", "bench"}, false, "the lab is for tests, for the demo and for the benches"},
	{module + "/internal/dnstest", []string{"internal/dnstest"}, false, "scripted servers are for tests"},
	{"testing", []string{"internal/testlab/labtest"}, false, "no test code in a program"},
}

// TestImports holds the map of who may import whom.
func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		for _, spec := range s.ast.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			checkImport(t, s, imported)
		}
	}
}

func checkImport(t *testing.T, s source, imported string) {
	t.Helper()
	if s.dir() == "mpaddr" && !s.test && strings.Contains(imported, ".") {
		t.Errorf("%s imports %s: mpaddr uses the standard library only", s.path, imported)
	}
	if s.dir() == "internal/dnswire" && !s.test && strings.Contains(imported, ".") {
		t.Errorf("%s imports %s: dnswire uses the standard library only", s.path, imported)
	}
	for _, r := range rules {
		if !within(imported, r.imported) || (s.test && !r.inTests) {
			continue
		}
		if !slices.ContainsFunc(r.allowed, func(dir string) bool { return within(s.dir(), dir) }) {
			t.Errorf("%s imports %s: %s", s.path, imported, r.reason)
		}
	}
}

// within tells whether p is the path dir or lies below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// TestNoInit keeps wiring in one place.
func TestNoInit(t *testing.T) {
	for _, s := range sources(t) {
		for _, decl := range s.ast.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function: wiring is done in one place", s.path)
			}
		}
	}
}

// TestPackageComments wants one package comment in each folder, not none, not two.
func TestPackageComments(t *testing.T) {
	comments := map[string][]string{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		if _, seen := comments[s.dir()]; !seen {
			comments[s.dir()] = nil
		}
		if s.ast.Doc != nil {
			comments[s.dir()] = append(comments[s.dir()], s.path)
		}
	}
	for dir, files := range comments {
		if len(files) != 1 {
			t.Errorf("%s: %d package comments %v, want 1", dir, len(files), files)
		}
	}
}

// TestFileLength keeps every file short enough to be read in one go.
func TestFileLength(t *testing.T) {
	for _, s := range sources(t) {
		if n := strings.Count(string(s.text), "\n"); n > maxFileLines {
			t.Errorf("%s has %d lines, at most %d are allowed", s.path, n, maxFileLines)
		}
	}
}

var mapEntry = regexp.MustCompile("(?m)^\\| `([a-z0-9./_-]+)/` \\|")

// TestArchitectureNamesTheFolders holds the map of ARCHITECTURE.md against the
// folders that hold code: none is missing, none is invented.
func TestArchitectureNamesTheFolders(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, m := range mapEntry.FindAllStringSubmatch(string(text), -1) {
		named = append(named, m[1])
		if info, err := os.Stat(m[1]); err != nil || !info.IsDir() {
			t.Errorf("ARCHITECTURE.md names the folder %s, which does not exist", m[1])
		}
	}
	if len(named) == 0 {
		t.Fatal("ARCHITECTURE.md has no map of folders")
	}
	for _, s := range sources(t) {
		if s.dir() != "." && !slices.Contains(named, s.dir()) {
			t.Errorf("ARCHITECTURE.md does not name the folder %s", s.dir())
			named = append(named, s.dir())
		}
	}
}

// TestReadmeCommands wants the README's two commands where the CI takes them from.
func TestReadmeCommands(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"go run ./cmd/mpresolve demo", "go test ./..."} {
		if !strings.Contains(string(text), "\n"+command+"\n") {
			t.Errorf("README.md does not give the command %q on a line of its own", command)
		}
	}
	script, err := os.ReadFile(".ci/run")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(script), "go test ./...") {
		t.Error(".ci/run does not run the README's test command")
	}
}

var namedTest = regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")

// TestDraftTable wants every test that docs/draft.md names to exist.
func TestDraftTable(t *testing.T) {
	text, err := os.ReadFile("docs/draft.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	for _, s := range sources(t) {
		for _, decl := range s.ast.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && s.test {
				tests[f.Name.Name] = true
			}
		}
	}
	named := namedTest.FindAllStringSubmatch(string(text), -1)
	if len(named) == 0 {
		t.Fatal("docs/draft.md names no test")
	}
	for _, m := range named {
		if !tests[m[1]] {
			t.Errorf("docs/draft.md names %s, which does not exist", m[1])
		}
	}
}
