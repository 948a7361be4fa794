//go:build !linux

package main

import "os/exec"

// runWithoutNetAdmin runs a command; there is no CAP_NET_ADMIN to take from it.
func runWithoutNetAdmin(cmd *exec.Cmd) error { return cmd.Run() }
