package dialer

import (
	"context"
	"crypto/tls"
	"net"
)

// TLSDial connects as [Dialer.DialContext] does, with TLS: an attempt has
// succeeded when its handshake has, so an address that accepts connections and
// then says nothing, or has the wrong certificate, costs no more than one that
// does not answer (Happy Eyeballs v3, section 4). Dialer.Success is not called.
//
// As in tls.Dialer, a config without ServerName is used with the host of
// address, and nil is the zero config. The result's NetConn is the [*Conn]. For
// http.Transport:
//
//	DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
//		return d.TLSDial(ctx, network, address, config)
//	}
//
// where HTTP/2 needs "h2" in config.NextProtos.
//
// The key of the certificate that an address has shown counts in later dials as
// evidence of which of the name's addresses are one host: see
// [Dialer.ReportHostKey].
func (d *Dialer) TLSDial(ctx context.Context, network, address string, config *tls.Config) (*tls.Conn, error) {
	t, err := parseTarget(ctx, network, address, d.Multipath)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	config = config.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address) // parseTarget has split it
	}
	t.success = func(ctx context.Context, s *stream) error {
		s.conn = &Conn{TCPConn: s.TCPConn}
		s.secured = tls.Client(s.conn, config)
		err := s.secured.HandshakeContext(ctx)
		if err == nil && !s.via.IsValid() {
			d.reportCertificate(t, s.TCPConn.RemoteAddr(), s.secured.ConnectionState())
		}
		return err
	}
	c, err := d.dial(ctx, t)
	if err != nil {
		return nil, err
	}
	return c.stream.secured, nil
}
