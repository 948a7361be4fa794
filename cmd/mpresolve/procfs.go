package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// processes maps the inodes of sockets to the processes that hold them, as
// "name[pid]", as far as this user may look: below proc, a mounted procfs.
func processes(proc string) map[uint32]string {
	names := map[uint32]string{}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return names
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			addSockets(names, filepath.Join(proc, e.Name()), e.Name())
		}
	}
	return names
}

// addSockets adds the sockets of one process; those that may not be read are
// passed over.
func addSockets(names map[uint32]string, dir, pid string) {
	links, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return
	}
	for _, link := range links {
		target, err := os.Readlink(filepath.Join(dir, "fd", link.Name()))
		if err != nil {
			continue
		}
		if inode, ok := socketInode(target); ok {
			comm, _ := os.ReadFile(filepath.Join(dir, "comm"))
			names[inode] = fmt.Sprintf("%s[%s]", strings.TrimSpace(string(comm)), pid)
		}
	}
}

// socketInode reads "socket:[12345]".
func socketInode(target string) (uint32, bool) {
	text, ok := strings.CutPrefix(target, "socket:[")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 32)
	return uint32(inode), err == nil
}
