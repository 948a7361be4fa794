//go:build !windows

package sysconf

import "errors"

func defaultPaths() systemPaths {
	return systemPaths{resolv: "/etc/resolv.conf", hosts: "/etc/hosts", gai: "/etc/gai.conf"}
}

// adapterConf is for Windows, which has no resolv.conf.
func adapterConf() ([]byte, error) { return nil, errors.ErrUnsupported }
