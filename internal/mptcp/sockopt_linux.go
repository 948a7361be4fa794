package mptcp

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The options of level SOL_MPTCP (uapi/linux/mptcp.h).
const (
	optInfo         = 1 // MPTCP_INFO
	optTCPInfo      = 2 // MPTCP_TCPINFO
	optSubflowAddrs = 3 // MPTCP_SUBFLOW_ADDRS
	optFullInfo     = 4 // MPTCP_FULL_INFO
)

// getsockopt calls getsockopt(2) at level SOL_MPTCP with b, which must not be
// empty, and returns how many octets of it the kernel filled.
func getsockopt(fd uintptr, option int, b []byte) (int, error) {
	n := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_MPTCP, uintptr(option),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// getFullInfo calls getsockopt for MPTCP_FULL_INFO with head, a request of
// appendFullInfoRequest, into which it writes the addresses of flows and tcps.
func getFullInfo(fd uintptr, head, flows, tcps []byte) (int, error) {
	var pin runtime.Pinner // the kernel follows pointers that Go sees as numbers
	defer pin.Unpin()
	pin.Pin(&flows[0])
	pin.Pin(&tcps[0])
	ne := binary.NativeEndian
	ne.PutUint64(head[24:], uint64(uintptr(unsafe.Pointer(&flows[0]))))
	ne.PutUint64(head[32:], uint64(uintptr(unsafe.Pointer(&tcps[0]))))
	return getsockopt(fd, optFullInfo, head)
}
