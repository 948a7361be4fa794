package mptcp

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// startSubflows is for how many subflows FullInfo makes room at first, and
// maxSubflows for how many at most: the kernel allows 8 and a few that close.
const (
	startSubflows = 8
	maxSubflows   = 256
)

// Supported makes an MPTCP socket and closes it again. The error says why there
// can be none: EPROTONOSUPPORT or EINVAL where the kernel has no MPTCP,
// ENOPROTOOPT where net.mptcp.enabled is 0; it matches [ErrUnsupported].
func Supported() error {
	const kind = unix.SOCK_STREAM | unix.SOCK_CLOEXEC
	fd, err := unix.Socket(unix.AF_INET6, kind, unix.IPPROTO_MPTCP)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		fd, err = unix.Socket(unix.AF_INET, kind, unix.IPPROTO_MPTCP)
	}
	if err != nil {
		return fmt.Errorf("mptcp: make a socket: %w: %w", err, ErrUnsupported)
	}
	return unix.Close(fd)
}

// GetInfo reads MPTCP_INFO of a socket. On a plain TCP connection the error is
// [ErrFallback]. While the connection is being made Info has a token already.
func GetInfo(c syscall.RawConn) (Info, error) {
	var info Info
	err := control(c, "read MPTCP_INFO", func(fd uintptr) (err error) {
		info, err = getInfo(fd)
		return err
	})
	return info, err
}

// FullInfo reads the connection's state and all its subflows, with the same
// errors as [GetInfo]. Two options do it before Linux 6.5.
func FullInfo(c syscall.RawConn) (Info, []SubflowInfo, error) {
	var info Info
	var flows []SubflowInfo
	err := control(c, "read MPTCP_FULL_INFO", func(fd uintptr) (err error) {
		info, flows, err = readFullInfo(fd)
		if errors.Is(err, unix.EOPNOTSUPP) { // fallback, or a kernel without this option
			info, flows, err = readOldInfo(fd)
		}
		return err
	})
	return info, flows, err
}

// control runs read on the connection's descriptor and wraps its error. The
// errors by which the four options tell plain TCP become ErrFallback.
func control(c syscall.RawConn, what string, read func(fd uintptr) error) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = read(fd) }); cerr != nil {
		return fmt.Errorf("mptcp: %s: %w", what, cerr)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOPROTOOPT):
		return fmt.Errorf("mptcp: %s: %w: %w", what, err, ErrFallback)
	}
	return fmt.Errorf("mptcp: %s: %w", what, err)
}

func getInfo(fd uintptr) (Info, error) {
	var b [infoSize]byte
	n, err := getsockopt(fd, optInfo, b[:])
	if err != nil {
		return Info{}, err
	}
	return checkInfo(parseInfo(b[:min(n, len(b))]))
}

// checkInfo turns the flag that some kernels set into the error that others give.
func checkInfo(info Info, err error) (Info, error) {
	if err == nil && info.Flags&InfoFallback != 0 {
		return info, ErrFallback
	}
	return info, err
}

// readFullInfo reads MPTCP_FULL_INFO, again with more room where needed.
func readFullInfo(fd uintptr) (Info, []SubflowInfo, error) {
	for room := startSubflows; ; room *= 2 {
		head := appendFullInfoRequest(nil, room)
		flows := make([]byte, room*subflowInfoSize)
		tcps := make([]byte, room*tcpInfoSize)
		n, err := getFullInfo(fd, head, flows, tcps)
		if err != nil {
			return Info{}, nil, err
		}
		full, err := parseFullInfo(head[:min(n, len(head))])
		if err != nil {
			return Info{}, nil, err
		}
		if full.count <= room || room >= maxSubflows {
			info, err := checkInfo(full.info, nil)
			return info, full.parseSubflows(flows, tcps), err
		}
	}
}

// readOldInfo reads MPTCP_INFO, MPTCP_SUBFLOW_ADDRS and MPTCP_TCPINFO, in place
// of MPTCP_FULL_INFO. Subflows that come or go between the calls can be missing.
func readOldInfo(fd uintptr) (Info, []SubflowInfo, error) {
	info, err := getInfo(fd)
	if err != nil {
		return info, nil, err
	}
	addrs, err := readArray(fd, optSubflowAddrs, addrsSize)
	if err != nil {
		return info, nil, err
	}
	tcps, err := readArray(fd, optTCPInfo, tcpInfoSize)
	if err != nil {
		return info, nil, err
	}
	return info, joinArrays(addrs, tcps), nil
}

// readArray reads an option that gives size octets per subflow.
func readArray(fd uintptr, option, size int) ([][]byte, error) {
	for room := startSubflows; ; room *= 2 {
		b := appendArrayRequest(nil, room, size)
		n, err := getsockopt(fd, option, b)
		if err != nil {
			return nil, err
		}
		elements, count, err := parseArray(b[:min(n, len(b))], size)
		if err != nil || count <= room || room >= maxSubflows {
			return elements, err
		}
	}
}
