//go:build !unix

package dnscache

import "errors"

// mapMemory fails: segments are taken from the heap.
func mapMemory(int) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmapMemory([]byte) {}
