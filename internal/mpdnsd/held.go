package mpdnsd

import (
	"cmp"
	"slices"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/zone"
)

// held lists what a cache holds of a name, sorted by type.
func held(c *dnscache.Cache, name dnswire.Name, now time.Time) control.Held {
	h := control.Held{Name: name.String(), Entries: []control.Entry{}}
	all := c.Lookup(name, now)
	slices.SortFunc(all, func(a, b dnscache.Held) int { return cmp.Compare(a.Question.Type, b.Question.Type) })
	h.Truncated = len(all) > control.MaxEntries
	for _, e := range all[:min(len(all), control.MaxEntries)] {
		h.Entries = append(h.Entries, entryView(c, e, now))
	}
	return h
}

// entryView is an entry with its records.
func entryView(c *dnscache.Cache, e dnscache.Held, now time.Time) control.Entry {
	v := control.Entry{
		Type: e.Question.Type.String(), Class: e.Question.Class.String(), DO: e.DO, CD: e.CD,
		Status: e.RCode.String(), AgeMS: e.Age.Milliseconds(), TTLMS: e.Expires.Sub(now).Milliseconds(),
		Negative: e.Negative, Failure: e.Failure,
	}
	key := e.Question.AppendKey(nil, e.DO, e.CD)
	msg, _, ok := c.Get(nil, key, now)
	if !ok {
		msg, _, ok = c.GetStale(nil, key, now)
	}
	if !ok {
		v.Records = []string{"(gone meanwhile)"}
		return v
	}
	records, err := zone.Text(msg)
	if err != nil {
		records = []string{"(" + err.Error() + ")"}
	}
	v.Records = records
	return v
}

// flush forgets a part of a cache, or all of it, and says how many entries.
func flush(c *dnscache.Cache, s control.Scope) int {
	switch {
	case s == (control.Scope{}):
		n := c.Stats().Entries
		c.Flush()
		return n
	case s.Below:
		return c.FlushZone(s.Name)
	}
	return c.FlushName(s.Name)
}
