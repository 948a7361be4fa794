package upstream

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// overTCP asks over a TCP connection of its own (RFC 7766): one write with the
// two octets of length before the message, then reads until the reply.
func (s *Server) overTCP(ctx context.Context, m message) ([]byte, error) {
	ctx, cancel := context.WithDeadline(ctx, s.deadline(ctx))
	defer cancel()
	conn, err := s.dialTCP(ctx)
	if err != nil {
		return nil, cause(ctx, fmt.Errorf("connect over tcp: %w", err))
	}
	defer func() { _ = conn.Close() }()
	defer interrupt(ctx, conn)()

	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(m.octets)), uint16(len(m.octets))) //nolint:gosec // a query is under 64 KiB
	if _, err := conn.Write(append(framed, m.octets...)); err != nil {
		return nil, cause(ctx, fmt.Errorf("send over tcp: %w", err))
	}
	for range maxWrongReplies {
		b, err := readFramed(conn)
		if err != nil {
			return nil, cause(ctx, fmt.Errorf("read from tcp: %w", err))
		}
		if m.isReply(b) {
			return m.accept(b)
		}
	}
	return nil, ErrFlooded
}

func (s *Server) dialTCP(ctx context.Context) (net.Conn, error) {
	if s.opts.Dial != nil {
		return s.opts.Dial(ctx, "tcp", s.text)
	}
	var d net.Dialer
	d.SetMultipathTCP(false)
	return d.DialContext(ctx, "tcp", s.text)
}

func readFramed(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}
