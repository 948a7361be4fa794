//go:build !linux

package mpdnsd

import (
	"time"

	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
)

// monotonic is for systemd, which is Linux's.
func monotonic() (time.Duration, bool) { return 0, false }

// files is not known here.
func files() (open int, most uint64) { return -1, 0 }

// limitFiles leaves the limit to Go, which raises the soft one to the hard one.
func (*daemon) limitFiles(*config.Config) {}

// dropPrivileges has no capabilities to drop.
func (*daemon) dropPrivileges(*setup) {}
