package mpdnsd

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/zone"
)

// keptEntry is an entry of the cache, copied out of it.
type keptEntry struct {
	key, msg []byte
	info     dnscache.Info
}

// held lists what a cache holds of a name, sorted by type.
func held(c *dnscache.Cache, name dnswire.Name, now time.Time) control.Held {
	h := control.Held{Name: name.String(), Entries: []control.Entry{}}
	var all []keptEntry
	c.Walk(now, func(key, msg []byte, info dnscache.Info) bool {
		if keyName(key) != name {
			return true
		}
		if h.Truncated = len(all) == control.MaxEntries; h.Truncated {
			return false
		}
		all = append(all, keptEntry{bytes.Clone(key), bytes.Clone(msg), info})
		return true
	})
	slices.SortFunc(all, func(a, b keptEntry) int { return bytes.Compare(a.key, b.key) })
	for _, e := range all {
		h.Entries = append(h.Entries, e.view(now))
	}
	return h
}

// keyName is the name in a cache's key. It is a view: to be kept, it is cloned.
func keyName(key []byte) dnswire.Name { return dnswire.Name(key[:len(key)-keyTail]) }

// keyTail is what follows the name in a key: type, class, flags.
const keyTail = 5

func (e keptEntry) view(now time.Time) control.Entry {
	tail := e.key[len(e.key)-keyTail:]
	v := control.Entry{
		Type:   dnswire.Type(uint16(tail[0])<<8 | uint16(tail[1])).String(),
		Class:  dnswire.Class(uint16(tail[2])<<8 | uint16(tail[3])).String(),
		DO:     tail[4]&1 != 0,
		CD:     tail[4]&2 != 0,
		Status: e.info.RCode.String(),
		AgeMS:  e.info.Age.Milliseconds(), TTLMS: e.info.Expires.Sub(now).Milliseconds(),
		Negative: e.info.Negative, Failure: e.info.Failure,
	}
	records, err := zone.Text(e.msg)
	if err != nil {
		records = []string{"(" + err.Error() + ")"}
	}
	v.Records = records
	return v
}

// flush forgets a part of a cache, or all of it, and says how many entries.
func flush(c *dnscache.Cache, s control.Scope, now time.Time) int {
	if s == (control.Scope{}) {
		n := c.Stats().Entries
		c.Flush()
		return n
	}
	var keys [][]byte
	c.Walk(now, func(key, _ []byte, _ dnscache.Info) bool {
		if name := keyName(key); name == s.Name || s.Below && name.IsSubdomainOf(s.Name) {
			keys = append(keys, bytes.Clone(key))
		}
		return true
	})
	n := 0
	for _, key := range keys {
		if c.Delete(key) {
			n++
		}
	}
	return n
}

// routes lists whom the daemon asks for what.
func (d *daemon) routes() []control.Route {
	c := &d.setup.config
	all := []control.Route{}
	for _, f := range c.Forwards {
		all = append(all, route(f.Zone, f.Strategy, f.Servers, c.Upstream.TCP))
	}
	u := c.Upstream
	if len(u.Servers) == 0 {
		conf := d.system.Resolv(time.Now())
		u.Servers, u.TCP = newOwn(c.Listen).others(conf.Servers), u.TCP || conf.UseTCP
		if conf.Rotate {
			u.Strategy = "rotate"
		}
	}
	all = append(all, route(dnswire.Root, u.Strategy, u.Servers, u.TCP))
	slices.SortStableFunc(all, func(a, b control.Route) int { return strings.Compare(a.Zone, b.Zone) })
	return all
}
