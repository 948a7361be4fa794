package testlab

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of linux/ethtool.h that turn a feature on or off.
const (
	ethtoolSetTxChecksum = 0x17 // ETHTOOL_STXCSUM
	ethtoolSetTSO        = 0x1f // ETHTOOL_STSO
	ethtoolSetGSO        = 0x24 // ETHTOOL_SGSO
)

// ethtoolValue is struct ethtool_value.
type ethtoolValue struct{ cmd, data uint32 }

// ifreqData is struct ifreq with a pointer in its union.
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// disableOffloads makes the kernel put finished frames on a link of the
// calling thread's namespace: whole checksums, no frame above the MTU. A
// packet socket would otherwise see segments that no wire could carry.
func disableOffloads(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket for ethtool: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	for _, cmd := range []uint32{ethtoolSetTSO, ethtoolSetGSO, ethtoolSetTxChecksum} {
		if err := ethtool(fd, name, cmd, 0); err != nil {
			return fmt.Errorf("turn off offload %#x of %s: %w", cmd, name, err)
		}
	}
	return nil
}

func ethtool(fd int, name string, cmd, data uint32) error {
	value := &ethtoolValue{cmd, data}
	req := ifreqData{data: unsafe.Pointer(value)}
	copy(req.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	runtime.KeepAlive(value)
	if errno != 0 {
		return errno
	}
	return nil
}
