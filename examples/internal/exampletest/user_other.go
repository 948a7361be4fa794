//go:build !unix

package exampletest

import "syscall"

// ordinaryUser has nothing to change where there is no root.
func ordinaryUser() *syscall.SysProcAttr { return nil }

// giveAway has nothing to change where there is no root.
func giveAway(string) error { return nil }
