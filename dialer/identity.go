package dialer

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"net"
	"net/netip"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// This file is what a dialer learns of hosts from the keys that they show. Two
// addresses of a name with one key may be one host, two with different keys
// hardly are: evidence, which a join overrules.

// ReportHostKey tells the dialer of an SSH host key that was shown, and proven in
// the key exchange, at remote, an address of a name. address is what was dialled,
// "name:port"; keyType is the key's algorithm, "ssh-ed25519", and key the key in
// any form that is equal when the keys are. The arguments are those of a host key
// callback of golang.org/x/crypto/ssh:
//
//	HostKeyCallback: func(address string, remote net.Addr, key ssh.PublicKey) error {
//		err := known(address, remote, key)
//		if err == nil {
//			d.ReportHostKey(address, remote, key.Type(), key.Marshal())
//		}
//		return err
//	}
//
// It orders the joins of later dials to the address, and [resolver.Answer.Hosts]
// of [Report].Answer names it as a reason. Keys count for a day; those of 64
// addresses of 512 names are kept, in memory only. An address that is no
// "name:port", and a remote that is not of TCP, are ignored. [Dialer.TLSDial]
// reports the keys of certificates by itself.
func (d *Dialer) ReportHostKey(address string, remote net.Addr, keyType string, key []byte) {
	t, err := parseTarget(context.Background(), "tcp", address, d.Multipath)
	if err != nil {
		return
	}
	d.meet(t, hostid.Identity{Addr: firstAddr(remote), SSH: true, Type: keyType, Print: fingerprint(key)})
}

// reportCertificate keeps the key of the certificate that a TLS handshake has
// proven. A resumed session has proven none.
func (d *Dialer) reportCertificate(t target, remote net.Addr, state tls.ConnectionState) {
	if state.DidResume || len(state.PeerCertificates) == 0 {
		return
	}
	leaf := state.PeerCertificates[0]
	d.meet(t, hostid.Identity{
		Addr: firstAddr(remote), Type: leaf.PublicKeyAlgorithm.String(), Print: fingerprint(leaf.RawSubjectPublicKeyInfo),
	})
}

// meet keeps a key of a target. An address alone is no set that could be divided.
func (d *Dialer) meet(t target, i hostid.Identity) {
	if t.name == "" {
		return
	}
	d.prepare()
	i.Seen = time.Now()
	d.memory.Meet(t.key(), i)
}

// fingerprint is short and equal where keys are.
func fingerprint(key []byte) string {
	sum := sha256.Sum256(key)
	return string(sum[:])
}

// firstAddr is the address that a connection began with; invalid where a is not
// the address of a TCP connection.
func firstAddr(a net.Addr) netip.Addr {
	if set, ok := a.(mpaddr.Addr); ok && set.Len() > 0 {
		return set.AddrPorts()[0].Addr().Unmap()
	}
	return addrPortOf(a).Addr()
}
