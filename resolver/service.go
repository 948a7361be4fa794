package resolver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/hostid"
)

// SvcParamKeys that are understood (RFC 9460 section 14.3.2).
const (
	keyMandatory     = 0
	keyALPN          = 1
	keyNoDefaultALPN = 2
	keyPort          = 3
	keyIPv4Hint      = 4
	keyECH           = 5
	keyIPv6Hint      = 6
)

// defaultALPN is what HTTPS services speak unless they exclude it (RFC 9460
// section 9.1).
const defaultALPN = "http/1.1"

var (
	errServiceShort = errors.New("https record is cut off")
	errServiceOrder = errors.New("https record with parameters out of order")
	errServiceValue = errors.New("https record with a malformed parameter")
	errServiceKey   = errors.New("https record with a mandatory parameter that is not understood")
)

// parseService reads the rdata of an HTTPS record (RFC 9460 section 2.2). Its
// target is not compressed. A record that makes a parameter mandatory which is
// not understood here is an error: it must not be used (section 8).
func parseService(msg []byte, rr dnswire.RR, owner dnswire.Name) (Service, error) {
	data := rr.Data(msg)
	if len(data) < 3 {
		return Service{}, errServiceShort
	}
	s := Service{Priority: binary.BigEndian.Uint16(data)}
	target, next, err := dnswire.ExpandName(msg[:rr.DataOff+rr.DataLen], rr.DataOff+2)
	if err != nil {
		return Service{}, fmt.Errorf("target of https record: %w", err)
	}
	if target == dnswire.Root && s.Priority > 0 {
		target = owner
	}
	s.Target = target.String()
	return s, s.params(msg[next : rr.DataOff+rr.DataLen])
}

// params reads the parameters; keys are in strictly rising order.
func (s *Service) params(b []byte) error {
	var mandatory []byte
	noDefault, last := false, -1
	for len(b) > 0 {
		if len(b) < 4 {
			return errServiceShort
		}
		key, size := int(binary.BigEndian.Uint16(b)), int(binary.BigEndian.Uint16(b[2:]))
		if len(b) < 4+size {
			return errServiceShort
		}
		if key <= last {
			return errServiceOrder
		}
		value := b[4 : 4+size]
		b, last = b[4+size:], key
		switch key {
		case keyMandatory:
			mandatory = value
		case keyNoDefaultALPN:
			noDefault = true
		}
		if err := s.param(key, value); err != nil {
			return err
		}
	}
	if !noDefault && s.Priority > 0 {
		s.ALPN = append(s.ALPN, defaultALPN)
	}
	return checkMandatory(mandatory)
}

// param takes one parameter; those that are not understood are passed over.
func (s *Service) param(key int, value []byte) error {
	switch key {
	case keyALPN:
		return s.alpn(value)
	case keyPort:
		if len(value) != 2 {
			return errServiceValue
		}
		s.Port = binary.BigEndian.Uint16(value)
	case keyIPv4Hint:
		return s.hints(value, 4)
	case keyIPv6Hint:
		return s.hints(value, 16)
	case keyECH:
		s.ECH = append([]byte(nil), value...)
	case hostid.OneHostKey:
		s.OneHost = true
	}
	return nil
}

func (s *Service) alpn(b []byte) error {
	for len(b) > 0 {
		n := int(b[0])
		if n == 0 || len(b) < 1+n {
			return errServiceValue
		}
		s.ALPN = append(s.ALPN, string(b[1:1+n]))
		b = b[1+n:]
	}
	return nil
}

func (s *Service) hints(b []byte, size int) error {
	if len(b) == 0 || len(b)%size != 0 {
		return errServiceValue
	}
	for ; len(b) > 0; b = b[size:] {
		addr, _ := netip.AddrFromSlice(b[:size])
		s.Hints = append(s.Hints, addr)
	}
	return nil
}

func checkMandatory(b []byte) error {
	if len(b)%2 != 0 {
		return errServiceValue
	}
	for ; len(b) > 0; b = b[2:] {
		if key := binary.BigEndian.Uint16(b); key == keyMandatory || key > keyIPv6Hint {
			return errServiceKey
		}
	}
	return nil
}
