package mpdnsd

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/zone"
)

// setup is what the configuration says, with its zones read.
type setup struct {
	config config.Config
	zones  zone.Set
	// The groups of the path broker's socket and of the control socket; -1: the
	// process's.
	group, controlGroup int
}

// fillsAlike reports whether a cache that was filled under s may be used under
// next: with the same settings, from the same servers, and no name having become
// local, for the cache is looked at before all that is local.
func (s *setup) fillsAlike(next *setup) bool {
	a, b := &s.config, &next.config
	return a.Cache.Config == b.Cache.Config && a.Hosts == b.Hosts && a.SpecialNames == b.SpecialNames &&
		a.Upstream.TCP == b.Upstream.TCP && a.Upstream.RebindProtection == b.Upstream.RebindProtection &&
		slices.Equal(a.Upstream.PrivateDomains, b.Upstream.PrivateDomains) && slices.Equal(a.Upstream.Servers, b.Upstream.Servers) &&
		slices.EqualFunc(a.Forwards, b.Forwards, func(f, g config.Forward) bool { return f.Zone == g.Zone && slices.Equal(f.Servers, g.Servers) }) &&
		!slices.ContainsFunc(next.zones.All(), func(z *zone.Zone) bool { return !s.hasZone(z.Origin()) })
}

func (s *setup) hasZone(origin dnswire.Name) bool {
	return slices.ContainsFunc(s.zones.All(), func(z *zone.Zone) bool { return z.Origin() == origin })
}

// load reads the configuration and the zones. The error has all that is wrong
// with them; it is a *badSetup, but for flags, which are the usage's matter.
func (f *flags) load() (*setup, error) {
	c := config.Default()
	if f.config != "" {
		var err error
		if c, err = config.Load(f.config); err != nil {
			var errs config.Errors
			if !errors.As(err, &errs) {
				err = fmt.Errorf("mpdnsd: %w", err)
			}
			return nil, &badSetup{err}
		}
	}
	if err := f.apply(&c); err != nil {
		return nil, err
	}
	zones, err := loadZones(c.Zones)
	if err != nil {
		return nil, &badSetup{err}
	}
	group, err1 := lookupGroup("paths.group", c.Paths.Group)
	controlGroup, err2 := lookupGroup("control.group", c.Control.Group)
	if err := errors.Join(err1, err2); err != nil {
		return nil, &badSetup{err}
	}
	return &setup{c, zones, group, controlGroup}, nil
}

// parseZone reads the --zone flag's [ORIGIN=]FILE. What stands before the
// first = is the origin if it is a domain name and no path.
func parseZone(s string) config.Zone {
	origin, file, ok := strings.Cut(s, "=")
	if ok && file != "" && !strings.ContainsAny(origin, `/\`) {
		if _, err := dnswire.ParseName(origin); err == nil {
			return config.Zone{Origin: origin, File: file}
		}
	}
	return config.Zone{File: s}
}

// loadZones reads all zone files, and reports what is wrong with any of them.
func loadZones(all []config.Zone) (zone.Set, error) {
	var zones []*zone.Zone
	var errs []error
	for _, z := range all {
		loaded, err := zone.Load(z.File, z.Origin)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		zones = append(zones, loaded)
	}
	set, err := zone.NewSet(zones...)
	if err != nil {
		errs = append(errs, err)
	}
	return set, errors.Join(errs...)
}

// summary counts what the setup has.
func (s *setup) summary() string {
	servers := "the upstream servers of resolv.conf"
	if n := len(s.config.Upstream.Servers); n > 0 {
		servers = count(n, "upstream server")
	}
	text := fmt.Sprintf("%s, %s, %s",
		count(len(s.config.Listen), "listener"), servers, count(len(s.zones.All()), "zone"))
	if s.config.Paths.Enabled {
		text += ", the path broker"
	}
	return text
}

// count is "1 zone", "2 zones".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
