//go:build unix

package exampletest

import (
	"os"
	"syscall"
)

// nobody is the ordinary user that root runs servers as, and its group.
const nobody = 65534

// ordinaryUser returns what a command needs to run as an ordinary user:
// PostgreSQL and MariaDB refuse to run as root.
func ordinaryUser() *syscall.SysProcAttr {
	if os.Geteuid() != 0 {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

// giveAway gives a folder to the ordinary user.
func giveAway(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(dir, nobody, nobody)
}
