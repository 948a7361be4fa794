//go:build !linux

package main

import (
	"os/exec"
	"time"

	"github.com/af-multipath/mpresolve/internal/testlab"
)

// startChild is for labs, which only Linux has.
func startChild(*exec.Cmd, bool) error { return testlab.ErrUnavailable }

// maxFiles is for labs, which only Linux has.
func maxFiles() int { return spareFiles }

// cpuTime is for labs, which only Linux has.
func cpuTime() time.Duration { return 0 }
