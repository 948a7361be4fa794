package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Errors is everything that is wrong with a configuration file, in the order
// of its lines. It is never empty.
type Errors []*Error

// Error returns one line for each error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Error is one thing that is wrong with a configuration file.
type Error struct {
	File         string
	Line, Column int    // from 1
	Key          string // such as "upstream.strategy"; empty for the file's syntax
	Msg          string
}

// Error returns FILE:LINE:COLUMN: KEY: MESSAGE.
func (e *Error) Error() string {
	key := e.Key
	if key != "" {
		key += ": "
	}
	return fmt.Sprintf("%s:%d:%d: %s%s", e.File, e.Line, e.Column, key, e.Msg)
}

// Parse reads the text of a configuration file; name is what errors call it.
// The error is of type Errors.
func Parse(name string, text []byte) (Config, error) {
	p := parser{file: name, config: Default(), keys: schema()}
	p.syntax(text)
	p.doc.Reset(text)
	for p.doc.NextExpression() {
		p.expression(p.doc.Expression())
	}
	if len(p.errs) == 0 {
		p.whole()
	}
	if len(p.errs) > 0 {
		slices.SortStableFunc(p.errs, func(a, b *Error) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return Config{}, p.errs
	}
	return p.config, nil
}

// parser walks a document's expressions and sets what they say. The
// document's own parser gives places, which decoding into a struct does not.
type parser struct {
	file     string
	doc      unstable.Parser
	config   Config
	keys     map[string]setter
	table    string // the table that key-values stand in
	broken   bool   // that table is not known: its keys are not looked at
	zones    []place
	forwards []place
	limits   place // of the cache's TTLs
	paths    place // of paths.enabled
	errs     Errors
}

// place is a line and column, both from 1.
type place struct{ line, column int }

// syntax notes the first thing that is no TOML, or defined twice.
func (p *parser) syntax(text []byte) {
	var all map[string]any
	err := toml.Unmarshal(text, &all)
	if err == nil {
		return
	}
	at := place{1, 1}
	var de *toml.DecodeError
	if errors.As(err, &de) {
		at.line, at.column = de.Position()
	}
	p.fail(at, "", "%s", strings.TrimPrefix(err.Error(), "toml: "))
}

// fail notes an error.
func (p *parser) fail(at place, key, format string, args ...any) {
	p.errs = append(p.errs, &Error{p.file, at.line, at.column, key, fmt.Sprintf(format, args...)})
}

// place is where a node stands.
func (p *parser) place(n *unstable.Node) place {
	start := p.doc.Shape(n.Raw).Start
	return place{start.Line, start.Column}
}

// expression takes one line of the document: a table's head or a key and its
// value.
func (p *parser) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.Table, unstable.ArrayTable:
		key, at := p.key("", n.Key())
		p.table, p.broken = key, !p.isTable(key, n.Kind)
		if p.broken {
			p.fail(at, key, "unknown table (%s)", p.known("", true))
		} else if isArray(key) {
			p.addTable(key, at)
		}
	case unstable.KeyValue:
		if !p.broken {
			p.keyValue(p.table, n)
		}
	}
}

// key joins the parts of a key below a table, and says where the first is.
func (p *parser) key(table string, parts unstable.Iterator) (key string, at place) {
	key = table
	for parts.Next() {
		if at == (place{}) {
			at = p.place(parts.Node())
		}
		if key != "" {
			key += "."
		}
		key += string(parts.Node().Data)
	}
	return key, at
}

// keyValue sets one key, or those of an inline table.
func (p *parser) keyValue(table string, n *unstable.Node) {
	key, at := p.key(table, n.Key())
	if n.Value().Kind == unstable.InlineTable && p.isTable(key, unstable.Table) {
		for in := n.Value().Children(); in.Next(); {
			p.keyValue(key, in.Node())
		}
		return
	}
	set, ok := p.keys[key]
	if !ok {
		p.fail(at, key, "unknown key (%s)", p.known(parentKey(key), false))
		return
	}
	if parent := parentKey(key); isArray(parent) && table != parent {
		p.fail(at, key, "a %s is written below [[%[1]s]]", parent)
		return
	}
	if strings.HasSuffix(key, "_ttl") {
		p.limits = at
	}
	if key == "paths.enabled" {
		p.paths = at
	}
	set(&p.config, value{p: p, node: n.Value(), key: key, at: at})
}

// parentKey is the table that a key stands in.
func parentKey(key string) string {
	return key[:max(0, strings.LastIndexByte(key, '.'))]
}

// isTable reports whether key is a table of the schema that is written with
// this kind of head.
func (p *parser) isTable(key string, kind unstable.Kind) bool {
	if isArray(key) != (kind == unstable.ArrayTable) {
		return false
	}
	for name := range p.keys {
		if parentKey(name) == key && key != "" {
			return true
		}
	}
	return false
}

// known lists the keys of a table, or all tables.
func (p *parser) known(table string, tables bool) string {
	var names []string
	for name := range p.keys {
		parent := parentKey(name)
		switch {
		case tables && isArray(parent):
			names = append(names, "["+parent+"]")
		case tables && parent != "":
			names = append(names, parent)
		case !tables && parent == table:
			names = append(names, strings.TrimPrefix(name, table+"."))
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// addTable begins the next table of an array.
func (p *parser) addTable(key string, at place) {
	switch key {
	case zoneTable:
		p.config.Zones = append(p.config.Zones, Zone{})
		p.zones = append(p.zones, at)
	case forwardTable:
		p.config.Forwards = append(p.config.Forwards, Forward{})
		p.forwards = append(p.forwards, at)
	}
}

// whole checks what more than one key decides.
func (p *parser) whole() {
	for i, z := range p.config.Zones {
		if z.File == "" {
			p.fail(p.zones[i], zoneTable, "has no file")
		}
	}
	p.wholeForwards()
	c := p.config.Cache
	if c.MaxTTL != 0 && c.MinTTL > c.MaxTTL {
		p.fail(p.limits, "cache.min_ttl", "%v is more than max_ttl, %v", c.MinTTL, c.MaxTTL)
	}
	if err := p.config.Paths.check(); err != nil {
		p.fail(p.paths, "paths.enabled", "%v", err)
	}
}

// wholeForwards checks the [[forward]] tables and completes them.
func (p *parser) wholeForwards() {
	seen := map[dnswire.Name]bool{}
	for i := range p.config.Forwards {
		f, at := &p.config.Forwards[i], p.forwards[i]
		switch {
		case f.Zone == "":
			p.fail(at, forwardTable, "has no zone")
		case f.Zone == dnswire.Root:
			p.fail(at, forwardTable, "the root's servers are those of [upstream]")
		case seen[f.Zone]:
			p.fail(at, forwardTable, "a second one for %v", f.Zone)
		}
		if len(f.Servers) == 0 {
			p.fail(at, forwardTable, "has no servers")
		}
		if f.Strategy == "" {
			f.Strategy = p.config.Upstream.Strategy
		}
		seen[f.Zone] = true
	}
}
