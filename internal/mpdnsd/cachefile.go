package mpdnsd

import (
	"errors"
	"io/fs"
	"time"

	"github.com/af-multipath/mpresolve/internal/atomicfile"
	"github.com/af-multipath/mpresolve/internal/dnscache"
)

// loadCache reads what an earlier run has left. Whatever is wrong with it costs
// the cache's content, never the start. What is a local zone's name by now is
// forgotten: the cache is looked at before the zones.
func (d *daemon) loadCache(set *setup) {
	file := set.config.Cache.File
	if file == "" {
		return
	}
	begun := time.Now()
	n, err := d.cache.LoadFile(file, begun)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.log.Info("cache file: none yet", "file", file)
		return
	case errors.Is(err, dnscache.ErrDamaged):
		aside, asideErr := atomicfile.SetAside(file)
		d.log.Warn("cache file: set aside, the cache begins empty", "file", file, "error", err, "as", aside, "failure", asideErr)
		return
	case err != nil:
		d.log.Warn("cache file: not read, the cache begins empty", "file", file, "error", err)
		return
	}
	for _, z := range set.zones.All() {
		d.cache.FlushZone(z.Origin())
	}
	d.log.Info("cache file: read", "file", file, "answers", n, "took", time.Since(begun))
}

// saveCache writes the cache for the next run.
func (d *daemon) saveCache() {
	file := d.setup.config.Cache.File
	if file == "" {
		return
	}
	if err := d.cache.SaveFile(file, time.Now()); err != nil {
		d.log.Warn("cache file: not written", "file", file, "error", err)
		return
	}
	d.log.Info("cache file: written", "file", file, "answers", d.cache.Stats().Entries)
}
