package mptcp

import (
	"encoding/binary"
	"fmt"
)

// fullInfo is the head of struct mptcp_full_info after a call.
type fullInfo struct {
	info     Info
	count    int // subflows the connection has; may be more than were asked for
	tcpSize  int // octets of each tcp_info that the kernel filled
	flowSize int // octets of each mptcp_subflow_info that the kernel filled
}

// appendFullInfoRequest appends the head of struct mptcp_full_info that asks
// for up to capacity subflows. The two pointers, to be put at offsets 24 and
// 32, are left zero.
func appendFullInfoRequest(dst []byte, capacity int) []byte {
	ne := binary.NativeEndian
	start := len(dst)
	dst = append(dst, make([]byte, fullInfoSize)...)
	b := dst[start:]
	ne.PutUint32(b[4:], tcpInfoSize)
	ne.PutUint32(b[12:], subflowInfoSize)
	ne.PutUint32(b[20:], uint32(capacity))
	return dst
}

// parseFullInfo decodes the head of struct mptcp_full_info.
func parseFullInfo(b []byte) (fullInfo, error) {
	if len(b) < fullInfoHeader {
		return fullInfo{}, fmt.Errorf("mptcp: mptcp_full_info of %d octets, want at least %d", len(b), fullInfoHeader)
	}
	f := fields(b)
	info, err := parseInfo(b[fullInfoHeader:])
	if err != nil {
		return fullInfo{}, err
	}
	return fullInfo{
		info:     info,
		tcpSize:  min(int(f.u32(0)), tcpInfoSize),
		flowSize: min(int(f.u32(8)), subflowInfoSize),
		count:    int(f.u32(16)),
	}, nil
}

// parseSubflows decodes the two arrays beside mptcp_full_info: n elements of
// subflowInfoSize and of tcpInfoSize octets.
func (f fullInfo) parseSubflows(flows, tcps []byte) []SubflowInfo {
	n := min(f.count, len(flows)/subflowInfoSize, len(tcps)/tcpInfoSize)
	out := make([]SubflowInfo, 0, max(n, 0))
	for i := range n {
		flow := flows[i*subflowInfoSize : (i+1)*subflowInfoSize]
		tcp := tcps[i*tcpInfoSize:][:max(f.tcpSize, 0)]
		s := SubflowInfo{ID: fields(flow).u32(0), TCP: parseTCPInfo(tcp)}
		s.Local, s.Remote = parseAddrs(flow[8:])
		out = append(out, s)
	}
	return out
}

// appendArrayRequest appends the buffer of MPTCP_TCPINFO and
// MPTCP_SUBFLOW_ADDRS, the options of kernels before 6.5: struct
// mptcp_subflow_data and capacity elements of size octets.
func appendArrayRequest(dst []byte, capacity, size int) []byte {
	ne := binary.NativeEndian
	start := len(dst)
	dst = append(dst, make([]byte, subflowDataSize+capacity*size)...)
	ne.PutUint32(dst[start:], subflowDataSize)
	ne.PutUint32(dst[start+12:], uint32(size))
	return dst
}

// parseArray splits what MPTCP_TCPINFO or MPTCP_SUBFLOW_ADDRS gave into its
// elements of size octets, of which the kernel filled a part. count is how many
// the connection has; may be more than there was room for.
func parseArray(b []byte, size int) (elements [][]byte, count int, err error) {
	if len(b) < subflowDataSize || size <= 0 {
		return nil, 0, fmt.Errorf("mptcp: mptcp_subflow_data of %d octets, want at least %d", len(b), subflowDataSize)
	}
	f := fields(b)
	count = int(f.u32(4))
	filled := min(int(f.u32(8)), size)
	b = b[subflowDataSize:]
	for len(elements) < count && len(b) >= size {
		elements = append(elements, b[:max(filled, 0)])
		b = b[size:]
	}
	return elements, count, nil
}

// joinArrays makes subflows of the elements of MPTCP_SUBFLOW_ADDRS and
// MPTCP_TCPINFO, which list the same subflows in the same order.
func joinArrays(addrs, tcps [][]byte) []SubflowInfo {
	n := min(len(addrs), len(tcps))
	out := make([]SubflowInfo, n)
	for i := range n {
		out[i].Local, out[i].Remote = parseAddrs(addrs[i])
		out[i].TCP = parseTCPInfo(tcps[i])
	}
	return out
}
