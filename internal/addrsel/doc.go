// Package addrsel orders the addresses of a destination the way a host should
// try them: RFC 6724 section 6, with the two rules that Happy Eyeballs adds
// between rules 8 and 9, then the interleaving of address families.
//
// [Sort] and [Interleave] are pure functions of their arguments. What they need
// to know of this machine, the source address the kernel would use for each
// destination, is found by [Sources], which sends no packet. The policy table
// is a value: [DefaultPolicy] is the one of RFC 6724 section 2.1, and
// [ParseGaiConf] reads the administrator's.
//
//	sources := addrsel.Sources(ctx, addrs)
//	dests := make([]addrsel.Dest, len(addrs))
//	for i, a := range addrs {
//		dests[i] = addrsel.Dest{Addr: a, Source: sources[i]}
//	}
//	order := addrsel.Interleave(addrsel.Sort(policy, dests), 1)
//
// The result is always a total order: where the RFC's text compares only some
// pairs (rule 4, rule 9, an unknown round-trip time), the comments at those
// rules say how the remaining pairs are placed.
package addrsel
