// Package zones holds the zone files that the tests and the demonstration
// share. FS has them as they stand in this folder; a file is named after its
// origin, with ".zone" at the end, and "test.example.inc" is what
// "test.example.zone" includes.
package zones

import "embed"

// FS is this folder's zone files (RFC 1035 section 5 master files).
//
//go:embed *.zone *.inc
var FS embed.FS
