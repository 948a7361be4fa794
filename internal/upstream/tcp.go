package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// overTCP asks over TCP (RFC 7766): on a kept connection where there are such,
// else on one of its own.
func (s *Server) overTCP(ctx context.Context, m message) ([]byte, error) {
	ctx, cancel := context.WithDeadline(ctx, s.deadline(ctx))
	defer cancel()
	b, err := s.askTCP(ctx, m)
	if err != nil {
		return nil, cause(ctx, err)
	}
	return m.accept(b)
}

func (s *Server) askTCP(ctx context.Context, m message) ([]byte, error) {
	b, err := s.tcp.ask(ctx, m)
	if errors.Is(err, errNotKept) {
		return s.askAlone(ctx, m)
	}
	return b, err
}

// askAlone opens a connection for one question: one write, then reads until the
// reply.
func (s *Server) askAlone(ctx context.Context, m message) ([]byte, error) {
	conn, err := s.dialTCP(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect over tcp: %w", err)
	}
	defer func() { _ = conn.Close() }()
	defer interrupt(ctx, conn)()

	if _, err := conn.Write(m.appendFramed(make([]byte, 0, 2+len(m.octets)), false)); err != nil {
		return nil, fmt.Errorf("send over tcp: %w", err)
	}
	for range maxWrongReplies {
		b, err := readFramed(conn)
		if err != nil {
			return nil, fmt.Errorf("read from tcp: %w", err)
		}
		if m.isReply(b) {
			return b, nil
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

// appendFramed appends the query with its id behind two octets of length; keep
// is for a connection that is to be kept.
func (m message) appendFramed(dst []byte, keep bool) []byte {
	at := len(dst) + 2
	dst = append(append(dst, 0, 0), m.octets...)
	dnswire.PatchID(dst[at:], m.id)
	if keep {
		dst = appendKeepalive(dst, at)
	}
	binary.BigEndian.PutUint16(dst[at-2:], uint16(len(dst)-at)) //nolint:gosec // a query is under 64 KiB
	return dst
}

// readFramed reads the two octets of length and the message behind them.
func readFramed(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}
