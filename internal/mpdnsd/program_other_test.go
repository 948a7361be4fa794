//go:build !linux

package mpdnsd

// programMain has nothing to do where there is no lab.
func programMain() {}
