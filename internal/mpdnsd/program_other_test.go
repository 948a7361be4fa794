//go:build !linux

package mpdnsd

// programMain has nothing to do where there is no lab.
func programMain() {}

// nameProgramMain neither.
func nameProgramMain() {}

// goResolveMain is for the lab too.
func goResolveMain() {}
