// Package dnstest runs scripted DNS servers for tests: each query is shown to
// a [Script], which says what to do with it. A server can be slow, silent,
// forged, truncated, broken or right, per name and type, over UDP and TCP.
//
// Three ways to run one:
//
//   - [Start] listens on a free loopback port, UDP and TCP, and is closed
//     with the test;
//   - [Serve] runs on sockets made by the caller, for example inside a
//     network namespace;
//   - [Net] has servers in memory, reached by its Dial method, for tests in
//     virtual time (testing/synctest).
//
// Every query is recorded, so a test can say what was asked and what was not.
package dnstest
