//go:build unix

package dnscache

import "syscall"

// mapMemory maps memory that is nobody's yet.
func mapMemory(n int) ([]byte, error) {
	return syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
}

func unmapMemory(octets []byte) { _ = syscall.Munmap(octets) } // fails for what mapMemory did not give only
